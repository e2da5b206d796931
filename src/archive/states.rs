//! The last states of a suite under URLs of their own: `snapshot/ID/dists/SUITE`, beside the pool
//! that all share, so that `deb URL/snapshot/ID SUITE …` and `apt update --snapshot ID` read one.
//!
//! apt asks for one id of every suite that it reads. So beside the state of the suite that was
//! published then there is a link for each other suite of the archive, to the state that it had.
//!
//! A state is the Release that was signed then and links to the indexes of its generation, whose
//! directory stays for as long as the state does. It gets its name when the suite shows it. Its
//! Release stays valid no longer than it was: one that were made valid again could be given to a
//! machine as what the suite shows now. When the keys change it is signed again, as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chrono::DateTime;

use crate::generation::DIRECTORY;
use crate::sign::{ArchiveKeys, Signed};
use invirtibuilder_core::names::Suite;
use invirtibuilder_system::files;
use invirtibuilder_system::unsynced::Unsynced;

/// The directory of all states, below the archive's root.
const STATES: &str = "snapshot";

/// The link of a state to its generation.
const GENERATION: &str = "generation";

/// What clients put an id in place of (apt-get(8), `--snapshot`).
pub const ID: &str = "@SNAPSHOTID@";

/// The files of a Release.
const RELEASE: [&str; 3] = ["Release", "InRelease", "Release.gpg"];

/// A state that has a URL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct State {
    /// The number of its generation.
    pub generation: i64,
    /// The id: when it was published, such as `20261129T103000Z`.
    pub id: String,
}

/// Returns the URL of states, as Release names it, for an archive at `url`.
pub fn url(url: &str) -> String {
    format!("{}/{STATES}/{ID}/", url.trim_end_matches('/'))
}

fn id(date: i64) -> String {
    DateTime::from_timestamp(date, 0).unwrap_or_default().format("%Y%m%dT%H%M%SZ").to_string()
}

fn place(root: &Path, id: &str, suite: &Suite) -> PathBuf {
    root.join(STATES).join(id).join("dists").join(suite.as_str())
}

/// Writes the state that a generation is, at the id that its date makes, or a second later where
/// another state has that, be it of another suite. The archive's other suites have there what they
/// show now, which `beside` names. The state has no name yet: [`show`] gives it one.
pub fn add(
    root: &Path,
    suite: &Suite,
    (generation, date): (i64, i64),
    beside: &[(Suite, i64)],
    unsynced: &Unsynced,
) -> Result<()> {
    // Somebody wrote one of this number and died, or failed, before it was recorded.
    for (id, name) in of_generation(root, suite, generation)? {
        remove(root, &id, &name)?;
    }
    let free = |date: &i64| !root.join(STATES).join(id(*date)).exists();
    let date = (date..).find(free).context("every second is taken")?;
    let (top, dir) = (root.join(STATES).join(id(date)), place(root, &id(date), suite));
    let new = dir.with_file_name(unnamed(suite));
    unsynced.make_dirs(&new)?;
    symlink("../../pool", top.join("pool"))?;
    let below = format!("dists/{DIRECTORY}/{suite}/{generation}");
    let home = root.join(&below);
    for name in RELEASE {
        fs::hard_link(home.join(name), new.join(name))
            .with_context(|| format!("{} cannot be linked", home.join(name).display()))?;
    }
    symlink(format!("../../../../{below}"), new.join(GENERATION))?;
    for entry in fs::read_dir(&home)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            symlink(Path::new(GENERATION).join(entry.file_name()), new.join(entry.file_name()))?;
        }
    }
    for (other, generation) in beside {
        let mut states = of_suite(root, other)?.into_iter();
        if let Some(State { id, .. }) = states.find(|state| state.generation == *generation) {
            symlink(format!("../../{id}/dists/{other}"), dir.with_file_name(other.as_str()))?;
        }
    }
    Ok(())
}

