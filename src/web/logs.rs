//! Where the lines of logs begin, so that a browser can show any of them without having all.
//!
//! A log is read once, piece by piece, and every thousandth line's place is kept; what comes later
//! is added. The logs that were looked at last are kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use http::header::RANGE;
use http::{HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use memchr::memchr_iter;
use serde::Serialize;

use invirtibuilder_api::events::LogState;
use invirtibuilder_api::problem::Problem;
use invirtibuilder_core::names::JobId;
use invirtibuilder_core::text::for_terminal;

use crate::credentials::VisitorCredentials;
use crate::upstream::{Upstream, problem, request};

/// The lines between two places that are kept, in a log that is not very long.
const EVERY: u64 = 1000;

/// The most places that are kept: in longer logs every second one goes.
const MAX_PLACES: usize = 1 << 14;

/// The most phases and errors that are kept.
const MAX_MARKS: usize = 200;

/// The part of a line that is looked at, in bytes.
const HEAD: usize = 300;

/// The logs whose places are kept.
const MAX_LOGS: usize = 200;

/// A line that is told from the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Its number; the first one is 1.
    pub line: u64,
    /// Its text, made fit to be shown.
    pub text: String,
}

/// Where the lines of a log are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogMap {
    /// The attempt.
    pub attempt: i64,
    /// The bytes that were read.
    pub bytes: u64,
    /// The lines that ended in them.
    pub lines: u64,
    /// Whether something follows the end of the last line.
    pub rest: bool,
    /// The lines between two places.
    pub every: u64,
    /// The bytes at which line 1, the line `every` later, and so on, begin.
    pub places: Vec<u64>,
    /// The phases, by their first lines.
    pub phases: Vec<Mark>,
    /// The lines that tell an error.
    pub errors: Vec<Mark>,
    #[serde(skip)]
    line: Vec<u8>,
    #[serde(skip)]
    edge: Option<u64>,
}

impl LogMap {
    fn new(attempt: i64) -> Self {
        Self {
            attempt,
            bytes: 0,
            lines: 0,
            rest: false,
            every: EVERY,
            places: vec![0],
            phases: Vec::new(),
            errors: Vec::new(),
            line: Vec::new(),
            edge: None,
        }
    }

    /// Takes the next bytes of the log.
    fn take(&mut self, piece: &[u8]) {
        let mut start = 0;
        for end in memchr_iter(b'\n', piece) {
            self.extend(&piece[start..end]);
            self.end_line(self.bytes + end as u64 + 1);
            start = end + 1;
        }
        self.extend(&piece[start..]);
        self.bytes += piece.len() as u64;
        self.rest = piece.last().map_or(self.rest, |last| *last != b'\n');
    }

    fn extend(&mut self, part: &[u8]) {
        let room = HEAD.saturating_sub(self.line.len());
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    /// Ends a line; the next one begins at this byte.
    fn end_line(&mut self, next: u64) {
        self.lines += 1;
        let line = std::mem::take(&mut self.line);
        self.mark(&line);
        self.line = line;
        self.line.clear();
        if self.lines % self.every == 0 {
            self.places.push(next);
            if self.places.len() > MAX_PLACES {
                let mut even = false;
                self.places.retain(|_| {
                    even = !even;
                    even
                });
                self.every *= 2;
            }
        }
    }

    fn mark(&mut self, line: &[u8]) {
        // sbuild draws a box around the name of each phase.
        if line.starts_with(b"+----") {
            // The lower edge is no upper one.
            self.edge = if self.edge.is_none() { Some(self.lines) } else { None };
            return;
        }
        if self.edge == Some(self.lines - 1) {
            if let Some(name) = line.strip_prefix(b"| ").and_then(|line| line.strip_suffix(b"|")) {
                push(&mut self.phases, self.lines - 1, name);
                return;
            }
        }
        self.edge = None;
        if tells_error(line) {
            push(&mut self.errors, self.lines, line);
        }
    }

    /// Returns the line that tells best why a job failed: one that its reason quotes, else the
    /// first one.
    pub fn error_of(&self, reason: Option<&str>) -> Option<&Mark> {
        let quoted = |mark: &&Mark| {
            reason.is_some_and(|reason| {
                let text = mark.text.trim();
                text.len() > 8 && (reason.contains(text) || text.contains(reason))
            })
        };
        self.errors.iter().find(quoted).or(self.errors.first())
    }

    /// Returns the range of bytes that has these lines, counted from 1 and without the last one,
    /// and the first line of it.
    pub fn range(&self, from: u64, to: u64) -> (std::ops::Range<u64>, u64) {
        let first = (from.saturating_sub(1) / self.every).min(self.places.len() as u64 - 1);
        let last = to.saturating_sub(1).div_ceil(self.every);
        let end = self.places.get(last as usize).copied().unwrap_or(self.bytes);
        (self.places[first as usize]..end, first * self.every + 1)
    }
}

fn push(marks: &mut Vec<Mark>, line: u64, text: &[u8]) {
    if marks.len() < MAX_MARKS {
        marks.push(Mark { line, text: for_terminal(text).trim().to_owned() });
    }
}

/// Tells whether a line looks like an error of a build, to somebody who looks for the first one.
fn tells_error(line: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 4] = [b"E: ", b"FAILED", b"FAIL: ", b"Traceback (most recent call"];
    const WITHIN: [&[u8]; 7] = [
        b" error: ",
        b": error",
        b"Error: ",
        b"*** [",
        b"undefined reference to",
        b"fatal error",
        b"No such file or directory",
    ];
    let has = |text: &[u8]| memchr::memmem::find(line, text).is_some();
    BEGINNINGS.iter().any(|text| line.starts_with(text))
        || line.starts_with(b"error: ")
        || WITHIN.iter().any(|text| has(text))
}

