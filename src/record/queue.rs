//! The queue: which jobs may run, and whose turn it is.
//!
//! A job is *ready* when it is queued and no open job before it is for its package in its pocket, or for its commit in
//! another pocket (it will be a copy then). Whatever a transition changes in that is written down with it: [`claim`] finds
//! the next job by a few look-ups in indexes that hold only ready and running jobs, however many wait or have ended.
//!
//! Who uses how much of the places is written down too ([`crate::fairness`] has the rules). A job is charged for as long
//! as jobs of its package took lately when it is claimed, and for the time it did take when it ends. A pocket or
//! principal without work saves up nothing: when work comes, it begins where those are that were served last, and beside
//! all others if nobody had any left.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::State;
use super::jobs::{self, Job};
use crate::fairness::{Hold, Load, Rules};
use crate::names::{CommitId, JobId, PackageName, PocketName, Principal};

/// What any job is charged at least.
pub(super) const LEAST_MS: i64 = 1000;

/// What any job is charged at most: a clock that was put right meanwhile, or a machine that slept, says nothing of a job.
const MOST_MS: i64 = 24 * 3_600_000;

/// What a job is charged whose pocket has not published anything yet.
pub(super) const UNKNOWN_MS: i64 = 60_000;

/// How much a pocket can be owed that its own `jobs` held back, in time of one place.
const OWED_MS: i64 = 3_600_000;

/// What the queue has to know of a job that moves.
pub(super) struct Moving {
    pocket: PocketName,
    package: PackageName,
    commit: CommitId,
    principal: Principal,
    ready: bool,
    started: Option<i64>,
    lease_until: Option<i64>,
}

impl Moving {
    /// Reads it, before the job moves.
    pub(super) fn of(tx: &Transaction, id: JobId) -> Result<Self> {
        let of_row = |row: &Row| {
            Ok(Self {
                pocket: row.get(0)?,
                package: row.get(1)?,
                commit: row.get(2)?,
                principal: row.get(3)?,
                ready: row.get(4)?,
                started: row.get(5)?,
                lease_until: row.get(6)?,
            })
        };
        Ok(tx
            .prepare_cached(
                "SELECT pocket, package, commit_id, principal, ready, started, lease_until FROM job WHERE id = ?",
            )?
            .query_row([id], of_row)?)
    }

    /// Writes down what the move from one state to another means for the queue. The job is in `to` already, and not ready.
    pub(super) fn moved(&self, tx: &Transaction, id: JobId, from: State, to: State, at: i64, share: u32) -> Result<()> {
        if from.is_running() && to.is_running() {
            return Ok(());
        }
        if self.ready {
            self.add_ready(tx, -1)?;
        }
        if from.is_running() {
            self.settle(tx, id, at)?;
        }
        if to.is_running() {
            self.charge(tx, id, share)?;
            tx.prepare_cached("UPDATE forecast SET started = ?2 WHERE job = ?1 AND started IS NULL")?
                .execute(params![id, at])?;
        }
        if from.is_end() {
            tx.prepare_cached("DELETE FROM forecast WHERE job = ?")?.execute([id])?;
        }
        if to == State::Published
            && let Some(started) = self.started
        {
            self.set_pace(tx, at - started)?;
        }
        if to == State::Queued {
            make_ready(tx, id)?;
        }
        if to.is_end() {
            self.next_of_package(tx)?;
            self.rest(tx)?;
        }
        Ok(())
    }

