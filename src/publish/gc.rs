//! What the archive forgets: old snapshots, and versions that no snapshot and no tag needs.

use std::collections::BTreeSet;

use anyhow::Result;
use rusqlite::Transaction;
use serde::Serialize;

use crate::archive::Archive;
use crate::config::{Config, Keep};
use crate::names::{PackageName, Principal, Suite, Version};
use crate::record::audit::Entry;
use crate::record::contents::Named;
use crate::record::snapshots::{self, Snapshot};
use crate::record::{Record, beside, contents, jobs, now, pockets, pool};

/// What was removed.
#[derive(Debug, Default, Serialize)]
pub struct Collected {
    /// Snapshots: suite and number.
    pub snapshots: Vec<(Suite, i64)>,
    /// Versions of source packages.
    pub versions: Vec<(PackageName, Version)>,
    /// Files in the pool that no version had.
    pub strays: Vec<String>,
    /// Files of these versions.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Forgets in the record; the files that are to go are intents then. Refused while a suite shows what the record does not
/// know: then it is the record that has forgotten.
pub fn forget(config: &Config, record: &mut Record, by: &Principal) -> Result<Collected> {
    super::in_step(config, record)?;
    // Nobody else writes to the pool meanwhile, so it is looked through outside of the transaction.
    let (files, beside) = (pool::files(record.db())?, beside::all(record.db())?);
    let files = files.iter().map(|file| file.path.as_str());
    let known = files.chain(beside.iter().map(|it| it.path.as_str())).collect();
    let strays = Archive::open(config)?.strays(&known)?;
    // Tags that we have made: people's are theirs, and need nothing of ours.
    let versions = pockets::versions(record.db())?.into_iter();
    let tagged: BTreeSet<(PackageName, Version)> =
        versions.filter(|(.., known)| known.tag.is_some()).map(|(source, version, _)| (source, version)).collect();
    record.write(|tx| {
        let mut collected = Collected::default();
        for suite in contents::suites(tx)? {
            for old in old(&config.archive.keep, &snapshots::of_suite(tx, &suite)?) {
                snapshots::forget(tx, &suite, old)?;
                collected.snapshots.push((suite.clone(), old));
            }
        }
        let mut going = BTreeSet::new();
        for version in contents::versions_not_shown(tx)? {
            if !tagged.contains(&version) && !jobs::any_open(tx, &version.0)? {
                going.insert(version);
            }
        }
        keep_used(&contents::built_using(tx)?, &mut going);
        for (source, version) in going {
            forget_version(tx, &mut collected, source, version)?;
        }
        for stray in strays {
            pool::intend(tx, &stray)?;
            collected.strays.push(stray);
        }
        Entry::new("archive.gc")
            .with("by", by.as_str())
            .with("snapshots", collected.snapshots.len())
            .with("versions", collected.versions.len())
            .append(tx)?;
        Ok(collected)
    })
}

/// Takes those out of `going` that something which stays was built with.
fn keep_used(used: &[(Named, Named)], going: &mut BTreeSet<Named>) {
    // What is kept for that reason may itself have been built with others.
    while let Some((kept, _)) = used.iter().find(|(used, by)| going.contains(used) && !going.contains(by)) {
        going.remove(kept);
    }
}

fn forget_version(tx: &Transaction, to: &mut Collected, source: PackageName, version: Version) -> Result<()> {
    let files = pool::of_version(tx, &source, &version)?;
    pool::forget_version(tx, &source, &version)?;
    for file in files {
        if pool::file(tx, &file.path)?.is_none() {
            to.files += 1;
            to.bytes += file.size;
        }
    }
    to.versions.push((source, version));
    Ok(())
}

/// The snapshots, of all with the newest first, that nothing keeps. The newest is what the suite shows.
fn old(keep: &Keep, all: &[Snapshot]) -> Vec<i64> {
    if *keep == Keep::default() {
        return Vec::new();
    }
    let since = keep.days.map(|days| now() - i64::from(days) * 86_400_000);
    let most = keep.versions.unwrap_or(0) as usize;
    // A state was shown until the next one came: its age counts from then.
    all.iter()
        .zip(all.iter().skip(1))
        .enumerate()
        .filter(|(n, (next, _))| n + 1 >= most.max(1) && since.is_none_or(|since| next.at < since))
        .map(|(_, (_, snapshot))| snapshot.number)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_something_that_stays_was_built_with_stays() {
        let named = |name: &str| -> Named { (name.parse().unwrap(), "1".parse().unwrap()) };
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        for (by, field) in [
            ("app", "Built-Using: lib (= 1), odd, other (>> 2)"),
            ("lib", "Static-Built-Using: base (= 1)"),
            ("gone", "built-using: old (= 1)"),
            ("none", "Description: Built-Using: nothing (= 1)"),
        ] {
            let part = contents::Part {
                kind: contents::Kind::Deb,
                name: by.into(),
                architecture: "all".into(),
                component: "main".into(),
                stanza: format!("Package: {by}\n{field}\n"),
            };
            let (source, version) = named(by);
            let content = contents::Content {
                source,
                version,
                changes: String::new(),
                parts: vec![part],
                files: Vec::new(),
                beside: Vec::new(),
            };
            record.write(|tx| contents::add(tx, &content)).unwrap();
        }
        let mut used = contents::built_using(record.db()).unwrap();
        used.sort();
        let wanted = [("base", "lib"), ("lib", "app"), ("old", "gone")];
        assert_eq!(used, wanted.map(|(a, b)| (named(a), named(b))));
        let mut going: BTreeSet<Named> = ["lib", "base", "old", "gone"].map(named).into();
        keep_used(&used, &mut going);
        assert_eq!(going, ["gone", "old"].map(named).into());
    }

    #[test]
    fn a_state_is_kept_while_it_is_young_or_among_the_last() {
        let day = 86_400_000;
        let taken =
            |number: i64, days: i64| Snapshot { number, at: now() - days * day, note: String::new(), packages: 0 };
        let all = [taken(9, 1), taken(7, 5), taken(5, 10), taken(2, 100)];
        let gone = |versions, days| old(&Keep { versions, days }, &all);
        assert_eq!(gone(None, None), [0; 0]);
        assert_eq!(gone(Some(2), None), [5, 2]);
        assert_eq!(gone(Some(0), None), [7, 5, 2], "what is shown stays");
        // Snapshot 5 was shown until five days ago.
        assert_eq!(gone(None, Some(6)), [2]);
        assert_eq!(gone(Some(3), Some(2)), [2]);
        assert_eq!(gone(Some(4), Some(0)), [0; 0]);
    }
}