/// Gives the state that a generation is its name; fine if it has it, or if there is none. Returns
/// the directory that has the name, for the caller to bring it to the disk.
pub fn show(root: &Path, suite: &Suite, generation: i64) -> Result<Option<PathBuf>> {
    let Some((id, name)) = of_generation(root, suite, generation)?.pop() else {
        return Ok(None);
    };
    let dir = place(root, &id, suite);
    if name != suite.as_str() {
        fs::rename(dir.with_file_name(name), &dir)?;
    }
    Ok(dir.parent().map(Path::to_owned))
}

/// Returns the name of a state that has none yet.
fn unnamed(suite: &Suite) -> String {
    format!(".{suite}.new")
}

/// Finds the states that a generation is, each by its id and name.
fn of_generation(root: &Path, suite: &Suite, generation: i64) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for id in ids(root)? {
        for name in [suite.to_string(), unnamed(suite)] {
            let entry = entry(&place(root, &id, suite).with_file_name(&name));
            if [Entry::Own(generation), Entry::Unnamed(generation)].map(Some).contains(&entry) {
                found.push((id.clone(), name));
            }
        }
    }
    Ok(found)
}

/// What an id has of one suite.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    /// A state of its own, of this generation.
    Own(i64),
    /// The state that this id has.
    Borrowed(String),
    /// The same, which the suite does not show yet, or never will.
    Unnamed(i64),
    /// What was left half done.
    Unfinished,
}

/// Reads what an id has of a suite; `None`: it is nothing of ours.
fn entry(dir: &Path) -> Option<Entry> {
    let name = dir.file_name()?.to_str()?;
    if let Ok(target) = fs::read_link(dir) {
        // ../../ID/dists/SUITE
        let id = target.iter().nth(2)?.to_str()?;
        return Some(Entry::Borrowed(id.to_owned()));
    }
    let target = fs::read_link(dir.join(GENERATION)).ok();
    let generation = target.and_then(|target| target.file_name()?.to_str()?.parse().ok());
    match (generation, name.starts_with('.')) {
        (Some(generation), true) if name.ends_with(".new") => Some(Entry::Unnamed(generation)),
        (_, true) => Some(Entry::Unfinished),
        (generation, false) => generation.map(Entry::Own),
    }
}

/// Returns the suite that an entry of this name is of.
fn suite_of(name: &str) -> Option<Suite> {
    let unnamed = name.strip_prefix('.').and_then(|name| name.strip_suffix(".new"));
    unnamed.unwrap_or(name).parse().ok()
}

