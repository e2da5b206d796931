//! Checks that a request is valid: by the same rules at submission and again when the daemon claims
//! the job.
//!
//! 1. The pocket is configured, the package's repository exists, and COMMIT resolves to one commit
//!    in it.
//! 2. `debian/changelog` there parses and names the package; its version is valid, and none that
//!    dpkg takes for a rebuild.
//! 3. No version ever names two commits in a domain, but for one that an administrator let go; its
//!    old commit never has it again. The same version of the same commit is copied within the
//!    domain, not built again.
//! 4. Unless the pocket allows backtracking, the commit descends from what the pocket has, and its
//!    version is greater.
//! 5. What was published is fixed: Git does not have this version as published at another commit in
//!    the domain.
//!    Tags that the service did not make never refuse anything; publication puts those aside that
//!    are in the way.
//! 6. A copy fits: the pocket's own build could have had all that the build had which is copied
//!    (`copies`).
//! 7. A source package can be made of the commit, as far as that can be told before it is
//!    ([`plan_source`]).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use rusqlite::Connection;

use crate::copies;
use invirtibuilder_api::job::Job;
use invirtibuilder_archive::Archive;
use invirtibuilder_builder::source::{self, Changelog};
use invirtibuilder_core::config::{Config, ConfiguredPocket, Unreleased};
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::error::{Error, Failure, FailureKind};
use invirtibuilder_core::names::{
    CommitId, Distro, DomainName, JobId, PackageName, PocketName, Principal, Version,
};
use invirtibuilder_core::version_rule::{CommitFacts, EntryState, UpstreamFiles};
use invirtibuilder_environment as environment;
use invirtibuilder_git as git;
use invirtibuilder_store::jobs;
use invirtibuilder_store::pockets::{self, Clash};
use invirtibuilder_store::{contents, domains, pool, released, removals};
use invirtibuilder_system::architectures::{self, Table};

/// A request with its names and its commit looked up: rules 1 and 2 hold.
#[derive(Debug, Clone)]
pub struct JobRequest {
    /// The pocket that it goes into.
    pub pocket: PocketName,
    /// The domain of the pocket.
    pub domain: DomainName,
    /// The source package.
    pub package: PackageName,
    /// The commit, in full.
    pub commit: CommitId,
    /// The version that is built.
    pub version: Version,
    /// The version that `debian/changelog` has there.
    pub written: Version,
    /// The reason, if it is a rebuild without changes.
    pub why: Option<String>,
}

impl JobRequest {
    /// Returns the request of an accepted job.
    pub fn of(job: &Job) -> Self {
        Self {
            pocket: job.pocket.clone(),
            domain: job.domain.clone(),
            package: job.package.clone(),
            commit: job.commit.clone(),
            version: job.version.clone(),
            written: job.written.clone(),
            why: job.why.clone(),
        }
    }

    /// Names the version that it brings.
    pub fn identity(&self) -> Identity {
        let Self { domain, package, version, .. } = self;
        Identity { domain: domain.clone(), package: package.clone(), version: version.clone() }
    }

    /// Returns the commit that shall become a source package, for the distro of its version.
    pub fn subject(&self, config: &Config, distro: &Distro) -> source::Subject {
        let Self { package, commit, version, written, why, .. } = self.clone();
        let (repo, distro) = (config.git.package(&package), distro.clone());
        source::Subject { repo, commit, package, version, written, distro, why }
    }

    /// Looks the request up in the package's repository, which is opened for it, and finds the
    /// version that the pocket's rule gives it.
    pub fn read(
        db: &Connection,
        config: &Config,
        pocket: &PocketName,
        package: PackageName,
        commit: &str,
    ) -> Result<(Self, git2::Repository)> {
        let (repo, commit, changelog) = look_up(config, pocket, &package, commit)?;
        let mut request = Self {
            pocket: pocket.clone(),
            domain: config.domain(pocket),
            package,
            commit,
            version: changelog.version.clone(),
            written: changelog.version,
            why: None,
        };
        if !config.pocket(pocket.as_str())?.settings().version.is_none() {
            request.version = request.built(db, config, &repo, changelog.state)?;
        }
        request.refuse_rebuilt()?;
        Ok((request, repo))
    }

