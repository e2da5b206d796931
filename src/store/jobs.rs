//! Accepts, claims and looks up jobs, and moves them from state to state.
//!
//! A state changes in one place, `transition`, by an UPDATE guarded with the old state; a lost race
//! is a [`LostRace`], never an overwrite.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params, params};

use crate::audit::AuditEntry;
use crate::domains;
use crate::fairness::Weight;
use crate::queue::{self, Moving};
use invirtibuilder_api::job::State;
use invirtibuilder_api::job::{Ahead, Job, StateChange};
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::error::Failure;
use invirtibuilder_core::names::{
    CommitId, DomainName, JobId, PackageName, PocketName, Principal, Version,
};
use invirtibuilder_core::time::now;

/// The time for which a claim holds if the daemon does not renew it, in milliseconds.
pub const LEASE_MS: i64 = 120_000;

pub(crate) const COLUMNS: &str = "id, pocket, package, commit_id, version, principal, state, failure, reason, copied_from, \
                       attempt, submitted, started, finished, cancel_by, priority, coalesce(written, version), why, \
                       domain";

pub(crate) fn job_from(row: &Row) -> rusqlite::Result<Job> {
    Ok(Job {
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
        written: row.get(16)?,
        why: row.get(17)?,
        domain: row.get(18)?,
    })
}

/// A request that was found valid, to make a job of.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// The pocket that it goes into.
    pub pocket: PocketName,
    /// The domain of the pocket.
    pub domain: DomainName,
    /// The source package.
    pub package: PackageName,
    /// The commit, in full.
    pub commit: CommitId,
    /// The version that is to be built.
    pub version: Version,
    /// The version that `debian/changelog` has there.
    pub written: Version,
    /// The reason, if it is a rebuild without changes.
    pub why: Option<String>,
    /// The principal that asks.
    pub principal: Principal,
}

impl NewJob {
    /// Names the version that it is to bring.
    pub fn identity(&self) -> Identity {
        let Self { domain, package, version, .. } = self;
        Identity { domain: domain.clone(), package: package.clone(), version: version.clone() }
    }
}

#[cfg(test)]
impl NewJob {
    /// Makes a request of alice's for a version, in main. The commit is this number.
    pub(crate) fn example(pocket: &str, package: &str, version: &str, commit: u32) -> Self {
        let version: Version = version.parse().unwrap();
        Self {
            pocket: pocket.parse().unwrap(),
            domain: DomainName::main(),
            package: package.parse().unwrap(),
            commit: format!("{commit:040x}").parse().unwrap(),
            written: version.clone(),
            version,
            why: None,
            principal: Principal::from_authenticated("alice@EXAMPLE.ORG").unwrap(),
        }
    }
}

/// The error that somebody else moved the job first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("job {id} is {actual}, not {expected}: somebody else moved it first")]
pub struct LostRace {
    /// The job.
    pub id: JobId,
    /// The state that the caller expected.
    pub expected: State,
    /// The state that the job is in.
    pub actual: State,
}

/// Accepts a job. The caller has looked for a job that is under way ([`live`]) in the same
/// transaction. It is an error if the record has the pocket in another domain.
pub fn enqueue(tx: &Transaction, new: &NewJob) -> Result<JobId> {
    domains::place(tx, &new.pocket, &new.domain)?;
    tx.prepare_cached(
        "INSERT INTO job (pocket, package, commit_id, version, written, why, principal, state, submitted, turn, domain)
         VALUES (?, ?, ?, ?4, nullif(?5, ?4), ?, ?, 'queued', ?, (SELECT coalesce(max(turn), 0) + 1 FROM job), ?)",
    )?
    .execute(params![
        new.pocket,
        new.package,
        new.commit,
        new.version,
        new.written,
        new.why,
        new.principal,
        now(),
        new.domain
    ])?;
    let id = JobId(tx.last_insert_rowid());
    queue::make_ready(tx, id)?;
    entered(tx, id, State::Queued, Some(&new.principal), None)?;
    Ok(id)
}

/// The details of a job's move to its next state.
#[derive(Default)]
struct With<'a> {
    /// When it moves, if not now; milliseconds since 1970-01-01 UTC.
    at: Option<i64>,
    /// The weights by which it is charged, if the job is claimed.
    weight: Option<Weight>,
    /// The principal that wants it so. A job that is queued again is theirs from then on.
    by: Option<&'a Principal>,
    /// The note that the audit trail has besides.
    note: Option<&'a str>,
    /// The failure of a job that failed.
    failure: Option<&'a Failure>,
}