/// The key of a log.
type LogKey = (JobId, i64);

/// The logs that were looked at lately.
#[derive(Default)]
pub struct LogMaps {
    maps: Mutex<HashMap<LogKey, Arc<tokio::sync::Mutex<LogMap>>>>,
}

impl LogMaps {
    /// Finds out where the lines of a log are. `state` is what the API has told this visitor of it:
    /// so they may read it.
    pub async fn of(
        &self,
        upstream: &Upstream,
        credentials: &VisitorCredentials,
        job: JobId,
        state: &LogState,
    ) -> Result<LogMap, Problem> {
        let slot = self.slot((job, state.attempt));
        let mut map = slot.lock().await;
        if map.bytes > state.bytes {
            *map = LogMap::new(state.attempt);
        }
        if map.bytes < state.bytes {
            read_on(upstream, credentials, job, &mut map, state.bytes).await?;
        }
        Ok(map.clone())
    }

    fn slot(&self, key: LogKey) -> Arc<tokio::sync::Mutex<LogMap>> {
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        if maps.len() >= MAX_LOGS && !maps.contains_key(&key) {
            // Those that nobody reads at this moment.
            maps.retain(|_, map| Arc::strong_count(map) > 1);
        }
        maps.entry(key)
            .or_insert_with(|| Arc::new(tokio::sync::Mutex::new(LogMap::new(key.1))))
            .clone()
    }
}

/// Reads what is new of a log.
async fn read_on(
    upstream: &Upstream,
    credentials: &VisitorCredentials,
    job: JobId,
    map: &mut LogMap,
    end: u64,
) -> Result<(), Problem> {
    let path = format!("/api/v1/jobs/{job}/log?attempt={}", map.attempt);
    let mut request = request(Method::GET, credentials, &path, Body::empty())?;
    let range = HeaderValue::from_str(&format!("bytes={}-{}", map.bytes, end - 1));
    request.headers_mut().extend(range.ok().map(|range| (RANGE, range)));
    let response = upstream.send(request).await?;
    match response.status() {
        StatusCode::PARTIAL_CONTENT => {}
        StatusCode::OK if map.bytes == 0 => {}
        status => {
            let text = format!("the log of job {job} cannot be read: the service answers {status}");
            return Err(problem(status, 69, &text));
        }
    }
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|_| problem(StatusCode::BAD_GATEWAY, 69, "the log broke off: try again"))?;
        if let Ok(data) = frame.into_data() {
            map.take(&data);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::logs::*;

    fn of(text: &str, piece: usize) -> LogMap {
        let mut map = LogMap::new(1);
        text.as_bytes().chunks(piece).for_each(|piece| map.take(piece));
        map
    }

    #[test]
    fn lines_are_found_however_the_log_comes() {
        let text: String = (1..=5500).map(|n| format!("line {n}\n")).collect();
        for piece in [1, 7, 4096, text.len()] {
            let map = of(&text, piece);
            assert_eq!((map.lines, map.bytes, map.places.len()), (5500, text.len() as u64, 6));
            for (from, to) in
                [(1, 2), (1, 1001), (999, 1002), (2001, 2500), (5400, 5501), (9000, 9001)]
            {
                let (range, first) = map.range(from, to);
                let part = &text[range.start as usize..range.end as usize];
                assert!(part.starts_with(&format!("line {first}\n")), "{from}: {first}");
                assert!(first <= from);
                let last = (to - 1).min(5500);
                assert!(from > 5500 || part.contains(&format!("line {last}\n")), "{from}..{to}");
            }
        }
    }

    #[test]
    fn a_very_long_log_takes_no_more_room() {
        let mut map = LogMap { every: 1, ..LogMap::new(1) };
        map.take("\n".repeat(5 * MAX_PLACES / 2).as_bytes());
        assert_eq!((map.lines, map.every), (5 * MAX_PLACES as u64 / 2, 4));
        assert!(map.places.len() <= MAX_PLACES);
        assert_eq!(map.range(8_003, 8_004), (8_000..8_004, 8_001));
        let mut map = LogMap::new(1);
        (0..16).for_each(|_| map.take(&vec![b'x'; 1 << 20]));
        assert_eq!((map.lines, map.line.len()), (0, HEAD));
    }

    #[test]
    fn phases_and_the_first_error_are_found() {
        let text = "+------+\n| Build |\n+------+\n\nok\na.c:1: error: x\nmake: *** [all] Error 2\n\
                    +------+\n| Summary <b> |\n+------+\n| no box |\n";
        let map = of(text, 5);
        let phases: Vec<_> = map.phases.iter().map(|mark| (mark.line, &*mark.text)).collect();
        assert_eq!(phases, [(1, "Build"), (8, "Summary <b>")]);
        let line = |reason| map.error_of(reason).unwrap().line;
        assert_eq!(line(None), 6);
        assert_eq!(line(Some("the build failed: make: *** [all] Error 2")), 7);
        assert_eq!(of("fine\nchecking for errors... no\n", 9).error_of(None), None);
    }
}
