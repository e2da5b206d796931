//! Requests that change nothing.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use crate::http::App;
use crate::http::answer::{AskedQuery, TokenOwner, ask, blocking, read, with_reply};
use crate::http::problem::{self, Names};
use invirtibuilder_api::browse::{DifferencesRequest, JobsRequest, MatrixRequest};
use invirtibuilder_cli::verbs::metrics::prometheus_text;
use invirtibuilder_service::login::RequestEffect;
use invirtibuilder_service::{
    browse, caller, explain, metrics as measures, pockets as matrix, status, tokens as keys,
};

/// The jobs that have not ended which an overview has, at most.
const MOST_OPEN: u32 = 100;

/// Tells the caller.
pub async fn whoami(State(app): State<App>, headers: HeaderMap) -> Response {
    read(app, headers, Names::Request, |session| Ok(caller::describe_caller(session))).await
}

/// Lists what is queued, runs and has lately ended.
pub async fn overview(State(app): State<App>, headers: HeaderMap) -> Response {
    let warnings = app.warnings.clone();
    read(app, headers, Names::Request, move |session| {
        let warnings = warnings.get((), || Ok(status::list_warnings(session)))?;
        status::list_first_jobs(session, MOST_OPEN, warnings)
    })
    .await
}

/// Lists jobs.
pub async fn jobs(
    State(app): State<App>,
    headers: HeaderMap,
    AskedQuery(asked): AskedQuery<JobsRequest>,
) -> Response {
    let list = move |session: &mut _| browse::list_jobs(session, &asked);
    read(app, headers, Names::Request, list).await
}

/// Tells all of a job.
pub async fn job(State(app): State<App>, Path(job): Path<String>, headers: HeaderMap) -> Response {
    read(app, headers, Names::Place, move |session| status::describe_job(session, job.parse()?))
        .await
}

/// Tells what a job's result follows from.
pub async fn explain(
    State(app): State<App>,
    Path(job): Path<String>,
    headers: HeaderMap,
) -> Response {
    read(app, headers, Names::Place, move |session| explain::explain_job(session, job.parse()?))
        .await
}

/// Tells what has changed in a job's package.
pub async fn changes(
    State(app): State<App>,
    Path(job): Path<String>,
    headers: HeaderMap,
) -> Response {
    let describe = move |session: &mut _| browse::describe_changes(session, job.parse()?);
    read(app, headers, Names::Place, describe).await
}

/// Lists the logs of a job's attempts.
pub async fn attempts(
    State(app): State<App>,
    Path(job): Path<String>,
    headers: HeaderMap,
) -> Response {
    read(app, headers, Names::Place, move |session| browse::list_logs(session, job.parse()?)).await
}

/// Lists which package is where.
pub async fn packages(
    State(app): State<App>,
    headers: HeaderMap,
    AskedQuery(asked): AskedQuery<MatrixRequest>,
) -> Response {
    let list = move |session: &mut _| browse::list_matrix(session, &asked);
    read(app, headers, Names::Request, list).await
}

