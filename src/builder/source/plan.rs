//! What a commit's source package will be made of: decided at submission from the commit, the
//! branch pristine-tar and the pool, with no program run, and again by the daemon before it begins.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use git2::{ErrorCode, Oid, Repository};

use crate::source::binding::{Binding, KEYS, SUMS};
use crate::source::changelog::BuiltEntry;
use crate::source::control::Control;
use crate::source::from_tree::{TreeOf, UpstreamTree};
use crate::source::links::{Led, Links};
use crate::source::listing::Listing;
use crate::source::notes::{self, named};
use crate::source::object;
use crate::source::options::Options;
use crate::source::patches::Patches;
use crate::source::tarballs::{self, Branch, Offers, Origin, Pooled, Tarball};
use crate::source::tree::{self, Entries, Looked};
use crate::source::{Format, Subject, binary, changelog, layout, upstream, upstream_tag};
use invirtibuilder_core::config::OrigSource;
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::facts::Layout;
use invirtibuilder_core::names::CommitId;
use invirtibuilder_core::version_rule::{EntryState, UpstreamFiles};
use invirtibuilder_git as git;

/// What is to be made, and from what.
#[derive(Debug, Clone)]
pub struct SourcePlan {
    /// The format.
    pub format: Format,
    /// The layout; `None`: it is found out when the source package is made.
    pub layout: Option<Layout>,
    /// The upstream tarballs, the main one first.
    pub tarballs: Vec<Tarball>,
    /// Where the branch pristine-tar was; `None`: there was none, or it is not asked.
    pub branch: Option<CommitId>,
    /// Paths that a tarball has and the commit has not, and that the commit binds.
    pub extra: Vec<String>,
    /// What has to be said of it; each a sentence.
    pub notes: Vec<String>,
    /// The time of the last changelog entry, in seconds since 1970-01-01 UTC.
    pub timestamp: i64,
    /// The entry that is added to the changelog, if another version is built than the written one.
    pub entry: Option<BuiltEntry>,
    /// The state of the last entry that is written.
    pub state: EntryState,
    /// What `debian/control` says.
    pub control: Control,
    /// What the commit asks of dpkg-source.
    pub(crate) options: Arc<Options>,
    /// What the commit binds tarballs by.
    pub(crate) binding: Arc<Binding>,
}

/// What a plan is made for.
#[derive(Debug, Clone, Copy)]
pub struct PlanInputs<'a> {
    /// The commit.
    pub subject: &'a Subject,
    /// What the pool has of its upstream version.
    pub pool: &'a [Pooled],
    /// Where the branch pristine-tar is taken from.
    pub branch: Branch<'a>,
    /// A directory to work in, if small tarballs may be made in it to look into them.
    pub scratch: Option<&'a Path>,
    /// Where tarballs may come from.
    pub orig: &'a [OrigSource],
}

/// Decides what a source package is made of, or says why none can be made. `repo` is the package's
/// repository.
pub fn plan(repo: &Repository, wanted: &PlanInputs) -> Result<SourcePlan, Failure> {
    let Subject { commit, package, version, .. } = wanted.subject;
    let tree = repo.find_commit(commit.into())?.tree()?;
    let links = Links::new(repo, &tree);
    let format = Format::of(&links)?;
    format.check(version, None)?;
    let control = Control::of(&links, package)?;
    has_rules(&links, &control)?;
    let entries = tree::entries(repo, &tree)?;
    let options = Options::of(&links)?;
    options.check(format)?;
    let changelog = changelog::of_tree(&tree, &links)?;
    let entry = BuiltEntry::of(repo, wanted.subject, &changelog)?;
    let mut plan = SourcePlan {
        format,
        layout: Some(Layout::Native),
        tarballs: Vec::new(),
        branch: None,
        extra: Vec::new(),
        notes: changelog.notes,
        timestamp: entry.as_ref().map_or(changelog.timestamp, |entry| entry.timestamp),
        entry,
        state: changelog.state,
        control,
        options: Arc::new(options),
        binding: Arc::new(Binding::of(&links)?),
    };
    plan.notes.extend(asked(&entries, &plan.options)?);
    plan.notes.extend(encrypted(repo, &entries)?);
    let offers = offers(repo, &links, wanted, format)?;
    let seen = Looked { repo, links: &links, entries: &entries };
    if format != Format::Native {
        plan.branch = offers.branch.clone();
    }
    match format {
        Format::Native => {}
        Format::One if !version.has_revision() => plan.layout = Some(Layout::NativeOne),
        Format::One if !offers.has_main() => {
            plan.layout = Some(Layout::NativeOne);
            plan.notes.push(format!(
                "there is no upstream tarball {package}_{}.orig.tar.gz: as dpkg-source does, a native package is made",
                version.upstream()
            ));
        }
        Format::One | Format::Quilt => with_upstream(&mut plan, wanted, &seen, &offers)?,
    }
    Ok(plan)
}

