//! What is written for a set of jobs before they are published.

use std::collections::BTreeMap;
use std::path::Path;

use super::publication::{Part, Publication, in_step, superproject};
use super::{Item, Publisher, tags};
use crate::archive::{Admission, Admitted, Archive, Change, Foreseen};
use crate::config::Config;
use crate::error::{Error, Failure, FailureKind};
use crate::gitrecord::{self, Move};
use crate::names::{CommitId, JobId, PackageName, PocketName};
use crate::record::contents::{self, Content};
use crate::record::jobs::Job;
use crate::record::pockets::{self, Known};
use crate::record::{Record, builds, pool, sources};
use crate::source::{self, Control};
use crate::stanza;
use crate::validate::{self, Request};

/// What can be done of a publication before anybody has to wait for it.
pub struct Beforehand {
    /// What each item's build has made, in the order of the items.
    admitted: Vec<Option<Admitted>>,
    /// What of the suites' indexes is compressed.
    foreseen: Foreseen,
}

impl Beforehand {
    /// Reads what was built, and compresses what will be in indexes. Nothing is written, and nobody is kept from publishing.
    pub fn of(publisher: &Publisher, config: &Config, items: &[Item]) -> Result<Self, Failure> {
        let mut admitted = Vec::new();
        for item in items {
            let admission = item.built.as_ref().map(|dir| admission(publisher, config, &item.job, dir)).transpose()?;
            admitted.push(admission.map(|admission| Archive::examine(&admission)).transpose()?);
        }
        let foreseen = Foreseen::default();
        let compress = || foresee(publisher, config, items, &admitted, &foreseen);
        // In threads of its own: those that others wait for have better things to do. What is wrong is said under the lock.
        let threads = rayon::ThreadPoolBuilder::new().build().map_err(anyhow::Error::from)?;
        let _ = threads.install(compress);
        Ok(Self { admitted, foreseen })
    }
}

fn foresee(
    publisher: &Publisher,
    config: &Config,
    items: &[Item],
    admitted: &[Option<Admitted>],
    foreseen: &Foreseen,
) -> Result<(), Failure> {
    let (archive, record) = (Archive::open(config)?, Record::open(&config.database())?);
    let mut changes: BTreeMap<&PocketName, Vec<Change>> = BTreeMap::new();
    for (item, admitted) in items.iter().zip(admitted) {
        let content = match admitted {
            Some(admitted) => Some(admitted.content.clone()),
            None => contents::content(record.db(), &item.job.package, &item.job.version)?,
        };
        changes.entry(&item.job.pocket).or_default().extend(content.map(Change::Put));
    }
    for (pocket, changes) in changes {
        archive.foresee(record.db(), &publisher.suite(config, pocket), &changes, foreseen)?;
    }
    Ok(())
}

/// Puts what was built into the pool, and writes Git objects and the next generation of every suite that changes.
pub fn prepare(
    publisher: &Publisher,
    config: &Config,
    record: &mut Record,
    items: &[Item],
    beforehand: Beforehand,
) -> Result<Publication, Failure> {
    let Beforehand { admitted, foreseen } = beforehand;
    let archive = Archive::open(config)?;
    let names: Vec<String> = items.iter().map(|item| format!("job {}", item.job.id)).collect();
    let mut publication = Publication { note: names.join(", "), ..Publication::default() };
    let mut changes: BTreeMap<PocketName, Vec<(&Job, Change)>> = BTreeMap::new();
    for (item, admitted) in items.iter().zip(admitted) {
        let job = &item.job;
        let mine = changes.entry(job.pocket.clone()).or_default();
        if let Some((other, _)) = mine.iter().find(|(other, _)| other.package == job.package) {
            let text = format!("jobs {} and {} bring two commits of {} at once", other.id, job.id, job.package);
            return Err(Failure::new(FailureKind::Conflict, text));
        }
        let mut part = part(config, record, item)?;
        still_valid(config, record, &part)?;
        let left_out = admitted.as_ref().map(|admitted| admitted.left_out.clone()).unwrap_or_default();
        part.notes = left_out.iter().map(|file| format!("{file} is no package: it is not published")).collect();
        mine.push((job, content(config, &archive, record, job, admitted)?));
        publication.add(config, record, part)?;
    }
    for (pocket, changes) in changes {
        let last = changes[changes.len() - 1].0.id;
        let jobs: Vec<&Job> = changes.iter().map(|(job, _)| *job).collect();
        let mv = gitlinks(config, record, &pocket, &jobs)?;
        publication.superprojects.extend(mv.new.map(|new| (config.branch(&pocket), new.into())));
        publication.refs.push((Some(last), mv));
        let changes: Vec<Change> = changes.into_iter().map(|(_, change)| change).collect();
        let prepared = archive.prepare_foreseen(record.db(), &publisher.suite(config, &pocket), &changes, &foreseen)?;
        publication.suites.push((Some(last), prepared));
    }
    Ok(publication)
}

