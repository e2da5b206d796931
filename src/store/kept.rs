//! Keeps which older versions a suite's indexes have beside the one that the suite shows.

use std::collections::BTreeMap;

use anyhow::Result;
use rusqlite::{Connection, Transaction, params};

use invirtibuilder_core::domain::{Identity, SuiteId};
use invirtibuilder_core::names::{PackageName, Version};

/// Lists the older versions of a source package that the indexes of a suite have.
pub fn of_source(db: &Connection, suite: &SuiteId, source: &PackageName) -> Result<Vec<Version>> {
    let mut statement = db.prepare_cached(
        "SELECT version FROM suite_kept WHERE domain = ? AND suite = ? AND source = ? AND until IS NULL",
    )?;
    let rows = statement.query_map(params![suite.domain, suite.suite, source], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Lists all of them, by source package.
pub fn of_suite(db: &Connection, suite: &SuiteId) -> Result<BTreeMap<PackageName, Vec<Version>>> {
    let mut statement = db.prepare_cached(
        "SELECT source, version FROM suite_kept WHERE domain = ? AND suite = ? AND until IS NULL",
    )?;
    let mut rows = statement.query(params![suite.domain, suite.suite])?;
    let mut all: BTreeMap<PackageName, Vec<Version>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        all.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    Ok(all)
}

/// Records the older versions of a source package that the indexes of a suite have from a snapshot
/// on, and no others.
pub fn set(
    tx: &Transaction,
    suite: &SuiteId,
    (source, versions): (&PackageName, &[Version]),
    since: i64,
) -> Result<()> {
    let before = of_source(tx, suite, source)?;
    let SuiteId { domain, suite } = suite;
    for version in before.iter().filter(|version| !versions.contains(version)) {
        tx.prepare_cached(
            "UPDATE suite_kept SET until = ?
             WHERE domain = ? AND suite = ? AND source = ? AND version = ? AND until IS NULL",
        )?
        .execute(params![since, domain, suite, source, version])?;
    }
    for version in versions.iter().filter(|version| !before.contains(version)) {
        tx.prepare_cached(
            "INSERT INTO suite_kept (domain, suite, source, version, since) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![domain, suite, source, version, since])?;
    }
    Ok(())
}

/// Finds a suite of its domain whose indexes have this version beside a newer one.
pub fn holder(db: &Connection, id: &Identity) -> Result<Option<SuiteId>> {
    let mut statement = db.prepare_cached(
        "SELECT suite FROM suite_kept
         WHERE domain = ? AND source = ? AND version = ? AND until IS NULL ORDER BY suite",
    )?;
    let mut rows = statement.query(params![id.domain, id.package, id.version])?;
    let suite = rows.next()?.map(|row| row.get(0)).transpose()?;
    Ok(suite.map(|suite| SuiteId { domain: id.domain.clone(), suite }))
}
