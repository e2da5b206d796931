//! Publishing: one transaction with one commit point, for a set of jobs.
//!
//! 1. Artifacts are checked and put in the pool; Git objects and the next generation of each suite are written. All of
//!    it is only ever added, and nothing shows it yet.
//! 2. One SQLite COMMIT: what pockets and suites hold, the jobs' state, and the moves now owed.
//! 3. The owed moves are made: tag, package branch, superproject branch, suite. Each is a compare-and-set and can be
//!    repeated, so whoever dies here is followed by a [`Publisher::settle`] that ends it.
//!
//! `docs/design.md` says what a crash leaves at each step.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use anyhow::Result;
use rusqlite::Transaction;

use crate::archive::{Admission, Archive, Change, Prepared, SuiteSpec};
use crate::config::Config;
use crate::error::{Failure, FailureKind};
use crate::failpoint::{Point, reach};
use crate::gitrecord::{self, Move, Stamp};
use crate::names::{Architecture, CommitId, JobId, PocketName};
use crate::record::audit::Entry;
use crate::record::contents;
use crate::record::jobs::{self, Job};
use crate::record::moves::{self, Owed, What};
use crate::record::pockets::{self, Held, Known};
use crate::record::{Record, State, now};
use crate::validate::{self, Plan, Request};

/// A job whose package is ready.
#[derive(Debug, Clone)]
pub struct Item {
    /// The job, in state `publishing`.
    pub job: Job,
    /// The directory that holds source package and binaries; `None`: the pool has them already.
    pub built: Option<PathBuf>,
}

/// The one that publishes: its lock is what makes publications follow each other.
pub struct Publisher {
    record: Mutex<Record>,
    host: Architecture,
}

impl Publisher {
    /// A publisher with a connection of its own. `host` is what a pocket without architectures builds for.
    pub fn new(record: Record, host: Architecture) -> Self {
        Self { record: Mutex::new(record), host }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        // A publication that panicked has rolled its transaction back: the record is as good as before.
        self.record.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The architectures that a pocket's suite has.
    pub fn architectures(&self, config: &Config, pocket: &PocketName) -> Vec<Architecture> {
        let configured = &config.build.pockets[pocket].architectures;
        if configured.is_empty() { vec![self.host.clone()] } else { configured.clone() }
    }

    fn suite(&self, config: &Config, pocket: &PocketName) -> SuiteSpec {
        SuiteSpec {
            suite: config.suite(pocket),
            components: config.build.pockets[pocket].components.clone(),
            architectures: self.architectures(config, pocket),
        }
    }

    /// Publishes all of `items` or none. When this returns `Ok` they are in the record for good; the moves that could
    /// not be made yet are returned, stay owed and are tried again by [`Publisher::settle`].
    pub fn publish(&self, config: &Config, items: &[Item]) -> Result<Vec<Unmade>, Failure> {
        let mut record = self.record();
        let unmade = settle(config, &mut record)?;
        let publication = Publication::prepare(self, config, &record, items)?;
        if let Some(blocking) = unmade.iter().find(|unmade| publication.touches(&unmade.owed)) {
            let text = format!("an earlier publication is not complete: {}", blocking.why);
            return Err(Failure::new(FailureKind::Conflict, text));
        }
        reach(Point::PublishPrepared)?;
        record.write(|tx| publication.commit(tx, config))?;
        reach(Point::PublishCommitted)?;
        // Committed is published: what cannot be settled now is owed, and whoever settles next says why it cannot.
        Ok(settle(config, &mut record).unwrap_or_default())
    }

    /// Makes the moves that committed publications owe, and returns those that could not be made.
    pub fn settle(&self, config: &Config) -> Result<Vec<Unmade>> {
        settle(config, &mut self.record())
    }

    /// Brings every pocket's suite to what the configuration says about it: a new pocket's is empty, but there.
    pub fn project(&self, config: &Config) -> Result<()> {
        let mut record = self.record();
        let archive = Archive::open(config)?;
        for pocket in config.build.pockets.keys() {
            let prepared = archive.prepare(record.db(), &self.suite(config, pocket), &[])?;
            if !prepared.is_empty() {
                record.write(|tx| {
                    Archive::record(tx, &prepared)?;
                    moves::owe_suite(tx, None, prepared.suite(), prepared.generation())
                })?;
                reach(Point::ProjectCommitted)?;
            }
        }
        settle(config, &mut record)?;
        archive.publish_key()?;
        archive.sweep(record.db(), &config.build.pockets.keys().map(|p| config.suite(p)).collect::<Vec<_>>())
    }
}

/// A move that is owed and could not be made.
#[derive(Debug)]
pub struct Unmade {
    /// The move.
    pub owed: Owed,
    /// Why, in a sentence.
    pub why: String,
}

fn settle(config: &Config, record: &mut Record) -> Result<Vec<Unmade>> {
    let (mut made, mut unmade) = (Vec::new(), Vec::new());
    for owed in moves::owed(record.db())? {
        match make(config, record, &owed.what) {
            Ok(()) => made.push(owed.id),
            Err(error) => unmade.push(Unmade { owed, why: format!("{error:#}") }),
        }
    }
    if !made.is_empty() {
        reach(Point::MovesUnrecorded)?;
        record.write(|tx| moves::settle(tx, &made))?;
        reach(Point::MovesRecorded)?;
    }
    Ok(unmade)
}

fn make(config: &Config, record: &Record, what: &What) -> Result<()> {
    let (before, after) = match what {
        What::Suite { .. } => (Point::MoveSuite, Point::MovedSuite),
        What::Ref(mv) if mv.repo == config.git.superproject => (Point::MoveSuperproject, Point::MovedSuperproject),
        What::Ref(mv) if mv.name.starts_with("refs/tags/") => (Point::MoveTag, Point::MovedTag),
        What::Ref(_) => (Point::MoveBranch, Point::MovedBranch),
    };
    reach(before)?;
    match what {
        What::Ref(mv) => drop(gitrecord::apply(mv).map_err(|failure| anyhow::anyhow!(failure.text))?),
        What::Suite { suite, generation } => {
            let archive = Archive::open(config)?;
            archive.flip(suite, *generation)?;
            archive.sweep(record.db(), std::slice::from_ref(suite))?;
        }
    }
    Ok(reach(after)?)
}

/// Everything that is written before the commit, and what the commit then says.
struct Publication {
    parts: Vec<Part>,
    superprojects: Vec<(String, CommitId)>,
    refs: Vec<(JobId, Move)>,
    suites: Vec<(JobId, Prepared)>,
}

/// One job's share.
struct Part {
    item: Item,
    request: Request,
    known: Known,
}

impl Publication {
    fn prepare(publisher: &Publisher, config: &Config, record: &Record, items: &[Item]) -> Result<Self, Failure> {
        let archive = Archive::open(config)?;
        let mut publication =
            Self { parts: Vec::new(), superprojects: Vec::new(), refs: Vec::new(), suites: Vec::new() };
        let mut changes: BTreeMap<PocketName, Vec<(&Job, Change)>> = BTreeMap::new();
        for item in items {
            let job = &item.job;
            let change = content(publisher, config, &archive, record, item)?;
            publication.refs.extend(package_refs(config, record, job)?.into_iter().map(|mv| (job.id, mv)));
            changes.entry(job.pocket.clone()).or_default().push((job, change));
            publication.parts.push(Part::new(config, record, item)?);
        }
        for (pocket, changes) in changes {
            let last = changes[changes.len() - 1].0.id;
            let jobs: Vec<&Job> = changes.iter().map(|(job, _)| *job).collect();
            let mv = superproject(config, record, &pocket, &jobs)?;
            publication.superprojects.push((config.branch(&pocket), mv.new.into()));
            publication.refs.push((last, mv));
            let changes: Vec<Change> = changes.into_iter().map(|(_, change)| change).collect();
            let prepared = archive.prepare(record.db(), &publisher.suite(config, &pocket), &changes)?;
            publication.suites.push((last, prepared));
        }
        Ok(publication)
    }

