//! The layout of a commit's tree, by the names that dgit(7) has for layouts: what stands in it
//! beside `debian/`, compared with what the upstream tarballs hold.

use crate::source::binary::Teller;
use crate::source::listing::Listing;
use crate::source::notes::named;
use crate::source::object::Path;
use crate::source::object::is_debian;
use crate::source::options::{INCLUDED, Ignore, Options, VERSION_CONTROL};
use crate::source::patches::Patches;
use crate::source::tree::{Entries, FileKind, Looked, TreeEntry};
use crate::source::{Format, notes};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::facts::Layout;

/// What a tree and the tarballs are to each other, as far as it can be told before the source
/// package is made.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// The layout; `None`: it is found out when the source package is made.
    pub layout: Option<Layout>,
    /// What tarballs have and the commit has not.
    pub extra: Vec<Vec<u8>>,
    /// What is other than in the commit because the package asks that differences be looked over.
    pub foreign: Vec<Vec<u8>>,
    /// What is let go, or stays out because the package asks for that; each a sentence.
    pub notes: Vec<String>,
}

/// Tells files that only version control systems read.
#[derive(Debug)]
pub struct VersionControl(regex::bytes::Regex);

impl VersionControl {
    /// Makes a teller.
    pub fn new() -> Self {
        Self(regex::bytes::Regex::new(VERSION_CONTROL).expect("it is a regular expression"))
    }

    /// Tells whether a path outside of `debian/` is one of them.
    pub fn is(&self, path: &Path) -> bool {
        !is_debian(path) && self.0.is_match(path)
    }
}

/// Tells whether a tree has nothing of upstream's, but for what only version control systems read.
pub fn is_bare(entries: &Entries, vcs: &VersionControl) -> bool {
    entries.keys().all(|path| is_debian(path) || vcs.is(path))
}

/// Compares a tree with what the tarballs hold. Only what certainly cannot be a source package is
/// refused: what is not known yet is compared when it was made.
pub fn compare(
    format: Format,
    tree: &Looked,
    upstream: Option<&Listing>,
    patches: &Patches,
    options: &Options,
) -> Result<Compared, Failure> {
    let entries = tree.entries;
    let vcs = VersionControl::new();
    let is_bare = is_bare(entries, &vcs);
    let mut compared = Compared::default();
    let Some(upstream) = upstream else {
        compared.layout = match format {
            Format::One => Some(Layout::Diff),
            Format::Native | Format::Quilt => is_bare.then_some(Layout::Bare),
        };
        return Ok(compared);
    };
    let ignore = match format {
        Format::One if !options.has_diff_ignore() => Options::default().diff_ignore()?,
        _ => options.diff_ignore()?,
    };
    let found = TreeChanges::new(format, entries, upstream, &vcs, &ignore);
    let gone = found
        .removed
        .iter()
        .filter(|path| !patches.touched.contains(**path) && !options.includes_removal());
    compared.extra = gone.map(|path| path.to_vec()).collect();
    compared.notes = notes(&found, options);
    compared.foreign = found.foreign.iter().map(|path| path.to_vec()).collect();
    if format == Format::One {
        representable(&found, tree)?;
        compared.layout = Some(Layout::Diff);
        return Ok(compared);
    }
    let has_upstream = upstream.0.keys().any(|path| !is_debian(path));
    if is_bare && has_upstream {
        compared.extra = found.removed.iter().map(|path| path.to_vec()).collect();
        compared.layout = Some(Layout::Bare);
        return Ok(compared);
    }
    let differing = found.added.iter().chain(&found.changed).copied();
    let changes: Vec<&Path> = differing.filter(|path| !options.is_included_binary(path)).collect();
    let empty: Vec<&Path> =
        changes.iter().copied().filter(|path| entries[*path].is_empty()).collect();
    if !empty.is_empty() {
        let text = format!(
            "no patch can make an empty file, and {} is empty here and not so in the tarball: write a line into it, or make it in \
             debian/rules",
            named(&empty)
        );
        return Err(Failure::new(FailureKind::Layout, text));
    }
    let unexplained: Vec<&Path> =
        changes.iter().copied().filter(|path| !patches.touched.contains(*path)).collect();
    let is_new = |path: &Path| options.generates_patch() && found.added.contains(&path);
    let is_executable = |path| entries[path].kind == FileKind::File { executable: true };
    let bits = unexplained
        .iter()
        .copied()
        .filter(|path| found.modes.contains(path) || is_new(path) && is_executable(*path));
    let bits: Vec<&Path> = bits.collect();
    if !bits.is_empty() && !patches.unknown {
        return Err(no_bit(&bits));
    }
    if options.generates_patch() {
        can_be_patch(&unexplained, tree)?;
    }
    if !unexplained.is_empty() && !options.generates_patch() && !patches.unknown {
        return Err(no_layout(&unexplained, &compared.extra));
    }
    // Patches that make files have not made them.
    let adds = patches.touched.iter().any(|path| !upstream.0.contains_key(path));
    let removes = options.includes_removal() && !found.removed.is_empty();
    compared.layout = match changes.is_empty() && !removes {
        false => Some(Layout::Applied),
        true if !found.unknown || adds => Some(Layout::Unapplied),
        true if patches.count == 0 && !options.generates_patch() => Some(Layout::Unapplied),
        true => None,
    };
    Ok(compared)
}

