//! What jobs' source packages were made of, and the one `.dsc` that each version has.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::Serialize;

use super::released;
use crate::config::Isolation;
use crate::error::{Failure, FailureKind};
use crate::names::{ChrootDigest, CommitId, JobId, PackageName, Suite, Version};
use crate::source::{Bound, Layout, Origin, Plan, Proof, SourcePackage};

/// What a job's source package is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Where the branch pristine-tar was, if it was asked and there was one.
    pub branch: Option<CommitId>,
    /// How the commit's tree holds it.
    pub layout: Option<Layout>,
    /// What kept the build from the host.
    pub isolation: Option<Isolation>,
    /// The service's own suites that build dependencies might come from.
    pub suites: Vec<Suite>,
    /// The chroot or image whose dpkg-source made it; `None`: the host's did, or it was not made yet.
    pub programs: Option<ChrootDigest>,
    /// The SHA-256 of the `.dsc`.
    pub dsc_sha256: Option<String>,
    /// The `.dsc`.
    #[serde(skip)]
    pub dsc: Option<String>,
    /// Its upstream tarballs, the main one first.
    pub tarballs: Vec<Tarball>,
    /// Whether it was unpacked and compared with the commit.
    pub proven: bool,
    /// Paths that a tarball has and the commit has not, and that the commit binds.
    pub extra: Vec<String>,
    /// What was left out or let go, each a sentence.
    pub notes: Vec<String>,
}

/// An upstream tarball of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tarball {
    /// Its name.
    pub name: String,
    /// `pool` or `pristine-tar`.
    pub origin: String,
    /// The job that brought the pool's.
    pub brought_by: Option<JobId>,
    /// The delta, a blob.
    pub delta: Option<String>,
    /// The tree that the delta was made against.
    pub tree: Option<String>,
    /// Its SHA-256, if it is known.
    pub sha256: Option<String>,
    /// How the commit binds it.
    pub bound: Option<Bound>,
}

/// The most paths and sentences that are kept of one kind.
const KEPT: usize = 1000;

/// Writes down what a job is to be made of, in place of what an earlier attempt was.
pub fn fix(tx: &Transaction, job: JobId, plan: &Plan) -> Result<()> {
    forget(tx, job)?;
    tx.execute(
        "INSERT INTO job_source (job, branch, layout, extra, notes) VALUES (?, ?, ?, ?, ?)",
        params![job, plan.branch, plan.layout, list(&plan.extra)?, list(&plan.notes)?],
    )?;
    for (turn, tarball) in plan.tarballs.iter().enumerate() {
        let (brought, delta, tree) = match &tarball.origin {
            Origin::Pool { job, .. } => (*job, None, None),
            Origin::PristineTar { delta, tree, .. } => (None, Some(delta.to_string()), Some(tree.to_string())),
        };
        tx.execute(
            "INSERT INTO job_tarball (job, turn, name, origin, brought, delta, tree, sha256) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            params![job, turn as i64, tarball.name, tarball.from(), brought, delta, tree, tarball.sha256],
        )?;
    }
    Ok(())
}

/// A job that is queued again is planned again.
pub fn forget(tx: &Transaction, job: JobId) -> Result<()> {
    tx.execute("DELETE FROM job_tarball WHERE job = ?", [job])?;
    tx.execute("DELETE FROM job_source WHERE job = ?", [job])?;
    Ok(())
}

/// What keeps a build from the host, and which of the service's own packages it may take.
#[derive(Debug, Clone)]
pub struct Conditions<'a> {
    /// The isolation.
    pub isolation: Isolation,
    /// The suites.
    pub suites: &'a [Suite],
    /// The chroot or image whose dpkg-source makes the source package.
    pub programs: Option<&'a ChrootDigest>,
}

