//! Every published state of every suite, by number: what was shown, and since when.
//!
//! A suite's contents are rows with a first and a last snapshot, so a state costs as much as it changed.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::Serialize;

use super::now;
use crate::names::{PackageName, Suite, Version};

/// One published state of a suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Its number: that of the generation that showed it first.
    pub number: i64,
    /// When; milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// What made it.
    pub note: String,
    /// How many source packages it has.
    pub packages: i64,
}

/// The snapshots of a suite, the newest first.
pub fn of_suite(db: &Connection, suite: &Suite) -> Result<Vec<Snapshot>> {
    let mut statement = db.prepare_cached(
        "SELECT number, at, note, (SELECT count(*) FROM suite_source AS shown WHERE shown.suite = snapshot.suite
             AND since <= number AND (until IS NULL OR until > number))
         FROM snapshot WHERE suite = ? ORDER BY number DESC",
    )?;
    let rows = statement.query_map([suite], |row| {
        Ok(Snapshot { number: row.get(0)?, at: row.get(1)?, note: row.get(2)?, packages: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Writes a snapshot down, in the transaction that makes it.
pub fn take(tx: &Transaction, suite: &Suite, number: i64, note: &str) -> Result<()> {
    tx.prepare_cached("INSERT INTO snapshot (suite, number, at, note) VALUES (?, ?, ?, ?)")?.execute(params![
        suite,
        number,
        now(),
        note
    ])?;
    Ok(())
}

/// What a snapshot had: source packages with their versions, by name. `None`: there is no such snapshot.
pub fn contents(db: &Connection, suite: &Suite, number: i64) -> Result<Option<Vec<(PackageName, Version)>>> {
    let known = db
        .prepare_cached("SELECT 1 FROM snapshot WHERE suite = ? AND number = ?")?
        .query_row(params![suite, number], |_| Ok(()))
        .optional()?;
    if known.is_none() {
        return Ok(None);
    }
    let mut statement = db.prepare_cached(
        "SELECT source, version FROM suite_source
         WHERE suite = ?1 AND since <= ?2 AND (until IS NULL OR until > ?2) ORDER BY source",
    )?;
    let rows = statement.query_map(params![suite, number], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Some(rows.collect::<Result<_, _>>()?))
}

/// Forgets a snapshot that is not the newest, and what only it had.
pub fn forget(tx: &Transaction, suite: &Suite, number: i64) -> Result<()> {
    tx.execute("DELETE FROM snapshot WHERE suite = ? AND number = ?", params![suite, number])?;
    tx.execute(
        "DELETE FROM suite_source WHERE suite = ? AND until IS NOT NULL AND NOT EXISTS (
             SELECT 1 FROM snapshot WHERE snapshot.suite = suite_source.suite
             AND number >= since AND number < until)",
        [suite],
    )?;
    tx.execute(
        "DELETE FROM released_source WHERE suite = ? AND NOT EXISTS (
             SELECT 1 FROM snapshot WHERE snapshot.suite = released_source.suite
             AND number >= since AND number < until)",
        [suite],
    )?;
    Ok(())
}
