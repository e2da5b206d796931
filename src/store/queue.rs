//! Keeps the queue: which jobs may run, and whose turn it is.
//!
//! A job is *ready* when it is queued and no open job before it is for its package in its pocket,
//! or for its commit in another pocket of its domain (it will be a copy then). Whatever a transition changes in
//! that is written down with it: [`claim`](crate::claim) finds the next job by a few look-ups in
//! indexes that hold only ready and running jobs, however many wait or have ended.
//!
//! The record also keeps who uses how much of the places ([`crate::fairness`] has the rules). A job
//! is charged for as long as jobs of its package took lately when it is claimed, and for the time
//! it did take when it ends. A domain, pocket or principal without work saves up nothing: when work
//! comes, it begins where those are that were served last, and beside all others if nobody had any
//! left.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::fairness::{Load, Rules, Weight};
use crate::measures;
use invirtibuilder_api::job::State;
use invirtibuilder_core::error::FailureKind;
use invirtibuilder_core::names::{CommitId, DomainName, JobId, PackageName, PocketName, Principal};

/// The least that any job is charged, in milliseconds.
pub(super) const LEAST_MS: i64 = 1000;

/// The most that any job is charged, in milliseconds: a clock that was put right meanwhile, or a
/// machine that slept, says nothing of a job.
const MOST_MS: i64 = 24 * 3_600_000;

/// The charge of a job whose pocket has not published anything yet, in milliseconds.
pub(super) const UNKNOWN_MS: i64 = 60_000;

/// The most that a pocket can be owed that its own `jobs` held back, in milliseconds of one place.
pub(crate) const OWED_MS: i64 = 3_600_000;

/// The fields of a job that moves which the queue has to know.
pub(super) struct Moving {
    pocket: PocketName,
    domain: DomainName,
    package: PackageName,
    commit: CommitId,
    principal: Principal,
    ready: bool,
    started: Option<i64>,
    lease_until: Option<i64>,
    /// When it entered the state that it leaves.
    since: i64,
}

/// A move of a job from one state to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// The state that it leaves.
    pub from: State,
    /// The state that it enters.
    pub to: State,
    /// When; milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// The weights by which it is charged from now on, if it starts.
    pub weight: Weight,
}

