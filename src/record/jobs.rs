//! Jobs: accepted, claimed, moved from state to state, and looked up.
//!
//! A state changes in one place, `transition`, by an UPDATE guarded with the old state; a lost race is a [`LostRace`],
//! never an overwrite.

use std::fmt;

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params, params};
use serde::Serialize;

use super::audit::Entry;
use super::queue::{self, Moving};
use super::{State, now};
use crate::error::{Failure, FailureKind};
use crate::names::{CommitId, JobId, PackageName, PocketName, Principal, Version};

/// How long a claim holds without being renewed.
pub const LEASE_MS: i64 = 120_000;

/// One accepted request to bring a commit of a package into a pocket.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// Where it goes.
    pub pocket: PocketName,
    /// The source package.
    pub package: PackageName,
    /// The commit, in full.
    pub commit: CommitId,
    /// The version that `debian/changelog` has there.
    pub version: Version,
    /// Who asked, or who retried it last.
    pub principal: Principal,
    /// Where it is.
    pub state: State,
    /// Why it failed.
    pub failure: Option<FailureKind>,
    /// Prose: why it failed, or who cancelled it.
    pub reason: Option<String>,
    /// The pocket whose binaries were taken instead of a build.
    pub copied_from: Option<PocketName>,
    /// Times it was claimed.
    pub attempt: i64,
    /// When it was accepted; milliseconds since 1970-01-01 UTC, as all times here.
    pub submitted: i64,
    /// When it was claimed last.
    pub started: Option<i64>,
    /// When it ended.
    pub finished: Option<i64>,
    /// Who asked a running job to stop.
    pub cancel_by: Option<Principal>,
    /// Whether it goes before the other jobs of its pocket.
    pub priority: bool,
}

const COLUMNS: &str = "id, pocket, package, commit_id, version, principal, state, failure, reason, copied_from, \
                       attempt, submitted, started, finished, cancel_by, priority";

impl Job {
    fn from_row(row: &Row) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            pocket: row.get(1)?,
            package: row.get(2)?,
            commit: row.get(3)?,
            version: row.get(4)?,
            principal: row.get(5)?,
            state: row.get(6)?,
            failure: row.get(7)?,
            reason: row.get(8)?,
            copied_from: row.get(9)?,
            attempt: row.get(10)?,
            submitted: row.get(11)?,
            started: row.get(12)?,
            finished: row.get(13)?,
            cancel_by: row.get(14)?,
            priority: row.get(15)?,
        })
    }
}

/// What a request asks for, after it was found valid.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Where it goes.
    pub pocket: PocketName,
    /// The source package.
    pub package: PackageName,
    /// The commit, in full.
    pub commit: CommitId,
    /// The version that `debian/changelog` has there.
    pub version: Version,
    /// Who asks.
    pub principal: Principal,
}

/// Somebody else moved the job first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("job {id} is {actual}, not {expected}: somebody else moved it first")]
pub struct LostRace {
    /// The job.
    pub id: JobId,
    /// The state it was expected to be in.
    pub expected: State,
    /// The state it is in.
    pub actual: State,
}

/// Accepts a job. The caller has looked for one that is under way ([`live`]) in the same transaction.
pub fn enqueue(tx: &Transaction, new: &NewJob) -> Result<JobId> {
    tx.prepare_cached(
        "INSERT INTO job (pocket, package, commit_id, version, principal, state, submitted, turn)
         VALUES (?, ?, ?, ?, ?, 'queued', ?, (SELECT coalesce(max(turn), 0) + 1 FROM job))",
    )?
    .execute(params![new.pocket, new.package, new.commit, new.version, new.principal, now()])?;
    let id = JobId(tx.last_insert_rowid());
    queue::make_ready(tx, id)?;
    entered(tx, id, State::Queued, Some(&new.principal), None)?;
    Ok(id)
}

