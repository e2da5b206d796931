//! Publishes a set of changes to pockets: in one transaction with one commit point.
//!
//! Before it, the service reads what was built and compresses what indexes will hold: that takes
//! long, and nobody waits for it.
//!
//! 1. The service puts artifacts in the pool, and writes Git objects and the next generation of
//!    each suite. It only ever adds to what there is, and nothing shows it yet.
//! 2. One SQLite COMMIT: what pockets and suites hold, the jobs' state, and the moves now owed.
//! 3. The service makes the owed moves: mark, tag, package branch, superproject branch, suite. Each
//!    is a compare-and-set and can be repeated: if the process dies here, a later
//!    [`Publisher::upkeep`] ends it.
//!
//! `docs/explanation/consistency.md` says what a crash leaves at each step.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use anyhow::Result;
use rusqlite::Connection;

mod complete;
pub mod copies;
mod gc;
mod items;
mod lock;
mod publication;
mod release;
mod relocate;
mod remove;
mod rollback;
mod tags;
pub mod validate;

use invirtibuilder_api::archive::{Collected, LetGo, Relocated, RolledBack};
use invirtibuilder_api::job::Job;
use invirtibuilder_api::pocket::Removed;
use invirtibuilder_archive::dates::{self, Wrong};
use invirtibuilder_archive::{Archive, Prepared, SuiteSpec, seal};
use invirtibuilder_core::config::{Config, ConfiguredPocket};
use invirtibuilder_core::domain::{Identity, SuiteId};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::failpoint::{Point, reach};
use invirtibuilder_core::names::{DomainName, Principal};
use invirtibuilder_git as git;
use invirtibuilder_store::moves::{self, OwedMove, RefOrSuite};
use invirtibuilder_store::seals;
use invirtibuilder_store::{Record, contents, domains, pool};
use invirtibuilder_system::architectures;
pub use lock::PublishLock;
use publication::Publication;
pub use publication::stamp;
pub use tags::{aside, mark_all, mark_versions, write as write_tag};

/// A job whose package is ready to publish.
#[derive(Debug, Clone)]
pub struct Item {
    /// The job, in state `publishing`.
    pub job: Job,
    /// The directory that holds source package and binaries; `None`: the pool has them already.
    pub built: Option<PathBuf>,
}

/// The publisher: its locks make publications follow each other.
pub struct Publisher {
    record: Mutex<Record>,
}

