//! Counts jobs: how they end, and how long they are in each state before. Every transition keeps
//! the counts, so reading them costs the same whatever the history.

use anyhow::Result;
use rusqlite::{Connection, Transaction, params};

use invirtibuilder_api::job::State;
use invirtibuilder_api::metrics::{EndedJobs, JobsInState, OldestJob, PhaseBucket, PhaseTime};
use invirtibuilder_core::error::FailureKind;
use invirtibuilder_core::names::PocketName;

/// The upper bounds by which times are sorted, in milliseconds.
pub const BOUNDS: [i64; 9] =
    [1_000, 5_000, 15_000, 60_000, 300_000, 900_000, 3_600_000, 14_400_000, 86_400_000];

/// The bound of times that are longer than all others.
const LONGER: i64 = i64::MAX;

/// Counts a job that has come to an end.
pub(super) fn count_end(
    tx: &Transaction,
    pocket: &PocketName,
    end: State,
    failure: Option<FailureKind>,
) -> Result<()> {
    let failure = failure.map_or("", FailureKind::as_str);
    tx.prepare_cached(
        "INSERT INTO ended VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET jobs = jobs + 1",
    )?
    .execute(params![pocket, end, failure])?;
    Ok(())
}

/// Counts a job that has left a state in which it was for `ms` milliseconds. A clock that was put
/// back in between counts as no time at all.
pub(super) fn count_phase(
    tx: &Transaction,
    pocket: &PocketName,
    state: State,
    ms: i64,
) -> Result<()> {
    let ms = ms.max(0);
    let bound = BOUNDS.into_iter().find(|bound| ms <= *bound).unwrap_or(LONGER);
    tx.prepare_cached(
        "INSERT INTO phase_time VALUES (?, ?, ?, 1, ?4)
         ON CONFLICT DO UPDATE SET jobs = jobs + 1, ms = ms + ?4",
    )?
    .execute(params![pocket, state, bound, ms])?;
    Ok(())
}

/// Tells how many jobs have come to each end.
pub fn ended(db: &Connection) -> Result<Vec<EndedJobs>> {
    let mut statement =
        db.prepare_cached("SELECT pocket, state, nullif(failure, ''), jobs FROM ended")?;
    let rows = statement.query_map([], |row| {
        Ok(EndedJobs {
            pocket: row.get(0)?,
            state: row.get(1)?,
            failure: row.get(2)?,
            jobs: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Tells how long jobs were in each state, by pocket and state.
pub fn phase_times(db: &Connection) -> Result<Vec<PhaseTime>> {
    let mut statement = db.prepare_cached(
        "SELECT pocket, state, bound, jobs, ms FROM phase_time ORDER BY pocket, state, bound",
    )?;
    let mut rows = statement.query([])?;
    let mut all: Vec<PhaseTime> = Vec::new();
    while let Some(row) = rows.next()? {
        let (pocket, state): (PocketName, State) = (row.get(0)?, row.get(1)?);
        let (bound, jobs, ms): (i64, u32, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
        let is_same = |last: &PhaseTime| last.pocket == pocket && last.state == state;
        if !all.last().is_some_and(is_same) {
            let buckets = BOUNDS.map(|up_to_ms| PhaseBucket { up_to_ms, jobs: 0 }).to_vec();
            all.push(PhaseTime { pocket, state, buckets, jobs: 0, ms: 0 });
        }
        let Some(times) = all.last_mut() else { continue };
        times.jobs += jobs;
        times.ms += ms;
        // Each bucket has the shorter ones, too.
        for bucket in times.buckets.iter_mut().filter(|bucket| bound <= bucket.up_to_ms) {
            bucket.jobs += jobs;
        }
    }
    Ok(all)
}

/// Counts the jobs that have not ended, by pocket and state.
pub fn open(db: &Connection) -> Result<Vec<JobsInState>> {
    let mut statement = db.prepare_cached(
        "SELECT pocket, state, count(*) FROM job INDEXED BY job_open
         WHERE state IN ('queued', 'preparing', 'building', 'publishing') GROUP BY pocket, state",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(JobsInState { pocket: row.get(0)?, state: row.get(1)?, jobs: row.get(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Finds when the job was submitted that waits the longest, for each pocket where one waits.
pub fn oldest(db: &Connection) -> Result<Vec<OldestJob>> {
    let mut statement = db.prepare_cached(
        "SELECT pocket, min(submitted) FROM job INDEXED BY job_open
         WHERE state IN ('queued', 'preparing', 'building', 'publishing') AND state = 'queued' GROUP BY pocket",
    )?;
    let rows = statement
        .query_map([], |row| Ok(OldestJob { pocket: row.get(0)?, submitted: row.get(1)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use crate::Record;
    use crate::fairness::Weight;
    use crate::jobs::{self, NewJob};
    use crate::measures::*;
    use invirtibuilder_core::error::Failure;
    use invirtibuilder_core::names::{JobId, Principal};
    use invirtibuilder_core::time::now;

    fn queue(tx: &Transaction, n: u8) -> JobId {
        let new = NewJob::example("prod", &format!("p{n}"), "1.0", n.into());
        jobs::enqueue(tx, &new).unwrap()
    }

    /// Has a job be built for so many milliseconds, and returns when it is.
    fn build(tx: &Transaction, id: JobId, at: i64, ms: i64) -> Result<i64> {
        jobs::start(tx, id, at + 1000, Weight::default())?;
        jobs::advance_at(tx, id, State::Preparing, State::Building, at + 1500)?;
        jobs::advance_at(tx, id, State::Building, State::Publishing, at + 1500 + ms)?;
        Ok(at + 1500 + ms)
    }

    #[test]
    fn every_transition_counts_ends_and_times() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        let failure = Failure::new(FailureKind::Conflict, "no");
        record
            .write(|tx| {
                let at = now();
                let (quick, slow) = (queue(tx, 1), queue(tx, 2));
                queue(tx, 3);
                let built = build(tx, quick, at, 2_000)?;
                jobs::advance_at(tx, quick, State::Publishing, State::Published, built + 1)?;
                build(tx, slow, at, 90_000_000)?;
                jobs::fail(tx, slow, State::Publishing, &failure)?;
                jobs::retry(tx, slow, State::Failed, &Principal::from_authenticated("bob@R")?)
            })
            .unwrap();
        let db = record.db();
        let ends = ended(db).unwrap().into_iter().map(|it| (it.state, it.failure, it.jobs));
        let expected =
            [(State::Failed, Some(FailureKind::Conflict), 1), (State::Published, None, 1)];
        assert_eq!(ends.collect::<Vec<_>>(), expected, "a retry takes nothing back");
        let times = phase_times(db).unwrap();
        let of = |state| times.iter().find(|it| it.state == state).unwrap();
        let building = of(State::Building);
        assert_eq!((building.jobs, building.ms), (2, 90_002_000));
        let counts: Vec<u32> = building.buckets.iter().map(|bucket| bucket.jobs).collect();
        assert_eq!(counts, [0, 1, 1, 1, 1, 1, 1, 1, 1], "one took longer than a day");
        // The second was published, by the clock, before it was built.
        assert_eq!((of(State::Publishing).jobs, of(State::Publishing).ms), (2, 1));
        assert!(times.iter().all(|it| !it.state.is_end()));
        assert_eq!(open(db).unwrap().iter().map(|it| it.jobs).collect::<Vec<_>>(), [2]);
        assert_eq!(oldest(db).unwrap().len(), 1);
    }
}
