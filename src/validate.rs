//! What makes a request valid: the same rules at submission and again when the daemon claims the job.
//!
//! 1. The pocket is configured, the package's repository exists, and COMMIT resolves to one commit in it.
//! 2. `debian/changelog` there parses and names the package; its version is valid.
//! 3. No version ever names two commits, but for one that an administrator let go; its old commit never has it again. The same
//!    version of the same commit is copied, not built again.
//! 4. Unless the pocket allows backtracking, the commit descends from what the pocket has, and its version is greater.
//! 5. What was published is fixed: Git does not have this version as published at another commit. Tags that the service did
//!    not make never refuse anything; publication puts those aside that are in the way.
//! 6. A copy fits: the pocket's own build could have had all that the build had which is copied (`copies`).
//! 7. A source package can be made of the commit, as far as that can be told before it is ([`plan_source`]).

use std::path::Path;

use anyhow::Result;
use rusqlite::Connection;

use crate::architectures::{self, Table};
use crate::chroot;
use crate::config::{Config, Pocket};
use crate::error::{Error, Failure, FailureKind};
use crate::names::{CommitId, JobId, PackageName, PocketName, Principal, Version};
use crate::record::jobs::{self, Job};
use crate::record::pockets::Clash;
use crate::record::{contents, pockets, released};
use crate::{copies, gitrecord, source};

/// A request whose names and commit were looked up: rules 1 and 2 hold.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where it goes.
    pub pocket: PocketName,
    /// The source package.
    pub package: PackageName,
    /// The commit, in full.
    pub commit: CommitId,
    /// The version that `debian/changelog` has there.
    pub version: Version,
}

impl Request {
    /// What an accepted job asks for.
    pub fn of(job: &Job) -> Self {
        Self {
            pocket: job.pocket.clone(),
            package: job.package.clone(),
            commit: job.commit.clone(),
            version: job.version.clone(),
        }
    }

    /// The commit that is to become a source package.
    pub fn subject(&self, config: &Config) -> source::Subject {
        let Self { package, commit, version, .. } = self.clone();
        source::Subject { repo: config.git.package(&package), commit, package, version }
    }

    /// Looks the request up in the package's repository.
    pub fn read(config: &Config, pocket: &PocketName, package: PackageName, commit: &str) -> Result<Self, Error> {
        config.pocket(pocket.as_str())?;
        let repo = config.git.package(&package);
        if !repo.exists() {
            return Err(Error::invalid(format!(
                "there is no package {package}: 'create-repo {package}' makes its repository"
            )));
        }
        let repo = gitrecord::open(&repo).map_err(|error| Error::unavailable(format!("{error:#}")))?;
        let commit = source::resolve(&repo, &package, commit)?;
        let changelog = source::changelog(&repo, &commit).map_err(|failure| {
            let text = format!("{package} {}: {}", commit.short(), failure.text);
            if failure.kind == FailureKind::System { unavailable(&repo, text) } else { Error::invalid(text) }
        })?;
        if changelog.source != package {
            return Err(Error::invalid(format!(
                "{package} {}: debian/changelog is of source package {}: submit it to that package's repository",
                commit.short(),
                changelog.source
            )));
        }
        Ok(Self { pocket: pocket.clone(), package, commit, version: changelog.version })
    }
}

/// How a valid request is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Valid {
    /// Source package and binaries are made.
    Build,
    /// The archive has them already.
    Copy {
        /// A pocket that has this version; `None` when only the pool does.
        from: Option<PocketName>,
    },
}

/// What is to be done about a valid request.
#[derive(Debug, Clone)]
pub enum Plan {
    /// It makes a job.
    Run(Valid),
    /// There is a job for it that has not ended.
    UnderWay(Box<Job>),
    /// The pocket has this commit, by this job.
    AlreadyThere(JobId),
}

/// Every rule. The slow part (history) is read from Git, so call it outside of a write transaction. `job` is the one
/// that is checked again; `None` for a new request.
pub fn check(db: &Connection, config: &Config, request: &Request, job: Option<JobId>) -> Result<Plan> {
    let plan = check_record(db, config, request, job)?;
    if let Plan::Run(valid) = &plan {
        check_git(db, config, request)?;
        if let Valid::Copy { .. } = valid {
            copies::check(db, config, &request.pocket, &request.package, &request.version)?;
        }
    }
    Ok(plan)
}

