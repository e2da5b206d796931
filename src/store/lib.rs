//! Keeps the record: one SQLite database that is the truth about jobs, pockets and suites.
//!
//! Git refs and the archive's files are projections of it. Every change is one IMMEDIATE
//! transaction, durable when it returns (WAL, `synchronous=FULL`). Every process of the service's
//! user may open it: requests write to it whether or not the daemon runs. Writers stand in line,
//! the daemon too (`line.rs`).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, config::DbConfig};

pub mod audit;
pub mod beside;
pub mod browse;
pub mod buckets;
pub mod builds;
pub mod chroots;
pub mod claim;
pub mod contents;
pub mod damage;
pub mod domains;
pub mod fairness;
pub mod forecast;
pub mod forget;
pub mod generations;
pub mod hooks;
pub mod jobs;
pub mod kept;
pub mod kept_open;
mod line;
pub mod measures;
#[cfg(test)]
mod migration_tests;
pub mod moves;
pub mod pockets;
pub mod pool;
#[cfg(test)]
mod properties;
pub mod queue;
pub mod queue_check;
pub mod released;
pub mod relocation;
pub mod removals;
mod rows;
pub mod seals;
pub mod slurm;
pub mod snapshots;
pub mod sources;
mod together;
pub mod tokens;
pub mod upgrade;

use invirtibuilder_core::error::Error;
use invirtibuilder_system::subprocess::CancellationToken;
use line::{Line, LineOutcome, Turn};

/// The migrations in order; the database's `user_version` counts those applied. Append only.
const MIGRATIONS: &[&str] = &[
    include_str!("schema/0001-jobs.sql"),
    include_str!("schema/0002-archive.sql"),
    include_str!("schema/0003-chroots.sql"),
    include_str!("schema/0004-sources.sql"),
    include_str!("schema/0005-released.sql"),
    include_str!("schema/0006-builds.sql"),
    include_str!("schema/0007-queue.sql"),
    include_str!("schema/0008-proofs.sql"),
    include_str!("schema/0009-beside.sql"),
    include_str!("schema/0010-versions.sql"),
    include_str!("schema/0011-domains.sql"),
    include_str!("schema/0012-removed.sql"),
    include_str!("schema/0013-kept.sql"),
    include_str!("schema/0014-counts.sql"),
    include_str!("schema/0015-http.sql"),
    include_str!("schema/0020-slurm.sql"),
    include_str!("schema/0021-versions.sql"),
];

/// The longest that a writer stands in line before we tell the caller to try again.
const IN_LINE: Duration = Duration::from_secs(60);

/// The longest that a writer stands in line that has just stood there in vain. The daemon has
/// several changes to make before it tells systemd again that it lives.
const IN_LINE_AGAIN: Duration = Duration::from_secs(5);

/// The longest that a transaction waits for a writer that is in no line, an administrator's sqlite3
/// say.
const BUSY: Duration = Duration::from_secs(20);

/// The length of SQLite's log, in bytes, from which on the last process to close the database folds
/// it in. While others have the database open, commits begin a new one at half of that.
const LONG_LOG: u64 = 8 << 20;

fn log_length(database: &Path) -> u64 {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    std::fs::metadata(name).map_or(0, |about| about.len())
}

/// An open database.
pub struct Record {
    db: Connection,
    line: Line,
    in_line: Duration,
    /// Whether this connection stood in line in vain the last time.
    in_vain: bool,
    path: PathBuf,
    /// The device and number of the file.
    file: (u64, u64),
    mirrored: bool,
    /// The token of work that would be lost: it waits for as long as others keep the record busy,
    /// until this is cancelled.
    patient: Option<CancellationToken>,
}

impl Record {
    /// Opens the database, creating and migrating it as needed.
    pub fn open(path: &Path) -> Result<Self> {
        Self::opened(path).map_err(|error| plain(error, path))
    }

