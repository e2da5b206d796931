//! The APT archive: a pool that is only ever added to, and suites that change by one flip.
//!
//! What a suite shows is in the record; `dists/` is a projection of it. [`Archive::prepare`] writes the next *generation*
//! of a suite, a complete directory that nothing shows yet; the caller commits it to the record ([`Archive::record`]) and
//! then flips the symbolic link `dists/<suite>` to it ([`Archive::flip`]). Index files also have their names by hash, of
//! the last generations too, so that a reader who took InRelease before a flip finds what it names after it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, Transaction};

mod admit;
mod beside;
mod control_tar;
pub mod dates;
mod deb;
mod files;
mod generation;
mod index;
mod inspect;
mod sign;
mod store;
mod xz;

use crate::config::{Config, SigningKey};
use crate::error::{Failure, FailureKind};
use crate::failpoint::{Point, reach};
use crate::names::{Architecture, Component, PackageName, Suite};
use crate::record::beside::Beside;
use crate::record::contents::{self, Content, Kind, Part, SuiteState};
use crate::record::pool::PoolFile;
use crate::record::{now, snapshots};
use crate::stanza;
pub use admit::{Admission, Admitted};
use beside::Text;
use dates::Wrong;
pub use deb::control;
pub use files::{digest, digest_of};
pub use index::Foreseen;
use index::{Edits, Finder, Index};
pub use sign::{Keys, Signed};

/// What a suite is made of.
#[derive(Debug, Clone)]
pub struct SuiteSpec {
    /// Its name.
    pub suite: Suite,
    /// Its components, the default one first.
    pub components: Vec<Component>,
    /// Its architectures, without `all`.
    pub architectures: Vec<Architecture>,
}

/// What is to happen to a suite.
#[derive(Debug, Clone)]
pub enum Change {
    /// This version is shown in place of whatever other version of its source package was.
    Put(Content),
    /// No version of this source package is shown any more.
    Remove(PackageName),
}

impl Change {
    fn source(&self) -> &PackageName {
        match self {
            Change::Put(content) => &content.source,
            Change::Remove(source) => source,
        }
    }
}

/// A generation that is written and not yet recorded.
pub struct Prepared {
    suite: Suite,
    from: i64,
    to: SuiteState,
    date: i64,
    changes: Vec<Change>,
    indexes: Vec<Index>,
    files: Vec<generation::Listed>,
    unchanged: bool,
    anew: bool,
    rewrite: bool,
}

impl Prepared {
    /// The suite.
    pub fn suite(&self) -> &Suite {
        &self.suite
    }

    /// The number of the generation.
    pub fn generation(&self) -> i64 {
        self.to.generation
    }

    /// Whether the suite is already as it is to be: nothing was written, and nothing is to be recorded.
    pub fn is_empty(&self) -> bool {
        self.unchanged
    }
}

/// Why the next generation of a suite is written, if it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Something is to change, or the time has come.
    Due,
    /// The daemon starts.
    Start,
    /// What is shown is not what the record says.
    Rewrite,
}

/// What the archive does not have yet of a version beside the pool.
pub struct Missing {
    beside: Vec<Beside>,
    texts: Vec<Text>,
}

impl Missing {
    /// Where it is to be, below the archive's root.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.beside.iter().map(|it| &it.path[..])
    }
}

/// The archive below one directory.
pub struct Archive {
    root: PathBuf,
    origin: String,
    label: String,
    keys: Vec<SigningKey>,
    valid_for: Option<Duration>,
    /// Where apt finds what `changelogs/` is in.
    changelogs: String,
}

impl Archive {
    /// The archive that the configuration names.
    pub fn open(config: &Config) -> Result<Self> {
        let archive = &config.archive;
        Ok(Self {
            root: archive.root.clone(),
            origin: archive.origin.clone(),
            label: archive.label.clone(),
            keys: archive.signing_key.clone(),
            valid_for: archive.valid_for,
            changelogs: match &archive.url {
                // apt shows no changelog that its method `file` has fetched: it looks for a copy.
                Some(url) => url.trim_end_matches('/').replacen("file:", "copy:", 1),
                None => format!("copy:{}", crate::text::one_line(&archive.root.display().to_string())),
            },
        })
    }

    /// Makes a signing key in a new file that only its owner may read.
    pub fn generate_key(path: &Path, origin: &str) -> Result<()> {
        sign::generate(path, origin)
    }