/// What a job takes along to its next state.
#[derive(Default)]
struct With<'a> {
    /// When, if not now.
    at: Option<i64>,
    /// For one that is claimed: the share of its pocket, and 0 in a reserved place.
    share: Option<u32>,
    /// Who wants it so. A job that is queued again is theirs from then on.
    by: Option<&'a Principal>,
    /// What the audit trail says besides.
    note: Option<&'a str>,
    /// Why it failed.
    failure: Option<&'a Failure>,
}

/// Moves a job from one state to another and records the event; [`LostRace`] if it is not in `from`.
///
/// The CHECKs that tie other columns to the state hold for each row as it is written, so all goes in one statement. A job
/// that leaves an end begins again, at the end of the queue.
fn transition(tx: &Transaction, id: JobId, from: State, to: State, with: With) -> Result<()> {
    debug_assert!(from.may_become(to), "{from} may not become {to}");
    let at = with.at.unwrap_or_else(now);
    let moving = Moving::of(tx, id)?;
    let reason = match to {
        State::Failed => with.failure.map(|failure| failure.text.clone()),
        State::Cancelled => with.by.map(|by| format!("cancelled by {by}")),
        State::Queued | State::Preparing | State::Building | State::Publishing | State::Published => None,
    };
    let changed = tx
        .prepare_cached(
            "UPDATE job SET state = :to, ready = 0, failure = :failure, reason = :reason,
                    finished = iif(:ends, :at, NULL),
                    started = CASE WHEN :to = 'preparing' THEN :at WHEN :again THEN NULL ELSE started END,
                    attempt = attempt + (:to = 'preparing'),
                    lease_until = iif(:runs, :at + :lease, NULL),
                    principal = iif(:again, coalesce(:by, principal), principal),
                    cancel_by = iif(:again, NULL, cancel_by),
                    priority = iif(:again, 0, priority),
                    copied_from = iif(:again, NULL, copied_from),
                    turn = iif(:again, (SELECT max(turn) + 1 FROM job), turn)
             WHERE id = :id AND state = :from",
        )?
        .execute(named_params! {
            ":id": id, ":from": from, ":to": to, ":at": at, ":by": with.by, ":reason": reason,
            ":failure": with.failure.map(|failure| failure.kind),
            ":ends": to.is_end(), ":runs": to.is_running(), ":again": from.is_end(), ":lease": LEASE_MS,
        })?;
    if changed != 1 {
        let actual = tx.query_row("SELECT state FROM job WHERE id = ?", [id], |row| row.get(0))?;
        return Err(LostRace { id, expected: from, actual }.into());
    }
    // Whoever retries a job has it from then on.
    let moving = if from.is_end() { Moving::of(tx, id)? } else { moving };
    moving.moved(tx, id, from, to, at, with.share.unwrap_or(1))?;
    let failure = with.failure.map(Failure::to_string);
    entered(tx, id, to, with.by, with.note.or(failure.as_deref()))
}

/// Writes down that a job entered a state: for the audit trail, and for the hooks that are to hear of it.
fn entered(tx: &Transaction, id: JobId, state: State, by: Option<&Principal>, note: Option<&str>) -> Result<()> {
    let mut entry = Entry::new("job.state").job(id).with("state", state.as_str());
    if let Some(by) = by {
        entry = entry.with("by", by.as_str());
    }
    if let Some(note) = note {
        entry = entry.with("note", note);
    }
    entry.append(tx)?;
    if let Some(event) = state.event() {
        tx.prepare_cached("INSERT INTO hook_event (job, event, at) VALUES (?, ?, ?)")?.execute(params![
            id,
            event,
            now()
        ])?;
    }
    Ok(())
}

/// Starts a job that was found to be next ([`super::queue::claim`]).
pub(super) fn start(tx: &Transaction, id: JobId, at: i64, share: u32) -> Result<()> {
    let with = With { at: Some(at), share: Some(share), ..With::default() };
    transition(tx, id, State::Queued, State::Preparing, with)
}

