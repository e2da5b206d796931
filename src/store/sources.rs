//! Keeps what jobs' source packages were made of, and the one `.dsc` that each version has.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::released;
use invirtibuilder_api::source::{JobSource, JobTarball};
use invirtibuilder_core::config::Isolation;
use invirtibuilder_core::domain::{Identity, SuiteId};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::facts::{Proof, SourcePackage};
use invirtibuilder_core::names::{ChrootDigest, CommitId, JobId, PackageName};

/// The most paths and sentences of one kind that the record keeps.
const KEPT: usize = 1000;

/// Writes down the plan of a job's source package, in place of that of an earlier attempt. It
/// leaves out what is only known later.
pub fn fix(tx: &Transaction, job: JobId, plan: &JobSource) -> Result<()> {
    forget(tx, job)?;
    tx.execute(
        "INSERT INTO job_source (job, branch, layout, extra, notes) VALUES (?, ?, ?, ?, ?)",
        params![job, plan.branch, plan.layout, list(&plan.extra)?, list(&plan.notes)?],
    )?;
    for (turn, tarball) in plan.tarballs.iter().enumerate() {
        let JobTarball { name, origin, brought_by, delta, tree, tag, sha256, .. } = tarball;
        tx.execute(
            "INSERT INTO job_tarball (job, turn, name, origin, brought, delta, tree, tag, sha256) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![job, turn as i64, name, origin, brought_by, delta, tree, tag, sha256],
        )?;
    }
    Ok(())
}

/// Forgets the plan of a job: a job that is queued again is planned again.
pub fn forget(tx: &Transaction, job: JobId) -> Result<()> {
    tx.execute("DELETE FROM job_tarball WHERE job = ?", [job])?;
    tx.execute("DELETE FROM job_source WHERE job = ?", [job])?;
    Ok(())
}

/// The conditions of a build: what keeps it from the host, and which of the service's own packages
/// it may take.
#[derive(Debug, Clone)]
pub struct Conditions<'a> {
    /// The isolation.
    pub isolation: Isolation,
    /// The suites of the service that it may take packages from.
    pub suites: &'a [SuiteId],
    /// The chroot or image whose dpkg-source makes the source package.
    pub programs: Option<&'a ChrootDigest>,
}

/// Writes down what was made of a job's plan. Returns the SHA-256 of the `.dsc`.
pub fn made(
    tx: &Transaction,
    job: JobId,
    package: &SourcePackage,
    dsc: &str,
    conditions: &Conditions,
) -> Result<String> {
    let sha256 = invirtibuilder_core::text::hex(&<sha2::Sha256 as sha2::Digest>::digest(dsc));
    tx.execute(
        "UPDATE job_source SET dsc = ?, dsc_sha256 = ?, isolation = ?, suites = ?, programs = ? WHERE job = ?",
        params![dsc, sha256, conditions.isolation, serde_json::to_string(conditions.suites)?, conditions.programs, job],
    )?;
    add_notes(tx, job, &package.notes)?;
    for (name, sum) in &package.tarballs {
        tx.execute(
            "UPDATE job_tarball SET sha256 = ? WHERE job = ? AND name = ?",
            params![sum, job, name],
        )?;
    }
    Ok(sha256)
}

/// Writes down what the service has proven of a job's source package.
pub fn proven(tx: &Transaction, job: JobId, proof: &Proof) -> Result<()> {
    add_notes(tx, job, &proof.notes)?;
    tx.execute(
        "UPDATE job_source SET layout = ?, extra = ?, proven = 1 WHERE job = ?",
        params![proof.layout, list(&proof.extra)?, job],
    )?;
    for (name, bound) in &proof.bound {
        tx.execute(
            "UPDATE job_tarball SET bound = ? WHERE job = ? AND name = ?",
            params![bound, job, name],
        )?;
    }
    Ok(())
}