    /// The keys that sign.
    pub fn keys(&self) -> Result<Keys> {
        Keys::open(&self.keys)
    }

    /// What an operator should know of the signing keys; nothing if they cannot be read, for signing says so.
    pub fn warnings(config: &Config) -> Vec<String> {
        let keys = Keys::open(&config.archive.signing_key);
        keys.map(|keys| keys.warnings(std::time::SystemTime::now())).unwrap_or_default()
    }

    /// Refuses signing keys that clients cannot use together, and such as cannot sign. Nothing is signed.
    pub fn check_keys(config: &Config) -> Result<()> {
        Keys::open(&config.archive.signing_key)?.check()
    }

    /// Signs something with every key that is to sign, for nobody: what is set up can publish.
    pub fn try_keys(config: &Config) -> Result<()> {
        let keys = Keys::open(&config.archive.signing_key)?;
        keys.check()?;
        keys.sign("It can sign.\n").map(drop)
    }

    /// What should be known of signing keys that are good; nothing if they cannot be read.
    pub fn key_caveats(config: &Config) -> Vec<String> {
        Keys::open(&config.archive.signing_key).map(|keys| keys.caveats()).unwrap_or_default()
    }

    /// Where apt finds the public key.
    pub fn public_key_path(config: &Config) -> PathBuf {
        config.archive.root.join("archive-key.asc")
    }

    /// Puts the public keys where apt finds them.
    pub fn publish_key(&self) -> Result<()> {
        let path = self.root.join("archive-key.asc");
        let key = self.keys()?.public()?;
        if fs::read(&path).ok().as_deref() == Some(&key) {
            return Ok(());
        }
        files::write_whole(&path, &key)
    }

    /// Checks what a build has made, and changes nothing. It needs neither the record nor anybody to wait.
    pub fn examine(admission: &Admission) -> Result<Admitted, Failure> {
        admit::read(admission)
    }

    /// Checks that the pool can take what was examined.
    pub fn fits(&self, db: &Connection, admitted: &mut Admitted) -> Result<(), Failure> {
        admit::fits(db, admitted)
    }

    /// Puts what was examined into the pool. Each of its files is an intent of the record already.
    pub fn store(&self, admitted: &Admitted) -> Result<(), Failure> {
        store::store(&self.root, admitted)
    }

    /// Adds to what is published of a version what the archive is to have of it beside the pool when `suite` shows it. Nothing is
    /// written yet: [`Archive::store_beside`] does that.
    pub fn complete(&self, content: &mut Content, suite: &Suite, changelog: &[u8]) -> Result<Missing, Failure> {
        let known = content.beside.len();
        let changes = beside::published_changes(&self.root, content)?;
        let mut texts = beside::add_changes(content, suite, changes);
        texts.extend(beside::add_changelog(content, changelog));
        Ok(Missing { beside: content.beside[known..].to_vec(), texts })
    }

    /// Writes what was missing. Each of its paths is an intent of the record already.
    pub fn store_beside(&self, missing: &Missing) -> Result<(), Failure> {
        store::store_beside(&self.root, &missing.beside, &missing.texts)
    }

