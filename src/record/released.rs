//! Versions that an administrator let go: their numbers may be used again, but never for the bytes that were published under them.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Serialize;

use super::pockets::{self, Known};
use super::pool::{self, PoolFile};
use super::{jobs, now};
use crate::config::Config;
use crate::error::{Failure, FailureKind};
use crate::names::{CommitId, JobId, PackageName, PocketName, Principal, Suite, Version};

/// A version that was let go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Released {
    /// The source package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// The commit that it named.
    pub commit: CommitId,
    /// The job that built it.
    pub job: JobId,
    /// When; milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// Who.
    pub by: Principal,
    /// Why.
    pub reason: String,
}

const COLUMNS: &str =
    "released.package, released.version, released.commit_id, released.job, released.at, released.by, released.reason";

impl Released {
    fn from_row(row: &Row) -> rusqlite::Result<Self> {
        Ok(Self {
            package: row.get(0)?,
            version: row.get(1)?,
            commit: row.get(2)?,
            job: row.get(3)?,
            at: row.get(4)?,
            by: row.get(5)?,
            reason: row.get(6)?,
        })
    }
}

/// The version of this commit, if it was let go: the commit is never published under that number again.
pub fn of_commit(
    db: &Connection,
    package: &PackageName,
    version: &Version,
    commit: &CommitId,
) -> Result<Option<Released>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM released WHERE package = ? AND version = ? AND commit_id = ? ORDER BY id DESC LIMIT 1"
    );
    Ok(db.prepare_cached(&sql)?.query_row(params![package, version, commit], Released::from_row).optional()?)
}

/// The version that had this file when it was let go, if there is one.
fn of_file(db: &Connection, sha256: &str) -> Result<Option<Released>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM past_file JOIN released ON released.id = past_file.released WHERE sha256 = ? LIMIT 1"
    );
    Ok(db.prepare_cached(&sql)?.query_row([sha256], Released::from_row).optional()?)
}

/// Refuses a file that a version had when it was let go.
pub fn demand_new(db: &Connection, file: &str, sha256: &str) -> Result<(), Failure> {
    let Some(old) = of_file(db, sha256)? else { return Ok(()) };
    let text = format!(
        "{file} has the bytes of a file of {} {}, which was let go: they are never published again, so change what the package is made \
         of, or raise the version in debian/changelog",
        old.package, old.version
    );
    Err(Failure::new(FailureKind::Conflict, text))
}

/// A version that a snapshot had and that was let go since.
pub fn of_snapshot(db: &Connection, suite: &Suite, number: i64) -> Result<Option<Released>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM released_source JOIN released ON released.id = released_source.released
         WHERE suite = ?1 AND since <= ?2 AND until > ?2 LIMIT 1"
    );
    Ok(db.prepare_cached(&sql)?.query_row(params![suite, number], Released::from_row).optional()?)
}

/// What a version names, if it can be let go: only pockets that allow backtracking ever had it, no suite shows it, and no job is about to.
pub fn may_go(db: &Connection, config: &Config, package: &PackageName, version: &Version) -> Result<Known, Failure> {
    let refuse = |text: String| Failure::new(FailureKind::Invalid, text);
    let Some(known) = pockets::known(db, package, version)? else {
        return Err(refuse(format!("{package} {version} was never published: 'history {package}' shows what was")));
    };
    let for_ever = "it names its commit for ever, so raise the version in debian/changelog instead";
    if known.tag.is_some() {
        let text =
            format!("{package} {version} is tagged, as a pocket without allow_backtracking has had it: {for_ever}");
        return Err(refuse(text));
    }
    let sql =
        "SELECT DISTINCT pocket FROM job WHERE package = ? AND version = ? AND state = 'published' ORDER BY pocket";
    let mut statement = db.prepare_cached(sql)?;
    let had = statement.query_map(params![package, version], |row| row.get(0))?;
    let had: Vec<PocketName> = had.collect::<Result<_, _>>()?;
    let is_firm = |pocket: &&PocketName| config.build.pockets.get(*pocket).is_some_and(|it| !it.allow_backtracking);
    if let Some(pocket) = had.iter().find(is_firm) {
        let text = format!("{package} {version} was in {pocket}, which does not allow backtracking: {for_ever}");
        return Err(refuse(text));
    }
    let sql =
        "SELECT suite FROM suite_source WHERE source = ? AND version = ? AND until IS NULL ORDER BY suite LIMIT 1";
    let shown: Option<Suite> =
        db.prepare_cached(sql)?.query_row(params![package, version], |row| row.get(0)).optional()?;
    if let Some(suite) = shown {
        let text =
            format!("suite {suite} shows {package} {version}: submit another version to it first, or roll it back");
        return Err(refuse(text));
    }
    if let Some(held) = pockets::holder(db, package, version)? {
        let text = format!("{} has {package} {version}: submit another version to it first", held.pocket);
        return Err(refuse(text));
    }
    let open = jobs::open(db)?;
    if let Some(job) = open.iter().find(|job| job.package == *package && job.version == *version) {
        let text = format!("job {} of {package} {version} is {}: 'cancel {0}', or wait for its end", job.id, job.state);
        return Err(Failure::new(FailureKind::Conflict, text));
    }
    Ok(known)
}