/// Adds notes on a job's source package and on what was made of it.
pub fn add_notes(tx: &Transaction, job: JobId, new: &[String]) -> Result<()> {
    let mut notes = source_of_job(tx, job)?.map(|source| source.notes).unwrap_or_default();
    for note in new {
        if !notes.contains(note) {
            notes.push(note.clone());
        }
    }
    tx.execute("UPDATE job_source SET notes = ? WHERE job = ?", params![list(&notes)?, job])?;
    Ok(())
}

/// Tells whether a job's source package was proven to be its commit.
pub fn is_proven(db: &Connection, job: JobId) -> Result<bool> {
    Ok(source_of_job(db, job)?.is_some_and(|source| source.proven))
}

fn list(all: &[String]) -> Result<String> {
    let mut kept: Vec<String> = all.iter().take(KEPT).cloned().collect();
    if all.len() > KEPT {
        kept.push(format!("and {} more", all.len() - KEPT));
    }
    Ok(serde_json::to_string(&kept)?)
}

/// Reads what a job's source package is made of; `None`: it is a copy, or of a release that kept
/// none of this.
pub fn source_of_job(db: &Connection, job: JobId) -> Result<Option<JobSource>> {
    let sql = "SELECT branch, layout, isolation, suites, programs, dsc_sha256, dsc, extra, notes, proven FROM job_source WHERE job = ?";
    let found = db.prepare_cached(sql)?.query_row([job], |row| {
        Ok(JobSource {
            branch: row.get(0)?,
            layout: row.get(1)?,
            isolation: row.get(2)?,
            suites: parsed(row.get::<_, Option<String>>(3)?)?,
            programs: row.get(4)?,
            dsc_sha256: row.get(5)?,
            dsc: row.get(6)?,
            tarballs: Vec::new(),
            extra: parsed(row.get(7)?)?,
            notes: parsed(row.get(8)?)?,
            proven: row.get(9)?,
        })
    });
    let Some(mut source) = found.optional()? else { return Ok(None) };
    let sql = "SELECT name, origin, brought, delta, tree, sha256, bound, tag FROM job_tarball WHERE job = ? ORDER BY turn";
    let mut statement = db.prepare_cached(sql)?;
    let tarballs = statement.query_map([job], |row| {
        Ok(JobTarball {
            name: row.get(0)?,
            origin: row.get(1)?,
            brought_by: row.get(2)?,
            delta: row.get(3)?,
            tree: row.get(4)?,
            sha256: row.get(5)?,
            bound: row.get(6)?,
            tag: row.get(7)?,
        })
    })?;
    source.tarballs = tarballs.collect::<Result<_, _>>()?;
    Ok(Some(source))
}

fn parsed<T: serde::de::DeserializeOwned + Default>(text: Option<String>) -> rusqlite::Result<T> {
    let Some(text) = text else { return Ok(T::default()) };
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })
}