    /// The same of many versions, all of which are durable when this returns.
    pub fn store_all_beside<'a>(&self, all: impl Iterator<Item = &'a Missing>) -> Result<(), Failure> {
        store::store_all_beside(&self.root, all.map(|missing| (&missing.beside[..], &missing.texts[..])))
    }

    /// An entry of Sources with the MD5 sums of its files. Those of tarballs are what the `.dsc` says.
    pub fn with_sums(&self, stanza: &str, files: &[PoolFile]) -> Result<String> {
        let dsc = files.iter().find(|file| file.path.ends_with(".dsc")).context("the pool has no .dsc of it")?;
        let path = self.root.join(&dsc.path);
        let sums = files::sums(&path)?;
        ensure!(sums.sha256 == dsc.sha256, "{} is not what was published", dsc.path);
        beside::with_sums(stanza, &fs::read_to_string(&path)?, &sums)
    }

    /// Removes files whose way into the pool, or out of it, was cut short. The caller is the only one who writes to the
    /// pool, and forgets the intents then.
    pub fn sweep_pool(&self, db: &Connection) -> Result<(), Failure> {
        store::sweep(&self.root, db)
    }

    /// Writes the next generation of a suite, if it has to change: because of `changes`, because its description or its
    /// keys have, or because it is soon no longer valid. The caller is the only one who prepares.
    pub fn prepare(&self, db: &Connection, spec: &SuiteSpec, changes: &[Change]) -> Result<Prepared, Failure> {
        self.prepare_foreseen(db, spec, changes, &Foreseen::default())
    }

    /// The same, with what [`Archive::foresee`] has compressed for it.
    pub fn prepare_foreseen(
        &self,
        db: &Connection,
        spec: &SuiteSpec,
        changes: &[Change],
        foreseen: &Foreseen,
    ) -> Result<Prepared, Failure> {
        self.next(db, spec, changes, Why::Due, foreseen)
    }

    /// The same when the daemon starts: a suite that is dated far ahead is dated by the clock again.
    pub fn prepare_at_start(&self, db: &Connection, spec: &SuiteSpec) -> Result<Prepared, Failure> {
        self.next(db, spec, &[], Why::Start, &Foreseen::default())
    }

    /// Compresses what [`Archive::prepare`] will need if nobody publishes to the same places before; nothing is written. It takes long,
    /// and nobody has to wait for it.
    pub fn foresee(
        &self,
        db: &Connection,
        spec: &SuiteSpec,
        changes: &[Change],
        foreseen: &Foreseen,
    ) -> Result<(), Failure> {
        let recorded = contents::suite(db, &spec.suite)?.unwrap_or_default();
        if recorded.release != self.describe(spec) {
            // All of it is written anew, which is rare.
            return Ok(());
        }
        let edits = self.edits(db, spec, changes, false)?;
        for (path, edits) in spec.paths().into_iter().filter_map(|path| Some((path.clone(), edits.get(&path)?))) {
            foreseen.keep(Index::edited(db, &spec.suite, &path, edits, &Foreseen::default())?);
        }
        Ok(())
    }

    /// Writes the next generation of a suite from nothing but what the record says of its contents, whatever is shown now.
    pub fn rewrite(&self, db: &Connection, spec: &SuiteSpec) -> Result<Prepared, Failure> {
        self.next(db, spec, &[], Why::Rewrite, &Foreseen::default())
    }

    fn next(
        &self,
        db: &Connection,
        spec: &SuiteSpec,
        changes: &[Change],
        why: Why,
        foreseen: &Foreseen,
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
        let (shown, clock) = (dates::shown(&self.root, &spec.suite), dates::clock());
        let is_far_ahead = || matches!(shown.and_then(|shown| shown.wrong(clock)), Some(Wrong::FarAhead(_)));
        let by_clock = why == Why::Start && is_far_ahead();
        let date = if by_clock { clock } else { dates::next(shown, clock) };
        let to = SuiteState {
            generation: before + 1,
            release: self.describe(spec),
            signers: keys.signers()?,
            valid_until: self.valid_for.map(|span| date * 1000 + span.as_millis() as i64),
        };
        let anew = rewrite || to.release != recorded.release;
        let overdue = by_clock || shown.is_some_and(|shown| shown.is_overdue(clock));
        let fresh = to.signers == recorded.signers && self.is_fresh(recorded.valid_until) && !overdue;
        let mut prepared = Prepared {
            suite: spec.suite.clone(),
            from: recorded.generation,
            to,
            date,
            changes: changes.to_vec(),
            indexes: Vec::new(),
            files: Vec::new(),
            unchanged: !anew && fresh && changes.is_empty(),
            anew,
            rewrite,
        };
        if !prepared.unchanged {
            self.write(db, spec, &keys, &mut prepared, foreseen)?;
        }
        Ok(prepared)
    }

    /// Refuses to build on a suite that shows what the record does not know.
    pub fn in_step(&self, suite: &Suite, recorded: i64) -> Result<(), Failure> {
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

    /// Whether a Release with this Valid-Until needs no successor yet: half of its time is still to come.
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
        keys: &Keys,
        prepared: &mut Prepared,
        foreseen: &Foreseen,
    ) -> Result<(), Failure> {
        let edits = self.edits(db, spec, &prepared.changes, prepared.anew)?;
        let mut kept = Vec::new();
        for path in spec.paths() {
            match edits.get(&path) {
                None if !prepared.anew => kept.push(path),
                Some(edits) if !prepared.anew => {
                    prepared.indexes.push(Index::edited(db, &spec.suite, &path, edits, foreseen)?);
                }
                edits => prepared.indexes.push(Index::fresh(&path, edits.unwrap_or(&Edits::new()))?),
            }
        }
        prepared.files = generation::write(&self.root, db, prepared, &kept, keys)?;
        Ok(())
    }

    /// The part of Release that does not change with the contents.
    fn describe(&self, spec: &SuiteSpec) -> String {
        let join = |words: Vec<&str>| words.join(" ");
        format!(
            "Origin: {}\nLabel: {}\nSuite: {}\nCodename: {}\nChangelogs: {}/changelogs/@CHANGEPATH@_changelog\n\
             Acquire-By-Hash: yes\nArchitectures: {}\nComponents: {}\n",
            crate::text::one_line(&self.origin),
            crate::text::one_line(&self.label),
            spec.suite,
            spec.suite,
            self.changelogs,
            join(spec.architectures.iter().map(Architecture::as_str).collect()),
            join(spec.components.iter().map(Component::as_str).collect()),
        )
    }

    /// What has to be done to which index. When the suite's description has changed, everything is put in again.
    fn edits(
        &self,
        db: &Connection,
        spec: &SuiteSpec,
        changes: &[Change],
        all: bool,
    ) -> Result<BTreeMap<String, Edits>, Failure> {
        let mut edits: BTreeMap<String, Edits> = BTreeMap::new();
        for source in changes.iter().map(Change::source) {
            let Some(version) = contents::shown(db, &spec.suite, source)? else { continue };
            for part in contents::content(db, source, &version)?.iter().flat_map(|old| &old.parts) {
                for path in spec.paths_of(part) {
                    edits.entry(path).or_default().insert(part.name.clone(), None);
                }
            }
        }
        if all {
            let sources = contents::sources(db, &spec.suite)?.into_iter();
            for (source, version) in sources.filter(|(source, _)| changes.iter().all(|c| c.source() != source)) {
                if let Some(content) = contents::content(db, &source, &version)? {
                    add(db, spec, &content, &mut edits, false)?;
                }
            }
        }
        for change in changes {
            match change {
                Change::Put(content) => add(db, spec, content, &mut edits, true)?,
                Change::Remove(_) => {}
            }
        }
        Ok(edits)
    }

    /// Records a generation, in the transaction that makes it the one to be shown. If its contents are new it is a
    /// snapshot, and `note` says what made it.
    pub fn record(tx: &Transaction, prepared: &Prepared, note: &str) -> Result<()> {
        let (suite, generation) = (&prepared.suite, prepared.generation());
        contents::advance_suite(tx, suite, prepared.from, &prepared.to)?;
        for change in &prepared.changes {
            match change {
                Change::Put(content) => {
                    contents::add(tx, content)?;
                    contents::show(tx, suite, &content.source, &content.version, generation)?;
                }
                Change::Remove(source) => contents::hide(tx, suite, source, generation)?,
            }
        }
        if prepared.from == 0 || !prepared.changes.is_empty() {
            snapshots::take(tx, suite, generation, note)?;
        }
        if prepared.rewrite {
            // Whether the earlier ones' files are all there is not known.
            generation::forget(tx, suite)?;
        }
        if prepared.anew {
            tx.execute("DELETE FROM bucket WHERE suite = ?", [suite])?;
        }
        prepared.indexes.iter().try_for_each(|index| index.record(tx, suite))?;
        generation::record(tx, suite, generation, &prepared.files)
    }

    fn dists(&self) -> PathBuf {
        self.root.join("dists")
    }

    /// The generation that is shown now.
    pub fn current(&self, suite: &Suite) -> Result<Option<i64>> {
        let link = self.dists().join(suite.as_str());
        match fs::read_link(&link) {
            Ok(target) => {
                let number = target.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
                Ok(Some(number.with_context(|| format!("{} is not a link of ours", link.display()))?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{} is in the way: move it aside", link.display())),
        }
    }

    /// Shows a generation; fine if it, or a later one, is shown already.
    pub fn flip(&self, suite: &Suite, generation: i64) -> Result<()> {
        let dists = self.dists();
        if self.current(suite)?.is_some_and(|shown| shown >= generation) {
            // Whoever flipped it may have died before that was on the disk.
            return files::sync_dir(&dists);
        }
        let new = dists.join(format!(".{suite}.new"));
        let _ = fs::remove_file(&new);
        symlink(Path::new(generation::DIRECTORY).join(suite.as_str()).join(generation.to_string()), &new)?;
        reach(Point::SuiteLinked)?;
        fs::rename(&new, dists.join(suite.as_str()))?;
        reach(Point::SuiteFlipped)?;
        files::sync_dir(&dists)
    }

    /// Removes generations that are neither recorded nor shown, nor the one that was shown before.
    pub fn sweep(&self, db: &Connection, suites: &[Suite]) -> Result<()> {
        for suite in suites {
            let recorded = contents::suite(db, suite)?.map_or(0, |state| state.generation);
            let shown = self.current(suite)?.unwrap_or(0);
            let dir = self.dists().join(generation::DIRECTORY).join(suite.as_str());
            let Ok(entries) = fs::read_dir(&dir) else { continue };
            for entry in entries {
                let entry = entry?;
                let number = entry.file_name().to_str().and_then(|name| name.parse::<i64>().ok());
                let keep = number.is_some_and(|n| n == recorded || n == shown || n == shown - 1);
                if !keep {
                    reach(Point::SweepGeneration)?;
                    fs::remove_dir_all(entry.path())?;
                }
            }
        }
        Ok(())
    }
}

/// Puts every part of a version into the indexes it belongs to. With `checked`, it is refused if a binary package of it is
/// another source package's, wherever in the suite.
fn add(
    db: &Connection,
    spec: &SuiteSpec,
    content: &Content,
    edits: &mut BTreeMap<String, Edits>,
    checked: bool,
) -> Result<(), Failure> {
    let mut finder = Finder::new(db, &spec.suite);
    for part in &content.parts {
        for path in spec.indexes(part.kind).filter(|_| checked) {
            let theirs = match edits.get(&path).and_then(|edits| edits.get(&part.name)) {
                Some(edited) => edited.clone(),
                None => finder.find(&path, &part.name)?,
            };
            let owner = theirs.map(|stanza| stanza::source_of(&stanza));
            if let Some(owner) = owner.filter(|owner| owner != content.source.as_str()) {
                return Err(takeover(&part.name, content, &owner, &spec.suite));
            }
        }
        for path in spec.paths_of(part) {
            let edits = edits.entry(path.clone()).or_default();
            if edits.insert(part.name.clone(), Some(part.stanza.clone())).flatten().is_some() {
                let text = format!("{} {} has {} twice in {path}", content.source, content.version, part.name);
                return Err(Failure::new(FailureKind::Conflict, text));
            }
        }
    }
    Ok(())
}

fn takeover(name: &str, content: &Content, owner: &str, suite: &Suite) -> Failure {
    let source = &content.source;
    Failure::new(
        FailureKind::Takeover,
        format!(
            "binary package {name} of {source} belongs to source package {owner} in suite {suite}: publish a version of {owner} \
             that does not build it, then {source}"
        ),
    )
}

impl SuiteSpec {
    /// Every index of the suite.
    fn paths(&self) -> Vec<String> {
        let sources = self.components.iter().map(|component| format!("{component}/source/Sources"));
        sources.chain(self.indexes(Kind::Deb)).chain(self.indexes(Kind::Udeb)).collect()
    }

    /// The indexes of binary packages of a kind.
    fn indexes(&self, kind: Kind) -> impl Iterator<Item = String> {
        let dirs = match kind {
            Kind::Dsc => [].as_slice(),
            Kind::Deb => &[""],
            Kind::Udeb => &["debian-installer/"],
        };
        let of = move |component| {
            dirs.iter().flat_map(move |dir| {
                self.architectures
                    .iter()
                    .map(move |architecture| format!("{component}/{dir}binary-{architecture}/Packages"))
            })
        };
        self.components.iter().flat_map(of)
    }

    /// The indexes that a part is in: `all` is in that of each architecture.
    fn paths_of(&self, part: &Part) -> Vec<String> {
        let component = &part.component;
        let binary = |dir: &str| {
            let mine = |a: &&Architecture| part.architecture == "all" || part.architecture == a.as_str();
            let all = self.architectures.iter().filter(mine);
            all.map(|a| format!("{component}/{dir}binary-{a}/Packages")).collect()
        };
        match part.kind {
            Kind::Dsc => vec![format!("{component}/source/Sources")],
            Kind::Deb => binary(""),
            Kind::Udeb => binary("debian-installer/"),
        }
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