impl Moving {
    /// Reads the fields, before the job moves.
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
                domain: row.get(7)?,
                since: row.get(8)?,
            })
        };
        Ok(tx
            .prepare_cached(
                "SELECT pocket, package, commit_id, principal, ready, started, lease_until, domain,
                        coalesce(since, started, submitted) FROM job WHERE id = ?",
            )?
            .query_row([id], of_row)?)
    }

    /// Counts the move from one state to another. `failure` is why the job failed, if it has.
    pub(super) fn count(
        &self,
        tx: &Transaction,
        step: &Step,
        failure: Option<FailureKind>,
    ) -> Result<()> {
        if !step.from.is_end() {
            measures::count_phase(tx, &self.pocket, step.from, step.at - self.since)?;
        }
        if step.to.is_end() {
            measures::count_end(tx, &self.pocket, step.to, failure)?;
        }
        Ok(())
    }

    /// Writes down what the move from one state to another means for the queue. The job is in `to`
    /// already, and not ready.
    pub(super) fn moved(&self, tx: &Transaction, id: JobId, step: &Step) -> Result<()> {
        let Step { from, to, at, weight } = *step;
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
            self.charge(tx, id, weight)?;
            tx.prepare_cached(
                "UPDATE forecast SET started = ?2 WHERE job = ?1 AND started IS NULL",
            )?
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

    /// Evens the principals of a pocket when it has nothing left to do, the pockets of a domain when
    /// none of them has, and the domains when nobody has: a domain, pocket or principal that wanted
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
        if rests == 0 {
            return Ok(());
        }
        let rests = tx
            .prepare_cached(
                "UPDATE domain_use SET clock = max(clock, (SELECT max(used) FROM pocket_use WHERE domain = ?1))
                 WHERE domain = ?1 AND NOT EXISTS (SELECT 1 FROM pocket_use WHERE domain = ?1 AND ready > 0)
                   AND NOT EXISTS (SELECT 1 FROM job INDEXED BY job_running
                       WHERE state IN ('preparing', 'building', 'publishing') AND domain = ?1)",
            )?
            .execute([&self.domain])?;
        if rests > 0 {
            tx.prepare_cached(
                "UPDATE queue_clock SET clock = max(clock, (SELECT max(used) FROM domain_use))
                 WHERE NOT EXISTS (SELECT 1 FROM pocket_use WHERE ready > 0)
                   AND NOT EXISTS (SELECT 1 FROM job INDEXED BY job_running
                       WHERE state IN ('preparing', 'building', 'publishing'))",
            )?
            .execute([])?;
        }
        Ok(())
    }

    /// Makes ready what stood behind the job, if it is first now.
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
                "SELECT id FROM job INDEXED BY job_of_commit WHERE domain = ? AND package = ? AND commit_id = ?
                 AND state IN ('queued', 'preparing', 'building', 'publishing') ORDER BY turn LIMIT 1",
            )?
            .query_row(params![self.domain, self.package, self.commit], |row| row.get(0))
            .optional()?;
        in_pocket.into_iter().chain(of_commit).try_for_each(|id| make_ready(tx, id))
    }

    /// Counts one more or one less ready job of its pocket and principal.
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

    /// Charges domain, pocket and principal for a job that starts.
    fn charge(&self, tx: &Transaction, id: JobId, weight: Weight) -> Result<()> {
        let ms = expected(tx, &self.pocket, &self.package)?.unwrap_or(UNKNOWN_MS).max(LEAST_MS);
        let sql =
            "INSERT OR REPLACE INTO charge (job, ms, share, domain_share) VALUES (?, ?, ?, ?)";
        tx.prepare_cached(sql)?.execute(params![id, ms, weight.pocket, weight.domain])?;
        self.add_use(tx, ms, weight)
    }

    /// Puts right what a job was charged that ran from its claim until now, or until its claim
    /// ended.
    fn settle(&self, tx: &Transaction, id: JobId, at: i64) -> Result<()> {
        let row =
            |row: &Row| Ok((row.get(0)?, Weight { pocket: row.get(1)?, domain: row.get(2)? }));
        let charged: Option<(i64, Weight)> = tx
            .prepare_cached("DELETE FROM charge WHERE job = ? RETURNING ms, share, domain_share")?
            .query_row([id], row)
            .optional()?;
        let Some((charged, weight)) = charged else { return Ok(()) };
        let until = self.lease_until.map_or(at, |lease| lease.min(at));
        let took = self.started.map_or(0, |started| until - started).clamp(LEAST_MS, MOST_MS);
        self.add_use(tx, took - charged, weight)
    }

    fn add_use(&self, tx: &Transaction, ms: i64, weight: Weight) -> Result<()> {
        if !weight.is_reserved() {
            let part = |share: u32| ms * 1000 / i64::from(share.max(1));
            tx.prepare_cached("UPDATE domain_use SET used = used + ?2 WHERE domain = ?1")?
                .execute(params![self.domain, part(weight.domain)])?;
            tx.prepare_cached("UPDATE pocket_use SET used = used + ?2 WHERE pocket = ?1")?
                .execute(params![self.pocket, part(weight.pocket)])?;
        }
        tx.prepare_cached(
            "UPDATE principal_use SET used = used + ?3 WHERE pocket = ?1 AND principal = ?2",
        )?
        .execute(params![self.pocket, self.principal, ms])?;
        Ok(())
    }

    /// Learns from the time that a job took: it makes a third of what we expect of the package from
    /// then on, and one in twenty of what we expect of the pocket.
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

