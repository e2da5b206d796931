//! Keeps the moves that committed publications still owe to Git and to the archive's files.

use anyhow::Result;
use rusqlite::{Connection, Transaction, params};

use invirtibuilder_core::domain::SuiteId;
use invirtibuilder_core::names::JobId;

/// One owed move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwedMove {
    /// The number of the move; the service makes moves in this order.
    pub id: i64,
    /// The job whose publication owes it.
    pub job: Option<JobId>,
    /// The move.
    pub what: RefOrSuite,
}

/// A ref or a suite to move, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefOrSuite {
    /// A ref of a repository.
    Ref(invirtibuilder_git::Move),
    /// A suite, to another generation or out of its archive.
    Suite {
        /// The suite.
        suite: SuiteId,
        /// The number of the generation; `None`: the archive shall have no such suite.
        generation: Option<i64>,
    },
}

/// Owes the move of a ref.
pub fn owe_ref(tx: &Transaction, job: Option<JobId>, mv: &invirtibuilder_git::Move) -> Result<()> {
    let repo =
        mv.repo.to_str().ok_or_else(|| anyhow::anyhow!("{} is not UTF-8", mv.repo.display()))?;
    tx.prepare_cached(
        "INSERT INTO owed_move (job, kind, place, name, old_value, new_value) VALUES (?, 'ref', ?, ?, ?, ?)",
    )?
    .execute(params![job, repo, mv.name, mv.old.map(|oid| oid.to_string()), mv.new.map(|oid| oid.to_string())])?;
    Ok(())
}

/// Owes the flip of a suite to a generation; to `None`, its removal from its archive.
pub fn owe_suite(
    tx: &Transaction,
    job: Option<JobId>,
    suite: &SuiteId,
    generation: Option<i64>,
) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO owed_move (job, kind, domain, place, name, old_value, new_value) VALUES (?, 'suite', ?, ?, '', NULL, ?)",
    )?
    .execute(params![job, suite.domain, suite.suite, generation.map(|number| number.to_string())])?;
    Ok(())
}

/// Lists everything that is owed, in order.
pub fn owed(db: &Connection) -> Result<Vec<OwedMove>> {
    let mut statement = db.prepare_cached(
        "SELECT id, job, kind, place, name, old_value, new_value, domain FROM owed_move ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    let mut owed = Vec::new();
    while let Some(row) = rows.next()? {
        let (kind, place): (String, String) = (row.get(2)?, row.get(3)?);
        let what = if kind == "suite" {
            let generation: Option<String> = row.get(6)?;
            RefOrSuite::Suite {
                suite: SuiteId { domain: row.get(7)?, suite: place.parse()? },
                generation: generation.map(|number| number.parse()).transpose()?,
            }
        } else {
            let (old, new): (Option<String>, Option<String>) = (row.get(5)?, row.get(6)?);
            RefOrSuite::Ref(invirtibuilder_git::Move {
                repo: place.into(),
                name: row.get(4)?,
                old: old.map(|oid| git2::Oid::from_str(&oid)).transpose()?,
                new: new.map(|oid| git2::Oid::from_str(&oid)).transpose()?,
            })
        };
        owed.push(OwedMove { id: row.get(0)?, job: row.get(1)?, what });
    }
    Ok(owed)
}

/// Tells whether the publication of this job still owes moves: until it does not, Git and apt may
/// show what was before.
pub fn owes(db: &Connection, job: JobId) -> Result<bool> {
    Ok(db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM owed_move WHERE job = ?)")?
        .query_row([job], |row| row.get(0))?)
}

/// Forgets owed moves that the service has made.
pub fn settle(tx: &Transaction, ids: &[i64]) -> Result<()> {
    for id in ids {
        tx.prepare_cached("DELETE FROM owed_move WHERE id = ?")?.execute([id])?;
    }
    Ok(())
}
