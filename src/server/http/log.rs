//! Build logs as they are on disk: whole, or a range of bytes (RFC 9110 section 14).

use std::io::SeekFrom;
use std::path::PathBuf;

use anyhow::Result;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, Response, StatusCode};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::http::App;
use crate::http::answer::{AskedQuery, ask};
use crate::http::problem::{self, Names};
use invirtibuilder_core::error::Error;
use invirtibuilder_service::browse::attempt_log;
use invirtibuilder_service::login::RequestEffect;

/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;

/// Which attempt's log somebody wants.
#[derive(Debug, Deserialize)]
pub struct WhichLog {
    attempt: Option<i64>,
}

/// A log that was found.
struct FoundLog {
    path: PathBuf,
    attempt: i64,
    /// Whether it may still grow.
    grows: bool,
}

/// Sends the log of an attempt of a job: the last one's, unless another is named.
pub async fn of_attempt(
    State(app): State<App>,
    Path(job): Path<String>,
    headers: HeaderMap,
    AskedQuery(which): AskedQuery<WhichLog>,
) -> Response<Body> {
    let found = ask(&app, &headers, RequestEffect::Reads, move |session| {
        let job = session.job(&job)?;
        let attempt = which.attempt.unwrap_or(job.attempt);
        let path = attempt_log(session, &job, attempt).ok_or_else(|| {
            Error::invalid(format!("job {} has no log of attempt {attempt}", job.id))
        })?;
        Ok(FoundLog { path, attempt, grows: attempt == job.attempt && !job.state.is_end() })
    });
    let sent = match found.await {
        Ok((log, _)) => send(&log, &headers).await,
        Err(error) => Err(error),
    };
    sent.unwrap_or_else(|error| problem::tell(&error, Names::Place))
}

/// What part of a log is sent.
#[derive(Debug, PartialEq, Eq)]
enum RangeAsked {
    Whole,
    Range(u64, u64),
    None,
}

/// Reads the header `Range`. One that is not understood is no range; neither are several.
fn part(range: Option<&str>, length: u64) -> RangeAsked {
    let Some(range) = range.and_then(|range| range.strip_prefix("bytes=")) else {
        return RangeAsked::Whole;
    };
    let Some((first, last)) = range.split_once('-').filter(|_| !range.contains(',')) else {
        return RangeAsked::Whole;
    };
    let (first, last) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.min(length.saturating_sub(1))),
        (Ok(first), Err(_)) if last.is_empty() => (first, length.saturating_sub(1)),
        (Err(_), Ok(many)) if first.is_empty() && many > 0 => {
            (length.saturating_sub(many), length.saturating_sub(1))
        }
        _ => return RangeAsked::Whole,
    };
    if first < length { RangeAsked::Range(first, last) } else { RangeAsked::None }
}

async fn send(log: &FoundLog, headers: &HeaderMap) -> Result<Response<Body>> {
    let mut file = tokio::fs::File::open(&log.path).await?;
    let length = file.metadata().await?.len();
    let tag = format!("\"{}-{length}\"", log.attempt);
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let response = Response::builder()
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(ACCEPT_RANGES, "bytes")
        .header(CACHE_CONTROL, "private, no-cache")
        .header(ETAG, &tag);
    if !log.grows && text(IF_NONE_MATCH) == Some(&tag) {
        return Ok(response.status(StatusCode::NOT_MODIFIED).body(Body::empty())?);
    }
    let (response, first, many) = match part(text(RANGE), length) {
        RangeAsked::Whole => (response, 0, length),
        RangeAsked::Range(first, last) => {
            let range = format!("bytes {first}-{last}/{length}");
            let response =
                response.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, range);
            (response, first, last - first + 1)
        }
        RangeAsked::None => {
            let response = response.status(StatusCode::RANGE_NOT_SATISFIABLE);
            let response = response.header(CONTENT_RANGE, format!("bytes */{length}"));
            return Ok(response.body(Body::empty())?);
        }
    };
    file.seek(SeekFrom::Start(first)).await?;
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(many), PIECE));
    Ok(response.header(CONTENT_LENGTH, many).body(body)?)
}

#[cfg(test)]
mod tests {
    use crate::http::log::*;

    #[test]
    fn ranges_are_those_of_the_rfc() {
        let of = |range| part(Some(range), 100);
        assert_eq!(part(None, 100), RangeAsked::Whole);
        assert_eq!(of("bytes=0-9"), RangeAsked::Range(0, 9));
        assert_eq!(of("bytes=90-"), RangeAsked::Range(90, 99));
        assert_eq!(of("bytes=90-200"), RangeAsked::Range(90, 99));
        assert_eq!(of("bytes=-10"), RangeAsked::Range(90, 99));
        assert_eq!(of("bytes=-1000"), RangeAsked::Range(0, 99));
        assert_eq!(of("bytes=100-"), RangeAsked::None);
        for odd in ["bytes=9-0", "bytes=a-b", "lines=0-9", "bytes=0-9,20-29", "bytes=-", "bytes=-0"]
        {
            assert_eq!(of(odd), RangeAsked::Whole, "{odd}");
        }
        assert_eq!(part(Some("bytes=0-9"), 0), RangeAsked::None);
    }
}
