//! Jobs, the newest first.

use askama::Template;
use axum::extract::Query;
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;

use invirtibuilder_api::browse::{JobFilter, JobsRequest};
use invirtibuilder_api::job::Job;
use invirtibuilder_api::page::Page;
use invirtibuilder_api::pocket::PocketSummary;

use crate::frame::{Frame, Tab};
use crate::html::page;
use crate::refusal::Refused;
use crate::visit::Visit;

/// The jobs of a page.
const JOBS: u32 = 50;

#[derive(Template)]
#[template(path = "jobs.html")]
struct JobsPage {
    frame: Frame,
    heading: String,
    asked: JobsRequest,
    pockets: Vec<PocketSummary>,
    page: Page<Job>,
    next: Option<String>,
    is_filtered: bool,
}

impl JobsPage {
    /// Tells whether the form has this filter.
    fn shows(&self, filter: &JobFilter) -> bool {
        self.asked.show.unwrap_or(JobFilter::All) == *filter
    }

    /// Tells whether the form has this pocket.
    fn is_of(&self, pocket: &PocketSummary) -> bool {
        self.asked.pocket.as_deref() == Some(pocket.pocket.as_str())
    }

    fn value<'a>(&self, field: &'a Option<String>) -> &'a str {
        field.as_deref().unwrap_or_default()
    }
}

/// Shows the jobs that were asked for.
pub async fn jobs(visit: Visit, Query(asked): Query<JobsRequest>) -> Result<Response, Refused> {
    let frame = visit.frame("Jobs", Tab::Jobs);
    list(visit, frame, asked).await
}

/// Shows those of the visitor.
pub async fn mine(visit: Visit) -> Result<Response, Refused> {
    let Some(who) = visit.frame.who.clone() else {
        return Ok(Redirect::to(&visit.frame.at("/login?next=%2Fmine")).into_response());
    };
    let asked = JobsRequest { principal: Some(who.to_string()), ..JobsRequest::default() };
    let frame = visit.frame("My jobs", Tab::Mine);
    list(visit, frame, asked).await
}

async fn list(visit: Visit, frame: Frame, asked: JobsRequest) -> Result<Response, Refused> {
    let asked = tidy(asked);
    let query = |asked: &JobsRequest| serde_urlencoded::to_string(asked).unwrap_or_default();
    let path = format!("/api/v1/jobs?{}", query(&asked));
    let (found, pockets) = tokio::join!(
        visit.get::<Page<Job>>(&path),
        visit.get::<Vec<PocketSummary>>("/api/v1/pockets")
    );
    let (found, pockets) = (found?, pockets?);
    let next = found.next.as_ref().map(|after| {
        let asked = JobsRequest { after: Some(after.clone()), limit: None, ..asked.clone() };
        visit.frame.at(&format!("/jobs?{}", query(&asked)))
    });
    let is_filtered = asked != tidy(JobsRequest::default());
    let heading = frame.title.clone();
    let shown = JobsPage { frame, heading, asked, pockets, page: found, next, is_filtered };
    Ok(page(StatusCode::OK, &shown))
}

/// Takes what a form leaves empty for what was not asked.
fn tidy(asked: JobsRequest) -> JobsRequest {
    let filled = |text: Option<String>| {
        text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    JobsRequest {
        show: asked.show,
        pocket: filled(asked.pocket),
        package: filled(asked.package),
        principal: filled(asked.principal),
        after: filled(asked.after),
        limit: Some(JOBS),
    }
}
