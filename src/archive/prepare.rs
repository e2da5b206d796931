//! Writes the next generation of a suite, and records it.

use std::collections::BTreeMap;

use anyhow::Result;
use rusqlite::{Connection, Transaction};

use crate::dates::{self, Wrong};
use crate::index::{Edits, Finder, Foreseen, Index};
use crate::kept::Kept;
use crate::sign::ArchiveKeys;
use crate::suite::SuiteSpec;
use crate::{Archive, generation, site, states};
use invirtibuilder_core::config::Automatic;
use invirtibuilder_core::domain::{Identity, SuiteId};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::failpoint::{Point, reach};
use invirtibuilder_core::names::{Architecture, Component, PackageName, Suite, Version};
use invirtibuilder_core::stanza;
use invirtibuilder_core::time::now;
use invirtibuilder_store::contents::{self, Content, SuiteState};
use invirtibuilder_store::generations::{self, ListedFile};
use invirtibuilder_store::{buckets, snapshots};
use invirtibuilder_system::unsynced::Unsynced;

/// A change to what a suite shows.
#[derive(Debug, Clone)]
pub enum SuiteChange {
    /// The suite shows this version, in place of any other version of its source package.
    Put(Content),
    /// The suite shows no version of this source package any more.
    Remove(PackageName),
}

impl SuiteChange {
    fn source(&self) -> &PackageName {
        match self {
            SuiteChange::Put(content) => &content.id.package,
            SuiteChange::Remove(source) => source,
        }
    }
}

/// A generation that is written and not yet recorded.
pub struct Prepared {
    pub(crate) suite: SuiteId,
    pub(crate) from: i64,
    pub(crate) to: SuiteState,
    pub(crate) date: i64,
    changes: Vec<SuiteChange>,
    kept: Vec<Kept>,
    pub(crate) indexes: Vec<Index>,
    files: Vec<ListedFile>,
    unchanged: bool,
    anew: bool,
    rewrite: bool,
}

impl Prepared {
    /// Returns the suite.
    pub fn suite(&self) -> &SuiteId {
        &self.suite
    }

    /// Returns the number of the generation.
    pub fn generation(&self) -> i64 {
        self.to.generation
    }

    /// Tells whether its contents are new.
    fn is_state(&self) -> bool {
        self.from == 0 || !self.changes.is_empty()
    }

    /// Tells whether the suite is already as it should be: nothing was written, and there is
    /// nothing to record.
    pub fn is_empty(&self) -> bool {
        self.unchanged
    }
}

/// Why a caller asks for the next generation of a suite, which is written if it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Something changes, or the time has come.
    Due,
    /// The daemon starts.
    Start,
    /// The suite shows something else than what the record says.
    Rewrite,
}

impl Archive {
    /// Writes the next generation of a suite, if it has to change: because of `changes`, because
    /// its description or its keys have, or because it is soon no longer valid. Nobody but the
    /// caller prepares.
    pub fn prepare(
        &self,
        db: &Connection,
        spec: &SuiteSpec,
        changes: &[SuiteChange],
    ) -> Result<Prepared, Failure> {
        self.prepare_foreseen(db, spec, changes, (&Foreseen::default(), Unsynced::default()))
    }

    /// Does what [`Archive::prepare`] does, with what [`Archive::foresee`] has compressed for it.
    /// When it returns, the disk has the generation and what is `unsynced` too.
    pub fn prepare_foreseen(
        &self,
        db: &Connection,
        spec: &SuiteSpec,
        changes: &[SuiteChange],
        (foreseen, unsynced): (&Foreseen, Unsynced),
    ) -> Result<Prepared, Failure> {
        self.next(db, spec, (Why::Due, changes), (foreseen, unsynced))
    }

    /// Does what [`Archive::prepare`] does when the daemon starts: it dates a suite that is dated
    /// far ahead by the clock again.
    pub fn prepare_at_start(&self, db: &Connection, spec: &SuiteSpec) -> Result<Prepared, Failure> {
        self.next(db, spec, (Why::Start, &[]), (&Foreseen::default(), Unsynced::default()))
    }

