//! Streams of what happens: server-sent events, as the HTML standard has them.

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, Response};
use futures_util::stream;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::http::answer::{AskedQuery, ask, blocking, credentials};
use crate::http::problem::{self, Names};
use crate::http::{App, LONGEST_STREAM};
use invirtibuilder_api::events::{JobEvent, LogPiece};
use invirtibuilder_api::follow::JobProgress;
use invirtibuilder_api::wait::Wait;
use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::JobId;
use invirtibuilder_service::browse::attempt_log;
use invirtibuilder_service::follow::{explain_wait, look_at_job};
use invirtibuilder_service::login::{Credentials, RequestEffect, identify};

/// The least time between two looks at a log that grows: what is written meanwhile goes out
/// together.
const LOOK: Duration = Duration::from_millis(20);

/// How often it is looked whether a log has begun, of which the record says nothing.
const BEGIN: Duration = Duration::from_millis(100);

/// How long nothing is sent before a sign of life.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The least time between two events of all jobs.
const APART: Duration = Duration::from_millis(500);

/// The bytes of a log that one event has, at most.
const PIECE: usize = 64 << 10;

/// How often it is asked whether the caller's session or token holds.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// Events that wait for a slow client, at most.
const WAITING: usize = 4;

/// Where a follower wants the log to begin.
#[derive(Debug, Deserialize)]
pub struct LogPlace {
    attempt: Option<i64>,
    offset: Option<u64>,
}

/// Sends what happens to a job until it has ended.
pub async fn of_job(
    State(app): State<App>,
    Path(job): Path<String>,
    headers: HeaderMap,
    AskedQuery(place): AskedQuery<LogPlace>,
) -> Response<Body> {
    let found =
        ask(&app, &headers, RequestEffect::Reads, move |session| Ok(session.job(&job)?.id)).await;
    let job = match found {
        Ok((job, _)) => job,
        Err(error) => return problem::tell(&error, Names::Place),
    };
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let log = match last.and_then(|last| last.split_once(':')) {
        Some((attempt, offset)) => attempt.parse().ok().zip(offset.parse().ok()),
        None => place.attempt.map(|attempt| (attempt.max(1), place.offset.unwrap_or(0))),
    };
    let follower = Follower {
        app: app.clone(),
        credentials: credentials(&headers),
        job,
        log: log.map(|(attempt, offset)| LogReader::of(attempt, offset)),
    };
    open(&app, move |events| follower.follow(events))
}

/// Tells whenever any job has changed.
pub async fn of_all(State(app): State<App>, headers: HeaderMap) -> Response<Body> {
    if let Err(error) = ask(&app, &headers, RequestEffect::Reads, |_| Ok(())).await {
        return problem::tell(&error, Names::Request);
    }
    let credentials = credentials(&headers);
    open(&app.clone(), move |events| tell_changes(app, credentials, events))
}

/// The end of a stream at which events are put in.
struct Events {
    client: mpsc::Sender<Bytes>,
}

/// The client has left.
struct Left;

impl Events {
    async fn send(
        &self,
        name: &str,
        id: Option<String>,
        data: &impl Serialize,
    ) -> Result<(), Left> {
        let data = serde_json::to_string(data).map_err(|_| Left)?;
        let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        self.put(format!("event: {name}\n{id}data: {data}\n\n")).await
    }

    async fn put(&self, text: String) -> Result<(), Left> {
        self.client.send(text.into()).await.map_err(|_| Left)
    }

    /// Gives a sign of life.
    async fn breathe(&self) -> Result<(), Left> {
        self.put(":\n\n".to_owned()).await
    }
}

