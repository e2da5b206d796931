//! The proof that a source package is the commit: it is unpacked again, in the same confinement,
//! and every path, type, executable bit and byte is compared with the commit's tree.
//!
//! What the commit has and the package has not is let go only where the package itself asks for
//! that, or where it is a file of version control that the tarball never had. What the package has
//! and the commit has not comes from a tarball; it is fine only if the commit binds that tarball.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path as FilePath;
use std::time::Duration;

use git2::Repository;

use crate::source::layout::VersionControl;
use crate::source::notes::{self, named};
use crate::source::object;
use crate::source::object::{Path, is_debian};
use crate::source::options::{INCLUDED, Options};
use crate::source::patches::{self, SERIES};
use crate::source::plan::{self, holder};
use crate::source::tree::{self, Entries, FileKind, TreeEntry};
use crate::source::unpacked::{UnpackedFile, UnpackedSource};
use crate::source::{Format, SourcePlan, SourceRequest, Subject, sandbox};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::facts::{Bound, Layout, Proof, SourcePackage};
use invirtibuilder_git as git;
use invirtibuilder_system::confined;
use invirtibuilder_system::remove::remove_tree;
use invirtibuilder_system::subprocess::CancellationToken;

/// How long unpacking may take.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Unpacks a source package and compares it with the commit, or says where they differ.
///
/// It is unpacked without applying patches first: a tarball that brings quilt's own notes of
/// applied patches would have them left out in the build. Only where the tree has them applied, it
/// is then unpacked as a build does.
pub async fn prove(
    request: &SourceRequest,
    made: &SourcePackage,
    cancel: &CancellationToken,
) -> Result<Proof, Failure> {
    let dir = request.work.with_file_name("proof");
    let plain = unpack(request, made, true, &dir.join("plain"), cancel).await?;
    refuse_notes(&plain)?;
    let (mut plain, mut first) = (Some(plain), None);
    let subject = request.subject.clone();
    let opened = tokio::task::spawn_blocking(move || Opened::of(&subject)).await;
    let mut commit = opened.map_err(anyhow::Error::from)??;
    for layout in candidates(&request.plan, &commit.entries) {
        let unpacked = match layout {
            Layout::Applied => unpack(request, made, false, &dir.join("patched"), cancel).await?,
            _ => plain
                .take()
                .ok_or_else(|| Failure::new(FailureKind::System, "a layout is tried twice"))?,
        };
        let (request, made) = (request.clone(), made.clone());
        let compared = tokio::task::spawn_blocking(move || {
            let proof = Comparison::new(&request, &commit, layout).prove(&made, unpacked);
            (commit, proof)
        });
        let proof;
        (commit, proof) = compared.await.map_err(anyhow::Error::from)?;
        match proof {
            Ok(proof) => {
                first = Some(Ok(proof));
                break;
            }
            Err(failure) if failure.kind == FailureKind::Differs => {
                first = first.or(Some(Err(failure)));
            }
            Err(failure) => return Err(failure),
        }
    }
    remove_tree(&dir).await?;
    first.unwrap_or_else(|| {
        Err(Failure::new(FailureKind::Differs, "the source package has no layout"))
    })
}

/// Refuses a package that says by itself which of its patches are applied: dpkg-source leaves
/// quilt's notes in a tarball out under the names that tar usually gives them, and under no other.
fn refuse_notes(plain: &UnpackedSource) -> Result<(), Failure> {
    let notes: Vec<&Path> =
        plain.found.keys().map(Vec::as_slice).filter(|path| is_quilts(path)).collect();
    if notes.is_empty() {
        return Ok(());
    }
    let text = format!(
        "a tarball has notes of quilt's about applied patches: {}: repack it without .pc",
        named(&notes)
    );
    Err(Failure::new(FailureKind::Differs, text))
}

/// Tells whether a path is where quilt keeps its notes.
fn is_quilts(path: &Path) -> bool {
    path == b".pc" || path.starts_with(b".pc/")
}