    /// Looks the request of a job up once more. Its version was found when it was submitted.
    pub fn read_again(config: &Config, job: &Job) -> Result<Self, Error> {
        let (_, _, changelog) = look_up(config, &job.pocket, &job.package, job.commit.as_str())?;
        let request = Self::of(job);
        if request.written != changelog.version {
            return Err(Error::invalid(format!(
                "{} {}: debian/changelog has version {}, and the job was made for {}",
                request.package,
                request.commit.short(),
                changelog.version,
                request.written
            )));
        }
        request.refuse_rebuilt()?;
        Ok(request)
    }

    /// Tells whether this is a rebuild without changes, and of a version that is not newer.
    fn is_rebuild_of(&self, held: &Version) -> bool {
        self.why.is_some() && held.precedes(&self.version)
    }

    /// Finds the version that the pocket's rule gives. A snapshot of a package with an upstream
    /// tarball has an upstream version of its own if it changes what the tarball has, or if there is
    /// none. What the record has of the commit stays so: a tarball may have come since.
    fn built(
        &self,
        db: &Connection,
        config: &Config,
        repo: &git2::Repository,
        entry: EntryState,
    ) -> Result<Version> {
        let Self { pocket, package, commit, written, .. } = self;
        let rules = config.pocket(pocket.as_str())?.settings();
        let rule = &rules.version;
        let count = if rule.snapshot { git::count_commits(repo, commit)? } else { 0 };
        let named = |upstream| {
            let facts = CommitFacts { commit, count, entry, upstream };
            rule.built(written, &facts)
        };
        let plain = named(UpstreamFiles::Written)?;
        if !rule.snapshot || !written.has_revision() {
            return Ok(plain);
        }
        let live = jobs::live(db, pocket, package, commit)?.map(|job| job.version);
        for upstream in [UpstreamFiles::Written, UpstreamFiles::Changed, UpstreamFiles::New] {
            let version = named(upstream)?;
            let id = Identity { version: version.clone(), ..self.identity() };
            let known = pockets::known(db, &id)?;
            if known.is_some_and(|known| known.commit == *commit) || live.as_ref() == Some(&version)
            {
                return Ok(version);
            }
        }
        let plain_request = Self { version: plain.clone(), ..self.clone() };
        let pool = pooled(config, db, &plain_request.identity())?;
        let scratch = config.scratch();
        let subject = plain_request.subject(config, &rules.distro);
        let inputs = source::PlanInputs {
            subject: &subject,
            pool: &pool,
            branch: source::Branch::Now,
            scratch: Some(&scratch),
            orig: &rules.orig,
        };
        let upstream = source::upstream_files(repo, &inputs)
            .map_err(|failure| refused(repo, &plain_request, failure))?;
        Ok(named(upstream)?)
    }

    /// Refuses a version that dpkg takes for a rebuild of another one.
    fn refuse_rebuilt(&self) -> Result<(), Error> {
        let Some(rebuilt) = self.version.rebuilt() else { return Ok(()) };
        Err(Error::invalid(format!(
            "{} {}: debian/changelog has version {}, which dpkg takes for a rebuild of {rebuilt}: \
             its packages would say that they are of that version; give it one that does not end in +b and a number",
            self.package,
            self.commit.short(),
            self.version
        )))
    }
}