impl Publication {
    /// A job's share and the moves in its package's repository: mark, tag and branch.
    fn add(&mut self, config: &Config, record: &Record, mut part: Part) -> Result<(), Failure> {
        let job = &part.job;
        let repo = config.git.package(&job.package);
        let branch = config.branch(&job.pocket);
        let head = gitrecord::branch_head(&repo, &branch)?;
        let held = pockets::held(record.db(), &job.pocket, &job.package)?.map(|held| held.commit);
        // A branch that is where it is to go is as good as one that has yet to go there.
        if head.as_ref() != Some(&job.commit) {
            in_step(&format!("branch {branch} of {}", job.package), held.as_ref(), head.as_ref())?;
        }
        let tags = !config.build.pockets[&job.pocket].allow_backtracking;
        let (built, upstream) = (built(record, &part)?, upstream(record, part.known.job)?);
        let message = tags.then(|| format!("{} {}\n\n{}{built}{upstream}", job.package, job.version, provenance(job)));
        let (tag, moves) = tags::moves(config, &repo, &job.version, &part.known, message.as_deref())?;
        part.known.tag = tag.or(part.known.tag);
        self.refs.extend(moves.into_iter().map(|mv| (Some(job.id), mv)));
        self.refs.push((Some(job.id), gitrecord::branch_move(&repo, &branch, head.as_ref(), Some(&job.commit))));
        self.parts.push(part);
        Ok(())
    }
}

/// What was true before the build may not be now: history too, which the transaction cannot look at. Nobody else
/// publishes until it is committed.
fn still_valid(config: &Config, record: &Record, part: &Part) -> Result<(), Failure> {
    match validate::check(record.db(), config, &part.request, Some(part.job.id)) {
        Err(error) if error.is::<Error>() => Err(Failure::new(FailureKind::Conflict, format!("{error:#}"))),
        // What the record says is looked at once more in the transaction.
        other => Ok(other.map(drop)?),
    }
}

fn part(config: &Config, record: &Record, item: &Item) -> Result<Part, Failure> {
    let job = &item.job;
    let known = match pockets::known(record.db(), &job.package, &job.version)? {
        Some(known) => known,
        None => Known {
            commit: job.commit.clone(),
            distro: config.build.pockets[&job.pocket].distro.clone(),
            job: job.id,
            tag: None,
        },
    };
    Ok(Part { job: job.clone(), request: Request::of(job), known, built: item.built.is_some(), notes: Vec::new() })
}

fn admission(publisher: &Publisher, config: &Config, job: &Job, dir: &Path) -> Result<Admission, Failure> {
    let control = Control::of_commit(&config.git.package(&job.package), &job.commit)?;
    Ok(Admission {
        dir: dir.to_owned(),
        source: job.package.clone(),
        version: job.version.clone(),
        components: config.build.pockets[&job.pocket].components.clone(),
        architectures: publisher.architectures(config, &job.pocket),
        section: control.section,
        suite: config.suite(&job.pocket),
        changelog: changelog(config, &job.package, &job.commit)?,
    })
}