    /// Compresses what [`Archive::prepare`] will need if nobody publishes to the same places
    /// before. It writes nothing. It takes long, and nobody has to wait for it.
    pub fn foresee(
        &self,
        db: &Connection,
        spec: &SuiteSpec,
        changes: &[SuiteChange],
        foreseen: &Foreseen,
    ) -> Result<(), Failure> {
        let recorded = contents::suite(db, &spec.suite)?.unwrap_or_default();
        if recorded.release != self.describe(spec) || recorded.keep != spec.keep {
            // All of it is written anew, which is rare.
            return Ok(());
        }
        let (edits, _) = self.edits(db, spec, changes, false)?;
        for (path, edits) in
            spec.paths().into_iter().filter_map(|path| Some((path.clone(), edits.get(&path)?)))
        {
            foreseen.keep(Index::edited(db, &spec.suite, &path, edits, &Foreseen::default())?);
        }
        Ok(())
    }

    /// Writes the next generation of a suite from nothing but what the record says of its contents,
    /// whatever the suite shows now.
    pub fn rewrite(&self, db: &Connection, spec: &SuiteSpec) -> Result<Prepared, Failure> {
        self.next(db, spec, (Why::Rewrite, &[]), (&Foreseen::default(), Unsynced::default()))
    }

    fn next(
        &self,
        db: &Connection,
        spec: &SuiteSpec,
        (why, changes): (Why, &[SuiteChange]),
        (foreseen, unsynced): (&Foreseen, Unsynced),
    ) -> Result<Prepared, Failure> {
        let recorded = contents::suite(db, &spec.suite)?.unwrap_or_default();
        let rewrite = why == Why::Rewrite;
        let mut before = recorded.generation;
        if rewrite {
            before = before.max(self.current(&spec.suite)?.unwrap_or(0));
        } else {
            self.in_step(&spec.suite, before)?;
        }
        let keys = self.keys()?;
        let (shown, clock) = (self.dates(&spec.suite), dates::clock());
        let is_far_ahead =
            || matches!(shown.and_then(|shown| shown.wrong(clock)), Some(Wrong::FarAhead(_)));
        let by_clock = why == Why::Start && is_far_ahead();
        let date = if by_clock { clock } else { dates::next(shown, clock) };
        let to = SuiteState {
            generation: before + 1,
            release: self.describe(spec),
            signers: keys.signers()?,
            valid_until: self.valid_for.map(|span| date * 1000 + span.as_millis() as i64),
            keep: spec.keep,
        };
        let anew = rewrite || to.release != recorded.release || to.keep != recorded.keep;
        let overdue = by_clock || shown.is_some_and(|shown| shown.is_overdue(clock));
        let fresh =
            to.signers == recorded.signers && self.is_fresh(recorded.valid_until) && !overdue;
        let mut prepared = Prepared {
            suite: spec.suite.clone(),
            from: recorded.generation,
            to,
            date,
            changes: changes.to_vec(),
            kept: Vec::new(),
            indexes: Vec::new(),
            files: Vec::new(),
            unchanged: !anew && fresh && changes.is_empty(),
            anew,
            rewrite,
        };
        if !prepared.unchanged {
            self.write(db, spec, &mut prepared, (&keys, foreseen, &unsynced))?;
        }
        unsynced.sync()?;
        if !prepared.unchanged {
            reach(Point::SuiteWritten)?;
        }
        Ok(prepared)
    }

    /// Reads the dates of the Release that a suite shows, if it shows one.
    pub fn dates(&self, suite: &SuiteId) -> Option<dates::Shown> {
        dates::shown(&self.root, &suite.suite)
    }

    /// Refuses to build on a suite that shows what the record does not know.
    pub fn in_step(&self, suite: &SuiteId, recorded: i64) -> Result<(), Failure> {
        match self.current(suite)?.filter(|shown| *shown > recorded) {
            None => Ok(()),
            Some(shown) => Err(Failure::new(
                FailureKind::Conflict,
                format!(
                    "suite {suite} shows generation {shown}, but the record ends with {recorded}: was the database \
                     restored from a backup? 'verify' says more"
                ),
            )),
        }
    }

