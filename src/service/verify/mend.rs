//! Applies the record again where something is not as it says, or takes what is there.
//!
//! What changes the record is committed first and owed, like any publication; what only Git or the
//! archive lost is put back by compare-and-set. So whoever dies here is followed by the next one,
//! which goes on.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use git2::Oid;

use crate::submit::{Candidate, OpenJobs};
use crate::verify::check::check;
use crate::verify::fault::{Adopt, Deep, Mend};
use invirtibuilder_api::verify::{Difference, MendedDifference, Repair, Repaired};
use invirtibuilder_archive::Archive;
use invirtibuilder_core::config::{Config, ConfiguredPocket};
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::{CommitId, PocketName, Principal};
use invirtibuilder_git as git;
use invirtibuilder_git::Move;
use invirtibuilder_publish as publish;
use invirtibuilder_publish::{Exclusive, Publisher, stamp, suite_spec};
use invirtibuilder_store::audit::AuditEntry;
use invirtibuilder_store::{moves, pockets, queue};

/// Mends what [`check()`] finds, by the record or by what is there. Nobody else publishes
/// meanwhile.
pub fn mend(
    config: &Config,
    publisher: &Publisher,
    repair: Repair,
    by: &Principal,
) -> Result<Repaired> {
    let mut record = publisher.exclusive(config)?;
    publisher.finish(config, &mut record)?;
    let mut mended = Vec::new();
    for fault in check(config, &mut record, &Deep::none())?.faults {
        let done = match &fault.adopt {
            Some(there) if repair == Repair::Adopt => take(config, &mut record, there, by),
            _ => apply(config, &mut record, &fault.mend),
        };
        let done = done.map_err(|error| format!("{error:#}"));
        let Difference { place, text } = fault.difference;
        let entry = AuditEntry::new("verify.mended")
            .with("place", place.as_str())
            .with("was", text.as_str())
            .with("done", done.clone().unwrap_or_else(|failed| failed))
            .with("by", by.as_str());
        record.write(|tx| entry.append(tx))?;
        let (done, failed) = (done.clone().ok(), done.err());
        mended.push(MendedDifference { done, failed, place, text });
    }
    publisher.finish(config, &mut record)?;
    let left = check(config, &mut record, &Deep::none())?.report();
    Ok(Repaired { left, mended })
}

fn apply(config: &Config, record: &mut Exclusive, mend: &Mend) -> Result<String> {
    match mend {
        Mend::Settle => bail!("it could not be made"),
        Mend::Owed(id, mv) => owe_again(record, *id, mv),
        // Somebody else's may be in its way.
        Mend::Ref(mv) if mv.name.starts_with("refs/tags/") => {
            record.write(|tx| moves::owe_ref(tx, None, mv))?;
            Ok(if mv.new.is_some() { "moved back" } else { "put aside" }.to_owned())
        }
        Mend::Ref(mv) => {
            git::apply(mv)?;
            Ok("moved back".to_owned())
        }
        Mend::Tag(id) => tag(config, record, id),
        Mend::Superproject(pocket) => superproject(config, record, pocket),
        Mend::Suite(pocket) => suite(config, record, config.pocket(pocket.as_str())?),
        Mend::Queue => {
            record.write(queue::mend)?;
            Ok("written anew from the jobs".to_owned())
        }
        Mend::Nothing => {
            bail!("the record does not have what is missing: restore it from a backup")
        }
    }
}

/// Owes a move anew, from where the ref is: somebody else put it there before the move was made.
fn owe_again(record: &mut Exclusive, id: i64, mv: &Move) -> Result<String> {
    let old = git::ref_value(&mv.repo, &mv.name)?;
    record.write(|tx| {
        moves::settle(tx, &[id])?;
        moves::owe_ref(tx, None, &Move { old, ..mv.clone() })
    })?;
    Ok("moved".to_owned())
}

/// Writes the tag object anew: the old one is lost.
fn tag(config: &Config, record: &mut Exclusive, id: &Identity) -> Result<String> {
    let Some(known) = pockets::known(record.db(), id)? else { bail!("the version is not known") };
    let repo = config.git.package(&id.package);
    let name = format!("refs/tags/{}", known.tag_name);
    let old = git::ref_value(&repo, &name)?;
    let message =
        format!("{} {}\n\nCommit: {}\nJob: {}\n", id.package, id.version, known.commit, known.job);
    let new = publish::write_tag(config, &repo, &id.domain, &known, &message)?;
    let marks = git::Marks::of(&id.domain);
    let mark = marks.mark_move(&repo, &git::open(&repo)?, &known.tag_name, new)?;
    record.write(|tx| {
        pockets::set_tag(tx, id, &new.to_string())?;
        moves::owe_ref(tx, None, &mark)?;
        moves::owe_ref(tx, None, &Move { repo, name, old, new: Some(new) })
    })?;
    Ok("tagged anew".to_owned())
}

