//! `status`: one job in full, or what is queued, running and lately finished.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::session::CliSession;
use crate::verbs::follow::HEARTBEAT;
use invirtibuilder_api::job::{Job, State};
use invirtibuilder_api::slurm::SlurmJob;
use invirtibuilder_api::status::{JobStatus, Overview};
use invirtibuilder_api::wait::Told;
use invirtibuilder_core::error::Exit;
use invirtibuilder_core::facts::Layout;
use invirtibuilder_core::names::JobId;
use invirtibuilder_core::time::{now, span, utc};
use invirtibuilder_service::follow::{begin_to_follow, look_at_job};
use invirtibuilder_service::status::{describe_job, list_jobs};

/// Jobs of which the overview says what they wait for.
const WAITING: usize = 15;

/// How often it is looked whether something has changed.
const LOOK: Duration = Duration::from_secs(1);

/// What a terminal takes for: go to the first line, and clear all from there (console_codes(4)).
const CLEAR: &str = "\x1b[H\x1b[J";

/// Paths of tarballs that one job shows.
const SHOWN: usize = 10;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// The number that submit printed
    #[arg(allow_negative_numbers = true)]
    job: Option<String>,
    /// Show it anew whenever it changes: a job until it ends, else for ever
    #[arg(long)]
    follow: bool,
}

impl StatusArgs {
    /// Tells whether the command stays.
    pub fn stays(&self) -> bool {
        self.follow
    }
}

/// Runs the verb.
pub fn answer(session: &mut CliSession, args: &StatusArgs) -> Result<Exit> {
    let job = args.job.as_deref().map(str::parse).transpose()?;
    if args.follow {
        begin_to_follow(session)?;
        return follow(session, job);
    }
    StatusView::look(session, job)?.show(session)?;
    Ok(Exit::Ok)
}

/// What is shown: one job, or all.
#[derive(Serialize)]
#[serde(untagged)]
enum StatusView {
    Job(Box<JobStatus>),
    All(Box<Overview>),
}

impl StatusView {
    fn look(session: &mut CliSession, job: Option<JobId>) -> Result<Self> {
        if let Some(id) = job {
            return Ok(Self::Job(Box::new(describe_job(session, id)?)));
        }
        let explained = if session.wants_json() { usize::MAX } else { WAITING };
        Ok(Self::All(Box::new(list_jobs(session, explained)?)))
    }

    fn show(&self, session: &CliSession) -> Result<()> {
        match self {
            _ if session.wants_json() => session.print_json(self),
            Self::Job(status) => print(session, status),
            Self::All(overview) => print_overview(session, overview),
        }
    }
}

/// Shows it again and again, on a terminal in the same place.
fn follow(session: &mut CliSession, job: Option<JobId>) -> Result<Exit> {
    let (mut last, mut said) = (String::new(), Instant::now());
    loop {
        // Before the rest is read: what changes between the two is shown.
        let is_over = match job {
            Some(id) => look_at_job(session, id)?.is_over,
            None => false,
        };
        let shown = StatusView::look(session, job)?;
        let text = serde_json::to_string(&shown)?;
        if text != last || said.elapsed() >= HEARTBEAT {
            if !session.wants_json() {
                write!(session.out(), "{CLEAR}")?;
            }
            shown.show(session)?;
            (last, said) = (text, Instant::now());
        }
        if is_over {
            return Ok(Exit::Ok);
        }
        std::thread::sleep(LOOK);
    }
}

