//! What the build that the pool has of a version was: whose, kept from the host by what, in which chroots, and with which
//! packages of our own. And who vouches for a build that another pocket could not have made itself.

use std::collections::BTreeSet;

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Serialize;

use super::chroots::{self, BuiltIn};
use super::{now, sources};
use crate::build::proxy::Given;
use crate::config::Isolation;
use crate::names::{JobId, PackageName, PocketName, Principal, Suite, Version};

/// A build, and what it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Build {
    /// The job.
    pub job: JobId,
    /// The pocket that it was for.
    pub pocket: PocketName,
    /// Who submitted it.
    pub principal: Principal,
    /// What is known of it; `None`: an older release has built it, and did not write that down.
    pub facts: Option<Facts>,
}

/// What a build had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// What kept it from the host.
    pub isolation: Isolation,
    /// What it was made in; none of ours if schroot had it.
    pub chroots: Vec<BuiltIn>,
    /// The packages of suites of our own that it was given.
    pub given: Vec<Given>,
}

/// The build that the pool has of a version, if the pool has the version.
pub fn of_version(db: &Connection, package: &PackageName, version: &Version) -> Result<Option<Build>> {
    let sql = "SELECT coalesce(built_by, version.job), built_by IS NOT NULL, job.pocket, job.principal
               FROM pool_version
               JOIN version ON version.package = source AND version.version = pool_version.version JOIN job ON job.id = coalesce(built_by, version.job) WHERE source = ? AND pool_version.version = ?";
    let row = |row: &Row| {
        Ok((row.get(1)?, Build { job: row.get(0)?, pocket: row.get(2)?, principal: row.get(3)?, facts: None }))
    };
    let found = db.prepare_cached(sql)?.query_row(params![package, version], row).optional()?;
    let Some((known, mut build)) = found else { return Ok(None) };
    if known {
        build.facts = facts(db, build.job)?;
    }
    Ok(Some(build))
}

/// What a job's build had; `None` if it has not built, or an older release did not say.
pub fn facts(db: &Connection, job: JobId) -> Result<Option<Facts>> {
    let isolation = sources::of(db, job)?.and_then(|source| source.isolation);
    let Some(isolation) = isolation else { return Ok(None) };
    Ok(Some(Facts { isolation, chroots: chroots::of(db, job)?, given: given(db, job)? }))
}

