//! Compares what the queue keeps beside the jobs with the jobs: [`super::queue::mend`] writes it
//! again.

use anyhow::Result;
use rusqlite::{Connection, Row};

use crate::queue::WRONGLY_READY;

/// The query that finds jobs that are ready and should not be, or the other way round.
const READY: &str =
    "SELECT 'job ' || id || iif(ready, ' is to run before an earlier one of its package or commit',
     ' is not to run, and nothing is before it') FROM job";

/// The queries that find what else does not follow from the jobs. Each row is a sentence.
const DIFFERENCES: &[&str] = &[
    "SELECT DISTINCT 'domain ' || domain || ' has jobs and no share of the places' FROM job INDEXED BY job_open
     WHERE state IN ('queued', 'preparing', 'building', 'publishing') AND (ready = 1 OR state <> 'queued')
       AND NOT EXISTS (SELECT 1 FROM domain_use WHERE domain_use.domain = job.domain)",
    "SELECT DISTINCT 'pocket ' || pocket || ' shares the places of domain ' || its.domain || ', and has jobs in ' || job.domain
     FROM job INDEXED BY job_open JOIN pocket_use AS its USING (pocket)
     WHERE state IN ('queued', 'preparing', 'building', 'publishing') AND its.domain <> job.domain",
    "SELECT DISTINCT 'pocket ' || pocket || ' has jobs and no share of the places' FROM job INDEXED BY job_open
     WHERE state IN ('queued', 'preparing', 'building', 'publishing') AND (ready = 1 OR state <> 'queued')
       AND NOT EXISTS (SELECT 1 FROM pocket_use WHERE pocket_use.pocket = job.pocket)",
    "SELECT 'pocket ' || pocket || ' is said to have ' || said || ' jobs that may run, and has ' || found FROM (
         SELECT pocket, ready AS said,
                (SELECT count(*) FROM job INDEXED BY job_ready WHERE ready = 1 AND job.pocket = pocket_use.pocket) AS found
         FROM pocket_use) WHERE said <> found",
    "SELECT DISTINCT principal || ' has jobs for ' || pocket || ' and no share of its places' FROM job INDEXED BY job_open
     WHERE state IN ('queued', 'preparing', 'building', 'publishing') AND (ready = 1 OR state <> 'queued')
       AND NOT EXISTS (SELECT 1 FROM principal_use AS its
                       WHERE its.pocket = job.pocket AND its.principal = job.principal)",
    "SELECT principal || ' is said to have ' || said || ' jobs for ' || pocket || ' that may run, the first of turn '
            || coalesce(first, 'none') || ', and has ' || found || ', the first of turn ' || coalesce(oldest, 'none') FROM (
         SELECT its.pocket, its.principal, its.ready AS said, its.oldest AS first, count(job.id) AS found, min(turn) AS oldest
         FROM principal_use AS its LEFT JOIN job INDEXED BY job_ready
             ON job.ready = 1 AND job.pocket = its.pocket AND job.principal = its.principal
         GROUP BY its.pocket, its.principal) WHERE said <> found OR first IS NOT oldest",
    "SELECT 'job ' || id || ' runs and is charged to nobody' FROM job INDEXED BY job_running
     WHERE state IN ('preparing', 'building', 'publishing') AND id NOT IN (SELECT job FROM charge)",
    "SELECT 'job ' || job || ' does not run and is charged' FROM charge WHERE job NOT IN
         (SELECT id FROM job INDEXED BY job_running WHERE state IN ('preparing', 'building', 'publishing'))",
    "SELECT 'it does not say which domain was served last' WHERE NOT EXISTS (SELECT 1 FROM queue_clock)",
];

/// The most sentences that one query gives.
const MOST: usize = 20;