/// Opens a stream into which `work` puts events until it ends or the client leaves.
fn open<F: Future<Output = Result<(), Left>> + Send + 'static>(
    app: &App,
    work: impl FnOnce(Events) -> F,
) -> Response<Body> {
    let Ok(place) = app.streams.clone().try_acquire_owned() else {
        let text = "too many clients follow something: try again in a while";
        return problem::tell(&Error::try_again(text).into(), Names::Request);
    };
    let (client, events) = mpsc::channel(WAITING);
    let work = work(Events { client });
    tokio::spawn(async move {
        let _place = place;
        let _ = work.await;
    });
    let body = stream::unfold(events, |mut events| async move {
        let event = events.recv().await?;
        Some((Ok::<_, Infallible>(event), events))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, axum::http::HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, axum::http::HeaderValue::from_static("no-store"));
    response
}

/// Tells for how long the caller may still be served: `None`, no longer.
async fn holds(app: &App, credentials: &Credentials, began: Instant) -> Option<()> {
    if began.elapsed() >= LONGEST_STREAM {
        return None;
    }
    let bearer = credentials
        .authorization
        .as_deref()
        .is_some_and(|it| it.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer ")));
    if bearer {
        let credentials = credentials.clone();
        let known =
            blocking(app, move |app| identify(&app.desk, &credentials, RequestEffect::Reads));
        return known.await.ok().map(|_| ());
    }
    Some(())
}

async fn tell_changes(app: App, credentials: Credentials, events: Events) -> Result<(), Left> {
    let mut pulse = app.pulse.clone();
    let (began, mut asked, mut last) = (Instant::now(), Instant::now(), 0);
    let newest = |app: &App, last| {
        let app = app.clone();
        async move { blocking(&app, move |app| app.desk.pulse()?.changed_after(last)).await }
    };
    // What was before is known to whoever asks.
    if let Ok(Some((change, _))) = newest(&app, last).await {
        last = change;
    }
    events.breathe().await?;
    loop {
        let beat = tokio::time::timeout(HEARTBEAT, pulse.changed()).await;
        if asked.elapsed() >= ASK_AGAIN {
            holds(&app, &credentials, began).await.ok_or(Left)?;
            asked = Instant::now();
        }
        match beat {
            Err(_) => events.breathe().await?,
            Ok(Err(_)) => return Ok(()),
            Ok(Ok(())) => {
                if let Ok(Some((change, job))) = newest(&app, last).await {
                    last = change;
                    events.send("changed", None, &serde_json::json!({ "job": job })).await?;
                    sleep(APART).await;
                }
            }
        }
    }
}

/// Somebody who follows a job.
struct Follower {
    app: App,
    credentials: Credentials,
    job: JobId,
    log: Option<LogReader>,
}

/// What a look at a job has found.
struct JobLook {
    progress: JobProgress,
    waits: Option<Wait>,
    /// The log of the attempt that is read, and the next attempt that has one.
    log: Option<PathBuf>,
    next: Option<i64>,
}

impl Follower {
    async fn look(&self) -> Result<JobLook> {
        let (job, attempt) = (self.job, self.log.as_ref().map(|log| log.attempt));
        blocking(&self.app, move |app| {
            let caller = app.desk.reader();
            let session = app.desk.session(&caller)?;
            let progress = look_at_job(&session, job)?;
            let waits = explain_wait(&session, &progress.job)?.map(|still| still.waits);
            let log = attempt.and_then(|attempt| attempt_log(&session, &progress.job, attempt));
            let next = attempt.and_then(|attempt| {
                let mut later = attempt + 1..=progress.job.attempt;
                later.find(|later| attempt_log(&session, &progress.job, *later).is_some())
            });
            Ok(JobLook { progress, waits, log, next })
        })
        .await
    }

    async fn follow(mut self, events: Events) -> Result<(), Left> {
        let mut pulse = self.app.pulse.clone();
        let (began, mut asked, mut said) = (Instant::now(), Instant::now(), Instant::now());
        let (mut shown, mut waited) = (0, None);
        loop {
            // JobLook before the log is read: what was written before the end is sent before it.
            pulse.mark_unchanged();
            let Ok(seen) = self.look().await else { return Ok(()) };
            let JobProgress { job, steps, is_over } = seen.progress;
            for step in steps.iter().skip(shown) {
                events.send("state", None, &JobEvent::State(step.clone())).await?;
                said = Instant::now();
            }
            shown = steps.len();
            if let Some(waits) = seen.waits.filter(|waits| waited.as_ref() != Some(waits)) {
                events.send("waits", None, &JobEvent::Waits(waits.clone())).await?;
                waited = Some(waits);
            }
            let ended = is_over || seen.next.is_some();
            let looked = Instant::now();
            let mut last = looked;
            loop {
                if let Some(log) = &mut self.log {
                    while let Some(piece) = log.next(seen.log.as_deref(), ended) {
                        let id = format!("{}:{}", piece.attempt, piece.end);
                        events.send("log", Some(id), &JobEvent::Log(piece)).await?;
                        said = Instant::now();
                    }
                }
                if ended {
                    break;
                }
                if asked.elapsed() >= ASK_AGAIN {
                    holds(&self.app, &self.credentials, began).await.ok_or(Left)?;
                    asked = Instant::now();
                }
                if said.elapsed() >= HEARTBEAT {
                    events.breathe().await?;
                    said = Instant::now();
                }
                let wanted = self.log.as_mut();
                tokio::select! {
                    beat = pulse.changed() => match beat {
                        Ok(()) => break,
                        Err(_) => return Ok(()),
                    },
                    () = grown(wanted, last) => last = Instant::now(),
                    () = events.client.closed() => return Err(Left),
                }
                if self.log.is_some() && seen.log.is_none() && looked.elapsed() >= BEGIN {
                    break;
                }
            }
            if let (Some(next), Some(log)) = (seen.next, &mut self.log) {
                *log = LogReader::of(next, 0);
            } else if is_over {
                return events.send("end", None, &JobEvent::End(Box::new(job))).await;
            }
        }
    }
}

/// Waits until a log may have grown, a part of a second at most, and not sooner than [`LOOK`] after
/// the last time.
async fn grown(log: Option<&mut LogReader>, last: Instant) {
    let Some(log) = log else { return sleep(HEARTBEAT / 4).await };
    let Some(watch) = &mut log.watch else { return sleep(BEGIN).await };
    let _ = tokio::time::timeout(HEARTBEAT / 4, watch.changed()).await;
    sleep(LOOK.saturating_sub(last.elapsed())).await;
}

/// Feels whether a file is written to (inotify(7)).
struct LogWatch {
    inotify: AsyncFd<OwnedFd>,
}

impl LogWatch {
    #[allow(unsafe_code, reason = "an `OwnedFd` keeps its descriptor")]
    fn of(path: &std::path::Path) -> Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        inotify.add_watch(path, AddWatchFlags::IN_MODIFY)?;
        // SAFETY: an `OwnedFd` has the same descriptor for as long as it lives.
        Ok(Self { inotify: unsafe { AsyncFd::register(inotify.into())? } })
    }

    async fn changed(&mut self) {
        let Ok(mut ready) = self.inotify.readable().await else { return };
        // What they say is known: something was written.
        let mut events = [0; 4096];
        while nix::unistd::read(self.inotify.get_ref(), &mut events).is_ok_and(|read| read > 0) {}
        ready.clear_ready();
    }
}

/// Reads the log of an attempt as it grows.
struct LogReader {
    attempt: i64,
    offset: u64,
    file: Option<File>,
    /// What tells that it grows; `None`: it is looked at now and then.
    watch: Option<LogWatch>,
}

impl LogReader {
    fn of(attempt: i64, offset: u64) -> Self {
        Self { attempt, offset, file: None, watch: None }
    }
}

impl LogReader {
    /// Reads the next piece: whole lines, unless the log has ended or a line is longer than a
    /// piece.
    fn next(&mut self, path: Option<&std::path::Path>, ended: bool) -> Option<LogPiece> {
        if self.file.is_none() {
            // Before it is read: what is written in between is felt.
            self.watch = LogWatch::of(path?).ok();
            self.file = File::open(path?).ok();
        }
        let file = self.file.as_ref()?;
        if file.metadata().ok()?.size() <= self.offset {
            return None;
        }
        let mut bytes = vec![0; PIECE];
        let length = file.read_at(&mut bytes, self.offset).ok()?;
        let bytes = &bytes[..length];
        let end = match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => newline + 1,
            None if length == PIECE || ended => whole_characters(bytes),
            None => return None,
        };
        let end = if ended && length < PIECE { length } else { end };
        if end == 0 {
            return None;
        }
        let piece = LogPiece {
            attempt: self.attempt,
            offset: self.offset,
            end: self.offset + end as u64,
            text: String::from_utf8_lossy(&bytes[..end]).into_owned(),
        };
        self.offset = piece.end;
        Some(piece)
    }
}