/// Moves a job from one state to another and records the event; [`LostRace`] if it is not in
/// `from`.
///
/// The CHECKs that tie other columns to the state hold for each row as it is written, so all goes
/// in one statement. A job that leaves an end begins again, at the end of the queue, and in the
/// domain that its pocket is in now.
fn transition(tx: &Transaction, id: JobId, from: State, to: State, with: With) -> Result<()> {
    debug_assert!(from.may_become(to), "{from} may not become {to}");
    let at = with.at.unwrap_or_else(now);
    let moving = Moving::of(tx, id)?;
    let reason = match to {
        State::Failed => with.failure.map(|failure| failure.text.clone()),
        State::Cancelled => with.by.map(|by| format!("cancelled by {by}")),
        State::Queued
        | State::Preparing
        | State::Building
        | State::Publishing
        | State::Published => None,
    };
    let changed = tx
        .prepare_cached(
            "UPDATE job SET state = :to, since = :at, ready = 0, failure = :failure, reason = :reason,
                    finished = iif(:ends, :at, NULL),
                    started = CASE WHEN :to = 'preparing' THEN :at WHEN :again THEN NULL ELSE started END,
                    attempt = attempt + (:to = 'preparing'),
                    lease_until = iif(:runs, :at + :lease, NULL),
                    principal = iif(:again, coalesce(:by, principal), principal),
                    cancel_by = iif(:again, NULL, cancel_by),
                    priority = iif(:again, 0, priority),
                    copied_from = iif(:again, NULL, copied_from),
                    domain = iif(:again, coalesce(
                        (SELECT its.domain FROM pocket_domain AS its WHERE its.pocket = job.pocket), domain), domain),
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
    let step = queue::Step { from, to, at, weight: with.weight.unwrap_or_default() };
    moving.count(tx, &step, with.failure.map(|failure| failure.kind))?;
    // Whoever retries a job has it from then on.
    let moving = if from.is_end() { Moving::of(tx, id)? } else { moving };
    moving.moved(tx, id, &step)?;
    let failure = with.failure.map(Failure::to_string);
    entered(tx, id, to, with.by, with.note.or(failure.as_deref()))
}

/// Writes down that a job entered a state: for the audit trail, and for the hooks that hear of it.
fn entered(
    tx: &Transaction,
    id: JobId,
    state: State,
    by: Option<&Principal>,
    note: Option<&str>,
) -> Result<()> {
    let mut entry = AuditEntry::new("job.state").job(id).with("state", state.as_str());
    if let Some(by) = by {
        entry = entry.with("by", by.as_str());
    }
    if let Some(note) = note {
        entry = entry.with("note", note);
    }
    entry.append(tx)?;
    if let Some(event) = state.event() {
        tx.prepare_cached("INSERT INTO hook_event (job, event, at) VALUES (?, ?, ?)")?
            .execute(params![id, event, now()])?;
    }
    Ok(())
}

/// Starts a job that was found to be next ([`super::claim::next`]).
pub(super) fn start(tx: &Transaction, id: JobId, at: i64, weight: Weight) -> Result<()> {
    let with = With { at: Some(at), weight: Some(weight), ..With::default() };
    transition(tx, id, State::Queued, State::Preparing, with)
}

/// Takes a running job one step on.
pub fn advance(tx: &Transaction, id: JobId, from: State, to: State) -> Result<()> {
    transition(tx, id, from, to, With::default())
}

/// Does what [`advance`] does, at a moment.
#[cfg(test)]
pub(super) fn advance_at(
    tx: &Transaction,
    id: JobId,
    from: State,
    to: State,
    at: i64,
) -> Result<()> {
    transition(tx, id, from, to, With { at: Some(at), ..With::default() })
}

/// Ends a running job that did not make it.
pub fn fail(tx: &Transaction, id: JobId, from: State, failure: &Failure) -> Result<()> {
    transition(tx, id, from, State::Failed, With { failure: Some(failure), ..With::default() })
}

/// Ends a job that somebody stopped: a queued one at once, a running one when its worker has let
/// go.
pub fn cancelled(tx: &Transaction, id: JobId, from: State, by: &Principal) -> Result<()> {
    transition(tx, id, from, State::Cancelled, With { by: Some(by), ..With::default() })
}

/// Asks the worker of a running job to stop. The record keeps the first who asks.
pub fn ask_to_cancel(tx: &Transaction, id: JobId, by: &Principal) -> Result<()> {
    one(
        id,
        tx.execute(
            "UPDATE job SET cancel_by = coalesce(cancel_by, ?2) WHERE id = ?1",
            params![id, by],
        )?,
    )?;
    AuditEntry::new("job.cancel").job(id).with("by", by.as_str()).append(tx)
}

/// Lets an open job go before the other jobs of its pocket.
pub fn hurry(tx: &Transaction, id: JobId, by: &Principal) -> Result<()> {
    queue::hurry(tx, id)?;
    AuditEntry::new("job.priority").job(id).with("by", by.as_str()).append(tx)
}

/// Tells whether a principal has so many open jobs or more.
pub fn has_open(db: &Connection, principal: &Principal, so_many: u32) -> Result<bool> {
    let count: u32 = db
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM job INDEXED BY job_of_principal WHERE principal = ?
             AND state IN ('queued', 'preparing', 'building', 'publishing') LIMIT ?)",
        )?
        .query_row(params![principal, so_many], |row| row.get(0))?;
    Ok(count >= so_many)
}

