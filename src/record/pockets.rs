//! What every pocket has, and which commit every version names.

use anyhow::{Result, bail};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Serialize;

use crate::names::{CommitId, Distro, JobId, PackageName, PocketName, Version};

/// A package in a pocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The pocket.
    pub pocket: PocketName,
    /// The source package.
    pub package: PackageName,
    /// The commit it is at there.
    pub commit: CommitId,
    /// The version.
    pub version: Version,
    /// The job that brought it there.
    pub job: JobId,
}

fn held_from(row: &Row) -> rusqlite::Result<Held> {
    Ok(Held { pocket: row.get(0)?, package: row.get(1)?, commit: row.get(2)?, version: row.get(3)?, job: row.get(4)? })
}

/// What a pocket has of a package.
pub fn held(db: &Connection, pocket: &PocketName, package: &PackageName) -> Result<Option<Held>> {
    Ok(db
        .prepare_cached(
            "SELECT pocket, package, commit_id, version, job FROM pocket_package WHERE pocket = ? AND package = ?",
        )?
        .query_row([pocket.as_str(), package.as_str()], held_from)
        .optional()?)
}

/// Everything that every pocket has, by package and pocket.
pub fn all(db: &Connection) -> Result<Vec<Held>> {
    let mut statement = db.prepare_cached(
        "SELECT pocket, package, commit_id, version, job FROM pocket_package ORDER BY package, pocket",
    )?;
    Ok(statement.query_map([], held_from)?.collect::<Result<_, _>>()?)
}

/// How many packages a pocket has.
pub fn count(db: &Connection, pocket: &PocketName) -> Result<i64> {
    Ok(db
        .prepare_cached("SELECT count(*) FROM pocket_package WHERE pocket = ?")?
        .query_row([pocket], |row| row.get(0))?)
}

/// A version of a package that the archive has or once had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The one commit it names.
    pub commit: CommitId,
    /// The distro its binaries were built in.
    pub distro: Distro,
    /// The job that built it.
    pub job: JobId,
    /// What its tag points at; `None`: no pocket that tags had it.
    pub tag: Option<String>,
}

/// What a version of a package names, if it was ever published.
pub fn known(db: &Connection, package: &PackageName, version: &Version) -> Result<Option<Known>> {
    Ok(db
        .prepare_cached("SELECT commit_id, distro, job, tag FROM version WHERE package = ? AND version = ?")?
        .query_row([package.as_str(), version.as_str()], |row| {
            Ok(Known { commit: row.get(0)?, distro: row.get(1)?, job: row.get(2)?, tag: row.get(3)? })
        })
        .optional()?)
}

/// How a version keeps another one from being published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clash {
    /// It is the same to dpkg, as 1.0 is to 1.00 (Debian policy 5.6.12).
    Same,
    /// Its files have the same names, as those of 1:1.0 and 1.0 have.
    Files,
}

/// A version of this package that is written otherwise and keeps this one from being published.
pub fn clashing(db: &Connection, package: &PackageName, version: &Version) -> Result<Option<(Version, Clash)>> {
    let mut statement = db.prepare_cached("SELECT version FROM version WHERE package = ? AND version <> ?")?;
    let mut rows = statement.query(params![package, version])?;
    let files = version.without_epoch();
    while let Some(row) = rows.next()? {
        let other: Version = row.get(0)?;
        if other.cmp_dpkg(version).is_eq() {
            return Ok(Some((other, Clash::Same)));
        }
        if other.without_epoch() == files {
            return Ok(Some((other, Clash::Files)));
        }
    }
    Ok(None)
}

/// What every version names.
pub fn versions(db: &Connection) -> Result<Vec<(PackageName, Version, Known)>> {
    let mut statement = db.prepare_cached(
        "SELECT package, version, commit_id, distro, job, tag FROM version ORDER BY package, version",
    )?;
    let rows = statement.query_map([], |row| {
        let known = Known { commit: row.get(2)?, distro: row.get(3)?, job: row.get(4)?, tag: row.get(5)? };
        Ok((row.get(0)?, row.get(1)?, known))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What every version of one package names.
pub fn versions_of(db: &Connection, package: &PackageName) -> Result<Vec<(Version, Known)>> {
    let mut statement = db.prepare_cached(
        "SELECT version, commit_id, distro, job, tag FROM version WHERE package = ? ORDER BY version",
    )?;
    let rows = statement.query_map([package.as_str()], |row| {
        let known = Known { commit: row.get(1)?, distro: row.get(2)?, job: row.get(3)?, tag: row.get(4)? };
        Ok((row.get(0)?, known))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What the tag of a version points at now.
pub fn set_tag(tx: &Transaction, package: &PackageName, version: &Version, tag: &str) -> Result<()> {
    tx.prepare_cached("UPDATE version SET tag = ? WHERE package = ? AND version = ?")?
        .execute(params![tag, package, version])?;
    Ok(())
}

/// Ties a version to its commit for ever, and to its tag if it has one now; fine if it is already tied to the same.
pub fn tie(tx: &Transaction, package: &PackageName, version: &Version, known: &Known) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO version (package, version, commit_id, distro, job, tag) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET tag = coalesce(excluded.tag, tag)",
    )?
    .execute(params![package, version, known.commit, known.distro, known.job, known.tag])?;
    match self::known(tx, package, version)? {
        Some(now) if now.commit == known.commit && now.distro == known.distro => Ok(()),
        _ => bail!("version {version} of {package} names another commit already"),
    }
}

/// A pocket that has this version of a package, if there is one.
pub fn holder(db: &Connection, package: &PackageName, version: &Version) -> Result<Option<Held>> {
    Ok(db
        .prepare_cached(
            "SELECT pocket, package, commit_id, version, job FROM pocket_package
             WHERE package = ? AND version = ? ORDER BY job LIMIT 1",
        )?
        .query_row([package.as_str(), version.as_str()], held_from)
        .optional()?)
}

/// Puts a package into a pocket, in place of what was there.
pub fn put(tx: &Transaction, held: &Held) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO pocket_package (pocket, package, commit_id, version, job) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (pocket, package) DO UPDATE
         SET commit_id = excluded.commit_id, version = excluded.version, job = excluded.job",
    )?
    .execute(params![held.pocket, held.package, held.commit, held.version, held.job])?;
    Ok(())
}

/// Takes a package out of a pocket.
pub fn remove(tx: &Transaction, pocket: &PocketName, package: &PackageName) -> Result<()> {
    tx.prepare_cached("DELETE FROM pocket_package WHERE pocket = ? AND package = ?")?
        .execute([pocket.as_str(), package.as_str()])?;
    Ok(())
}

/// What the record says a superproject branch points at.
pub fn superproject(db: &Connection, branch: &str) -> Result<Option<CommitId>> {
    Ok(db
        .prepare_cached("SELECT commit_id FROM superproject WHERE branch = ?")?
        .query_row([branch], |row| row.get(0))
        .optional()?)
}

/// Records where a superproject branch points.
pub fn set_superproject(tx: &Transaction, branch: &str, commit: &CommitId) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO superproject (branch, commit_id) VALUES (?, ?)
         ON CONFLICT (branch) DO UPDATE SET commit_id = excluded.commit_id",
    )?
    .execute(params![branch, commit])?;
    Ok(())
}
