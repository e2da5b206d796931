//! Lets a version go that nothing needs to name its commit any more: its number may be used again.

use crate::in_step;
use invirtibuilder_api::archive::LetGo;
use invirtibuilder_core::config::Config;
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::error::Failure;
use invirtibuilder_core::names::Principal;
use invirtibuilder_git as git;
use invirtibuilder_git::Move;
use invirtibuilder_store::audit::AuditEntry;
use invirtibuilder_store::{Record, forget, moves, pockets, pool, released};

/// Lets a version go in the record. The files to remove are intents then, and the mark in Git is
/// owed.
pub fn release(
    config: &Config,
    record: &mut Record,
    id: &Identity,
    reason: &str,
    by: &Principal,
) -> Result<LetGo, Failure> {
    // Else it may be shown by what the record does not know.
    in_step(config, record)?;
    let mark = mark(config, record, id)?;
    let done = record.write(|tx| {
        let known = released::may_go(tx, config, id)?;
        let files = forget::let_go(tx, id, &known, by, reason)?;
        let mut gone = 0;
        for file in files {
            gone += usize::from(pool::file(tx, &id.domain, &file.path)?.is_none());
        }
        if let Some(mv) = &mark {
            moves::owe_ref(tx, None, mv)?;
        }
        AuditEntry::new("archive.release")
            .with("by", by.as_str())
            .with("domain", id.domain.as_str())
            .with("package", id.package.as_str())
            .with("version", id.version.as_str())
            .with("commit", known.commit.as_str())
            .with("reason", reason)
            .append(tx)?;
        let Identity { domain, package, version } = id.clone();
        Ok(LetGo { domain, package, version, commit: known.commit, files: gone })
    });
    Ok(done?)
}

/// Makes the move that takes the mark of a version away, so that it can be published as something
/// else.
fn mark(config: &Config, record: &Record, id: &Identity) -> Result<Option<Move>, Failure> {
    let repo = config.git.package(&id.package);
    let known = pockets::known(record.db(), id)?;
    let Some(known) = known.filter(|_| repo.exists()) else { return Ok(None) };
    let name = git::Marks::of(&id.domain).name(&known.tag_name);
    let old = git::ref_value(&repo, &name)?;
    Ok(old.map(|oid| Move { repo, name, old: Some(oid), new: None }))
}
