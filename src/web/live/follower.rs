//! One browser that follows something: it hears all that it has missed, and then what comes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderValue, Method, StatusCode};
use serde_json::Value;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use invirtibuilder_api::events::LogPiece;
use invirtibuilder_core::names::JobId;

use crate::app::WebApp;
use crate::credentials::VisitorCredentials;
use crate::live::hub::{LiveChannel, LogPosition, Sent, Topic, log_event};
use crate::upstream::{request, whole};

/// How often something is sent although nothing happens: proxies cut what is silent.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How often the API is asked whether the follower may still read.
const ASK_AGAIN: Duration = Duration::from_secs(300);

/// The longest piece of a log that a follower catches up with at once, in bytes.
const PIECE: u64 = 64 << 10;

/// One who follows.
pub struct LiveFollower {
    app: Arc<WebApp>,
    topic: Topic,
    rights: Arc<VisitorCredentials>,
    channel: Arc<LiveChannel>,
    first: VecDeque<Sent>,
    receiver: broadcast::Receiver<Sent>,
    /// How far it has the log; `None`: it does not want it.
    place: Option<LogPosition>,
    /// Where the log is that it has to catch up with.
    target: Option<LogPosition>,
    is_over: bool,
    heartbeat: Instant,
    ask_again: Instant,
}

impl LiveFollower {
    /// Lets somebody follow who may.
    pub fn new(
        app: Arc<WebApp>,
        topic: Topic,
        rights: Arc<VisitorCredentials>,
        place: Option<LogPosition>,
        now_at: LogPosition,
    ) -> Self {
        let channel = app.hub.join(topic, &rights, now_at);
        let (first, receiver, target) = channel.follow();
        let now = Instant::now();
        Self {
            app,
            topic,
            rights,
            channel,
            first,
            receiver,
            place,
            target,
            is_over: false,
            heartbeat: now + HEARTBEAT,
            ask_again: now + ASK_AGAIN,
        }
    }