/// Writes down what was made of a job's plan; the SHA-256 of the `.dsc`.
pub fn made(
    tx: &Transaction,
    job: JobId,
    package: &SourcePackage,
    dsc: &str,
    conditions: &Conditions,
) -> Result<String> {
    let sha256 = crate::text::hex(&<sha2::Sha256 as sha2::Digest>::digest(dsc));
    tx.execute(
        "UPDATE job_source SET dsc = ?, dsc_sha256 = ?, isolation = ?, suites = ?, programs = ? WHERE job = ?",
        params![dsc, sha256, conditions.isolation, serde_json::to_string(conditions.suites)?, conditions.programs, job],
    )?;
    add_notes(tx, job, &package.notes)?;
    for (name, sum) in &package.tarballs {
        tx.execute("UPDATE job_tarball SET sha256 = ? WHERE job = ? AND name = ?", params![sum, job, name])?;
    }
    Ok(sha256)
}

/// Writes down what was proven of a job's source package.
pub fn proven(tx: &Transaction, job: JobId, proof: &Proof) -> Result<()> {
    add_notes(tx, job, &proof.notes)?;
    tx.execute(
        "UPDATE job_source SET layout = ?, extra = ?, proven = 1 WHERE job = ?",
        params![proof.layout, list(&proof.extra)?, job],
    )?;
    for (name, bound) in &proof.bound {
        tx.execute("UPDATE job_tarball SET bound = ? WHERE job = ? AND name = ?", params![bound, job, name])?;
    }
    Ok(())
}

/// Adds to what has to be said of a job's source package and of what was made of it.
pub fn add_notes(tx: &Transaction, job: JobId, new: &[String]) -> Result<()> {
    let mut notes = of(tx, job)?.map(|source| source.notes).unwrap_or_default();
    for note in new {
        if !notes.contains(note) {
            notes.push(note.clone());
        }
    }
    tx.execute("UPDATE job_source SET notes = ? WHERE job = ?", params![list(&notes)?, job])?;
    Ok(())
}

/// Whether a job's source package was proven to be its commit.
pub fn is_proven(db: &Connection, job: JobId) -> Result<bool> {
    Ok(of(db, job)?.is_some_and(|source| source.proven))
}

fn list(all: &[String]) -> Result<String> {
    let mut kept: Vec<String> = all.iter().take(KEPT).cloned().collect();
    if all.len() > KEPT {
        kept.push(format!("and {} more", all.len() - KEPT));
    }
    Ok(serde_json::to_string(&kept)?)
}