/// Takes a running job one step on.
pub fn advance(tx: &Transaction, id: JobId, from: State, to: State) -> Result<()> {
    transition(tx, id, from, to, With::default())
}

/// As [`advance`], at a moment.
#[cfg(test)]
pub(super) fn advance_at(tx: &Transaction, id: JobId, from: State, to: State, at: i64) -> Result<()> {
    transition(tx, id, from, to, With { at: Some(at), ..With::default() })
}

/// Ends a running job that did not make it.
pub fn fail(tx: &Transaction, id: JobId, from: State, failure: &Failure) -> Result<()> {
    transition(tx, id, from, State::Failed, With { failure: Some(failure), ..With::default() })
}

/// Ends a job that somebody stopped: a queued one at once, a running one when its worker has let go.
pub fn cancelled(tx: &Transaction, id: JobId, from: State, by: &Principal) -> Result<()> {
    transition(tx, id, from, State::Cancelled, With { by: Some(by), ..With::default() })
}

/// Asks the worker of a running job to stop. The first who asks is remembered.
pub fn ask_to_cancel(tx: &Transaction, id: JobId, by: &Principal) -> Result<()> {
    one(id, tx.execute("UPDATE job SET cancel_by = coalesce(cancel_by, ?2) WHERE id = ?1", params![id, by])?)?;
    Entry::new("job.cancel").job(id).with("by", by.as_str()).append(tx)
}

/// Lets an open job go before the other jobs of its pocket.
pub fn hurry(tx: &Transaction, id: JobId, by: &Principal) -> Result<()> {
    queue::hurry(tx, id)?;
    Entry::new("job.priority").job(id).with("by", by.as_str()).append(tx)
}

/// Whether a principal has so many open jobs or more.
pub fn has_open(db: &Connection, principal: &Principal, so_many: u32) -> Result<bool> {
    let count: u32 = db
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM job INDEXED BY job_of_principal WHERE principal = ?
             AND state IN ('queued', 'preparing', 'building', 'publishing') LIMIT ?)",
        )?
        .query_row(params![principal, so_many], |row| row.get(0))?;
    Ok(count >= so_many)
}

/// Queues a failed or cancelled job again, at the end of the queue, on behalf of whoever asks now.
pub fn retry(tx: &Transaction, id: JobId, from: State, by: &Principal) -> Result<()> {
    transition(tx, id, from, State::Queued, With { by: Some(by), note: Some("retried"), ..With::default() })
}

/// Gives a claim back: the job waits for its turn again. For claims of a daemon that is gone or shuts down.
pub fn give_back(tx: &Transaction, id: JobId, from: State, why: &str) -> Result<()> {
    transition(tx, id, from, State::Queued, With { note: Some(why), ..With::default() })
}

/// Running jobs whose lease has run out: nobody works on them any more.
pub fn expired(db: &Connection) -> Result<Vec<Job>> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM job INDEXED BY job_running
         WHERE state IN ('preparing', 'building', 'publishing') AND lease_until < ?"
    ))?;
    Ok(statement.query_map([now()], Job::from_row)?.collect::<Result<_, _>>()?)
}

/// Notes that a job takes the binaries of another pocket.
pub fn set_copied_from(tx: &Transaction, id: JobId, pocket: &PocketName) -> Result<()> {
    one(id, tx.execute("UPDATE job SET copied_from = ?2 WHERE id = ?1", params![id, pocket])?)
}

/// Demands that a change was one of a job that there is.
fn one(id: JobId, changed: usize) -> Result<()> {
    anyhow::ensure!(changed == 1, "{changed} jobs have the number {id}");
    Ok(())
}

/// Extends the leases of these jobs.
pub fn renew(tx: &Transaction, ids: &[JobId]) -> Result<()> {
    for id in ids {
        tx.prepare_cached("UPDATE job SET lease_until = ?2 WHERE id = ?1 AND lease_until IS NOT NULL")?
            .execute(params![id, now() + LEASE_MS])?;
    }
    Ok(())
}

