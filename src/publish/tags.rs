//! Tags of versions, in repositories where people push tags of their own: ours goes where the record has it, and what is in
//! its way is kept aside. The record says which tag is ours, and nothing else: a tag that looks like ours is anybody's.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::publication::stamp;
use crate::archive::Archive;
use crate::config::Config;
use crate::error::{Failure, FailureKind};
use crate::failpoint::{Point, reach};
use crate::gitrecord::{self, Move};
use crate::names::{CommitId, JobId, PackageName, Version};
use crate::record::audit::{self, Entry};
use crate::record::pockets::{self, Known};
use crate::record::{Record, jobs};

/// How often somebody may push to the same tag meanwhile.
const TRIES: usize = 10;

/// The event of the audit trail.
pub const ASIDE: &str = "tag.aside";

/// Writes the object of a version's tag, signed if the configuration says so, and no ref; its id.
pub fn write(config: &Config, repo: &Path, version: &Version, commit: &CommitId, message: &str) -> Result<git2::Oid> {
    let sign = |text: &str| {
        let signature = Archive::open(config)?.keys()?.sign_once(text);
        signature.with_context(|| format!("tag {} cannot be signed (git.sign_tags)", version.tag()))
    };
    let sign = config.git.sign_tags.then_some(&sign as gitrecord::Sign);
    gitrecord::write_tag(repo, version, commit, message, &stamp(config), sign)
}

/// The moves of tag and mark that a version's publication owes, and what its tag is from then on. `message`: the pocket tags.
pub fn moves(
    config: &Config,
    repo: &Path,
    version: &Version,
    known: &Known,
    message: Option<&str>,
) -> Result<(Option<String>, Vec<Move>), Failure> {
    let opened = gitrecord::open(repo)?;
    let tag = version.tag();
    let name = format!("refs/tags/{tag}");
    let commit = (&known.commit).into();
    let there = |oid: &git2::Oid| gitrecord::leads_to(&opened, *oid) == Some(commit);
    let recorded = known.tag.as_deref().and_then(|oid| git2::Oid::from_str(oid).ok()).filter(there);
    let ours = match (recorded, message) {
        (None, Some(message)) => {
            let oid = write(config, repo, version, &known.commit, message)?;
            reach(Point::TagWritten)?;
            Some(oid)
        }
        (recorded, _) => recorded,
    };
    let old = gitrecord::value(&opened, &name)?;
    let new = match ours {
        Some(oid) => Some(oid),
        // A tag of somebody's that says the same may stay.
        None if old.is_some_and(|oid| there(&oid)) => old,
        None => None,
    };
    let mut moves = vec![gitrecord::mark_move(repo, &opened, &tag, ours.unwrap_or(commit))?];
    moves.push(Move { repo: repo.to_owned(), name, old, new });
    moves.retain(|mv| mv.old != mv.new);
    Ok((ours.map(|oid| oid.to_string()), moves))
}

/// Brings a tag to where it is owed. What is in its way is kept as a ref of ours, and the audit trail says so before it is
/// taken away: whoever dies in between is followed by one who finds both.
pub fn bring(record: &mut Record, job: Option<JobId>, mv: &Move) -> Result<()> {
    for _ in 0..TRIES {
        for (name, oid) in gitrecord::in_the_way(mv)? {
            let aside = gitrecord::set_aside(&mv.repo, &name, oid)?;
            reach(Point::TagAside)?;
            say(record, job, mv, &name, oid, aside.as_deref())?;
            gitrecord::take_away(&mv.repo, &name, oid)?;
        }
        match gitrecord::apply(&Move { old: None, ..mv.clone() }) {
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
    name: &str,
    oid: git2::Oid,
    aside: Option<&str>,
) -> Result<()> {
    let said = match job {
        Some(job) => audit::of_job(record.db(), job)?,
        None => Vec::new(),
    };
    if said
        .iter()
        .any(|entry| entry.event == ASIDE && entry.field("ref") == Some(name) && entry.field("aside") == aside)
    {
        return Ok(());
    }
    let package = mv.repo.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut entry = Entry::new(ASIDE).with("package", package).with("ref", name).with("was", oid.to_string());
    if let Some(aside) = aside {
        entry = entry.with("aside", aside);
    }
    if let Some(job) = job {
        entry = entry.job(job);
    }
    record.write(|tx| entry.append(tx))
}

/// Marks every version of a package as published in its repository, unless that is done.
pub fn mark_versions(repo: &Path, versions: &[(Version, Known)]) -> Result<()> {
    let all = versions.iter().map(|(version, known)| (version.tag(), known.tag.as_deref(), &known.commit));
    gitrecord::complete(repo, all).map(drop)
}

/// The same in every repository where it is not done. Returns what could not be done, each a sentence. Nobody publishes
/// meanwhile.
pub fn mark_all(config: &Config, record: &Record) -> Result<Vec<String>> {
    let one = |package: &PackageName, repo: &Path| -> Result<()> {
        match gitrecord::is_complete(&gitrecord::open(repo)?)? {
            true => Ok(()),
            false => mark_versions(repo, &pockets::versions_of(record.db(), package)?),
        }
    };
    let all = gitrecord::package_repositories(config)?;
    let failed = all.iter().filter_map(|(package, repo)| Some((package, one(package, repo).err()?)));
    Ok(failed
        .map(|(package, error)| format!("the published versions of {package} cannot be marked: {error:#}"))
        .collect())
}

/// What a publication put aside.
pub fn aside(db: &rusqlite::Connection, job: &jobs::Job) -> Result<Vec<audit::Recorded>> {
    let mut entries = audit::of_job(db, job.id)?;
    entries.retain(|entry| entry.event == ASIDE);
    Ok(entries)
}
