//! Keeps the chroots that jobs were built in.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use sha2::{Digest, Sha256};

use crate::pool;
use invirtibuilder_api::builds::{BuiltIn, Reproduced};
use invirtibuilder_core::config::Isolation;
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::manifest::Manifest;
use invirtibuilder_core::names::JobId;
use invirtibuilder_core::time::now;

/// Records the chroots that a job is about to be built in, in place of those of an earlier attempt.
pub fn set(tx: &Transaction, job: JobId, chroots: &[Manifest]) -> Result<()> {
    tx.execute("DELETE FROM job_chroot WHERE job = ?", [job])?;
    for (turn, chroot) in chroots.iter().enumerate() {
        let manifest = serde_json::to_string(&chroot.without_passwords())?;
        tx.execute(
            "INSERT OR IGNORE INTO chroot (digest, manifest) VALUES (?, ?)",
            params![chroot.digest, manifest],
        )?;
        tx.execute(
            "INSERT INTO job_chroot (job, architecture, turn, digest) VALUES (?, ?, ?, ?)",
            params![job, chroot.architecture, turn as i64, chroot.digest],
        )?;
    }
    Ok(())
}

/// Lists the chroots that a job was built in, in that order; none if it is a copy, or was not built
/// yet.
pub fn chroots_of_job(db: &Connection, job: JobId) -> Result<Vec<BuiltIn>> {
    let mut statement = db.prepare_cached(
        "SELECT architecture, digest FROM job_chroot WHERE job = ? ORDER BY turn",
    )?;
    let rows = statement
        .query_map([job], |row| Ok(BuiltIn { architecture: row.get(0)?, digest: row.get(1)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Finds the chroot with the digest that begins like this, if there is one and only one.
pub fn manifest(db: &Connection, start: &str) -> Result<Option<Manifest>> {
    let mut statement = db.prepare_cached(
        "SELECT manifest FROM chroot WHERE digest >= ?1 AND digest < ?1 || 'g' AND substr(digest, 1, length(?1)) = ?1",
    )?;
    let mut found = statement.query_map([start], |row| row.get::<_, String>(0))?;
    match (found.next().transpose()?, found.next()) {
        (Some(text), None) => Ok(Some(serde_json::from_str(&text)?)),
        _ => Ok(None),
    }
}

/// Computes the SHA-256 of packages, by their names and hashes.
fn sum(packages: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    packages.iter().for_each(|(name, sha256)| hash.update(format!("{name} {sha256}\n")));
    invirtibuilder_core::text::hex(&hash.finalize())
}

/// Lists the packages that the pool has of a version, by name: the SHA-256 of each.
fn in_pool(db: &Connection, id: &Identity) -> Result<BTreeMap<String, String>> {
    let name = |path: &str| Path::new(path).file_name()?.to_str().map(str::to_owned);
    let all = pool::of_version(db, id)?.into_iter();
    let named = all.filter_map(|file| Some((name(&file.path)?, file.sha256)));
    Ok(named.filter(|(name, _)| invirtibuilder_core::facts::is_binary(name)).collect())
}

/// Records that a second build of this version gave these packages again, in place of what was
/// recorded of one before.
pub fn set_reproduced(
    tx: &Transaction,
    id: &Identity,
    isolation: Isolation,
    chroots: &[BuiltIn],
    packages: &BTreeMap<String, String>,
) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO reproduced (domain, package, version, at, isolation, chroots, packages)
               VALUES (?, ?, ?, ?, ?, ?, ?)";
    let (chroots, packages) = (serde_json::to_string(chroots)?, sum(packages));
    let Identity { domain, package, version } = id;
    tx.execute(sql, params![domain, package, version, now(), isolation, chroots, packages])?;
    Ok(())
}

/// Finds the last second build of this version that gave the packages which the pool has, if there
/// was one. Others may have been built twice, and never published.
pub fn reproduced(db: &Connection, id: &Identity) -> Result<Option<Reproduced>> {
    let sql = "SELECT at, isolation, chroots, packages FROM reproduced
               WHERE domain = ? AND package = ? AND version = ?";
    let row = |row: &Row| {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get::<_, Option<String>>(2)?,
            row.get::<_, Option<String>>(3)?,
        ))
    };
    let found = db
        .prepare_cached(sql)?
        .query_row(params![id.domain, id.package, id.version], row)
        .optional()?;
    let Some((at, isolation, chroots, packages)) = found else { return Ok(None) };
    if let Some(packages) = packages
        && packages != sum(&in_pool(db, id)?)
    {
        return Ok(None);
    }
    let chroots = chroots.map(|text| serde_json::from_str(&text)).transpose()?.unwrap_or_default();
    Ok(Some(Reproduced { at, isolation, chroots }))
}

#[cfg(test)]
mod tests {
    use crate::chroots::*;
    use crate::jobs::{self, NewJob};
    use crate::{Record, contents};

    #[test]
    fn a_job_names_its_chroots_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        let chroot = |architecture: &str, digit: &str| -> Manifest {
            let text = format!(
                r#"{{ "distro": "sid", "architecture": "{architecture}", "created": 1, "digest": "{}",
                "sources": [{{ "uri": "https://u:secret@m.example.org/d", "suite": "sid", "components": ["main"] }}] }}"#,
                digit.repeat(64)
            );
            serde_json::from_str(&text).unwrap()
        };
        let new = NewJob::example("prod", "hello", "1", 0);
        let job = record.write(|tx| jobs::enqueue(tx, &new)).unwrap();
        assert!(chroots_of_job(record.db(), job).unwrap().is_empty());
        record.write(|tx| set(tx, job, &[chroot("i386", "b"), chroot("amd64", "a")])).unwrap();
        record.write(|tx| set(tx, job, &[chroot("i386", "b"), chroot("amd64", "c")])).unwrap();
        let digests: Vec<_> = chroots_of_job(record.db(), job)
            .unwrap()
            .iter()
            .map(|it| it.digest.short()[..1].to_owned())
            .collect();
        assert_eq!(digests, ["b", "c"]);
        let kept = manifest(record.db(), "bbbb").unwrap().unwrap();
        assert_eq!(kept.sources[0].uri, "https://m.example.org/d");
        assert!(
            manifest(record.db(), "aa").unwrap().is_some(),
            "an earlier attempt's is known, too"
        );
        assert!(manifest(record.db(), "").unwrap().is_none(), "it could be any");
        let text: String = record
            .db()
            .query_row("SELECT group_concat(manifest) FROM chroot", [], |r| r.get(0))
            .unwrap();
        assert!(!text.contains("secret"));

        assert_eq!(reproduced(record.db(), &new.identity()).unwrap(), None);
        let built_in = chroots_of_job(record.db(), job).unwrap();
        let id = &new.identity();
        let mut packages: BTreeMap<String, String> =
            [("hello_1_all.deb".to_owned(), "1".repeat(64))].into();
        let mut prove = |packages: &BTreeMap<String, String>| {
            record.write(|tx| set_reproduced(tx, id, Isolation::Vm, &built_in, packages)).unwrap();
            reproduced(record.db(), id).unwrap()
        };
        assert_eq!(prove(&packages), None, "the pool has nothing");
        packages.clear();
        let proof = prove(&packages).unwrap();
        assert_eq!((proof.isolation, &proof.chroots), (Some(Isolation::Vm), &built_in));

        let file = invirtibuilder_api::archive::PoolFile {
            path: "pool/hello_1_all.deb".into(),
            size: 1,
            sha256: "1".repeat(64),
        };
        let content = contents::Content {
            id: id.clone(),
            changes: String::new(),
            parts: Vec::new(),
            files: vec![file],
            beside: Vec::new(),
        };
        record.write(|tx| contents::add(tx, &content)).unwrap();
        assert_eq!(
            reproduced(record.db(), id).unwrap(),
            None,
            "it was of packages that were not published"
        );
        packages.insert("hello_1_all.deb".to_owned(), "1".repeat(64));
        record.write(|tx| set_reproduced(tx, id, Isolation::Vm, &built_in, &packages)).unwrap();
        assert!(reproduced(record.db(), id).unwrap().is_some());
    }
}