/// The job, or an error that is the caller's to translate.
pub fn get(db: &Connection, id: JobId) -> Result<Job> {
    Ok(db.prepare_cached(&format!("SELECT {COLUMNS} FROM job WHERE id = ?"))?.query_row([id], Job::from_row)?)
}

/// The job, if there is one of this number.
pub fn find(db: &Connection, id: JobId) -> Result<Option<Job>> {
    Ok(db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM job WHERE id = ?"))?
        .query_row([id], Job::from_row)
        .optional()?)
}

/// The job that is under way for this commit in this pocket.
pub fn live(db: &Connection, pocket: &PocketName, package: &PackageName, commit: &CommitId) -> Result<Option<Job>> {
    Ok(db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM job WHERE pocket = ? AND package = ? AND commit_id = ?
             AND state IN ('queued', 'preparing', 'building', 'publishing')"
        ))?
        .query_row(params![pocket, package, commit], Job::from_row)
        .optional()?)
}

/// A job under way, in any pocket, that brings this version of the package from another commit.
pub fn live_rival(db: &Connection, package: &PackageName, version: &Version, commit: &CommitId) -> Result<Option<Job>> {
    Ok(db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM job INDEXED BY job_of_commit WHERE package = ? AND version = ? AND commit_id <> ?
             AND state IN ('queued', 'preparing', 'building', 'publishing') ORDER BY turn LIMIT 1"
        ))?
        .query_row(params![package, version, commit], Job::from_row)
        .optional()?)
}

/// The open job that brings this version of a package into a pocket.
pub fn bringing(
    db: &Connection,
    pocket: &PocketName,
    package: &PackageName,
    version: &Version,
) -> Result<Option<JobId>> {
    Ok(db
        .prepare_cached(
            "SELECT id FROM job INDEXED BY job_in_pocket WHERE package = ? AND pocket = ? AND version = ?
             AND state IN ('queued', 'preparing', 'building', 'publishing') ORDER BY turn LIMIT 1",
        )?
        .query_row(params![package, pocket, version], |row| row.get(0))
        .optional()?)
}

/// The last job that brought this version of a package into a pocket.
pub fn published(
    db: &Connection,
    pocket: &PocketName,
    package: &PackageName,
    version: &Version,
) -> Result<Option<JobId>> {
    Ok(db
        .prepare_cached(
            "SELECT id FROM job WHERE package = ? AND pocket = ? AND version = ? AND state = 'published'
             ORDER BY id DESC LIMIT 1",
        )?
        .query_row(params![package, pocket, version], |row| row.get(0))
        .optional()?)
}

/// Whether a package has jobs that have not ended.
pub fn any_open(db: &Connection, package: &PackageName) -> Result<bool> {
    Ok(db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM job WHERE package = ?
             AND state IN ('queued', 'preparing', 'building', 'publishing'))",
        )?
        .query_row([package], |row| row.get(0))?)
}

/// How many open jobs were accepted before another one, counted up to [`Ahead::MOST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Ahead(pub u32);

impl Ahead {
    /// Who has so many before them does not care for the rest. Counting 100,000 takes 20 ms.
    pub const MOST: u32 = 1000;
}

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.0 < Self::MOST { "" } else { " or more" };
        write!(f, "{}{more}", self.0)
    }
}

/// How many open jobs were accepted before this one.
pub fn ahead(db: &Connection, id: JobId) -> Result<Ahead> {
    Ok(Ahead(
        db.prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM job INDEXED BY job_open
                 WHERE state IN ('queued', 'preparing', 'building', 'publishing')
                 AND turn < (SELECT turn FROM job WHERE id = ?) LIMIT ?)",
        )?
        .query_row(params![id, Ahead::MOST], |row| row.get(0))?,
    ))
}