/// What the suite is to show for a job: what was built, once it is in the pool, or what the pool has.
fn content(
    config: &Config,
    archive: &Archive,
    record: &mut Record,
    job: &Job,
    admitted: Option<Admitted>,
) -> Result<Change, Failure> {
    let Some(mut admitted) = admitted else {
        let Some(mut content) = contents::content(record.db(), &job.package, &job.version)? else {
            let text = format!("the pool has no {} {} to copy", job.package, job.version);
            return Err(Failure::new(FailureKind::Conflict, text));
        };
        known_well(&content)?;
        let changelog = changelog(config, &job.package, &job.commit)?;
        let missing = archive.complete(&mut content, &config.suite(&job.pocket), &changelog)?;
        record.write(|tx| missing.paths().try_for_each(|path| pool::intend(tx, path)))?;
        archive.store_beside(&missing)?;
        return Ok(Change::Put(content));
    };
    archive.fits(record.db(), &mut admitted)?;
    record.write(|tx| admitted.content.paths().try_for_each(|path| pool::intend(tx, path)))?;
    archive.store(&admitted)?;
    Ok(Change::Put(admitted.content))
}

/// The debian/changelog of a commit.
pub fn changelog(config: &Config, package: &PackageName, commit: &CommitId) -> Result<Vec<u8>, Failure> {
    let repo = gitrecord::open(&config.git.package(package))?;
    let tree = repo.find_commit(commit.into())?.tree()?;
    source::whole_changelog(&repo, &tree)
}

/// What an older release has published may have entries that would not be made now; they reach no other suite.
fn known_well(content: &Content) -> Result<(), Failure> {
    for part in &content.parts {
        stanza::check_entry(&part.stanza).map_err(|error| {
            let text = format!(
                "the entry of {} in the index of {} {} {error:#}: an older release made it, so raise the version",
                part.name, content.source, content.version
            );
            Failure::new(FailureKind::Conflict, text)
        })?;
    }
    Ok(())
}

/// The superproject commit of a pocket, and the move to it.
fn gitlinks(config: &Config, record: &Record, pocket: &PocketName, jobs: &[&Job]) -> Result<Move, Failure> {
    let names: Vec<String> = jobs.iter().map(|job| format!("{} {}", job.package, job.version)).collect();
    let lines: Vec<String> = jobs.iter().map(|job| provenance(job)).collect();
    let message = format!("{}: {}\n\n{}", pocket, names.join(", "), lines.concat());
    let change = |job: &&Job| gitrecord::Change { package: job.package.clone(), commit: Some(job.commit.clone()) };
    superproject(config, record, pocket, &jobs.iter().map(change).collect::<Vec<_>>(), &message)
}

/// Whose build a version is, if it is not the job's own.
fn built(record: &Record, part: &Part) -> Result<String, Failure> {
    let build = builds::of_version(record.db(), &part.job.package, &part.job.version)?.filter(|_| !part.built);
    let Some(build) = build else { return Ok(String::new()) };
    let isolation = build.facts.map(|facts| format!("Built-With-Isolation: {}\n", facts.isolation)).unwrap_or_default();
    Ok(format!("Built-By-Job: {}\nBuilt-For: {}\n{isolation}", build.job, build.pocket))
}

/// The sums of what a version was made of, one a line.
fn upstream(record: &Record, job: JobId) -> Result<String, Failure> {
    let Some(source) = sources::of(record.db(), job)? else { return Ok(String::new()) };
    let dsc = source.dsc_sha256.map(|sum| format!("Source-SHA256: {sum}\n"));
    let tarball =
        |tarball: &sources::Tarball| Some(format!("Upstream-SHA256: {} {}\n", tarball.sha256.as_ref()?, tarball.name));
    Ok(dsc.into_iter().chain(source.tarballs.iter().filter_map(tarball)).collect())
}

fn provenance(job: &Job) -> String {
    format!(
        "Package: {}\nVersion: {}\nCommit: {}\nPocket: {}\nPrincipal: {}\nJob: {}\n",
        job.package, job.version, job.commit, job.pocket, job.principal, job.id
    )
}
