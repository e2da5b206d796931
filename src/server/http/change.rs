//! Requests that change something.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::http::App;
use crate::http::answer::{AskedQuery, SentJson, TokenOwner, change};
use crate::http::problem::Names;
use invirtibuilder_api::pocket::RemoveRequest;
use invirtibuilder_api::submit::{Preview, Promotion, Rebuild, Submission, Submitted};
use invirtibuilder_api::tokens::TokenRevocation;
use invirtibuilder_service::{
    Session, cancel as stop, create_repo, remove as removal, retry as again, submit as bring,
    tokens,
};

/// How a submission is made.
#[derive(Debug, Deserialize)]
pub struct Trial {
    /// Whether it is only said what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// What a submission comes to.
#[derive(Serialize)]
#[serde(untagged)]
enum Brought {
    Preview(Box<Preview>),
    Submitted(Box<Submitted>),
}

/// The use case that says what a wish would come to, and the one that fulfils it.
type Ways<T> = (
    fn(&mut Session, &T) -> anyhow::Result<Preview>,
    fn(&mut Session, &T) -> anyhow::Result<Submitted>,
);

/// Makes a submission, or says what it would come to.
async fn bring_in<T: Send + 'static>(
    app: App,
    headers: HeaderMap,
    trial: Trial,
    wish: T,
    (preview, submit): Ways<T>,
) -> Response {
    let status = if trial.dry_run { StatusCode::OK } else { StatusCode::CREATED };
    change(app, headers, Names::Request, status, move |session| {
        Ok(if trial.dry_run {
            Brought::Preview(Box::new(preview(session, &wish)?))
        } else {
            Brought::Submitted(Box::new(submit(session, &wish)?))
        })
    })
    .await
}

/// Submits a commit.
pub async fn submit(
    State(app): State<App>,
    headers: HeaderMap,
    AskedQuery(trial): AskedQuery<Trial>,
    SentJson(wish): SentJson<Submission>,
) -> Response {
    bring_in(app, headers, trial, wish, (bring::preview_submission, bring::submit_commit)).await
}

/// Submits what another pocket has.
pub async fn promote(
    State(app): State<App>,
    headers: HeaderMap,
    AskedQuery(trial): AskedQuery<Trial>,
    SentJson(wish): SentJson<Promotion>,
) -> Response {
    bring_in(app, headers, trial, wish, (bring::preview_promotion, bring::promote_package)).await
}

/// Builds once more what a pocket has.
pub async fn rebuild(
    State(app): State<App>,
    headers: HeaderMap,
    AskedQuery(trial): AskedQuery<Trial>,
    SentJson(wish): SentJson<Rebuild>,
) -> Response {
    bring_in(app, headers, trial, wish, (bring::preview_rebuild, bring::rebuild_package)).await
}

/// Takes a package out of a pocket.
pub async fn remove(
    State(app): State<App>,
    headers: HeaderMap,
    SentJson(wish): SentJson<RemoveRequest>,
) -> Response {
    change(app, headers, Names::Request, StatusCode::OK, move |session| {
        // What is not complete yet is owed: the daemon goes on with it.
        Ok(removal::remove_package(session, &wish)?.change)
    })
    .await
}

/// Stops a job.
pub async fn cancel(
    State(app): State<App>,
    Path(job): Path<String>,
    headers: HeaderMap,
) -> Response {
    let work = move |session: &mut _| stop::cancel_job(session, job.parse()?);
    change(app, headers, Names::Request, StatusCode::OK, work).await
}

/// Queues a job again.
pub async fn retry(
    State(app): State<App>,
    Path(job): Path<String>,
    headers: HeaderMap,
) -> Response {
    let work = move |session: &mut _| again::retry_job(session, job.parse()?);
    change(app, headers, Names::Request, StatusCode::OK, work).await
}

/// The package that somebody wants a repository for.
#[derive(Debug, Deserialize)]
pub struct NewPackage {
    package: String,
}

/// Creates a repository.
pub async fn create_package(
    State(app): State<App>,
    headers: HeaderMap,
    SentJson(wish): SentJson<NewPackage>,
) -> Response {
    let work = move |session: &mut _| create_repo::create_repository(session, &wish.package);
    change(app, headers, Names::Request, StatusCode::CREATED, work).await
}

/// Ends a token. None is made here: it would outlive the ticket or session of whoever asks, and so
/// the time for which somebody who listens between browser and service can use those.
pub async fn revoke_token(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    AskedQuery(owner): AskedQuery<TokenOwner>,
) -> Response {
    change(app, headers, Names::Place, StatusCode::OK, move |session| {
        let revocation = TokenRevocation { name: name.parse()?, principal: owner.principal };
        tokens::revoke_token(session, &revocation)
    })
    .await
}