/// Queues a failed or cancelled job again, at the end of the queue, on behalf of the principal
/// `by`.
pub fn retry(tx: &Transaction, id: JobId, from: State, by: &Principal) -> Result<()> {
    transition(
        tx,
        id,
        from,
        State::Queued,
        With { by: Some(by), note: Some("retried"), ..With::default() },
    )
}

/// Gives a claim back: the job waits for its turn again. For claims of a daemon that is gone or
/// shuts down.
pub fn give_back(tx: &Transaction, id: JobId, from: State, why: &str) -> Result<()> {
    transition(tx, id, from, State::Queued, With { note: Some(why), ..With::default() })
}

/// Lists running jobs whose lease has run out: nobody works on them any more.
pub fn expired(db: &Connection) -> Result<Vec<Job>> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM job INDEXED BY job_running
         WHERE state IN ('preparing', 'building', 'publishing') AND lease_until < ?"
    ))?;
    Ok(statement.query_map([now()], job_from)?.collect::<Result<_, _>>()?)
}

/// Notes that a job takes the binaries of another pocket.
pub fn set_copied_from(tx: &Transaction, id: JobId, pocket: &PocketName) -> Result<()> {
    one(id, tx.execute("UPDATE job SET copied_from = ?2 WHERE id = ?1", params![id, pocket])?)
}

/// Demands that a change has changed one job.
fn one(id: JobId, changed: usize) -> Result<()> {
    anyhow::ensure!(changed == 1, "{changed} jobs have the number {id}");
    Ok(())
}

/// Extends the leases of these jobs.
pub fn renew(tx: &Transaction, ids: &[JobId]) -> Result<()> {
    for id in ids {
        tx.prepare_cached(
            "UPDATE job SET lease_until = ?2 WHERE id = ?1 AND lease_until IS NOT NULL",
        )?
        .execute(params![id, now() + LEASE_MS])?;
    }
    Ok(())
}

/// Reads the job, or returns an error that the caller has to translate.
pub fn get(db: &Connection, id: JobId) -> Result<Job> {
    Ok(db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM job WHERE id = ?"))?
        .query_row([id], job_from)?)
}

/// Finds the job, if there is one of this number.
pub fn find(db: &Connection, id: JobId) -> Result<Option<Job>> {
    Ok(db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM job WHERE id = ?"))?
        .query_row([id], job_from)
        .optional()?)
}

/// Finds the job that is under way for this commit in this pocket.
pub fn live(
    db: &Connection,
    pocket: &PocketName,
    package: &PackageName,
    commit: &CommitId,
) -> Result<Option<Job>> {
    Ok(db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM job WHERE pocket = ? AND package = ? AND commit_id = ?
             AND state IN ('queued', 'preparing', 'building', 'publishing')"
        ))?
        .query_row(params![pocket, package, commit], job_from)
        .optional()?)
}

/// Finds a job under way that brings this package into this pocket.
pub fn under_way(
    db: &Connection,
    pocket: &PocketName,
    package: &PackageName,
) -> Result<Option<Job>> {
    Ok(db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM job INDEXED BY job_in_pocket WHERE package = ? AND pocket = ?
             AND state IN ('queued', 'preparing', 'building', 'publishing') ORDER BY turn LIMIT 1"
        ))?
        .query_row(params![package, pocket], job_from)
        .optional()?)
}

