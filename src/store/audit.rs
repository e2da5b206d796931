//! Keeps the audit trail: every decision, submission, state change and publication, in the order in
//! which it happened.
//!
//! Entries are only ever added. Each carries the SHA-256 of its predecessor's hash and its own
//! fields, so that an entry that was changed, removed or moved breaks the chain from there on.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use invirtibuilder_api::audit::Recorded;
use invirtibuilder_core::names::JobId;
use invirtibuilder_core::time::now;
use invirtibuilder_system::log;

/// An entry to append to the audit trail.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    event: &'static str,
    job: Option<JobId>,
    detail: Map<String, Value>,
}

impl AuditEntry {
    /// Makes an entry of this kind: a dotted word such as `job.state`.
    pub fn new(event: &'static str) -> Self {
        Self { event, job: None, detail: Map::new() }
    }

    /// Sets the job that the entry is about.
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
        let (last, previous) = head(tx)?;
        let id = last + 1;
        let at = now();
        let detail = Value::Object(self.detail.clone()).to_string();
        let hash = link(&previous, (id, at), self.event, self.job, &detail);
        tx.prepare_cached(
            "INSERT INTO audit (id, at, event, job, detail, hash) VALUES (?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![id, at, self.event, self.job, detail, hash])?;
        Ok(())
    }
}

/// Computes the hash of an entry. The length of every field precedes it, so that no two entries
/// hash the same text.
fn link(
    previous: &[u8],
    (id, at): (i64, i64),
    event: &str,
    job: Option<JobId>,
    detail: &str,
) -> Vec<u8> {
    let job = job.map_or(String::new(), |job| job.to_string());
    let mut hasher = Sha256::new();
    for field in [
        previous,
        id.to_string().as_bytes(),
        at.to_string().as_bytes(),
        event.as_bytes(),
        job.as_bytes(),
    ] {
        hasher.update((field.len() as u64).to_be_bytes());
        hasher.update(field);
    }
    hasher.update(detail.as_bytes());
    hasher.finalize().to_vec()
}

/// Sends the entry to the system log: so there is a copy of it elsewhere, with the hash that
/// ties it to all before.
pub(crate) fn send(entry: &Recorded) {
    let (id, job) =
        (entry.id.to_string(), entry.job.map_or_else(String::new, |job| job.to_string()));
    let mut fields = vec![("id", &id[..]), ("hash", &entry.hash), ("event", &entry.event)];
    if !job.is_empty() {
        fields.push(("job", &job));
    }
    let more = entry.fields();
    fields.extend(more.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    // It says all that there is to say.
    tracing::info!(parent: None, "{}", log::line("audit", &fields));
}

fn recorded_from(row: &Row) -> rusqlite::Result<Recorded> {
    let (detail, hash): (String, Vec<u8>) = (row.get(4)?, row.get(5)?);
    Ok(Recorded {
        id: row.get(0)?,
        at: row.get(1)?,
        event: row.get(2)?,
        job: row.get(3)?,
        detail: serde_json::from_str(&detail).unwrap_or(Value::String(detail)),
        hash: invirtibuilder_core::text::hex(&hash),
    })
}

const COLUMNS: &str = "SELECT id, at, event, job, detail, hash FROM audit";

/// Calls `see` with every entry after `id`, in order.
pub fn each_after(
    db: &Connection,
    id: i64,
    mut see: impl FnMut(Recorded) -> Result<()>,
) -> Result<()> {
    let mut statement = db.prepare_cached(&format!("{COLUMNS} WHERE id > ? ORDER BY id"))?;
    let mut rows = statement.query([id])?;
    while let Some(row) = rows.next()? {
        see(recorded_from(row)?)?;
    }
    Ok(())
}

/// Lists the entries about a job, in order.
pub fn of_job(db: &Connection, job: JobId) -> Result<Vec<Recorded>> {
    let mut statement = db.prepare_cached(&format!("{COLUMNS} WHERE job = ? ORDER BY id"))?;
    Ok(statement.query_map([job], recorded_from)?.collect::<Result<_, _>>()?)
}

/// Finds the last entry's number and hash; 0 and nothing when there is none.
pub fn head(db: &Connection) -> Result<(i64, Vec<u8>)> {
    let last = db
        .prepare_cached("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(last.unwrap_or_default())
}

/// Walks the chain. Returns the hash of each entry, or names the first that was changed, removed or
/// moved.
pub fn walk(db: &Connection) -> Result<Result<Vec<Vec<u8>>, String>> {
    let mut statement = db.prepare(&format!("{COLUMNS} ORDER BY id"))?;
    let mut rows = statement.query([])?;
    let mut hashes: Vec<Vec<u8>> = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, next): (i64, i64) = (row.get(0)?, hashes.len() as i64 + 1);
        if id != next {
            return Ok(Err(format!("entry {next} of the audit trail is missing")));
        }
        let (event, detail): (String, String) = (row.get(2)?, row.get(4)?);
        let hash: Vec<u8> = row.get(5)?;
        let previous = hashes.last().map_or(&[][..], |hash| hash);
        if hash != link(previous, (id, row.get(1)?), &event, row.get(3)?, &detail) {
            return Ok(Err(format!(
                "entry {id} of the audit trail was changed, or is not where it was"
            )));
        }
        hashes.push(hash);
    }
    Ok(Ok(hashes))
}

#[cfg(test)]
mod tests {
    use crate::Record;
    use crate::audit::*;

    fn trail() -> (tempfile::TempDir, Record) {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        for n in 0..5 {
            record
                .write(|tx| AuditEntry::new("test").job(JobId(7)).with("n", n).append(tx))
                .unwrap();
        }
        (dir, record)
    }

    #[test]
    fn an_untouched_trail_verifies() {
        let (_dir, record) = trail();
        assert_eq!(walk(record.db()).unwrap().unwrap().len(), 5);
        let mut seen = Vec::new();
        each_after(record.db(), 3, |entry| {
            seen.push((entry.id, entry.field("x").is_some(), entry.fields()));
            Ok(())
        })
        .unwrap();
        assert_eq!(
            seen,
            [
                (4, false, vec![("n".into(), "3".into())]),
                (5, false, vec![("n".into(), "4".into())])
            ]
        );
    }

    #[test]
    fn tampering_is_named() {
        for (sql, found) in [
            (
                "UPDATE audit SET detail = '{}' WHERE id = 3",
                "entry 3 of the audit trail was changed",
            ),
            ("UPDATE audit SET job = NULL WHERE id = 2", "entry 2 of the audit trail was changed"),
            ("DELETE FROM audit WHERE id = 4", "entry 4 of the audit trail is missing"),
            ("UPDATE audit SET at = at + 1 WHERE id = 1", "entry 1 of the audit trail was changed"),
            ("DELETE FROM audit WHERE id = 1", "entry 1 of the audit trail is missing"),
            (
                "UPDATE audit SET id = 99 WHERE id = 2; UPDATE audit SET id = 2 WHERE id = 3;
                 UPDATE audit SET id = 3 WHERE id = 99",
                "entry 2 of the audit trail was changed, or is not where it was",
            ),
        ] {
            let (_dir, record) = trail();
            record.db().execute_batch(sql).unwrap();
            let why = walk(record.db()).unwrap().unwrap_err();
            assert!(why.starts_with(found), "{sql}: {why}");
        }
    }
}
