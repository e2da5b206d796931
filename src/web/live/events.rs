//! The pages at which browsers follow.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use invirtibuilder_api::events::LogState;
use invirtibuilder_core::names::JobId;

use crate::live::follower::LiveFollower;
use crate::live::hub::{LogPosition, Topic, last_place};
use crate::refusal::Refused;
use crate::visit::Visit;

/// From where on a follower wants the log.
#[derive(Debug, Deserialize)]
pub struct FollowFrom {
    attempt: Option<i64>,
    offset: Option<u64>,
}

impl FollowFrom {
    /// Returns the place; what the browser says that it has counts more than what its page said.
    fn place(&self, headers: &HeaderMap) -> Option<LogPosition> {
        let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
        let seen = last.and_then(|id| {
            let (attempt, byte) = id.split_once(':')?;
            Some(LogPosition { attempt: attempt.parse().ok()?, byte: byte.parse().ok()? })
        });
        let asked = LogPosition { attempt: self.attempt?, byte: self.offset.unwrap_or(0) };
        Some(seen.unwrap_or(asked))
    }
}

/// Lets a browser follow a job.
pub async fn job(
    visit: Visit,
    Path(job): Path<String>,
    Query(from): Query<FollowFrom>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let Ok(job) = job.parse::<JobId>() else {
        return Err(visit.nothing("there is no such job: use a number"));
    };
    let topic = Topic::Job(job);
    let attempts =
        match visit.app.upstream.get::<Vec<LogState>>(&visit.credentials, &topic.right()).await {
            Ok(attempts) => attempts,
            Err(problem) => return Ok(silent(problem.status)),
        };
    let rights = Arc::new(visit.credentials.clone());
    let place = from.place(&headers).filter(|place| place.attempt > 0);
    let now_at = last_place(&attempts);
    Ok(sent(LiveFollower::new(visit.app, topic, rights, place, now_at)))
}

/// Lets a browser follow all jobs.
pub async fn changes(visit: Visit) -> Response {
    let topic = Topic::Changes;
    if let Err(problem) = visit.app.upstream.get::<Value>(&visit.credentials, &topic.right()).await
    {
        return silent(problem.status);
    }
    let rights = Arc::new(visit.credentials.clone());
    let start = LogPosition { attempt: 1, byte: 0 };
    sent(LiveFollower::new(visit.app, topic, rights, None, start))
}

/// A script asks: a status says enough.
fn silent(status: u16) -> Response {
    StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY).into_response()
}

fn sent(follower: LiveFollower) -> Response {
    let events = stream::unfold(follower, |mut follower| async move {
        let bytes = follower.next().await?;
        Some((Ok::<Bytes, std::io::Error>(bytes), follower))
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx keeps answers back until they are long, unless it is told.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}
