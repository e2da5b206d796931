//! What the archive has of a version beside its pool: files and links that follow from what the pool has.

use anyhow::{Result, bail};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::pool;
use crate::names::{PackageName, Suite, Version};

/// A file or a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// Its path below the archive's root.
    pub path: String,
    /// What is there.
    pub what: What,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A file.
    File {
        /// Its size in bytes.
        size: u64,
        /// Its SHA-256, in hexadecimal.
        sha256: String,
    },
    /// A symbolic link that points there.
    Link(String),
}

const COLUMNS: &str = "path, size, sha256, target";

impl Beside {
    fn from_row(row: &Row) -> rusqlite::Result<Self> {
        let what = match row.get::<_, Option<String>>(3)? {
            Some(target) => What::Link(target),
            None => What::File { size: row.get::<_, i64>(1)? as u64, sha256: row.get(2)? },
        };
        Ok(Self { path: row.get(0)?, what })
    }
}

/// Everything that a version has, by path.
pub fn of_version(db: &Connection, source: &PackageName, version: &Version) -> Result<Vec<Beside>> {
    let sql = format!("SELECT {COLUMNS} FROM beside WHERE source = ? AND version = ? ORDER BY path");
    let mut statement = db.prepare_cached(&sql)?;
    Ok(statement.query_map(params![source, version], Beside::from_row)?.collect::<Result<_, _>>()?)
}

/// Everything that any version has, by path.
pub fn all(db: &Connection) -> Result<Vec<Beside>> {
    let mut statement = db.prepare_cached(&format!("SELECT {COLUMNS} FROM beside ORDER BY path"))?;
    Ok(statement.query_map([], Beside::from_row)?.collect::<Result<_, _>>()?)
}

/// Records what a version has; what is recorded already stays as it is. An error if something else is recorded there.
pub fn add(tx: &Transaction, source: &PackageName, version: &Version, beside: &Beside) -> Result<()> {
    let (size, sha256, target) = match &beside.what {
        What::File { size, sha256 } => (Some(*size as i64), Some(sha256), None),
        What::Link(target) => (None, None, Some(target)),
    };
    let sql = "INSERT INTO beside (path, source, version, size, sha256, target) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    let new = tx.prepare_cached(sql)?.execute(params![beside.path, source, version, size, sha256, target])?;
    if new == 0 {
        let sql = format!("SELECT {COLUMNS} FROM beside WHERE path = ? AND source = ? AND version = ?");
        let known =
            tx.prepare_cached(&sql)?.query_row(params![beside.path, source, version], Beside::from_row).optional()?;
        if known.as_ref() != Some(beside) {
            bail!("{} is something else already", beside.path);
        }
    }
    pool::settle(tx, &beside.path)
}

/// Forgets what a version has; all of it becomes intents: it is to be removed.
pub fn forget(tx: &Transaction, source: &PackageName, version: &Version) -> Result<()> {
    for beside in of_version(tx, source, version)? {
        pool::intend(tx, &beside.path)?;
    }
    tx.prepare_cached("DELETE FROM beside WHERE source = ? AND version = ?")?.execute(params![source, version])?;
    Ok(())
}

/// Versions of which the archive has nothing beside its pool in a suite that shows or has shown them: those that an older
/// release has published there.
pub fn missing(db: &Connection) -> Result<Vec<(Suite, PackageName, Version)>> {
    let sql = "SELECT DISTINCT suite, source, version FROM suite_source AS shown WHERE NOT EXISTS (
                   SELECT 1 FROM beside WHERE beside.source = shown.source AND beside.version = shown.version
                   AND beside.path LIKE 'changes/%' AND substr(path, 9, length(suite) + 1) = suite || '/')
               ORDER BY source, version, suite";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The first `.changes` of a version in a suite, below the archive's root.
pub fn changes(db: &Connection, suite: &Suite, source: &PackageName, version: &Version) -> Result<Option<String>> {
    let sql = "SELECT path FROM beside WHERE source = ?1 AND version = ?2 AND target IS NULL
               AND substr(path, 1, length(?3)) = ?3 AND path LIKE '%.changes' ORDER BY path LIMIT 1";
    let prefix = format!("changes/{suite}/");
    Ok(db.prepare_cached(sql)?.query_row(params![source, version, prefix], |row| row.get(0)).optional()?)
}
