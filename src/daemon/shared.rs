//! What the daemon's loop and its tasks share: the record, the publisher, the log.

use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Result;
use rusqlite::{Connection, Transaction};
use tokio::sync::Semaphore;

use invirtibuilder_core::config::Config;
use invirtibuilder_core::names::JobId;
use invirtibuilder_core::text;
use invirtibuilder_publish::Publisher;
use invirtibuilder_store::{Record, jobs};
use invirtibuilder_system::subprocess::CancellationToken;

/// One per daemon.
pub struct Shared {
    /// The one that publishes.
    pub publisher: Arc<Publisher>,
    record: Mutex<Record>,
    /// For jobs under way.
    work: Mutex<Record>,
    /// Cancelled when the daemon is told to stop.
    stopping: CancellationToken,
    /// Lets as many source packages be made at a time, for builds elsewhere, as jobs run here.
    pub sources: Semaphore,
}

impl Shared {
    /// Opens everything.
    pub fn open(config: &Config) -> Result<Self> {
        let record = || Record::open(&config.database()).map(Record::mirrored);
        let stopping = CancellationToken::new();
        let patient = || record().map(|record| record.patient(stopping.clone()));
        let publisher = Arc::new(Publisher::new(patient()?));
        let (record, work) = (Mutex::new(record()?), Mutex::new(patient()?));
        let sources = Semaphore::new(config.daemon.jobs);
        Ok(Self { publisher, record, work, stopping, sources })
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        // Whoever panicked with it has rolled back.
        self.record.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Looks at the record.
    pub fn read<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        look(self.record().db())
    }

    /// Changes the record, in one transaction.
    pub fn write<T>(&self, change: impl FnOnce(&Transaction) -> Result<T>) -> Result<T> {
        self.record().write(change)
    }

    /// Changes the record for a job under way. While others keep the record busy it waits: the
    /// job would fail otherwise.
    pub fn write_for_job<T>(&self, change: impl FnOnce(&Transaction) -> Result<T>) -> Result<T> {
        self.work.lock().unwrap_or_else(std::sync::PoisonError::into_inner).write(change)
    }

    /// Returns what is cancelled when the daemon is told to stop.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Has nobody wait for the record for long any more.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Tells the operators that something does not work: in the system log and on standard error.
    pub fn complain(&self, what: &str, error: &anyhow::Error) {
        let why = text::one_line(&format!("{error:#}"));
        eprintln!("invirtibuilderd: {what}: {why}");
        tracing::error!(what, why, "trouble");
    }

    /// Does to the archive what is due by the clock, makes the moves that are owed, and complains
    /// about what cannot be done.
    pub async fn upkeep(&self, config: &Arc<Config>) {
        let (publisher, config) = (self.publisher.clone(), config.clone());
        match tokio::task::spawn_blocking(move || publisher.upkeep(&config)).await {
            Ok(Ok(troubles)) => self.report(&troubles),
            Ok(Err(error)) => self.complain("the archive cannot be kept up", &error),
            Err(error) => self.complain("the archive cannot be kept up", &error.into()),
        }
    }

    /// Complains about what could not be done to the archive.
    pub fn report(&self, troubles: &[String]) {
        for trouble in troubles {
            self.complain("the archive is not as it should be", &anyhow::anyhow!("{trouble}"));
        }
    }

    /// Brings the suites to what the configuration says, and complains about those that cannot be
    /// brought there.
    pub async fn project(&self, config: &Arc<Config>) -> Result<()> {
        let (publisher, config) = (self.publisher.clone(), config.clone());
        self.report(&tokio::task::spawn_blocking(move || publisher.project(&config)).await??);
        Ok(())
    }

    /// Gives running jobs whose lease has run out back to the queue, but for those that are in hand
    /// here.
    pub fn take_back(&self, in_hand: &[JobId]) -> Result<()> {
        let expired = self.read(jobs::expired)?;
        for job in expired.iter().filter(|job| !in_hand.contains(&job.id)) {
            self.write(|tx| jobs::give_back(tx, job.id, job.state, "its claim has expired"))?;
        }
        Ok(())
    }
}
