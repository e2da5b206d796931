//! Holds everything that is written before the commit, and commits it to the record.

use anyhow::Result;
use rusqlite::Transaction;

use crate::validate::{self, Decision, JobRequest};
use invirtibuilder_api::job::Job;
use invirtibuilder_api::job::State;
use invirtibuilder_api::pocket::{Held, Removed};
use invirtibuilder_archive::{Archive, Prepared};
use invirtibuilder_core::config::Config;
use invirtibuilder_core::domain::{Identity, SuiteId};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::failpoint::{Point, reach};
use invirtibuilder_core::names::{CommitId, JobId, PackageName, PocketName};
use invirtibuilder_core::time::now;
use invirtibuilder_git as git;
use invirtibuilder_git::{Move, Stamp};
use invirtibuilder_store::audit::AuditEntry;
use invirtibuilder_store::jobs;
use invirtibuilder_store::moves::{self, OwedMove, RefOrSuite};
use invirtibuilder_store::pockets::{self, KnownVersion};
use invirtibuilder_store::{Record, builds, contents, domains, relocation, removals, sources};

/// A set of changes that are seen together or not at all.
#[derive(Default)]
pub struct Publication {
    /// The shares of the jobs.
    pub parts: Vec<JobShare>,
    /// The packages that a rollback puts back to an earlier version.
    pub restored: Vec<Held>,
    /// The packages that a rollback takes out of a pocket.
    pub removed: Vec<(PocketName, PackageName)>,
    /// The package that somebody takes out of a pocket.
    pub taken_out: Option<Removed>,
    /// The superproject branches, each with the commit that it shall be at.
    pub superprojects: Vec<(String, CommitId)>,
    /// The refs to move, each for a job if there is one.
    pub refs: Vec<(Option<JobId>, Move)>,
    /// The suites to flip, each for a job if there is one.
    pub suites: Vec<(Option<JobId>, Prepared)>,
    /// The pocket that moves into another domain.
    pub relocation: Option<Relocation>,
    /// The description of the publication, for the snapshots.
    pub note: String,
    /// The entry of the audit trail besides those of the jobs.
    pub entry: Option<AuditEntry>,
}

/// One job's share.
pub struct JobShare {
    /// The job.
    pub job: Job,
    /// The request of the job.
    pub request: JobRequest,
    /// The commit and tag that its version names from now on.
    pub known: KnownVersion,
    /// Whether the job has built what the pool has of its version.
    pub built: bool,
    /// The notes about the job, each a sentence.
    pub notes: Vec<String>,
}

/// A pocket's move into another domain.
pub struct Relocation {
    /// The pocket.
    pub pocket: PocketName,
    /// The suite that it leaves.
    pub from: SuiteId,
    /// The suite that it gets.
    pub to: SuiteId,
    /// The versions that come with it.
    pub versions: Vec<MovedVersion>,
}

/// A version that comes with a pocket.
pub struct MovedVersion {
    /// What it is in the domain that the pocket leaves.
    pub from: Identity,
    /// What it is in the other one.
    pub to: Identity,
    /// The commit and tag that it names there.
    pub known: KnownVersion,
}

impl Publication {
    /// Tells whether a move that is still owed is at a place that this publication moves too.
    pub fn touches(&self, owed: &OwedMove) -> bool {
        match &owed.what {
            RefOrSuite::Ref(mv) => {
                self.refs.iter().any(|(_, mine)| mine.repo == mv.repo && mine.name == mv.name)
            }
            RefOrSuite::Suite { suite, .. } => {
                self.suites.iter().any(|(_, mine)| mine.suite() == suite)
            }
        }
    }

