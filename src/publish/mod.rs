//! Publishing: one transaction with one commit point, for a set of changes to pockets.
//!
//! Before it, what was built is read and what indexes will hold is compressed: that takes long, and nobody waits for it.
//!
//! 1. Artifacts are put in the pool; Git objects and the next generation of each suite are written. All of
//!    it is only ever added, and nothing shows it yet.
//! 2. One SQLite COMMIT: what pockets and suites hold, the jobs' state, and the moves now owed.
//! 3. The owed moves are made: mark, tag, package branch, superproject branch, suite. Each is a compare-and-set and can be
//!    repeated, so whoever dies here is followed by a [`Publisher::upkeep`] that ends it.
//!
//! `docs/consistency.md` says what a crash leaves at each step.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use anyhow::Result;
use rusqlite::Connection;

use crate::archive::dates::{self, Wrong};
use crate::archive::{Archive, Prepared, SuiteSpec};
use crate::config::Config;
use crate::error::{Failure, FailureKind};
use crate::failpoint::{Point, reach};
use crate::gitrecord;
use crate::names::{Architecture, PackageName, PocketName, Principal, Suite, Version};
use crate::record::jobs::Job;
use crate::record::moves::{self, Owed, What};
use crate::record::{Record, contents, pool, seal};

mod complete;
mod gc;
mod items;
mod lock;
mod publication;
mod release;
mod rollback;
mod tags;

pub use gc::Collected;
pub use lock::PublishLock;
use publication::Publication;
pub use publication::stamp;
pub use release::LetGo;
pub use rollback::RolledBack;
pub use tags::{aside, mark_all, mark_versions, write as write_tag};

/// A job whose package is ready.
#[derive(Debug, Clone)]
pub struct Item {
    /// The job, in state `publishing`.
    pub job: Job,
    /// The directory that holds source package and binaries; `None`: the pool has them already.
    pub built: Option<PathBuf>,
}

/// The one that publishes: its locks are what makes publications follow each other.
pub struct Publisher {
    record: Mutex<Record>,
    host: Architecture,
}

/// The record, for as long as nobody else publishes.
pub struct Exclusive<'a> {
    record: MutexGuard<'a, Record>,
    _lock: PublishLock,
}

impl std::ops::Deref for Exclusive<'_> {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

impl std::ops::DerefMut for Exclusive<'_> {
    fn deref_mut(&mut self) -> &mut Record {
        &mut self.record
    }
}

impl Publisher {
    /// A publisher with a connection of its own. `host` is what a pocket without architectures builds for.
    pub fn new(record: Record, host: Architecture) -> Self {
        Self { record: Mutex::new(record), host }
    }