    /// Whether a move that is still owed is at a place that this publication moves too.
    fn touches(&self, owed: &Owed) -> bool {
        match &owed.what {
            What::Ref(mv) => self.refs.iter().any(|(_, mine)| mine.repo == mv.repo && mine.name == mv.name),
            What::Suite { suite, .. } => self.suites.iter().any(|(_, mine)| mine.suite() == suite),
        }
    }

    /// The commit point is the end of this transaction.
    fn commit(&self, tx: &Transaction, config: &Config) -> Result<()> {
        for part in &self.parts {
            part.commit(tx, config)?;
        }
        for (branch, commit) in &self.superprojects {
            pockets::set_superproject(tx, branch, commit)?;
        }
        for (job, mv) in &self.refs {
            moves::owe_ref(tx, *job, mv)?;
        }
        for (job, prepared) in &self.suites {
            Archive::record(tx, prepared)?;
            moves::owe_suite(tx, Some(*job), prepared.suite(), prepared.generation())?;
        }
        Ok(reach(Point::PublishUncommitted)?)
    }
}

impl Part {
    fn new(config: &Config, record: &Record, item: &Item) -> Result<Self, Failure> {
        let job = &item.job;
        let request = Request {
            pocket: job.pocket.clone(),
            package: job.package.clone(),
            commit: job.commit.clone(),
            version: job.version.clone(),
        };
        let known = match pockets::known(record.db(), &job.package, &job.version)? {
            Some(known) => known,
            None => Known {
                commit: job.commit.clone(),
                distro: config.build.pockets[&job.pocket].distro.clone(),
                job: job.id,
            },
        };
        Ok(Self { item: item.clone(), request, known })
    }