/// Looks up what a request names: rules 1 and 2, but for what the version that is built may be.
fn look_up(
    config: &Config,
    pocket: &PocketName,
    package: &PackageName,
    commit: &str,
) -> Result<(git2::Repository, CommitId, Changelog), Error> {
    let rules = config.pocket(pocket.as_str())?.settings();
    let repo = config.git.package(package);
    if !repo.exists() {
        return Err(Error::invalid(format!(
            "there is no package {package}: 'create-repo {package}' makes its repository"
        )));
    }
    let repo = git::open(&repo).map_err(|error| Error::unavailable(format!("{error:#}")))?;
    let commit = git::resolve::resolve(&repo, package, commit)?;
    let changelog = source::changelog(&repo, &commit).map_err(|failure| {
        let text = format!("{package} {}: {}", commit.short(), failure.text);
        if failure.kind == FailureKind::System {
            unavailable(&repo, text)
        } else {
            Error::invalid(text)
        }
    })?;
    if changelog.source != *package {
        return Err(Error::invalid(format!(
            "{package} {}: debian/changelog is of source package {}: submit it to that package's repository",
            commit.short(),
            changelog.source
        )));
    }
    if changelog.state == EntryState::Unreleased && rules.unreleased == Some(Unreleased::Refuse) {
        return Err(Error::invalid(format!(
            "{package} {}: debian/changelog says UNRELEASED, and {pocket} takes finished versions only (unreleased): \
             'dch --release' finishes it",
            commit.short()
        )));
    }
    Ok((repo, commit, changelog))
}

/// The way in which the service carries out a valid request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Valid {
    /// It makes source package and binaries.
    Build,
    /// It takes those that the archive has already.
    Copy {
        /// A pocket that has this version; `None` when only the pool does.
        from: Option<PocketName>,
    },
}

/// The service's answer to a valid request.
#[derive(Debug, Clone)]
pub enum Decision {
    /// It makes a job of it.
    Run(Valid),
    /// It points to the job for it that has not ended.
    UnderWay(Box<Job>),
    /// It does nothing: the pocket has this commit, by this job.
    AlreadyThere(JobId),
}

/// Checks every rule. The slow part (history) is read from Git, so call it outside of a write
/// transaction. `job` is the one that is checked again; `None` for a new request.
pub fn check(
    db: &Connection,
    config: &Config,
    request: &JobRequest,
    job: Option<JobId>,
) -> Result<Decision> {
    let repo = git::open(&config.git.package(&request.package))?;
    check_in(db, config, &repo, request, job)
}

/// Does what [`check`] does, in a repository that is open already.
pub fn check_in(
    db: &Connection,
    config: &Config,
    repo: &git2::Repository,
    request: &JobRequest,
    job: Option<JobId>,
) -> Result<Decision> {
    let decision = check_record(db, config, request, job)?;
    if let Decision::Run(valid) = &decision {
        check_git(db, config, repo, request)?;
        if let Valid::Copy { .. } = valid {
            let pocket = config.pocket(request.pocket.as_str())?;
            copies::check(db, config, pocket, &request.identity())?;
        }
    }
    Ok(decision)
}

/// Rule 7: decides what the source package of a request is made of.
///
/// `pool` lists the files that the pool has of its upstream version. It may make small tarballs in
/// `scratch`, to look into them.
pub fn plan_source(
    config: &Config,
    request: &JobRequest,
    pool: &[source::Pooled],
    branch: source::Branch,
    scratch: Option<&Path>,
) -> Result<source::SourcePlan, Failure> {
    let repo = git::open(&config.git.package(&request.package))?;
    plan_in(config, &repo, request, (pool, branch, scratch))
}

/// Does what [`plan_source`] does, in a repository that is open already.
fn plan_in(
    config: &Config,
    repo: &git2::Repository,
    request: &JobRequest,
    (pool, branch, scratch): (&[source::Pooled], source::Branch, Option<&Path>),
) -> Result<source::SourcePlan, Failure> {
    let pocket = config.pocket_of_job(&request.pocket)?;
    let (version, rules) = (&request.version, pocket.settings());
    let inputs = source::PlanInputs {
        subject: &request.subject(config, &rules.distro),
        pool,
        branch,
        scratch,
        orig: &rules.orig,
    };
    let mut plan = source::plan(repo, &inputs)?;
    if plan.state == EntryState::Unreleased && rules.unreleased.is_none() {
        plan.notes.push(
            "debian/changelog says UNRELEASED, which does not keep it from being published"
                .to_owned(),
        );
    }
    if plan.format == source::Format::Native && version.has_revision() {
        // Only some releases of dpkg-source take that.
        let programs = environment::programs::From::of(config, pocket.settings())?;
        plan.format.check(version, programs.dpkg())?;
    }
    check_control(pocket, &plan.control)?;
    Ok(plan)
}

