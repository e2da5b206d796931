//! Keeps what is with Slurm: each submission, the start that has its session, and whose results were
//! taken.
//!
//! A start takes the session from an earlier one by a guarded change, and so are results taken: the
//! record names one session, and takes results of that one, once.

use anyhow::{Result, ensure};
use rusqlite::{Connection, Row, Transaction, params};

use invirtibuilder_api::slurm::SlurmJob;
use invirtibuilder_core::names::{Architecture, JobId};
use invirtibuilder_core::time::now;

/// A submission to Slurm.
#[derive(Debug, Clone)]
pub struct SlurmSubmission<'a> {
    /// The name that the job has there.
    pub name: &'a str,
    /// The job of the service.
    pub job: JobId,
    /// Its attempt.
    pub attempt: i64,
    /// The architecture that is built for.
    pub architecture: &'a Architecture,
    /// The SHA-256 of the bootstrap right.
    pub bootstrap: &'a [u8; 32],
}

/// A start of a job of Slurm's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlurmStart {
    /// Slurm's number of the job.
    pub number: u64,
    /// How often Slurm has started it again.
    pub again: u32,
}

/// Writes down that a submission is about to be sent.
pub fn sent(tx: &Transaction, it: &SlurmSubmission) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO slurm_job (name, job, attempt, architecture, bootstrap, sent) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![it.name, it.job, it.attempt, it.architecture, &it.bootstrap[..], now()])?;
    Ok(())
}

/// Writes down how a submission is there, in words; Slurm's number and node stay if they are not
/// said.
pub fn said(
    tx: &Transaction,
    name: &str,
    number: Option<u64>,
    node: Option<&str>,
    words: &str,
) -> Result<()> {
    let number = number.map(i64::try_from).transpose()?;
    tx.prepare_cached(
        "UPDATE slurm_job SET said = ?2, number = coalesce(?3, number), node = coalesce(?4, node)
         WHERE name = ?1 AND ended IS NULL",
    )?
    .execute(params![name, words, number, node])?;
    Ok(())
}

/// Gives the session of a submission to a start. Returns whether it got it: a start that had it, one
/// before that, and one after results were taken do not.
pub fn start(
    tx: &Transaction,
    name: &str,
    start: SlurmStart,
    node: &str,
    session: &[u8; 32],
) -> Result<bool> {
    let changed = tx
        .prepare_cached(
            "UPDATE slurm_job SET start_number = ?2, start_again = ?3, node = ?4, session = ?5
             WHERE name = ?1 AND ended IS NULL AND admitted IS NULL
                 AND (start_number IS NULL OR start_number = ?2 AND start_again < ?3)",
        )?
        .execute(params![name, i64::try_from(start.number)?, start.again, node, &session[..]])?;
    Ok(changed == 1)
}

/// Takes the results of a session. Returns whether they are taken: the record names this session,
/// and has taken none before.
pub fn admit(tx: &Transaction, name: &str, session: &[u8; 32]) -> Result<bool> {
    let changed = tx
        .prepare_cached(
            "UPDATE slurm_job SET admitted = ?3
             WHERE name = ?1 AND session = ?2 AND admitted IS NULL AND ended IS NULL",
        )?
        .execute(params![name, &session[..], now()])?;
    Ok(changed == 1)
}

/// Writes down that a submission is over: nothing of it counts any more.
pub fn ended(tx: &Transaction, name: &str) -> Result<()> {
    let changed = tx
        .prepare_cached("UPDATE slurm_job SET ended = ?2 WHERE name = ?1 AND ended IS NULL")?
        .execute(params![name, now()])?;
    ensure!(changed <= 1, "{name} is the name of {changed} submissions");
    Ok(())
}

/// Ends all submissions: those of a daemon that is no more. Returns their names.
pub fn end_all(tx: &Transaction) -> Result<Vec<String>> {
    let mut names = tx.prepare_cached("SELECT name FROM slurm_job WHERE ended IS NULL")?;
    let names = names.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    tx.execute("UPDATE slurm_job SET ended = ? WHERE ended IS NULL", [now()])?;
    Ok(names)
}

