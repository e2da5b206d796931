//! Makes the changes of many callers of one process together: one turn in line, one transaction,
//! and one wait for the disk, however many callers there are.
//!
//! A change that fails is undone alone. Nobody hears of their change before all of them are
//! durable. Who finds nobody else changing anything makes their change themselves.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;

use anyhow::{Context, Result};
use rusqlite::Transaction;

use crate::Record;
use invirtibuilder_core::error::Error;

/// The most changes that are made together.
const MOST: usize = 64;

/// What all callers of a process share who change one record.
#[derive(Default)]
pub(super) struct Company {
    /// How many of them there are.
    callers: AtomicUsize,
    changes: OnceLock<Option<Sender<Box<dyn Change>>>>,
}

/// A caller, while their change is made.
struct CompanyMember<'a>(&'a AtomicUsize);

impl Drop for CompanyMember<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Company {
    /// Makes a change, as [`Record::write`] does: with `record` if nobody else makes one, else
    /// together with theirs.
    pub(super) fn write<T: Send + 'static>(
        &self,
        path: &Path,
        record: &mut Record,
        change: impl FnOnce(&Transaction) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let others = self.callers.fetch_add(1, Ordering::AcqRel);
        let _caller = CompanyMember(&self.callers);
        if others == 0 {
            return record.write(change);
        }
        let Some(changes) = self.changes.get_or_init(|| begin(path.to_owned())) else {
            return record.write(change);
        };
        let (answer, answered) = mpsc::sync_channel(1);
        let offered = OfferedChange { change: Some(change), made: None, answer };
        changes.send(Box::new(offered)).ok().context("nobody makes changes any more")?;
        match answered.recv().context("a change was not answered")? {
            Ok(done) => done,
            Err(panic) => resume_unwind(panic),
        }
    }
}

/// Starts who makes the changes; `None`: there is no thread for it.
fn begin(path: PathBuf) -> Option<Sender<Box<dyn Change>>> {
    let (changes, offered) = mpsc::channel();
    let work = move || {
        let mut record = None;
        while let Ok(first) = offered.recv() {
            make(&mut record, &path, first, &offered);
        }
    };
    thread::Builder::new().name("record".to_owned()).spawn(work).ok().map(|_| changes)
}

/// A change of a caller who waits.
trait Change: Send {
    /// Makes it, in a transaction with others. Returns whether it has to stay; an error has ended
    /// the whole transaction, as a full disk does.
    fn make(&mut self, tx: &Transaction) -> Result<bool>;

    /// Tells the caller what came of it, once all of them are durable; or why none of them is.
    fn answer(self: Box<Self>, why_not: Option<&Error>);
}

/// What a caller hears: what their change came to, or how it panicked.
type ChangeOutcome<T> = thread::Result<Result<T>>;

struct OfferedChange<T, F> {
    change: Option<F>,
    made: Option<ChangeOutcome<T>>,
    answer: SyncSender<ChangeOutcome<T>>,
}

impl<T: Send, F: FnOnce(&Transaction) -> Result<T> + Send> Change for OfferedChange<T, F> {
    fn make(&mut self, tx: &Transaction) -> Result<bool> {
        let change = self.change.take().context("a change is made once")?;
        match catch_unwind(AssertUnwindSafe(|| change(tx))) {
            Ok(Err(error)) if tx.is_autocommit() => return Err(error),
            made => self.made = Some(made),
        }
        Ok(matches!(self.made, Some(Ok(Ok(_)))))
    }

    fn answer(self: Box<Self>, why_not: Option<&Error>) {
        let answer = match (self.made, why_not) {
            (None | Some(Ok(Ok(_))), Some(why)) => Ok(Err(why.clone().into())),
            (Some(made), _) => made,
            (None, None) => Ok(Err(Error::bug("a change was not made").into())),
        };
        // The caller waits for nothing else.
        let _ = self.answer.send(answer);
    }
}

/// Makes a change, and those that are offered until it is our turn.
fn make(
    record: &mut Option<Record>,
    path: &Path,
    first: Box<dyn Change>,
    offered: &Receiver<Box<dyn Change>>,
) {
    let mut changes = vec![first];
    let done = ready(record, path).and_then(|record| {
        record.write(|tx| {
            changes.extend(offered.try_iter().take(MOST - 1));
            changes.iter_mut().try_for_each(|change| make_one(change.as_mut(), tx))
        })
    });
    let why_not = done.err().map(|error| Error::like(&error));
    for change in changes {
        change.answer(why_not.as_ref());
    }
}

