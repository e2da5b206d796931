//! One connection to the API for all who follow the same thing.
//!
//! The connection is made by the rights of one of the followers; when those end, by another's. What
//! comes there is passed on as it is, except that pieces of a log that come faster than fifty
//! milliseconds after each other are sent as one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderValue, Method};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::broadcast;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

use invirtibuilder_api::events::{JobEvent, LogPiece, LogState};
use invirtibuilder_core::names::JobId;

use crate::credentials::VisitorCredentials;
use crate::live::sse::{SseEvent, SseReader};
use crate::upstream::{Upstream, request};

/// Pieces of a log that come within this time of each other are sent as one.
const TOGETHER: Duration = Duration::from_millis(50);

/// The longest such piece, in bytes.
const MAX_PIECE: usize = 32 << 10;

/// The events that a follower may be behind before it asks the API for what it has missed.
const BEHIND: usize = 128;

/// How long we wait until we connect again.
const PAUSE: Duration = Duration::from_secs(1);

/// What somebody follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A job.
    Job(JobId),
    /// That any job has changed.
    Changes,
}

impl Topic {
    /// Returns what somebody must be able to read who follows it.
    pub fn right(self) -> String {
        match self {
            Topic::Job(job) => format!("/api/v1/jobs/{job}/attempts"),
            Topic::Changes => "/api/v1/pockets".to_owned(),
        }
    }
}

/// A place in the log of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    /// The attempt.
    pub attempt: i64,
    /// The byte.
    pub byte: u64,
}

/// What is sent to all followers.
#[derive(Debug, Clone)]
pub enum Sent {
    /// A piece of the log.
    Log {
        /// Where it begins.
        from: LogPosition,
        /// Where it ends.
        to: LogPosition,
        /// The event.
        event: Bytes,
    },
    /// Anything else.
    Other(Bytes),
    /// The last event: the job has ended.
    End(Bytes),
}

/// All that is followed.
pub struct Hub {
    upstream: Upstream,
    channels: Mutex<HashMap<Topic, Weak<LiveChannel>>>,
}

/// Something that is followed.
pub struct LiveChannel {
    topic: Topic,
    sender: broadcast::Sender<Sent>,
    known: Mutex<ChannelState>,
    task: Mutex<Option<AbortHandle>>,
}

/// What those hear who come later.
#[derive(Default)]
struct ChannelState {
    /// By whose rights the connection may be made.
    rights: VecDeque<Weak<VisitorCredentials>>,
    /// The states that the job entered.
    states: Vec<SseEvent>,
    /// What it waits for.
    waits: Option<SseEvent>,
    /// How far the log has been sent to all.
    place: Option<LogPosition>,
    /// The end.
    end: Option<Bytes>,
}

impl Hub {
    /// Makes a hub that nobody follows.
    pub fn new(upstream: Upstream) -> Self {
        Self { upstream, channels: Mutex::default() }
    }

    /// Joins those who follow something, or is the first. The caller knows that the follower may.
    pub fn join(
        &self,
        topic: Topic,
        rights: &Arc<VisitorCredentials>,
        place: LogPosition,
    ) -> Arc<LiveChannel> {
        let mut channels = lock(&self.channels);
        let there = channels.get(&topic).and_then(Weak::upgrade);
        if let Some(channel) = there.filter(|channel| lock(&channel.known).end.is_none()) {
            lock(&channel.known).rights.push_back(Arc::downgrade(rights));
            return channel;
        }
        channels.retain(|_, channel| channel.strong_count() > 0);
        let (sender, _) = broadcast::channel(BEHIND);
        let known = ChannelState {
            rights: VecDeque::from([Arc::downgrade(rights)]),
            place: matches!(topic, Topic::Job(_)).then_some(place),
            ..ChannelState::default()
        };
        let channel = Arc::new(LiveChannel {
            topic,
            sender,
            known: Mutex::new(known),
            task: Mutex::default(),
        });
        let task = tokio::spawn(listen(self.upstream.clone(), Arc::downgrade(&channel)));
        *lock(&channel.task) = Some(task.abort_handle());
        channels.insert(topic, Arc::downgrade(&channel));
        channel
    }
}

/// Ends with the last follower.
impl Drop for LiveChannel {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

impl LiveChannel {
    /// Returns what a new follower hears first, what comes then, and how far the log is before that.
    pub fn follow(&self) -> (VecDeque<Sent>, broadcast::Receiver<Sent>, Option<LogPosition>) {
        let known = lock(&self.known);
        let receiver = self.sender.subscribe();
        let events = known.states.iter().chain(&known.waits);
        let mut first: VecDeque<Sent> = events.map(|event| Sent::Other(event.written())).collect();
        first.extend(known.end.clone().map(Sent::End));
        (first, receiver, known.place)
    }

    /// Returns the path at which the API tells what comes next.
    fn path(&self) -> String {
        let place = lock(&self.known).place;
        match (self.topic, place) {
            (Topic::Job(job), Some(LogPosition { attempt, byte })) => {
                format!("/api/v1/jobs/{job}/events?attempt={attempt}&offset={byte}")
            }
            (Topic::Job(job), None) => format!("/api/v1/jobs/{job}/events"),
            (Topic::Changes, _) => "/api/v1/events".to_owned(),
        }
    }

    /// Returns the rights of the next follower, if there is any. It is the last one to be asked the
    /// next time.
    fn rights(&self) -> Option<Arc<VisitorCredentials>> {
        let mut known = lock(&self.known);
        while let Some(rights) = known.rights.pop_front() {
            if let Some(credentials) = rights.upgrade() {
                known.rights.push_back(rights);
                return Some(credentials);
            }
        }
        None
    }