/// Rule 7: decides what the source package of a request is made of.
///
/// `pool` is what the pool has of its upstream version. Small tarballs may be made in `scratch`, to look into them.
pub fn plan_source(
    config: &Config,
    request: &Request,
    pool: &[source::Pooled],
    branch: source::Branch,
    scratch: Option<&Path>,
) -> Result<source::Plan, Failure> {
    let Request { pocket, version, .. } = request;
    let plan = source::plan(&source::Wanted { subject: &request.subject(config), pool, branch, scratch })?;
    if plan.format == source::Format::Native && version.has_revision() {
        // Only some releases of dpkg-source take that.
        let host = chroot::host_architecture_blocking()?;
        let programs = chroot::programs::From::of(config, &config.build.pockets[pocket], &host)?;
        plan.format.check(version, programs.dpkg())?;
    }
    check_control(pocket, &config.build.pockets[pocket], &plan.control)?;
    Ok(plan)
}

/// Whether anything of a source package can be built for a pocket, and has a place in its suite.
fn check_control(name: &PocketName, pocket: &Pocket, control: &source::Control) -> Result<(), Failure> {
    let words = control.architectures();
    if words.is_empty() {
        // dpkg-source says what is wrong with it.
        return Ok(());
    }
    let (table, ours) = (Table::read()?, architectures::of_pocket(pocket)?);
    let targets = architectures::to_build(&table, &words, &ours);
    if targets.is_empty() {
        return Err(Failure::new(FailureKind::Invalid, architectures::nothing_for(name, &words, &ours)));
    }
    let is_made = |binary: &&source::Binary| {
        let words = || binary.architectures.iter().map(String::as_str);
        words().any(|word| word == "all") || targets.iter().any(|(target, _)| table.covers(words(), target))
    };
    let made = control.binaries.iter().filter(is_made);
    let sections = made.map(|binary| (format!("binary package {}", binary.name), &binary.section));
    let whole = std::iter::once(("the source package".to_owned(), &control.section));
    for (what, section) in whole.chain(sections) {
        let component = section.as_deref().and_then(|section| section.split_once('/')).map(|(component, _)| component);
        if let Some(other) = component.filter(|it| !pocket.components.iter().any(|own| own.as_str() == *it)) {
            let text = format!(
                "the section of {what} in debian/control belongs to component {other}, which {name} has not: add it to the pocket's \
                 components, or change the section"
            );
            return Err(Failure::new(FailureKind::Invalid, text));
        }
    }
    Ok(())
}

/// The same at submission, where what is wrong ends the request.
pub fn plan_submission(db: &Connection, config: &Config, request: &Request) -> Result<source::Plan> {
    let pool = source::pooled(config, db, &request.package, &request.version)?;
    plan_source(config, request, &pool, source::Branch::Now, Some(&config.scratch())).map_err(|failure| {
        let text = format!("{} {} ({}): {}", request.package, request.version, request.commit.short(), failure.text);
        match failure.kind {
            FailureKind::System => match gitrecord::open(&config.git.package(&request.package)) {
                Ok(repo) => unavailable(&repo, text).into(),
                Err(error) => error,
            },
            FailureKind::Chroot => Error::unavailable(text).into(),
            _ => Error::invalid(text).into(),
        }
    })
}

/// What keeps a repository that is open from being read: if it is known, by what mends it.
fn unavailable(repo: &git2::Repository, text: String) -> Error {
    Error::unavailable(gitrecord::lacks_objects(repo).unwrap_or(text))
}

/// The rules that the record decides: cheap, and to be called again in the transaction that queues the job.
pub fn check_record(db: &Connection, config: &Config, request: &Request, job: Option<JobId>) -> Result<Plan> {
    let Request { pocket, package, commit, version } = request;
    if let Some(live) = jobs::live(db, pocket, package, commit)?.filter(|live| Some(live.id) != job) {
        return Ok(Plan::UnderWay(Box::new(live)));
    }
    let valid = check_unique(db, config, request)?;
    match pockets::held(db, pocket, package)? {
        Some(held) if held.commit == *commit => return Ok(Plan::AlreadyThere(held.job)),
        Some(held) if !config.pocket(pocket.as_str())?.1.allow_backtracking && !held.version.precedes(version) => {
            return Err(Error::invalid(format!(
                "version {version} of {package} ({}) is not greater than {}, which {pocket} has ({}): raise it in \
                 debian/changelog",
                commit.short(),
                held.version,
                held.commit.short()
            ))
            .into());
        }
        _ => {}
    }
    Ok(Plan::Run(valid))
}