/// Finds a job under way, in any pocket of the domain, that brings this version from another
/// commit.
pub fn live_rival(db: &Connection, id: &Identity, commit: &CommitId) -> Result<Option<Job>> {
    Ok(db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM job INDEXED BY job_of_version
             WHERE domain = ? AND package = ? AND version = ? AND commit_id <> ?
             AND state IN ('queued', 'preparing', 'building', 'publishing') ORDER BY turn LIMIT 1"
        ))?
        .query_row(params![id.domain, id.package, id.version, commit], job_from)
        .optional()?)
}

/// Finds the open job that brings this version of a package into a pocket.
pub fn bringing(
    db: &Connection,
    pocket: &PocketName,
    package: &PackageName,
    version: &Version,
) -> Result<Option<JobId>> {
    Ok(db
        .prepare_cached(
            "SELECT id FROM job INDEXED BY job_of_version WHERE package = ? AND pocket = ? AND version = ?
             AND state IN ('queued', 'preparing', 'building', 'publishing') ORDER BY turn LIMIT 1",
        )?
        .query_row(params![package, pocket, version], |row| row.get(0))
        .optional()?)
}

/// Finds the last job that brought this version of a package into a pocket.
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

/// Tells whether a package has jobs in a domain that have not ended.
pub fn any_open(db: &Connection, domain: &DomainName, package: &PackageName) -> Result<bool> {
    Ok(db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM job INDEXED BY job_of_commit WHERE domain = ? AND package = ?
             AND state IN ('queued', 'preparing', 'building', 'publishing'))",
        )?
        .query_row(params![domain, package], |row| row.get(0))?)
}

/// Counts the open jobs that were accepted before this one.
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

/// Lists the jobs that are running.
pub fn running(db: &Connection) -> Result<Vec<Job>> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM job INDEXED BY job_running WHERE state IN ('preparing', 'building', 'publishing')
         ORDER BY turn"
    ))?;
    Ok(statement.query_map([], job_from)?.collect::<Result<_, _>>()?)
}

/// Finds the open job that a queued one has to wait for: the last one before it of its package in
/// its pocket, or of its commit in its domain.
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
                     WHERE domain = ?5 AND package = ?2 AND commit_id = ?4 AND turn < (SELECT turn FROM job WHERE id = ?1)
                       AND state IN ('queued', 'preparing', 'building', 'publishing') ORDER BY turn DESC LIMIT 1))
             ORDER BY turn DESC LIMIT 1",
        )?
        .query_row(params![job.id, job.package, job.pocket, job.commit, job.domain], |row| row.get(0))
        .optional()?)
}

/// Lists the running jobs that somebody asked to stop.
pub fn to_cancel(db: &Connection) -> Result<Vec<JobId>> {
    let mut statement = db.prepare_cached(
        "SELECT id FROM job INDEXED BY job_running
         WHERE state IN ('preparing', 'building', 'publishing') AND cancel_by IS NOT NULL",
    )?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Lists the open jobs that a daemon claimed before, by turn.
pub fn begun(db: &Connection) -> Result<Vec<Job>> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM job WHERE state IN ('queued', 'preparing', 'building', 'publishing') AND attempt > 0
         ORDER BY turn"
    ))?;
    Ok(statement.query_map([], job_from)?.collect::<Result<_, _>>()?)
}

/// Lists the jobs that are queued or running, by turn.
pub fn open(db: &Connection) -> Result<Vec<Job>> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM job INDEXED BY job_open
         WHERE state IN ('queued', 'preparing', 'building', 'publishing') ORDER BY turn"
    ))?;
    Ok(statement.query_map([], job_from)?.collect::<Result<_, _>>()?)
}

/// Lists the jobs that ended last, the newest first.
pub fn lately_finished(db: &Connection, most: usize) -> Result<Vec<Job>> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM job WHERE finished IS NOT NULL ORDER BY finished DESC, id DESC LIMIT ?"
    ))?;
    Ok(statement.query_map([most as i64], job_from)?.collect::<Result<_, _>>()?)
}

/// Lists the jobs of a package, at most `most`, the newest first.
pub fn of_package(db: &Connection, package: &PackageName, most: usize) -> Result<Vec<Job>> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM job WHERE package = ? ORDER BY id DESC LIMIT ?"
    ))?;
    Ok(statement.query_map(params![package, most as i64], job_from)?.collect::<Result<_, _>>()?)
}

/// Lists the states that a job went through, in order.
pub fn steps(db: &Connection, id: JobId) -> Result<Vec<StateChange>> {
    let mut statement = db.prepare_cached(
        "SELECT at, json_extract(detail, '$.state') FROM audit WHERE job = ? AND event = 'job.state' ORDER BY id",
    )?;
    let steps =
        statement.query_map([id], |row| Ok(StateChange { at: row.get(0)?, state: row.get(1)? }))?;
    Ok(steps.collect::<Result<_, _>>()?)
}

