//! Writes what a set of jobs needs before they are published.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::publication::{JobShare, Publication, in_step, superproject};
use crate::validate::{self, JobRequest};
use crate::{Item, suite_spec, tags};
use invirtibuilder_api::job::Job;
use invirtibuilder_archive::{Admission, Admitted, Archive, Foreseen, SuiteChange};
use invirtibuilder_builder::source::{self, Control};
use invirtibuilder_core::config::Config;
use invirtibuilder_core::error::{Error, Failure, FailureKind};
use invirtibuilder_core::names::{Distro, DomainName, JobId, PocketName};
use invirtibuilder_core::stanza;
use invirtibuilder_git as git;
use invirtibuilder_git::Move;
use invirtibuilder_store::contents::{self, Content};
use invirtibuilder_store::pockets::{self, KnownVersion};
use invirtibuilder_store::{Record, builds, pool, sources};
use invirtibuilder_system::architectures;
use invirtibuilder_system::unsynced::Unsynced;

/// The part of a publication that can be done before anybody has to wait for it.
pub struct Beforehand {
    /// The files that the build of each item has made, in the order of the items.
    admitted: Vec<Option<Admitted>>,
    /// The parts of the suites' indexes that are compressed already.
    foreseen: Foreseen,
}

impl Beforehand {
    /// Reads what was built, and compresses what will be in indexes. It writes nothing, and keeps
    /// nobody from publishing.
    pub fn of(config: &Config, items: &[Item]) -> Result<Self, Failure> {
        let mut admitted = Vec::new();
        for item in items {
            let admission =
                item.built.as_ref().map(|dir| admission(config, &item.job, dir)).transpose()?;
            admitted.push(admission.map(|admission| Archive::examine(&admission)).transpose()?);
        }
        let foreseen = Foreseen::default();
        let compress = || foresee(config, items, &admitted, &foreseen);
        // In threads of its own: those that others wait for have better things to do. What is wrong
        // is said under the lock.
        let threads = rayon::ThreadPoolBuilder::new().build().map_err(anyhow::Error::from)?;
        let _ = threads.install(compress);
        Ok(Self { admitted, foreseen })
    }
}

fn foresee(
    config: &Config,
    items: &[Item],
    admitted: &[Option<Admitted>],
    foreseen: &Foreseen,
) -> Result<(), Failure> {
    let record = Record::open(&config.database())?;
    let mut changes: BTreeMap<&PocketName, Vec<SuiteChange>> = BTreeMap::new();
    for (item, admitted) in items.iter().zip(admitted) {
        let content = match admitted {
            Some(admitted) => Some(admitted.content.clone()),
            None => contents::content(record.db(), &item.job.identity())?,
        };
        changes.entry(&item.job.pocket).or_default().extend(content.map(SuiteChange::Put));
    }
    for (pocket, changes) in changes {
        let suite = suite_spec(config.pocket_of_job(pocket)?);
        let archive = Archive::open(config, &suite.suite.domain)?;
        archive.foresee(record.db(), &suite, &changes, foreseen)?;
    }
    Ok(())
}

/// Puts what was built into the pool, and writes Git objects and the next generation of every suite
/// that changes.
pub fn prepare(
    config: &Config,
    record: &mut Record,
    items: &[Item],
    beforehand: Beforehand,
) -> Result<Publication, Failure> {
    let Beforehand { admitted, foreseen } = beforehand;
    let names: Vec<String> = items.iter().map(|item| format!("job {}", item.job.id)).collect();
    let mut publication = Publication { note: names.join(", "), ..Publication::default() };
    let mut changes: BTreeMap<PocketName, Vec<(&Job, SuiteChange)>> = BTreeMap::new();
    let mut unsynced = Unsynced::default();
    for (item, admitted) in items.iter().zip(admitted) {
        let job = &item.job;
        let mine = changes.entry(job.pocket.clone()).or_default();
        if let Some((other, _)) = mine.iter().find(|(other, _)| other.package == job.package) {
            let text = format!(
                "jobs {} and {} bring two commits of {} at once",
                other.id, job.id, job.package
            );
            return Err(Failure::new(FailureKind::Conflict, text));
        }
        let mut part = part(config, record, item)?;
        still_valid(config, record, &part)?;
        let left_out =
            admitted.as_ref().map(|admitted| admitted.left_out.clone()).unwrap_or_default();
        part.notes = left_out
            .iter()
            .map(|file| format!("{file} is no package: it is not published"))
            .collect();
        mine.push((job, content(config, record, job, (admitted, &unsynced))?));
        publication.add(config, record, part)?;
    }
    for (pocket, changes) in changes {
        let last = changes[changes.len() - 1].0.id;
        let jobs: Vec<&Job> = changes.iter().map(|(job, _)| *job).collect();
        let pocket = config.pocket_of_job(&pocket)?;
        let mv = gitlinks(config, record, pocket.name(), &jobs)?;
        publication.superprojects.extend(mv.new.map(|new| (pocket.branch(), new.into())));
        publication.refs.push((Some(last), mv));
        let changes: Vec<SuiteChange> = changes.into_iter().map(|(_, change)| change).collect();
        let prepared = Archive::open(config, pocket.domain())?.prepare_foreseen(
            record.db(),
            &suite_spec(pocket),
            &changes,
            // The first one waits for what is in the pool too.
            (&foreseen, std::mem::take(&mut unsynced)),
        )?;
        publication.suites.push((Some(last), prepared));
    }
    Ok(publication)
}

