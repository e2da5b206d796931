//! Moves that committed publications still owe to Git and to the archive's files.

use anyhow::Result;
use rusqlite::{Connection, Transaction, params};

use crate::names::{JobId, Suite};

/// One owed move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// Its number; moves are made in this order.
    pub id: i64,
    /// The job whose publication owes it.
    pub job: Option<JobId>,
    /// What is to be moved.
    pub what: What,
}

/// What is to be moved, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A ref of a repository.
    Ref(crate::gitrecord::Move),
    /// A suite, to the generation of this number.
    Suite {
        /// The suite.
        suite: Suite,
        /// The generation.
        generation: i64,
    },
}

/// Owes a ref move.
pub fn owe_ref(tx: &Transaction, job: Option<JobId>, mv: &crate::gitrecord::Move) -> Result<()> {
    let repo = mv.repo.to_str().ok_or_else(|| anyhow::anyhow!("{} is not UTF-8", mv.repo.display()))?;
    tx.prepare_cached(
        "INSERT INTO owed_move (job, kind, place, name, old_value, new_value) VALUES (?, 'ref', ?, ?, ?, ?)",
    )?
    .execute(params![job, repo, mv.name, mv.old.map(|oid| oid.to_string()), mv.new.map(|oid| oid.to_string())])?;
    Ok(())
}

/// Owes the flip of a suite.
pub fn owe_suite(tx: &Transaction, job: Option<JobId>, suite: &Suite, generation: i64) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO owed_move (job, kind, place, name, old_value, new_value) VALUES (?, 'suite', ?, '', NULL, ?)",
    )?
    .execute(params![job, suite, generation.to_string()])?;
    Ok(())
}

/// Everything that is owed, in order.
pub fn owed(db: &Connection) -> Result<Vec<Owed>> {
    let mut statement =
        db.prepare_cached("SELECT id, job, kind, place, name, old_value, new_value FROM owed_move ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut owed = Vec::new();
    while let Some(row) = rows.next()? {
        let (kind, place): (String, String) = (row.get(2)?, row.get(3)?);
        let what = if kind == "suite" {
            What::Suite { suite: place.parse()?, generation: row.get::<_, String>(6)?.parse()? }
        } else {
            let (old, new): (Option<String>, Option<String>) = (row.get(5)?, row.get(6)?);
            What::Ref(crate::gitrecord::Move {
                repo: place.into(),
                name: row.get(4)?,
                old: old.map(|oid| git2::Oid::from_str(&oid)).transpose()?,
                new: new.map(|oid| git2::Oid::from_str(&oid)).transpose()?,
            })
        };
        owed.push(Owed { id: row.get(0)?, job: row.get(1)?, what });
    }
    Ok(owed)
}

/// Whether the publication of this job still owes moves: until it does not, Git and apt may show what was before.
pub fn owes(db: &Connection, job: JobId) -> Result<bool> {
    Ok(db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM owed_move WHERE job = ?)")?
        .query_row([job], |row| row.get(0))?)
}

/// The moves have been made.
pub fn settle(tx: &Transaction, ids: &[i64]) -> Result<()> {
    for id in ids {
        tx.prepare_cached("DELETE FROM owed_move WHERE id = ?")?.execute([id])?;
    }
    Ok(())
}
