//! What the pool has of each version, and what each suite shows of it.

use anyhow::{Result, bail};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::names::{PackageName, Suite, Version};
use crate::stored::stored_enum;

stored_enum! {
    /// What a part of a version is.
    pub enum Kind {
        /// The source package.
        Dsc = "dsc",
        /// A binary package.
        Deb = "deb",
        /// A binary package for the installer.
        Udeb = "udeb",
    }
}

/// One entry of Sources or Packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: Kind,
    /// Its package name.
    pub name: String,
    /// Its architecture; empty for a source package.
    pub architecture: String,
    /// The component it belongs to.
    pub component: String,
    /// The entry, with its last newline.
    pub stanza: String,
}

/// Everything that the pool has of one version of a source package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The source package.
    pub source: PackageName,
    /// Its version.
    pub version: Version,
    /// Its `.changes`, below the archive's root.
    pub changes: String,
    /// Its parts.
    pub parts: Vec<Part>,
}

/// What the pool has of this version, if it was ever published.
pub fn content(db: &Connection, source: &PackageName, version: &Version) -> Result<Option<Content>> {
    let Some(changes) = changes(db, source, version)? else { return Ok(None) };
    let mut statement = db.prepare_cached(
        "SELECT kind, name, architecture, component, stanza FROM pool_part WHERE source = ? AND version = ?",
    )?;
    let parts = statement.query_map(params![source, version], |row| {
        Ok(Part {
            kind: row.get(0)?,
            name: row.get(1)?,
            architecture: row.get(2)?,
            component: row.get(3)?,
            stanza: row.get(4)?,
        })
    })?;
    let parts = parts.collect::<Result<_, _>>()?;
    Ok(Some(Content { source: source.clone(), version: version.clone(), changes, parts }))
}

/// The `.changes` of this version, below the archive's root.
pub fn changes(db: &Connection, source: &PackageName, version: &Version) -> Result<Option<String>> {
    Ok(db
        .prepare_cached("SELECT changes FROM pool_version WHERE source = ? AND version = ?")?
        .query_row(params![source, version], |row| row.get(0))
        .optional()?)
}

/// Whether anything recorded of a source package refers to a file of this name.
pub fn refers_to(db: &Connection, source: &PackageName, file: &str) -> Result<bool> {
    Ok(db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM pool_part WHERE source = ?1 AND instr(stanza, ?2))
                 OR EXISTS (SELECT 1 FROM pool_version WHERE source = ?1 AND instr(changes, ?2))",
        )?
        .query_row(params![source, file], |row| row.get(0))?)
}

/// Records what the pool has; what is recorded already stays as it is.
pub fn add(tx: &Transaction, content: &Content) -> Result<()> {
    let new = tx
        .prepare_cached("INSERT INTO pool_version (source, version, changes) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")?
        .execute(params![content.source, content.version, content.changes])?;
    if new == 0 {
        return Ok(());
    }
    let mut insert = tx.prepare_cached(
        "INSERT INTO pool_part (source, version, kind, name, architecture, component, stanza) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?;
    for part in &content.parts {
        insert.execute(params![
            content.source,
            content.version,
            part.kind,
            part.name,
            part.architecture,
            part.component,
            part.stanza
        ])?;
    }
    Ok(())
}

/// The version of a source package that a suite shows.
pub fn shown(db: &Connection, suite: &Suite, source: &PackageName) -> Result<Option<Version>> {
    Ok(db
        .prepare_cached("SELECT version FROM suite_source WHERE suite = ? AND source = ?")?
        .query_row(params![suite, source], |row| row.get(0))
        .optional()?)
}

/// Every source package of a suite, with its version.
pub fn sources(db: &Connection, suite: &Suite) -> Result<Vec<(PackageName, Version)>> {
    let mut statement =
        db.prepare_cached("SELECT source, version FROM suite_source WHERE suite = ? ORDER BY source")?;
    Ok(statement.query_map([suite], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
}

/// A suite's generation, and what its Release says about it.
pub fn suite(db: &Connection, suite: &Suite) -> Result<Option<(i64, String)>> {
    Ok(db
        .prepare_cached("SELECT generation, release FROM suite WHERE name = ?")?
        .query_row([suite], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}

/// Takes a suite from one generation to the next; an error if it is not at `from` (0: it is new).
pub fn advance_suite(tx: &Transaction, suite: &Suite, from: i64, release: &str) -> Result<()> {
    let changed = if from == 0 {
        tx.execute("INSERT INTO suite (name, generation, release) VALUES (?, 1, ?)", params![suite, release])?
    } else {
        tx.execute(
            "UPDATE suite SET generation = generation + 1, release = ? WHERE name = ? AND generation = ?",
            params![release, suite, from],
        )?
    };
    if changed != 1 {
        bail!("suite {suite} was changed by somebody else");
    }
    Ok(())
}

/// Sets the version of a source package that a suite shows.
pub fn show(tx: &Transaction, suite: &Suite, source: &PackageName, version: &Version) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO suite_source (suite, source, version) VALUES (?, ?, ?)
         ON CONFLICT (suite, source) DO UPDATE SET version = excluded.version",
    )?
    .execute(params![suite, source, version])?;
    Ok(())
}