/// Jobs that are running.
pub fn running(db: &Connection) -> Result<Vec<Job>> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM job INDEXED BY job_running WHERE state IN ('preparing', 'building', 'publishing')
         ORDER BY turn"
    ))?;
    Ok(statement.query_map([], Job::from_row)?.collect::<Result<_, _>>()?)
}

/// The open job that a queued one has to wait for: the last one before it of its package in its pocket, or of its commit.
pub fn before(db: &Connection, job: &Job) -> Result<Option<JobId>> {
    // A look-up in each index: a package may have thousands of them.
    Ok(db
        .prepare_cached(
            "SELECT id FROM (
                 SELECT * FROM (SELECT id, turn FROM job INDEXED BY job_in_pocket
                     WHERE package = ?2 AND pocket = ?3 AND turn < (SELECT turn FROM job WHERE id = ?1)
                       AND state IN ('queued', 'preparing', 'building', 'publishing') ORDER BY turn DESC LIMIT 1)
                 UNION ALL
                 SELECT * FROM (SELECT id, turn FROM job INDEXED BY job_of_commit
                     WHERE package = ?2 AND commit_id = ?4 AND turn < (SELECT turn FROM job WHERE id = ?1)
                       AND state IN ('queued', 'preparing', 'building', 'publishing') ORDER BY turn DESC LIMIT 1))
             ORDER BY turn DESC LIMIT 1",
        )?
        .query_row(params![job.id, job.package, job.pocket, job.commit], |row| row.get(0))
        .optional()?)
}

/// Running jobs that somebody asked to stop.
pub fn to_cancel(db: &Connection) -> Result<Vec<JobId>> {
    let mut statement = db.prepare_cached(
        "SELECT id FROM job INDEXED BY job_running
         WHERE state IN ('preparing', 'building', 'publishing') AND cancel_by IS NOT NULL",
    )?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Open jobs that were claimed before, by turn.
pub fn begun(db: &Connection) -> Result<Vec<Job>> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM job WHERE state IN ('queued', 'preparing', 'building', 'publishing') AND attempt > 0
         ORDER BY turn"
    ))?;
    Ok(statement.query_map([], Job::from_row)?.collect::<Result<_, _>>()?)
}

/// Jobs that are queued or running, by turn.
pub fn open(db: &Connection) -> Result<Vec<Job>> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM job WHERE state IN ('queued', 'preparing', 'building', 'publishing') ORDER BY turn"
    ))?;
    Ok(statement.query_map([], Job::from_row)?.collect::<Result<_, _>>()?)
}

/// The jobs that ended last, the newest first.
pub fn lately_finished(db: &Connection, most: usize) -> Result<Vec<Job>> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM job WHERE finished IS NOT NULL ORDER BY finished DESC, id DESC LIMIT ?"
    ))?;
    Ok(statement.query_map([most as i64], Job::from_row)?.collect::<Result<_, _>>()?)
}

/// Every job of a package, the newest first.
pub fn of_package(db: &Connection, package: &PackageName, most: usize) -> Result<Vec<Job>> {
    let mut statement =
        db.prepare_cached(&format!("SELECT {COLUMNS} FROM job WHERE package = ? ORDER BY id DESC LIMIT ?"))?;
    Ok(statement.query_map(params![package, most as i64], Job::from_row)?.collect::<Result<_, _>>()?)
}

/// A state that a job entered.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// When.
    pub at: i64,
    /// The state.
    pub state: State,
}

/// The states that a job went through, in order.
pub fn steps(db: &Connection, id: JobId) -> Result<Vec<Step>> {
    let mut statement = db.prepare_cached(
        "SELECT at, json_extract(detail, '$.state') FROM audit WHERE job = ? AND event = 'job.state' ORDER BY id",
    )?;
    let steps = statement.query_map([id], |row| Ok(Step { at: row.get(0)?, state: row.get(1)? }))?;
    Ok(steps.collect::<Result<_, _>>()?)
}

