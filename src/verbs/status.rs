//! `status`: one job in full, or what is queued, running and lately finished.

use anyhow::Result;
use serde_json::json;

use crate::archive::Archive;
use crate::error::Exit;
use crate::publish;
use crate::record::builds::Build;
use crate::record::forecast::{self, Told};
use crate::record::jobs::{self, Job};
use crate::record::pool::{self, PoolFile};
use crate::record::{State, beside, builds, chroots, hooks, now, pockets, sources};
use crate::session::{Session, span, table, time};
use crate::source::Layout;
use crate::waiting::{Wait, Waiting};

/// Finished jobs that the overview shows.
const LATELY: usize = 15;

/// Jobs of which the overview says what they wait for.
const WAITING: usize = 15;

/// Paths of tarballs that one job shows.
const SHOWN: usize = 10;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The number that submit printed
    #[arg(allow_negative_numbers = true)]
    job: Option<String>,
}

/// Runs the verb.
pub fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    match &args.job {
        Some(id) => one(session, &session.job(id)?),
        None => overview(session),
    }
}

fn one(session: &Session, job: &Job) -> Result<Exit> {
    let db = session.record.db();
    let steps = jobs::steps(db, job.id)?;
    let hooks = hooks::runs_of(db, job.id)?;
    let chroots = chroots::of(db, job.id)?;
    let source = sources::of(db, job.id)?;
    let built = built(session, job)?;
    let given = if built.is_some() { Vec::new() } else { builds::given(db, job.id)? };
    let buildinfo = buildinfo(session, job)?;
    let changes = changes(session, job)?;
    let aside = publish::aside(db, job)?;
    let told = forecast::told(db, job.id)?;
    let wait = if job.state == State::Queued { Waiting::look(&session.config, db)?.of(db, job)? } else { None };
    if session.json {
        session.print_json(&json!({
            "waits": wait, "forecast": told, "job": job, "steps": steps, "hooks": hooks, "chroots": chroots,
            "buildinfo": buildinfo, "changes": changes, "source": source, "given": given, "built": built,
            "aside": aside.iter().map(|entry| &entry.detail).collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Ok);
    }
    let line = |key: &str, value: String| session.line(format!("{key:<10} {value}"));
    line("job", job.id.to_string())?;
    line("package", format!("{} {}", job.package, job.version))?;
    line("pocket", job.pocket.to_string())?;
    line("commit", job.commit.to_string())?;
    line("principal", job.principal.to_string())?;
    line("state", job.state.to_string())?;
    if let Some(kind) = job.failure {
        line("failure", kind.to_string())?;
    }
    if let Some(reason) = &job.reason {
        line("reason", reason.clone())?;
    }
    if let Some(from) = &job.copied_from {
        line("copied", format!("from {from}"))?;
    }
    if let Some(build) = &built {
        let isolation = build.facts.as_ref().map_or("no facts of it are recorded", |facts| facts.isolation.as_str());
        line("built by", format!("job {} for {} ({isolation})", build.job, build.pocket))?;
    }
    if let Some(source) = &source {
        line("layout", source.layout.map_or("not known yet", Layout::as_str).to_owned())?;
        for tarball in &source.tarballs {
            line("tarball", format!("{} from {}", tarball.name, tarball.origin))?;
        }
        let more = source.extra.len().saturating_sub(SHOWN);
        for path in source.extra.iter().take(SHOWN) {
            line("only there", path.clone())?;
        }
        if more > 0 {
            line("only there", format!("{more} more: 'explain {}' has them all", job.id))?;
        }
        for note in &source.notes {
            line("note", note.clone())?;
        }
    }
    for chroot in &chroots {
        line("chroot", format!("{} {}", chroot.architecture, chroot.digest.short()))?;
    }
    for one in &given {
        line("given", format!("{} {} {} from {}", one.package, one.version, one.architecture, one.suite))?;
    }
    if job.state == State::Queued {
        line("ahead", jobs::ahead(db, job.id)?.to_string())?;
    }
    if let Some(wait) = &wait {
        line("waits for", wait.to_string())?;
    }
    if let Some(takes) = wait.as_ref().and_then(|wait| wait.takes) {
        line("takes then", format!("about {}", span(takes)))?;
    }
    if let Some(told) = &told {
        line("foretold", foretold(told))?;
    }
    if session.config.build_log(job.id).exists() {
        line("log", format!("'log {}' prints it", job.id))?;
    }
    for file in &buildinfo {
        line("buildinfo", file.path.clone())?;
    }
    if let Some(changes) = changes {
        line("changes", changes)?;
    }
    for entry in &aside {
        let field = |name| entry.field(name).unwrap_or_default().to_owned();
        line("tag", format!("{} was not ours, and is kept as", field("ref")))?;
        line("", field("aside"))?;
    }
    for step in &steps {
        line(step.state.as_str(), time(step.at))?;
    }
    for run in &hooks {
        line("hook", format!("{}/{}: {}", run.event, run.name, run.outcome))?;
    }
    Ok(Exit::Ok)
}

/// When a job that had to wait was to start, and how far off that was.
fn foretold(told: &Told) -> String {
    let off = match told.started.map(|started| started - told.start) {
        None => String::new(),
        Some(late @ 1000..) => format!(", and it started {} later", span(late)),
        Some(early @ ..=-1000) => format!(", and it started {} earlier", span(-early)),
        Some(_) => ", and it did".to_owned(),
    };
    format!("to start at {}{off}", time(told.start))
}

/// The build that a job has published, if it is another job's.
fn built(session: &Session, job: &Job) -> Result<Option<Build>> {
    let db = session.record.db();
    let known = pockets::known(db, &job.package, &job.version)?;
    if job.state != State::Published || known.is_none_or(|known| known.commit != job.commit) {
        return Ok(None);
    }
    Ok(builds::of_version(db, &job.package, &job.version)?.filter(|build| build.job != job.id))
}

/// What the binaries that the job published were built with and from: one file for each architecture, below the archive's
/// root. A version that `archive gc` removed, or that was let go, has none.
fn buildinfo(session: &Session, job: &Job) -> Result<Vec<PoolFile>> {
    let db = session.record.db();
    let known = pockets::known(db, &job.package, &job.version)?;
    if job.state != State::Published || known.is_none_or(|known| known.commit != job.commit) {
        return Ok(Vec::new());
    }
    let mut files = pool::of_version(db, &job.package, &job.version)?;
    files.retain(|file| file.path.ends_with(".buildinfo"));
    Ok(files)
}

/// The `.changes` of what the job brought into its pocket's suite, below the archive's root.
fn changes(session: &Session, job: &Job) -> Result<Option<String>> {
    let db = session.record.db();
    let known = pockets::known(db, &job.package, &job.version)?;
    if job.state != State::Published || known.is_none_or(|known| known.commit != job.commit) {
        return Ok(None);
    }
    beside::changes(db, &session.config.suite(&job.pocket), &job.package, &job.version)
}

fn overview(session: &mut Session) -> Result<Exit> {
    let (open, done) = session.record.read(|tx| Ok((jobs::open(tx)?, jobs::lately_finished(tx, LATELY)?)))?;
    let warnings = Archive::warnings(&session.config);
    let most = if session.json { usize::MAX } else { WAITING };
    let waits = waits(session, &open, most)?;
    let accuracy = forecast::accuracy(session.record.db())?;
    if session.json {
        let waits: serde_json::Map<_, _> = waits.iter().map(|(job, wait)| (job.id.to_string(), json!(wait))).collect();
        session.print_json(&json!({
            "open": open, "finished": done, "warnings": warnings, "waits": waits, "forecasts": accuracy,
        }))?;
        return Ok(Exit::Ok);
    }
    for warning in &warnings {
        session.line(format!("warning: {warning}"))?;
    }
    if open.is_empty() && done.is_empty() {
        session.line("no jobs yet: 'submit POCKET PACKAGE COMMIT' makes one")?;
        return Ok(Exit::Ok);
    }
    show(open.iter().chain(&done))?;
    for (job, wait) in &waits {
        session.line(format!("job {} waits for {wait}", job.id))?;
    }
    let more = open.iter().filter(|job| job.state == State::Queued).count() - waits.len();
    if more > 0 {
        session.line(format!("{more} more wait: 'status JOB' says what for"))?;
    }
    if let Some(accuracy) = accuracy.filter(|_| !waits.is_empty()) {
        let (off, told, jobs) = (span(accuracy.median_ms), span(accuracy.told_ms), accuracy.jobs);
        session.line(format!(
            "of the last {jobs} that waited (about {told}), half started within {off} of what was said"
        ))?;
    }
    Ok(Exit::Ok)
}

/// Why each job that is queued waits.
fn waits<'a>(session: &Session, open: &'a [Job], most: usize) -> Result<Vec<(&'a Job, Wait)>> {
    let mut queued = open.iter().filter(|job| job.state == State::Queued).take(most).peekable();
    if queued.peek().is_none() {
        return Ok(Vec::new());
    }
    let db = session.record.db();
    let waiting = Waiting::look(&session.config, db)?;
    let mut waits = Vec::new();
    for job in queued {
        if let Some(wait) = waiting.of(db, job)? {
            waits.push((job, wait));
        }
    }
    Ok(waits)
}

/// A table of jobs.
pub fn show<'a>(jobs: impl Iterator<Item = &'a Job>) -> Result<Exit> {
    let rows: Vec<_> = jobs
        .map(|job| {
            let state = match job.failure {
                Some(kind) => kind.to_string(),
                None => job.state.to_string(),
            };
            let age = span(now() - job.finished.or(job.started).unwrap_or(job.submitted));
            [
                job.id.to_string(),
                state,
                age,
                job.pocket.to_string(),
                format!("{} {}", job.package, job.version),
                job.principal.to_string(),
            ]
        })
        .collect();
    table(["JOB", "STATE", "SINCE", "POCKET", "PACKAGE", "PRINCIPAL"], &rows)?;
    Ok(Exit::Ok)
}