    /// A publisher for a program that does nothing else meanwhile.
    pub fn open(config: &Config) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let host = runtime.block_on(crate::chroot::host_architecture())?;
        let record = Record::open(&config.database())?.mirrored(crate::log::Log::open(&config.syslog));
        Ok(Self::new(record, host))
    }

    /// Waits until nobody else publishes, and keeps it so.
    pub fn exclusive(&self, config: &Config) -> Result<Exclusive<'_>> {
        // A publication that panicked has rolled its transaction back: the record is as good as before.
        let record = self.record.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Ok(Exclusive { record, _lock: PublishLock::take(&config.state_dir)? })
    }

    /// This machine's own architecture.
    pub fn host(&self) -> &Architecture {
        &self.host
    }

    /// The architectures that a pocket's suite has.
    pub fn architectures(&self, config: &Config, pocket: &PocketName) -> Vec<Architecture> {
        let configured = &config.build.pockets[pocket].architectures;
        if configured.is_empty() { vec![self.host.clone()] } else { configured.clone() }
    }

    /// What a pocket's suite is made of.
    pub fn suite(&self, config: &Config, pocket: &PocketName) -> SuiteSpec {
        SuiteSpec {
            suite: config.suite(pocket),
            components: config.build.pockets[pocket].components.clone(),
            architectures: self.architectures(config, pocket),
        }
    }

    /// Publishes all of `items` or none. When this returns `Ok` they are in the record for good; what could not be done
    /// after that is returned, each a sentence. Moves that are owed still are tried again by [`Publisher::upkeep`].
    pub fn publish(&self, config: &Config, items: &[Item]) -> Result<Vec<String>, Failure> {
        let beforehand = items::Beforehand::of(self, config, items)?;
        let mut record = self.exclusive(config)?;
        let settled = settle(config, &mut record)?;
        let published = items::prepare(self, config, &mut record, items, beforehand)
            .and_then(|publication| commit(config, &mut record, &settled, &publication));
        if published.is_err() {
            // What was put into the pool for it goes again: now, or when the daemon starts.
            let _ = sweep_pool(config, &mut record);
        }
        published
    }

    /// Takes a suite, its pocket's branches and the superproject back to what snapshot `number` had.
    pub fn rollback(
        &self,
        config: &Config,
        suite: &Suite,
        number: i64,
        by: &Principal,
    ) -> Result<(RolledBack, Vec<String>), Failure> {
        let mut record = self.exclusive(config)?;
        let settled = settle(config, &mut record)?;
        let (publication, done) = rollback::prepare(self, config, &record, suite, number, by)?;
        Ok((done, commit(config, &mut record, &settled, &publication)?))
    }

    /// Forgets the snapshots that `archive.keep` does not keep, and removes what nothing needs any more.
    pub fn collect(&self, config: &Config, by: &Principal) -> Result<Collected, Failure> {
        let mut record = self.exclusive(config)?;
        // What a suite still shows must not go.
        let settled = settle(config, &mut record)?;
        if let Some(blocking) = settled.unmade.iter().find(|unmade| matches!(unmade.owed.what, What::Suite { .. })) {
            let text = format!("an earlier publication is not complete: {}", blocking.why);
            return Err(Failure::new(FailureKind::Conflict, text));
        }
        let collected = gc::forget(config, &mut record, by)?;
        sweep_pool(config, &mut record)?;
        Ok(collected)
    }

    /// Lets a version go that only pockets with allow_backtracking ever had and no suite shows. What could not be done after it was
    /// recorded is returned, too, each a sentence.
    pub fn release(
        &self,
        config: &Config,
        package: &PackageName,
        version: &Version,
        reason: &str,
        by: &Principal,
    ) -> Result<(LetGo, Vec<String>), Failure> {
        let mut record = self.exclusive(config)?;
        // What a suite still shows must not go, nor a mark that is still to be made.
        let settled = settle(config, &mut record)?;
        if let Some(blocking) = settled.unmade.first() {
            let text = format!("an earlier publication is not complete: {}", blocking.why);
            return Err(Failure::new(FailureKind::Conflict, text));
        }
        let done = release::release(config, &mut record, package, version, reason, by)?;
        reach(Point::PublishCommitted)?;
        let mut troubles = settle(config, &mut record).unwrap_or_default().troubles();
        let swept = sweep_pool(config, &mut record);
        troubles.extend(swept.err().map(|error| format!("its files cannot be removed: {error:#}")));
        let _ = sign_trail(config, &mut record);
        Ok((done, troubles))
    }

    /// Ends what earlier publications have left, as far as that can be done: their moves, and files on their way.
    pub fn finish(&self, config: &Config, record: &mut Exclusive) -> Result<()> {
        settle(config, record)?;
        // What is left is an intent still, and is named as such.
        let _ = sweep_pool(config, record);
        Ok(())
    }

    /// What is due by the clock: makes the moves that committed publications owe, and signs anew what is soon no longer
    /// valid. Returns what could not be done, each a sentence. While somebody publishes this does nothing: it is done then.
    pub fn upkeep(&self, config: &Config) -> Result<Vec<String>> {
        let Ok(mut record) = self.record.try_lock() else { return Ok(Vec::new()) };
        let Some(_lock) = PublishLock::try_take(&config.state_dir)? else { return Ok(Vec::new()) };
        let mut troubles = self.refresh(config, &mut record, |archive, db, spec| archive.prepare(db, spec, &[]))?;
        if seal::is_due(record.db())? {
            troubles.extend(sign_trail(config, &mut record).err());
        }
        Ok(troubles)
    }

    /// Brings every pocket's suite to what the configuration says about it: a new pocket's is empty, but there. Ends what
    /// a publication that was killed has left. Returns what could not be done, each a sentence.
    pub fn project(&self, config: &Config) -> Result<Vec<String>> {
        let mut record = self.exclusive(config)?;
        let suites: Vec<Suite> = config.build.pockets.keys().map(|pocket| config.suite(pocket)).collect();
        // What cannot be completed now is tried again, and keeps nothing from being shown.
        let mut troubles = complete::complete(config, &mut record).unwrap_or_else(|error| vec![format!("{error:#}")]);
        troubles.extend(suites.iter().filter_map(|suite| dated_ahead(config, suite)));
        troubles.extend(self.refresh(config, &mut record, Archive::prepare_at_start)?);
        let archive = Archive::open(config)?;
        let rest = [sweep_pool(config, &mut record), archive.publish_key(), archive.sweep(record.db(), &suites)];
        troubles.extend(rest.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")));
        // Repositories that came from elsewhere, or from an older release.
        match tags::mark_all(config, &record) {
            Ok(more) => troubles.extend(more),
            Err(error) => troubles.push(format!("{error:#}")),
        }
        // With the keys that are configured now: those that signed it before may be gone.
        troubles.extend(sign_trail(config, &mut record).err());
        Ok(troubles)
    }

    /// Makes owed moves, and writes suites whose description or keys have changed, that are soon no longer valid, or that
    /// are not there yet. One that cannot be written does not keep the others from it.
    fn refresh(
        &self,
        config: &Config,
        record: &mut Record,
        prepare: impl Fn(&Archive, &Connection, &SuiteSpec) -> Result<Prepared, Failure>,
    ) -> Result<Vec<String>> {
        let mut troubles = Vec::new();
        let mut settled = settle(config, record)?;
        let archive = Archive::open(config)?;
        let mut written = false;
        for pocket in config.build.pockets.keys() {
            match prepare(&archive, record.db(), &self.suite(config, pocket)) {
                Ok(prepared) if prepared.is_empty() => {}
                Ok(prepared) => {
                    record.write(|tx| {
                        Archive::record(tx, &prepared, "created")?;
                        moves::owe_suite(tx, None, prepared.suite(), prepared.generation())
                    })?;
                    reach(Point::ProjectCommitted)?;
                    written = true;
                }
                Err(failure) => troubles.push(format!("suite {}: {}", config.suite(pocket), failure.text)),
            }
        }
        if written {
            settled = settle(config, record)?;
        }
        troubles.extend(settled.troubles());
        Ok(troubles)
    }
}