/// Lists what an attempt of a job had with Slurm, the last submission for each architecture last.
pub fn of_attempt(db: &Connection, job: JobId, attempt: i64) -> Result<Vec<SlurmJob>> {
    let mut found = db.prepare_cached(
        "SELECT architecture, name, number, node, said FROM slurm_job
         WHERE job = ? AND attempt = ? ORDER BY sent, name",
    )?;
    let row = |row: &Row| {
        Ok(SlurmJob {
            architecture: row.get(0)?,
            name: row.get(1)?,
            number: row.get::<_, Option<i64>>(2)?.and_then(|number| u64::try_from(number).ok()),
            node: row.get(3)?,
            said: row.get(4)?,
        })
    };
    Ok(found.query_map(params![job, attempt], row)?.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use crate::Record;
    use crate::slurm::*;

    fn with_submission(work: impl FnOnce(&Transaction)) {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        record
            .write(|tx| {
                tx.execute_batch(
                    "PRAGMA defer_foreign_keys = ON;
                     INSERT INTO slurm_job (name, job, attempt, architecture, bootstrap, sent)
                         VALUES ('other', 1, 1, 'amd64', x'00', 1);",
                )?;
                sent(
                    tx,
                    &SlurmSubmission {
                        name: "a",
                        job: JobId(1),
                        attempt: 1,
                        architecture: &"amd64".parse().unwrap(),
                        bootstrap: &[0; 32],
                    },
                )?;
                work(tx);
                tx.execute("DELETE FROM slurm_job", [])?;
                Ok(())
            })
            .unwrap();
    }

    fn at(number: u64, again: u32) -> SlurmStart {
        SlurmStart { number, again }
    }

    #[test]
    fn a_second_start_takes_the_session_and_none_gets_it_twice() {
        with_submission(|tx| {
            assert!(!admit(tx, "a", &[0; 32]).unwrap(), "nobody has started");
            assert!(start(tx, "a", at(7, 0), "n1", &[1; 32]).unwrap());
            assert!(!start(tx, "a", at(7, 0), "n1", &[2; 32]).unwrap(), "the right is used");
            assert!(!start(tx, "a", at(8, 9), "n1", &[2; 32]).unwrap(), "that is another job");
            assert!(start(tx, "a", at(7, 1), "n2", &[2; 32]).unwrap());
            assert!(!start(tx, "a", at(7, 0), "n1", &[3; 32]).unwrap(), "it is late");
            assert!(!admit(tx, "a", &[1; 32]).unwrap(), "its session has ended");
            assert!(!admit(tx, "other", &[2; 32]).unwrap(), "it is of another job");
            assert!(admit(tx, "a", &[2; 32]).unwrap());
            assert!(!admit(tx, "a", &[2; 32]).unwrap(), "once");
            assert!(!start(tx, "a", at(7, 2), "n3", &[4; 32]).unwrap(), "it is done");
        });
    }

    #[test]
    fn what_has_ended_counts_no_more() {
        with_submission(|tx| {
            said(tx, "a", Some(7), None, "it waits").unwrap();
            said(tx, "a", None, Some("n1"), "it runs").unwrap();
            let shown = of_attempt(tx, JobId(1), 1).unwrap();
            let a = shown.iter().find(|it| it.name == "a").unwrap();
            assert_eq!(
                (a.number, a.node.as_deref(), a.said.as_deref()),
                (Some(7), Some("n1"), Some("it runs"))
            );
            assert!(start(tx, "a", at(7, 0), "n1", &[1; 32]).unwrap());
            ended(tx, "a").unwrap();
            assert!(!start(tx, "a", at(7, 1), "n1", &[2; 32]).unwrap());
            assert!(!admit(tx, "a", &[1; 32]).unwrap());
            assert_eq!(end_all(tx).unwrap(), ["other"]);
            assert!(end_all(tx).unwrap().is_empty());
        });
    }
}