    /// When nothing of a pocket is left to do, its principals are even, and when nothing at all is, the pockets are: who wanted
    /// nothing while others worked has saved up nothing by that.
    fn rest(&self, tx: &Transaction) -> Result<()> {
        let rests = tx
            .prepare_cached(
                "UPDATE pocket_use SET clock = max(clock, (SELECT max(used) FROM principal_use WHERE pocket = ?1))
                 WHERE pocket = ?1 AND ready = 0 AND NOT EXISTS (SELECT 1 FROM job INDEXED BY job_running
                     WHERE pocket = ?1 AND state IN ('preparing', 'building', 'publishing'))
                   AND EXISTS (SELECT 1 FROM principal_use WHERE pocket = ?1)",
            )?
            .execute([&self.pocket])?;
        if rests > 0 {
            tx.prepare_cached(
                "UPDATE queue_clock SET clock = max(clock, (SELECT max(used) FROM pocket_use))
                 WHERE NOT EXISTS (SELECT 1 FROM pocket_use WHERE ready > 0)
                   AND NOT EXISTS (SELECT 1 FROM job INDEXED BY job_running
                       WHERE state IN ('preparing', 'building', 'publishing'))",
            )?
            .execute([])?;
        }
        Ok(())
    }

    /// What stood behind the job may be first now.
    fn next_of_package(&self, tx: &Transaction) -> Result<()> {
        let in_pocket: Option<JobId> = tx
            .prepare_cached(
                "SELECT id FROM job INDEXED BY job_in_pocket WHERE package = ? AND pocket = ?
                 AND state IN ('queued', 'preparing', 'building', 'publishing') ORDER BY turn LIMIT 1",
            )?
            .query_row(params![self.package, self.pocket], |row| row.get(0))
            .optional()?;
        let of_commit: Option<JobId> = tx
            .prepare_cached(
                "SELECT id FROM job INDEXED BY job_of_commit WHERE package = ? AND commit_id = ?
                 AND state IN ('queued', 'preparing', 'building', 'publishing') ORDER BY turn LIMIT 1",
            )?
            .query_row(params![self.package, self.commit], |row| row.get(0))
            .optional()?;
        in_pocket.into_iter().chain(of_commit).try_for_each(|id| make_ready(tx, id))
    }

    /// One more or one less of the jobs of its pocket and principal is ready.
    fn add_ready(&self, tx: &Transaction, more: i64) -> Result<()> {
        tx.prepare_cached("UPDATE pocket_use SET ready = ready + ?2 WHERE pocket = ?1")?
            .execute(params![self.pocket, more])?;
        tx.prepare_cached(
            "UPDATE principal_use SET ready = ready + ?3,
                oldest = (SELECT min(turn) FROM job INDEXED BY job_ready
                          WHERE ready = 1 AND pocket = ?1 AND principal = ?2)
             WHERE pocket = ?1 AND principal = ?2",
        )?
        .execute(params![self.pocket, self.principal, more])?;
        Ok(())
    }

    /// Charges pocket and principal for a job that starts.
    fn charge(&self, tx: &Transaction, id: JobId, share: u32) -> Result<()> {
        let ms = expected(tx, &self.pocket, &self.package)?.unwrap_or(UNKNOWN_MS).max(LEAST_MS);
        tx.prepare_cached("INSERT OR REPLACE INTO charge (job, ms, share) VALUES (?, ?, ?)")?
            .execute(params![id, ms, share])?;
        self.add_use(tx, ms, share)
    }

    /// Puts right what a job was charged that ran from its claim until now, or until its claim ended.
    fn settle(&self, tx: &Transaction, id: JobId, at: i64) -> Result<()> {
        let charged: Option<(i64, u32)> = tx
            .prepare_cached("DELETE FROM charge WHERE job = ? RETURNING ms, share")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((charged, share)) = charged else { return Ok(()) };
        let until = self.lease_until.map_or(at, |lease| lease.min(at));
        let took = self.started.map_or(0, |started| until - started).clamp(LEAST_MS, MOST_MS);
        self.add_use(tx, took - charged, share)
    }

    fn add_use(&self, tx: &Transaction, ms: i64, share: u32) -> Result<()> {
        if share > 0 {
            tx.prepare_cached("UPDATE pocket_use SET used = used + ?2 WHERE pocket = ?1")?
                .execute(params![self.pocket, ms * 1000 / i64::from(share)])?;
        }
        tx.prepare_cached("UPDATE principal_use SET used = used + ?3 WHERE pocket = ?1 AND principal = ?2")?
            .execute(params![self.pocket, self.principal, ms])?;
        Ok(())
    }

