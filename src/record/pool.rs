//! The files of the pool: which belong to which version, and which are on their way in or out.
//!
//! Whoever is about to write files to the pool, or to remove some, says so first ([`intend`]). Should they die, the next
//! one finds what they left ([`intents`]) without looking through the pool: what no version has is removed.

use anyhow::{Result, bail};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::Serialize;

use super::{beside, builds};
use crate::names::{JobId, PackageName, Version};

/// A file of the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolFile {
    /// Its path below the archive's root.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// The file that has this path, if a version has one.
pub fn file(db: &Connection, path: &str) -> Result<Option<PoolFile>> {
    Ok(db
        .prepare_cached("SELECT path, size, sha256 FROM pool_file WHERE path = ?")?
        .query_row([path], PoolFile::from_row)
        .optional()?)
}

/// Whether the pool had other bytes under this name before `archive gc` removed them, and never these. A number that was let go
/// may be used for something else.
pub fn was_another(db: &Connection, file: &PoolFile) -> Result<bool> {
    let sql = "SELECT sha256 FROM past_file WHERE path = ? AND released IS NULL AND NOT EXISTS (
                   SELECT 1 FROM released WHERE released.package = past_file.package AND released.version = past_file.version)";
    let mut statement = db.prepare_cached(sql)?;
    let past: Vec<String> = statement.query_map([&file.path], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(!past.is_empty() && !past.contains(&file.sha256))
}

/// A version that has the file of this path.
pub fn owner(db: &Connection, path: &str) -> Result<Option<(PackageName, Version)>> {
    Ok(db
        .prepare_cached(
            "SELECT source, version FROM pool_version_file WHERE path = ? ORDER BY source, version LIMIT 1",
        )?
        .query_row([path], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}

/// Every file that a version has, by path.
pub fn files(db: &Connection) -> Result<Vec<PoolFile>> {
    let mut statement = db.prepare_cached("SELECT path, size, sha256 FROM pool_file ORDER BY path")?;
    Ok(statement.query_map([], PoolFile::from_row)?.collect::<Result<_, _>>()?)
}

/// The files of a version, by path.
pub fn of_version(db: &Connection, source: &PackageName, version: &Version) -> Result<Vec<PoolFile>> {
    let mut statement = db.prepare_cached(
        "SELECT path, size, sha256 FROM pool_file JOIN pool_version_file USING (path)
         WHERE source = ? AND version = ? ORDER BY path",
    )?;
    Ok(statement.query_map(params![source, version], PoolFile::from_row)?.collect::<Result<_, _>>()?)
}

impl PoolFile {
    fn from_row(row: &rusqlite::Row) -> rusqlite::Result<Self> {
        Ok(Self { path: row.get(0)?, size: row.get::<_, i64>(1)? as u64, sha256: row.get(2)? })
    }
}

/// Records that a version has a file; an error if another version has other bytes under the name.
pub fn add(tx: &Transaction, source: &PackageName, version: &Version, file: &PoolFile) -> Result<()> {
    tx.prepare_cached("INSERT INTO pool_file (path, size, sha256) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")?
        .execute(params![file.path, file.size as i64, file.sha256])?;
    if self::file(tx, &file.path)?.is_none_or(|known| known != *file) {
        bail!("{} is another file already", file.path);
    }
    tx.prepare_cached("INSERT INTO pool_version_file (source, version, path) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")?
        .execute(params![source, version, file.path])?;
    settle(tx, &file.path)
}

/// What was intended for this path is done.
pub fn settle(tx: &Transaction, path: &str) -> Result<()> {
    tx.prepare_cached("DELETE FROM pool_intent WHERE path = ?")?.execute([path])?;
    Ok(())
}

/// Says that the file at this path is about to be written or removed.
pub fn intend(tx: &Transaction, path: &str) -> Result<()> {
    tx.prepare_cached("INSERT INTO pool_intent (path) VALUES (?) ON CONFLICT DO NOTHING")?.execute([path])?;
    Ok(())
}

/// Paths that were to be written or removed, and whether a version has a file there now.
pub fn intents(db: &Connection) -> Result<Vec<(String, bool)>> {
    let mut statement = db.prepare_cached(
        "SELECT path, EXISTS (SELECT 1 FROM pool_file WHERE pool_file.path = pool_intent.path)
             OR EXISTS (SELECT 1 FROM beside WHERE beside.path = pool_intent.path) FROM pool_intent",
    )?;
    Ok(statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
}

/// What was intended has been settled.
pub fn forget_intents(tx: &Transaction) -> Result<()> {
    tx.execute("DELETE FROM pool_intent", [])?;
    Ok(())
}

/// Forgets what the pool has of a version, but for the hashes. Files that no other version has become intents: they are to be removed.
pub fn forget_version(tx: &Transaction, source: &PackageName, version: &Version) -> Result<()> {
    let files = of_version(tx, source, version)?;
    builds::forget(tx, source, version)?;
    beside::forget(tx, source, version)?;
    for table in ["pool_version_file", "pool_part", "pool_version"] {
        tx.execute(&format!("DELETE FROM {table} WHERE source = ? AND version = ?"), params![source, version])?;
    }
    for file in &files {
        let gone = tx
            .prepare_cached(
                "DELETE FROM pool_file WHERE path = ?1
                 AND NOT EXISTS (SELECT 1 FROM pool_version_file WHERE path = ?1)",
            )?
            .execute([&file.path])?;
        if gone == 1 {
            intend(tx, &file.path)?;
            tx.prepare_cached(
                "INSERT INTO past_file (package, version, path, sha256) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )?
            .execute(params![source, version, file.path, file.sha256])?;
        }
    }
    Ok(())
}

/// The files of a source package whose names begin so, each with the first job that brought a version that has it.
pub fn upstream(db: &Connection, source: &PackageName, stem: &str) -> Result<Vec<(PoolFile, Option<JobId>)>> {
    let mut statement = db.prepare_cached(
        "SELECT path, size, sha256, min(version.job) FROM pool_version_file AS mine JOIN pool_file USING (path)
         LEFT JOIN version ON version.package = mine.source AND version.version = mine.version
         WHERE mine.source = ?1 AND instr(path, '/' || ?2) > 0 GROUP BY path ORDER BY path",
    )?;
    let rows = statement.query_map(params![source, stem], |row| Ok((PoolFile::from_row(row)?, row.get(3)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