/// Access to the record while nobody else publishes.
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
    /// Makes a publisher with a connection of its own.
    pub fn new(record: Record) -> Self {
        Self { record: Mutex::new(record) }
    }

    /// Opens a publisher for a program that does nothing else meanwhile.
    pub fn open(config: &Config) -> Result<Self> {
        Ok(Self::new(Record::open(&config.database())?.mirrored()))
    }

    /// Waits until nobody else publishes, and keeps others from it until the result is dropped. It
    /// is an error if the configuration has a pocket in another domain than the record: its suite
    /// would be written into an archive that it is not in.
    pub fn exclusive(&self, config: &Config) -> Result<Exclusive<'_>> {
        let exclusive = self.alone(config)?;
        domains::demand(exclusive.db(), config)?;
        Ok(exclusive)
    }

    /// Does what [`Publisher::exclusive`] does, wherever pockets are.
    fn alone(&self, config: &Config) -> Result<Exclusive<'_>> {
        // A publication that panicked has rolled its transaction back: the record is as good as
        // before.
        let record = self.record.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(Exclusive { record, _lock: PublishLock::take(&config.state_dir)? })
    }

    /// Publishes all of `items` or none. When this returns `Ok` they are in the record for good. It
    /// returns what could not be done after that, each a sentence. [`Publisher::upkeep`] tries
    /// again to make the moves that are still owed.
    pub fn publish(&self, config: &Config, items: &[Item]) -> Result<Vec<String>, Failure> {
        let beforehand = items::Beforehand::of(config, items)?;
        let mut record = self.exclusive(config)?;
        let settled = settle(config, &mut record)?;
        let published = items::prepare(config, &mut record, items, beforehand)
            .and_then(|publication| commit(config, &mut record, &settled, &publication));
        if published.is_err() {
            // What was put into the pool for it goes again: now, or when the daemon starts.
            let _ = sweep_pool(config, &mut record);
        }
        published
    }

    /// Takes a suite, its pocket's branches and the superproject back to what snapshot `number`
    /// had.
    pub fn rollback(
        &self,
        config: &Config,
        suite: &SuiteId,
        number: i64,
        by: &Principal,
    ) -> Result<(RolledBack, Vec<String>), Failure> {
        let mut record = self.exclusive(config)?;
        let settled = settle(config, &mut record)?;
        let (publication, done) = rollback::prepare(config, &record, (suite, number), by)?;
        Ok((done, commit(config, &mut record, &settled, &publication)?))
    }

    /// Takes a package out of a pocket. Returns also what could not be done after it was recorded,
    /// each a sentence.
    pub fn remove(
        &self,
        config: &Config,
        removed: Removed,
    ) -> Result<(Removed, Vec<String>), Failure> {
        let mut record = self.exclusive(config)?;
        let settled = settle(config, &mut record)?;
        let (publication, removed) = remove::prepare(config, &record, removed)?;
        let troubles = commit(config, &mut record, &settled, &publication)?;
        Ok((removed, troubles))
    }

    /// Forgets the snapshots that `archive.keep` does not keep, and removes what nothing needs any
    /// more.
    pub fn collect(&self, config: &Config, by: &Principal) -> Result<Collected, Failure> {
        let mut record = self.exclusive(config)?;
        // What a suite still shows must not go.
        let settled = settle(config, &mut record)?;
        if let Some(blocking) = settled
            .unmade
            .iter()
            .find(|unmade| matches!(unmade.owed.what, RefOrSuite::Suite { .. }))
        {
            let text = format!("an earlier publication is not complete: {}", blocking.why);
            return Err(Failure::new(FailureKind::Conflict, text));
        }
        let collected = gc::forget(config, &mut record, by)?;
        sweep_states(config, &record)?;
        sweep_pool(config, &mut record)?;
        Ok(collected)
    }

    /// Lets a version go that only pockets with allow_backtracking ever had and no suite shows.
    /// Returns also what could not be done after it was recorded, each a sentence.
    pub fn release(
        &self,
        config: &Config,
        id: &Identity,
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
        let done = release::release(config, &mut record, id, reason, by)?;
        reach(Point::PublishCommitted)?;
        let mut troubles = settle(config, &mut record).unwrap_or_default().troubles();
        let swept = sweep_states(config, &record).and_then(|()| sweep_pool(config, &mut record));
        troubles.extend(swept.err().map(|error| format!("its files cannot be removed: {error:#}")));
        let _ = sign_trail(config, &mut record);
        Ok((done, troubles))
    }

    /// Moves a pocket into the domain that the configuration puts it into, whatever the record says
    /// of other pockets. Returns also what could not be done after it was recorded, each a sentence.
    pub fn relocate(
        &self,
        config: &Config,
        pocket: ConfiguredPocket,
        by: &Principal,
    ) -> Result<(Relocated, Vec<String>), Failure> {
        let mut record = self.alone(config)?;
        let settled = settle(config, &mut record)?;
        if let Some(blocking) = settled.unmade.first() {
            let text = format!("an earlier publication is not complete: {}", blocking.why);
            return Err(Failure::new(FailureKind::Conflict, text));
        }
        // What a move that died has left.
        sweep_pool(config, &mut record)?;
        let moved =
            relocate::prepare(config, &mut record, pocket, by).and_then(|(publication, moved)| {
                Ok((moved, commit(config, &mut record, &settled, &publication)?))
            });
        if moved.is_err() {
            let _ = sweep_pool(config, &mut record);
        }
        moved
    }

    /// Ends what earlier publications have left, as far as that can be done: their moves, and files
    /// on their way.
    pub fn finish(&self, config: &Config, record: &mut Exclusive) -> Result<()> {
        settle(config, record)?;
        // What is left is an intent still, and is named as such.
        let _ = sweep_pool(config, record);
        Ok(())
    }

    /// Does what is due by the clock: makes the moves that committed publications owe, and signs
    /// again what is soon no longer valid. Returns what could not be done, each a sentence. While
    /// somebody publishes this does nothing: it is done then.
    pub fn upkeep(&self, config: &Config) -> Result<Vec<String>> {
        let Ok(mut record) = self.record.try_lock() else { return Ok(Vec::new()) };
        let Some(_lock) = PublishLock::try_take(&config.state_dir)? else { return Ok(Vec::new()) };
        domains::demand(record.db(), config)?;
        let mut troubles =
            self.refresh(config, &mut record, |archive, db, spec| archive.prepare(db, spec, &[]))?;
        if seals::is_due(record.db())? {
            troubles.extend(sign_trail(config, &mut record).err());
        }
        Ok(troubles)
    }

    /// Brings every pocket's suite to what the configuration says about it: a new pocket's is
    /// empty, but there. Ends what a publication that was killed has left. Returns what could not
    /// be done, each a sentence.
    pub fn project(&self, config: &Config) -> Result<Vec<String>> {
        let mut record = self.exclusive(config)?;
        record.write(|tx| domains::place_all(tx, config))?;
        let suites: Vec<SuiteId> = config.pockets().map(ConfiguredPocket::suite).collect();
        // What cannot be completed now is tried again, and keeps nothing from being shown.
        let mut troubles = complete::complete(config, &mut record)
            .unwrap_or_else(|error| vec![format!("{error:#}")]);
        troubles.extend(suites.iter().filter_map(|suite| dated_ahead(config, suite)));
        troubles.extend(self.refresh(config, &mut record, Archive::prepare_at_start)?);
        let mut rest = vec![sweep_pool(config, &mut record)];
        let specs: Vec<SuiteSpec> = config.pockets().map(suite_spec).collect();
        for (domain, _) in config.domains() {
            let archive = Archive::open(config, &domain)?;
            let (mut mine, mut shown) = (suites.clone(), specs.clone());
            mine.retain(|suite| suite.domain == domain);
            shown.retain(|spec| spec.suite.domain == domain);
            rest.extend([
                archive.publish_key(),
                archive.publish_page(&shown),
                archive.sweep(record.db(), &mine),
                archive.sign_states(&mine),
            ]);
        }
        troubles.extend(rest.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")));
        // Repositories that came from elsewhere, or from an older release.
        match mark_all(config, &record) {
            Ok(more) => troubles.extend(more),
            Err(error) => troubles.push(format!("{error:#}")),
        }
        // With the keys that are configured now: those that signed it before may be gone.
        troubles.extend(sign_trail(config, &mut record).err());
        Ok(troubles)
    }

    /// Makes owed moves, and writes suites whose description or keys have changed, that are soon no
    /// longer valid, or that are not there yet. A suite that cannot be written keeps no other from
    /// being written.
    fn refresh(
        &self,
        config: &Config,
        record: &mut Record,
        prepare: impl Fn(&Archive, &Connection, &SuiteSpec) -> Result<Prepared, Failure>,
    ) -> Result<Vec<String>> {
        let mut troubles = Vec::new();
        let mut settled = settle(config, record)?;
        let mut written = false;
        for pocket in config.pockets().filter(|pocket| !settled.is_leaving(&pocket.suite())) {
            let archive = Archive::open(config, pocket.domain())?;
            match prepare(&archive, record.db(), &suite_spec(pocket)) {
                Ok(prepared) if prepared.is_empty() => {}
                Ok(prepared) => {
                    record.write(|tx| {
                        Archive::record(tx, &prepared, "created")?;
                        moves::owe_suite(tx, None, prepared.suite(), Some(prepared.generation()))
                    })?;
                    reach(Point::ProjectCommitted)?;
                    written = true;
                }
                Err(failure) => {
                    troubles.push(format!("suite {}: {}", pocket.suite(), failure.text));
                }
            }
        }
        if written {
            settled = settle(config, record)?;
        }
        troubles.extend(settled.troubles());
        Ok(troubles)
    }
}

