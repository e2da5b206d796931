//! Keeps what the build that the pool has of a version was: whose, kept from the host by what, in
//! which chroots, and with which packages of our own. It also keeps who vouches for a build that
//! another pocket could not have made itself.

use std::collections::BTreeSet;

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::{chroots, contents, sources};
use invirtibuilder_api::builds::{Build, BuildFacts, Vouched};
use invirtibuilder_core::domain::{Identity, SuiteId};
use invirtibuilder_core::given::Given;
use invirtibuilder_core::names::{DomainName, JobId, PackageName, PocketName, Principal, Version};
use invirtibuilder_core::time::now;

/// Finds the build that the pool has of a version, if the pool has the version.
pub fn of_version(db: &Connection, id: &Identity) -> Result<Option<Build>> {
    let sql =
        "SELECT coalesce(built_by, version.job), built_by IS NOT NULL, job.pocket, job.principal
               FROM pool_version AS mine
               JOIN version ON version.domain = mine.domain AND version.package = mine.source
                   AND version.version = mine.version
               JOIN job ON job.id = coalesce(built_by, version.job)
               WHERE mine.domain = ? AND mine.source = ? AND mine.version = ?";
    let row = |row: &Row| {
        Ok((
            row.get(1)?,
            Build { job: row.get(0)?, pocket: row.get(2)?, principal: row.get(3)?, facts: None },
        ))
    };
    let key = params![id.domain, id.package, id.version];
    let found = db.prepare_cached(sql)?.query_row(key, row).optional()?;
    let Some((known, mut build)) = found else { return Ok(None) };
    if known {
        build.facts = facts(db, build.job)?;
    }
    Ok(Some(build))
}

/// Reads the facts of a job's build; `None` if it has not built, or an older release did not say.
pub fn facts(db: &Connection, job: JobId) -> Result<Option<BuildFacts>> {
    let isolation = sources::source_of_job(db, job)?.and_then(|source| source.isolation);
    let Some(isolation) = isolation else { return Ok(None) };
    Ok(Some(BuildFacts {
        isolation,
        chroots: chroots::chroots_of_job(db, job)?,
        given: given(db, job)?,
    }))
}

