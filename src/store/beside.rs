//! Keeps what the archive has of a version beside its pool: files and links that follow from what
//! the pool has.

use anyhow::{Result, bail};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::pool;
use invirtibuilder_core::domain::{Identity, SuiteId};
use invirtibuilder_core::names::DomainName;

/// A file or a link beside the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// The path below the archive's root.
    pub path: String,
    /// The file or link at the path.
    pub what: FileOrLink,
}

/// A file, or a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileOrLink {
    /// A file.
    File {
        /// The size in bytes.
        size: u64,
        /// The SHA-256, in hexadecimal.
        sha256: String,
    },
    /// A symbolic link that points there.
    Link(String),
}

const COLUMNS: &str = "path, size, sha256, target";

impl Beside {
    fn from_row(row: &Row) -> rusqlite::Result<Self> {
        let what = match row.get::<_, Option<String>>(3)? {
            Some(target) => FileOrLink::Link(target),
            None => FileOrLink::File { size: row.get::<_, i64>(1)? as u64, sha256: row.get(2)? },
        };
        Ok(Self { path: row.get(0)?, what })
    }
}

/// Lists everything that a version has beside the pool, by path.
pub fn of_version(db: &Connection, id: &Identity) -> Result<Vec<Beside>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM beside WHERE domain = ? AND source = ? AND version = ? ORDER BY path"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(params![id.domain, id.package, id.version], Beside::from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Lists everything that any version of a domain has beside the pool, by path.
pub fn all(db: &Connection, domain: &DomainName) -> Result<Vec<Beside>> {
    let sql = format!("SELECT {COLUMNS} FROM beside WHERE domain = ? ORDER BY path");
    let mut statement = db.prepare_cached(&sql)?;
    Ok(statement.query_map([domain], Beside::from_row)?.collect::<Result<_, _>>()?)
}

/// Records a file or link of a version; what is recorded already stays as it is. It is an error if
/// something else is recorded there.
pub fn add(tx: &Transaction, id: &Identity, beside: &Beside) -> Result<()> {
    let (size, sha256, target) = match &beside.what {
        FileOrLink::File { size, sha256 } => (Some(*size as i64), Some(sha256), None),
        FileOrLink::Link(target) => (None, None, Some(target)),
    };
    let sql = "INSERT INTO beside (domain, path, source, version, size, sha256, target) VALUES (?, ?, ?, ?, ?, ?, ?)
               ON CONFLICT DO NOTHING";
    let new = tx.prepare_cached(sql)?.execute(params![
        id.domain,
        beside.path,
        id.package,
        id.version,
        size,
        sha256,
        target
    ])?;
    if new == 0 {
        let sql = format!(
            "SELECT {COLUMNS} FROM beside WHERE domain = ? AND path = ? AND source = ? AND version = ?"
        );
        let known = tx
            .prepare_cached(&sql)?
            .query_row(params![id.domain, beside.path, id.package, id.version], Beside::from_row)
            .optional()?;
        if known.as_ref() != Some(beside) {
            bail!("{} is something else already", id.domain.qualify(&beside.path));
        }
    }
    pool::settle(tx, &id.domain, &beside.path)
}

/// Forgets what a version has beside the pool. All of it becomes intents, for the caller to remove.
pub fn forget(tx: &Transaction, id: &Identity) -> Result<()> {
    for beside in of_version(tx, id)? {
        pool::intend(tx, &id.domain, &beside.path)?;
    }
    tx.prepare_cached("DELETE FROM beside WHERE domain = ? AND source = ? AND version = ?")?
        .execute(params![id.domain, id.package, id.version])?;
    Ok(())
}

/// Lists versions of which the archive has nothing beside its pool in a suite that shows or has
/// shown them: those that an older release has published there.
pub fn missing(db: &Connection) -> Result<Vec<(SuiteId, Identity)>> {
    let sql = "SELECT DISTINCT domain, source, version, suite FROM suite_source AS shown WHERE NOT EXISTS (
                   SELECT 1 FROM beside
                   WHERE beside.domain = shown.domain AND beside.source = shown.source AND beside.version = shown.version
                   AND beside.path LIKE 'changes/%' AND substr(path, 9, length(suite) + 1) = suite || '/')
               ORDER BY domain, source, version, suite";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| {
        let id = crate::rows::identity(row)?;
        Ok((SuiteId { domain: id.domain.clone(), suite: row.get(3)? }, id))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Finds the first `.changes` of a version in a suite of its domain, below the archive's root.
pub fn changes(db: &Connection, suite: &SuiteId, id: &Identity) -> Result<Option<String>> {
    let sql = "SELECT path FROM beside WHERE domain = ?1 AND source = ?2 AND version = ?3 AND target IS NULL
               AND substr(path, 1, length(?4)) = ?4 AND path LIKE '%.changes' ORDER BY path LIMIT 1";
    let prefix = format!("changes/{}/", suite.suite);
    Ok(db
        .prepare_cached(sql)?
        .query_row(params![suite.domain, id.package, id.version, prefix], |row| row.get(0))
        .optional()?)
}