/// Describes a pocket's suite, as the configuration has it.
pub fn suite_spec(pocket: ConfiguredPocket) -> SuiteSpec {
    let settings = pocket.settings();
    SuiteSpec {
        keep: settings.keep,
        description: settings.description.clone(),
        codename: settings.codename.clone().unwrap_or_else(|| pocket.suite().suite),
        automatic: settings.automatic,
        suite: pocket.suite(),
        components: settings.components.clone(),
        architectures: architectures::of_pocket(settings),
    }
}

/// Says in a sentence that a suite is dated ahead, if it is.
fn dated_ahead(config: &Config, suite: &SuiteId) -> Option<String> {
    let archive = Archive::open(config, &suite.domain).ok()?;
    let wrong = archive.dates(suite)?.wrong(dates::clock())?;
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

/// Commits a publication, and makes the moves after it. `before` is what earlier publications have
/// left.
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
    // Committed is published: what cannot be settled now is owed, and whoever settles next says why
    // it cannot.
    let settled = settle(config, record).unwrap_or_default();
    // What cannot be signed now is signed by upkeep, which complains.
    let _ = sign_trail(config, record);
    Ok(settled.troubles())
}

/// Signs the head of the audit trail, with main's keys: the trail is that of all domains. The error
/// is a sentence that says why it cannot.
fn sign_trail(config: &Config, record: &mut Record) -> Result<(), String> {
    let signed = Archive::open(config, &DomainName::main())
        .and_then(|archive| seal::seal(record, &archive.keys()?));
    signed.map_err(|error| format!("the audit trail cannot be signed: {error:#}"))
}