/// Lists the packages of suites of our own that a job's build was given, by name.
pub fn given(db: &Connection, job: JobId) -> Result<Vec<Given>> {
    let sql = "SELECT suite, package, version, architecture, path, sha256, domain FROM job_given
               WHERE job = ? ORDER BY package, domain, path";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([job], |row| {
        Ok(Given {
            suite: SuiteId { domain: row.get(6)?, suite: row.get(0)? },
            package: row.get(1)?,
            version: row.get(2)?,
            architecture: row.get(3)?,
            path: row.get(4)?,
            sha256: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Writes down which packages a job's build was given, in place of those of an earlier attempt.
pub fn set_given(tx: &Transaction, job: JobId, given: &[Given]) -> Result<()> {
    tx.execute("DELETE FROM job_given WHERE job = ?", [job])?;
    let sql = "INSERT OR IGNORE INTO job_given (job, domain, path, sha256, suite, package, version, architecture)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    let mut insert = tx.prepare_cached(sql)?;
    for it in given {
        insert.execute(params![
            job,
            it.suite.domain,
            it.path,
            it.sha256,
            it.suite.suite,
            it.package,
            it.version,
            it.architecture
        ])?;
    }
    Ok(())
}

/// Records that the job `job` has built what the pool has of a version now.
pub fn set(tx: &Transaction, id: &Identity, job: JobId) -> Result<()> {
    let sql =
        "UPDATE pool_version SET built_by = ? WHERE domain = ? AND source = ? AND version = ?";
    tx.execute(sql, params![job, id.domain, id.package, id.version])?;
    Ok(())
}

/// Lists the versions of source packages whose files in a domain's pool have the name and the bytes
/// of a given package. Two of a source package may: a binary package can have a version of its own.
pub fn sources_of(db: &Connection, domain: &DomainName, given: &Given) -> Result<Vec<Identity>> {
    let sql =
        "SELECT domain, source, version FROM pool_version_file JOIN pool_file USING (domain, path)
               WHERE domain = ? AND path = ? AND sha256 = ?";
    let mut statement = db.prepare_cached(sql)?;
    let key = params![domain, given.path, given.sha256];
    Ok(statement.query_map(key, crate::rows::identity)?.collect::<Result<_, _>>()?)
}

/// Tells whether a suite shows this version of a source package, or has shown it and has had
/// nothing but later ones since. A version that a rollback took out of the suite does not count,
/// also when a later version has come then.
pub fn has_had(
    db: &Connection,
    suite: &SuiteId,
    source: &PackageName,
    version: &Version,
) -> Result<bool> {
    let Some(shown) = contents::shown(db, suite, source)? else { return Ok(false) };
    if shown == *version {
        return Ok(true);
    }
    let SuiteId { domain, suite } = suite;
    let sql = "SELECT max(until) FROM suite_source WHERE domain = ? AND suite = ? AND source = ? AND version = ?";
    let last: Option<i64> = db
        .prepare_cached(sql)?
        .query_row(params![domain, suite, source, version], |row| row.get(0))?;
    let Some(last) = last else { return Ok(false) };
    let sql = "SELECT since, until, version FROM suite_source
               WHERE domain = ? AND suite = ? AND source = ? AND since >= ?";
    let mut statement = db.prepare_cached(sql)?;
    let after = statement.query_map(params![domain, suite, source, last], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    let after: Vec<(i64, Option<i64>, Version)> = after.collect::<Result<_, _>>()?;
    if !after.iter().all(|(.., later)| version.precedes(later)) {
        return Ok(false);
    }
    let begun: BTreeSet<i64> = after.iter().map(|(since, ..)| *since).collect();
    let ended = after.iter().filter_map(|(_, until, _)| *until).chain([last]);
    for number in ended.filter(|number| !begun.contains(number)) {
        // It has shown none then. What 'archive gc' has forgotten says nothing.
        let sql =
            "SELECT EXISTS (SELECT 1 FROM snapshot WHERE domain = ? AND suite = ? AND number = ?)";
        if db.prepare_cached(sql)?.query_row(params![domain, suite, number], |row| row.get(0))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Finds the administrator's word that a pocket may have the build that the pool has of a version,
/// if there is one.
pub fn vouched(db: &Connection, id: &Identity, pocket: &PocketName) -> Result<Option<Vouched>> {
    let sql = "SELECT nullif(pocket, ''), at, by, reason FROM vouched
               WHERE domain = ? AND package = ? AND version = ? AND pocket IN (?, '') ORDER BY pocket DESC LIMIT 1";
    let row = |row: &Row| {
        Ok(Vouched { pocket: row.get(0)?, at: row.get(1)?, by: row.get(2)?, reason: row.get(3)? })
    };
    let key = params![id.domain, id.package, id.version, pocket];
    Ok(db.prepare_cached(sql)?.query_row(key, row).optional()?)
}

/// Records that an administrator answers for the build that the pool has of a version.
pub fn vouch(
    tx: &Transaction,
    id: &Identity,
    pocket: Option<&PocketName>,
    by: &Principal,
    reason: &str,
) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO vouched (domain, package, version, pocket, at, by, reason) VALUES (?, ?, ?, ?, ?, ?, ?)";
    let pocket = pocket.map_or("", |it| it.as_str());
    tx.execute(sql, params![id.domain, id.package, id.version, pocket, now(), by, reason])?;
    Ok(())
}

/// Takes back what administrators said of the build that the pool has of a version: for one pocket,
/// or all. Returns how many words that were.
pub fn take_back(tx: &Transaction, id: &Identity, pocket: Option<&PocketName>) -> Result<usize> {
    let sql = "DELETE FROM vouched
               WHERE domain = ?1 AND package = ?2 AND version = ?3 AND (?4 IS NULL OR pocket = ?4)";
    Ok(tx.execute(sql, params![id.domain, id.package, id.version, pocket])?)
}

/// Forgets what administrators and second builds said of a build that the pool no longer has: it
/// holds for no other one.
pub fn forget(tx: &Transaction, id: &Identity) -> Result<()> {
    for table in ["vouched", "reproduced"] {
        tx.execute(
            &format!("DELETE FROM {table} WHERE domain = ? AND package = ? AND version = ?"),
            params![id.domain, id.package, id.version],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::Record;
    use crate::builds::*;
    use crate::contents::{self, Content};
    use crate::jobs::{self, NewJob};
    use crate::pockets::{self, KnownVersion};

    #[test]
    fn what_a_suite_was_taken_back_from_it_has_not_had() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        let (suite, source): (SuiteId, PackageName) =
            ("stable".parse().unwrap(), "lib".parse().unwrap());
        let version = |text: &str| -> Version { text.parse().unwrap() };
        let all = ["1.0", "2.0", "3.0"];
        // Each state, by what it shows of the package, and which of these versions it has then had.
        let states: [(Option<&str>, &[&str]); 7] = [
            (Some("1.0"), &["1.0"]),
            (Some("2.0"), &["1.0", "2.0"]),
            (Some("1.0"), &["1.0"]),
            (Some("3.0"), &["1.0", "3.0"]),
            (None, &[]),
            (Some("2.0"), &["2.0"]),
            (Some("3.0"), &["2.0", "3.0"]),
        ];
        let changes = |text: &str| Content {
            id: Identity::main(source.clone(), version(text)),
            changes: String::new(),
            parts: Vec::new(),
            files: Vec::new(),
            beside: Vec::new(),
        };
        record
            .write(|tx| all.iter().try_for_each(|text| contents::add(tx, &changes(text))))
            .unwrap();
        for (number, (shown, had)) in (1..).zip(states) {
            let state = contents::SuiteState { generation: number, ..Default::default() };
            record
                .write(|tx| {
                    contents::advance_suite(tx, &suite, number - 1, &state)?;
                    super::super::snapshots::record_snapshot(tx, &suite, number, "")?;
                    match shown {
                        Some(shown) => {
                            contents::show(tx, &suite, (&source, &version(shown)), number)
                        }
                        None => contents::hide(tx, &suite, &source, number),
                    }
                })
                .unwrap();
            let has: Vec<_> = all
                .iter()
                .filter(|text| has_had(record.db(), &suite, &source, &version(text)).unwrap())
                .copied()
                .collect();
            assert_eq!(has, had, "state {number}");
        }
    }

    #[test]
    fn what_is_said_of_a_build_holds_as_long_as_the_pool_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        let by = Principal::from_authenticated("alice@EXAMPLE.ORG").unwrap();
        let new = NewJob::example("dev", "hello", "1.0", 0);
        let id = &new.identity();
        let job = record.write(|tx| jobs::enqueue(tx, &new)).unwrap();
        let known = KnownVersion {
            commit: new.commit.clone(),
            distro: "sid".parse().unwrap(),
            job,
            tag: None,
            tag_name: "1.0".to_owned(),
        };
        record.write(|tx| pockets::tie(tx, id, &known)).unwrap();
        assert_eq!(of_version(record.db(), id).unwrap(), None, "the pool has nothing");
        let content = Content {
            id: id.clone(),
            changes: String::new(),
            parts: Vec::new(),
            files: Vec::new(),
            beside: Vec::new(),
        };
        record.write(|tx| contents::add(tx, &content)).unwrap();
        let build = of_version(record.db(), id).unwrap().unwrap();
        assert_eq!((build.job, build.facts), (job, None), "an older release built it");
        record.write(|tx| set(tx, id, job)).unwrap();
        assert_eq!(
            of_version(record.db(), id).unwrap().unwrap().facts,
            None,
            "it wrote nothing down"
        );

        let given = Given {
            suite: "unstable".parse().unwrap(),
            package: "lib".into(),
            version: "2".into(),
            architecture: "all".into(),
            path: "pool/lib.deb".into(),
            sha256: "1".repeat(64),
        };
        record.write(|tx| set_given(tx, job, &[given.clone(), given.clone()])).unwrap();
        assert_eq!(super::given(record.db(), job).unwrap(), std::slice::from_ref(&given));
        assert_eq!(
            sources_of(record.db(), &id.domain, &given).unwrap(),
            [],
            "the pool no longer has it"
        );
        record.write(|tx| set_given(tx, job, &[])).unwrap();
        assert!(
            super::given(record.db(), job).unwrap().is_empty(),
            "an earlier attempt's is forgotten"
        );

        let (prod, other) = ("prod".parse().unwrap(), "other".parse().unwrap());
        record.write(|tx| vouch(tx, id, Some(&prod), &by, "read")).unwrap();
        let word = vouched(record.db(), id, &prod).unwrap().unwrap();
        assert_eq!((word.pocket.as_ref(), &word.reason[..]), (Some(&prod), "read"));
        assert_eq!(vouched(record.db(), id, &other).unwrap(), None);
        record.write(|tx| vouch(tx, id, None, &by, "for all")).unwrap();
        assert_eq!(vouched(record.db(), id, &other).unwrap().unwrap().pocket, None);
        assert_eq!(record.write(|tx| take_back(tx, id, Some(&other))).unwrap(), 0);
        assert_eq!(record.write(|tx| take_back(tx, id, Some(&prod))).unwrap(), 1);
        assert_eq!(
            vouched(record.db(), id, &prod).unwrap().unwrap().pocket,
            None,
            "that for all holds"
        );
        record.write(|tx| vouch(tx, id, Some(&prod), &by, "read")).unwrap();
        assert_eq!(record.write(|tx| take_back(tx, id, None)).unwrap(), 2);
        assert_eq!(vouched(record.db(), id, &prod).unwrap(), None);
        record.write(|tx| vouch(tx, id, None, &by, "for all")).unwrap();
        record.write(|tx| crate::forget::version(tx, id)).unwrap();
        assert_eq!(vouched(record.db(), id, &prod).unwrap(), None);
    }
}