    /// Each time tells a third of what is expected from then on, and one in twenty of what is expected of the pocket.
    fn set_pace(&self, tx: &Transaction, took: i64) -> Result<()> {
        for (package, weight) in [(self.package.as_str(), 3), ("", 20)] {
            tx.prepare_cached(
                "INSERT INTO pace (pocket, package, ms) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET ms = (ms * (?4 - 1) + ?3) / ?4",
            )?
            .execute(params![self.pocket, package, took.clamp(0, MOST_MS), weight])?;
        }
        Ok(())
    }
}

/// How long a job of this package in this pocket will take, by those that were published; `None`: the pocket has none yet.
pub fn expected(db: &Connection, pocket: &PocketName, package: &PackageName) -> Result<Option<i64>> {
    Ok(db
        .prepare_cached("SELECT ms FROM pace WHERE pocket = ? AND package IN (?, '') ORDER BY package DESC LIMIT 1")?
        .query_row(params![pocket, package], |row| row.get(0))
        .optional()?)
}

/// Makes a queued job ready, if nothing before it is in its way.
pub(super) fn make_ready(tx: &Transaction, id: JobId) -> Result<()> {
    let changed = tx
        .prepare_cached(
            "UPDATE job SET ready = 1 WHERE id = ? AND state = 'queued' AND ready = 0
             AND NOT EXISTS (SELECT 1 FROM job AS other INDEXED BY job_in_pocket
                 WHERE other.package = job.package AND other.pocket = job.pocket AND other.turn < job.turn
                 AND other.state IN ('queued', 'preparing', 'building', 'publishing'))
             AND NOT EXISTS (SELECT 1 FROM job AS other INDEXED BY job_of_commit
                 WHERE other.package = job.package AND other.commit_id = job.commit_id AND other.turn < job.turn
                 AND other.state IN ('queued', 'preparing', 'building', 'publishing'))",
        )?
        .execute([id])?;
    if changed == 0 {
        return Ok(());
    }
    let job = Moving::of(tx, id)?;
    // What has no work now begins where those are that were served last.
    tx.prepare_cached(
        "INSERT INTO pocket_use (pocket, used, clock, ready)
         VALUES (?1, (SELECT clock FROM queue_clock), 0, 0)
         ON CONFLICT DO UPDATE SET used = max(used, excluded.used) WHERE ready = 0
             AND NOT EXISTS (SELECT 1 FROM job INDEXED BY job_running
                 WHERE pocket = ?1 AND state IN ('preparing', 'building', 'publishing'))",
    )?
    .execute(params![job.pocket])?;
    tx.prepare_cached(
        "INSERT INTO principal_use (pocket, principal, used, ready)
         SELECT pocket, ?2, clock, 0 FROM pocket_use WHERE pocket = ?1
         ON CONFLICT DO UPDATE SET used = max(used, excluded.used) WHERE ready = 0
             AND NOT EXISTS (SELECT 1 FROM job INDEXED BY job_running
                 WHERE pocket = ?1 AND principal = ?2 AND state IN ('preparing', 'building', 'publishing'))",
    )?
    .execute(params![job.pocket, job.principal])?;
    job.add_ready(tx, 1)
}

/// Finds queued jobs whose `ready` does not follow from the jobs before them.
pub(super) const WRONGLY_READY: &str =
    "state = 'queued' AND state IN ('queued', 'preparing', 'building', 'publishing') AND ready <> (
     NOT EXISTS (SELECT 1 FROM job AS other INDEXED BY job_in_pocket
         WHERE other.package = job.package AND other.pocket = job.pocket AND other.turn < job.turn
         AND other.state IN ('queued', 'preparing', 'building', 'publishing'))
     AND NOT EXISTS (SELECT 1 FROM job AS other INDEXED BY job_of_commit
         WHERE other.package = job.package AND other.commit_id = job.commit_id AND other.turn < job.turn
         AND other.state IN ('queued', 'preparing', 'building', 'publishing')))";