/// Returns how long a job of this package in this pocket will take, in milliseconds, by those that
/// were published; `None`: the pocket has none yet.
pub fn expected(
    db: &Connection,
    pocket: &PocketName,
    package: &PackageName,
) -> Result<Option<i64>> {
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
                 WHERE other.domain = job.domain AND other.package = job.package
                 AND other.commit_id = job.commit_id AND other.turn < job.turn AND other.state IN ('queued', 'preparing', 'building', 'publishing'))",
        )?
        .execute([id])?;
    if changed == 0 {
        return Ok(());
    }
    let job = Moving::of(tx, id)?;
    // What has no work now begins where those are that were served last.
    tx.prepare_cached(
        "INSERT INTO domain_use (domain, used, clock) VALUES (?1, (SELECT clock FROM queue_clock), 0)
         ON CONFLICT DO UPDATE SET used = max(used, excluded.used)
         WHERE NOT EXISTS (SELECT 1 FROM pocket_use WHERE domain = ?1 AND ready > 0)
             AND NOT EXISTS (SELECT 1 FROM job INDEXED BY job_running
                 WHERE state IN ('preparing', 'building', 'publishing') AND domain = ?1)",
    )?
    .execute(params![job.domain])?;
    tx.prepare_cached(
        "INSERT INTO pocket_use (pocket, domain, used, clock, ready)
         SELECT ?1, domain, clock, 0, 0 FROM domain_use WHERE domain = ?2
         ON CONFLICT DO UPDATE SET used = max(used, excluded.used), domain = excluded.domain WHERE ready = 0
             AND NOT EXISTS (SELECT 1 FROM job INDEXED BY job_running
                 WHERE pocket = ?1 AND state IN ('preparing', 'building', 'publishing'))",
    )?
    .execute(params![job.pocket, job.domain])?;
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

/// The condition that finds queued jobs whose `ready` does not follow from the jobs before them.
pub(super) const WRONGLY_READY: &str =
    "state = 'queued' AND state IN ('queued', 'preparing', 'building', 'publishing') AND ready <> (
     NOT EXISTS (SELECT 1 FROM job AS other INDEXED BY job_in_pocket
         WHERE other.package = job.package AND other.pocket = job.pocket AND other.turn < job.turn
         AND other.state IN ('queued', 'preparing', 'building', 'publishing'))
     AND NOT EXISTS (SELECT 1 FROM job AS other INDEXED BY job_of_commit
         WHERE other.domain = job.domain AND other.package = job.package
         AND other.commit_id = job.commit_id AND other.turn < job.turn AND other.state IN ('queued', 'preparing', 'building', 'publishing')))";