/// Whether whoever asks may have one more open job. To be called in the transaction that queues it.
pub fn check_open_jobs(db: &Connection, config: &Config, who: &Principal) -> Result<()> {
    let Some(most) = config.build.open_jobs else { return Ok(()) };
    if !jobs::has_open(db, who, most)? {
        return Ok(());
    }
    let text =
        format!("{who} has {most} open jobs, and build.open_jobs allows no more: wait for one to end, or cancel one");
    Err(Error::try_again(text).into())
}

/// Rule 3.
fn check_unique(db: &Connection, config: &Config, request: &Request) -> Result<Valid> {
    let Request { pocket, package, commit, version } = request;
    let Some(known) = pockets::known(db, package, version)? else {
        if let Some(job) = jobs::live_rival(db, package, version, commit)? {
            return Err(Error::invalid(format!(
                "version {version} of {package} is being brought in from commit {} by job {}, and {} cannot have it \
                 too: raise the version in debian/changelog",
                job.commit.short(),
                job.id,
                commit.short()
            ))
            .into());
        }
        if let Some((other, clash)) = pockets::clashing(db, package, version)? {
            let why = match clash {
                Clash::Same => format!("is the same as {other} to apt and dpkg, and that was published"),
                Clash::Files => format!(
                    "has the same file names as {other}, which was published, as an epoch is in none, and a file of the pool never changes"
                ),
            };
            return Err(Error::invalid(format!(
                "version {version} of {package} ({}) {why}: raise the version in debian/changelog",
                commit.short()
            ))
            .into());
        }
        if let Some(old) = released::of_commit(db, package, version, commit)? {
            return Err(Error::invalid(format!(
                "version {version} of {package} ({}) was let go by {}, and this commit never has it again: commit a change, or raise \
                 the version in debian/changelog",
                commit.short(),
                old.by
            ))
            .into());
        }
        return Ok(Valid::Build);
    };
    if known.commit != *commit {
        return Err(Error::invalid(format!(
            "version {version} of {package} is commit {} since job {}, and {} cannot have it too: raise the version in \
             debian/changelog",
            known.commit.short(),
            known.job,
            commit.short()
        ))
        .into());
    }
    let wanted = &config.pocket(pocket.as_str())?.1.distro;
    if known.distro != *wanted {
        return Err(Error::invalid(format!(
            "version {version} of {package} ({}) was built for {}, but {pocket} is for {wanted}: give {wanted} a version \
             of its own in debian/changelog",
            commit.short(),
            known.distro
        ))
        .into());
    }
    if contents::changes(db, package, version)?.is_none() {
        // The archive has forgotten its binaries.
        return Ok(Valid::Build);
    }
    Ok(Valid::Copy { from: pockets::holder(db, package, version)?.map(|held| held.pocket) })
}

/// Rules 4 (descent) and 5, which Git decides.
fn check_git(db: &Connection, config: &Config, request: &Request) -> Result<()> {
    let Request { pocket, package, commit, version } = request;
    let (path, branch) = (config.git.package(package), config.branch(pocket));
    let (repo, superproject) = (gitrecord::open(&path)?, gitrecord::open(&config.git.superproject)?);
    for (opened, path) in [(&repo, &path), (&superproject, &config.git.superproject)] {
        if gitrecord::value(opened, &format!("refs/heads/{branch}"))? == Some(gitrecord::SYMBOLIC) {
            return Err(Error::invalid(gitrecord::symbolic(path, &branch)).into());
        }
    }
    // The record may have been restored from before that publication.
    match gitrecord::published_commit(&repo, &version.tag())? {
        Some(published) if published != *commit => {
            return Err(Error::invalid(format!(
                "version {version} of {package} was published as {}, and {} cannot have it too: raise the version in \
                 debian/changelog",
                published.short(),
                commit.short()
            ))
            .into());
        }
        _ => {}
    }
    if config.pocket(pocket.as_str())?.1.allow_backtracking {
        return Ok(());
    }
    // A branch that was there before the pocket's first publication counts as what the pocket has.
    let (base, what) = match pockets::held(db, pocket, package)? {
        Some(held) => (held.commit, format!("({}), which {pocket} has", held.version)),
        None => match gitrecord::head(&repo, &branch)? {
            Some(head) => (head, format!("where branch {branch} is")),
            None => return Ok(()),
        },
    };
    if gitrecord::is_ancestor(&repo, &base, commit)? {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "commit {} of {package} ({version}) does not descend from {} {what}: merge that first",
        commit.short(),
        base.short()
    ))
    .into())
}