/// Writes down anew what follows from the open jobs ([`super::queue_check`] says what that is). How
/// many jobs were not as they should be.
///
/// An older release's program that was running when the record was migrated keeps nothing of it:
/// what it queued, or let go of, would wait for ever.
pub fn mend(tx: &Transaction) -> Result<usize> {
    let mended = tx.execute(&format!("UPDATE job SET ready = 1 - ready WHERE {WRONGLY_READY}"), [])?;
    tx.execute_batch(
        "DELETE FROM charge WHERE job NOT IN (SELECT id FROM job WHERE state IN ('preparing', 'building', 'publishing'));
         INSERT INTO charge (job, ms, share)
             SELECT id, 0, 1 FROM job WHERE state IN ('preparing', 'building', 'publishing') ON CONFLICT DO NOTHING;
         INSERT INTO queue_clock (one, clock)
             SELECT 1, coalesce(max(used), 0) FROM pocket_use WHERE true ON CONFLICT DO NOTHING;
         INSERT INTO pocket_use (pocket, used, clock, ready)
             SELECT DISTINCT pocket, queue_clock.clock, 0, 0 FROM job, queue_clock
             WHERE state IN ('queued', 'preparing', 'building', 'publishing') ON CONFLICT DO NOTHING;
         UPDATE pocket_use SET ready =
             (SELECT count(*) FROM job INDEXED BY job_ready WHERE ready = 1 AND pocket = pocket_use.pocket);
         INSERT INTO principal_use (pocket, principal, used, ready)
             SELECT DISTINCT job.pocket, principal, clock, 0 FROM job JOIN pocket_use ON pocket_use.pocket = job.pocket
             WHERE state IN ('queued', 'preparing', 'building', 'publishing') ON CONFLICT DO NOTHING;
         UPDATE principal_use SET (ready, oldest) =
             (SELECT count(*), min(turn) FROM job INDEXED BY job_ready
              WHERE ready = 1 AND pocket = principal_use.pocket AND principal = principal_use.principal);",
    )?;
    Ok(mended)
}

/// Lets a job go before the others of its pocket, and with it those of its package that it has to wait for.
pub(super) fn hurry(tx: &Transaction, id: JobId) -> Result<()> {
    tx.prepare_cached(
        "UPDATE job INDEXED BY job_in_pocket SET priority = 1
         FROM (SELECT pocket, package, turn FROM job WHERE id = ?) AS urgent
         WHERE job.package = urgent.package AND job.pocket = urgent.pocket AND job.turn <= urgent.turn
           AND job.state IN ('queued', 'preparing', 'building', 'publishing')",
    )?
    .execute([id])?;
    Ok(())
}

/// Whether a claim would find a job: a look that is in nobody's way.
pub fn may_claim(db: &Connection, rules: &Rules) -> Result<bool> {
    Ok(rules.next(&loads(db)?).is_some())
}

/// How every pocket stands that has jobs which are ready or run.
pub fn loads(db: &Connection) -> Result<Vec<Load>> {
    let mut statement = db.prepare_cached(
        "SELECT pocket, used,
                (SELECT oldest FROM principal_use AS its INDEXED BY principal_use_next
                 WHERE its.pocket = pocket_use.pocket AND its.ready > 0 ORDER BY used, oldest LIMIT 1),
                (SELECT count(*) FROM job INDEXED BY job_running JOIN charge ON charge.job = job.id AND charge.share > 0
                 WHERE job.pocket = pocket_use.pocket AND state IN ('preparing', 'building', 'publishing')),
                (SELECT count(*) FROM job INDEXED BY job_running JOIN charge ON charge.job = job.id AND charge.share = 0
                 WHERE job.pocket = pocket_use.pocket AND state IN ('preparing', 'building', 'publishing'))
         FROM pocket_use",
    )?;
    let load = |row: &Row| {
        Ok(Load {
            pocket: row.get(0)?,
            used: row.get(1)?,
            next: row.get(2)?,
            running: row.get(3)?,
            in_reserve: row.get(4)?,
        })
    };
    Ok(statement.query_map([], load)?.collect::<Result<_, _>>()?)
}

