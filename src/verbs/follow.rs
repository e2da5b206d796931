//! Following a job to its end, for `submit --wait` and `log --follow`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
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
///
/// A job that is queued again, because its daemon was restarted say, has a log of its own for each
/// attempt: one follows the other.
pub fn log(session: &mut Session, id: JobId, follow: bool) -> Result<Exit> {
    let mut out = io::stdout().lock();
    let mut tail = Tail::of(session.config.build_log(id));
    let (mut said, mut waits) = (Instant::now(), false);
    loop {
        // The state is read before the log, so that what was written before the end is printed before we leave.
        let job = jobs::get(session.record.db(), id)?;
        match tail.gain(&mut out)? {
            Gained::Some => said = Instant::now(),
            Gained::Another => {
                writeln!(io::stderr(), "[job {id} begins again: its log is that of attempt {}]", job.attempt)?
            }
            Gained::Nothing if job.state.is_end() || !follow => {
                tail.rest(&mut out)?;
                return Ok(Exit::Ok);
            }
            Gained::Nothing => {
                let again = job.state == State::Queued && job.attempt > 0;
                if again && !waits {
                    writeln!(io::stderr(), "[job {id} is queued again: its next attempt is followed when it begins]")?;
                } else if said.elapsed() >= HEARTBEAT {
                    writeln!(io::stderr(), "[no output for {}]", span(said.elapsed().as_millis() as i64))?;
                    said = Instant::now();
                }
                waits = again;
                std::thread::sleep(LOOK);
            }
        }
    }
}

/// What a look at a log gave.
#[derive(Debug, PartialEq, Eq)]
enum Gained {
    /// Some bytes more.
    Some,
    /// Nothing: its end, for now.
    Nothing,
    /// Another file has taken its place.
    Another,
}

/// The end of a log that grows, and of those that follow it under its name.
struct Tail {
    path: PathBuf,
    file: Option<File>,
    pending: Vec<u8>,
}

impl Tail {
    fn of(path: PathBuf) -> Self {
        Self { path, file: None, pending: Vec::new() }
    }

    /// Prints what the log has gained, by whole lines. Where another one stands in its place, that
    /// comes next.
    fn gain(&mut self, out: &mut impl Write) -> io::Result<Gained> {
        let Some(file) = &mut self.file else {
            self.file = File::open(&self.path).ok();
            return if self.file.is_some() { self.gain(out) } else { Ok(Gained::Nothing) };
        };
        // Looked at before the file is read: nobody writes to a log that has no name any more.
        let replaced = is_replaced(file, &self.path)?;
        if copy(file, &mut self.pending, out)? {
            return Ok(Gained::Some);
        }
        if !replaced {
            return Ok(Gained::Nothing);
        }
        self.rest(out)?;
        self.file = None;
        Ok(Gained::Another)
    }

    /// Prints what is left of a last line without end.
    fn rest(&mut self, out: &mut impl Write) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let rest = std::mem::take(&mut self.pending);
        out.write_all(text::for_terminal(&rest).as_bytes())?;
        out.flush()
    }
}

/// Whether another file has the path now. One that has none may get one yet.
fn is_replaced(file: &File, path: &Path) -> io::Result<bool> {
    let Ok(there) = std::fs::metadata(path) else { return Ok(false) };
    let mine = file.metadata()?;
    Ok((there.dev(), there.ino()) != (mine.dev(), mine.ino()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_another_one_follows_is_read_to_its_end_and_then_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("build.log");
        let append = |text: &str| {
            let mut file = File::options().append(true).create(true).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        let (mut tail, mut out) = (Tail::of(path.clone()), Vec::new());
        assert_eq!(tail.gain(&mut out).unwrap(), Gained::Nothing);
        append("one\nbegins");
        assert_eq!(tail.gain(&mut out).unwrap(), Gained::Some);
        assert_eq!(tail.gain(&mut out).unwrap(), Gained::Nothing);
        assert_eq!(out, b"one\n");
        append(" and ends");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(tail.gain(&mut out).unwrap(), Gained::Some);
        assert_eq!(tail.gain(&mut out).unwrap(), Gained::Nothing, "the next one is not there yet");
        append("two\n");
        assert_eq!(tail.gain(&mut out).unwrap(), Gained::Another);
        assert_eq!(out, b"one\nbegins and ends");
        assert_eq!(tail.gain(&mut out).unwrap(), Gained::Some);
        assert_eq!(out, b"one\nbegins and endstwo\n");
    }
}
