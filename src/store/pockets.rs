//! Keeps what every pocket has, and which commit every version names.

use anyhow::{Result, bail};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::removals;
use invirtibuilder_api::job::Job;
use invirtibuilder_api::pocket::Held;
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::names::{
    CommitId, Distro, DomainName, JobId, PackageName, PocketName, Version,
};

fn held_from(row: &Row) -> rusqlite::Result<Held> {
    Ok(Held {
        pocket: row.get(0)?,
        package: row.get(1)?,
        commit: row.get(2)?,
        version: row.get(3)?,
        job: row.get(4)?,
    })
}

/// Finds what a pocket has of a package.
pub fn held(db: &Connection, pocket: &PocketName, package: &PackageName) -> Result<Option<Held>> {
    Ok(db
        .prepare_cached(
            "SELECT pocket, package, commit_id, version, job FROM pocket_package WHERE pocket = ? AND package = ?",
        )?
        .query_row([pocket.as_str(), package.as_str()], held_from)
        .optional()?)
}

/// Lists everything that every pocket has, by package and pocket.
pub fn all(db: &Connection) -> Result<Vec<Held>> {
    let mut statement = db.prepare_cached(
        "SELECT pocket, package, commit_id, version, job FROM pocket_package ORDER BY package, pocket",
    )?;
    Ok(statement.query_map([], held_from)?.collect::<Result<_, _>>()?)
}

/// Counts the packages that a pocket has.
pub fn count(db: &Connection, pocket: &PocketName) -> Result<i64> {
    Ok(db
        .prepare_cached("SELECT count(*) FROM pocket_package WHERE pocket = ?")?
        .query_row([pocket], |row| row.get(0))?)
}

/// The commit, the job and the tag of a version that the archive has or once had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownVersion {
    /// The one commit that the version names.
    pub commit: CommitId,
    /// The distro that its binaries were built in.
    pub distro: Distro,
    /// The job that built it.
    pub job: JobId,
    /// The object that its tag points at; `None`: no pocket that tags had it.
    pub tag: Option<String>,
    /// The name of its tag, without `refs/tags/`, whether it is there or not: that which the
    /// pattern of the pocket that published it first gave it.
    pub tag_name: String,
}

impl KnownVersion {
    /// Reads what a row says from this column on of a version.
    fn from_row(row: &Row, at: usize, version: &Version) -> rusqlite::Result<Self> {
        Ok(Self {
            commit: row.get(at)?,
            distro: row.get(at + 1)?,
            job: row.get(at + 2)?,
            tag: row.get(at + 3)?,
            tag_name: row.get::<_, Option<String>>(at + 4)?.unwrap_or_else(|| version.tag()),
        })
    }
}

/// Finds what a version names, if it was ever published in its domain.
pub fn known(db: &Connection, id: &Identity) -> Result<Option<KnownVersion>> {
    let sql = "SELECT commit_id, distro, job, tag, tag_name FROM version
               WHERE domain = ? AND package = ? AND version = ?";
    Ok(db
        .prepare_cached(sql)?
        .query_row(params![id.domain, id.package, id.version], |row| {
            KnownVersion::from_row(row, 0, &id.version)
        })
        .optional()?)
}

/// Finds the version of a job, if it was published and still names the job's commit: one that an
/// administrator let go may name another.
pub fn version_of_job(db: &Connection, job: &Job) -> Result<Option<KnownVersion>> {
    Ok(known(db, &job.identity())?.filter(|known| known.commit == job.commit))
}

/// The way in which a version keeps another one from being published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clash {
    /// It is the same to dpkg, as 1.0 is to 1.00 (Debian policy 5.6.12).
    Same,
    /// Its files have the same names, as those of 1:1.0 and 1.0 have.
    Files,
}

/// Finds a version of this package and domain that is written otherwise and keeps this one from
/// being published.
pub fn clashing(db: &Connection, id: &Identity) -> Result<Option<(Version, Clash)>> {
    let mut statement = db.prepare_cached(
        "SELECT version FROM version WHERE domain = ? AND package = ? AND version <> ?",
    )?;
    let mut rows = statement.query(params![id.domain, id.package, id.version])?;
    let files = id.version.without_epoch();
    while let Some(row) = rows.next()? {
        let other: Version = row.get(0)?;
        if other.cmp_dpkg(&id.version).is_eq() {
            return Ok(Some((other, Clash::Same)));
        }
        if other.without_epoch() == files {
            return Ok(Some((other, Clash::Files)));
        }
    }
    Ok(None)
}

