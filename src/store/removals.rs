//! Keeps what was taken out of pockets, for as long as nothing has come in its place.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::audit::AuditEntry;
use invirtibuilder_api::job::Event;
use invirtibuilder_api::pocket::{Held, Removed};
use invirtibuilder_core::names::{PackageName, PocketName, Principal};
use invirtibuilder_core::time::now;

/// Keeps what is taken out of a pocket, owes the hooks of that, and says so in the audit trail.
pub fn record(tx: &Transaction, held: &Held, by: &Principal, reason: &str) -> Result<()> {
    let Held { pocket, package, commit, version, job } = held;
    let at = now();
    tx.execute(
        "INSERT OR REPLACE INTO removed (pocket, package, commit_id, version, job, at, by, reason)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        params![pocket, package, commit, version, job, at, by, reason],
    )?;
    tx.execute(
        "INSERT INTO hook_event (job, event, at, by, reason) VALUES (?, ?, ?, ?, ?)",
        params![job, Event::Removed, at, by, reason],
    )?;
    AuditEntry::new("removed")
        .job(*job)
        .with("pocket", pocket.as_str())
        .with("package", package.as_str())
        .with("version", version.as_str())
        .with("commit", commit.as_str())
        .with("by", by.as_str())
        .with("reason", reason)
        .append(tx)
}

/// Finds what was taken out of a pocket; `None` if nothing was, or something has come since.
pub fn removed(
    db: &Connection,
    pocket: &PocketName,
    package: &PackageName,
) -> Result<Option<Removed>> {
    Ok(db
        .prepare_cached(
            "SELECT pocket, package, commit_id, version, job, at, by, reason FROM removed
             WHERE pocket = ? AND package = ?",
        )?
        .query_row(params![pocket, package], |row| {
            Ok(Removed {
                held: Held {
                    pocket: row.get(0)?,
                    package: row.get(1)?,
                    commit: row.get(2)?,
                    version: row.get(3)?,
                    job: row.get(4)?,
                },
                at: row.get(5)?,
                by: row.get(6)?,
                reason: row.get(7)?,
            })
        })
        .optional()?)
}

/// Forgets what was taken out of a pocket: something has come in its place.
pub(super) fn forget(tx: &Transaction, held: &Held) -> Result<()> {
    tx.prepare_cached("DELETE FROM removed WHERE pocket = ? AND package = ?")?
        .execute(params![held.pocket, held.package])?;
    Ok(())
}