/// Refuses a source package of which nothing can be built for a pocket, or that has no place in its
/// suite.
fn check_control(pocket: ConfiguredPocket, control: &source::Control) -> Result<(), Failure> {
    let (name, pocket) = (pocket.name(), pocket.settings());
    let words = control.architectures();
    if words.is_empty() {
        // dpkg-source says what is wrong with it.
        return Ok(());
    }
    let (table, ours) = (Table::read()?, architectures::of_pocket(pocket));
    let targets = architectures::to_build(&table, &words, &ours);
    if targets.is_empty() {
        return Err(Failure::new(
            FailureKind::Invalid,
            architectures::nothing_for(name, &words, &ours),
        ));
    }
    let is_made = |binary: &&source::BinaryPackage| {
        let words = || binary.architectures.iter().map(String::as_str);
        words().any(|word| word == "all")
            || targets.iter().any(|(target, _)| table.covers(words(), target))
    };
    let made = control.binaries.iter().filter(is_made);
    let sections = made.map(|binary| (format!("binary package {}", binary.name), &binary.section));
    let whole = std::iter::once(("the source package".to_owned(), &control.section));
    for (what, section) in whole.chain(sections) {
        let component = section
            .as_deref()
            .and_then(|section| section.split_once('/'))
            .map(|(component, _)| component);
        if let Some(other) =
            component.filter(|it| !pocket.components.iter().any(|own| own.as_str() == *it))
        {
            let text = format!(
                "the section of {what} in debian/control belongs to component {other}, which {name} has not: add it to the pocket's \
                 components, or change the section"
            );
            return Err(Failure::new(FailureKind::Invalid, text));
        }
    }
    Ok(())
}

/// Lists the files of the domain's pool that are of a version's upstream version.
pub fn pooled(config: &Config, db: &Connection, id: &Identity) -> Result<Vec<source::Pooled>> {
    let stem = format!("{}_{}.orig", id.package, id.version.upstream());
    let files = pool::upstream(db, (&id.domain, &id.package), &stem)?;
    let archive = Archive::open(config, &id.domain)?;
    let mut by_name = BTreeMap::new();
    for (file, job) in files {
        let path = archive.root().join(&file.path);
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .context("a file of the pool has a name")?
            .to_owned();
        by_name.insert(name.clone(), source::Pooled { name, path, sha256: file.sha256, job });
    }
    Ok(by_name.into_values().collect())
}

/// Writes a plan as the record keeps it.
pub fn planned(plan: &source::SourcePlan) -> invirtibuilder_api::source::JobSource {
    let tarball = |tarball: &source::Tarball| {
        let (brought_by, delta, tree) = match &tarball.origin {
            source::Origin::Pool { job, .. } => (*job, None, None),
            source::Origin::PristineTar { delta, tree, .. } => {
                (None, Some(delta.to_string()), Some(tree.to_string()))
            }
            source::Origin::Tree(tree) => (None, None, Some(tree.id.to_string())),
        };
        let tag = match &tarball.origin {
            source::Origin::Tree(source::UpstreamTree {
                of: source::TreeOf::Tag { name, .. },
                ..
            }) => Some(name.clone()),
            _ => None,
        };
        let (name, origin, sha256) =
            (tarball.name.clone(), tarball.from().to_owned(), tarball.sha256.clone());
        invirtibuilder_api::source::JobTarball {
            name,
            origin,
            brought_by,
            delta,
            tree,
            tag,
            sha256,
            bound: None,
        }
    };
    invirtibuilder_api::source::JobSource {
        branch: plan.branch.clone(),
        layout: plan.layout,
        extra: plan.extra.clone(),
        notes: plan.notes.clone(),
        tarballs: plan.tarballs.iter().map(tarball).collect(),
        ..invirtibuilder_api::source::JobSource::default()
    }
}

