//! One job: its phases, its log, what has changed, and where its result comes from.

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;

use invirtibuilder_api::browse::JobChanges;
use invirtibuilder_api::events::LogState;
use invirtibuilder_api::explain::Provenance;
use invirtibuilder_api::job::State;
use invirtibuilder_api::status::JobStatus;

use crate::frame::{Frame, Tab};
use crate::html::page;
use crate::logs::Mark;
use crate::pages::log::{LogLine, LogSheet};
use crate::refusal::Refused;
use crate::timeline::Timeline;
use crate::visit::Visit;

/// The lines of the log's end that the page itself has.
const TAIL: u64 = 30;

/// What a page about a job is asked.
#[derive(Debug, Deserialize)]
pub struct AttemptAsked {
    attempt: Option<i64>,
}

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    frame: Frame,
    status: JobStatus,
    timeline: Timeline,
    changes: Option<JobChanges>,
    log: Option<LogPart>,
}

impl JobPage {
    /// Tells whether the job can be stopped.
    fn can_be_cancelled(&self) -> bool {
        !self.status.job.state.is_end() && self.status.job.cancel_by.is_none()
    }

    /// Tells whether the job can be queued again.
    fn can_be_retried(&self) -> bool {
        matches!(self.status.job.state, State::Failed | State::Cancelled)
    }
}

/// The part of a log that is in the page of its job.
struct LogPart {
    attempts: Vec<LogState>,
    sheet: LogSheet,
    lines: Vec<LogLine>,
    error: Option<Mark>,
    is_live: bool,
}

#[derive(Template)]
#[template(path = "explain.html")]
struct ExplainPage {
    frame: Frame,
    why: Provenance,
}

/// Shows a job.
pub async fn job(
    visit: Visit,
    Path(id): Path<String>,
    Query(asked): Query<AttemptAsked>,
) -> Result<Response, Refused> {
    let id = visit.job(&id)?;
    let (status, changes, attempts) = tokio::join!(
        async { visit.get::<JobStatus>(&format!("/api/v1/jobs/{id}")).await },
        async { visit.find::<JobChanges>(&format!("/api/v1/jobs/{id}/changes")).await },
        async { visit.find::<Vec<LogState>>(&format!("/api/v1/jobs/{id}/attempts")).await },
    );
    let (status, attempts) = (status?, attempts?.unwrap_or_default());
    // A repository that cannot be read now is no reason to hide the job.
    let changes = changes.unwrap_or_default();
    let log = part(&visit, &status, attempts, asked.attempt).await?;
    let job = &status.job;
    let title = format!("Job {id}: {} {}", job.package, job.version);
    let timeline = Timeline::of(&status, visit.frame.now);
    let frame = visit.frame(title, Tab::Jobs);
    Ok(page(StatusCode::OK, &JobPage { frame, status, timeline, changes, log }))
}

/// Gets the part of the log that the page has.
async fn part(
    visit: &Visit,
    status: &JobStatus,
    attempts: Vec<LogState>,
    asked: Option<i64>,
) -> Result<Option<LogPart>, Refused> {
    let job = &status.job;
    let wanted = |state: &&LogState| asked.is_none_or(|attempt| state.attempt == attempt);
    let Some(state) = attempts.iter().filter(wanted).max_by_key(|state| state.attempt) else {
        return Ok(None);
    };
    let sheet = LogSheet::of(visit, job.id, state).await?;
    let first = (sheet.map.lines + 1).saturating_sub(TAIL).max(1);
    let lines = sheet.lines(visit, first, sheet.map.lines + 2).await?;
    let failed = job.state == State::Failed && state.attempt == job.attempt;
    let error = sheet.map.error_of(job.reason.as_deref()).filter(|_| failed).cloned();
    let is_live =
        !job.state.is_end() && attempts.iter().all(|other| other.attempt <= state.attempt);
    Ok(Some(LogPart { attempts, sheet, lines, error, is_live }))
}

/// Shows everything that a job's result follows from.
pub async fn explain(visit: Visit, Path(id): Path<String>) -> Result<Response, Refused> {
    let id = visit.job(&id)?;
    let why: Provenance = visit.get(&format!("/api/v1/jobs/{id}/explain")).await?;
    let frame = visit.frame(format!("Job {id}: where it comes from"), Tab::Jobs);
    Ok(page(StatusCode::OK, &ExplainPage { frame, why }))
}