    fn opened(path: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // SQLite gives its other files the modes of the first.
        invirtibuilder_system::private::create_file(path)
            .with_context(|| format!("cannot create the database {}", path.display()))?;
        let db = Connection::open_with_flags(path, flags)
            .with_context(|| format!("cannot open the database {}", path.display()))?;
        db.busy_timeout(BUSY)?;
        // The last one to close would otherwise checkpoint and delete the log: several fsyncs in a
        // request's path. But while no daemon has the database open, each request is the first and
        // the last one: it reads the whole log, and nobody but the last can begin a new one.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, log_length(path) < LONG_LOG)?;
        db.set_prepared_statement_cache_capacity(128);
        // A statement is not prepared again because it has other values now.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        let about = std::fs::metadata(path)?;
        let mut record = Self {
            db,
            line: Line::of(path),
            in_line: IN_LINE,
            in_vain: false,
            path: path.to_owned(),
            file: (about.dev(), about.ino()),
            mirrored: false,
            patient: None,
        };
        if record.user_version()? != MIGRATIONS.len() {
            let _turn = record.turn()?;
            // Somebody else may have done it meanwhile.
            let have = record.user_version()?;
            if 0 < have && have < MIGRATIONS.len() {
                upgrade::copy(&record.db, path, have)?;
            }
            record.migrate()?;
        }
        // What a change within another one would need to be undone is in memory, not in a file.
        record.db.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;",
        )?;
        Ok(record)
    }

    /// Tells whether this is still the file at its path, with the schema that this program knows.
    fn is_current(&self) -> bool {
        let now = std::fs::metadata(&self.path).ok().map(|about| (about.dev(), about.ino()));
        now == Some(self.file) && self.user_version().is_ok_and(|have| have == MIGRATIONS.len())
    }

    fn user_version(&self) -> Result<usize> {
        Ok(self.db.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))? as usize)
    }

    fn migrate(&mut self) -> Result<()> {
        self.db.pragma_update(None, "journal_mode", "wal")?;
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Exclusive)?;
        let have = tx.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))? as usize;
        if have > MIGRATIONS.len() {
            bail!(Error::unavailable(format!(
                "the database was written by a newer release (schema {have}, this program knows {}): install that release",
                MIGRATIONS.len()
            )));
        }
        for (n, sql) in MIGRATIONS.iter().enumerate().skip(have) {
            tx.execute_batch(sql)
                .with_context(|| format!("migration {} of the database failed", n + 1))?;
        }
        tx.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
        tx.commit()?;
        Ok(())
    }

    /// Returns the connection for reading; each statement sees the newest committed state.
    pub fn db(&self) -> &Connection {
        &self.db
    }

    /// Runs `change` in one IMMEDIATE transaction: all of it is durable when this returns `Ok`,
    /// none of it otherwise.
    pub fn write<T>(&mut self, change: impl FnOnce(&Transaction) -> Result<T>) -> Result<T> {
        self.changed(change).map_err(|error| plain(error, &self.path))
    }

    /// Returns how long the next change stands in line.
    fn patience(&self) -> Duration {
        if self.in_vain { self.in_line.min(IN_LINE_AGAIN) } else { self.in_line }
    }

    /// Stands in line for a change; `None`: there is no line to stand in.
    fn turn(&mut self) -> Result<Option<Turn>> {
        loop {
            let most = self.patience();
            let outcome = self.line.wait(most);
            self.in_vain = matches!(outcome, LineOutcome::TooLong);
            match outcome {
                LineOutcome::Turn(turn) => return Ok(Some(turn)),
                LineOutcome::NoLine(error) => {
                    let text = format!(
                        "{}: {error}: move it away, and it is made anew",
                        self.line.path().display()
                    );
                    trouble("those who change the record cannot stand in line", &text);
                    return Ok(None);
                }
                LineOutcome::TooLong => self.wait_on(busy(most))?,
            }
        }
    }

    /// Waits on if the work is patient, and logs that. Otherwise it returns the error.
    fn wait_on(&self, busy: anyhow::Error) -> Result<()> {
        if self.patient.as_ref().is_none_or(CancellationToken::is_cancelled) {
            return Err(busy);
        }
        trouble("work waits for the record", &format!("{busy:#}"));
        Ok(())
    }

    /// Begins a transaction that may write.
    fn begin(&self) -> Result<Transaction<'_>> {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
        loop {
            // Nothing else can be open: whoever begins has the record to themselves.
            match Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate) {
                Err(error)
                    if matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked)) =>
                {
                    self.wait_on(busy(BUSY))?;
                }
                begun => return Ok(begun?),
            }
        }
    }

    fn changed<T>(&mut self, change: impl FnOnce(&Transaction) -> Result<T>) -> Result<T> {
        let turn = self.turn()?;
        let tx = self.begin()?;
        let before = audit::head(&tx)?.0;
        let value = change(&tx)?;
        let mut new = Vec::new();
        if self.mirrored {
            audit::each_after(&tx, before, |entry| {
                new.push(entry);
                Ok(())
            })?;
        }
        tx.commit()?;
        drop(turn);
        new.iter().for_each(audit::send);
        Ok(value)
    }

    /// Tells the system log of every entry that this connection adds to the audit trail, when it
    /// has been committed.
    pub fn mirrored(mut self) -> Self {
        self.mirrored = true;
        self
    }

    /// Waits for as long as others keep the record busy, until this is cancelled: for work that
    /// would be lost.
    pub fn patient(mut self, until: CancellationToken) -> Self {
        self.patient = Some(until);
        self
    }

    /// Runs `look` on one snapshot of the database.
    pub fn read<T>(&mut self, look: impl FnOnce(&Transaction) -> Result<T>) -> Result<T> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Deferred)?;
        look(&tx).map_err(|error| plain(error, &self.path))
    }
}