/// Finds where the last whole character ends, so that no piece begins in the middle of one.
fn whole_characters(bytes: &[u8]) -> usize {
    let begins = |byte: u8| byte & 0xc0 != 0x80;
    let last = bytes.iter().rposition(|byte| begins(*byte)).unwrap_or(0);
    match std::str::from_utf8(&bytes[last..]) {
        Err(error) if error.error_len().is_none() && last > 0 => last,
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use crate::http::events::*;

    #[tokio::test]
    async fn a_log_is_sent_by_whole_lines_and_none_of_it_twice() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let path = log.path().to_owned();
        let mut reader = LogReader::of(2, 0);
        let mut next =
            |ended| reader.next(Some(&path), ended).map(|piece| (piece.offset, piece.text));
        assert_eq!(next(false), None);
        log.write_all(b"one\ntwo").unwrap();
        assert_eq!(next(false), Some((0, "one\n".to_owned())));
        assert_eq!(next(false), None);
        log.write_all(b" and a half\n\xff\n").unwrap();
        assert_eq!(next(false), Some((4, "two and a half\n\u{fffd}\n".to_owned())));
        log.write_all(b"the end").unwrap();
        assert_eq!(next(false), None);
        assert_eq!(next(true), Some((21, "the end".to_owned())));
        assert_eq!(next(true), None);
    }

    #[tokio::test]
    async fn a_line_without_end_is_sent_in_pieces_that_break_no_character() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let path = log.path().to_owned();
        let text = "é".repeat(PIECE) + "x";
        log.write_all(b"x").unwrap();
        log.write_all(text.as_bytes()).unwrap();
        let mut reader = LogReader::of(1, 0);
        let mut got = String::new();
        while let Some(piece) = reader.next(Some(&path), true) {
            assert_eq!(piece.offset as usize, got.len());
            got.push_str(&piece.text);
        }
        assert_eq!(got, format!("x{text}"));
    }
}