/// Lists the layouts that it may have, the likeliest first.
fn candidates(plan: &SourcePlan, entries: &Entries) -> Vec<Layout> {
    let has_patches = SERIES.iter().any(|path| entries.contains_key(path.as_bytes()));
    let is_either = has_patches || plan.options.generates_patch();
    match plan.layout {
        Some(Layout::Unapplied) if is_either => vec![Layout::Unapplied, Layout::Applied],
        Some(layout) => vec![layout],
        None if is_either => vec![Layout::Applied, Layout::Unapplied],
        None => vec![Layout::Unapplied],
    }
}

/// The longest list of patches that is read, in bytes.
const LONGEST_SERIES: u64 = 4 << 20;

/// What the package is unpacked to.
const TREE: &str = "tree";

async fn unpack(
    request: &SourceRequest,
    made: &SourcePackage,
    skip_patches: bool,
    dir: &FilePath,
    cancel: &CancellationToken,
) -> Result<UnpackedSource, Failure> {
    remove_tree(dir).await?;
    fs::create_dir_all(dir)?;
    let dsc = made.dsc.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // The package is read by the build meanwhile: it cannot be written here.
    let source = made.dsc.parent().unwrap_or(&request.work);
    let seen = [(source, "/input")];
    let mut cmd =
        confined::command(&request.programs.root, dir, request.room, &seen, "dpkg-source");
    cmd = cmd.args(["--extract", "--no-check", "--no-copy"]);
    if skip_patches && request.plan.format == Format::Quilt {
        cmd = cmd.arg("--skip-patches");
    }
    let cmd = cmd.args(["--", &format!("/input/{dsc}"), TREE]).total(LIMIT);
    let done = sandbox::run_in(dir, request.room, cmd, cancel).await?;
    if !done.ok() {
        let text = format!("the source package cannot be unpacked again: {}", done.describe());
        return Err(Failure::new(FailureKind::DpkgSource, text));
    }
    let (tree, cancel) = (dir.join(TREE), cancel.clone());
    tokio::task::spawn_blocking(move || UnpackedSource::look(&tree, &cancel))
        .await
        .map_err(anyhow::Error::from)?
}

/// One path that is not the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PathDifference {
    /// The package has not what the commit has.
    Missing,
    /// It is a link here and a file there.
    Type,
    /// It may be executed in one of them only.
    Executable,
    /// It has other bytes.
    Bytes,
}

impl PathDifference {
    fn words(self) -> &'static str {
        match self {
            Self::Missing => "is not in it",
            Self::Type => "is something else in it",
            Self::Executable => "is executable in one of the two only",
            Self::Bytes => "has other bytes in it",
        }
    }
}

/// A commit's repository, opened, and every path of its tree.
struct Opened {
    repo: Repository,
    entries: Entries,
}

impl Opened {
    fn of(subject: &Subject) -> Result<Self, Failure> {
        let repo = git::open(&subject.repo)?;
        let entries = tree::entries(&repo, &repo.find_commit((&subject.commit).into())?.tree()?)?;
        Ok(Self { repo, entries })
    }
}

/// A commit's tree, and what a package may do without.
struct Comparison<'a> {
    request: &'a SourceRequest,
    repo: &'a Repository,
    entries: &'a Entries,
    options: &'a Options,
    layout: Layout,
}

impl<'a> Comparison<'a> {
    fn new(
        request: &'a SourceRequest,
        Opened { repo, entries }: &'a Opened,
        layout: Layout,
    ) -> Self {
        Self { request, repo, entries, options: &request.plan.options, layout }
    }