/// Claims the job whose turn it is by the rules. It is `preparing` from then on, under a lease of [`jobs::LEASE_MS`].
pub fn claim(tx: &Transaction, rules: &Rules) -> Result<Option<Job>> {
    claim_at(tx, rules, super::now())
}

/// As [`claim`], at a moment.
pub(super) fn claim_at(tx: &Transaction, rules: &Rules, at: i64) -> Result<Option<Job>> {
    let all = loads(tx)?;
    let Some((load, reserved)) = rules.next(&all) else { return Ok(None) };
    let id = next_of(tx, &load.pocket)?;
    if !reserved {
        tx.prepare_cached("UPDATE queue_clock SET clock = max(clock, ?)")?.execute([load.used])?;
        forgive(tx, rules, &all, load.used)?;
    }
    let share = if reserved { 0 } else { rules.share(&load.pocket).share };
    jobs::start(tx, id, at, share)?;
    Ok(Some(jobs::get(tx, id)?))
}

/// A pocket that its own `jobs` holds back is not owed all of what it does not get.
fn forgive(tx: &Transaction, rules: &Rules, all: &[Load], clock: i64) -> Result<()> {
    for load in all.iter().filter(|load| load.next.is_some() && rules.may_start(load, all) == Err(Hold::Limit)) {
        let least = clock - OWED_MS * 1000 / i64::from(rules.share(&load.pocket).share);
        if load.used < least {
            tx.execute("UPDATE pocket_use SET used = ?2 WHERE pocket = ?1", params![load.pocket, least])?;
        }
    }
    Ok(())
}