/// What is to be said of a suite that is dated ahead, in a sentence.
fn dated_ahead(config: &Config, suite: &Suite) -> Option<String> {
    let wrong = dates::shown(&config.archive.root, suite)?.wrong(dates::clock())?;
    match wrong {
        Wrong::Expired(_) => None,
        Wrong::Ahead(_) => Some(format!("suite {suite}: {}", wrong.describe())),
        Wrong::FarAhead(at) => Some(format!(
            "suite {suite}: its Release was dated {}, far in the future, and is dated by the clock now: machines that have read \
             it see nothing newer before that time, unless their /var/lib/apt/lists is emptied",
            dates::write(at)
        )),
    }
}

/// The commit point, and the moves after it. `before` is what was left of earlier publications.
fn commit(
    config: &Config,
    record: &mut Record,
    before: &Settled,
    publication: &Publication,
) -> Result<Vec<String>, Failure> {
    if let Some(blocking) = before.unmade.iter().find(|unmade| publication.touches(&unmade.owed)) {
        let text = format!("an earlier publication is not complete: {}", blocking.why);
        return Err(Failure::new(FailureKind::Conflict, text));
    }
    reach(Point::PublishPrepared)?;
    record.write(|tx| publication.commit(tx, config))?;
    reach(Point::PublishCommitted)?;
    // Committed is published: what cannot be settled now is owed, and whoever settles next says why it cannot.
    let settled = settle(config, record).unwrap_or_default();
    // What cannot be signed now is signed by upkeep, which complains.
    let _ = sign_trail(config, record);
    Ok(settled.troubles())
}