fn print(session: &CliSession, status: &JobStatus) -> Result<()> {
    let JobStatus { job, source, steps, .. } = status;
    let line = |key: &str, value: String| session.line(format!("{key:<10} {value}"));
    line("job", job.id.to_string())?;
    line("package", format!("{} {}", job.package, job.version))?;
    if job.written != job.version {
        line("written", job.written.to_string())?;
    }
    if let Some(why) = &job.why {
        line("rebuild", why.clone())?;
    }
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
    if let Some(build) = &status.built {
        let isolation = build
            .facts
            .as_ref()
            .map_or("no facts of it are recorded", |facts| facts.isolation.as_str());
        line("built by", format!("job {} for {} ({isolation})", build.job, build.pocket))?;
    }
    if let Some(source) = source {
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
    for chroot in &status.chroots {
        line("chroot", format!("{} {}", chroot.architecture, chroot.digest.short()))?;
    }
    for one in &status.given {
        line(
            "given",
            format!("{} {} {} from {}", one.package, one.version, one.architecture, one.suite),
        )?;
    }
    for one in &status.slurm {
        line("slurm", on_slurm(one))?;
    }
    if let Some(ahead) = status.ahead {
        line("ahead", ahead.to_string())?;
    }
    if let Some(wait) = &status.waits {
        line("waits for", wait.to_string())?;
    }
    if let Some(takes) = status.waits.as_ref().and_then(|wait| wait.takes) {
        line("takes then", format!("about {}", span(takes)))?;
    }
    if let Some(told) = &status.forecast {
        line("foretold", foretold(told))?;
    }
    if status.has_log {
        line("log", format!("'log {}' prints it", job.id))?;
    }
    for file in &status.buildinfo {
        line("buildinfo", file.path.clone())?;
    }
    if let Some(changes) = &status.changes {
        line("changes", changes.clone())?;
    }
    for tag in &status.aside {
        line("tag", format!("{} was not ours, and is kept as", tag.name))?;
        line("", tag.aside.clone().unwrap_or_default())?;
    }
    for step in steps {
        line(step.state.as_str(), utc(step.at))?;
    }
    for run in &status.hooks {
        line("hook", format!("{}/{}: {}", run.event, run.name, run.outcome))?;
    }
    Ok(())
}

/// Says how a build is with Slurm.
fn on_slurm(one: &SlurmJob) -> String {
    let number = one.number.map_or_else(String::new, |number| format!(" {number}"));
    let node = one.node.as_ref().map_or_else(String::new, |node| format!(" on {node}"));
    let said = one.said.as_deref().unwrap_or("it is being sent");
    format!("{}: job{number}{node}: {said}", one.architecture)
}

/// When a job that had to wait was to start, and how far off that was.
fn foretold(told: &Told) -> String {
    let off = match told.started.map(|started| started - told.start) {
        None => String::new(),
        Some(late @ 1000..) => format!(", and it started {} later", span(late)),
        Some(early @ ..=-1000) => format!(", and it started {} earlier", span(-early)),
        Some(_) => ", and it did".to_owned(),
    };
    format!("to start at {}{off}", utc(told.start))
}

fn print_overview(session: &CliSession, overview: &Overview) -> Result<()> {
    let Overview { open, finished, waits, .. } = overview;
    for warning in &overview.warnings {
        session.line(format!("warning: {warning}"))?;
    }
    if open.is_empty() && finished.is_empty() {
        session.line("no jobs yet: 'submit POCKET PACKAGE COMMIT' makes one")?;
        return Ok(());
    }
    show(session, open.iter().chain(finished))?;
    for job in open {
        if let Some(wait) = waits.get(&job.id.to_string()) {
            session.line(format!("job {} waits for {wait}", job.id))?;
        }
    }
    let more = open.iter().filter(|job| job.state == State::Queued).count() - waits.len();
    if more > 0 {
        session.line(format!("{more} more wait: 'status JOB' says what for"))?;
    }
    if let Some(accuracy) = overview.forecasts.as_ref().filter(|_| !waits.is_empty()) {
        let (off, told, jobs) = (span(accuracy.median_ms), span(accuracy.told_ms), accuracy.jobs);
        session.line(format!(
            "of the last {jobs} that waited (about {told}), half started within {off} of what was said"
        ))?;
    }
    Ok(())
}

/// Prints a table of jobs.
pub fn show<'a>(session: &CliSession, jobs: impl Iterator<Item = &'a Job>) -> Result<Exit> {
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
    session.table(["JOB", "STATE", "SINCE", "POCKET", "PACKAGE", "PRINCIPAL"], &rows)?;
    Ok(Exit::Ok)
}
