//! Brings the tags of versions into repositories where people push tags of their own. Ours goes
//! where the record has it, and we keep aside what is in its way. Only the record says which tag is
//! ours: a tag that looks like ours is anybody's.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::publication::stamp;
use invirtibuilder_archive::Archive;
use invirtibuilder_core::config::Config;
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::failpoint::{Point, reach};
use invirtibuilder_core::names::{DomainName, JobId, PackageName};
use invirtibuilder_git as git;
use invirtibuilder_git::Move;
use invirtibuilder_store::Record;
use invirtibuilder_store::audit::{self, AuditEntry};
use invirtibuilder_store::pockets::{self, KnownVersion};

/// The number of attempts to bring a tag: somebody may push to it meanwhile.
const TRIES: usize = 10;

/// The event of the audit trail that says that a tag was put aside.
pub const ASIDE: &str = "tag.aside";

/// Writes the object of a version's tag, signed with its domain's key if the configuration says so,
/// and no ref. Returns the object's id.
pub fn write(
    config: &Config,
    repo: &Path,
    domain: &DomainName,
    known: &KnownVersion,
    message: &str,
) -> Result<git2::Oid> {
    let name = &known.tag_name;
    let sign = |text: &str| {
        let signature = Archive::open(config, domain)?.keys()?.sign_once(text);
        signature.with_context(|| format!("tag {name} cannot be signed (git.sign_tags)"))
    };
    let sign = config.git.sign_tags.then_some(&sign as git::Sign);
    git::write_tag(repo, (name, &known.commit), message, &stamp(config), sign)
}

/// Makes the moves of tag and mark that a version's publication owes. Returns them, and the
/// version's tag from then on. `message` is there if the pocket tags. A version that is not tagged
/// concerns no tag that is not its domain's own: another domain may have one of that name.
pub fn moves(
    config: &Config,
    repo: &Path,
    domain: &DomainName,
    known: &KnownVersion,
    message: Option<&str>,
) -> Result<(Option<String>, Vec<Move>), Failure> {
    let opened = git::open(repo)?;
    let tag = &known.tag_name;
    let name = format!("refs/tags/{tag}");
    let commit = (&known.commit).into();
    let there = |oid: &git2::Oid| git::leads_to(&opened, *oid) == Some(commit);
    let recorded = known.tag.as_deref().and_then(|oid| git2::Oid::from_str(oid).ok()).filter(there);
    let ours = match (recorded, message) {
        (None, Some(message)) => {
            let oid = write(config, repo, domain, known, message)?;
            reach(Point::TagWritten)?;
            Some(oid)
        }
        (recorded, _) => recorded,
    };
    let marks = git::Marks::of(domain);
    let mut moves = vec![marks.mark_move(repo, &opened, tag, ours.unwrap_or(commit))?];
    if ours.is_none() && !config.owns_tag(domain, tag) {
        moves.retain(|mv| mv.old != mv.new);
        return Ok((None, moves));
    }
    let old = git::value(&opened, &name)?;
    let new = match ours {
        Some(oid) => Some(oid),
        // A tag of somebody's that says the same may stay.
        None if old.is_some_and(|oid| there(&oid)) => old,
        None => None,
    };
    moves.push(Move { repo: repo.to_owned(), name, old, new });
    moves.retain(|mv| mv.old != mv.new);
    Ok((ours.map(|oid| oid.to_string()), moves))
}

/// Brings a tag to where it is owed. It keeps what is in the tag's way as a ref of the service, and
/// the audit trail says so before it deletes that: if the process dies in between, the next one
/// finds both.
pub fn bring(record: &mut Record, job: Option<JobId>, mv: &Move) -> Result<()> {
    for _ in 0..TRIES {
        for (name, oid) in git::in_the_way(mv)? {
            let aside = git::set_aside(&mv.repo, &name, oid)?;
            reach(Point::TagAside)?;
            say(record, job, mv, (&name, oid), aside.as_deref())?;
            git::take_away(&mv.repo, &name, oid)?;
        }
        match git::apply(&Move { old: None, ..mv.clone() }) {
            Ok(_) => return Ok(()),
            // Somebody has pushed meanwhile.
            Err(failure) if failure.kind == FailureKind::Conflict => {}
            Err(failure) => bail!(failure.text),
        }
    }
    bail!("{} of {} is pushed to all the time", mv.name, mv.repo.display())
}

fn say(
    record: &mut Record,
    job: Option<JobId>,
    mv: &Move,
    (name, oid): (&str, git2::Oid),
    aside: Option<&str>,
) -> Result<()> {
    let said = match job {
        Some(job) => audit::of_job(record.db(), job)?,
        None => Vec::new(),
    };
    if said.iter().any(|entry| {
        entry.event == ASIDE && entry.field("ref") == Some(name) && entry.field("aside") == aside
    }) {
        return Ok(());
    }
    let package = mv.repo.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut entry = AuditEntry::new(ASIDE)
        .with("package", package)
        .with("ref", name)
        .with("was", oid.to_string());
    if let Some(aside) = aside {
        entry = entry.with("aside", aside);
    }
    if let Some(job) = job {
        entry = entry.job(job);
    }
    record.write(|tx| entry.append(tx))
}

/// Marks every version of a package as published in its repository, in every domain, unless that is
/// done.
pub fn mark_versions(
    config: &Config,
    db: &rusqlite::Connection,
    package: &PackageName,
) -> Result<()> {
    let repo = config.git.package(package);
    let opened = git::open(&repo)?;
    for (domain, _) in config.domains() {
        let marks = git::Marks::of(&domain);
        if marks.is_complete(&opened)? {
            continue;
        }
        let versions = pockets::versions_of(db, &domain, package)?;
        let all = versions
            .iter()
            .map(|(_, known)| (known.tag_name.clone(), known.tag.as_deref(), &known.commit));
        marks.complete(&repo, all)?;
    }
    Ok(())
}

/// Marks the versions in every repository where that is not done. Returns what could not be done,
/// each a sentence. Nobody publishes meanwhile.
pub fn mark_all(config: &Config, record: &Record) -> Result<Vec<String>> {
    let one = |package: &PackageName| mark_versions(config, record.db(), package).err();
    let all = git::package_repositories(config)?;
    let failed = all.iter().filter_map(|(package, _)| Some((package, one(package)?)));
    Ok(failed
        .map(|(package, error)| {
            format!("the published versions of {package} cannot be marked: {error:#}")
        })
        .collect())
}

/// Lists the tags that a job's publication put aside, as the audit trail has them.
pub fn aside(
    db: &rusqlite::Connection,
    job: &invirtibuilder_api::job::Job,
) -> Result<Vec<invirtibuilder_api::audit::Recorded>> {
    let mut entries = audit::of_job(db, job.id)?;
    entries.retain(|entry| entry.event == ASIDE);
    Ok(entries)
}