/// Does what [`plan_source`] does at submission, where what is wrong ends the request.
pub fn plan_submission(
    db: &Connection,
    config: &Config,
    repo: &git2::Repository,
    request: &JobRequest,
) -> Result<source::SourcePlan> {
    let pool = pooled(config, db, &request.identity())?;
    plan_in(config, repo, request, (&pool, source::Branch::Now, Some(&config.scratch())))
        .map_err(|failure| refused(repo, request, failure))
}

/// Makes the error of a request whose source package cannot be made.
fn refused(repo: &git2::Repository, request: &JobRequest, failure: Failure) -> anyhow::Error {
    let JobRequest { package, version, commit, .. } = request;
    let text = format!("{package} {version} ({}): {}", commit.short(), failure.text);
    match failure.kind {
        FailureKind::System => unavailable(repo, text).into(),
        FailureKind::Chroot => Error::unavailable(text).into(),
        _ => Error::invalid(text).into(),
    }
}

/// Makes the error of an open repository that cannot be read: it says what mends it, if that is
/// known.
fn unavailable(repo: &git2::Repository, text: String) -> Error {
    Error::unavailable(git::lacks_objects(repo).unwrap_or(text))
}

/// Checks the rules that the record decides. That is cheap: call it again in the transaction that
/// queues the job.
pub fn check_record(
    db: &Connection,
    config: &Config,
    request: &JobRequest,
    job: Option<JobId>,
) -> Result<Decision> {
    let JobRequest { pocket, package, commit, version, .. } = request;
    for domain in [&request.domain, &config.domain(pocket)] {
        domains::check(db, pocket, domain)?;
    }
    if let Some(live) = jobs::live(db, pocket, package, commit)?.filter(|live| Some(live.id) != job)
    {
        return Ok(Decision::UnderWay(Box::new(live)));
    }
    let valid = check_unique(db, config, request)?;
    match pockets::held(db, pocket, package)? {
        Some(held) if held.commit == *commit && !request.is_rebuild_of(&held.version) => {
            return Ok(Decision::AlreadyThere(held.job));
        }
        Some(held)
            if !config.pocket(pocket.as_str())?.settings().allow_backtracking
                && !held.version.precedes(version) =>
        {
            return Err(Error::invalid(format!(
                "version {version} of {package} ({}) is not greater than {}, which {pocket} has ({}): raise it in \
                 debian/changelog",
                commit.short(),
                held.version,
                held.commit.short()
            ))
            .into());
        }
        Some(_) => {}
        None => check_removed(db, config, request)?,
    }
    Ok(Decision::Run(valid))
}

/// Refuses an older version than the one that somebody has taken out of a pocket that never goes
/// back. That one itself may come again.
fn check_removed(db: &Connection, config: &Config, request: &JobRequest) -> Result<()> {
    let JobRequest { pocket, package, commit, version, .. } = request;
    let Some(removed) = removals::removed(db, pocket, package)? else { return Ok(()) };
    let had = &removed.held.version;
    if config.pocket(pocket.as_str())?.settings().allow_backtracking || !version.precedes(had) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "version {version} of {package} ({}) is older than {had}, which {pocket} had until {} removed it: raise it in \
         debian/changelog, or submit {} again",
        commit.short(),
        removed.by,
        removed.held.commit.short()
    ))
    .into())
}

/// Refuses a principal that may not have one more open job. Call it in the transaction that queues
/// the job.
pub fn check_open_jobs(db: &Connection, config: &Config, who: &Principal) -> Result<()> {
    let Some(most) = config.build.open_jobs else { return Ok(()) };
    if !jobs::has_open(db, who, most)? {
        return Ok(());
    }
    let text = format!(
        "{who} has {most} open jobs, and build.open_jobs allows no more: wait for one to end, or cancel one"
    );
    Err(Error::try_again(text).into())
}

