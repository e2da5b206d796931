//! Lets a version go that nothing needs to name its commit any more: its number may be used again.

use serde::Serialize;

use super::in_step;
use crate::config::Config;
use crate::error::Failure;
use crate::gitrecord::{self, Move};
use crate::names::{CommitId, PackageName, Principal, Version};
use crate::record::audit::Entry;
use crate::record::{Record, moves, pool, released};

/// What was let go.
#[derive(Debug, Serialize)]
pub struct LetGo {
    /// The source package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// The commit that it named.
    pub commit: CommitId,
    /// Files that the pool no longer has.
    pub files: usize,
}

/// Lets go in the record; the files that are to go are intents then, and the mark in Git is owed.
pub fn release(
    config: &Config,
    record: &mut Record,
    package: &PackageName,
    version: &Version,
    reason: &str,
    by: &Principal,
) -> Result<LetGo, Failure> {
    // Else it may be shown by what the record does not know.
    in_step(config, record)?;
    let mark = mark(config, package, version)?;
    let done = record.write(|tx| {
        let known = released::may_go(tx, config, package, version)?;
        let files = released::let_go(tx, package, version, &known, by, reason)?;
        let mut gone = 0;
        for file in files {
            gone += usize::from(pool::file(tx, &file.path)?.is_none());
        }
        if let Some(mv) = &mark {
            moves::owe_ref(tx, None, mv)?;
        }
        Entry::new("archive.release")
            .with("by", by.as_str())
            .with("package", package.as_str())
            .with("version", version.as_str())
            .with("commit", known.commit.as_str())
            .with("reason", reason)
            .append(tx)?;
        Ok(LetGo { package: package.clone(), version: version.clone(), commit: known.commit, files: gone })
    });
    Ok(done?)
}

/// The move that takes the mark of a version away, so that it can be published as something else.
fn mark(config: &Config, package: &PackageName, version: &Version) -> Result<Option<Move>, Failure> {
    let repo = config.git.package(package);
    if !repo.exists() {
        return Ok(None);
    }
    let name = format!("{}{}", gitrecord::PUBLISHED, version.tag());
    let old = gitrecord::ref_value(&repo, &name)?;
    Ok(old.map(|oid| Move { repo, name, old: Some(oid), new: None }))
}