impl Publication {
    /// Adds a job's share and the moves in its package's repository: mark, tag and branch.
    fn add(&mut self, config: &Config, record: &Record, mut part: JobShare) -> Result<(), Failure> {
        let job = &part.job;
        let repo = config.git.package(&job.package);
        let pocket = config.pocket_of_job(&job.pocket)?;
        let branch = pocket.branch();
        let head = git::branch_head(&repo, &branch)?;
        let held = pockets::held(record.db(), &job.pocket, &job.package)?.map(|held| held.commit);
        // A branch that is where it is to go is as good as one that has yet to go there.
        if head.as_ref() != Some(&job.commit) {
            in_step(&format!("branch {branch} of {}", job.package), held.as_ref(), head.as_ref())?;
        }
        let tags = !pocket.settings().allow_backtracking;
        let (built, upstream) = (built(record, &part)?, upstream(record, part.known.job)?);
        let message = tags.then(|| {
            format!("{} {}\n\n{}{built}{upstream}", job.package, job.version, provenance(job))
        });
        let (tag, moves) =
            tags::moves(config, &repo, &job.domain, &part.known, message.as_deref())?;
        part.known.tag = tag.or(part.known.tag);
        self.refs.extend(moves.into_iter().map(|mv| (Some(job.id), mv)));
        self.refs.push((
            Some(job.id),
            git::branch_move(&repo, &branch, head.as_ref(), Some(&job.commit)),
        ));
        self.parts.push(part);
        Ok(())
    }
}

/// Checks a request once more, as what was true before the build may not be now: history too, which
/// the transaction cannot look at. Nobody else publishes until it is committed.
fn still_valid(config: &Config, record: &Record, part: &JobShare) -> Result<(), Failure> {
    match validate::check(record.db(), config, &part.request, Some(part.job.id)) {
        Err(error) if error.is::<Error>() => {
            Err(Failure::new(FailureKind::Conflict, format!("{error:#}")))
        }
        // What the record says is looked at once more in the transaction.
        other => Ok(other.map(drop)?),
    }
}

fn part(config: &Config, record: &Record, item: &Item) -> Result<JobShare, Failure> {
    let job = &item.job;
    let known = match pockets::known(record.db(), &job.identity())? {
        Some(known) => known,
        None => KnownVersion {
            commit: job.commit.clone(),
            distro: config.pocket_of_job(&job.pocket)?.settings().distro.clone(),
            job: job.id,
            tag: None,
            tag_name: config.tag(&job.pocket).tag(&job.version),
        },
    };
    Ok(JobShare {
        job: job.clone(),
        request: JobRequest::of(job),
        known,
        built: item.built.is_some(),
        notes: Vec::new(),
    })
}

fn admission(config: &Config, job: &Job, dir: &Path) -> Result<Admission, Failure> {
    let pocket = config.pocket_of_job(&job.pocket)?;
    let control = Control::of_commit(&config.git.package(&job.package), &job.commit)?;
    Ok(Admission {
        dir: dir.to_owned(),
        source: job.package.clone(),
        version: job.version.clone(),
        components: pocket.settings().components.clone(),
        architectures: architectures::of_pocket(pocket.settings()),
        section: control.section,
        suite: pocket.suite(),
        changelog: changelog(config, job, &pocket.settings().distro)?,
    })
}