/// Lets a version go that may go: the record forgets what it names, and keeps the hashes of its files. Upstream's tarballs are not
/// meant: they are what the upstream version is, whichever commit takes them. The files that the pool had of it; they become intents.
pub fn let_go(
    tx: &Transaction,
    package: &PackageName,
    version: &Version,
    known: &Known,
    by: &Principal,
    reason: &str,
) -> Result<Vec<PoolFile>> {
    tx.execute(
        "INSERT INTO released (package, version, commit_id, job, at, by, reason) VALUES (?, ?, ?, ?, ?, ?, ?)",
        params![package, version, known.commit, known.job, now(), by, reason],
    )?;
    let id = tx.last_insert_rowid();
    tx.execute(
        "INSERT INTO released_source (released, suite, since, until)
         SELECT ?3, suite, since, until FROM suite_source WHERE source = ?1 AND version = ?2",
        params![package, version, id],
    )?;
    tx.execute("DELETE FROM suite_source WHERE source = ? AND version = ?", params![package, version])?;
    let files = pool::of_version(tx, package, version)?;
    pool::forget_version(tx, package, version)?;
    // What an older release collected left nothing but this.
    tx.execute(
        "INSERT INTO past_file (package, version, path, sha256)
         SELECT package, version, package || '_' || version || '.dsc', sha256 FROM version_source
         WHERE package = ?1 AND version = ?2 AND sha256 NOT IN
             (SELECT sha256 FROM past_file WHERE package = ?1 AND version = ?2)",
        params![package, version],
    )?;
    let upstream = format!("/{package}_{}.orig", version.upstream());
    tx.execute(
        "UPDATE past_file SET released = ?3
         WHERE package = ?1 AND version = ?2 AND released IS NULL AND NOT (instr(path, ?4 || '.') OR instr(path, ?4 || '-'))",
        params![package, version, id, upstream],
    )?;
    for table in ["version_source", "version"] {
        tx.execute(&format!("DELETE FROM {table} WHERE package = ? AND version = ?"), params![package, version])?;
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::record::contents::{self, Content};
    use crate::record::jobs::NewJob;

    #[test]
    fn upstreams_tarball_may_come_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        let by = Principal::from_authenticated("alice@EXAMPLE.ORG").unwrap();
        let new = NewJob {
            pocket: "dev".parse().unwrap(),
            package: "hello".parse().unwrap(),
            commit: "0".repeat(40).parse().unwrap(),
            version: "1:2.0-1".parse().unwrap(),
            principal: by.clone(),
        };
        let (package, version) = (&new.package, &new.version);
        let names = [
            "hello_2.0.orig.tar.gz",
            "hello_2.0.orig.tar.gz.asc",
            "hello_2.0.orig-more.tar.gz",
            "hello_2.0-1.debian.tar.xz",
            "hello_2.0-1.dsc",
            "hello.orig_2.0-1_all.deb",
        ];
        let file =
            |name: &&str| PoolFile { path: format!("pool/main/h/hello/{name}"), size: 1, sha256: (*name).into() };
        let content = Content {
            source: package.clone(),
            version: version.clone(),
            changes: String::new(),
            parts: Vec::new(),
            files: names.iter().map(file).collect(),
            beside: Vec::new(),
        };
        let job = record.write(|tx| jobs::enqueue(tx, &new)).unwrap();
        let distro = "sid".parse().unwrap();
        let known = Known { commit: new.commit.clone(), distro, job, tag: None };
        record.write(|tx| pockets::tie(tx, package, version, &known)).unwrap();
        record.write(|tx| contents::add(tx, &content)).unwrap();
        let gone = record.write(|tx| let_go(tx, package, version, &known, &by, "why")).unwrap();
        assert_eq!(gone.len(), names.len());
        let again: Vec<&str> = names.into_iter().filter(|it| demand_new(record.db(), it, it).is_ok()).collect();
        assert_eq!(again, names[..3]);
        let released = of_commit(record.db(), package, version, &new.commit).unwrap().unwrap();
        assert_eq!((released.by, &released.reason[..]), (by, "why"));
        assert_eq!(of_commit(record.db(), package, version, &"1".repeat(40).parse().unwrap()).unwrap(), None);
        assert_eq!(pockets::known(record.db(), package, version).unwrap(), None);
    }
}