    /// Tells whether a Release with this Valid-Until needs no successor yet: half of its time is
    /// still to come.
    fn is_fresh(&self, valid_until: Option<i64>) -> bool {
        match (self.valid_for, valid_until) {
            (None, None) => true,
            (Some(span), Some(until)) => until - now() > span.as_millis() as i64 / 2,
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    fn write(
        &self,
        db: &Connection,
        spec: &SuiteSpec,
        prepared: &mut Prepared,
        (keys, foreseen, unsynced): (&ArchiveKeys, &Foreseen, &Unsynced),
    ) -> Result<(), Failure> {
        let (edits, older) = self.edits(db, spec, &prepared.changes, prepared.anew)?;
        prepared.kept = older;
        let mut kept = Vec::new();
        for path in spec.paths() {
            match edits.get(&path) {
                None if !prepared.anew => kept.push(path),
                Some(edits) if !prepared.anew => {
                    prepared.indexes.push(Index::edited(db, &spec.suite, &path, edits, foreseen)?);
                }
                edits => {
                    prepared.indexes.push(Index::fresh(&path, edits.unwrap_or(&Edits::new()))?);
                }
            }
        }
        let sources = site::sources(spec, &self.url, &keys.public()?);
        prepared.files =
            generation::write((&self.root, unsynced), db, prepared, &kept, (keys, &sources))?;
        if self.states > 0 && prepared.is_state() {
            let new = (prepared.generation(), prepared.date);
            let beside = self.shown_beside(db, &spec.suite)?;
            states::add(&self.root, &spec.suite.suite, new, &beside, unsynced)?;
        }
        Ok(())
    }

    /// Lists the generations of the last states of the archive's other suites.
    fn shown_beside(&self, db: &Connection, suite: &SuiteId) -> Result<Vec<(Suite, i64)>> {
        let mut shown = Vec::new();
        for other in contents::suites(db)? {
            if other.domain == self.domain && other != *suite {
                let last = snapshots::newest(db, &other, 1)?;
                shown.extend(last.first().map(|number| (other.suite, *number)));
            }
        }
        Ok(shown)
    }

    /// Writes the part of Release that does not change with the contents.
    pub(crate) fn describe(&self, spec: &SuiteSpec) -> String {
        let join = |words: Vec<&str>| words.join(" ");
        let mut text = format!(
            "Origin: {}\nLabel: {}\nSuite: {}\nCodename: {}\nChangelogs: {}/changelogs/@CHANGEPATH@_changelog\n\
             Acquire-By-Hash: yes\nArchitectures: {}\nComponents: {}\n",
            invirtibuilder_core::text::one_line(&self.origin),
            invirtibuilder_core::text::one_line(&self.label),
            spec.suite.suite,
            spec.codename,
            self.changelogs,
            join(spec.architectures.iter().map(Architecture::as_str).collect()),
            join(spec.components.iter().map(Component::as_str).collect()),
        );
        let mut add = |name: &str, value: &str| text.extend([name, ": ", value, "\n"]);
        if let Some(description) = &spec.description {
            add("Description", &invirtibuilder_core::text::one_line(description));
        }
        if spec.automatic != Automatic::Always {
            add("NotAutomatic", "yes");
        }
        if spec.automatic == Automatic::Upgrades {
            add("ButAutomaticUpgrades", "yes");
        }
        if let Some(url) = &self.state_url {
            add("Snapshots", url);
        }
        text
    }

    /// Finds the edits of each index. When the suite's description has changed, it puts everything
    /// in again.
    fn edits(
        &self,
        db: &Connection,
        spec: &SuiteSpec,
        changes: &[SuiteChange],
        all: bool,
    ) -> Result<(BTreeMap<String, Edits>, Vec<Kept>), Failure> {
        let mut edits: BTreeMap<String, Edits> = BTreeMap::new();
        let mut all_kept = Vec::new();
        for source in changes.iter().map(SuiteChange::source) {
            let Some(version) = contents::shown(db, &spec.suite, source)? else { continue };
            let id = self.identity(source.clone(), version);
            for part in contents::content(db, &id)?.iter().flat_map(|old| &old.parts) {
                for path in spec.paths_of(part) {
                    edits.entry(path).or_default().insert(part.name.clone(), None);
                }
            }
        }
        if all {
            let sources = contents::sources(db, &spec.suite)?.into_iter();
            for (source, version) in
                sources.filter(|(source, _)| changes.iter().all(|c| c.source() != source))
            {
                let id = self.identity(source, version);
                if let Some(content) = contents::content(db, &id)? {
                    let kept = Kept::of(db, spec, &id)?;
                    add(db, spec, (&content, &kept), &mut edits, Takeover::Allowed)?;
                    all_kept.push(kept);
                }
            }
        }
        for change in changes {
            match change {
                SuiteChange::Put(content) => {
                    let kept = Kept::of(db, spec, &content.id)?;
                    add(db, spec, (content, &kept), &mut edits, Takeover::Refused)?;
                    all_kept.push(kept);
                }
                SuiteChange::Remove(source) => {
                    all_kept.push(Kept { source: source.clone(), contents: Vec::new() });
                }
            }
        }
        Ok((edits, all_kept))
    }

    fn identity(&self, package: PackageName, version: Version) -> Identity {
        Identity { domain: self.domain.clone(), package, version }
    }

    /// Records a generation, in the transaction that makes it the one to show. If its contents are
    /// new it is a snapshot, and `note` says what made it.
    pub fn record(tx: &Transaction, prepared: &Prepared, note: &str) -> Result<()> {
        let (suite, generation) = (&prepared.suite, prepared.generation());
        contents::advance_suite(tx, suite, prepared.from, &prepared.to)?;
        for change in &prepared.changes {
            match change {
                SuiteChange::Put(content) => {
                    contents::add(tx, content)?;
                    let shown = (&content.id.package, &content.id.version);
                    contents::show(tx, suite, shown, generation)?;
                }
                SuiteChange::Remove(source) => contents::hide(tx, suite, source, generation)?,
            }
        }
        for kept in &prepared.kept {
            invirtibuilder_store::kept::set(
                tx,
                suite,
                (&kept.source, &kept.versions()),
                generation,
            )?;
        }
        if prepared.is_state() {
            snapshots::record_snapshot(tx, suite, generation, note)?;
        }
        if prepared.rewrite {
            // Whether the earlier ones' files are all there is not known.
            generations::forget_files(tx, suite)?;
        }
        if prepared.anew {
            buckets::forget_suite(tx, suite)?;
        }
        prepared.indexes.iter().try_for_each(|index| index.record(tx, suite))?;
        generation::record(tx, suite, generation, &prepared.files)
    }
}

/// Whether a version may have binary packages of another source package's in its suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takeover {
    /// It is there already.
    Allowed,
    /// It comes, and is refused.
    Refused,
}

/// Puts every part of a version into the indexes that it belongs to, with those of older versions
/// behind it. It refuses the version if a binary package of it is another source package's, wherever
/// in the suite, unless that is allowed.
fn add(
    db: &Connection,
    spec: &SuiteSpec,
    (content, kept): (&Content, &Kept),
    edits: &mut BTreeMap<String, Edits>,
    takeover: Takeover,
) -> Result<(), Failure> {
    let checked = takeover == Takeover::Refused;
    let mut finder = Finder::new(db, &spec.suite);
    for part in &content.parts {
        for path in spec.indexes(part.kind).filter(|_| checked) {
            let theirs = match edits.get(&path).and_then(|edits| edits.get(&part.name)) {
                Some(edited) => edited.clone(),
                None => finder.find(&path, &part.name)?,
            };
            let owner = theirs.map(|stanza| stanza::source_of(&stanza));
            if let Some(owner) = owner.filter(|owner| owner != content.id.package.as_str()) {
                return Err(taken(&part.name, content, &owner, &spec.suite));
            }
        }
        for path in spec.paths_of(part) {
            let edits = edits.entry(path.clone()).or_default();
            if edits.insert(part.name.clone(), Some(kept.entry(part, &path))).flatten().is_some() {
                let text = format!("{} has {} twice in {path}", content.id, part.name);
                return Err(Failure::new(FailureKind::Conflict, text));
            }
        }
    }
    Ok(())
}

fn taken(name: &str, content: &Content, owner: &str, suite: &SuiteId) -> Failure {
    let source = &content.id.package;
    Failure::new(
        FailureKind::Takeover,
        format!(
            "binary package {name} of {source} belongs to source package {owner} in suite {suite}: publish a version of {owner} \
             that does not build it, or take {owner} out with 'remove', then {source}"
        ),
    )
}