    /// Writes the publication to the record. The commit point is the end of this transaction.
    pub fn commit(&self, tx: &Transaction, config: &Config) -> Result<()> {
        for part in &self.parts {
            part.commit(tx, config)?;
        }
        for held in &self.restored {
            pockets::set_held(tx, held)?;
        }
        for (pocket, package) in &self.removed {
            pockets::remove(tx, pocket, package)?;
        }
        if let Some(Removed { held, by, reason, .. }) = &self.taken_out {
            pockets::remove(tx, &held.pocket, &held.package)?;
            removals::record(tx, held, by, reason)?;
        }
        for (branch, commit) in &self.superprojects {
            pockets::set_superproject(tx, branch, commit)?;
        }
        for (job, mv) in &self.refs {
            moves::owe_ref(tx, *job, mv)?;
        }
        for (job, prepared) in &self.suites {
            Archive::record(tx, prepared, &self.note)?;
            moves::owe_suite(tx, *job, prepared.suite(), Some(prepared.generation()))?;
        }
        // After the suites: the other domain's pool has the versions then.
        if let Some(relocation) = &self.relocation {
            relocation.commit(tx)?;
        }
        for JobShare { job, .. } in self.parts.iter().filter(|part| part.built) {
            builds::set(tx, &job.identity(), job.id)?;
        }
        if let Some(entry) = &self.entry {
            entry.clone().append(tx)?;
        }
        Ok(reach(Point::PublishUncommitted)?)
    }
}

impl Relocation {
    /// Records that pocket and versions are in the other domain, and owes the removal of the suite
    /// from the archive that it leaves.
    fn commit(&self, tx: &Transaction) -> Result<()> {
        for MovedVersion { from, to, known } in &self.versions {
            pockets::tie(tx, to, known)?;
            relocation::copy_facts(tx, from, to)?;
        }
        domains::relocate(tx, &self.pocket, &self.to.domain)?;
        contents::forget_suite(tx, &self.from)?;
        moves::owe_suite(tx, None, &self.from, None)
    }
}

impl JobShare {
    fn commit(&self, tx: &Transaction, config: &Config) -> Result<()> {
        let job = &self.job;
        let conflict = |text: String| Failure::new(FailureKind::Conflict, text);
        // What was true before the build may not be now.
        match validate::check_record(tx, config, &self.request, Some(job.id)) {
            Ok(Decision::Run(_)) => {}
            Ok(Decision::UnderWay(other)) => {
                return Err(conflict(format!("job {} is the same", other.id)).into());
            }
            Ok(Decision::AlreadyThere(by)) => {
                return Err(conflict(format!("job {by} brought it in already")).into());
            }
            Err(error) => return Err(conflict(format!("{error:#}")).into()),
        }
        sources::add_notes(tx, job.id, &self.notes)?;
        pockets::tie(tx, &job.identity(), &self.known)?;
        sources::keep(tx, job.id, &job.identity()).map_err(|error| {
            match error.downcast::<Failure>() {
                Ok(failure) => conflict(failure.text).into(),
                Err(error) => error,
            }
        })?;
        pockets::set_held(
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
        AuditEntry::new("published")
            .job(job.id)
            .with("pocket", job.pocket.as_str())
            .with("domain", job.domain.as_str())
            .with("package", job.package.as_str())
            .with("version", job.version.as_str())
            .with("commit", job.commit.as_str())
            .append(tx)
    }
}

/// Writes the superproject commit of a pocket after `changes`. Returns the move to it.
pub fn superproject(
    config: &Config,
    record: &Record,
    pocket: &PocketName,
    changes: &[git::SubmoduleChange],
    message: &str,
) -> Result<Move, Failure> {
    let repo = &config.git.superproject;
    let branch = config.branch(pocket);
    let head = git::branch_head(repo, &branch)?;
    let recorded = pockets::superproject(record.db(), &branch)?;
    in_step(&format!("branch {branch} of the superproject"), recorded.as_ref(), head.as_ref())?;
    let url = &config.git.submodule_url;
    Ok(git::write_superproject(
        repo,
        &git::NewCommit {
            branch: &branch,
            parent: head.as_ref(),
            changes,
            submodule_url: url,
            message,
        },
        &stamp(config),
    )?)
}

/// Refuses to build on a ref that somebody else has moved. A ref that the record does not know yet
/// may be anywhere: a branch can be older than the service, and validation has compared it with the
/// commit.
pub fn in_step(
    what: &str,
    recorded: Option<&CommitId>,
    actual: Option<&CommitId>,
) -> Result<(), Failure> {
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

/// Returns the tagger of the configuration, with the time of now.
pub fn stamp(config: &Config) -> Stamp {
    let tagger = &config.build.tagger;
    Stamp { name: tagger.name.clone(), email: tagger.email.clone(), time: now() / 1000 }
}