/// An owed move that could not be made, and why, in a sentence.
struct Unmade {
    owed: OwedMove,
    why: String,
}

/// The outcome of an attempt to make all owed moves.
#[derive(Default)]
struct Settled {
    /// The moves that are still owed.
    unmade: Vec<Unmade>,
    /// The reasons why old generations are still there; they are in nobody's way.
    unswept: Vec<String>,
}

impl Settled {
    /// Tells whether a suite of this name is still to be taken out of its archive: no other one can
    /// be written there before.
    fn is_leaving(&self, suite: &SuiteId) -> bool {
        let leaves = |what: &RefOrSuite| matches!(what, RefOrSuite::Suite { suite: it, generation: None } if it == suite);
        self.unmade.iter().any(|unmade| leaves(&unmade.owed.what))
    }

    fn troubles(self) -> Vec<String> {
        let unmade = self
            .unmade
            .into_iter()
            .map(|unmade| format!("a publication is not complete: {}", unmade.why));
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
        record
            .write(|tx| moves::settle(tx, &made.iter().map(|owed| owed.id).collect::<Vec<_>>()))?;
        reach(Point::MovesRecorded)?;
    }
    for owed in made {
        if let RefOrSuite::Suite { suite, .. } = owed.what {
            let swept = Archive::open(config, &suite.domain)
                .and_then(|archive| archive.sweep(record.db(), std::slice::from_ref(&suite)));
            settled.unswept.extend(
                swept.err().map(|error| format!("old generations of suite {suite}: {error:#}")),
            );
        }
    }
    Ok(settled)
}

fn make(config: &Config, record: &mut Record, owed: &OwedMove) -> Result<()> {
    let (before, after) = match &owed.what {
        RefOrSuite::Suite { .. } => (Point::MoveSuite, Point::MovedSuite),
        RefOrSuite::Ref(mv) if mv.repo == config.git.superproject => {
            (Point::MoveSuperproject, Point::MovedSuperproject)
        }
        RefOrSuite::Ref(mv) if is_tag(mv) => (Point::MoveTag, Point::MovedTag),
        RefOrSuite::Ref(mv) if git::is_mark(&mv.name) => {
            (Point::MovePublished, Point::MovedPublished)
        }
        RefOrSuite::Ref(_) => (Point::MoveBranch, Point::MovedBranch),
    };
    reach(before)?;
    match &owed.what {
        RefOrSuite::Ref(mv) if is_tag(mv) => tags::bring(record, owed.job, mv)?,
        RefOrSuite::Ref(mv) => {
            git::apply(mv).map_err(|failure| anyhow::anyhow!(failure.text))?;
        }
        RefOrSuite::Suite { suite, generation } => {
            let archive = Archive::open(config, &suite.domain)?;
            match generation {
                Some(generation) => archive.flip(suite, *generation)?,
                None => archive.remove_suite(suite)?,
            }
        }
    }
    Ok(reach(after)?)
}

fn is_tag(mv: &git::Move) -> bool {
    mv.name.starts_with("refs/tags/")
}

/// Removes the states of the past that are not whole without what is about to leave the pool.
fn sweep_states(config: &Config, record: &Record) -> Result<()> {
    for (domain, _) in config.domains() {
        let suites = contents::suites(record.db())?.into_iter().filter(|it| it.domain == domain);
        Archive::open(config, &domain)?.sweep(record.db(), &suites.collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Removes the files that were on their way into the pools or out of them, and that no version has.
/// It removes nothing while a suite shows what the record does not know: then the suite may show
/// files that no version has.
fn sweep_pool(config: &Config, record: &mut Record) -> Result<()> {
    let intents = pool::intents(record.db())?;
    let found: BTreeSet<DomainName> = intents.into_iter().map(|intent| intent.domain).collect();
    if found.is_empty() {
        return Ok(());
    }
    in_step(config, record)?;
    for domain in found {
        Archive::open(config, &domain)?.sweep_pool(record.db())?;
        record.write(|tx| pool::forget_intents(tx, &domain))?;
    }
    Ok(())
}

/// Refuses to go on while a suite shows a generation that the record does not know.
fn in_step(config: &Config, record: &Record) -> Result<(), Failure> {
    for pocket in config.pockets() {
        let suite = pocket.suite();
        Archive::open(config, &suite.domain)?.in_step(
            &suite,
            contents::suite(record.db(), &suite)?.map_or(0, |state| state.generation),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod domain_tests;
#[cfg(test)]
mod remove_tests;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