/// Returns what there is to make upstream tarballs of.
fn offers<'a>(
    repo: &'a Repository,
    links: &Links,
    wanted: &PlanInputs<'a>,
    format: Format,
) -> Result<Offers<'a>, Failure> {
    let Subject { commit, package, version, .. } = wanted.subject;
    let may = |source: OrigSource| wanted.orig.contains(&source);
    let own = wanted.subject.has_own_upstream();
    let pool = if may(OrigSource::Pool) || own { wanted.pool } else { &[] };
    let has_branch = may(OrigSource::PristineTar) && !own;
    let branch = if has_branch { wanted.branch } else { Branch::Fixed(None) };
    let offers = Offers::new(repo, (package, version), pool, branch)?;
    if own {
        let commit = repo.find_commit(commit.into())?;
        let (id, time) = (commit.tree_id(), commit.time().seconds());
        return Ok(
            offers.with_tree(Some(UpstreamTree { id, time, of: TreeOf::Commit }), Vec::new())
        );
    }
    // Without a tarball dpkg-source makes a native package of format 1.0, and that is one.
    if format != Format::Quilt || !may(OrigSource::Tag) {
        return Ok(offers);
    }
    let (tag, names) =
        (upstream_tag::find(repo, links, version)?, upstream_tag::names(links, version)?);
    Ok(offers.with_tree(tag, names))
}

/// Finds out what a commit has of upstream's files: whether there is a tarball of the written
/// upstream version, and whether the commit changes what that has. A package of another format than
/// 3.0 (quilt) has no tarball, or its changes in a diff. What is not known before the tarball is
/// made counts as unchanged.
pub fn upstream_files(repo: &Repository, wanted: &PlanInputs) -> Result<UpstreamFiles, Failure> {
    let tree = repo.find_commit((&wanted.subject.commit).into())?.tree()?;
    let links = Links::new(repo, &tree);
    let format = Format::of(&links)?;
    if format != Format::Quilt {
        return Ok(UpstreamFiles::Written);
    }
    if !offers(repo, &links, wanted, format)?.has_main() {
        return Ok(UpstreamFiles::New);
    }
    match plan(repo, wanted) {
        Err(failure) if matches!(failure.kind, FailureKind::Layout | FailureKind::Differs) => {
            Ok(UpstreamFiles::Changed)
        }
        // What else is wrong is said when the source package is planned.
        _ => Ok(UpstreamFiles::Written),
    }
}