    fn commit(&self, tx: &Transaction, config: &Config) -> Result<()> {
        let job = &self.item.job;
        let conflict = |text: String| Failure::new(FailureKind::Conflict, text);
        // What was true before the build may not be now.
        match validate::check_record(tx, config, &self.request, Some(job.id)) {
            Ok(Plan::Run(_)) => {}
            Ok(Plan::UnderWay(other)) => return Err(conflict(format!("job {} is the same", other.id)).into()),
            Ok(Plan::AlreadyThere(by)) => return Err(conflict(format!("job {by} brought it in already")).into()),
            Err(error) => return Err(conflict(format!("{error:#}")).into()),
        }
        pockets::tie(tx, &job.package, &job.version, &self.known)?;
        pockets::put(
            tx,
            &Held {
                pocket: job.pocket.clone(),
                package: job.package.clone(),
                commit: job.commit.clone(),
                version: job.version.clone(),
                job: job.id,
            },
        )?;
        jobs::advance(tx, job.id, State::Publishing, State::Published)?;
        Entry::new("published")
            .job(job.id)
            .with("pocket", job.pocket.as_str())
            .with("package", job.package.as_str())
            .with("version", job.version.as_str())
            .with("commit", job.commit.as_str())
            .append(tx)
    }
}

/// What the suite is to show for this item: what was built, once it is in the pool, or what the pool has.
fn content(
    publisher: &Publisher,
    config: &Config,
    archive: &Archive,
    record: &Record,
    item: &Item,
) -> Result<Change, Failure> {
    let job = &item.job;
    let Some(dir) = &item.built else {
        return match contents::content(record.db(), &job.package, &job.version)? {
            Some(content) => Ok(Change::Put(content)),
            None => Err(Failure::new(
                FailureKind::Conflict,
                format!("the pool has no {} {} to copy", job.package, job.version),
            )),
        };
    };
    let admission = Admission {
        dir: dir.clone(),
        source: job.package.clone(),
        version: job.version.clone(),
        components: config.build.pockets[&job.pocket].components.clone(),
        architectures: publisher.architectures(config, &job.pocket),
    };
    Ok(Change::Put(archive.admit(record.db(), &admission)?))
}

/// The moves in the package's repository: tag and branch.
fn package_refs(config: &Config, record: &Record, job: &Job) -> Result<Vec<Move>, Failure> {
    let repo = config.git.package(&job.package);
    let pocket = &config.build.pockets[&job.pocket];
    let branch = config.branch(&job.pocket);
    let head = gitrecord::branch_head(&repo, &branch)?;
    let held = pockets::held(record.db(), &job.pocket, &job.package)?.map(|held| held.commit);
    in_step(&format!("branch {branch} of {}", job.package), held.as_ref(), head.as_ref())?;
    let mut refs = Vec::new();
    if !pocket.allow_backtracking {
        let message = format!("{} {}\n\n{}", job.package, job.version, provenance(job));
        refs.extend(gitrecord::write_tag(&repo, &job.package, &job.version, &job.commit, &message, &stamp(config))?);
    }
    refs.push(gitrecord::branch_move(&repo, &branch, head.as_ref(), &job.commit));
    Ok(refs)
}

/// The superproject commit of a pocket, and the move to it.
fn superproject(config: &Config, record: &Record, pocket: &PocketName, jobs: &[&Job]) -> Result<Move, Failure> {
    let repo = &config.git.superproject;
    let branch = config.branch(pocket);
    let head = gitrecord::branch_head(repo, &branch)?;
    let recorded = pockets::superproject(record.db(), &branch)?;
    in_step(&format!("branch {branch} of the superproject"), recorded.as_ref(), head.as_ref())?;
    let names: Vec<String> = jobs.iter().map(|job| format!("{} {}", job.package, job.version)).collect();
    let lines: Vec<String> = jobs.iter().map(|job| provenance(job)).collect();
    let message = format!("{}: {}\n\n{}", pocket, names.join(", "), lines.concat());
    let changes: Vec<gitrecord::Change> =
        jobs.iter().map(|job| gitrecord::Change { package: job.package.clone(), commit: job.commit.clone() }).collect();
    let url = &config.git.submodule_url;
    Ok(gitrecord::write_superproject(repo, &branch, head.as_ref(), &changes, url, &message, &stamp(config))?)
}

/// Refuses to build on a ref that somebody else has moved. What the record does not know yet may be anywhere: a
/// branch can be older than the service, and validation has compared it with the commit.
fn in_step(what: &str, recorded: Option<&CommitId>, actual: Option<&CommitId>) -> Result<(), Failure> {
    let Some(recorded) = recorded else { return Ok(()) };
    if actual == Some(recorded) {
        return Ok(());
    }
    let actual = actual.map_or("gone".to_owned(), |commit| format!("at {}", commit.short()));
    Err(Failure::new(
        FailureKind::Conflict,
        format!(
            "{what} is {actual}, but the record has it at {}: somebody else moved it; move it back",
            recorded.short()
        ),
    ))
}

fn provenance(job: &Job) -> String {
    format!(
        "Package: {}\nVersion: {}\nCommit: {}\nPocket: {}\nPrincipal: {}\nJob: {}\n",
        job.package, job.version, job.commit, job.pocket, job.principal, job.id
    )
}

fn stamp(config: &Config) -> Stamp {
    let tagger = &config.build.tagger;
    Stamp { name: tagger.name.clone(), email: tagger.email.clone(), time: now() / 1000 }
}
