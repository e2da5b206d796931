//! Keeps the hooks that are owed and those that have run.

use anyhow::Result;
use rusqlite::{Connection, Transaction, params};

use invirtibuilder_api::job::Event;
use invirtibuilder_api::job::HookRun;
use invirtibuilder_core::names::{JobId, Principal};
use invirtibuilder_core::time::now;

/// An event whose hooks have not all run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwedEvent {
    /// The number of the event; the daemon serves the events of one job in this order.
    pub id: i64,
    /// The job.
    pub job: JobId,
    /// The event.
    pub event: Event,
    /// The principal that caused it, if that is not the job's own.
    pub by: Option<Principal>,
    /// The reason of that principal.
    pub reason: Option<String>,
}

/// Lists the events whose hooks are owed, the oldest first.
pub fn owed(db: &Connection) -> Result<Vec<OwedEvent>> {
    let mut statement = db.prepare_cached(
        "SELECT id, job, event, by, reason FROM hook_event WHERE done IS NULL ORDER BY id",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(OwedEvent {
            id: row.get(0)?,
            job: row.get(1)?,
            event: row.get(2)?,
            by: row.get(3)?,
            reason: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Settles an event: its hooks have run, with these results.
pub fn settle(tx: &Transaction, owed: &OwedEvent, runs: &[HookRun]) -> Result<()> {
    for run in runs {
        tx.execute(
            "INSERT INTO hook_run (hook_event, name, started, finished, outcome) VALUES (?, ?, ?, ?, ?)",
            params![owed.id, run.name, run.started, run.finished, run.outcome],
        )?;
    }
    tx.execute("UPDATE hook_event SET done = ?2 WHERE id = ?1", params![owed.id, now()])?;
    Ok(())
}

/// Lists the hooks that have run for a job, in order.
pub fn runs_of(db: &Connection, job: JobId) -> Result<Vec<HookRun>> {
    let mut statement = db.prepare_cached(
        "SELECT event, name, started, finished, outcome FROM hook_run JOIN hook_event ON hook_event.id = hook_event
         WHERE job = ? ORDER BY hook_run.id",
    )?;
    let rows = statement.query_map([job], |row| {
        Ok(HookRun {
            event: row.get(0)?,
            name: row.get(1)?,
            started: row.get(2)?,
            finished: row.get(3)?,
            outcome: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
