//! Keeps the files of the pool: which belong to which version, and which are on their way in or
//! out.
//!
//! A process that is about to write files to the pool, or to remove some, says so first
//! ([`intend`]). Should it die, the next one finds what it left ([`intents`]) without looking
//! through the pool, and removes what no version has.

use anyhow::{Result, bail};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use invirtibuilder_api::archive::PoolFile;
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::names::{DomainName, JobId, PackageName};

fn file_from(row: &rusqlite::Row) -> rusqlite::Result<PoolFile> {
    Ok(PoolFile { path: row.get(0)?, size: row.get::<_, i64>(1)? as u64, sha256: row.get(2)? })
}

/// Finds the file that has this path in a domain's pool, if a version has one.
pub fn file(db: &Connection, domain: &DomainName, path: &str) -> Result<Option<PoolFile>> {
    Ok(db
        .prepare_cached("SELECT path, size, sha256 FROM pool_file WHERE domain = ? AND path = ?")?
        .query_row(params![domain, path], file_from)
        .optional()?)
}

/// Tells whether the pool had other bytes under this name before `archive gc` removed them, and
/// never these. A number that was let go may be used for something else.
pub fn was_another(db: &Connection, domain: &DomainName, file: &PoolFile) -> Result<bool> {
    let sql = "SELECT sha256 FROM past_file WHERE domain = ? AND path = ? AND released IS NULL AND NOT EXISTS (
                   SELECT 1 FROM released WHERE released.domain = past_file.domain
                   AND released.package = past_file.package AND released.version = past_file.version)";
    let mut statement = db.prepare_cached(sql)?;
    let past: Vec<String> = statement
        .query_map(params![domain, file.path], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(!past.is_empty() && !past.contains(&file.sha256))
}

/// Finds a version of a domain that has the file of this path.
pub fn owner(db: &Connection, domain: &DomainName, path: &str) -> Result<Option<Identity>> {
    let sql = "SELECT domain, source, version FROM pool_version_file WHERE domain = ? AND path = ?
               ORDER BY source, version LIMIT 1";
    Ok(db
        .prepare_cached(sql)?
        .query_row(params![domain, path], crate::rows::identity)
        .optional()?)
}

/// Lists every file that a version of a domain has, by path.
pub fn files(db: &Connection, domain: &DomainName) -> Result<Vec<PoolFile>> {
    let mut statement = db.prepare_cached(
        "SELECT path, size, sha256 FROM pool_file WHERE domain = ? ORDER BY path",
    )?;
    Ok(statement.query_map([domain], file_from)?.collect::<Result<_, _>>()?)
}

/// Lists the files of a version, by path.
pub fn of_version(db: &Connection, id: &Identity) -> Result<Vec<PoolFile>> {
    let mut statement = db.prepare_cached(
        "SELECT path, size, sha256 FROM pool_file JOIN pool_version_file USING (domain, path)
         WHERE domain = ? AND source = ? AND version = ? ORDER BY path",
    )?;
    let rows = statement.query_map(params![id.domain, id.package, id.version], file_from)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Records that a version has a file. It is an error if another version of the domain has other
/// bytes under the name.
pub fn add(tx: &Transaction, id: &Identity, file: &PoolFile) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO pool_file (domain, path, size, sha256) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )?
    .execute(params![id.domain, file.path, file.size as i64, file.sha256])?;
    if self::file(tx, &id.domain, &file.path)?.is_none_or(|known| known != *file) {
        bail!("{} is another file already", id.domain.qualify(&file.path));
    }
    tx.prepare_cached(
        "INSERT INTO pool_version_file (domain, source, version, path) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )?
    .execute(params![id.domain, id.package, id.version, file.path])?;
    settle(tx, &id.domain, &file.path)
}

/// Forgets what was intended for this path of a domain: it is done.
pub fn settle(tx: &Transaction, domain: &DomainName, path: &str) -> Result<()> {
    tx.prepare_cached("DELETE FROM pool_intent WHERE domain = ? AND path = ?")?
        .execute(params![domain, path])?;
    Ok(())
}

/// Records that the caller is about to write or remove the file at this path of a domain.
pub fn intend(tx: &Transaction, domain: &DomainName, path: &str) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO pool_intent (domain, path) VALUES (?, ?) ON CONFLICT DO NOTHING",
    )?
    .execute(params![domain, path])?;
    Ok(())
}

/// A path that somebody was about to write or to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The domain whose archive it is in.
    pub domain: DomainName,
    /// The path below the archive's root.
    pub path: String,
    /// Whether a version has a file there now.
    pub wanted: bool,
}

/// Lists the paths that were intended.
pub fn intents(db: &Connection) -> Result<Vec<Intent>> {
    let mut statement = db.prepare_cached(
        "SELECT domain, path,
                EXISTS (SELECT 1 FROM pool_file AS it WHERE it.domain = mine.domain AND it.path = mine.path)
             OR EXISTS (SELECT 1 FROM beside AS it WHERE it.domain = mine.domain AND it.path = mine.path)
         FROM pool_intent AS mine ORDER BY domain, path",
    )?;
    let intent = |row: &rusqlite::Row| {
        Ok(Intent { domain: row.get(0)?, path: row.get(1)?, wanted: row.get(2)? })
    };
    Ok(statement.query_map([], intent)?.collect::<Result<_, _>>()?)
}

/// Forgets all that was intended in a domain: it is done.
pub fn forget_intents(tx: &Transaction, domain: &DomainName) -> Result<()> {
    tx.execute("DELETE FROM pool_intent WHERE domain = ?", [domain])?;
    Ok(())
}

/// Lists the files of a source package in a domain's pool whose names begin so, each with the first
/// job that brought a version that has it.
pub fn upstream(
    db: &Connection,
    (domain, source): (&DomainName, &PackageName),
    stem: &str,
) -> Result<Vec<(PoolFile, Option<JobId>)>> {
    let mut statement = db.prepare_cached(
        "SELECT path, size, sha256, min(version.job)
         FROM pool_version_file AS mine JOIN pool_file USING (domain, path)
         LEFT JOIN version ON version.domain = mine.domain AND version.package = mine.source
             AND version.version = mine.version
         WHERE mine.domain = ?1 AND mine.source = ?2 AND instr(path, '/' || ?3) > 0 GROUP BY path ORDER BY path",
    )?;
    let rows = statement
        .query_map(params![domain, source, stem], |row| Ok((file_from(row)?, row.get(3)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
