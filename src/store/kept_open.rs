//! Keeps records open between requests: a process that answers many opens each only once.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use rusqlite::Transaction;

use crate::Record;
use crate::together::Company;

/// The most records that are kept open while nobody uses them.
const MOST: usize = 64;

/// How many of them are kept however long nobody does.
const ALWAYS: usize = 8;

/// How long the others are kept.
const KEPT: Duration = Duration::from_secs(60);

/// Records of one database that are open and not in use.
pub struct OpenRecords {
    path: PathBuf,
    /// The one that was used last is the last.
    idle: Mutex<Vec<(Record, Instant)>>,
    pub(super) company: Company,
}

impl OpenRecords {
    /// Keeps records of the database at this path, none at first.
    pub fn of(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, idle: Mutex::default(), company: Company::default() })
    }

    /// Lends a record, which tells the system log of every entry that it adds to the audit trail.
    pub fn lend(self: &Arc<Self>) -> Result<LentRecord> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let record = match idle.map(|(record, _)| record).filter(Record::is_current) {
            Some(record) => record,
            None => Record::open(&self.path)?.mirrored(),
        };
        Ok(LentRecord { record: Some(record), lender: Some(self.clone()) })
    }
}

/// A record that somebody uses. When it is dropped its lender has it again, if there is one.
pub struct LentRecord {
    /// The record. It is missing only while this is dropped.
    record: Option<Record>,
    lender: Option<Arc<OpenRecords>>,
}

impl From<Record> for LentRecord {
    /// Takes a record that nobody wants back.
    fn from(record: Record) -> Self {
        Self { record: Some(record), lender: None }
    }
}

impl LentRecord {
    /// Does what [`Record::write`] does, together with others of this process who do so at the same
    /// time.
    pub fn write_together<T: Send + 'static>(
        &mut self,
        change: impl FnOnce(&Transaction) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match self.lender.clone() {
            Some(lender) => lender.company.write(&lender.path, self, change),
            None => self.write(change),
        }
    }
}

impl Deref for LentRecord {
    type Target = Record;

    fn deref(&self) -> &Record {
        self.record.as_ref().expect("it is not dropped")
    }
}

impl DerefMut for LentRecord {
    fn deref_mut(&mut self) -> &mut Record {
        self.record.as_mut().expect("it is not dropped")
    }
}

impl Drop for LentRecord {
    fn drop(&mut self) {
        let (Some(record), Some(lender)) = (self.record.take(), &self.lender) else { return };
        // A panic may have left it in the middle of something.
        if std::thread::panicking() || !record.db().is_autocommit() {
            return;
        }
        let mut idle = lender.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST {
            idle.push((record, Instant::now()));
        }
        let is_old = |(_, used): &(Record, Instant)| used.elapsed() > KEPT;
        let old = idle.iter().take_while(|it| is_old(it)).count();
        let spare = idle.len().saturating_sub(ALWAYS);
        let gone: Vec<_> = idle.drain(..old.min(spare)).collect();
        drop(idle);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use crate::kept_open::*;

    #[test]
    fn a_record_is_used_again_unless_it_is_in_the_middle_of_something() {
        let dir = tempfile::tempdir().unwrap();
        let records = OpenRecords::of(dir.path().join("db"));
        let idle = || records.idle.lock().unwrap().len();
        let (one, two) = (records.lend().unwrap(), records.lend().unwrap());
        assert_eq!(idle(), 0);
        drop(one);
        assert_eq!(idle(), 1);
        let one = records.lend().unwrap();
        assert_eq!(idle(), 0, "the one that was there is lent");
        two.db().execute_batch("BEGIN").unwrap();
        drop((one, two));
        assert_eq!(idle(), 1, "only the one without a transaction is kept");
    }

    #[test]
    fn a_database_that_was_put_in_the_place_of_another_is_the_one_that_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let records = OpenRecords::of(path.clone());
        drop(records.lend().unwrap());
        let mut other = Record::open(&dir.path().join("other")).unwrap();
        other.write(|tx| Ok(tx.execute_batch("CREATE TABLE restored (a)")?)).unwrap();
        drop(other);
        for file in ["", "-wal", "-shm"] {
            let name = |database| dir.path().join(format!("{database}{file}"));
            let _ = std::fs::remove_file(name("db"));
            let _ = std::fs::rename(name("other"), name("db"));
        }
        let lent = records.lend().unwrap();
        lent.db().execute_batch("INSERT INTO restored VALUES (1)").unwrap();
    }
}