    /// Waits for what is to be sent next; `None`: nothing more is.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.is_over {
                return None;
            }
            // The end comes after all of the log.
            let only_end = matches!(self.first.front(), None | Some(Sent::End(_)));
            if only_end {
                match self.catch_up().await {
                    Caught::Piece(bytes) => return Some(bytes),
                    Caught::Up => {}
                    Caught::Nothing => return None,
                }
            }
            let sent = match self.first.pop_front() {
                Some(sent) => sent,
                None => tokio::select! {
                    sent = self.receiver.recv() => match sent {
                        Ok(sent) => sent,
                        Err(RecvError::Lagged(_)) => {
                            self.begin_again();
                            continue;
                        }
                        Err(RecvError::Closed) => return None,
                    },
                    () = tokio::time::sleep_until(self.heartbeat) => {
                        if Instant::now() >= self.ask_again && !self.may().await {
                            return None;
                        }
                        self.heartbeat = Instant::now() + HEARTBEAT;
                        return Some(Bytes::from_static(b":\n\n"));
                    }
                },
            };
            if let Some(bytes) = self.take(sent) {
                return Some(bytes);
            }
        }
    }

    /// Starts over after it was too slow: states are told again, and of the log what is missing.
    fn begin_again(&mut self) {
        let (first, receiver, target) = self.channel.follow();
        self.first = first;
        self.receiver = receiver;
        self.target = target;
    }

    /// Takes what was sent to all, and returns what goes on to this one.
    fn take(&mut self, sent: Sent) -> Option<Bytes> {
        match sent {
            Sent::Other(event) => Some(event),
            Sent::End(event) => {
                self.is_over = true;
                Some(event)
            }
            Sent::Log { from, to, event } => {
                let place = self.place?;
                if to <= place {
                    return None;
                }
                if from != place {
                    self.target = Some(to);
                    return None;
                }
                self.place = Some(to);
                Some(event)
            }
        }
    }

    /// Asks the API whether the follower may still read.
    async fn may(&mut self) -> bool {
        self.ask_again = Instant::now() + ASK_AGAIN;
        let answer = self.app.upstream.get::<Value>(&self.rights, &self.topic.right()).await;
        // The follower stays while the API cannot be asked: it hears nothing new then.
        !matches!(answer, Err(problem) if matches!(problem.status, 401 | 403 | 404))
    }

    /// Gets one piece of what is missing of the log.
    async fn catch_up(&mut self) -> Caught {
        loop {
            let (Some(place), Some(target), Topic::Job(job)) =
                (self.place, self.target, self.topic)
            else {
                return Caught::Up;
            };
            if place >= target {
                self.target = None;
                return Caught::Up;
            }
            let most = if place.attempt == target.attempt {
                (target.byte - place.byte).min(PIECE)
            } else {
                PIECE
            };
            match self.read(job, place, most).await {
                Ok(bytes) if bytes.is_empty() => {
                    if place.attempt >= target.attempt {
                        // The log is shorter than we were told: it was removed meanwhile.
                        self.target = None;
                        return Caught::Up;
                    }
                    self.place = Some(LogPosition { attempt: place.attempt + 1, byte: 0 });
                }
                Ok(bytes) => {
                    let used = whole_lines(&bytes);
                    let end = place.byte + used as u64;
                    let text = String::from_utf8_lossy(&bytes[..used]).into_owned();
                    self.place = Some(LogPosition { attempt: place.attempt, byte: end });
                    let piece = LogPiece { attempt: place.attempt, offset: place.byte, end, text };
                    return Caught::Piece(log_event(piece).written());
                }
                Err(Unread::Now) => return Caught::Nothing,
                Err(Unread::Attempt) if place.attempt < target.attempt => {
                    self.place = Some(LogPosition { attempt: place.attempt + 1, byte: 0 });
                }
                Err(Unread::Attempt) => return Caught::Nothing,
            }
        }
    }

    /// Reads a piece of the log of an attempt; nothing at its end.
    async fn read(&self, job: JobId, place: LogPosition, most: u64) -> Result<Bytes, Unread> {
        let path = format!("/api/v1/jobs/{job}/log?attempt={}", place.attempt);
        let mut request =
            request(Method::GET, &self.rights, &path, Body::empty()).map_err(|_| Unread::Now)?;
        let range = format!("bytes={}-{}", place.byte, place.byte + most - 1);
        let range = HeaderValue::from_str(&range).map_err(|_| Unread::Now)?;
        request.headers_mut().insert(RANGE, range);
        let response = self.app.upstream.send(request).await.map_err(|_| Unread::Now)?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if response.headers().contains_key(CONTENT_RANGE) => {
                whole(response, 2 * PIECE as usize).await.map_err(|_| Unread::Now)
            }
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(Bytes::new()),
            StatusCode::NOT_FOUND => Err(Unread::Attempt),
            _ => Err(Unread::Now),
        }
    }
}

/// How a follower gets on with what it has missed.
enum Caught {
    /// There is a piece.
    Piece(Bytes),
    /// It has all.
    Up,
    /// The API does not give it: the browser asks again later.
    Nothing,
}

/// Why a piece was not read.
enum Unread {
    /// The API does not answer, or not to this one.
    Now,
    /// The attempt has no log.
    Attempt,
}

/// Returns how much of a piece is whole lines; if there is none, whole characters.
fn whole_lines(bytes: &[u8]) -> usize {
    if let Some(end) = memchr::memrchr(b'\n', bytes) {
        return end + 1;
    }
    // At most three bytes of a character may be cut off.
    let cut = (1..=3.min(bytes.len())).find(|n| {
        let lead = bytes[bytes.len() - n];
        let needs = match lead {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            _ => 0,
        };
        needs > *n
    });
    match cut {
        Some(cut) if cut < bytes.len() => bytes.len() - cut,
        Some(_) | None => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use crate::live::follower::*;

    #[test]
    fn a_piece_is_cut_after_a_line_or_at_least_a_character() {
        for (bytes, used) in [
            (&b"one\ntwo"[..], 4),
            (b"one\n", 4),
            (b"one", 3),
            ("aé".as_bytes(), 3),
            (&"aé".as_bytes()[..2], 1),
            (&"a€".as_bytes()[..3], 1),
            (&"a😀".as_bytes()[..4], 1),
            (b"\xff\xff", 2),
            (b"\xe2", 1),
        ] {
            assert_eq!(whole_lines(bytes), used, "{bytes:?}");
        }
    }
}