    fn prove(&self, made: &SourcePackage, mut unpacked: UnpackedSource) -> Result<Proof, Failure> {
        let mut proof = Proof { layout: Some(self.layout), ..Proof::default() };
        let mut differences: Vec<(&Path, PathDifference)> = Vec::new();
        let odb = self.repo.odb()?;
        for (path, entry) in self.entries {
            let (entry, size) = match &self.request.plan.entry {
                Some(added) if path == b"debian/changelog" => {
                    let (id, size) = added.object(self.repo, entry.id)?;
                    (TreeEntry { id, ..*entry }, size)
                }
                _ => (*entry, odb.read_header(entry.id)?.0 as u64),
            };
            differences.extend(
                self.compare(path, &entry, size, &mut unpacked)?
                    .map(|difference| (&path[..], difference)),
            );
        }
        let others = unpacked.found.iter().filter(|(path, _)| !self.entries.contains_key(*path));
        let (dpkgs, extra): (Vec<_>, Vec<_>) =
            others.partition(|(path, found)| self.is_dpkgs(path, found));
        let paths = |all: Vec<(&Vec<u8>, &UnpackedFile)>| {
            all.into_iter().map(|(path, _)| path.clone()).collect::<Vec<_>>()
        };
        let (dpkgs, extra) = (paths(dpkgs), paths(extra));
        self.say_dpkgs(&dpkgs, &mut proof);
        self.explain(&mut differences, &unpacked, &mut proof)?;
        let foreign = self.bind(made, &differences, extra, &mut proof)?;
        differences.retain(|(path, _)| !foreign.iter().any(|other| other == path));
        match differences.is_empty() {
            true => Ok(proof),
            false => Err(self.differs(&differences)),
        }
    }

    fn compare(
        &self,
        path: &Path,
        entry: &TreeEntry,
        size: u64,
        unpacked: &mut UnpackedSource,
    ) -> Result<Option<PathDifference>, Failure> {
        let Some(there) = unpacked.found.get(path).copied() else {
            return Ok(Some(PathDifference::Missing));
        };
        if matches!(there.kind, FileKind::Link) != matches!(entry.kind, FileKind::Link) {
            return Ok(Some(PathDifference::Type));
        }
        if there.size != size || unpacked.id(path, &there)? != entry.id {
            return Ok(Some(PathDifference::Bytes));
        }
        // dpkg-source makes it executable when it unpacks.
        Ok((there.kind != entry.kind && path != b"debian/rules")
            .then_some(PathDifference::Executable))
    }

    /// Returns what dpkg-source adds of its own when it packs or unpacks.
    fn is_dpkgs(&self, path: &Path, found: &UnpackedFile) -> bool {
        let generated =
            self.options.generates_patch() && path.starts_with(b"debian/patches/debian-changes");
        let new_series = self.options.generates_patch() && path == SERIES[1].as_bytes();
        // The list of patches may have a vendor's name, and then gets its usual one as well.
        let link = path == SERIES[1].as_bytes() && found.kind == FileKind::Link;
        let binaries = self.options.includes_binaries() && path == INCLUDED.as_bytes();
        // Those that dpkg-source has just written: a tarball's are refused before.
        let notes = self.layout == Layout::Applied && is_quilts(path);
        notes || generated || new_series || link || binaries
    }

    /// Says what dpkg-source adds, but for its own notes of which patches are applied.
    fn say_dpkgs(&self, added: &[Vec<u8>], proof: &mut Proof) {
        let added: Vec<&Path> =
            added.iter().map(Vec::as_slice).filter(|path| !is_quilts(path)).collect();
        if !added.is_empty() {
            let why = self
                .options
                .patch_option()
                .map_or_else(String::new, |option| format!(" ({option})"));
            proof.notes.push(format!("added by dpkg-source{why}: {}", named(&added)));
        }
        let rules = self.entries.get(&b"debian/rules"[..]);
        if rules.is_some_and(|rules| rules.kind == FileKind::File { executable: false }) {
            proof.notes.push(
                "debian/rules is not executable in the commit: dpkg-source makes it so".to_owned(),
            );
        }
    }

