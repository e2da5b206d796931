//! A build log, some hundred lines at a time, each with a link of its own.

use std::borrow::Borrow;

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RANGE};
use http::{HeaderValue, Method, StatusCode};
use serde::Deserialize;

use invirtibuilder_api::events::LogState;
use invirtibuilder_api::job::State;
use invirtibuilder_api::status::JobStatus;
use invirtibuilder_core::names::JobId;
use invirtibuilder_core::text::for_terminal;

use crate::frame::{Frame, Tab};
use crate::html::page;
use crate::logs::LogMap;
use crate::refusal::Refused;
use crate::upstream::{problem, request, whole};
use crate::visit::Visit;

/// The lines of a page.
const LINES: u64 = 500;

/// The longest part of a log that a page is made of, in bytes.
const MAX_PART: u64 = 4 << 20;

/// The longest line that is shown whole, in bytes.
const MAX_SHOWN: usize = 4000;

/// Which part of a log somebody wants to see.
#[derive(Debug, Deserialize)]
pub struct LinesAsked {
    attempt: Option<i64>,
    line: Option<u64>,
}

/// A line as it is shown.
pub struct LogLine {
    /// Its number; the first one is 1.
    pub number: u64,
    /// Its text, made fit to be shown.
    pub text: String,
}

/// What is known of the log of an attempt.
pub struct LogSheet {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: i64,
    /// Where its lines are.
    pub map: LogMap,
}

#[derive(Template)]
#[template(path = "log.html")]
struct LogPage {
    frame: Frame,
    status: JobStatus,
    attempts: Vec<LogState>,
    sheet: LogSheet,
    lines: Vec<LogLine>,
    first: u64,
    last: u64,
    is_live: bool,
}

impl LogPage {
    /// Returns the path of the page with a line.
    fn at_line(&self, line: impl Borrow<u64>) -> String {
        self.sheet.at_line(&self.frame, line)
    }

    /// Returns the line at which the page before begins, if there is one.
    fn before(&self) -> Option<u64> {
        (self.first > 1).then(|| self.first.saturating_sub(LINES).max(1))
    }

    /// Returns the line at which the page after begins, if there is one.
    fn after(&self) -> Option<u64> {
        (self.last < self.sheet.map.lines).then_some(self.last + 1)
    }
}

impl LogSheet {
    /// Finds out where the lines of a log are, which the visitor may read: the API told them of it.
    pub async fn of(visit: &Visit, job: JobId, state: &LogState) -> Result<Self, Refused> {
        let app = &visit.app;
        let map = app.logs.of(&app.upstream, &visit.credentials, job, state).await;
        let map = map.map_err(|problem| visit.refuse(problem))?;
        Ok(Self { job, attempt: state.attempt, map })
    }

    /// Returns the path of the page that has a line.
    pub fn at_line(&self, frame: &Frame, line: impl Borrow<u64>) -> String {
        let line = line.borrow();
        let (job, attempt) = (self.job, self.attempt);
        frame.at(&format!("/jobs/{job}/log?attempt={attempt}&line={line}#L{line}"))
    }

    /// Returns the path of the bytes as they are.
    pub fn raw(&self, frame: &Frame) -> String {
        frame.at(&format!("/api/v1/jobs/{}/log?attempt={}", self.job, self.attempt))
    }

