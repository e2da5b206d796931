//! Everything that is written before the commit, and what the commit then says.

use anyhow::Result;
use rusqlite::Transaction;

use crate::archive::{Archive, Prepared};
use crate::config::Config;
use crate::error::{Failure, FailureKind};
use crate::failpoint::{Point, reach};
use crate::gitrecord::{self, Move, Stamp};
use crate::names::{CommitId, JobId, PackageName, PocketName};
use crate::record::audit::Entry;
use crate::record::jobs::{self, Job};
use crate::record::moves::{self, Owed, What};
use crate::record::pockets::{self, Held, Known};
use crate::record::{Record, State, builds, now, sources};
use crate::validate::{self, Plan, Request};

/// A set of changes that are seen together or not at all.
#[derive(Default)]
pub struct Publication {
    /// What comes by a job.
    pub parts: Vec<Part>,
    /// What is put back to what it was.
    pub restored: Vec<Held>,
    /// What is taken out of a pocket.
    pub removed: Vec<(PocketName, PackageName)>,
    /// Where superproject branches are to be.
    pub superprojects: Vec<(String, CommitId)>,
    /// Refs to move, each for a job if there is one.
    pub refs: Vec<(Option<JobId>, Move)>,
    /// Suites to flip.
    pub suites: Vec<(Option<JobId>, Prepared)>,
    /// What makes it, for the snapshots.
    pub note: String,
    /// What the audit trail says besides what it says of each job.
    pub entry: Option<Entry>,
}

/// One job's share.
pub struct Part {
    /// The job.
    pub job: Job,
    /// What it asked for.
    pub request: Request,
    /// What its version names from now on.
    pub known: Known,
    /// Whether it has built what the pool has of it.
    pub built: bool,
    /// What has to be said of it; each a sentence.
    pub notes: Vec<String>,
}

impl Publication {
    /// Whether a move that is still owed is at a place that this publication moves too.
    pub fn touches(&self, owed: &Owed) -> bool {
        match &owed.what {
            What::Ref(mv) => self.refs.iter().any(|(_, mine)| mine.repo == mv.repo && mine.name == mv.name),
            What::Suite { suite, .. } => self.suites.iter().any(|(_, mine)| mine.suite() == suite),
        }
    }

    /// The commit point is the end of this transaction.
    pub fn commit(&self, tx: &Transaction, config: &Config) -> Result<()> {
        for part in &self.parts {
            part.commit(tx, config)?;
        }
        for held in &self.restored {
            pockets::put(tx, held)?;
        }
        for (pocket, package) in &self.removed {
            pockets::remove(tx, pocket, package)?;
        }
        for (branch, commit) in &self.superprojects {
            pockets::set_superproject(tx, branch, commit)?;
        }
        for (job, mv) in &self.refs {
            moves::owe_ref(tx, *job, mv)?;
        }
        for (job, prepared) in &self.suites {
            Archive::record(tx, prepared, &self.note)?;
            moves::owe_suite(tx, *job, prepared.suite(), prepared.generation())?;
        }
        for Part { job, .. } in self.parts.iter().filter(|part| part.built) {
            builds::set(tx, &job.package, &job.version, job.id)?;
        }
        if let Some(entry) = &self.entry {
            entry.clone().append(tx)?;
        }
        Ok(reach(Point::PublishUncommitted)?)
    }
}

impl Part {
    fn commit(&self, tx: &Transaction, config: &Config) -> Result<()> {
        let job = &self.job;
        let conflict = |text: String| Failure::new(FailureKind::Conflict, text);
        // What was true before the build may not be now.
        match validate::check_record(tx, config, &self.request, Some(job.id)) {
            Ok(Plan::Run(_)) => {}
            Ok(Plan::UnderWay(other)) => return Err(conflict(format!("job {} is the same", other.id)).into()),
            Ok(Plan::AlreadyThere(by)) => return Err(conflict(format!("job {by} brought it in already")).into()),
            Err(error) => return Err(conflict(format!("{error:#}")).into()),
        }
        sources::add_notes(tx, job.id, &self.notes)?;
        pockets::tie(tx, &job.package, &job.version, &self.known)?;
        sources::keep(tx, job.id, &job.package, &job.version).map_err(|error| match error.downcast::<Failure>() {
            Ok(failure) => conflict(failure.text).into(),
            Err(error) => error,
        })?;
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

/// The superproject commit of a pocket after `changes`, and the move to it.
pub fn superproject(
    config: &Config,
    record: &Record,
    pocket: &PocketName,
    changes: &[gitrecord::Change],
    message: &str,
) -> Result<Move, Failure> {
    let repo = &config.git.superproject;
    let branch = config.branch(pocket);
    let head = gitrecord::branch_head(repo, &branch)?;
    let recorded = pockets::superproject(record.db(), &branch)?;
    in_step(&format!("branch {branch} of the superproject"), recorded.as_ref(), head.as_ref())?;
    let url = &config.git.submodule_url;
    Ok(gitrecord::write_superproject(repo, &branch, head.as_ref(), changes, url, message, &stamp(config))?)
}

/// Refuses to build on a ref that somebody else has moved. What the record does not know yet may be anywhere: a
/// branch can be older than the service, and validation has compared it with the commit.
pub fn in_step(what: &str, recorded: Option<&CommitId>, actual: Option<&CommitId>) -> Result<(), Failure> {
    let Some(recorded) = recorded else { return Ok(()) };
    if actual == Some(recorded) {
        return Ok(());
    }
    let actual = actual.map_or("gone".to_owned(), |commit| format!("at {}", commit.short()));
    Err(Failure::new(
        FailureKind::Conflict,
        format!(
            "{what} is {actual}, but the record has it at {}: somebody else moved it; 'verify --repair' moves it back",
            recorded.short()
        ),
    ))
}

/// Who tags and commits.
pub fn stamp(config: &Config) -> Stamp {
    let tagger = &config.build.tagger;
    Stamp { name: tagger.name.clone(), email: tagger.email.clone(), time: now() / 1000 }
}
