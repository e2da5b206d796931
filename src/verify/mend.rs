//! Applies the record again where something is not as it says, or takes what is there.
//!
//! What changes the record is committed first and owed, like any publication; what only Git or the archive lost is put
//! back by compare-and-set. So whoever dies here is followed by the next one, which goes on.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use git2::Oid;

use super::{Adopt, Deep, Difference, Mend, Report, check};
use crate::archive::Archive;
use crate::config::Config;
use crate::error::Error;
use crate::gitrecord::{self, Move};
use crate::names::{CommitId, JobId, PackageName, PocketName, Principal, Version};
use crate::publish::{self, Exclusive, Publisher, stamp};
use crate::record::audit::Entry;
use crate::record::jobs::{self, NewJob};
use crate::record::{moves, pockets, queue};
use crate::validate::{self, Plan, Request};

/// What was done about one difference.
#[derive(Debug)]
pub struct Mended {
    /// The difference.
    pub difference: Difference,
    /// What was done, or why nothing could be.
    pub done: Result<String>,
}

/// Mends what [`check`] finds; with `adopt`, takes what can be taken instead. Nobody else publishes meanwhile.
pub fn mend(config: &Config, publisher: &Publisher, adopt: bool, by: &Principal) -> Result<(Vec<Mended>, Report)> {
    let mut record = publisher.exclusive(config)?;
    publisher.finish(config, &mut record)?;
    let mut all = Vec::new();
    for difference in check(config, publisher, &mut record, &Deep::none())?.differences {
        let done = match &difference.adopt {
            Some(there) if adopt => take(config, &mut record, there, by),
            _ => apply(config, publisher, &mut record, &difference.mend),
        };
        let entry = Entry::new("verify.mended")
            .with("place", difference.place.as_str())
            .with("was", difference.text.as_str())
            .with("done", done.as_ref().map_or_else(|error| format!("{error:#}"), String::clone))
            .with("by", by.as_str());
        record.write(|tx| entry.append(tx))?;
        all.push(Mended { difference, done });
    }
    publisher.finish(config, &mut record)?;
    let after = check(config, publisher, &mut record, &Deep::none())?;
    Ok((all, after))
}

fn apply(config: &Config, publisher: &Publisher, record: &mut Exclusive, mend: &Mend) -> Result<String> {
    match mend {
        Mend::Settle => bail!("it could not be made"),
        Mend::Owed(id, mv) => owe_again(record, *id, mv),
        // Somebody else's may be in its way.
        Mend::Ref(mv) if mv.name.starts_with("refs/tags/") => {
            record.write(|tx| moves::owe_ref(tx, None, mv))?;
            Ok(if mv.new.is_some() { "moved back" } else { "put aside" }.to_owned())
        }
        Mend::Ref(mv) => {
            gitrecord::apply(mv)?;
            Ok("moved back".to_owned())
        }
        Mend::Tag(package, version) => tag(config, record, package, version),
        Mend::Superproject(pocket) => superproject(config, record, pocket),
        Mend::Suite(pocket) => suite(config, publisher, record, pocket),
        Mend::Queue => {
            record.write(queue::mend)?;
            Ok("written anew from the jobs".to_owned())
        }
        Mend::Nothing => bail!("the record does not have what is missing: restore it from a backup"),
    }
}

/// Owes a move anew, from where the ref is: somebody else put it there before the move was made.
fn owe_again(record: &mut Exclusive, id: i64, mv: &Move) -> Result<String> {
    let old = gitrecord::ref_value(&mv.repo, &mv.name)?;
    record.write(|tx| {
        moves::settle(tx, &[id])?;
        moves::owe_ref(tx, None, &Move { old, ..mv.clone() })
    })?;
    Ok("moved".to_owned())
}

/// Writes the tag object anew: the old one is lost.
fn tag(config: &Config, record: &mut Exclusive, package: &PackageName, version: &Version) -> Result<String> {
    let Some(known) = pockets::known(record.db(), package, version)? else { bail!("the version is not known") };
    let repo = config.git.package(package);
    let name = format!("refs/tags/{}", version.tag());
    let old = gitrecord::ref_value(&repo, &name)?;
    let message = format!("{package} {version}\n\nCommit: {}\nJob: {}\n", known.commit, known.job);
    let new = publish::write_tag(config, &repo, version, &known.commit, &message)?;
    let mark = gitrecord::mark_move(&repo, &gitrecord::open(&repo)?, &version.tag(), new)?;
    record.write(|tx| {
        pockets::set_tag(tx, package, version, &new.to_string())?;
        moves::owe_ref(tx, None, &mark)?;
        moves::owe_ref(tx, None, &Move { repo, name, old, new: Some(new) })
    })?;
    Ok("tagged anew".to_owned())
}