/// Counts how often an open job was `publishing` since somebody queued it. If it was, what it
/// publishes is built; if it was more than once, daemons died.
pub fn publications(db: &Connection, id: JobId) -> Result<usize> {
    let steps = steps(db, id)?;
    let lately = steps.iter().rev().take_while(|step| !step.state.is_end());
    Ok(lately.filter(|step| step.state == State::Publishing).count())
}

#[cfg(test)]
mod tests {
    use crate::Record;
    use crate::claim;
    use crate::jobs::*;
    use invirtibuilder_core::error::FailureKind;

    fn record() -> (tempfile::TempDir, Record) {
        let dir = tempfile::tempdir().unwrap();
        let record = Record::open(&dir.path().join("db")).unwrap();
        (dir, record)
    }

    fn new(package: &str, n: u8) -> NewJob {
        NewJob::example("prod", package, &format!("1.{n}"), n.into())
    }

    /// Claims a job by the rules of a service with places enough.
    fn claim(tx: &Transaction) -> Result<Option<Job>> {
        claim::next(tx, &crate::fairness::Rules { places: 9, ..Default::default() })
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
        assert_eq!(
            (job.state, job.failure, job.attempt),
            (State::Failed, Some(FailureKind::BuildFailed), 1)
        );
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
        let error =
            record.write(|tx| advance(tx, id, State::Preparing, State::Building)).unwrap_err();
        let race: &LostRace = error.downcast_ref().unwrap();
        assert_eq!((race.actual, race.expected), (State::Queued, State::Preparing));
        assert_eq!(get(record.db(), id).unwrap().state, State::Queued);
        assert_eq!(steps(record.db(), id).unwrap().len(), 1);
    }

    #[test]
    fn a_lost_race_is_one_for_every_move() {
        let (_dir, mut record) = record();
        let id = record.write(|tx| enqueue(tx, &new("hello", 1))).unwrap();
        let (failure, bob) =
            (Failure::new(FailureKind::BuildFailed, "no"), principal("bob@EXAMPLE.ORG"));
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

    /// Lists every statement of the sources that changes a job's state.
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
        changes_of_states(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut found);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].ends_with("store/jobs.rs"), "{found:?}");
    }

    #[test]
    fn those_ahead_are_counted_up_to_a_bound() {
        let (_dir, mut record) = record();
        let most = Ahead::MOST as usize;
        let ids: Vec<JobId> = record
            .write(|tx| {
                let jobs = 0..most + 2;
                jobs.map(|n| {
                    enqueue(tx, &NewJob { commit: format!("{n:040x}").parse()?, ..new("hello", 1) })
                })
                .collect()
            })
            .unwrap();
        let ahead = |n: usize| ahead(record.db(), ids[n]).unwrap().to_string();
        let all = [ahead(0), ahead(7), ahead(most - 1), ahead(most), ahead(most + 1)];
        assert_eq!(all, ["0", "7", "99", "100 or more", "100 or more"]);
    }

    #[test]
    fn the_same_commit_is_under_way_only_once() {
        let (_dir, mut record) = record();
        let id = record.write(|tx| enqueue(tx, &new("hello", 1))).unwrap();
        assert!(record.write(|tx| enqueue(tx, &new("hello", 1))).is_err());
        let want = new("hello", 1);
        assert_eq!(
            live(record.db(), &want.pocket, &want.package, &want.commit).unwrap().unwrap().id,
            id
        );
        let mut rival = new("hello", 1);
        rival.commit = format!("{:040x}", 9).parse().unwrap();
        assert_eq!(
            live_rival(record.db(), &rival.identity(), &rival.commit).unwrap().unwrap().id,
            id
        );
        let elsewhere = rival.identity().of(&"dev".parse().unwrap());
        assert!(live_rival(record.db(), &elsewhere, &rival.commit).unwrap().is_none());
    }

    #[test]
    fn every_event_that_hooks_hear_of_is_owed_with_the_state() {
        let (_dir, mut record) = record();
        let id = record.write(|tx| enqueue(tx, &new("hello", 1))).unwrap();
        record.write(claim).unwrap();
        record.write(|tx| advance(tx, id, State::Preparing, State::Building)).unwrap();
        let mut statement =
            record.db().prepare("SELECT event FROM hook_event ORDER BY id").unwrap();
        let events: Vec<String> =
            statement.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(events, ["submitted", "started"]);
    }
}