/// Tells where a package is.
pub async fn package(
    State(app): State<App>,
    Path(package): Path<String>,
    headers: HeaderMap,
) -> Response {
    let describe = move |session: &mut _| browse::describe_package(session, &package);
    read(app, headers, Names::Place, describe).await
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub struct Paging {
    after: Option<String>,
    limit: Option<u32>,
}

/// Lists the jobs of a package.
pub async fn history(
    State(app): State<App>,
    Path(package): Path<String>,
    headers: HeaderMap,
    AskedQuery(Paging { after, limit }): AskedQuery<Paging>,
) -> Response {
    read(app, headers, Names::Place, move |session| {
        browse::describe_package(session, &package)?;
        let request =
            JobsRequest { package: Some(package), after, limit, ..JobsRequest::default() };
        browse::list_jobs(session, &request)
    })
    .await
}

/// Lists the pockets.
pub async fn pockets(State(app): State<App>, headers: HeaderMap) -> Response {
    read(app, headers, Names::Request, |session| matrix::list_pockets(session)).await
}

/// Lists the published states of a pocket's suite.
pub async fn snapshots(
    State(app): State<App>,
    Path(pocket): Path<String>,
    headers: HeaderMap,
) -> Response {
    let list = move |session: &mut _| browse::list_states(session, &pocket);
    read(app, headers, Names::Place, list).await
}

/// Lists what differs between two published states.
pub async fn snapshot_changes(
    State(app): State<App>,
    Path((pocket, older, newer)): Path<(String, String, String)>,
    headers: HeaderMap,
    AskedQuery(Paging { after, limit }): AskedQuery<Paging>,
) -> Response {
    let number = |text: &str| {
        text.parse::<i64>().map_err(|_| {
            let text = invirtibuilder_core::text::quoted(text);
            invirtibuilder_core::error::Error::invalid(format!("{text} is no number of a snapshot"))
        })
    };
    read(app, headers, Names::Place, move |session| {
        let numbers = (number(&older)?, number(&newer)?);
        browse::compare_states(session, &pocket, numbers, after.as_deref(), limit)
    })
    .await
}

/// Lists how two pockets differ.
pub async fn differences(
    State(app): State<App>,
    headers: HeaderMap,
    AskedQuery(asked): AskedQuery<DifferencesRequest>,
) -> Response {
    let list = move |session: &mut _| browse::list_differences(session, &asked);
    read(app, headers, Names::Request, list).await
}

/// What somebody searches for.
#[derive(Debug, Deserialize)]
pub struct SearchText {
    q: String,
}

/// Finds packages and jobs.
pub async fn search(
    State(app): State<App>,
    headers: HeaderMap,
    AskedQuery(asked): AskedQuery<SearchText>,
) -> Response {
    let search = move |session: &mut _| browse::search(session, &asked.q);
    read(app, headers, Names::Request, search).await
}

/// The days that plots are about.
#[derive(Debug, Deserialize)]
pub struct PlotDays {
    days: Option<i64>,
}

/// Counts for plots.
pub async fn statistics(
    State(app): State<App>,
    headers: HeaderMap,
    AskedQuery(asked): AskedQuery<PlotDays>,
) -> Response {
    let days = asked.days.unwrap_or(30);
    let plots = app.plots.clone();
    read(app, headers, Names::Request, move |session| {
        plots.get(days, || browse::count_for_plots(session, days))
    })
    .await
}

/// Lists tokens.
pub async fn tokens(
    State(app): State<App>,
    headers: HeaderMap,
    AskedQuery(asked): AskedQuery<TokenOwner>,
) -> Response {
    let list = move |session: &mut _| keys::list_tokens(session, asked.principal.as_deref());
    read(app, headers, Names::Request, list).await
}

/// Measures the service, for Prometheus.
pub async fn metrics(State(app): State<App>, headers: HeaderMap) -> Response {
    let text = |session: &mut _| prometheus_text(&measures::measure_service(session)?);
    match ask(&app, &headers, RequestEffect::Reads, text).await {
        Ok((text, reply)) => {
            let kind = [(CONTENT_TYPE, "text/plain; version=0.0.4")];
            with_reply((kind, text).into_response(), reply)
        }
        Err(error) => problem::tell(&error, Names::Request),
    }
}

/// Tells whether the service works, to whoever asks.
pub async fn health(State(app): State<App>) -> Response {
    match blocking(&app, |app| Ok(measures::list_ailments(&app.desk))).await {
        Ok(ailments) => {
            let status =
                if ailments.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let word = if ailments.is_empty() { "pass" } else { "fail" };
            (status, Json(json!({ "status": word, "notes": ailments }))).into_response()
        }
        Err(error) => problem::tell(&error, Names::Request),
    }
}