/// Writes a commit with what the pocket has, on top of the last one that is left.
fn superproject(config: &Config, record: &mut Exclusive, pocket: &PocketName) -> Result<String> {
    let (repo, branch) = (&config.git.superproject, config.branch(pocket));
    let name = format!("refs/heads/{branch}");
    let old = gitrecord::ref_value(repo, &name)?;
    let recorded = pockets::superproject(record.db(), &branch)?;
    let mut before = (None, BTreeMap::new());
    for commit in [recorded, old.map(CommitId::from)].into_iter().flatten() {
        if let Some(links) = gitrecord::packages_at(repo, &commit)? {
            before = (Some(commit), links);
            break;
        }
    }
    let (parent, links) = before;
    let mut now: BTreeMap<String, Option<CommitId>> = links.into_keys().map(|package| (package, None)).collect();
    let held = pockets::all(record.db())?.into_iter().filter(|held| held.pocket == *pocket);
    now.extend(held.map(|held| (held.package.to_string(), Some(held.commit))));
    let change = |(package, commit): (String, _)| Ok(gitrecord::Change { package: package.parse()?, commit });
    let changes: Vec<gitrecord::Change> = now.into_iter().map(change).collect::<Result<_, Error>>()?;
    let url = &config.git.submodule_url;
    let message = format!("{pocket}: what the record has\n");
    let mv = gitrecord::write_superproject(repo, &branch, parent.as_ref(), &changes, url, &message, &stamp(config))?;
    let new: CommitId = mv.new.unwrap_or(Oid::ZERO_SHA1).into();
    record.write(|tx| {
        pockets::set_superproject(tx, &branch, &new)?;
        moves::owe_ref(tx, None, &Move { old, ..mv })
    })?;
    Ok("written anew".to_owned())
}

/// Writes the next generation from the record alone. What is shown now may have a higher number than the record knows.
fn suite(config: &Config, publisher: &Publisher, record: &mut Exclusive, pocket: &PocketName) -> Result<String> {
    let prepared = Archive::open(config)?.rewrite(record.db(), &publisher.suite(config, pocket))?;
    record.write(|tx| {
        Archive::record(tx, &prepared, "verify --repair")?;
        moves::owe_suite(tx, None, prepared.suite(), prepared.generation())
    })?;
    Ok(format!("written anew as generation {}", prepared.generation()))
}

/// Takes what is there, where it is as valid as if it had been submitted.
fn take(config: &Config, record: &mut Exclusive, there: &Adopt, by: &Principal) -> Result<String> {
    match there {
        Adopt::Branch(pocket, package, commit) => {
            let job = submit(config, record, pocket, package, commit, by)?;
            Ok(format!("job {job} publishes what is there"))
        }
        Adopt::Superproject(branch, commit) => {
            record.write(|tx| pockets::set_superproject(tx, branch, commit))?;
            Ok(format!("taken: the record has it at {}", commit.short()))
        }
        Adopt::Tag(package, version, value) => {
            let repo = config.git.package(package);
            let mark = gitrecord::mark_move(&repo, &gitrecord::open(&repo)?, &version.tag(), Oid::from_str(value)?)?;
            record.write(|tx| {
                pockets::set_tag(tx, package, version, value)?;
                moves::owe_ref(tx, None, &mark)
            })?;
            Ok("taken".to_owned())
        }
    }
}

fn submit(
    config: &Config,
    record: &mut Exclusive,
    pocket: &PocketName,
    package: &PackageName,
    commit: &CommitId,
    by: &Principal,
) -> Result<JobId> {
    let request = Request::read(config, pocket, package.clone(), commit.as_str())?;
    match validate::check(record.db(), config, &request, None)? {
        Plan::Run(_) => {}
        Plan::UnderWay(job) => return Ok(job.id),
        Plan::AlreadyThere(job) => return Ok(job),
    }
    let new = NewJob {
        pocket: request.pocket,
        package: request.package,
        commit: request.commit,
        version: request.version,
        principal: by.clone(),
    };
    record.write(|tx| jobs::enqueue(tx, &new))
}