fn with_upstream(
    plan: &mut SourcePlan,
    wanted: &PlanInputs,
    tree: &Looked,
    offers: &Offers,
) -> Result<(), Failure> {
    let Looked { repo, links, entries } = *tree;
    let (options, binding) = (plan.options.clone(), plan.binding.clone());
    let components = components(plan, entries, offers, &binding);
    let (tarballs, notes) = offers.choose(repo, plan.format, &components, &binding)?;
    plan.notes.extend(notes);
    plan.tarballs = tarballs;
    for tarball in &plan.tarballs {
        tarballs::is_bound(repo, tarball, &wanted.subject.commit, &binding)?;
        binding.demand(&tarball.name, tarball.sha256.as_deref())?;
    }
    let patches =
        if plan.format == Format::Quilt { Patches::of(links)? } else { Patches::default() };
    let deadline = Instant::now() + upstream::LOOK;
    let mut seen = SeenTarballs { binding: &binding, forged: Vec::new(), deadline };
    let upstream = seen.listing(repo, plan, wanted)?;
    let compared = layout::compare(plan.format, tree, upstream.as_ref(), &patches, &options)?;
    binary::refuse_unlisted(tree, plan.format, &options)?;
    plan.layout = compared.layout;
    for tarball in &mut plan.tarballs {
        if let Origin::PristineTar { members, .. } = &mut tarball.origin {
            // Of no use any more, and there may be many.
            members.clear();
        }
    }
    plan.notes.extend(compared.notes);
    for path in compared.extra.iter().chain(&compared.foreign) {
        let tarball = holder(&plan.tarballs, path);
        if may_be_bound(&binding, tarball) && !seen.forged.contains(&tarball.name) {
            continue;
        }
        let paths: Vec<&object::Path> =
            compared.extra.iter().chain(&compared.foreign).map(Vec::as_slice).collect();
        return Err(unbound(tarball, tarball.sha256.as_deref(), &paths));
    }
    plan.extra = compared
        .extra
        .iter()
        .map(|path| invirtibuilder_core::text::one_line(&object::shown(path)))
        .collect();
    Ok(())
}

/// Refuses a package that nothing builds.
fn has_rules(links: &Links, control: &Control) -> Result<(), Failure> {
    let why = match links.follow(b"", b"debian/rules")? {
        Led::File(_) => return Ok(()),
        _ if control.has_driver => return Ok(()),
        Led::Nothing => "is not there: a source package is built by it",
        Led::Directory => "is a directory, and has to be a file",
        Led::Nowhere | Led::Outside | Led::Round => {
            "is a symbolic link that leads to no file of the tree"
        }
    };
    Err(Failure::new(FailureKind::Tree, format!("debian/rules {why}")))
}

/// Tarballs of up to so many members are made to look into them.
const SMALL: usize = 2000;

/// What was seen of tarballs before the source package is made.
struct SeenTarballs<'a> {
    binding: &'a Binding,
    /// Those whose signature is by none of the commit's keys.
    forged: Vec<String>,
    /// When looking into tarballs has to end.
    deadline: Instant,
}

/// Lists the components that the commit has: those whose directory is in the tree or, where
/// upstream's files are not in it, those that the commit names or could bind.
fn components(
    plan: &mut SourcePlan,
    entries: &Entries,
    offers: &Offers,
    binding: &Binding,
) -> BTreeSet<String> {
    let is_bare = layout::is_bare(entries, &layout::VersionControl::new());
    let offered = if plan.format == Format::Quilt { offers.components() } else { BTreeSet::new() };
    let has = |name: &str| {
        let dir = format!("{name}/").into_bytes();
        entries.range(dir.clone()..).next().is_some_and(|(path, _)| path.starts_with(&dir))
    };
    let (taken, left): (BTreeSet<String>, BTreeSet<String>) =
        offered.into_iter().partition(|name| match is_bare {
            true if binding.has_sums() => binding.names_start(&offers.start(name)),
            true => true,
            false => has(name),
        });
    for name in left {
        let why = if is_bare {
            format!("{SUMS} does not name it")
        } else {
            format!("the commit has no directory {name}")
        };
        plan.notes.push(format!("the component {name} is left out: {why}"));
    }
    taken
}

