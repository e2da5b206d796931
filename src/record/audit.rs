//! The audit trail: every decision, submission, state change and publication, in the order in which it happened.
//!
//! Entries are only ever added. Each carries the SHA-256 of its predecessor's hash and its own fields, so that an entry
//! that was changed, removed or moved breaks the chain from there on.

use anyhow::Result;
use rusqlite::{OptionalExtension, Transaction, params};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::now;
use crate::names::JobId;

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Entry {
    event: &'static str,
    job: Option<JobId>,
    detail: Map<String, Value>,
}

impl Entry {
    /// An entry of this kind: a dotted word such as `job.state`.
    pub fn new(event: &'static str) -> Self {
        Self { event, job: None, detail: Map::new() }
    }

    /// The job it is about.
    pub fn job(mut self, job: JobId) -> Self {
        self.job = Some(job);
        self
    }

    /// Adds a field.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.detail.insert(key.to_owned(), value.into());
        self
    }

    /// Appends it to the trail, as part of the transaction that makes it true.
    pub fn append(&self, tx: &Transaction) -> Result<()> {
        let last: Option<(i64, Vec<u8>)> = tx
            .prepare_cached("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (id, previous) = last.map_or((1, Vec::new()), |(id, hash)| (id + 1, hash));
        let at = now();
        let detail = Value::Object(self.detail.clone()).to_string();
        let hash = link(&previous, id, at, self.event, self.job, &detail);
        tx.prepare_cached("INSERT INTO audit (id, at, event, job, detail, hash) VALUES (?, ?, ?, ?, ?, ?)")?
            .execute(params![id, at, self.event, self.job, detail, hash])?;
        Ok(())
    }
}

/// The hash of an entry. Every field is preceded by its length, so that no two entries hash the same text.
fn link(previous: &[u8], id: i64, at: i64, event: &str, job: Option<JobId>, detail: &str) -> Vec<u8> {
    let job = job.map_or(String::new(), |job| job.to_string());
    let mut hasher = Sha256::new();
    for field in [previous, id.to_string().as_bytes(), at.to_string().as_bytes(), event.as_bytes(), job.as_bytes()] {
        hasher.update((field.len() as u64).to_be_bytes());
        hasher.update(field);
    }
    hasher.update(detail.as_bytes());
    hasher.finalize().to_vec()
}

/// Walks the chain; `Err` names the first entry that was changed, removed or moved.
pub fn verify(db: &rusqlite::Connection) -> Result<Result<i64, String>> {
    let mut statement = db.prepare("SELECT id, at, event, job, detail, hash FROM audit ORDER BY id")?;
    let mut rows = statement.query([])?;
    let (mut count, mut previous) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        if id != count + 1 {
            return Ok(Err(format!("entry {} of the audit trail is missing", count + 1)));
        }
        let (event, detail): (String, String) = (row.get(2)?, row.get(4)?);
        let hash: Vec<u8> = row.get(5)?;
        if hash != link(&previous, id, row.get(1)?, &event, row.get(3)?, &detail) {
            return Ok(Err(format!("entry {id} of the audit trail was changed")));
        }
        (count, previous) = (id, hash);
    }
    Ok(Ok(count))
}

#[cfg(test)]
mod tests {
    use super::super::Record;
    use super::*;

    fn trail() -> (tempfile::TempDir, Record) {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        for n in 0..5 {
            record.write(|tx| Entry::new("test").job(JobId(7)).with("n", n).append(tx)).unwrap();
        }
        (dir, record)
    }

    #[test]
    fn an_untouched_trail_verifies() {
        let (_dir, record) = trail();
        assert_eq!(verify(record.db()).unwrap(), Ok(5));
    }

    #[test]
    fn tampering_is_named() {
        for (sql, found) in [
            ("UPDATE audit SET detail = '{}' WHERE id = 3", "entry 3 of the audit trail was changed"),
            ("UPDATE audit SET job = NULL WHERE id = 2", "entry 2 of the audit trail was changed"),
            ("DELETE FROM audit WHERE id = 4", "entry 4 of the audit trail is missing"),
            ("UPDATE audit SET at = at + 1 WHERE id = 1", "entry 1 of the audit trail was changed"),
        ] {
            let (_dir, record) = trail();
            record.db().execute(sql, []).unwrap();
            assert_eq!(verify(record.db()).unwrap(), Err(found.to_owned()), "{sql}");
        }
    }
}