    /// Sends something to all.
    fn send(&self, change: impl FnOnce(&mut ChannelState) -> Sent) {
        // Whoever comes in between hears it once: under the same lock.
        let mut known = lock(&self.known);
        let sent = change(&mut known);
        let _ = self.sender.send(sent);
    }
}

/// Passes on what the API sends, for as long as anybody follows.
async fn listen(upstream: Upstream, channel: Weak<LiveChannel>) {
    loop {
        let Some((rights, path)) = channel.upgrade().and_then(|c| Some((c.rights()?, c.path())))
        else {
            sleep(PAUSE).await;
            if channel.strong_count() == 0 {
                return;
            }
            continue;
        };
        if let Some(body) = open(&upstream, &rights, &path).await {
            drop(rights);
            if hear(&channel, body).await == Next::Nothing {
                return;
            }
        }
        sleep(PAUSE).await;
    }
}

/// Opens a stream of events.
async fn open(upstream: &Upstream, rights: &VisitorCredentials, path: &str) -> Option<Incoming> {
    let mut request = request(Method::GET, rights, path, Body::empty()).ok()?;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    let response = upstream.send(request).await.ok()?;
    response.status().is_success().then(|| response.into_body())
}

/// What comes after an event, or after a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The job has ended: nothing.
    Nothing,
    /// More.
    More,
}

/// Passes on one stream until it ends or breaks off.
async fn hear(channel: &Weak<LiveChannel>, mut body: Incoming) -> Next {
    let mut reader = SseReader::default();
    let mut pending: Option<LogPiece> = None;
    let mut flushed = Instant::now() - TOGETHER;
    loop {
        let due = flushed + TOGETHER;
        tokio::select! {
            () = sleep_until(due), if pending.is_some() => {
                let Some(channel) = channel.upgrade() else { return Next::More };
                channel.flush(&mut pending);
                flushed = Instant::now();
            }
            frame = body.frame() => {
                let Some(Ok(frame)) = frame else { return Next::More };
                let Ok(data) = frame.into_data() else { continue };
                let Ok(events) = reader.take(&data) else { return Next::More };
                let Some(channel) = channel.upgrade() else { return Next::More };
                for event in events {
                    if channel.take(event, &mut pending) == Next::Nothing {
                        return Next::Nothing;
                    }
                }
                let is_long = pending.as_ref().is_some_and(|piece| piece.text.len() >= MAX_PIECE);
                if pending.is_some() && (is_long || Instant::now() >= due) {
                    channel.flush(&mut pending);
                    flushed = Instant::now();
                }
            }
        }
    }
}

impl LiveChannel {
    /// Takes one event of the API. A piece of a log becomes part of `pending`, which everything
    /// else comes after.
    fn take(&self, event: SseEvent, pending: &mut Option<LogPiece>) -> Next {
        if self.topic == Topic::Changes {
            self.send(|_| Sent::Other(event.written()));
            return Next::More;
        }
        // What we do not know is of a later release.
        let Ok(known) = serde_json::from_str::<JobEvent>(&event.data) else { return Next::More };
        match known {
            JobEvent::Log(piece) => self.join_piece(piece, pending),
            JobEvent::State(_) => {
                self.flush(pending);
                if !lock(&self.known).states.contains(&event) {
                    self.send(|known| {
                        known.states.push(event.clone());
                        known.waits = None;
                        Sent::Other(event.written())
                    });
                }
            }
            JobEvent::Waits(_) => self.send(|known| {
                let sent = Sent::Other(event.written());
                known.waits = Some(event);
                sent
            }),
            JobEvent::End(_) => {
                self.flush(pending);
                self.send(|known| {
                    let end = event.written();
                    known.end = Some(end.clone());
                    Sent::End(end)
                });
                return Next::Nothing;
            }
        }
        Next::More
    }

    fn join_piece(&self, piece: LogPiece, pending: &mut Option<LogPiece>) {
        let follows = pending.as_ref().is_some_and(|before| {
            before.attempt == piece.attempt
                && before.end == piece.offset
                && before.text.len() + piece.text.len() <= 2 * MAX_PIECE
        });
        if !follows {
            self.flush(pending);
        }
        match pending {
            Some(before) => {
                before.text.push_str(&piece.text);
                before.end = piece.end;
            }
            None => *pending = Some(piece),
        }
    }

    /// Sends what has come of the log.
    fn flush(&self, pending: &mut Option<LogPiece>) {
        let Some(piece) = pending.take() else { return };
        let to = LogPosition { attempt: piece.attempt, byte: piece.end };
        let from = LogPosition { attempt: piece.attempt, byte: piece.offset };
        let event = log_event(piece).written();
        self.send(|known| {
            known.place = Some(to);
            Sent::Log { from, to, event }
        });
    }
}

/// Makes the event of a piece of a log.
pub fn log_event(piece: LogPiece) -> SseEvent {
    let id = Some(format!("{}:{}", piece.attempt, piece.end));
    let data = serde_json::to_string(&JobEvent::Log(piece)).unwrap_or_default();
    SseEvent { event: "log".to_owned(), data, id }
}

/// Returns where the log of the last attempt ends; the first one may not have begun.
pub fn last_place(attempts: &[LogState]) -> LogPosition {
    let last = attempts.iter().max_by_key(|state| state.attempt);
    last.map_or(LogPosition { attempt: 1, byte: 0 }, |state| LogPosition {
        attempt: state.attempt,
        byte: state.bytes,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