/// How often an open job was `publishing` since it was queued by somebody. If it was, what it publishes is built; if it was more than
/// once, daemons died.
pub fn publications(db: &Connection, id: JobId) -> Result<usize> {
    let steps = steps(db, id)?;
    let lately = steps.iter().rev().take_while(|step| !step.state.is_end());
    Ok(lately.filter(|step| step.state == State::Publishing).count())
}

#[cfg(test)]
mod tests {
    use super::super::Record;
    use super::*;

    fn record() -> (tempfile::TempDir, Record) {
        let dir = tempfile::tempdir().unwrap();
        let record = Record::open(&dir.path().join("db")).unwrap();
        (dir, record)
    }

    fn new(package: &str, n: u8) -> NewJob {
        NewJob {
            pocket: "prod".parse().unwrap(),
            package: package.parse().unwrap(),
            commit: format!("{n:040x}").parse().unwrap(),
            version: format!("1.{n}").parse().unwrap(),
            principal: principal("alice@EXAMPLE.ORG"),
        }
    }

    /// Claims by the rules of a service with places enough.
    fn claim(tx: &Transaction) -> Result<Option<Job>> {
        queue::claim(tx, &crate::fairness::Rules { places: 9, ..Default::default() })
    }

    fn principal(name: &str) -> Principal {
        Principal::from_authenticated(name).unwrap()
    }

    #[test]
    fn jobs_of_one_package_run_in_order_and_others_beside_them() {
        let (_dir, mut record) = record();
        let ids: Vec<JobId> = [("hello", 1), ("hello", 2), ("other", 3)]
            .iter()
            .map(|(package, n)| record.write(|tx| enqueue(tx, &new(package, *n))).unwrap())
            .collect();
        let mut claimed = || record.write(claim).unwrap().map(|job| job.id);
        assert_eq!(claimed(), Some(ids[0]));
        assert_eq!(claimed(), Some(ids[2]));
        assert_eq!(claimed(), None);
        let failure = Failure::new(FailureKind::BuildFailed, "no");
        record.write(|tx| fail(tx, ids[0], State::Preparing, &failure)).unwrap();
        assert_eq!(record.write(claim).unwrap().unwrap().id, ids[1]);
        let job = get(record.db(), ids[0]).unwrap();
        assert_eq!((job.state, job.failure, job.attempt), (State::Failed, Some(FailureKind::BuildFailed), 1));
    }

    #[test]
    fn a_retried_job_goes_to_the_end_of_the_queue() {
        let (_dir, mut record) = record();
        let a = record.write(|tx| enqueue(tx, &new("hello", 1))).unwrap();
        let b = record.write(|tx| enqueue(tx, &new("hello", 2))).unwrap();
        let bob = principal("bob@EXAMPLE.ORG");
        record.write(|tx| cancelled(tx, a, State::Queued, &bob)).unwrap();
        record.write(|tx| retry(tx, a, State::Cancelled, &bob)).unwrap();
        assert_eq!(record.write(claim).unwrap().unwrap().id, b);
        assert_eq!(get(record.db(), a).unwrap().principal, bob);
        let states: Vec<State> = steps(record.db(), a).unwrap().iter().map(|s| s.state).collect();
        assert_eq!(states, [State::Queued, State::Cancelled, State::Queued]);
    }

    #[test]
    fn a_lost_race_is_an_error_and_changes_nothing() {
        let (_dir, mut record) = record();
        let id = record.write(|tx| enqueue(tx, &new("hello", 1))).unwrap();
        let error = record.write(|tx| advance(tx, id, State::Preparing, State::Building)).unwrap_err();
        let race: &LostRace = error.downcast_ref().unwrap();
        assert_eq!((race.actual, race.expected), (State::Queued, State::Preparing));
        assert_eq!(get(record.db(), id).unwrap().state, State::Queued);
        assert_eq!(steps(record.db(), id).unwrap().len(), 1);
    }

