//! Removes what the archive no longer keeps: old snapshots, and versions that no snapshot needs and
//! no tag keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use anyhow::Result;
use rusqlite::Transaction;

use invirtibuilder_api::archive::Collected;
use invirtibuilder_api::archive::Snapshot;
use invirtibuilder_archive::Archive;
use invirtibuilder_core::config::{Config, Keep};
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::names::{DomainName, PackageName, Principal};
use invirtibuilder_core::time::now;
use invirtibuilder_store::audit::AuditEntry;
use invirtibuilder_store::contents;
use invirtibuilder_store::snapshots;
use invirtibuilder_store::{Record, beside, forget, jobs, pockets, pool};

/// Forgets snapshots and versions in the record, and writes down the files to remove as intents. It
/// refuses while a suite shows what the record does not know: then it is the record that has
/// forgotten. Of a domain that is configured no longer everything stays.
pub fn forget(config: &Config, record: &mut Record, by: &Principal) -> Result<Collected> {
    super::in_step(config, record)?;
    let mut strays = Vec::new();
    for (domain, _) in config.domains() {
        strays.extend(
            self::strays(config, record, &domain)?.into_iter().map(|path| (domain.clone(), path)),
        );
    }
    // Tags that we have made: people's are theirs, and need nothing of ours.
    let versions = pockets::versions(record.db())?.into_iter();
    let tagged: BTreeSet<Identity> =
        versions.filter(|(_, known)| known.tag.is_some()).map(|(id, _)| id).collect();
    record.write(|tx| {
        let mut collected = Collected::default();
        for suite in contents::suites(tx)? {
            let Some(archive) = config.archive_of(&suite.domain) else { continue };
            for old in old(&archive.keep, &snapshots::of_suite(tx, &suite)?) {
                snapshots::forget(tx, &suite, old)?;
                collected.snapshots.push((suite.clone(), old));
            }
        }
        for (domain, archive) in config.domains() {
            let mut going = BTreeSet::new();
            let stays = newest(&tagged, &domain, archive.keep.versions_per_package);
            for id in contents::versions_not_shown(tx, &domain)? {
                if !stays.contains(&id) && !jobs::any_open(tx, &domain, &id.package)? {
                    going.insert(id);
                }
            }
            keep_used(&contents::built_using(tx, &domain)?, &mut going);
            going.into_iter().try_for_each(|id| forget_version(tx, &mut collected, id))?;
        }
        for (domain, stray) in strays {
            pool::intend(tx, &domain, &stray)?;
            collected.strays.push(domain.qualify(&stray));
        }
        AuditEntry::new("archive.gc")
            .with("by", by.as_str())
            .with("snapshots", collected.snapshots.len())
            .with("versions", collected.versions.len())
            .append(tx)?;
        Ok(collected)
    })
}

/// Lists the files in a domain's pool, and beside it, that no version has. Nobody else writes to
/// the pool meanwhile.
fn strays(config: &Config, record: &Record, domain: &DomainName) -> Result<Vec<String>> {
    let (files, beside) = (pool::files(record.db(), domain)?, beside::all(record.db(), domain)?);
    let files = files.iter().map(|file| file.path.as_str());
    let known = files.chain(beside.iter().map(|it| it.path.as_str())).collect();
    Archive::open(config, domain)?.strays(&known)
}

/// Lists the tagged versions of a domain that stay: of each package the newest, so many; `None`: all.
fn newest<'a>(
    tagged: &'a BTreeSet<Identity>,
    domain: &DomainName,
    most: Option<NonZeroU32>,
) -> BTreeSet<&'a Identity> {
    let mut packages: BTreeMap<&PackageName, Vec<&Identity>> = BTreeMap::new();
    for id in tagged.iter().filter(|id| id.domain == *domain) {
        packages.entry(&id.package).or_default().push(id);
    }
    let most = most.map_or(usize::MAX, |most| most.get() as usize);
    let newest = packages.into_values().flat_map(|mut versions| {
        versions.sort_by(|a, b| b.version.cmp_dpkg(&a.version));
        versions.into_iter().take(most)
    });
    newest.collect()
}

/// Takes those versions out of `going` that something which stays was built with.
fn keep_used(used: &[(Identity, Identity)], going: &mut BTreeSet<Identity>) {
    // What is kept for that reason may itself have been built with others.
    while let Some((kept, _)) =
        used.iter().find(|(used, by)| going.contains(used) && !going.contains(by))
    {
        going.remove(kept);
    }
}

fn forget_version(tx: &Transaction, to: &mut Collected, id: Identity) -> Result<()> {
    let files = pool::of_version(tx, &id)?;
    forget::version(tx, &id)?;
    for file in files {
        if pool::file(tx, &id.domain, &file.path)?.is_none() {
            to.files += 1;
            to.bytes += file.size;
        }
    }
    to.versions.push((id.package, id.version, id.domain));
    Ok(())
}

/// Lists the snapshots that nothing keeps, of all with the newest first. The newest is what the
/// suite shows.
fn old(keep: &Keep, all: &[Snapshot]) -> Vec<i64> {
    if keep.keeps_every_state() {
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
    use crate::gc::*;

    #[test]
    fn what_something_that_stays_was_built_with_stays() {
        let named = |name: &str| Identity::main(name.parse().unwrap(), "1".parse().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        for (by, field) in [
            ("app", "Built-Using: lib (= 1), odd, other (>> 2)"),
            ("lib", "Static-Built-Using: base (= 1)"),
            ("gone", "built-using: old (= 1)"),
            ("none", "Description: Built-Using: nothing (= 1)"),
        ] {
            let part = contents::Part {
                kind: contents::PartKind::Deb,
                name: by.into(),
                architecture: "all".into(),
                component: "main".into(),
                stanza: format!("Package: {by}\n{field}\n"),
            };
            let content = contents::Content {
                id: named(by),
                changes: String::new(),
                parts: vec![part],
                files: Vec::new(),
                beside: Vec::new(),
            };
            record.write(|tx| contents::add(tx, &content)).unwrap();
        }
        let mut used = contents::built_using(record.db(), &DomainName::main()).unwrap();
        used.sort();
        let wanted = [("base", "lib"), ("lib", "app"), ("old", "gone")];
        assert_eq!(used, wanted.map(|(a, b)| (named(a), named(b))));
        let mut going: BTreeSet<Identity> = ["lib", "base", "old", "gone"].map(named).into();
        keep_used(&used, &mut going);
        assert_eq!(going, ["gone", "old"].map(named).into());
    }

    #[test]
    fn a_state_is_kept_while_it_is_young_or_among_the_last() {
        let day = 86_400_000;
        let taken = |number: i64, days: i64| Snapshot {
            number,
            at: now() - days * day,
            note: String::new(),
            packages: 0,
        };
        let all = [taken(9, 1), taken(7, 5), taken(5, 10), taken(2, 100)];
        let gone = |versions, days| old(&Keep { versions, days, ..Keep::default() }, &all);
        assert_eq!(gone(None, None), [0; 0]);
        assert_eq!(gone(Some(2), None), [5, 2]);
        assert_eq!(gone(Some(0), None), [7, 5, 2], "what is shown stays");
        // Snapshot 5 was shown until five days ago.
        assert_eq!(gone(None, Some(6)), [2]);
        assert_eq!(gone(Some(3), Some(2)), [2]);
        assert_eq!(gone(Some(4), Some(0)), [0; 0]);
    }
}