/// Lists what every version names, by domain, package and version.
pub fn versions(db: &Connection) -> Result<Vec<(Identity, KnownVersion)>> {
    let mut statement = db.prepare_cached(
        "SELECT domain, package, version, commit_id, distro, job, tag, tag_name FROM version
         ORDER BY domain, package, version",
    )?;
    let rows = statement.query_map([], |row| {
        let id = crate::rows::identity(row)?;
        let known = KnownVersion::from_row(row, 3, &id.version)?;
        Ok((id, known))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Lists what every version of one package names in a domain.
pub fn versions_of(
    db: &Connection,
    domain: &DomainName,
    package: &PackageName,
) -> Result<Vec<(Version, KnownVersion)>> {
    let mut statement = db.prepare_cached(
        "SELECT version, commit_id, distro, job, tag, tag_name FROM version
         WHERE domain = ? AND package = ? ORDER BY version",
    )?;
    let rows = statement.query_map(params![domain, package], |row| {
        let version = row.get(0)?;
        let known = KnownVersion::from_row(row, 1, &version)?;
        Ok((version, known))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Records the object that the tag of a version points at now.
pub fn set_tag(tx: &Transaction, id: &Identity, tag: &str) -> Result<()> {
    let sql = "UPDATE version SET tag = ? WHERE domain = ? AND package = ? AND version = ?";
    tx.prepare_cached(sql)?.execute(params![tag, id.domain, id.package, id.version])?;
    Ok(())
}

/// Ties a version to its commit for ever in its domain, and to its tag if it has one now; fine if
/// it is already tied to the same.
pub fn tie(tx: &Transaction, id: &Identity, known: &KnownVersion) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO version (domain, package, version, commit_id, distro, job, tag, tag_name)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET tag = coalesce(excluded.tag, tag)",
    )?
    .execute(params![
        id.domain,
        id.package,
        id.version,
        known.commit,
        known.distro,
        known.job,
        known.tag,
        known.tag_name
    ])?;
    match self::known(tx, id)? {
        Some(now) if now.commit == known.commit && now.distro == known.distro => Ok(()),
        _ => bail!("version {} of {} names another commit already", id.version, id.package),
    }
}

/// Finds a pocket of the version's domain that has this version, if there is one.
pub fn holder(db: &Connection, id: &Identity) -> Result<Option<Held>> {
    Ok(db
        .prepare_cached(
            "SELECT pocket, package, commit_id, version, job FROM pocket_package JOIN pocket_domain USING (pocket)
             WHERE domain = ? AND package = ? AND version = ? ORDER BY job LIMIT 1",
        )?
        .query_row(params![id.domain, id.package, id.version], held_from)
        .optional()?)
}

/// Puts a package into a pocket, in place of what was there.
pub fn set_held(tx: &Transaction, held: &Held) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO pocket_package (pocket, package, commit_id, version, job) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (pocket, package) DO UPDATE
         SET commit_id = excluded.commit_id, version = excluded.version, job = excluded.job",
    )?
    .execute(params![held.pocket, held.package, held.commit, held.version, held.job])?;
    removals::forget(tx, held)
}

/// Takes a package out of a pocket.
pub fn remove(tx: &Transaction, pocket: &PocketName, package: &PackageName) -> Result<()> {
    tx.prepare_cached("DELETE FROM pocket_package WHERE pocket = ? AND package = ?")?
        .execute([pocket.as_str(), package.as_str()])?;
    Ok(())
}

/// Finds the commit that a superproject branch points at by the record.
pub fn superproject(db: &Connection, branch: &str) -> Result<Option<CommitId>> {
    Ok(db
        .prepare_cached("SELECT commit_id FROM superproject WHERE branch = ?")?
        .query_row([branch], |row| row.get(0))
        .optional()?)
}

/// Records the commit that a superproject branch points at.
pub fn set_superproject(tx: &Transaction, branch: &str, commit: &CommitId) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO superproject (branch, commit_id) VALUES (?, ?)
         ON CONFLICT (branch) DO UPDATE SET commit_id = excluded.commit_id",
    )?
    .execute(params![branch, commit])?;
    Ok(())
}
