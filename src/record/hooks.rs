//! Hooks that are owed and those that were run.

use anyhow::Result;
use rusqlite::{Connection, Transaction, params};
use serde::Serialize;

use super::{Event, now};
use crate::names::JobId;

/// An event whose hooks have not all been run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// Its number; events of one job are served in this order.
    pub id: i64,
    /// The job.
    pub job: JobId,
    /// What happened.
    pub event: Event,
}

/// Events whose hooks are owed, the oldest first.
pub fn owed(db: &Connection) -> Result<Vec<Owed>> {
    let mut statement = db.prepare_cached("SELECT id, job, event FROM hook_event WHERE done IS NULL ORDER BY id")?;
    let rows = statement.query_map([], |row| Ok(Owed { id: row.get(0)?, job: row.get(1)?, event: row.get(2)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// One run of one hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Run {
    /// What had happened.
    pub event: Event,
    /// The file name of the hook.
    pub name: String,
    /// When it was started.
    pub started: i64,
    /// When it had ended.
    pub finished: i64,
    /// `ok`, or what went wrong.
    pub outcome: String,
}

/// Settles an event: its hooks have been run, with these results.
pub fn settle(tx: &Transaction, owed: &Owed, runs: &[Run]) -> Result<()> {
    for run in runs {
        tx.execute(
            "INSERT INTO hook_run (hook_event, name, started, finished, outcome) VALUES (?, ?, ?, ?, ?)",
            params![owed.id, run.name, run.started, run.finished, run.outcome],
        )?;
    }
    tx.execute("UPDATE hook_event SET done = ?2 WHERE id = ?1", params![owed.id, now()])?;
    Ok(())
}

/// The hooks that were run for a job, in order.
pub fn runs_of(db: &Connection, job: JobId) -> Result<Vec<Run>> {
    let mut statement = db.prepare_cached(
        "SELECT event, name, started, finished, outcome FROM hook_run JOIN hook_event ON hook_event.id = hook_event
         WHERE job = ? ORDER BY hook_run.id",
    )?;
    let rows = statement.query_map([job], |row| {
        Ok(Run {
            event: row.get(0)?,
            name: row.get(1)?,
            started: row.get(2)?,
            finished: row.get(3)?,
            outcome: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