/// The job of a pocket that is next: the oldest urgent one, else the oldest one of the principal who was charged least.
fn next_of(tx: &Transaction, pocket: &PocketName) -> Result<JobId> {
    let urgent: Option<JobId> = tx
        .prepare_cached(
            "SELECT id FROM job INDEXED BY job_urgent WHERE ready = 1 AND priority = 1 AND pocket = ?
             ORDER BY turn LIMIT 1",
        )?
        .query_row([pocket], |row| row.get(0))
        .optional()?;
    if let Some(id) = urgent {
        return Ok(id);
    }
    let (turn, used): (i64, i64) = tx
        .prepare_cached(
            "SELECT oldest, used FROM principal_use INDEXED BY principal_use_next
             WHERE pocket = ? AND ready > 0 ORDER BY used, oldest LIMIT 1",
        )?
        .query_row([pocket], |row| Ok((row.get(0)?, row.get(1)?)))?;
    tx.prepare_cached("UPDATE pocket_use SET clock = max(clock, ?2) WHERE pocket = ?1")?
        .execute(params![pocket, used])?;
    Ok(tx.prepare_cached("SELECT id FROM job WHERE turn = ?")?.query_row([turn], |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::super::Record;
    use super::super::jobs::{NewJob, enqueue, steps};
    use super::*;
    use crate::error::{Failure, FailureKind};
    use crate::fairness::Share;

    fn record() -> (tempfile::TempDir, Record) {
        let dir = tempfile::tempdir().unwrap();
        let record = Record::open(&dir.path().join("db")).unwrap();
        (dir, record)
    }

    fn principal(name: &str) -> Principal {
        Principal::from_authenticated(&format!("{name}@EXAMPLE.ORG")).unwrap()
    }

    /// Queues a job of a principal for a pocket: a number stands for the commit.
    fn queue(record: &mut Record, pocket: &str, package: &str, commit: u32, who: &str) -> JobId {
        let new = NewJob {
            pocket: pocket.parse().unwrap(),
            package: package.parse().unwrap(),
            commit: format!("{commit:040x}").parse().unwrap(),
            version: format!("1.{commit}").parse().unwrap(),
            principal: principal(who),
        };
        record.write(|tx| enqueue(tx, &new)).unwrap()
    }

    fn rules(places: u32) -> Rules {
        Rules { places, ..Rules::default() }
    }

    fn claimed(record: &mut Record, rules: &Rules) -> Option<JobId> {
        record.write(|tx| claim(tx, rules)).unwrap().map(|job| job.id)
    }

    fn end(record: &mut Record, id: JobId) {
        let failure = Failure::new(FailureKind::BuildFailed, "no");
        record.write(|tx| jobs::fail(tx, id, jobs::get(tx, id)?.state, &failure)).unwrap();
    }

    #[test]
    fn pockets_and_principals_take_turns() {
        let (_dir, mut record) = record();
        let a: Vec<_> = (0..3).map(|n| queue(&mut record, "dev", &format!("a{n}"), n, "alice")).collect();
        let b = queue(&mut record, "dev", "b0", 10, "bob");
        let c = queue(&mut record, "prod", "c0", 20, "carol");
        let mut order = Vec::new();
        while let Some(id) = claimed(&mut record, &rules(1)) {
            order.push(id);
            end(&mut record, id);
        }
        // The oldest first; then who has had nothing yet.
        assert_eq!(order, [a[0], c, b, a[1], a[2]]);
    }

    #[test]
    fn an_urgent_job_goes_first_with_those_that_it_waits_for() {
        let (_dir, mut record) = record();
        let first = queue(&mut record, "prod", "other", 1, "alice");
        let before = queue(&mut record, "prod", "fix", 2, "alice");
        let urgent = queue(&mut record, "prod", "fix", 3, "bob");
        record.write(|tx| jobs::hurry(tx, urgent, &principal("bob"))).unwrap();
        let mut order = Vec::new();
        while let Some(id) = claimed(&mut record, &rules(1)) {
            order.push(id);
            end(&mut record, id);
        }
        assert_eq!(order, [before, urgent, first]);
        assert_eq!(steps(record.db(), urgent).unwrap().len(), 3);
    }

    #[test]
    fn a_copy_waits_for_the_build_in_another_pocket() {
        let (_dir, mut record) = record();
        let build = queue(&mut record, "dev", "hello", 1, "alice");
        let copy = queue(&mut record, "prod", "hello", 1, "alice");
        assert_eq!(claimed(&mut record, &rules(2)), Some(build));
        assert_eq!(claimed(&mut record, &rules(2)), None);
        end(&mut record, build);
        assert_eq!(claimed(&mut record, &rules(2)), Some(copy));
    }

    #[test]
    fn a_reserved_place_is_kept_and_costs_nothing() {
        let (_dir, mut record) = record();
        let mut rules = rules(2);
        rules.pockets.insert("prod".parse().unwrap(), Share { reserve: 1, ..Share::default() });
        let slow = queue(&mut record, "dev", "slow1", 1, "alice");
        queue(&mut record, "dev", "slow2", 2, "alice");
        assert_eq!(claimed(&mut record, &rules), Some(slow));
        assert_eq!(claimed(&mut record, &rules), None, "the other place is prod's");
        let fix = queue(&mut record, "prod", "fix", 3, "bob");
        assert_eq!(claimed(&mut record, &rules), Some(fix));
        let prod = loads(record.db()).unwrap().into_iter().find(|load| load.pocket.as_str() == "prod").unwrap();
        assert_eq!((prod.used, prod.running, prod.in_reserve), (0, 0, 1));
    }

    #[test]
    fn what_an_older_release_did_meanwhile_is_mended() {
        let (_dir, mut record) = record();
        let rules = rules(1);
        let running = queue(&mut record, "dev", "hello", 1, "alice");
        let behind = queue(&mut record, "dev", "hello", 2, "alice");
        assert_eq!(claimed(&mut record, &rules), Some(running));
        record
            .write(|tx| {
                assert_eq!(mend(tx)?, 0);
                // It knows neither of charges nor of what is ready.
                let failed = concat!(
                    "UPDATE ",
                    "job SET state = 'failed', failure = 'build.failed', lease_until = NULL, finished = 1"
                );
                tx.execute(&format!("{failed} WHERE id = ?"), [running])?;
                tx.execute(
                    "INSERT INTO job (pocket, package, commit_id, version, principal, state, submitted, turn)
                     VALUES ('prod', 'other', printf('%040x', 3), '1', 'bob@EXAMPLE.ORG', 'queued', 1, 9)",
                    [],
                )?;
                Ok(())
            })
            .unwrap();
        assert_eq!(claimed(&mut record, &rules), None);
        assert_eq!(record.write(mend).unwrap(), 2);
        assert_eq!(record.write(mend).unwrap(), 0);
        let by = principal("alice");
        record.write(|tx| jobs::retry(tx, running, State::Failed, &by)).unwrap();
        let mut order = Vec::new();
        while let Some(id) = claimed(&mut record, &rules) {
            order.push(id);
            end(&mut record, id);
        }
        assert_eq!(order.len(), 3, "{order:?}");
        assert!(order.iter().position(|id| *id == behind) < order.iter().position(|id| *id == running));
    }

    #[test]
    fn who_wanted_nothing_while_others_worked_has_saved_up_nothing() {
        let (_dir, mut record) = record();
        let long = queue(&mut record, "dev", "kernel", 1, "alice");
        let hours = 6 * 3_600_000;
        record
            .write(|tx| {
                claim_at(tx, &rules(1), 1)?;
                jobs::advance_at(tx, long, State::Preparing, State::Publishing, hours)?;
                jobs::advance_at(tx, long, State::Publishing, State::Published, hours)
            })
            .unwrap();
        // Nothing is left to do. Then all come.
        let a = queue(&mut record, "dev", "aa", 2, "alice");
        let b = queue(&mut record, "dev", "bb", 3, "bob");
        let c = queue(&mut record, "prod", "cc", 4, "carol");
        let d = queue(&mut record, "prod", "dd", 5, "carol");
        let mut order = Vec::new();
        while let Some(id) = claimed(&mut record, &rules(1)) {
            order.push(id);
            end(&mut record, id);
        }
        assert_eq!(order, [a, c, b, d]);
    }

    #[test]
    fn a_clock_that_was_put_right_costs_a_day_at_most() {
        let (_dir, mut record) = record();
        let id = queue(&mut record, "dev", "hello", 1, "alice");
        record.write(|tx| claim_at(tx, &rules(1), 1)).unwrap().unwrap();
        record.write(|tx| Ok(tx.execute("UPDATE job SET lease_until = ?", [super::super::now() + 1])?)).unwrap();
        record.write(|tx| jobs::advance(tx, id, State::Preparing, State::Publishing)).unwrap();
        record.write(|tx| jobs::advance(tx, id, State::Publishing, State::Published)).unwrap();
        assert_eq!(loads(record.db()).unwrap()[0].used, MOST_MS * 1000);
        let package = "hello".parse().unwrap();
        assert_eq!(expected(record.db(), &"dev".parse().unwrap(), &package).unwrap(), Some(MOST_MS));
    }

    #[test]
    fn who_has_too_many_open_jobs_is_known() {
        let (_dir, mut record) = record();
        let id = queue(&mut record, "dev", "one", 1, "alice");
        queue(&mut record, "prod", "two", 2, "alice");
        assert!(jobs::has_open(record.db(), &principal("alice"), 2).unwrap());
        assert!(!jobs::has_open(record.db(), &principal("alice"), 3).unwrap());
        assert!(!jobs::has_open(record.db(), &principal("bob"), 1).unwrap());
        claimed(&mut record, &rules(1));
        end(&mut record, id);
        assert!(!jobs::has_open(record.db(), &principal("alice"), 2).unwrap());
    }
}
