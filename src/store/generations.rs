//! Keeps the lists of files of a suite's last generations: a generation links those that stay the
//! same, and late readers get those before it by hash.

use anyhow::Result;
use rusqlite::{Connection, Transaction, params};

use invirtibuilder_core::domain::SuiteId;

/// A file that the Release of a generation lists.
#[derive(Debug, Clone)]
pub struct ListedFile {
    /// The path below `dists/<suite>`.
    pub path: String,
    /// The size in bytes.
    pub size: u64,
    /// The SHA-256, in hexadecimal.
    pub sha256: String,
}

/// Lists the files that Release of a generation lists, by path.
pub fn files(db: &Connection, suite: &SuiteId, generation: i64) -> Result<Vec<ListedFile>> {
    let mut statement = db.prepare_cached(
        "SELECT path, size, sha256 FROM suite_file WHERE domain = ? AND suite = ? AND generation = ? ORDER BY path",
    )?;
    let rows = statement.query_map(params![suite.domain, suite.suite, generation], |row| {
        Ok(ListedFile {
            path: row.get(0)?,
            size: row.get::<_, i64>(1)? as u64,
            sha256: row.get(2)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Records the files of a generation.
pub fn add_files(
    tx: &Transaction,
    suite: &SuiteId,
    generation: i64,
    files: &[ListedFile],
) -> Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO suite_file (domain, suite, generation, path, size, sha256) VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    for file in files {
        insert.execute(params![
            suite.domain,
            suite.suite,
            generation,
            file.path,
            file.size as i64,
            file.sha256
        ])?;
    }
    Ok(())
}

/// Forgets the files of the generations before this one.
pub fn forget_files_before(tx: &Transaction, suite: &SuiteId, generation: i64) -> Result<()> {
    let sql = "DELETE FROM suite_file WHERE domain = ? AND suite = ? AND generation < ?";
    tx.execute(sql, params![suite.domain, suite.suite, generation])?;
    Ok(())
}

/// Forgets the files of every generation: the next one is written without regard to them.
pub fn forget_files(tx: &Transaction, suite: &SuiteId) -> Result<()> {
    let sql = "DELETE FROM suite_file WHERE domain = ? AND suite = ?";
    tx.execute(sql, params![suite.domain, suite.suite])?;
    Ok(())
}
