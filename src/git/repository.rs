//! Opens and creates bare repositories, and asks them for commits and refs.

use std::collections::BTreeSet;
use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Once};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use git2::{ErrorCode, Oid, Repository, RepositoryInitOptions, RepositoryOpenFlags};

use crate::unreadable::Unreadable;
use invirtibuilder_core::config::Config;
use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::{CommitId, PackageName};

/// Opens the bare repository at exactly `path`. It reads no configuration but the repository's own,
/// and that decides nothing that we rely on.
pub fn open(path: &Path) -> Result<Repository> {
    settle_library();
    Repository::open_ext(
        path,
        RepositoryOpenFlags::NO_SEARCH | RepositoryOpenFlags::BARE,
        [] as [&Path; 0],
    )
    .map_err(|error| Unreadable::of(path, &error).into())
}

/// Returns when this process first had to do with Git: another process left whatever is older.
pub fn started() -> SystemTime {
    static STARTED: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);
    *STARTED
}

/// Makes the settings of libgit2 that hold for the process.
fn settle_library() {
    static ONCE: Once = Once::new();
    started();
    // SAFETY: these change global state of libgit2 without a lock, so they are made once, before
    // any repository of ours is opened, and never again.
    #[allow(unsafe_code)]
    ONCE.call_once(|| unsafe {
        // Whoever may push owns objects and refs, so who owns the directory says nothing about what
        // is in it.
        let _ = git2::opts::set_verify_owner_validation(false);
        for level in [git2::ConfigLevel::System, git2::ConfigLevel::XDG, git2::ConfigLevel::Global]
        {
            let _ = git2::opts::set_search_path(level, "/nonexistent");
        }
        // Objects and refs are on the disk before the record says so.
        libgit2_sys::git_libgit2_opts(
            libgit2_sys::GIT_OPT_ENABLE_FSYNC_GITDIR as c_int,
            1 as c_int,
        );
    });
}

/// Finds the commit that a tag stands for, through any number of tag objects.
pub fn tag_target(repo: &Path, tag: &str) -> Result<Option<CommitId>> {
    peel(&open(repo)?, &format!("refs/tags/{tag}"))
}

/// Finds the commit that a branch of the service's points at. A branch that is a symbolic ref is an
/// error: the branch that it names is another's.
pub fn branch_head(repo: &Path, branch: &str) -> Result<Option<CommitId>> {
    let name = format!("refs/heads/{branch}");
    let opened = open(repo)?;
    if value(&opened, &name)? == Some(SYMBOLIC) {
        bail!("{}", symbolic(repo, branch));
    }
    peel(&opened, &name)
}

/// Says how an administrator mends a branch of the service's that is a symbolic ref.
pub fn symbolic(repo: &Path, branch: &str) -> String {
    let name = format!("refs/heads/{branch}");
    format!(
        "{name} of {0} is a symbolic ref to another branch, and nothing is published through one: have an administrator remove it with \
         'git -C {0} symbolic-ref --delete {name}', and then run 'invirt-build verify --repair'",
        repo.display()
    )
}

/// Finds the commit that a branch leads to, in a repository that is open. It follows a symbolic
/// ref.
pub fn head(repo: &Repository, branch: &str) -> Result<Option<CommitId>> {
    peel(repo, &format!("refs/heads/{branch}"))
}

/// Reads the object that a ref of this full name points at, unpeeled. A symbolic ref points at
/// [`SYMBOLIC`].
pub fn ref_value(repo: &Path, name: &str) -> Result<Option<Oid>> {
    value(&open(repo)?, name)
}

/// The object id that stands for the value of a symbolic ref: no object has it.
pub const SYMBOLIC: Oid = Oid::ZERO_SHA1;

/// Does what [`ref_value`] does, in a repository that is open.
pub fn value(repo: &Repository, name: &str) -> Result<Option<Oid>> {
    match repo.find_reference(name) {
        Ok(found) => Ok(Some(found.target().unwrap_or(SYMBOLIC))),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {name}")),
    }
}

/// Finds the ref that a symbolic ref names.
pub fn symbolic_target(repo: &Repository, name: &str) -> Option<String> {
    repo.find_reference(name).ok()?.symbolic_target().ok()?.map(str::to_owned)
}

/// Finds the commit that an object leads to, through any number of tags; `None`: it leads to none,
/// or is not there.
pub fn leads_to(repo: &Repository, oid: Oid) -> Option<Oid> {
    Some(repo.find_object(oid, None).ok()?.peel_to_commit().ok()?.id())
}