/// Returns the path of the file in which those stand in line who change a database.
pub fn line_of(database: &Path) -> PathBuf {
    Line::of(database).path().to_owned()
}

/// Makes the error of a caller that waited so long in vain.
fn busy(waited: Duration) -> anyhow::Error {
    let waited = waited.as_secs();
    Error::try_again(format!(
        "the record was busy with changes of others for {waited} s: try again in a while"
    ))
    .into()
}

/// Replaces SQLite's own words by ours, if they are why it failed: that the record is busy, or what
/// is wrong with the disk or the file.
fn plain(error: anyhow::Error, path: &Path) -> anyhow::Error {
    use rusqlite::ErrorCode::*;
    let code = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<rusqlite::Error>()?.sqlite_error_code());
    let path = path.display();
    let text = match code {
        Some(DatabaseBusy | DatabaseLocked) => return busy(BUSY),
        Some(DiskFull) => format!("the disk of {path} is full: have an administrator make room"),
        Some(ReadOnly | CannotOpen | PermissionDenied) => {
            format!(
                "{path} cannot be written: have an administrator look at whose it is, and at its disk"
            )
        }
        Some(SystemIoFailure) => {
            format!(
                "the disk of {path} fails: have an administrator look at it, and at what the kernel's log says"
            )
        }
        Some(DatabaseCorrupt | NotADatabase) => {
            format!("{path} is damaged: have an administrator restore it from a backup")
        }
        _ => return error,
    };
    Error::unavailable(text).into()
}

fn trouble(what: &str, why: &str) {
    tracing::warn!(what, why, "trouble");
}

#[cfg(test)]
mod tests {
    use crate::*;

    #[test]
    fn opening_twice_migrates_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let a = Record::open(&path).unwrap();
        let b = Record::open(&path).unwrap();
        assert_eq!(a.user_version().unwrap(), MIGRATIONS.len());
        assert_eq!(b.user_version().unwrap(), MIGRATIONS.len());
        let mode: String = b.db.query_row("PRAGMA journal_mode", [], |r| r.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }

