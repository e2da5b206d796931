//! Forgets versions that no suite shows any more.

use anyhow::Result;
use rusqlite::{Transaction, params};

use crate::pockets::KnownVersion;
use crate::{beside, builds, pool};
use invirtibuilder_api::archive::PoolFile;
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::names::Principal;
use invirtibuilder_core::time::now;

/// Forgets what the pool has of a version, but for the hashes. Files that no other version of the
/// domain has become intents, for the caller to remove.
pub fn version(tx: &Transaction, id: &Identity) -> Result<()> {
    let files = pool::of_version(tx, id)?;
    builds::forget(tx, id)?;
    beside::forget(tx, id)?;
    for table in ["pool_version_file", "pool_part", "pool_version"] {
        tx.execute(
            &format!("DELETE FROM {table} WHERE domain = ? AND source = ? AND version = ?"),
            params![id.domain, id.package, id.version],
        )?;
    }
    for file in &files {
        let gone = tx
            .prepare_cached(
                "DELETE FROM pool_file WHERE domain = ?1 AND path = ?2
                 AND NOT EXISTS (SELECT 1 FROM pool_version_file WHERE domain = ?1 AND path = ?2)",
            )?
            .execute(params![id.domain, file.path])?;
        if gone == 1 {
            pool::intend(tx, &id.domain, &file.path)?;
            tx.prepare_cached(
                "INSERT INTO past_file (domain, package, version, path, sha256) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![id.domain, id.package, id.version, file.path, file.sha256])?;
        }
    }
    Ok(())
}

/// Lets a version go that may go: the record forgets what it names, and keeps the hashes of its
/// files. This is not about upstream's tarballs: they are what the upstream version is, whichever
/// commit takes them. Returns the files that the pool had of the version; they become intents.
pub fn let_go(
    tx: &Transaction,
    id: &Identity,
    known: &KnownVersion,
    by: &Principal,
    reason: &str,
) -> Result<Vec<PoolFile>> {
    let Identity { domain, package, version } = id;
    tx.execute(
        "INSERT INTO released (domain, package, version, commit_id, job, at, by, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        params![domain, package, version, known.commit, known.job, now(), by, reason],
    )?;
    let released = tx.last_insert_rowid();
    tx.execute(
        "INSERT INTO released_source (released, domain, suite, since, until)
         SELECT ?4, domain, suite, since, until FROM suite_source WHERE domain = ?1 AND source = ?2 AND version = ?3",
        params![domain, package, version, released],
    )?;
    for table in ["suite_source", "suite_kept"] {
        tx.execute(
            &format!("DELETE FROM {table} WHERE domain = ? AND source = ? AND version = ?"),
            params![domain, package, version],
        )?;
    }
    let files = pool::of_version(tx, id)?;
    self::version(tx, id)?;
    // What an older release collected left nothing but this.
    tx.execute(
        "INSERT INTO past_file (domain, package, version, path, sha256)
         SELECT domain, package, version, package || '_' || version || '.dsc', sha256 FROM version_source
         WHERE domain = ?1 AND package = ?2 AND version = ?3 AND sha256 NOT IN
             (SELECT sha256 FROM past_file WHERE domain = ?1 AND package = ?2 AND version = ?3)",
        params![domain, package, version],
    )?;
    let upstream = format!("/{package}_{}.orig", version.upstream());
    tx.execute(
        "UPDATE past_file SET released = ?4
         WHERE domain = ?1 AND package = ?2 AND version = ?3 AND released IS NULL
         AND NOT (instr(path, ?5 || '.') OR instr(path, ?5 || '-'))",
        params![domain, package, version, released, upstream],
    )?;
    for table in ["version_source", "version"] {
        tx.execute(
            &format!("DELETE FROM {table} WHERE domain = ? AND package = ? AND version = ?"),
            params![domain, package, version],
        )?;
    }
    Ok(files)
}