/// Writes a commit with what the pocket has, on top of the last one that is left.
fn superproject(config: &Config, record: &mut Exclusive, pocket: &PocketName) -> Result<String> {
    let (repo, branch) = (&config.git.superproject, config.branch(pocket));
    let name = format!("refs/heads/{branch}");
    let old = git::ref_value(repo, &name)?;
    let recorded = pockets::superproject(record.db(), &branch)?;
    let mut before = (None, BTreeMap::new());
    for commit in [recorded, old.map(CommitId::from)].into_iter().flatten() {
        if let Some(links) = git::packages_at(repo, &commit)? {
            before = (Some(commit), links);
            break;
        }
    }
    let (parent, links) = before;
    let mut now: BTreeMap<String, Option<CommitId>> =
        links.into_keys().map(|package| (package, None)).collect();
    let held = pockets::all(record.db())?.into_iter().filter(|held| held.pocket == *pocket);
    now.extend(held.map(|held| (held.package.to_string(), Some(held.commit))));
    let change = |(package, commit): (String, _)| {
        Ok(git::SubmoduleChange { package: package.parse()?, commit })
    };
    let changes: Vec<git::SubmoduleChange> =
        now.into_iter().map(change).collect::<Result<_, Error>>()?;
    let url = &config.git.submodule_url;
    let message = format!("{pocket}: what the record has\n");
    let mv = git::write_superproject(
        repo,
        &git::NewCommit {
            branch: &branch,
            parent: parent.as_ref(),
            changes: &changes,
            submodule_url: url,
            message: &message,
        },
        &stamp(config),
    )?;
    let new: CommitId = mv.new.unwrap_or(Oid::ZERO_SHA1).into();
    record.write(|tx| {
        pockets::set_superproject(tx, &branch, &new)?;
        moves::owe_ref(tx, None, &Move { old, ..mv })
    })?;
    Ok("written anew".to_owned())
}

/// Writes the next generation from the record alone. What is shown now may have a higher number
/// than the record knows.
fn suite(config: &Config, record: &mut Exclusive, pocket: ConfiguredPocket) -> Result<String> {
    let prepared =
        Archive::open(config, pocket.domain())?.rewrite(record.db(), &suite_spec(pocket))?;
    record.write(|tx| {
        Archive::record(tx, &prepared, "verify --repair")?;
        moves::owe_suite(tx, None, prepared.suite(), Some(prepared.generation()))
    })?;
    Ok(format!("written anew as generation {}", prepared.generation()))
}

/// Takes what is there, where it is as valid as if it had been submitted.
fn take(config: &Config, record: &mut Exclusive, there: &Adopt, by: &Principal) -> Result<String> {
    match there {
        Adopt::Branch(pocket, package, commit) => {
            let (package, commit) = (package.clone(), commit.as_str());
            let candidate = Candidate::read(record.db(), config, pocket, package, commit)?;
            let queued = record.write(|tx| candidate.queue(tx, config, by, OpenJobs::Unlimited))?;
            Ok(format!("job {} publishes what is there", queued.job()))
        }
        Adopt::Superproject(branch, commit) => {
            record.write(|tx| pockets::set_superproject(tx, branch, commit))?;
            Ok(format!("taken: the record has it at {}", commit.short()))
        }
        Adopt::Tag(id, value) => {
            let Some(known) = pockets::known(record.db(), id)? else {
                bail!("the version is not known")
            };
            let repo = config.git.package(&id.package);
            let marks = git::Marks::of(&id.domain);
            let (opened, new) = (git::open(&repo)?, Oid::from_str(value)?);
            let mark = marks.mark_move(&repo, &opened, &known.tag_name, new)?;
            record.write(|tx| {
                pockets::set_tag(tx, id, value)?;
                moves::owe_ref(tx, None, &mark)
            })?;
            Ok("taken".to_owned())
        }
    }
}