/// Opens the record, unless it is open already.
fn ready<'a>(record: &'a mut Option<Record>, path: &Path) -> Result<&'a mut Record> {
    match record.take_if(|record| record.db().is_autocommit() && record.is_current()) {
        Some(open) => Ok(record.insert(open)),
        None => Ok(record.insert(Record::open(path)?.mirrored())),
    }
}

/// Makes one change of several, or nothing of it.
fn make_one(change: &mut dyn Change, tx: &Transaction) -> Result<()> {
    tx.execute_batch("SAVEPOINT one")?;
    let stays = change.make(tx)?;
    tx.execute_batch(if stays { "RELEASE one" } else { "ROLLBACK TO one; RELEASE one" })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};
    use std::time::Duration;

    use super::*;
    use crate::kept_open::OpenRecords;

    /// Has many callers change a record at the same time, each in its own way.
    fn all_at_once<T: Send + 'static>(
        records: &Arc<OpenRecords>,
        callers: usize,
        change: impl Fn(usize, &Transaction) -> Result<T> + Send + Sync + Clone + 'static,
    ) -> Vec<thread::Result<Result<T>>> {
        let start = Arc::new(Barrier::new(callers));
        let all: Vec<_> = (0..callers)
            .map(|n| {
                let (records, start, change) = (records.clone(), start.clone(), change.clone());
                thread::spawn(move || {
                    let mut record = records.lend()?;
                    start.wait();
                    record.write_together(move |tx| {
                        thread::sleep(Duration::from_millis(1));
                        change(n, tx)
                    })
                })
            })
            .collect();
        all.into_iter().map(thread::JoinHandle::join).collect()
    }

    #[test]
    fn changes_of_many_are_all_made_and_those_that_fail_undo_themselves_alone() {
        let dir = tempfile::tempdir().unwrap();
        let records = OpenRecords::of(dir.path().join("db"));
        let mut record = records.lend().unwrap();
        record.write(|tx| Ok(tx.execute_batch("CREATE TABLE made (n UNIQUE)")?)).unwrap();
        let done = all_at_once(&records, 60, |n, tx| {
            tx.execute("INSERT INTO made VALUES (?)", [n as i64])?;
            match n % 3 {
                0 => Ok(n),
                1 => Err(Error::denied(format!("not {n}")).into()),
                _ => panic!("{n}"),
            }
        });
        for (n, done) in done.into_iter().enumerate() {
            match (n % 3, done) {
                (0, Ok(Ok(value))) => assert_eq!(value, n),
                (1, Ok(Err(error))) => {
                    assert_eq!(error.downcast::<Error>().unwrap().to_string(), format!("not {n}"));
                }
                (2, Err(panic)) => assert_eq!(panic.downcast_ref(), Some(&n.to_string())),
                (_, other) => panic!("{n}: {:?}", other.map(|done| done.is_ok())),
            }
        }
        let sum = |record: &Record| {
            let sql = "SELECT count(*), sum(n) FROM made";
            record.db().query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
        };
        assert_eq!(sum(&record), (20_i64, (0..60).step_by(3).sum::<i64>()));
        let open = records.company.callers.load(Ordering::Relaxed);
        assert_eq!(open, 0, "nobody changes anything");
    }

    #[test]
    fn what_ends_a_transaction_ends_it_for_all_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let records = OpenRecords::of(dir.path().join("db"));
        let mut record = records.lend().unwrap();
        record.write(|tx| Ok(tx.execute_batch("CREATE TABLE made (n)")?)).unwrap();
        let done = all_at_once(&records, 20, |n, tx| {
            tx.execute("INSERT INTO made VALUES (?)", [n as i64])?;
            tx.execute_batch("ROLLBACK")?;
            Err::<(), _>(Error::unavailable("the disk is full").into())
        });
        for done in done {
            assert_eq!(done.unwrap().unwrap_err().to_string(), "the disk is full");
        }
        let count: i64 =
            record.db().query_row("SELECT count(*) FROM made", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 0);
    }
}
