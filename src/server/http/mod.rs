//! HTTP: reads who asks and what for, has a use case answer, and writes its result as JSON.
//!
//! Whoever connects is believed nothing: each request carries the ticket, the session or the token
//! by which it is served.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};

mod answer;
mod change;
mod events;
mod kept;
mod log;
mod openapi;
mod problem;
mod pulse;
mod read;
mod session;

use crate::http::kept::KeptAnswers;
use invirtibuilder_api::browse::Statistics;
use invirtibuilder_service::desk::Desk;

/// The longest body of a request, in bytes.
const LONGEST_BODY: usize = 64 << 10;

/// The requests that work with the record at a time; others wait.
const AT_ONCE: usize = 8;

/// The streams that are open at a time.
const STREAMS: usize = 2000;

/// What all requests share.
#[derive(Clone)]
pub struct App {
    desk: Arc<Desk>,
    /// The requests that may work with the record now.
    turns: Arc<Semaphore>,
    /// The streams that may be opened now.
    streams: Arc<Semaphore>,
    /// Another number after every change of the record.
    pulse: watch::Receiver<u64>,
    /// Counts for plots, by the number of days.
    plots: Arc<KeptAnswers<i64, Statistics>>,
    /// What an operator should know of the signing keys.
    warnings: Arc<KeptAnswers<(), Vec<String>>>,
}

/// Answers at a socket until the process ends.
pub async fn serve(listener: UnixListener, desk: Arc<Desk>) -> Result<()> {
    let app = App {
        pulse: pulse::feel(&desk)?,
        desk,
        turns: Arc::new(Semaphore::new(AT_ONCE)),
        streams: Arc::new(Semaphore::new(STREAMS)),
        plots: Arc::default(),
        warnings: Arc::default(),
    };
    Ok(axum::serve(listener, routes(app)).await?)
}

/// How long a client may keep a stream for which it does not authenticate again.
const LONGEST_STREAM: Duration = Duration::from_secs(3600);

fn routes(app: App) -> Router {
    let v1 = Router::new()
        .route("/session", post(session::begin).delete(session::end))
        .route("/whoami", get(read::whoami))
        .route("/overview", get(read::overview))
        .route("/events", get(events::of_all))
        .route("/jobs", get(read::jobs))
        .route("/jobs/{job}", get(read::job))
        .route("/jobs/{job}/explain", get(read::explain))
        .route("/jobs/{job}/changes", get(read::changes))
        .route("/jobs/{job}/attempts", get(read::attempts))
        .route("/jobs/{job}/log", get(log::of_attempt))
        .route("/jobs/{job}/events", get(events::of_job))
        .route("/jobs/{job}/cancel", post(change::cancel))
        .route("/jobs/{job}/retry", post(change::retry))
        .route("/packages", get(read::packages).post(change::create_package))
        .route("/packages/{package}", get(read::package))
        .route("/packages/{package}/history", get(read::history))
        .route("/pockets", get(read::pockets))
        .route("/pockets/{pocket}/snapshots", get(read::snapshots))
        .route("/pockets/{pocket}/snapshots/{older}/{newer}", get(read::snapshot_changes))
        .route("/differences", get(read::differences))
        .route("/search", get(read::search))
        .route("/statistics", get(read::statistics))
        .route("/submissions", post(change::submit))
        .route("/promotions", post(change::promote))
        .route("/rebuilds", post(change::rebuild))
        .route("/removals", post(change::remove))
        .route("/tokens", get(read::tokens))
        .route("/tokens/{name}", delete(change::revoke_token))
        .route("/openapi.json", get(openapi::answer))
        .fallback(problem::no_such_place);
    Router::new()
        .nest("/api/v1", v1)
        .route("/metrics", get(read::metrics))
        .route("/healthz", get(read::health))
        .fallback(problem::no_such_place)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .with_state(app)
}