/// Lists what does not follow from the jobs, each a sentence.
pub fn differences(db: &Connection) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let ready = format!("{READY} WHERE {WRONGLY_READY}");
    for sql in [&ready[..]].iter().chain(DIFFERENCES) {
        let mut statement = db.prepare(&format!("{sql} LIMIT {MOST}"))?;
        let sentences = statement.query_map([], |row: &Row| row.get(0))?;
        found.extend(sentences.collect::<Result<Vec<String>, _>>()?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use crate::fairness::Rules;
    use crate::jobs::{self, NewJob};
    use crate::queue_check::*;
    use crate::{Record, claim, queue};
    use invirtibuilder_api::job::State;

    /// Makes two pockets with jobs that run, may run and have to wait.
    fn record() -> (tempfile::TempDir, Record) {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        for (pocket, package, commit, who) in [
            ("prod", "hello", 1, "alice"),
            ("prod", "hello", 2, "alice"),
            ("prod", "world", 3, "bob"),
            ("dev", "hello", 2, "alice"),
            ("dev", "other", 4, "bob"),
        ] {
            let new = NewJob {
                pocket: pocket.parse().unwrap(),
                domain: Default::default(),
                package: package.parse().unwrap(),
                commit: format!("{commit:040x}").parse().unwrap(),
                version: format!("1.{commit}").parse().unwrap(),
                written: format!("1.{commit}").parse().unwrap(),
                why: None,
                principal: invirtibuilder_core::names::Principal::from_authenticated(&format!(
                    "{who}@R"
                ))
                .unwrap(),
            };
            record.write(|tx| jobs::enqueue(tx, &new)).unwrap();
        }
        let rules = Rules { places: 9, ..Rules::default() };
        let job = record.write(|tx| claim::next(tx, &rules)).unwrap().unwrap();
        record.write(|tx| jobs::advance(tx, job.id, State::Preparing, State::Building)).unwrap();
        (dir, record)
    }

    #[test]
    fn whatever_does_not_follow_from_the_jobs_is_named_and_mended() {
        for (harm, sentence) in [
            ("UPDATE job SET ready = 1 WHERE id = 2", "job 2 is to run before an earlier one"),
            (
                "UPDATE job SET ready = 0 WHERE id = 3",
                "job 3 is not to run, and nothing is before it",
            ),
            ("DELETE FROM domain_use", "domain main has jobs and no share"),
            (
                "UPDATE pocket_use SET domain = 'lab' WHERE pocket = 'dev'",
                "pocket dev shares the places of domain lab, and has jobs in main",
            ),
            ("DELETE FROM pocket_use WHERE pocket = 'dev'", "pocket dev has jobs and no share"),
            (
                "UPDATE pocket_use SET ready = 9 WHERE pocket = 'prod'",
                "pocket prod is said to have 9 jobs that may run, and has 1",
            ),
            (
                "DELETE FROM principal_use WHERE principal = 'alice@R'",
                "alice@R has jobs for prod and no share",
            ),
            (
                "UPDATE principal_use SET oldest = 77 WHERE principal = 'bob@R' AND pocket = 'prod'",
                "bob@R is said to have 1 jobs for prod that may run, the first of turn 77, and has 1, the first of turn 3",
            ),
            ("DELETE FROM charge", "job 1 runs and is charged to nobody"),
            ("INSERT INTO charge VALUES (5, 1000, 1, 1)", "job 5 does not run and is charged"),
            ("DELETE FROM queue_clock", "it does not say which domain was served last"),
        ] {
            let (_dir, mut record) = record();
            assert_eq!(differences(record.db()).unwrap(), [""; 0]);
            record.db().execute_batch(harm).unwrap();
            let said = differences(record.db()).unwrap();
            assert!(said.iter().any(|line| line.starts_with(sentence)), "{harm}: {said:?}");
            record.write(queue::mend).unwrap();
            assert_eq!(differences(record.db()).unwrap(), [""; 0], "{harm}");
            let rules = Rules { places: 9, ..Rules::default() };
            let mut next =
                || record.write(|tx| claim::next(tx, &rules)).unwrap().map(|job| job.id.0);
            let mut all: Vec<i64> = std::iter::from_fn(&mut next).collect();
            all.sort_unstable();
            assert_eq!(all, [3, 5], "{harm}");
        }
    }
}
