//! What somebody looks for by a word.

use askama::Template;
use axum::extract::Query;
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use serde::Deserialize;

use invirtibuilder_api::browse::Found;
use invirtibuilder_core::names::{JobId, PackageName};

use crate::frame::{Frame, Tab};
use crate::html::page;
use crate::refusal::Refused;
use crate::visit::Visit;

/// What somebody looks for.
#[derive(Debug, Deserialize)]
pub struct SearchAsked {
    q: Option<String>,
}

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    frame: Frame,
    found: Found,
}

/// The longest text that is looked for, in characters.
const LONGEST: usize = 200;

/// Shows what was found; what is one thing only is shown at once.
pub async fn search(visit: Visit, Query(asked): Query<SearchAsked>) -> Result<Response, Refused> {
    let q: String = asked.q.unwrap_or_default().trim().chars().take(LONGEST).collect();
    let found = if q.is_empty() {
        Found { packages: Vec::new(), jobs: Vec::new() }
    } else {
        let query = serde_urlencoded::to_string([("q", &q)]).unwrap_or_default();
        visit.get::<Found>(&format!("/api/v1/search?{query}")).await?
    };
    if let Some(path) = only(&visit, &q, &found) {
        return Ok(Redirect::to(&path).into_response());
    }
    let frame = Frame { query: q, ..visit.frame("Search", Tab::None) };
    Ok(page(StatusCode::OK, &SearchPage { frame, found }))
}

/// Returns the path of what was found if that is what was typed, and nothing else is.
fn only(visit: &Visit, q: &str, found: &Found) -> Option<String> {
    let job = q.strip_prefix('#').unwrap_or(q).parse::<JobId>().ok();
    if let (Some(job), [one], []) = (job, &found.jobs[..], &found.packages[..]) {
        return (one.id == job).then(|| visit.frame.to("jobs", job));
    }
    let package = q.parse::<PackageName>().ok()?;
    match (&found.packages[..], &found.jobs[..]) {
        ([one], []) if *one == package => Some(visit.frame.to("packages", package)),
        _ => None,
    }
}
