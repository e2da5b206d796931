//! Tells what is known of one job, and what is queued, running and lately finished.

use std::collections::BTreeMap;

use anyhow::Result;
use rusqlite::Connection;

use crate::Session;
use crate::waiting::Waiting;
use invirtibuilder_api::archive::PoolFile;
use invirtibuilder_api::audit::Recorded;
use invirtibuilder_api::builds::Build;
use invirtibuilder_api::job::{Job, State};
use invirtibuilder_api::status::{AsideTag, JobStatus, Overview};
use invirtibuilder_api::wait::Wait;
use invirtibuilder_archive::Archive;
use invirtibuilder_core::names::JobId;
use invirtibuilder_publish as publish;
use invirtibuilder_store::pockets::KnownVersion;
use invirtibuilder_store::{
    beside, browse, builds, chroots, forecast, hooks, jobs, pockets, pool, slurm, sources,
};

/// The number of finished jobs that the overview has.
const LATELY: usize = 15;

/// Tells all that is known of a job.
pub fn describe_job(session: &Session, id: JobId) -> Result<JobStatus> {
    let job = session.find_job(id)?;
    let (db, config) = (session.record.db(), &session.config);
    let steps = jobs::steps(db, id)?;
    let hooks = hooks::runs_of(db, id)?;
    let chroots = chroots::chroots_of_job(db, id)?;
    let source = sources::source_of_job(db, id)?;
    let is_shown = published_version(db, &job)?.is_some();
    let built = if is_shown { built_elsewhere(db, &job)? } else { None };
    let given = if built.is_some() { Vec::new() } else { builds::given(db, id)? };
    let buildinfo = if is_shown { buildinfo(db, &job)? } else { Vec::new() };
    let changes = if is_shown {
        let suite = config.suite_of_job(&job.pocket, &job.domain);
        beside::changes(db, &suite, &job.identity())?
    } else {
        None
    };
    let aside = publish::aside(db, &job)?.iter().map(aside_tag).collect();
    let forecast = forecast::told(db, id)?;
    let (waits, ahead) = if job.state == State::Queued {
        (Waiting::look(config, db)?.of(db, &job)?, Some(jobs::ahead(db, id)?))
    } else {
        (None, None)
    };
    let slurm = slurm::of_attempt(db, id, job.attempt)?;
    let has_log = config.build_log(id).exists();
    Ok(JobStatus {
        aside,
        buildinfo,
        built,
        changes,
        chroots,
        forecast,
        given,
        hooks,
        job,
        slurm,
        source,
        steps,
        waits,
        ahead,
        has_log,
    })
}

/// Finds the version that a job has published, if it is still the job's own.
pub(crate) fn published_version(db: &Connection, job: &Job) -> Result<Option<KnownVersion>> {
    Ok(pockets::version_of_job(db, job)?.filter(|_| job.state == State::Published))
}

/// Finds the build that a job has published, if it is another job's.
pub(crate) fn built_elsewhere(db: &Connection, job: &Job) -> Result<Option<Build>> {
    Ok(builds::of_version(db, &job.identity())?.filter(|build| build.job != job.id))
}

/// Lists what says with which packages the binaries were built that a job published.
fn buildinfo(db: &Connection, job: &Job) -> Result<Vec<PoolFile>> {
    let mut files = pool::of_version(db, &job.identity())?;
    files.retain(|file| file.path.ends_with(".buildinfo"));
    Ok(files)
}

fn aside_tag(entry: &Recorded) -> AsideTag {
    let field = |key| entry.field(key).unwrap_or_default().to_owned();
    AsideTag {
        aside: entry.field("aside").map(str::to_owned),
        package: field("package"),
        name: field("ref"),
        was: field("was"),
    }
}

/// Lists the jobs that are queued, running and lately finished; says of no more queued jobs than
/// `explained` what they wait for.
pub fn list_jobs(session: &mut Session, explained: usize) -> Result<Overview> {
    let read = session.record.read(|tx| Ok((jobs::open(tx)?, jobs::lately_finished(tx, LATELY)?)));
    overview(session, read?, explained, list_warnings(session))
}

/// Lists what an operator should know of the signing keys. It reads them.
pub fn list_warnings(session: &Session) -> Vec<String> {
    Archive::warnings(&session.config)
}

/// Lists the same for a page: no more than `most` of the jobs that have not ended, and these
/// warnings.
pub fn list_first_jobs(
    session: &mut Session,
    most: u32,
    warnings: Vec<String>,
) -> Result<Overview> {
    let read = session
        .record
        .read(|tx| Ok((browse::open_jobs(tx, most)?, jobs::lately_finished(tx, LATELY)?)));
    overview(session, read?, most as usize, warnings)
}

fn overview(
    session: &Session,
    (open, finished): (Vec<Job>, Vec<Job>),
    explained: usize,
    warnings: Vec<String>,
) -> Result<Overview> {
    let waits = explain_waits(session, &open, explained)?;
    let forecasts = forecast::accuracy(session.record.db())?;
    Ok(Overview { finished, forecasts, open, waits, warnings })
}

/// Finds out why the first queued jobs wait, at most so many.
fn explain_waits(session: &Session, open: &[Job], most: usize) -> Result<BTreeMap<String, Wait>> {
    let mut queued = open.iter().filter(|job| job.state == State::Queued).take(most).peekable();
    let mut waits = BTreeMap::new();
    if queued.peek().is_none() {
        return Ok(waits);
    }
    let db = session.record.db();
    let waiting = Waiting::look(&session.config, db)?;
    for job in queued {
        if let Some(wait) = waiting.of(db, job)? {
            waits.insert(job.id.to_string(), wait);
        }
    }
    Ok(waits)
}