/// Puts into the pool what was built for a job, or takes what the pool has. Returns what the suite
/// then shows for the job.
fn content(
    config: &Config,
    record: &mut Record,
    job: &Job,
    (admitted, unsynced): (Option<Admitted>, &Unsynced),
) -> Result<SuiteChange, Failure> {
    let archive = Archive::open(config, &job.domain)?;
    let Some(mut admitted) = admitted else {
        let Some(mut content) = contents::content(record.db(), &job.identity())? else {
            let text = format!("the pool has no {} to copy", job.identity());
            return Err(Failure::new(FailureKind::Conflict, text));
        };
        known_well(&content)?;
        let pocket = config.pocket_of_job(&job.pocket)?;
        let changelog = changelog(config, job, &pocket.settings().distro)?;
        let missing = archive.complete(&mut content, &pocket.suite(), &changelog)?;
        intend(record, &job.domain, missing.paths())?;
        archive.store_beside(&missing, unsynced)?;
        return Ok(SuiteChange::Put(content));
    };
    archive.fits(record.db(), &mut admitted)?;
    intend(record, &job.domain, admitted.content.paths())?;
    archive.store(&admitted, unsynced)?;
    Ok(SuiteChange::Put(admitted.content))
}

/// Records that these paths of a domain are about to be written.
pub fn intend<'a>(
    record: &mut Record,
    domain: &DomainName,
    mut paths: impl Iterator<Item = &'a str>,
) -> Result<(), Failure> {
    Ok(record.write(|tx| paths.try_for_each(|path| pool::intend(tx, domain, path)))?)
}

/// Reads the debian/changelog that the source package of a job has.
pub fn changelog(config: &Config, job: &Job, distro: &Distro) -> Result<Vec<u8>, Failure> {
    let subject = JobRequest::of(job).subject(config, distro);
    source::built_changelog(&git::open(&subject.repo)?, &subject)
}

/// Refuses a version with entries that we would not make now: an older release may have published
/// it. Such entries reach no other suite.
fn known_well(content: &Content) -> Result<(), Failure> {
    for part in &content.parts {
        stanza::check_entry(&part.stanza).map_err(|error| {
            let text = format!(
                "the entry of {} in the index of {} {error:#}: an older release made it, so raise the version",
                part.name, content.id
            );
            Failure::new(FailureKind::Conflict, text)
        })?;
    }
    Ok(())
}

/// Writes the superproject commit of a pocket with these jobs. Returns the move to it.
fn gitlinks(
    config: &Config,
    record: &Record,
    pocket: &PocketName,
    jobs: &[&Job],
) -> Result<Move, Failure> {
    let names: Vec<String> =
        jobs.iter().map(|job| format!("{} {}", job.package, job.version)).collect();
    let lines: Vec<String> = jobs.iter().map(|job| provenance(job)).collect();
    let message = format!("{}: {}\n\n{}", pocket, names.join(", "), lines.concat());
    let change = |job: &&Job| git::SubmoduleChange {
        package: job.package.clone(),
        commit: Some(job.commit.clone()),
    };
    superproject(config, record, pocket, &jobs.iter().map(change).collect::<Vec<_>>(), &message)
}

/// Says whose build a version is, if it is not the job's own.
fn built(record: &Record, part: &JobShare) -> Result<String, Failure> {
    let build = builds::of_version(record.db(), &part.job.identity())?.filter(|_| !part.built);
    let Some(build) = build else { return Ok(String::new()) };
    let isolation = build
        .facts
        .map(|facts| format!("Built-With-Isolation: {}\n", facts.isolation))
        .unwrap_or_default();
    Ok(format!("Built-By-Job: {}\nBuilt-For: {}\n{isolation}", build.job, build.pocket))
}

/// Lists the sums of what a version was made of, one a line.
fn upstream(record: &Record, job: JobId) -> Result<String, Failure> {
    let Some(source) = sources::source_of_job(record.db(), job)? else { return Ok(String::new()) };
    let dsc = source.dsc_sha256.map(|sum| format!("Source-SHA256: {sum}\n"));
    let tarball = |tarball: &invirtibuilder_api::source::JobTarball| {
        Some(format!("Upstream-SHA256: {} {}\n", tarball.sha256.as_ref()?, tarball.name))
    };
    Ok(dsc.into_iter().chain(source.tarballs.iter().filter_map(tarball)).collect())
}

fn provenance(job: &Job) -> String {
    let mut text = format!("Package: {}\nVersion: {}\n", job.package, job.version);
    if job.written != job.version {
        let _ = writeln!(text, "Written: {}", job.written);
    }
    if let Some(why) = &job.why {
        let _ = writeln!(text, "Rebuild: {why}");
    }
    let _ = write!(
        text,
        "Commit: {}\nPocket: {}\nPrincipal: {}\nJob: {}\n",
        job.commit, job.pocket, job.principal, job.id
    );
    text
}
