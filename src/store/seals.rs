//! Keeps the signed heads of the audit trail, as the archive's keys made them.

use anyhow::Result;
use rusqlite::{Connection, Transaction, params};

/// One signed head.
#[derive(Debug)]
pub struct Seal {
    /// The number of the entry that was the last one.
    pub id: i64,
    /// The hash of that entry.
    pub hash: Vec<u8>,
    /// When it was signed, in milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// The text and its signatures in one (RFC 9580 section 7).
    pub inline: Vec<u8>,
    /// The signatures alone.
    pub detached: Vec<u8>,
}

/// The condition of entries that a seal has to cover sooner or later: a forger of the trail hides a
/// publication.
const SIGNED: &str = "event IN ('published', 'rollback')";

/// Tells whether there is something that no seal covers and that one has to cover.
pub fn is_due(db: &Connection) -> Result<bool> {
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM audit
             WHERE id > (SELECT coalesce(max(id), 0) FROM audit_seal) AND {SIGNED})"
    );
    Ok(db.prepare_cached(&sql)?.query_row([], |row| row.get(0))?)
}

/// Finds the first entry after this one that a seal has to cover.
pub fn first_due(db: &Connection, after: i64) -> Result<Option<i64>> {
    let sql = format!("SELECT min(id) FROM audit WHERE id > ? AND {SIGNED}");
    Ok(db.query_row(&sql, [after], |row| row.get(0))?)
}

/// Keeps a seal, in place of one of the same entry.
pub fn keep(tx: &Transaction, seal: &Seal) -> Result<()> {
    tx.execute(
        "INSERT OR REPLACE INTO audit_seal (id, hash, at, inline, detached) VALUES (?, ?, ?, ?, ?)",
        params![seal.id, seal.hash, seal.at, seal.inline, seal.detached],
    )?;
    Ok(())
}

/// Lists all seals, the oldest first.
pub fn all(db: &Connection) -> Result<Vec<Seal>> {
    let mut statement =
        db.prepare("SELECT id, hash, at, inline, detached FROM audit_seal ORDER BY id")?;
    let rows = statement.query_map([], |row| {
        Ok(Seal {
            id: row.get(0)?,
            hash: row.get(1)?,
            at: row.get(2)?,
            inline: row.get(3)?,
            detached: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