/// Lists the ids.
fn ids(root: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(root.join(STATES)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let name = |entry: std::io::Result<fs::DirEntry>| {
        Ok(entry?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

/// Lists the states of a suite that have a URL, the oldest first.
pub fn of_suite(root: &Path, suite: &Suite) -> Result<Vec<State>> {
    let ids = ids(root)?.into_iter();
    let mut all: Vec<State> = ids
        .filter_map(|id| match entry(&place(root, &id, suite))? {
            Entry::Own(generation) => Some(State { generation, id }),
            _ => None,
        })
        .collect();
    all.sort();
    Ok(all)
}

/// The states of a suite that may be read.
#[derive(Debug, Default)]
pub struct Readable {
    /// The generations whose ids stay.
    pub newest: BTreeSet<i64>,
    /// Those that the ids of other suites may have: the pool has all of their files.
    pub whole: BTreeSet<i64>,
}

/// Keeps the ids at which one of the newest generations of these suites was published, with what they
/// have of the others, if that is still whole. The rest goes. Returns the generations that are needed.
pub fn retain(
    root: &Path,
    readable: &BTreeMap<Suite, Readable>,
) -> Result<BTreeMap<Suite, BTreeSet<i64>>> {
    let mut all: BTreeMap<(String, String), Entry> = BTreeMap::new();
    for id in ids(root)? {
        let dists = root.join(STATES).join(&id).join("dists");
        for found in fs::read_dir(&dists).into_iter().flatten() {
            let found = found?;
            if let Some(entry) = entry(&found.path()) {
                all.insert((id.clone(), found.file_name().to_string_lossy().into_owned()), entry);
            }
        }
    }
    let of = |name: &str| suite_of(name).and_then(|suite| readable.get(&suite));
    let kept_ids: BTreeSet<&str> = all
        .iter()
        .filter(|((_, suite), entry)| match entry {
            // The record has one without a name: its suite is still to show it.
            Entry::Own(n) | Entry::Unnamed(n) => of(suite).is_some_and(|it| it.newest.contains(n)),
            _ => false,
        })
        .map(|((id, _), _)| &id[..])
        .collect();
    let is_whole = |id: &str, suite: &str| match all.get(&(id.to_owned(), suite.to_owned())) {
        Some(Entry::Own(n)) => of(suite).is_some_and(|it| it.whole.contains(n)),
        _ => false,
    };
    let lent: BTreeSet<(&str, &str)> = all
        .iter()
        .filter_map(|((id, suite), entry)| match entry {
            Entry::Borrowed(of) if kept_ids.contains(&id[..]) => Some((&of[..], &suite[..])),
            _ => None,
        })
        .filter(|(id, suite)| is_whole(id, suite))
        .collect();
    let mut left: BTreeMap<Suite, BTreeSet<i64>> = BTreeMap::new();
    for ((id, suite), entry) in &all {
        let is_of_kept = kept_ids.contains(&id[..]);
        match entry {
            Entry::Unnamed(n) if of(suite).is_some_and(|it| it.newest.contains(n)) => {}
            Entry::Own(n) if is_of_kept || lent.contains(&(&id[..], &suite[..])) => {
                left.entry(suite.parse()?).or_default().insert(*n);
            }
            Entry::Borrowed(of) if is_of_kept && lent.contains(&(&of[..], &suite[..])) => {}
            _ => remove(root, id, suite)?,
        }
    }
    Ok(left)
}

/// Takes every state of a suite away.
pub fn forget(root: &Path, suite: &Suite) -> Result<()> {
    for id in ids(root)? {
        if entry(&place(root, &id, suite)).is_some() {
            remove(root, &id, suite.as_str())?;
        }
    }
    Ok(())
}

/// Takes what an id has of a suite away: first the name goes, then what it has.
fn remove(root: &Path, id: &str, name: &str) -> Result<()> {
    let top = root.join(STATES).join(id);
    let dir = top.join("dists").join(name);
    if dir.is_symlink() {
        fs::remove_file(&dir)?;
    } else if name.starts_with('.') {
        fs::remove_dir_all(&dir)?;
    } else {
        let gone = dir.with_file_name(format!(".{name}.gone"));
        if gone.exists() {
            fs::remove_dir_all(&gone)?;
        }
        fs::rename(&dir, &gone)?;
        fs::remove_dir_all(&gone)?;
    }
    if fs::read_dir(top.join("dists"))?.next().is_none() {
        fs::remove_dir_all(&top)?;
    }
    Ok(())
}

/// Signs the states of a suite again where other keys have signed them: a machine may trust the new
/// ones only.
pub fn sign_again(root: &Path, suite: &Suite, keys: &ArchiveKeys) -> Result<()> {
    for State { id, .. } in of_suite(root, suite)? {
        let dir = place(root, &id, suite);
        let read =
            |name: &str| fs::read(dir.join(name)).with_context(|| format!("state {id} of {suite}"));
        let text = String::from_utf8(read("Release")?)?;
        let signed = Signed { inline: read("InRelease")?, detached: read("Release.gpg")? };
        if keys.verify(&text, &signed).is_ok() {
            continue;
        }
        let signed = keys.sign(&text)?;
        files::write_whole(&dir.join("InRelease"), &signed.inline)?;
        files::write_whole(&dir.join("Release.gpg"), &signed.detached)?;
    }
    Ok(())
}