    /// Gets lines from the API, from one up to another; what has no end yet is the last one.
    pub async fn lines(&self, visit: &Visit, from: u64, to: u64) -> Result<Vec<LogLine>, Refused> {
        let (range, first) = self.map.range(from, to);
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let end = range.end.min(range.start + MAX_PART);
        let path = format!("/api/v1/jobs/{}/log?attempt={}", self.job, self.attempt);
        let request = request(Method::GET, &visit.credentials, &path, Body::empty());
        let mut request = request.map_err(|problem| visit.refuse(problem))?;
        let range = HeaderValue::from_str(&format!("bytes={}-{}", range.start, end - 1));
        request.headers_mut().extend(range.ok().map(|range| (RANGE, range)));
        let answer = visit.app.upstream.send(request).await;
        let response = answer.map_err(|problem| visit.refuse(problem))?;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            let text = format!("the log of job {} cannot be read now: try again", self.job);
            return Err(visit.refuse(problem(StatusCode::BAD_GATEWAY, 69, &text)));
        }
        let bytes = whole(response, 2 * MAX_PART as usize).await;
        let bytes = bytes.map_err(|problem| visit.refuse(problem))?;
        let numbered = (first..).zip(bytes.split(|c| *c == b'\n'));
        let wanted = numbered.filter(|(number, _)| (from..to).contains(number));
        let lines = wanted.map(|(number, line)| LogLine { number, text: shown(line) });
        let mut lines: Vec<LogLine> = lines.collect();
        // What follows the last line's end is no line.
        if lines.last().is_some_and(|l| l.number > self.map.lines && l.text.is_empty()) {
            lines.pop();
        }
        Ok(lines)
    }
}

/// Makes a line fit to be shown.
fn shown(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() <= MAX_SHOWN {
        return for_terminal(line);
    }
    format!("{} … ({} bytes)", for_terminal(&line[..MAX_SHOWN]), line.len())
}

/// Finds the attempt that was asked for; without one, the last.
fn choose(visit: &Visit, attempts: &[LogState], asked: Option<i64>) -> Result<LogState, Refused> {
    let wanted = |state: &&LogState| asked.is_none_or(|attempt| state.attempt == attempt);
    let found = attempts.iter().filter(wanted).max_by_key(|state| state.attempt);
    found.cloned().ok_or_else(|| visit.nothing("there is no log of this attempt"))
}

/// Shows a part of a log.
pub async fn log(
    visit: Visit,
    Path(id): Path<String>,
    Query(asked): Query<LinesAsked>,
) -> Result<Response, Refused> {
    let id = visit.job(&id)?;
    let (status, attempts) = tokio::join!(
        async { visit.get::<JobStatus>(&format!("/api/v1/jobs/{id}")).await },
        async { visit.get::<Vec<LogState>>(&format!("/api/v1/jobs/{id}/attempts")).await },
    );
    let (status, attempts) = (status?, attempts?);
    let state = choose(&visit, &attempts, asked.attempt)?;
    let sheet = LogSheet::of(&visit, id, &state).await?;
    let line = asked.line.unwrap_or(1).clamp(1, sheet.map.lines.max(1));
    let first = (line - 1) / LINES * LINES + 1;
    let lines = sheet.lines(&visit, first, first + LINES).await?;
    let last = lines.last().map_or(first, |line| line.number);
    let is_live = status.job.state != State::Queued
        && !status.job.state.is_end()
        && attempts.iter().all(|other| other.attempt <= state.attempt);
    let frame = visit.frame(format!("Log of job {id}"), Tab::Jobs);
    let shown = LogPage { frame, status, attempts, sheet, lines, first, last, is_live };
    Ok(page(StatusCode::OK, &shown))
}

/// Tells a script where the lines of a log are.
pub async fn map(
    visit: Visit,
    Path(id): Path<String>,
    Query(asked): Query<LinesAsked>,
) -> Result<Response, Refused> {
    let id = visit.job(&id)?;
    let attempts: Vec<LogState> = visit.get(&format!("/api/v1/jobs/{id}/attempts")).await?;
    let state = choose(&visit, &attempts, asked.attempt)?;
    let sheet = LogSheet::of(&visit, id, &state).await?;
    let text = serde_json::to_vec(&sheet.map).map_err(|error| {
        visit.refuse(problem(StatusCode::INTERNAL_SERVER_ERROR, 70, &error.to_string()))
    })?;
    let kind = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "private, no-cache")];
    Ok((kind, text).into_response())
}