/// How a tree differs from the tarballs outside of `debian/`.
struct TreeChanges<'a> {
    added: Vec<&'a Path>,
    changed: Vec<&'a Path>,
    removed: Vec<&'a Path>,
    modes: Vec<&'a Path>,
    /// Links of upstream's that something else has replaced.
    links: Vec<&'a Path>,
    let_go: Vec<&'a Path>,
    looked_over: Vec<&'a Path>,
    foreign: Vec<&'a Path>,
    unknown: bool,
}

impl<'a> TreeChanges<'a> {
    fn new(
        format: Format,
        entries: &'a Entries,
        upstream: &'a Listing,
        vcs: &VersionControl,
        ignore: &Ignore,
    ) -> Self {
        let mut found = Self {
            added: Vec::new(),
            changed: Vec::new(),
            removed: Vec::new(),
            modes: Vec::new(),
            links: Vec::new(),
            let_go: Vec::new(),
            looked_over: Vec::new(),
            foreign: Vec::new(),
            unknown: false,
        };
        let outside = |path: &Path| format == Format::One || !is_debian(path);
        for (path, entry) in entries.iter().filter(|(path, _)| outside(path)) {
            match upstream.0.get(path) {
                None if ignore.matches(path) => found.looked_over.push(path),
                None if format != Format::One && vcs.is(path) => found.let_go.push(path),
                None => found.added.push(path),
                Some(None) => found.unknown = true,
                Some(Some(there)) if there == entry => {}
                Some(Some(_)) if ignore.matches(path) => found.foreign.push(path),
                Some(Some(there)) => {
                    if let (FileKind::File { executable: was }, FileKind::File { executable: is }) =
                        (there.kind, entry.kind)
                        && was != is
                    {
                        found.modes.push(path);
                    }
                    if there.kind == FileKind::Link {
                        found.links.push(path);
                    }
                    found.changed.push(path);
                }
            }
        }
        let is_quilts = |path: &Path| path.starts_with(b".pc/");
        let gone = upstream
            .0
            .keys()
            .filter(|path| outside(path) && !is_quilts(path) && !entries.contains_key(*path));
        found.removed = gone.map(Vec::as_slice).collect();
        found
    }
}

fn notes(found: &TreeChanges, options: &Options) -> Vec<String> {
    let mut notes = Vec::new();
    notes::add(&mut notes, notes::NEVER_HAD, &found.let_go);
    notes::add(&mut notes, &notes::asked_out(options.diff_ignore_option()), &found.looked_over);
    notes::add(&mut notes, &notes::asked_as_is(options), &found.foreign);
    let binaries: Vec<&Path> = found
        .added
        .iter()
        .chain(&found.changed)
        .copied()
        .filter(|path| options.is_included_binary(path))
        .collect();
    notes::add(
        &mut notes,
        "packed beside the patches, as debian/source/include-binaries says",
        &binaries,
    );
    notes
}