/// What a job's source package is made of; `None`: it is a copy, or of a release that kept none of this.
pub fn of(db: &Connection, job: JobId) -> Result<Option<Source>> {
    let sql = "SELECT branch, layout, isolation, suites, programs, dsc_sha256, dsc, extra, notes, proven FROM job_source WHERE job = ?";
    let found = db.prepare_cached(sql)?.query_row([job], |row| {
        Ok(Source {
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
    let sql = "SELECT name, origin, brought, delta, tree, sha256, bound FROM job_tarball WHERE job = ? ORDER BY turn";
    let mut statement = db.prepare_cached(sql)?;
    let tarballs = statement.query_map([job], |row| {
        Ok(Tarball {
            name: row.get(0)?,
            origin: row.get(1)?,
            brought_by: row.get(2)?,
            delta: row.get(3)?,
            tree: row.get(4)?,
            sha256: row.get(5)?,
            bound: row.get(6)?,
        })
    })?;
    source.tarballs = tarballs.collect::<Result<_, _>>()?;
    Ok(Some(source))
}

fn parsed<T: serde::de::DeserializeOwned + Default>(text: Option<String>) -> rusqlite::Result<T> {
    let Some(text) = text else { return Ok(T::default()) };
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))
}

/// Where open jobs of a package have fixed the branch pristine-tar.
pub fn pinned(db: &Connection, package: &PackageName) -> Result<Vec<CommitId>> {
    let sql = "SELECT DISTINCT branch FROM job_source JOIN job ON job.id = job_source.job WHERE package = ? AND branch IS NOT NULL
               AND state IN ('queued', 'preparing', 'building', 'publishing')";
    let mut statement = db.prepare_cached(sql)?;
    Ok(statement.query_map([package], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// The one `.dsc` of a version: its SHA-256.
pub fn dsc_of(db: &Connection, package: &PackageName, version: &Version) -> Result<Option<String>> {
    let sql = "SELECT sha256 FROM version_source WHERE package = ? AND version = ?";
    Ok(db.prepare_cached(sql)?.query_row(params![package, version], |row| row.get(0)).optional()?)
}

/// Refuses a version's second `.dsc` if it is another than the first, and a first one if it is that of a version that was let go.
pub fn demand_same(db: &Connection, package: &PackageName, version: &Version, sha256: &str) -> Result<(), Failure> {
    match dsc_of(db, package, version)? {
        Some(first) if first != sha256 => {
            let text = format!(
                "the source package comes out otherwise than when {package} {version} was published: the .dsc has SHA-256 {sha256}, \
                 and had {first}: what was published under a version never changes, so raise the version in debian/changelog"
            );
            Err(Failure::new(FailureKind::Differs, text))
        }
        Some(_) => Ok(()),
        None => released::demand_new(db, &format!("the .dsc of {package} {version}"), sha256),
    }
}

/// Keeps the `.dsc` that a job made as the one of its version.
pub fn keep(tx: &Transaction, job: JobId, package: &PackageName, version: &Version) -> Result<()> {
    let Some(Source { dsc_sha256: Some(sha256), dsc, .. }) = of(tx, job)? else { return Ok(()) };
    demand_same(tx, package, version, &sha256)?;
    tx.execute(
        "INSERT INTO version_source (package, version, sha256, dsc) VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET dsc = coalesce(dsc, excluded.dsc)",
        params![package, version, sha256, dsc],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::record::jobs::{self, NewJob};
    use crate::source::Format;

    #[test]
    fn a_job_keeps_what_it_was_made_of_and_a_version_its_dsc() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        let new = NewJob {
            pocket: "prod".parse().unwrap(),
            package: "hello".parse().unwrap(),
            commit: "0".repeat(40).parse().unwrap(),
            version: "1.0-1".parse().unwrap(),
            principal: crate::names::Principal::from_authenticated("alice@EXAMPLE.ORG").unwrap(),
        };
        let job = record.write(|tx| jobs::enqueue(tx, &new)).unwrap();
        assert_eq!(of(record.db(), job).unwrap(), None);
        let oid = git2::Oid::from_str(&"1".repeat(40)).unwrap();
        let origin = Origin::PristineTar { delta: oid, tree: oid, signature: None, members: Vec::new() };
        let name = "hello_1.0.orig.tar.gz".to_owned();
        let plan = Plan {
            control: Default::default(),
            format: Format::Quilt,
            layout: None,
            tarballs: vec![crate::source::Tarball { name: name.clone(), component: None, origin, sha256: None }],
            branch: Some("2".repeat(40).parse().unwrap()),
            extra: Vec::new(),
            notes: vec!["a note".to_owned()],
            timestamp: 0,
            options: std::sync::Arc::default(),
            binding: std::sync::Arc::default(),
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
        let conditions = Conditions { isolation: Isolation::Unshare, suites: &suites, programs: None };
        let proof = Proof {
            layout: Some(Layout::Applied),
            extra: vec!["configure".to_owned()],
            bound: [(name, Bound::Sum)].into(),
            notes: vec!["a note".to_owned(), "another".to_owned()],
        };
        record.write(|tx| made(tx, job, &package, "Format: 3.0 (quilt)\n", &conditions)).unwrap();
        record.write(|tx| proven(tx, job, &proof)).unwrap();
        let source = of(record.db(), job).unwrap().unwrap();
        assert_eq!(
            (source.layout, source.notes.len(), &source.extra[..]),
            (Some(Layout::Applied), 2, &proof.extra[..])
        );
        assert_eq!((source.tarballs[0].bound, source.suites.len()), (Some(Bound::Sum), 1));

        let (package, version) = (&new.package, &new.version);
        record.write(|tx| keep(tx, job, package, version)).unwrap();
        let sum = dsc_of(record.db(), package, version).unwrap().unwrap();
        assert_eq!(demand_same(record.db(), package, version, &sum), Ok(()));
        let failure = demand_same(record.db(), package, version, &"4".repeat(64)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Differs);
        record.write(|tx| forget(tx, job)).unwrap();
        assert!(pinned(record.db(), package).unwrap().is_empty());
    }
}
