//! The chroots that jobs were built in.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::Serialize;

use crate::chroot::Manifest;
use crate::names::{Architecture, ChrootDigest, JobId, PackageName, Version};

/// What a job was built in, for one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BuiltIn {
    /// The architecture.
    pub architecture: Architecture,
    /// The chroot.
    pub digest: ChrootDigest,
}

/// Records what a job is about to be built in, in place of what an earlier attempt was.
pub fn set(tx: &Transaction, job: JobId, chroots: &[Manifest]) -> Result<()> {
    tx.execute("DELETE FROM job_chroot WHERE job = ?", [job])?;
    for (turn, chroot) in chroots.iter().enumerate() {
        let manifest = serde_json::to_string(&chroot.without_passwords())?;
        tx.execute("INSERT OR IGNORE INTO chroot (digest, manifest) VALUES (?, ?)", params![chroot.digest, manifest])?;
        tx.execute(
            "INSERT INTO job_chroot (job, architecture, turn, digest) VALUES (?, ?, ?, ?)",
            params![job, chroot.architecture, turn as i64, chroot.digest],
        )?;
    }
    Ok(())
}

/// What a job was built in, in that order; nothing if it is a copy, or was not built yet.
pub fn of(db: &Connection, job: JobId) -> Result<Vec<BuiltIn>> {
    let mut statement = db.prepare_cached("SELECT architecture, digest FROM job_chroot WHERE job = ? ORDER BY turn")?;
    let rows = statement.query_map([job], |row| Ok(BuiltIn { architecture: row.get(0)?, digest: row.get(1)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The chroot with the digest that begins like this, if there is one and only one.
pub fn manifest(db: &Connection, start: &str) -> Result<Option<Manifest>> {
    let mut statement = db.prepare_cached("SELECT manifest FROM chroot WHERE substr(digest, 1, length(?1)) = ?1")?;
    let mut found = statement.query_map([start], |row| row.get::<_, String>(0))?;
    match (found.next().transpose()?, found.next()) {
        (Some(text), None) => Ok(Some(serde_json::from_str(&text)?)),
        _ => Ok(None),
    }
}

/// Records that a second build of this version gave the same packages.
pub fn set_reproduced(tx: &Transaction, package: &PackageName, version: &Version) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO reproduced (package, version, at) VALUES (?, ?, ?)";
    tx.execute(sql, params![package, version, super::now()])?;
    Ok(())
}

/// When a second build of this version gave the same packages, if one did; milliseconds since 1970-01-01 UTC.
pub fn reproduced(db: &Connection, package: &PackageName, version: &Version) -> Result<Option<i64>> {
    let sql = "SELECT at FROM reproduced WHERE package = ? AND version = ?";
    Ok(db.prepare_cached(sql)?.query_row(params![package, version], |row| row.get(0)).optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::record::jobs::{self, NewJob};

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
        let new = NewJob {
            pocket: "prod".parse().unwrap(),
            package: "hello".parse().unwrap(),
            commit: "0".repeat(40).parse().unwrap(),
            version: "1".parse().unwrap(),
            principal: crate::names::Principal::from_authenticated("alice@EXAMPLE.ORG").unwrap(),
        };
        let job = record.write(|tx| jobs::enqueue(tx, &new)).unwrap();
        assert!(of(record.db(), job).unwrap().is_empty());
        record.write(|tx| set(tx, job, &[chroot("i386", "b"), chroot("amd64", "a")])).unwrap();
        record.write(|tx| set(tx, job, &[chroot("i386", "b"), chroot("amd64", "c")])).unwrap();
        let digests: Vec<_> =
            of(record.db(), job).unwrap().iter().map(|it| it.digest.short()[..1].to_owned()).collect();
        assert_eq!(digests, ["b", "c"]);
        let kept = manifest(record.db(), "bbbb").unwrap().unwrap();
        assert_eq!(kept.sources[0].uri, "https://m.example.org/d");
        assert!(manifest(record.db(), "aa").unwrap().is_some(), "an earlier attempt's is known, too");
        assert!(manifest(record.db(), "").unwrap().is_none(), "it could be any");
        let text: String =
            record.db().query_row("SELECT group_concat(manifest) FROM chroot", [], |r| r.get(0)).unwrap();
        assert!(!text.contains("secret"));

        assert_eq!(reproduced(record.db(), &new.package, &new.version).unwrap(), None);
        record.write(|tx| set_reproduced(tx, &new.package, &new.version)).unwrap();
        assert!(reproduced(record.db(), &new.package, &new.version).unwrap().is_some());
    }
}