/// Refuses what the diff of format 1.0 cannot hold.
fn representable(found: &TreeChanges, tree: &Looked) -> Result<(), Failure> {
    let differing = || found.added.iter().chain(&found.changed).copied();
    let of = |is: &dyn Fn(&Path, &TreeEntry) -> bool| -> Vec<&Path> {
        differing()
            .filter(|path| tree.entries.get(*path).is_some_and(|entry| is(path, entry)))
            .collect()
    };
    let links = of(&|path, entry| entry.kind == FileKind::Link || found.links.contains(&path));
    let executable = of(&|path, entry| {
        entry.kind == FileKind::File { executable: true }
            && path != b"debian/rules"
            && found.added.contains(&path)
    });
    let empty = of(&|_, entry| entry.is_empty() && entry.kind != FileKind::Link);
    let modes: Vec<&Path> =
        found.modes.iter().copied().filter(|path| *path != b"debian/rules").collect();
    let (what, paths) = if !links.is_empty() {
        ("a symbolic link", links)
    } else if !executable.is_empty() {
        ("that a file is executable", executable)
    } else if !modes.is_empty() {
        ("that a file is executable or not", modes)
    } else if !empty.is_empty() {
        ("an empty file", empty)
    } else {
        ("a binary file", Teller::new(tree).of(differing())?)
    };
    if paths.is_empty() {
        return Ok(());
    }
    let text = format!(
        "the diff of source format 1.0 cannot hold {what}: {}: use 3.0 (quilt)",
        named(&paths)
    );
    Err(Failure::new(FailureKind::Layout, text))
}

/// Refuses what no patch can hold that dpkg-source makes of changes.
fn can_be_patch(changes: &[&Path], tree: &Looked) -> Result<(), Failure> {
    let is_link =
        |path: &&&Path| tree.entries.get(**path).is_some_and(|entry| entry.kind == FileKind::Link);
    let (links, files): (Vec<&Path>, Vec<&Path>) = changes.iter().partition(is_link);
    let (what, paths, help) = if links.is_empty() {
        let help = format!("add a line for each to {INCLUDED}");
        ("binary files", Teller::new(tree).of(files.into_iter())?, help)
    } else {
        ("symbolic links", links, "make them in debian/rules".to_owned())
    };
    if paths.is_empty() {
        return Ok(());
    }
    let text =
        format!("no patch that dpkg-source makes can hold {what}: {}: {help}", named(&paths));
    Err(Failure::new(FailureKind::Layout, text))
}

/// Refuses executable bits that no patch says: dpkg-source's own patches hold none.
fn no_bit(paths: &[&Path]) -> Failure {
    let text = format!(
        "the executable bit of {} is not that of the upstream tarball, which only a patch in Git's own form can say: commit one in \
         debian/patches, as 'gbp pq export' and 'git format-patch' write it",
        named(paths)
    );
    Failure::new(FailureKind::Layout, text)
}

fn no_layout(paths: &[&Path], gone: &[Vec<u8>]) -> Failure {
    let gone: Vec<&Path> = gone.iter().map(Vec::as_slice).collect();
    let gone =
        if gone.is_empty() { String::new() } else { format!(", which also has {}", named(&gone)) };
    let text = format!(
        "the tree is none of the layouts that a source package is made from: {} {} from the upstream tarball{gone}, and no patch in \
         debian/patches says so: commit the change as a patch, or ask for one with 'single-debian-patch' or 'auto-commit' in \
         debian/source/options",
        named(paths),
        if paths.len() == 1 { "differs" } else { "differ" }
    );
    Failure::new(FailureKind::Layout, text)
}