/// Checks rule 3.
fn check_unique(db: &Connection, config: &Config, request: &JobRequest) -> Result<Valid> {
    let JobRequest { pocket, package, commit, version, .. } = request;
    let id = &request.identity();
    let Some(known) = pockets::known(db, id)? else {
        if let Some(job) = jobs::live_rival(db, id, commit)? {
            return Err(Error::invalid(format!(
                "version {version} of {package} is being brought in from commit {} by job {}, and {} cannot have it \
                 too: raise the version in debian/changelog",
                job.commit.short(),
                job.id,
                commit.short()
            ))
            .into());
        }
        if let Some((other, clash)) = pockets::clashing(db, id)? {
            let why = match clash {
                Clash::Same => {
                    format!("is the same as {other} to apt and dpkg, and that was published")
                }
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
        if let Some(old) = released::of_commit(db, id, commit)? {
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
    let wanted = &config.pocket(pocket.as_str())?.settings().distro;
    if known.distro != *wanted {
        return Err(Error::invalid(format!(
            "version {version} of {package} ({}) was built for {}, but {pocket} is for {wanted}: give {wanted} a version \
             of its own in debian/changelog",
            commit.short(),
            known.distro
        ))
        .into());
    }
    if contents::changes(db, id)?.is_none() {
        // The archive has forgotten its binaries.
        return Ok(Valid::Build);
    }
    Ok(Valid::Copy { from: pockets::holder(db, id)?.map(|held| held.pocket) })
}

/// Checks rules 4 (descent) and 5, which Git decides.
fn check_git(
    db: &Connection,
    config: &Config,
    repo: &git2::Repository,
    request: &JobRequest,
) -> Result<()> {
    let JobRequest { pocket, package, commit, version, .. } = request;
    let (path, branch) = (config.git.package(package), config.branch(pocket));
    let superproject = git::open(&config.git.superproject)?;
    for (opened, path) in [(repo, &path), (&superproject, &config.git.superproject)] {
        if git::value(opened, &format!("refs/heads/{branch}"))? == Some(git::SYMBOLIC) {
            return Err(Error::invalid(git::symbolic(path, &branch)).into());
        }
    }
    // The record may have been restored from before that publication.
    let id = request.identity();
    let tag = match pockets::known(db, &id)? {
        Some(known) => known.tag_name,
        None => config.tag(pocket).tag(version),
    };
    let tags = !config.pocket(pocket.as_str())?.settings().allow_backtracking;
    if tags && !config.owns_tag(&id.domain, &tag) {
        return Err(Error::invalid(format!(
            "version {version} of {package} was first published when the tags of domain {} had other names, and {tag} may be \
             that of another domain's version now: raise the version in debian/changelog",
            id.domain
        ))
        .into());
    }
    match git::Marks::of(&id.domain).published_commit(repo, &tag)? {
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
    if !tags {
        return Ok(());
    }
    // A branch that was there before the pocket's first publication counts as what the pocket has.
    let held = pockets::held(db, pocket, package)?
        .map(|held| (held.commit, format!("({}), which {pocket} has", held.version)));
    let removed = || -> Result<_> {
        let removed = removals::removed(db, pocket, package)?;
        Ok(removed.map(|it| {
            let had =
                format!("({}), which {pocket} had until {} removed it", it.held.version, it.by);
            (it.held.commit, had)
        }))
    };
    let base = match held {
        Some(held) => Some(held),
        None => removed()?,
    };
    let (base, what) = match base {
        Some(base) => base,
        None => match git::head(repo, &branch)? {
            Some(head) => (head, format!("where branch {branch} is")),
            None => return Ok(()),
        },
    };
    if git::is_ancestor(repo, &base, commit)? {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "commit {} of {package} ({version}) does not descend from {} {what}: merge that first",
        commit.short(),
        base.short()
    ))
    .into())
}