impl SeenTarballs<'_> {
    /// Returns what the tarballs hold, if that can be told from here.
    fn listing(
        &mut self,
        repo: &Repository,
        plan: &SourcePlan,
        wanted: &PlanInputs,
    ) -> Result<Option<Listing>, Failure> {
        let mut all: Option<Listing> = None;
        let mut is_whole = true;
        for tarball in &plan.tarballs {
            match (self.one(repo, plan, wanted, tarball)?, &mut all, &tarball.component) {
                (None, ..) => is_whole = false,
                (Some(one), Some(all), Some(component)) => all.add_component(component, one),
                (Some(one), ..) => all = Some(one),
            }
        }
        Ok(all.filter(|_| is_whole))
    }

    fn one(
        &mut self,
        repo: &Repository,
        plan: &SourcePlan,
        wanted: &PlanInputs,
        tarball: &Tarball,
    ) -> Result<Option<Listing>, Failure> {
        let is_checked = self.binding.has_keys() && tarball.is_signed();
        match &tarball.origin {
            Origin::Pool { path, signature, .. } => {
                let listing = Listing::of_tarball(path)?;
                if let Some(signature) =
                    signature.as_ref().filter(|_| is_checked && listing.is_some())
                {
                    self.check(tarball, path, signature);
                }
                Ok(listing)
            }
            Origin::Tree(tree) => tree.listing(repo).map(Some),
            Origin::PristineTar { members, tree, .. } => {
                let by_names =
                    (!members.is_empty()).then(|| Listing::of_delta(repo, members, Some(*tree)));
                let (Some(scratch), Some(branch)) = (wanted.scratch, &plan.branch) else {
                    return Ok(by_names);
                };
                let left = self.deadline.saturating_duration_since(Instant::now());
                if left.is_zero() || members.len() > SMALL || !is_small(repo, *tree)? {
                    return Ok(by_names);
                }
                let look = |path: &Path| {
                    if is_checked {
                        self.check(
                            tarball,
                            path,
                            &path.with_file_name(format!("{}.asc", tarball.name)),
                        );
                    }
                    Listing::of_tarball(path)
                };
                Ok(upstream::look(&wanted.subject.repo, branch, tarball, (scratch, left), look)?
                    .or(by_names))
            }
        }
    }

    fn check(&mut self, tarball: &Tarball, path: &Path, signature: &Path) {
        if self.binding.verify(path, signature).is_err() {
            self.forged.push(tarball.name.clone());
        }
    }
}

/// Tells whether a tree is written out in no time: one blob may be in a thousand places.
fn is_small(repo: &Repository, tree: Oid) -> Result<bool, Failure> {
    let Ok(entries) = tree::entries(repo, &repo.find_tree(tree)?) else { return Ok(false) };
    let odb = repo.odb()?;
    let mut bytes = 0;
    for entry in entries.values().take(2 * SMALL + 1) {
        bytes += odb.read_header(entry.id)?.0 as u64;
    }
    Ok(entries.len() <= 2 * SMALL && bytes <= upstream::LOOK_ROOM)
}

/// Returns the tarball that a path comes from.
pub fn holder<'a>(tarballs: &'a [Tarball], path: &object::Path) -> &'a Tarball {
    let is_in = |tarball: &&Tarball| match &tarball.component {
        Some(name) => path.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"/")),
        None => false,
    };
    tarballs.iter().find(is_in).unwrap_or(&tarballs[0])
}

/// Tells whether the commit binds a tarball, or will turn out to when the tarball is there.
fn may_be_bound(binding: &Binding, tarball: &Tarball) -> bool {
    if tarball.is_of_tag() {
        // It is in the history, or the commit has its sum.
        return true;
    }
    let by_sum = match &tarball.sha256 {
        Some(sum) => binding.has_sum(&tarball.name, sum),
        None => binding.names(&tarball.name),
    };
    by_sum || (binding.has_keys() && tarball.is_signed())
}

/// Says what is wrong with a tarball that holds more than the commit and is not bound, and the way
/// out.
pub fn unbound(tarball: &Tarball, sha256: Option<&str>, paths: &[&object::Path]) -> Failure {
    let line = match sha256 {
        Some(sum) => format!("the line '{sum}  {}'", tarball.name),
        None => format!("what 'sha256sum {}' prints", tarball.name),
    };
    let signed = if tarball.is_signed() {
        format!(" ({}.asc, its signature, is by no key in {KEYS} of the commit)", tarball.name)
    } else {
        String::new()
    };
    let text = format!(
        "{} has what the commit has not: {}{signed}: if the files are gone, commit a patch that removes them; if they belong there, commit \
         {line} in {SUMS}, which binds the tarball",
        tarball.name,
        named(paths)
    );
    Failure::new(FailureKind::Differs, text)
}