/// Tells whether Git may take `text` for the abbreviated id of an object.
pub fn is_abbreviation(text: &str) -> bool {
    (4..=40).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_hexdigit())
}

/// Finds the commits that an abbreviated id may stand for, as `ID^{commit}` of gitrevisions(7)
/// does: commits and tags whose ids begin so, the latter as the commits that they lead to. Files
/// and trees do not count.
pub fn commits_of_prefix(repo: &Repository, prefix: &str) -> Result<BTreeSet<Oid>> {
    if !is_abbreviation(prefix) {
        return Ok(BTreeSet::new());
    }
    let prefix = prefix.to_ascii_lowercase();
    let found = match repo.find_object_by_prefix(&prefix, None) {
        Ok(one) => vec![one.id()],
        Err(error) if error.code() == ErrorCode::NotFound => Vec::new(),
        Err(error) if error.code() == ErrorCode::Ambiguous => {
            let mut all = Vec::new();
            repo.odb()?.foreach(|oid| {
                if oid.to_string().starts_with(&prefix) {
                    all.push(*oid);
                }
                true
            })?;
            all
        }
        Err(error) => return Err(error.into()),
    };
    Ok(found.into_iter().filter_map(|oid| leads_to(repo, oid)).collect())
}

fn peel(repo: &Repository, name: &str) -> Result<Option<CommitId>> {
    match repo.find_reference(name) {
        Ok(found) => Ok(Some(
            found.peel_to_commit().with_context(|| format!("{name} is not a commit"))?.id().into(),
        )),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {name}")),
    }
}

/// Tells whether `descendant` is `ancestor` or comes after it. An ancestor that the repository does
/// not have is none.
pub fn is_ancestor(repo: &Repository, ancestor: &CommitId, descendant: &CommitId) -> Result<bool> {
    let (ancestor, descendant) = (Oid::from(ancestor), Oid::from(descendant));
    if ancestor == descendant {
        return Ok(true);
    }
    if repo.find_commit(ancestor).is_err() {
        return Ok(false);
    }
    Ok(repo.graph_descendant_of(descendant, ancestor)?)
}

/// Counts the commits that lead to a commit, itself among them, as `git rev-list --count` does.
pub fn count_commits(repo: &Repository, commit: &CommitId) -> Result<u64> {
    let mut walk = repo.revwalk()?;
    walk.push(commit.into())?;
    let mut count = 0;
    for oid in walk {
        oid?;
        count += 1;
    }
    Ok(count)
}

/// Lists the packages that have a bare repository, each with its path.
pub fn package_repositories(config: &Config) -> Result<Vec<(PackageName, PathBuf)>> {
    let superproject = &config.git.superproject;
    let package = |repo: PathBuf| Some((repo.file_stem()?.to_str()?.parse().ok()?, repo));
    Ok(repositories(config)?
        .into_iter()
        .filter(|repo| repo != superproject)
        .filter_map(package)
        .collect())
}

/// Creates the superproject, in an empty directory if there is one. Returns whether it was not
/// there yet.
pub fn init_superproject(path: &Path) -> Result<bool> {
    let empty = match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if empty { create(path) } else { open(path).map(drop) }.map(|()| empty)
}

/// Creates an empty package repository. It is an error if there is anything at `path`.
pub fn create_package_repo(path: &Path) -> Result<()> {
    if path.exists() {
        return Err(Error::invalid(format!("{} is there already", path.display())).into());
    }
    create(path)
}

/// Lists every repository there is: the superproject, then those of packages by name.
pub fn repositories(config: &Config) -> Result<Vec<PathBuf>> {
    let dir = &config.git.packages;
    let mut found = vec![config.git.superproject.clone()];
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|suffix| suffix == "git") && path.is_dir() {
            found.push(path);
        }
    }
    found[1..].sort_unstable();
    Ok(found)
}

fn create(path: &Path) -> Result<()> {
    settle_library();
    let mut options = RepositoryInitOptions::new();
    options.bare(true).no_reinit(true).mkdir(true).external_template(false).initial_head("main");
    let repo = Repository::init_opts(path, &options)
        .with_context(|| format!("cannot create {}", path.display()))?;
    // A push that was cut off must not leave objects that fsck cannot read.
    let mut config = repo.config()?;
    config.set_bool("receive.fsckObjects", true)?;
    config.set_str("core.fsync", "all")?;
    Ok(())
}
