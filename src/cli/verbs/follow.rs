//! Follows jobs to their end, for `wait`, `submit --wait` and `log --follow`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::session::CliSession;
use invirtibuilder_api::follow::{Followed, FollowedJob, JobProgress, LogRequest};
use invirtibuilder_api::job::{Job, State};
use invirtibuilder_core::error::Exit;
use invirtibuilder_core::names::JobId;
use invirtibuilder_core::text;
use invirtibuilder_core::time::{now, span};
use invirtibuilder_service::follow::{explain_wait, look_at_job};

/// How often the record and the log are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How long nothing is said before a sign of life: it also tells us when nobody listens any more,
/// as the transports say so only when we write.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a job waits before it is said what for.
const SOON: Duration = Duration::from_secs(2);

/// A job that is followed, and what was said of it.
struct Watch {
    id: JobId,
    shown: usize,
    began: Instant,
    said: Instant,
    explained: bool,
}

impl Watch {
    fn new(id: JobId) -> Self {
        let now = Instant::now();
        Self { id, shown: 0, began: now, said: now, explained: false }
    }

    /// Says which states the job has entered since the last look, or gives a sign of life. Returns
    /// its end.
    fn look(&mut self, session: &CliSession, all: Jobs) -> Result<Option<Exit>> {
        let id = self.id;
        let JobProgress { job, steps, is_over } = look_at_job(session, id)?;
        for step in &steps[self.shown.min(steps.len())..] {
            if session.wants_json() {
                all.print(session, id, Followed::Step(step.clone()))?;
            } else if !step.state.is_end() && step.state != State::Queued {
                let after = span(step.at - job.submitted);
                session.line(format!("job {id}: {} ({after})", step.state))?;
            }
            self.said = Instant::now();
        }
        self.shown = steps.len();
        if is_over {
            return Ok(Some(verdict(session, job, all)?));
        }
        let silent = self.said.elapsed() >= HEARTBEAT;
        let first = !self.explained && self.began.elapsed() >= SOON;
        if job.state == State::Queued && (silent || first) {
            explain(session, &job, all)?;
            self.explained = true;
            self.said = Instant::now();
        } else if silent && !session.wants_json() {
            let after = span(now() - job.submitted);
            session.line(format!("job {id}: still {} ({after})", job.state))?;
            self.said = Instant::now();
        }
        Ok(None)
    }
}

/// How many jobs are followed at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Jobs {
    /// One: JSON need not name it.
    One,
    /// Several: each line of JSON names its job.
    Several,
}

impl Jobs {
    fn print(self, session: &CliSession, job: JobId, what: Followed) -> Result<()> {
        match self {
            Jobs::One => session.print_json(&what),
            Jobs::Several => session.print_json(&FollowedJob { job, what }),
        }
    }
}

/// Says what a queued job waits for, and how long.
fn explain(session: &CliSession, job: &Job, all: Jobs) -> Result<()> {
    let Some(waiting) = explain_wait(session, job)? else { return Ok(()) };
    if session.wants_json() {
        return all.print(session, job.id, Followed::Waiting(waiting));
    }
    let (waited, wait) = (span(waiting.at - job.submitted), waiting.waits);
    Ok(session.line(format!("job {}: queued ({waited}), waits for {wait}", job.id))?)
}

/// Prints each state that the job enters; ends with it. Exit 0 if it is published, else 1.
pub fn job(session: &CliSession, id: JobId) -> Result<Exit> {
    watch(session, vec![Watch::new(id)], Jobs::One)
}

/// Prints each state that one of the jobs enters; ends with the last of them. Exit 0 if all are
/// published, else 1.
pub fn jobs(session: &CliSession, ids: &[JobId]) -> Result<Exit> {
    watch(session, ids.iter().copied().map(Watch::new).collect(), Jobs::Several)
}

fn watch(session: &CliSession, mut left: Vec<Watch>, all: Jobs) -> Result<Exit> {
    let mut exit = Exit::Ok;
    loop {
        let mut open = Vec::new();
        for mut one in left {
            match one.look(session, all)? {
                None => open.push(one),
                Some(Exit::Ok) => {}
                Some(other) => exit = other,
            }
        }
        if open.is_empty() {
            return Ok(exit);
        }
        left = open;
        std::thread::sleep(LOOK);
    }
}

/// Says how the job ended.
fn verdict(session: &CliSession, job: Job, all: Jobs) -> Result<Exit> {
    let (id, state) = (job.id, job.state);
    let took = span(job.finished.unwrap_or(job.submitted) - job.submitted);
    if session.wants_json() {
        all.print(session, id, Followed::End(Box::new(job)))?;
    } else {
        let what = format!("{} {}", job.package, job.version);
        session.line(match state {
            State::Published => format!("job {id}: {what} is in {} ({took})", job.pocket),
            State::Cancelled => {
                format!("job {id}: {what} was {}", job.reason.as_deref().unwrap_or("cancelled"))
            }
            _ => {
                let kind = job.failure.map_or("failed", |kind| kind.as_str());
                let reason = job.reason.as_deref().unwrap_or("no reason is recorded");
                format!("job {id}: {what} failed: {kind}: {reason}; 'log {id}' has the build log")
            }
        })?;
    }
    Ok(if state == State::Published { Exit::Ok } else { Exit::JobFailed })
}

/// Prints a job's build log, which has this path, and what comes until the job has ended, if the
/// reader follows it.
///
/// A job that is queued again, because its daemon was restarted say, has a log of its own for each
/// attempt: one follows the other.
pub fn log(session: &CliSession, request: &LogRequest, path: PathBuf) -> Result<Exit> {
    let LogRequest { job: id, follow } = *request;
    let mut out = io::stdout().lock();
    let mut tail = Tail::of(path);
    let (mut said, mut waits) = (Instant::now(), false);
    loop {
        // The state is read before the log, so that what was written before the end is printed
        // before we leave.
        let job = session.find_job(id)?;
        match tail.gain(&mut out)? {
            Gained::Some => said = Instant::now(),
            Gained::Another => writeln!(
                io::stderr(),
                "[job {id} begins again: its log is that of attempt {}]",
                job.attempt
            )?,
            Gained::Nothing if job.state.is_end() || !follow => {
                tail.rest(&mut out)?;
                return Ok(Exit::Ok);
            }
            Gained::Nothing => {
                let again = job.state == State::Queued && job.attempt > 0;
                if again && !waits {
                    writeln!(
                        io::stderr(),
                        "[job {id} is queued again: its next attempt is followed when it begins]"
                    )?;
                } else if said.elapsed() >= HEARTBEAT {
                    writeln!(
                        io::stderr(),
                        "[no output for {}]",
                        span(said.elapsed().as_millis() as i64)
                    )?;
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

/// Tells whether another file has the path now. One that has none may get one yet.
fn is_replaced(file: &File, path: &Path) -> io::Result<bool> {
    let Ok(there) = std::fs::metadata(path) else { return Ok(false) };
    let mine = file.metadata()?;
    Ok((there.dev(), there.ino()) != (mine.dev(), mine.ino()))
}

/// Prints what the log has gained, by whole lines (`pending` keeps the rest); whether there was
/// anything.
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
    use crate::verbs::follow::*;

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
