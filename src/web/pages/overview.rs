//! What runs, what waits, and what has ended lately.

use askama::Template;
use axum::response::Response;
use http::StatusCode;

use invirtibuilder_api::job::{Job, State};
use invirtibuilder_api::status::Overview;
use invirtibuilder_api::wait::Wait;

use crate::frame::{Frame, Tab};
use crate::html::page;
use crate::refusal::Refused;
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    running: Vec<Job>,
    waiting: Vec<(Job, Option<Wait>)>,
    more: usize,
    failed: Vec<Job>,
    ended: Vec<Job>,
    overview: Overview,
}

#[derive(Template)]
#[template(path = "welcome.html")]
struct WelcomePage {
    frame: Frame,
}

/// The most waiting jobs that the page lists.
const MOST: usize = 50;

/// Shows it. Who may not see it sees where to sign in.
pub async fn overview(visit: Visit) -> Result<Response, Refused> {
    let answer = visit.app.upstream.get(&visit.credentials, "/api/v1/overview").await;
    let mut overview: Overview = match answer {
        Ok(overview) => overview,
        Err(problem) if problem.status == 401 => {
            let frame = visit.frame("Sign in", Tab::Overview);
            return Ok(page(StatusCode::OK, &WelcomePage { frame }));
        }
        Err(problem) => return Err(visit.refuse(problem)),
    };
    let (running, queued): (Vec<Job>, Vec<Job>) =
        std::mem::take(&mut overview.open).into_iter().partition(|job| job.state.is_running());
    let more = queued.len().saturating_sub(MOST);
    let waits = std::mem::take(&mut overview.waits);
    let waiting = queued.into_iter().take(MOST);
    let waiting = waiting.map(|job| (waits.get(&job.id.to_string()).cloned(), job));
    let waiting = waiting.map(|(wait, job)| (job, wait)).collect();
    let (failed, ended) = std::mem::take(&mut overview.finished)
        .into_iter()
        .partition(|job: &Job| job.state == State::Failed);
    let frame = visit.frame("Overview", Tab::Overview);
    Ok(page(
        StatusCode::OK,
        &OverviewPage { frame, running, waiting, more, failed, ended, overview },
    ))
}