/// Writes down again what follows from the open jobs ([`super::queue_check`] says what that is).
/// Returns how many jobs were not as they should be.
///
/// An older release's program that was running when the record was migrated keeps nothing of it:
/// what it queued, or let go of, would wait for ever.
pub fn mend(tx: &Transaction) -> Result<usize> {
    let mended =
        tx.execute(&format!("UPDATE job SET ready = 1 - ready WHERE {WRONGLY_READY}"), [])?;
    tx.execute_batch(
        "DELETE FROM charge WHERE job NOT IN (SELECT id FROM job WHERE state IN ('preparing', 'building', 'publishing'));
         INSERT INTO charge (job, ms, share)
             SELECT id, 0, 1 FROM job WHERE state IN ('preparing', 'building', 'publishing') ON CONFLICT DO NOTHING;
         INSERT INTO queue_clock (one, clock)
             SELECT 1, coalesce(max(used), 0) FROM domain_use WHERE true ON CONFLICT DO NOTHING;
         INSERT INTO domain_use (domain, used, clock)
             SELECT DISTINCT domain, queue_clock.clock, 0 FROM job, queue_clock
             WHERE state IN ('queued', 'preparing', 'building', 'publishing') ON CONFLICT DO NOTHING;
         INSERT INTO pocket_use (pocket, domain, used, clock, ready)
             SELECT DISTINCT pocket, job.domain, its.clock, 0, 0 FROM job JOIN domain_use AS its ON its.domain = job.domain
             WHERE state IN ('queued', 'preparing', 'building', 'publishing') ON CONFLICT DO NOTHING;
         UPDATE pocket_use SET domain = its.domain FROM job AS its
             WHERE its.pocket = pocket_use.pocket AND its.domain <> pocket_use.domain
             AND state IN ('queued', 'preparing', 'building', 'publishing');
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

/// Lets a job go before the others of its pocket, and with it those of its package that it has to
/// wait for.
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

/// Tells whether a claim would find a job: a look that is in nobody's way.
pub fn may_claim(db: &Connection, rules: &Rules) -> Result<bool> {
    Ok(rules.next(&loads(db)?).is_some())
}

/// Lists the load of every pocket that has jobs which are ready or run.
pub fn loads(db: &Connection) -> Result<Vec<Load>> {
    let mut statement = db.prepare_cached(
        "SELECT pocket, pocket_use.used,
                (SELECT oldest FROM principal_use AS its INDEXED BY principal_use_next
                 WHERE its.pocket = pocket_use.pocket AND its.ready > 0 ORDER BY its.used, oldest LIMIT 1),
                (SELECT count(*) FROM job INDEXED BY job_running JOIN charge ON charge.job = job.id AND charge.share > 0
                 WHERE job.pocket = pocket_use.pocket AND state IN ('preparing', 'building', 'publishing')),
                (SELECT count(*) FROM job INDEXED BY job_running JOIN charge ON charge.job = job.id AND charge.share = 0
                 WHERE job.pocket = pocket_use.pocket AND state IN ('preparing', 'building', 'publishing')),
                pocket_use.domain, domain_use.used
         FROM pocket_use JOIN domain_use ON domain_use.domain = pocket_use.domain",
    )?;
    let load = |row: &Row| {
        Ok(Load {
            pocket: row.get(0)?,
            used: row.get(1)?,
            next: row.get(2)?,
            running: row.get(3)?,
            in_reserve: row.get(4)?,
            domain: row.get(5)?,
            domain_used: row.get(6)?,
        })
    };
    Ok(statement.query_map([], load)?.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use crate::Record;
    use crate::claim;
    use crate::fairness::Share;
    use crate::jobs;
    use crate::jobs::{NewJob, enqueue, steps};
    use crate::queue::*;
    use invirtibuilder_core::error::{Failure, FailureKind};
    use invirtibuilder_core::time::now;

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
            domain: DomainName::main(),
            package: package.parse().unwrap(),
            commit: format!("{commit:040x}").parse().unwrap(),
            version: format!("1.{commit}").parse().unwrap(),
            written: format!("1.{commit}").parse().unwrap(),
            why: None,
            principal: principal(who),
        };
        record.write(|tx| enqueue(tx, &new)).unwrap()
    }

    fn rules(places: u32) -> Rules {
        Rules { places, ..Rules::default() }
    }

    fn claimed(record: &mut Record, rules: &Rules) -> Option<JobId> {
        record.write(|tx| claim::next(tx, rules)).unwrap().map(|job| job.id)
    }

    fn end(record: &mut Record, id: JobId) {
        let failure = Failure::new(FailureKind::BuildFailed, "no");
        record.write(|tx| jobs::fail(tx, id, jobs::get(tx, id)?.state, &failure)).unwrap();
    }

    #[test]
    fn pockets_and_principals_take_turns() {
        let (_dir, mut record) = record();
        let a: Vec<_> =
            (0..3).map(|n| queue(&mut record, "dev", &format!("a{n}"), n, "alice")).collect();
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
        let prod = loads(record.db())
            .unwrap()
            .into_iter()
            .find(|load| load.pocket.as_str() == "prod")
            .unwrap();
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
        assert!(
            order.iter().position(|id| *id == behind) < order.iter().position(|id| *id == running)
        );
    }

    #[test]
    fn who_wanted_nothing_while_others_worked_has_saved_up_nothing() {
        let (_dir, mut record) = record();
        let long = queue(&mut record, "dev", "kernel", 1, "alice");
        let hours = 6 * 3_600_000;
        record
            .write(|tx| {
                claim::next_at(tx, &rules(1), 1)?;
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
        record.write(|tx| claim::next_at(tx, &rules(1), 1)).unwrap().unwrap();
        record.write(|tx| Ok(tx.execute("UPDATE job SET lease_until = ?", [now() + 1])?)).unwrap();
        record.write(|tx| jobs::advance(tx, id, State::Preparing, State::Publishing)).unwrap();
        record.write(|tx| jobs::advance(tx, id, State::Publishing, State::Published)).unwrap();
        assert_eq!(loads(record.db()).unwrap()[0].used, MOST_MS * 1000);
        let package = "hello".parse().unwrap();
        assert_eq!(
            expected(record.db(), &"dev".parse().unwrap(), &package).unwrap(),
            Some(MOST_MS)
        );
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