/// Lists the commits at which open jobs of a package have fixed the branch pristine-tar.
pub fn pinned(db: &Connection, package: &PackageName) -> Result<Vec<CommitId>> {
    let sql = "SELECT DISTINCT branch FROM job_source JOIN job ON job.id = job_source.job WHERE package = ? AND branch IS NOT NULL
               AND state IN ('queued', 'preparing', 'building', 'publishing')";
    let mut statement = db.prepare_cached(sql)?;
    Ok(statement.query_map([package], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Finds the one `.dsc` of a version: its SHA-256.
pub fn dsc_of(db: &Connection, id: &Identity) -> Result<Option<String>> {
    let sql = "SELECT sha256 FROM version_source WHERE domain = ? AND package = ? AND version = ?";
    let key = params![id.domain, id.package, id.version];
    Ok(db.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()?)
}

/// Refuses a version's second `.dsc` if it is another than the first, and a first one if it is that
/// of a version that was let go.
pub fn demand_same(db: &Connection, id: &Identity, sha256: &str) -> Result<(), Failure> {
    match dsc_of(db, id)? {
        Some(first) if first != sha256 => {
            let text = format!(
                "the source package comes out otherwise than when {id} was published: the .dsc has SHA-256 {sha256}, \
                 and had {first}: what was published under a version never changes, so raise the version in debian/changelog"
            );
            Err(Failure::new(FailureKind::Differs, text))
        }
        Some(_) => Ok(()),
        None => released::demand_new(db, &id.domain, &format!("the .dsc of {id}"), sha256),
    }
}

/// Keeps the `.dsc` that a job made as the one of its version.
pub fn keep(tx: &Transaction, job: JobId, id: &Identity) -> Result<()> {
    let Some(JobSource { dsc_sha256: Some(sha256), dsc, .. }) = source_of_job(tx, job)? else {
        return Ok(());
    };
    demand_same(tx, id, &sha256)?;
    tx.execute(
        "INSERT INTO version_source (domain, package, version, sha256, dsc) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET dsc = coalesce(dsc, excluded.dsc)",
        params![id.domain, id.package, id.version, sha256, dsc],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::Record;
    use crate::jobs::{self, NewJob};
    use crate::sources::*;
    use invirtibuilder_core::facts::{Bound, Layout};

    #[test]
    fn a_job_keeps_what_it_was_made_of_and_a_version_its_dsc() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        let new = NewJob {
            pocket: "prod".parse().unwrap(),
            domain: Default::default(),
            package: "hello".parse().unwrap(),
            commit: "0".repeat(40).parse().unwrap(),
            version: "1.0-1".parse().unwrap(),
            written: "1.0-1".parse().unwrap(),
            why: None,
            principal: invirtibuilder_core::names::Principal::from_authenticated(
                "alice@EXAMPLE.ORG",
            )
            .unwrap(),
        };
        let job = record.write(|tx| jobs::enqueue(tx, &new)).unwrap();
        assert_eq!(source_of_job(record.db(), job).unwrap(), None);
        let name = "hello_1.0.orig.tar.gz".to_owned();
        let plan = JobSource {
            tarballs: vec![JobTarball {
                name: name.clone(),
                origin: "pristine-tar".to_owned(),
                brought_by: None,
                delta: Some("1".repeat(40)),
                tree: Some("1".repeat(40)),
                sha256: None,
                bound: None,
                tag: None,
            }],
            branch: Some("2".repeat(40).parse().unwrap()),
            notes: vec!["a note".to_owned()],
            ..JobSource::default()
        };
        record.write(|tx| fix(tx, job, &plan)).unwrap();
        record.write(|tx| fix(tx, job, &plan)).unwrap();
        assert_eq!(pinned(record.db(), &new.package).unwrap(), [plan.branch.clone().unwrap()]);
        let package = SourcePackage {
            dsc: "x".into(),
            files: Vec::new(),
            architectures: Vec::new(),
            tarballs: vec![(name.clone(), "3".repeat(64))],
            notes: Vec::new(),
        };
        let suites = ["stable".parse().unwrap()];
        let conditions =
            Conditions { isolation: Isolation::Unshare, suites: &suites, programs: None };
        let proof = Proof {
            layout: Some(Layout::Applied),
            extra: vec!["configure".to_owned()],
            bound: [(name, Bound::Sum)].into(),
            notes: vec!["a note".to_owned(), "another".to_owned()],
        };
        record.write(|tx| made(tx, job, &package, "Format: 3.0 (quilt)\n", &conditions)).unwrap();
        record.write(|tx| proven(tx, job, &proof)).unwrap();
        let source = source_of_job(record.db(), job).unwrap().unwrap();
        assert_eq!(
            (source.layout, source.notes.len(), &source.extra[..]),
            (Some(Layout::Applied), 2, &proof.extra[..])
        );
        assert_eq!((source.tarballs[0].bound, source.suites.len()), (Some(Bound::Sum), 1));

        let (package, id) = (&new.package, &new.identity());
        record.write(|tx| keep(tx, job, id)).unwrap();
        let sum = dsc_of(record.db(), id).unwrap().unwrap();
        assert_eq!(demand_same(record.db(), id, &sum), Ok(()));
        let failure = demand_same(record.db(), id, &"4".repeat(64)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Differs);
        record.write(|tx| forget(tx, job)).unwrap();
        assert!(pinned(record.db(), package).unwrap().is_empty());
    }
}