    /// Strikes off what has a reason, and says the reason.
    fn explain<'d>(
        &self,
        differences: &mut Vec<(&'d Path, PathDifference)>,
        unpacked: &UnpackedSource,
        proof: &mut Proof,
    ) -> Result<(), Failure> {
        let vcs = VersionControl::new();
        let (diff, tar) = (self.options.diff_ignore()?, self.options.tar_ignore()?);
        let is_quilt = self.request.plan.format == Format::Quilt;
        let missing = |difference: PathDifference| difference == PathDifference::Missing;
        let mut strike = |why: &str, is: &dyn Fn(&Path, PathDifference) -> bool| {
            let (gone, left) =
                differences.iter().partition(|(path, difference)| is(path, *difference));
            let gone: Vec<(&'d Path, PathDifference)> = gone;
            *differences = left;
            let paths: Vec<&Path> = gone.iter().map(|(path, _)| *path).collect();
            if !why.is_empty() {
                notes::add(&mut proof.notes, why, &paths);
            }
        };
        strike(notes::ALWAYS, &|path, difference| {
            missing(difference) && plan::ALWAYS_LEFT.contains(&path)
        });
        strike(&notes::asked_out("tar-ignore"), &|path, difference| {
            missing(difference) && (!is_quilt || is_debian(path)) && tar.matches(path)
        });
        if is_quilt {
            strike(notes::NEVER_HAD, &|path, difference| missing(difference) && vcs.is(path));
        }
        let ignores = is_quilt || self.options.has_diff_ignore();
        if ignores && self.layout != Layout::Native {
            strike(&notes::asked_out(self.options.diff_ignore_option()), &|path, difference| {
                missing(difference) && !is_debian(path) && diff.matches(path)
            });
        }
        strike("", &|path, _| self.options.includes_binaries() && path == INCLUDED.as_bytes());
        if self.options.generates_patch() {
            let same = self.has_same_series(unpacked)?;
            strike("", &|path, difference| {
                same && path == SERIES[1].as_bytes() && difference == PathDifference::Bytes
            });
        }
        Ok(())
    }

    /// Tells whether the package's list of patches is the commit's and the generated one.
    fn has_same_series(&self, unpacked: &UnpackedSource) -> Result<bool, Failure> {
        let Some(entry) = self.entries.get(SERIES[1].as_bytes()) else { return Ok(false) };
        let Some(text) = unpacked.read(SERIES[1].as_bytes(), LONGEST_SERIES) else {
            return Ok(false);
        };
        let blob = self.repo.find_blob(entry.id)?;
        let mine: Vec<&[u8]> = patches::names(blob.content()).collect();
        let theirs: Vec<&[u8]> =
            patches::names(&text).filter(|name| !name.starts_with(b"debian-changes")).collect();
        let mine: Vec<&[u8]> =
            mine.into_iter().filter(|name| !name.starts_with(b"debian-changes")).collect();
        Ok(mine == theirs)
    }

    /// Returns what of the package comes from tarballs: all of it has to be bound. Returns the
    /// paths of the commit of which the package itself asks that they be the tarball's.
    fn bind(
        &self,
        made: &SourcePackage,
        differences: &[(&Path, PathDifference)],
        extra: Vec<Vec<u8>>,
        proof: &mut Proof,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let tarballs = &self.request.plan.tarballs;
        let ignore = self.options.diff_ignore()?;
        let ignores = self.request.plan.format == Format::Quilt || self.options.has_diff_ignore();
        let differ = |(path, difference): &&(&Path, PathDifference)| {
            *difference != PathDifference::Missing
                && ignores
                && !is_debian(path)
                && ignore.matches(path)
        };
        let foreign: Vec<Vec<u8>> =
            differences.iter().filter(differ).map(|(path, _)| path.to_vec()).collect();
        let binding = &self.request.plan.binding;
        for tarball in tarballs {
            let sum = made
                .tarballs
                .iter()
                .find(|(name, _)| *name == tarball.name)
                .map(|(_, sum)| sum.as_str());
            let sum = sum.unwrap_or_default();
            let is_mine = |path: &&Vec<u8>| holder(tarballs, path).name == tarball.name;
            let more: Vec<&Path> =
                extra.iter().chain(&foreign).filter(is_mine).map(Vec::as_slice).collect();
            let bound = if binding.has_sum(&tarball.name, sum) {
                Some(Bound::Sum)
            } else if binding.has_keys() && tarball.is_signed() {
                let file = self.request.work.join(&tarball.name);
                let signature = self.request.work.join(format!("{}.asc", tarball.name));
                match binding.verify(&file, &signature) {
                    Ok(()) => Some(Bound::Signature),
                    Err(error) => {
                        proof.notes.push(format!(
                            "the signature of {} does not count: {error:#}",
                            tarball.name
                        ));
                        None
                    }
                }
            } else if tarball.is_of_tag() && !binding.names(&tarball.name) {
                Some(Bound::History)
            } else {
                None
            };
            match bound {
                Some(bound) => drop(proof.bound.insert(tarball.name.clone(), bound)),
                None if more.is_empty() => {}
                None => return Err(plan::unbound(tarball, Some(sum), &more)),
            }
        }
        if tarballs.is_empty() && !extra.is_empty() {
            let paths: Vec<&Path> = extra.iter().map(Vec::as_slice).collect();
            let text = format!("the source package has what the commit has not: {}", named(&paths));
            return Err(Failure::new(FailureKind::Differs, text));
        }
        let as_is: Vec<&Path> = foreign.iter().map(Vec::as_slice).collect();
        notes::add(&mut proof.notes, &notes::asked_as_is(self.options), &as_is);
        proof.extra = extra
            .iter()
            .map(|path| invirtibuilder_core::text::one_line(&object::shown(path)))
            .collect();
        Ok(foreign)
    }

    fn differs(&self, differences: &[(&Path, PathDifference)]) -> Failure {
        let mut by_kind: BTreeMap<PathDifference, Vec<&Path>> = BTreeMap::new();
        for (path, difference) in differences {
            by_kind.entry(*difference).or_default().push(path);
        }
        let what: Vec<String> = by_kind
            .iter()
            .map(|(kind, paths)| format!("{} {}", named(paths), kind.words()))
            .collect();
        let help = match self.layout {
            Layout::Native | Layout::NativeOne => "rename or remove what dpkg-source cannot pack",
            Layout::Diff => {
                "the diff of source format 1.0 holds neither modes nor links nor empty or binary files: use 3.0 (quilt)"
            }
            Layout::Applied | Layout::Unapplied | Layout::Bare => {
                "commit the change as a patch in debian/patches; an executable bit needs a patch in Git's own form ('gbp pq export' and \
                 'git format-patch' write it), and an empty file cannot be made by one"
            }
        };
        Failure::new(
            FailureKind::Differs,
            format!("the source package is not the commit: {}: {help}", what.join("; ")),
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::source::proof::*;

    #[test]
    fn notes_of_applied_patches_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let look = || UnpackedSource::look(dir.path(), &CancellationToken::new()).unwrap();
        fs::create_dir_all(dir.path().join("sub/.pc")).unwrap();
        fs::write(dir.path().join("sub/.pc/applied-patches"), "x").unwrap();
        refuse_notes(&look()).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join(".pc")).unwrap();
        assert_eq!(refuse_notes(&look()).unwrap_err().kind, FailureKind::Differs);
        fs::remove_file(dir.path().join(".pc")).unwrap();
        fs::create_dir(dir.path().join(".pc")).unwrap();
        fs::write(dir.path().join(".pc/applied-patches"), "x").unwrap();
        assert!(refuse_notes(&look()).unwrap_err().text.contains(".pc/applied-patches"));
    }
}