/// Lists what the package itself asks for, which is done and said.
fn asked(entries: &Entries, options: &Options) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    let left: Vec<&object::Path> =
        ALWAYS_LEFT.iter().copied().filter(|path| entries.contains_key(*path)).collect();
    notes::add(&mut notes, notes::ALWAYS, &left);
    let ignore = options.tar_ignore()?;
    let ignored: Vec<&object::Path> =
        entries.keys().map(Vec::as_slice).filter(|path| ignore.matches(path)).collect();
    notes::add(&mut notes, &notes::asked_out("tar-ignore"), &ignored);
    if let Some(option) = options.patch_option() {
        notes.push(format!(
            "changes of upstream files become a patch, as debian/source/options asks ({option})"
        ));
    }
    Ok(notes)
}

/// What dpkg-source never packs (dpkg-source(1)).
pub const ALWAYS_LEFT: [&[u8]; 4] = [
    b"debian/files",
    b"debian/files.new",
    b"debian/source/local-options",
    b"debian/source/local-patch-header",
];

/// How many bytes are looked through for files of git-crypt.
const LOOKED_INTO: u64 = 128 << 20;

/// Files of git-crypt, as far as its line in `.gitattributes` says that there are any.
fn encrypted(repo: &Repository, entries: &Entries) -> Result<Option<String>, Failure> {
    if entries.len() > tree::QUICK {
        return Ok(None);
    }
    let attributes = entries
        .iter()
        .filter(|(path, _)| path.ends_with(b".gitattributes"))
        .map(|(_, entry)| entry.id);
    let mut uses = false;
    for id in attributes.collect::<BTreeSet<_>>() {
        let blob = object::blob(repo, id, 1 << 20)?;
        uses |= blob.is_some_and(|blob| {
            String::from_utf8_lossy(blob.content()).contains("filter=git-crypt")
        });
    }
    if !uses {
        return Ok(None);
    }
    let (mut found, mut room): (Vec<&object::Path>, u64) = (Vec::new(), LOOKED_INTO);
    for (path, entry) in entries {
        let Some(blob) = object::blob(repo, entry.id, room)? else { continue };
        room -= blob.size() as u64;
        if blob.content().starts_with(tree::GIT_CRYPT) {
            found.push(path);
        }
    }
    Ok((!found.is_empty())
        .then(|| format!("encrypted by git-crypt, and packed as they are: {}", named(&found))))
}

/// Where the pins of commits are.
const PINS: &str = "refs/invirt/pin/";

/// Keeps git-gc(1) from collecting what a plan takes from Git, by refs that belong to the service.
pub fn pin(repo: &Path, plan: &SourcePlan) -> anyhow::Result<()> {
    let Some(branch) = &plan.branch else { return Ok(()) };
    let repo = git::open(repo)?;
    let keep = |name: String, id: Oid| match repo.find_reference(&name) {
        Ok(_) => Ok(()),
        Err(_) => repo.reference(&name, id, true, "invirtibuilder: a job needs it").map(drop),
    };
    keep(format!("{PINS}{branch}/pristine-tar"), branch.into())?;
    for tarball in &plan.tarballs {
        if let Origin::PristineTar { tree, .. } = &tarball.origin {
            keep(format!("{PINS}{branch}/tree-{tree}"), *tree)?;
        }
    }
    Ok(())
}

/// Lets go of every pin but those of these commits.
pub fn unpin(repo: &Path, keep: &[CommitId]) -> anyhow::Result<()> {
    let repo = git::open(repo)?;
    for reference in repo.references_glob(&format!("{PINS}*"))? {
        let mut reference = reference?;
        let name = reference.name().unwrap_or_default().to_owned();
        let of =
            name.strip_prefix(PINS).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        if !keep.iter().any(|commit| commit.as_str() == of) {
            match reference.delete() {
                // Somebody else was faster.
                Err(error) if error.code() == ErrorCode::NotFound => {}
                done => done?,
            }
        }
    }
    Ok(())
}