    #[test]
    fn the_log_stays_short_though_nobody_keeps_the_database_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        for _ in 0..60 {
            let mut record = Record::open(&path).unwrap();
            record
                .write(|tx| {
                    Ok(tx.execute_batch(
                        "CREATE TABLE IF NOT EXISTS x (y); INSERT INTO x VALUES (zeroblob(400000))",
                    )?)
                })
                .unwrap();
        }
        assert!(log_length(&path) < 2 * LONG_LOG, "{}", log_length(&path));
        let record = Record::open(&path).unwrap();
        let all: i64 =
            record.db().query_row("SELECT count(*) FROM x", [], |row| row.get(0)).unwrap();
        assert_eq!(all, 60);
    }

    #[test]
    fn whoever_waits_in_vain_is_told_so_in_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let (mut a, mut b) = (Record::open(&path).unwrap(), Record::open(&path).unwrap());
        b.in_line = Duration::from_millis(10);
        b.db.busy_timeout(Duration::from_millis(10)).unwrap();
        let told = |error: anyhow::Error| {
            assert_eq!(
                invirtibuilder_core::error::exit_for(&error),
                invirtibuilder_core::error::Exit::TryAgain
            );
            assert!(
                format!("{error:#}").starts_with("the record was busy with changes of others for "),
                "{error:#}"
            );
        };
        a.write(|_| {
            told(b.write(|_| Ok(())).unwrap_err());
            Ok(())
        })
        .unwrap();
        // Somebody who stands in no line.
        let tx = a.db.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        told(b.write(|_| Ok(())).unwrap_err());
        drop(tx);
        b.write(|_| Ok(())).unwrap();
    }

    #[test]
    fn who_waited_in_vain_waits_less_the_next_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let (mut a, mut b) = (Record::open(&path).unwrap(), Record::open(&path).unwrap());
        b.in_line = Duration::from_millis(10);
        a.write(|_| {
            b.write(|_| Ok(())).unwrap_err();
            Ok(())
        })
        .unwrap();
        b.in_line = IN_LINE;
        assert_eq!(b.patience(), IN_LINE_AGAIN);
        b.write(|_| Ok(())).unwrap();
        assert_eq!(b.patience(), IN_LINE);
    }

    #[test]
    fn who_is_patient_waits_until_the_others_are_done_or_it_is_told_to_stop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let mut a = Record::open(&path).unwrap();
        let stop = CancellationToken::new();
        let waiter = || {
            let mut b = Record::open(&path).unwrap().patient(stop.clone());
            b.in_line = Duration::from_millis(10);
            b.db.busy_timeout(Duration::from_millis(10)).unwrap();
            std::thread::spawn(move || {
                b.write(|_| Ok(())).map_err(|error| invirtibuilder_core::error::exit_for(&error))
            })
        };
        let drawn = || {
            let number = std::fs::read(path.with_extension("line")).unwrap();
            i64::from_le_bytes(number.try_into().unwrap())
        };
        let until_drawn = |number| {
            let start = std::time::Instant::now();
            while drawn() < number {
                assert!(start.elapsed() < IN_LINE, "nobody tries again");
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        // In line, behind somebody who is slow.
        let mut waiting = None;
        a.write(|_| {
            let tries = drawn();
            waiting = Some(waiter());
            until_drawn(tries + 2);
            Ok(())
        })
        .unwrap();
        waiting.unwrap().join().unwrap().unwrap();
        // Behind somebody who stands in no line, and then told to stop.
        let tx = a.db.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let tries = drawn();
        let waiting = waiter();
        until_drawn(tries + 1);
        stop.cancel();
        assert_eq!(
            waiting.join().unwrap().unwrap_err(),
            invirtibuilder_core::error::Exit::TryAgain
        );
        drop(tx);
    }

    #[test]
    fn a_line_that_cannot_be_used_is_said_and_does_without() {
        let dir = tempfile::tempdir().unwrap();
        let receiver = std::os::unix::net::UnixDatagram::bind(dir.path().join("log")).unwrap();
        let log = invirtibuilder_core::config::Syslog {
            facility: "local3".into(),
            socket: dir.path().join("log"),
        };
        let path = dir.path().join("db");
        drop(Record::open(&path).unwrap());
        std::fs::remove_file(path.with_extension("line")).unwrap();
        std::fs::create_dir(path.with_extension("line")).unwrap();
        tracing::subscriber::with_default(invirtibuilder_system::log::subscriber(&log), || {
            Record::open(&path).unwrap().write(|_| Ok(())).unwrap();
        });
        let mut line = [0; 2000];
        let length = receiver.recv(&mut line).unwrap();
        let line = String::from_utf8_lossy(&line[..length]).into_owned();
        assert!(
            line.contains("cannot stand in line") && line.contains("db.line: Is a directory"),
            "{line}"
        );
    }

    #[test]
    fn what_is_wrong_with_the_file_or_its_disk_is_told_in_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let told = |error: anyhow::Error, what: &str| {
            assert_eq!(
                invirtibuilder_core::error::exit_for(&error),
                invirtibuilder_core::error::Exit::Unavailable
            );
            let text = format!("{error:#}");
            assert!(
                text.contains(what)
                    && text.contains("have an administrator")
                    && !text.contains("rror code"),
                "{text}"
            );
        };
        let mut record = Record::open(&path).unwrap();
        let insert = |tx: &Transaction| -> Result<()> {
            audit::AuditEntry::new("it").with("what", "x".repeat(1 << 20)).append(tx)
        };
        record.db.execute_batch("PRAGMA max_page_count = 1").unwrap();
        told(record.write(insert).unwrap_err(), "is full");
        record.db.execute_batch("PRAGMA max_page_count = 1000000; PRAGMA query_only = 1").unwrap();
        told(record.write(insert).unwrap_err(), "cannot be written");
        std::fs::write(dir.path().join("other"), "x".repeat(10_000)).unwrap();
        told(Record::open(&dir.path().join("other")).err().unwrap(), "is damaged");
    }

    #[test]
    fn a_newer_database_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        Record::open(&path).unwrap().db.pragma_update(None, "user_version", 1000).unwrap();
        let error = Record::open(&path).err().expect("refused").to_string();
        assert!(error.contains("newer release"), "{error}");
    }
}