/// Signs the head of the audit trail; why it cannot, in a sentence.
fn sign_trail(config: &Config, record: &mut Record) -> Result<(), String> {
    let signed = Archive::open(config).and_then(|archive| seal::seal(record, &archive.keys()?));
    signed.map_err(|error| format!("the audit trail cannot be signed: {error:#}"))
}

/// A move that is owed and could not be made, and why, in a sentence.
struct Unmade {
    owed: Owed,
    why: String,
}

/// What is left when owed moves were to be made.
#[derive(Default)]
struct Settled {
    /// Moves that are owed still.
    unmade: Vec<Unmade>,
    /// Why old generations could not be removed; they are in nobody's way.
    unswept: Vec<String>,
}

impl Settled {
    fn troubles(self) -> Vec<String> {
        let unmade = self.unmade.into_iter().map(|unmade| format!("a publication is not complete: {}", unmade.why));
        unmade.chain(self.unswept).collect()
    }
}

/// Makes the moves that are owed.
fn settle(config: &Config, record: &mut Record) -> Result<Settled> {
    let (mut made, mut settled) = (Vec::new(), Settled::default());
    for owed in moves::owed(record.db())? {
        match make(config, record, &owed) {
            Ok(()) => made.push(owed),
            Err(error) => settled.unmade.push(Unmade { owed, why: format!("{error:#}") }),
        }
    }
    if !made.is_empty() {
        reach(Point::MovesUnrecorded)?;
        record.write(|tx| moves::settle(tx, &made.iter().map(|owed| owed.id).collect::<Vec<_>>()))?;
        reach(Point::MovesRecorded)?;
    }
    for owed in made {
        if let What::Suite { suite, .. } = owed.what {
            let swept = Archive::open(config)?.sweep(record.db(), std::slice::from_ref(&suite));
            settled.unswept.extend(swept.err().map(|error| format!("old generations of suite {suite}: {error:#}")));
        }
    }
    Ok(settled)
}

fn make(config: &Config, record: &mut Record, owed: &Owed) -> Result<()> {
    let (before, after) = match &owed.what {
        What::Suite { .. } => (Point::MoveSuite, Point::MovedSuite),
        What::Ref(mv) if mv.repo == config.git.superproject => (Point::MoveSuperproject, Point::MovedSuperproject),
        What::Ref(mv) if is_tag(mv) => (Point::MoveTag, Point::MovedTag),
        What::Ref(mv) if mv.name.starts_with(gitrecord::PUBLISHED) => (Point::MovePublished, Point::MovedPublished),
        What::Ref(_) => (Point::MoveBranch, Point::MovedBranch),
    };
    reach(before)?;
    match &owed.what {
        What::Ref(mv) if is_tag(mv) => tags::bring(record, owed.job, mv)?,
        What::Ref(mv) => drop(gitrecord::apply(mv).map_err(|failure| anyhow::anyhow!(failure.text))?),
        What::Suite { suite, generation } => Archive::open(config)?.flip(suite, *generation)?,
    }
    Ok(reach(after)?)
}

fn is_tag(mv: &gitrecord::Move) -> bool {
    mv.name.starts_with("refs/tags/")
}

/// Removes what was on its way into the pool or out of it, and that no version has. Nothing is removed while a suite shows
/// what the record does not know: then what no version has may be what is shown.
fn sweep_pool(config: &Config, record: &mut Record) -> Result<()> {
    if pool::intents(record.db())?.is_empty() {
        return Ok(());
    }
    in_step(config, record)?;
    Archive::open(config)?.sweep_pool(record.db())?;
    record.write(pool::forget_intents)
}

/// Refuses while a suite shows a generation that the record does not know.
fn in_step(config: &Config, record: &Record) -> Result<(), Failure> {
    let archive = Archive::open(config)?;
    for pocket in config.build.pockets.keys() {
        let suite = config.suite(pocket);
        archive.in_step(&suite, contents::suite(record.db(), &suite)?.map_or(0, |state| state.generation))?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