/// The packages of suites of our own that a job's build was given, by name.
pub fn given(db: &Connection, job: JobId) -> Result<Vec<Given>> {
    let sql = "SELECT suite, package, version, architecture, path, sha256 FROM job_given WHERE job = ? ORDER BY package, path";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([job], |row| {
        Ok(Given {
            suite: row.get(0)?,
            package: row.get(1)?,
            version: row.get(2)?,
            architecture: row.get(3)?,
            path: row.get(4)?,
            sha256: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Writes down what a job's build was given, in place of what an earlier attempt was.
pub fn set_given(tx: &Transaction, job: JobId, given: &[Given]) -> Result<()> {
    tx.execute("DELETE FROM job_given WHERE job = ?", [job])?;
    let sql = "INSERT OR IGNORE INTO job_given (job, path, sha256, suite, package, version, architecture) VALUES (?, ?, ?, ?, ?, ?, ?)";
    let mut insert = tx.prepare_cached(sql)?;
    for it in given {
        insert.execute(params![job, it.path, it.sha256, it.suite, it.package, it.version, it.architecture])?;
    }
    Ok(())
}

/// What the pool has of a version now is what this job has built.
pub fn set(tx: &Transaction, package: &PackageName, version: &Version, job: JobId) -> Result<()> {
    let sql = "UPDATE pool_version SET built_by = ? WHERE source = ? AND version = ?";
    tx.execute(sql, params![job, package, version])?;
    Ok(())
}

/// The versions of source packages that have a file of the pool, if the pool has it with these bytes. Two of a source package may:
/// a binary package can have a version of its own.
pub fn sources_of(db: &Connection, given: &Given) -> Result<Vec<(PackageName, Version)>> {
    let sql = "SELECT source, version FROM pool_version_file JOIN pool_file USING (path) WHERE path = ? AND sha256 = ?";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(params![given.path, given.sha256], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether a suite shows this version of a source package, or has shown it and has had nothing but later ones since. What it was
/// taken back from by a rollback does not count, also when a later version has come then.
pub fn has_had(db: &Connection, suite: &Suite, source: &PackageName, version: &Version) -> Result<bool> {
    let Some(shown) = super::contents::shown(db, suite, source)? else { return Ok(false) };
    if shown == *version {
        return Ok(true);
    }
    let sql = "SELECT max(until) FROM suite_source WHERE suite = ? AND source = ? AND version = ?";
    let last: Option<i64> = db.prepare_cached(sql)?.query_row(params![suite, source, version], |row| row.get(0))?;
    let Some(last) = last else { return Ok(false) };
    let sql = "SELECT since, until, version FROM suite_source WHERE suite = ? AND source = ? AND since >= ?";
    let mut statement = db.prepare_cached(sql)?;
    let after = statement.query_map(params![suite, source, last], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let after: Vec<(i64, Option<i64>, Version)> = after.collect::<Result<_, _>>()?;
    if !after.iter().all(|(.., later)| version.precedes(later)) {
        return Ok(false);
    }
    let begun: BTreeSet<i64> = after.iter().map(|(since, ..)| *since).collect();
    let ended = after.iter().filter_map(|(_, until, _)| *until).chain([last]);
    for number in ended.filter(|number| !begun.contains(number)) {
        // It has shown none then. What 'archive gc' has forgotten says nothing.
        let sql = "SELECT EXISTS (SELECT 1 FROM snapshot WHERE suite = ? AND number = ?)";
        if db.prepare_cached(sql)?.query_row(params![suite, number], |row| row.get(0))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Somebody's word for a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vouched {
    /// The pocket that may have it; `None`: each.
    pub pocket: Option<PocketName>,
    /// When it was given; milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// Who gave it.
    pub by: Principal,
    /// Why.
    pub reason: String,
}

/// Who vouches that a pocket may have the build that the pool has of a version, if somebody does.
pub fn vouched(
    db: &Connection,
    package: &PackageName,
    version: &Version,
    pocket: &PocketName,
) -> Result<Option<Vouched>> {
    let sql = "SELECT nullif(pocket, ''), at, by, reason FROM vouched
               WHERE package = ? AND version = ? AND pocket IN (?, '') ORDER BY pocket DESC LIMIT 1";
    let row = |row: &Row| Ok(Vouched { pocket: row.get(0)?, at: row.get(1)?, by: row.get(2)?, reason: row.get(3)? });
    Ok(db.prepare_cached(sql)?.query_row(params![package, version, pocket], row).optional()?)
}

/// Records that an administrator answers for the build that the pool has of a version.
pub fn vouch(
    tx: &Transaction,
    package: &PackageName,
    version: &Version,
    pocket: Option<&PocketName>,
    by: &Principal,
    reason: &str,
) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO vouched (package, version, pocket, at, by, reason) VALUES (?, ?, ?, ?, ?, ?)";
    tx.execute(sql, params![package, version, pocket.map_or("", |it| it.as_str()), now(), by, reason])?;
    Ok(())
}

/// Takes back what administrators said of the build that the pool has of a version: for one
/// pocket, or all. How many words that were.
pub fn take_back(
    tx: &Transaction,
    package: &PackageName,
    version: &Version,
    pocket: Option<&PocketName>,
) -> Result<usize> {
    let sql = "DELETE FROM vouched WHERE package = ?1 AND version = ?2 AND (?3 IS NULL OR pocket = ?3)";
    Ok(tx.execute(sql, params![package, version, pocket])?)
}

/// Forgets what was said of a build that the pool no longer has: it holds for no other one.
pub fn forget(tx: &Transaction, package: &PackageName, version: &Version) -> Result<()> {
    for table in ["vouched", "reproduced"] {
        tx.execute(&format!("DELETE FROM {table} WHERE package = ? AND version = ?"), params![package, version])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::record::contents::{self, Content};
    use crate::record::jobs::{self, NewJob};
    use crate::record::pockets::{self, Known};

    #[test]
    fn what_a_suite_was_taken_back_from_it_has_not_had() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        let (suite, source): (Suite, PackageName) = ("stable".parse().unwrap(), "lib".parse().unwrap());
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
            source: source.clone(),
            version: version(text),
            changes: String::new(),
            parts: Vec::new(),
            files: Vec::new(),
            beside: Vec::new(),
        };
        record.write(|tx| all.iter().try_for_each(|text| contents::add(tx, &changes(text)))).unwrap();
        for (number, (shown, had)) in (1..).zip(states) {
            let state = contents::SuiteState { generation: number, ..Default::default() };
            record
                .write(|tx| {
                    contents::advance_suite(tx, &suite, number - 1, &state)?;
                    super::super::snapshots::take(tx, &suite, number, "")?;
                    match shown {
                        Some(shown) => contents::show(tx, &suite, &source, &version(shown), number),
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
        let new = NewJob {
            pocket: "dev".parse().unwrap(),
            package: "hello".parse().unwrap(),
            commit: "0".repeat(40).parse().unwrap(),
            version: "1.0".parse().unwrap(),
            principal: by.clone(),
        };
        let (package, version) = (&new.package, &new.version);
        let job = record.write(|tx| jobs::enqueue(tx, &new)).unwrap();
        let known = Known { commit: new.commit.clone(), distro: "sid".parse().unwrap(), job, tag: None };
        record.write(|tx| pockets::tie(tx, package, version, &known)).unwrap();
        assert_eq!(of_version(record.db(), package, version).unwrap(), None, "the pool has nothing");
        let content = Content {
            source: package.clone(),
            version: version.clone(),
            changes: String::new(),
            parts: Vec::new(),
            files: Vec::new(),
            beside: Vec::new(),
        };
        record.write(|tx| contents::add(tx, &content)).unwrap();
        let build = of_version(record.db(), package, version).unwrap().unwrap();
        assert_eq!((build.job, build.facts), (job, None), "an older release built it");
        record.write(|tx| set(tx, package, version, job)).unwrap();
        assert_eq!(of_version(record.db(), package, version).unwrap().unwrap().facts, None, "it wrote nothing down");

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
        assert_eq!(sources_of(record.db(), &given).unwrap(), [], "the pool no longer has it");
        record.write(|tx| set_given(tx, job, &[])).unwrap();
        assert!(super::given(record.db(), job).unwrap().is_empty(), "an earlier attempt's is forgotten");

        let (prod, other) = ("prod".parse().unwrap(), "other".parse().unwrap());
        record.write(|tx| vouch(tx, package, version, Some(&prod), &by, "read")).unwrap();
        let word = vouched(record.db(), package, version, &prod).unwrap().unwrap();
        assert_eq!((word.pocket.as_ref(), &word.reason[..]), (Some(&prod), "read"));
        assert_eq!(vouched(record.db(), package, version, &other).unwrap(), None);
        record.write(|tx| vouch(tx, package, version, None, &by, "for all")).unwrap();
        assert_eq!(vouched(record.db(), package, version, &other).unwrap().unwrap().pocket, None);
        assert_eq!(record.write(|tx| take_back(tx, package, version, Some(&other))).unwrap(), 0);
        assert_eq!(record.write(|tx| take_back(tx, package, version, Some(&prod))).unwrap(), 1);
        assert_eq!(vouched(record.db(), package, version, &prod).unwrap().unwrap().pocket, None, "that for all holds");
        record.write(|tx| vouch(tx, package, version, Some(&prod), &by, "read")).unwrap();
        assert_eq!(record.write(|tx| take_back(tx, package, version, None)).unwrap(), 2);
        assert_eq!(vouched(record.db(), package, version, &prod).unwrap(), None);
        record.write(|tx| vouch(tx, package, version, None, &by, "for all")).unwrap();
        record.write(|tx| super::super::pool::forget_version(tx, package, version)).unwrap();
        assert_eq!(vouched(record.db(), package, version, &prod).unwrap(), None);
    }
}
