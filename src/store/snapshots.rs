//! Keeps every published state of every suite, by number: what it showed, and since when.
//!
//! A suite's contents are rows with a first and a last snapshot, so a state costs as much as it
//! changed.

use std::collections::BTreeSet;

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Transaction, named_params, params};

use invirtibuilder_api::archive::Snapshot;
use invirtibuilder_core::domain::SuiteId;
use invirtibuilder_core::names::{PackageName, Version};
use invirtibuilder_core::time::now;

/// Lists the snapshots of a suite, the newest first.
pub fn of_suite(db: &Connection, suite: &SuiteId) -> Result<Vec<Snapshot>> {
    let mut statement = db.prepare_cached(
        "SELECT number, at, note, (SELECT count(*) FROM suite_source AS shown
             WHERE shown.domain = snapshot.domain AND shown.suite = snapshot.suite
             AND since <= number AND (until IS NULL OR until > number))
         FROM snapshot WHERE domain = ? AND suite = ? ORDER BY number DESC",
    )?;
    let rows = statement.query_map(params![suite.domain, suite.suite], |row| {
        Ok(Snapshot {
            number: row.get(0)?,
            at: row.get(1)?,
            note: row.get(2)?,
            packages: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Lists the newest snapshots of a suite, so many, but for those that had a version which was let
/// go.
pub fn newest(db: &Connection, suite: &SuiteId, most: u32) -> Result<BTreeSet<i64>> {
    let mut statement = db.prepare_cached(
        "SELECT number FROM snapshot WHERE domain = ?1 AND suite = ?2 AND NOT EXISTS (
             SELECT 1 FROM released_source WHERE released_source.domain = ?1
             AND released_source.suite = ?2 AND number >= since AND number < until)
         ORDER BY number DESC LIMIT ?3",
    )?;
    let key = params![suite.domain, suite.suite, most];
    let rows = statement.query_map(key, |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Finds the newest snapshot of a suite that is older than a time, in milliseconds since 1970-01-01
/// UTC.
pub fn newest_before(db: &Connection, suite: &SuiteId, time: i64) -> Result<Option<i64>> {
    let sql = "SELECT max(number) FROM snapshot WHERE domain = ? AND suite = ? AND at < ?";
    let key = params![suite.domain, suite.suite, time];
    Ok(db.prepare_cached(sql)?.query_row(key, |row| row.get(0))?)
}

/// Writes a snapshot down, in the transaction that makes it.
pub fn record_snapshot(tx: &Transaction, suite: &SuiteId, number: i64, note: &str) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO snapshot (domain, suite, number, at, note) VALUES (?, ?, ?, ?, ?)",
    )?
    .execute(params![suite.domain, suite.suite, number, now(), note])?;
    Ok(())
}

/// Lists what a snapshot had: source packages with their versions, by name. `None`: there is no
/// such snapshot.
pub fn contents(
    db: &Connection,
    suite: &SuiteId,
    number: i64,
) -> Result<Option<Vec<(PackageName, Version)>>> {
    if !exists(db, suite, number)? {
        return Ok(None);
    }
    let mut statement = db.prepare_cached(
        "SELECT source, version FROM suite_source
         WHERE domain = ?1 AND suite = ?2 AND since <= ?3 AND (until IS NULL OR until > ?3) ORDER BY source",
    )?;
    let key = params![suite.domain, suite.suite, number];
    let rows = statement.query_map(key, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Some(rows.collect::<Result<_, _>>()?))
}

/// A source package with its versions in two snapshots; `None`: one has none.
pub type ChangedSource = (PackageName, Option<Version>, Option<Version>);

/// Lists the source packages of which two snapshots of a suite have not the same version, by name,
/// at most so many.
pub fn changed_sources(
    db: &Connection,
    suite: &SuiteId,
    (older, newer): (i64, i64),
    after: &str,
    most: u32,
) -> Result<Vec<ChangedSource>> {
    let mut statement = db.prepare_cached(
        "SELECT source,
             max(CASE WHEN since <= :older AND (until IS NULL OR until > :older) THEN version END) AS was,
             max(CASE WHEN since <= :newer AND (until IS NULL OR until > :newer) THEN version END) AS became
         FROM suite_source WHERE domain = :domain AND suite = :suite AND source > :after
         GROUP BY source HAVING was IS NOT became ORDER BY source LIMIT :most",
    )?;
    let wanted = named_params! {
        ":domain": suite.domain, ":suite": suite.suite, ":older": older, ":newer": newer,
        ":after": after, ":most": most,
    };
    let rows = statement.query_map(wanted, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Tells whether a suite has a snapshot of this number.
pub fn exists(db: &Connection, suite: &SuiteId, number: i64) -> Result<bool> {
    let known = db
        .prepare_cached("SELECT 1 FROM snapshot WHERE domain = ? AND suite = ? AND number = ?")?
        .query_row(params![suite.domain, suite.suite, number], |_| Ok(()))
        .optional()?;
    Ok(known.is_some())
}

/// Forgets a snapshot that is not the newest, and what only it had.
pub fn forget(tx: &Transaction, suite: &SuiteId, number: i64) -> Result<()> {
    let SuiteId { domain, suite } = suite;
    tx.execute(
        "DELETE FROM snapshot WHERE domain = ? AND suite = ? AND number = ?",
        params![domain, suite, number],
    )?;
    tx.execute(
        "DELETE FROM suite_source WHERE domain = ? AND suite = ? AND until IS NOT NULL AND NOT EXISTS (
             SELECT 1 FROM snapshot WHERE snapshot.domain = suite_source.domain AND snapshot.suite = suite_source.suite
             AND number >= since AND number < until)",
        params![domain, suite],
    )?;
    tx.execute(
        "DELETE FROM suite_kept WHERE domain = ? AND suite = ? AND until IS NOT NULL AND NOT EXISTS (
             SELECT 1 FROM snapshot WHERE snapshot.domain = suite_kept.domain AND snapshot.suite = suite_kept.suite
             AND number >= since AND number < until)",
        params![domain, suite],
    )?;
    tx.execute(
        "DELETE FROM released_source WHERE domain = ? AND suite = ? AND NOT EXISTS (
             SELECT 1 FROM snapshot
             WHERE snapshot.domain = released_source.domain AND snapshot.suite = released_source.suite
             AND number >= since AND number < until)",
        params![domain, suite],
    )?;
    Ok(())
}