    #[test]
    fn a_lost_race_is_one_for_every_move() {
        let (_dir, mut record) = record();
        let id = record.write(|tx| enqueue(tx, &new("hello", 1))).unwrap();
        let (failure, bob) = (Failure::new(FailureKind::BuildFailed, "no"), principal("bob@EXAMPLE.ORG"));
        let before = format!("{:?}", get(record.db(), id).unwrap());
        type Move<'a> = &'a dyn Fn(&Transaction) -> Result<()>;
        let moves: [Move; 4] = [
            &|tx| fail(tx, id, State::Building, &failure),
            &|tx| retry(tx, id, State::Failed, &bob),
            &|tx| cancelled(tx, id, State::Preparing, &bob),
            &|tx| give_back(tx, id, State::Publishing, "gone"),
        ];
        for made in moves {
            let error = record.write(made).unwrap_err();
            assert_eq!(error.downcast_ref::<LostRace>().unwrap().actual, State::Queued);
        }
        assert_eq!(format!("{:?}", get(record.db(), id).unwrap()), before);
        assert_eq!(steps(record.db(), id).unwrap().len(), 1);
        assert!(record.write(|tx| ask_to_cancel(tx, JobId(99), &bob)).is_err());
    }

    /// Every statement of the sources that changes a job's state.
    fn changes_of_states(dir: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            if entry.path().is_dir() {
                changes_of_states(&entry.path(), found);
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
            let set = concat!("update", " job set ");
            let changes = words.split(set).skip(1).filter(|rest| {
                let columns = rest.split(" where ").next().unwrap();
                columns.split([',', ' ']).any(|word| word == "state")
            });
            found.extend(changes.map(|_| entry.path().display().to_string()));
        }
    }

    #[test]
    fn one_statement_changes_states() {
        let mut found = Vec::new();
        changes_of_states(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].ends_with("record/jobs.rs"), "{found:?}");
    }

    #[test]
    fn those_ahead_are_counted_up_to_a_bound() {
        let (_dir, mut record) = record();
        let most = Ahead::MOST as usize;
        let ids: Vec<JobId> = record
            .write(|tx| {
                let jobs = 0..most + 2;
                jobs.map(|n| enqueue(tx, &NewJob { commit: format!("{n:040x}").parse()?, ..new("hello", 1) })).collect()
            })
            .unwrap();
        let ahead = |n: usize| super::ahead(record.db(), ids[n]).unwrap().to_string();
        let all = [ahead(0), ahead(7), ahead(most - 1), ahead(most), ahead(most + 1)];
        assert_eq!(all, ["0", "7", "999", "1000 or more", "1000 or more"]);
    }

    #[test]
    fn the_same_commit_is_under_way_only_once() {
        let (_dir, mut record) = record();
        let id = record.write(|tx| enqueue(tx, &new("hello", 1))).unwrap();
        assert!(record.write(|tx| enqueue(tx, &new("hello", 1))).is_err());
        let want = new("hello", 1);
        assert_eq!(live(record.db(), &want.pocket, &want.package, &want.commit).unwrap().unwrap().id, id);
        let mut rival = new("hello", 1);
        rival.commit = format!("{:040x}", 9).parse().unwrap();
        assert_eq!(live_rival(record.db(), &rival.package, &rival.version, &rival.commit).unwrap().unwrap().id, id);
    }

    #[test]
    fn every_event_that_hooks_hear_of_is_owed_with_the_state() {
        let (_dir, mut record) = record();
        let id = record.write(|tx| enqueue(tx, &new("hello", 1))).unwrap();
        record.write(claim).unwrap();
        record.write(|tx| advance(tx, id, State::Preparing, State::Building)).unwrap();
        let mut statement = record.db().prepare("SELECT event FROM hook_event ORDER BY id").unwrap();
        let events: Vec<String> = statement.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(events, ["submitted", "started"]);
    }
}
