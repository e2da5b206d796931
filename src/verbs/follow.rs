//! Following a job to its end, for `submit --wait` and `log --follow`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use crate::error::Exit;
use crate::names::JobId;
use crate::record::jobs::{self, Job};
use crate::record::{State, moves, now};
use crate::session::{Session, span};
use crate::text;
use crate::waiting::Waiting;

/// How often the record and the log are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How long nothing is said before a sign of life: it also tells us when nobody listens any more, as the transports
/// say so only when we write.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a job waits before it is said what for.
const SOON: Duration = Duration::from_secs(2);

/// Says what a queued job waits for, and how long.
fn explain(session: &Session, job: &Job) -> Result<()> {
    let db = session.record.db();
    let Some(wait) = Waiting::look(&session.config, db)?.of(db, job)? else { return Ok(()) };
    if session.json {
        return session.print_json(&json!({ "at": now(), "state": job.state, "waits": wait }));
    }
    Ok(session.line(format!("job {}: queued ({}), waits for {wait}", job.id, span(now() - job.submitted)))?)
}

/// Prints each state that the job enters; ends with it. Exit 0 if it is published, else 1.
pub fn job(session: &mut Session, id: JobId) -> Result<Exit> {
    let mut shown = 0;
    let (mut said, mut explained) = (Instant::now(), false);
    let began = said;
    loop {
        let job = jobs::get(session.record.db(), id)?;
        let steps = jobs::steps(session.record.db(), id)?;
        for step in &steps[shown.min(steps.len())..] {
            if session.json {
                session.print_json(&step)?;
            } else if !step.state.is_end() && step.state != State::Queued {
                session.line(format!("job {id}: {} ({})", step.state, span(step.at - job.submitted)))?;
            }
            said = Instant::now();
        }
        shown = steps.len();
        if job.state.is_end() && !moves::owes(session.record.db(), id)? {
            return verdict(session, id);
        }
        if job.state == State::Queued && (said.elapsed() >= HEARTBEAT || (!explained && began.elapsed() >= SOON)) {
            explain(session, &job)?;
            explained = true;
            said = Instant::now();
        } else if said.elapsed() >= HEARTBEAT && !session.json {
            session.line(format!("job {id}: still {} ({})", job.state, span(now() - job.submitted)))?;
            said = Instant::now();
        }
        std::thread::sleep(LOOK);
    }
}

/// Says how the job ended.
fn verdict(session: &Session, id: JobId) -> Result<Exit> {
    let job = jobs::get(session.record.db(), id)?;
    let took = span(job.finished.unwrap_or(job.submitted) - job.submitted);
    if session.json {
        session.print_json(&job)?;
    } else {
        let what = format!("{} {}", job.package, job.version);
        session.line(match job.state {
            State::Published => format!("job {id}: {what} is in {} ({took})", job.pocket),
            State::Cancelled => format!("job {id}: {what} was {}", job.reason.as_deref().unwrap_or("cancelled")),
            _ => {
                let kind = job.failure.map_or("failed", |kind| kind.as_str());
                let reason = job.reason.as_deref().unwrap_or("no reason is recorded");
                format!("job {id}: {what} failed: {kind}: {reason}; 'log {id}' has the build log")
            }
        })?;
    }
    Ok(if job.state == State::Published { Exit::Ok } else { Exit::JobFailed })
}

/// Prints the job's build log, and with `follow` what comes, until the job has ended.
pub fn log(session: &mut Session, id: JobId, follow: bool) -> Result<Exit> {
    let path = session.config.build_log(id);
    let mut out = io::stdout().lock();
    let mut file: Option<File> = None;
    let mut pending = Vec::new();
    let mut said = Instant::now();
    loop {
        // The state is read before the log, so that what was written before the end is printed before we leave.
        let ended = jobs::get(session.record.db(), id)?.state.is_end();
        if file.is_none() {
            file = File::open(&path).ok();
        }
        let more = match &mut file {
            Some(file) => copy(file, &mut pending, &mut out)?,
            None => false,
        };
        if more {
            said = Instant::now();
        } else if ended || !follow {
            out.write_all(text::for_terminal(&pending).as_bytes())?;
            return Ok(Exit::Ok);
        } else {
            if said.elapsed() >= HEARTBEAT {
                writeln!(io::stderr(), "[no output for {}]", span(said.elapsed().as_millis() as i64))?;
                said = Instant::now();
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Prints what the log has gained, by whole lines (`pending` keeps the rest); whether there was anything.
fn copy(file: &mut File, pending: &mut Vec<u8>, out: &mut impl Write) -> io::Result<bool> {
    let mut chunk = [0; 64 << 10];
    let n = file.read(&mut chunk)?;
    pending.extend_from_slice(&chunk[..n]);
    // A line without end must not be kept without end.
    let whole = match pending.iter().rposition(|&b| b == b'\n') {
        Some(end) => end + 1,
        None if pending.len() > chunk.len() => pending.len(),
        None => 0,
    };
    out.write_all(text::for_terminal(&pending[..whole]).as_bytes())?;
    out.flush()?;
    pending.drain(..whole);
    Ok(n > 0)
}
