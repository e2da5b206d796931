//! Requests to the API, which pass as they are.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HOST,
    HeaderName, ORIGIN, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::Limited;

use invirtibuilder_api::problem::Problem;

use crate::app::WebApp;
use crate::arrival::{Arrival, Forged, changes};
use crate::credentials::{CookieScope, VisitorCredentials};
use crate::upstream::problem;

/// The longest body of a request, in bytes.
pub const MAX_REQUEST: usize = 1 << 20;

/// What is between two neighbours only, and what is ours alone.
const NOT_PASSED: [HeaderName; 11] = [
    CONNECTION,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    COOKIE,
    ORIGIN,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("proxy-connection"),
];

/// Passes a request to the API, and its answer back.
pub async fn relay(State(app): State<Arc<WebApp>>, request: Request) -> Response {
    match pass(&app, request).await {
        Ok(response) => response,
        Err(problem) => told(&problem),
    }
}

async fn pass(app: &WebApp, request: Request) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let arrival = parts.extensions.get::<Arrival>().cloned().ok_or_else(|| {
        problem(StatusCode::INTERNAL_SERVER_ERROR, 70, "nobody has looked at where this comes from")
    })?;
    // A browser may add a ticket by itself, which needs no token against forgery.
    if changes(&parts.method) && arrival.forged(&app.settings, &parts.headers) == Forged::Yes {
        return Err(problem(
            StatusCode::FORBIDDEN,
            77,
            "another site's page has sent this: do it from a page of the service",
        ));
    }
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if length
        .is_some_and(|length| length.parse().map_or(true, |length: usize| length > MAX_REQUEST))
    {
        return Err(problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            65,
            "the request is longer than 1 MiB: no request of the API is",
        ));
    }
    let scope = CookieScope { prefix: &app.settings.prefix, scheme: arrival.scheme };
    let credentials = scope.read(&parts.headers);
    strip(&mut parts.headers);
    // Only the API says who somebody is, and nobody tells it but by these.
    parts.headers.remove("x-forwarded-for");
    if !parts.headers.contains_key(AUTHORIZATION) {
        if let VisitorCredentials::Session(session) = &credentials {
            parts.headers.insert(AUTHORIZATION, session.bearer());
        }
    }
    let address = HeaderValue::from_str(&arrival.address.to_string());
    parts.headers.extend(address.ok().map(|a| (HeaderName::from_static("x-forwarded-for"), a)));
    parts.extensions = http::Extensions::new();
    let request = Request::from_parts(parts, Body::new(Limited::new(body, MAX_REQUEST)));
    let (mut parts, body) = app.upstream.send(request).await?.into_parts();
    strip(&mut parts.headers);
    parts.headers.remove(SET_COOKIE);
    parts.headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let nothing = HeaderValue::from_static("default-src 'none'; sandbox; frame-ancestors 'none'");
    parts.headers.insert(CONTENT_SECURITY_POLICY, nothing);
    Ok(Response::from_parts(parts, Body::new(body)))
}

/// Removes what is not passed on.
fn strip(headers: &mut HeaderMap) {
    let named = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> = named
        .flat_map(|list| list.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&NOT_PASSED) {
        headers.remove(name);
    }
}

/// Tells a problem of our own as the API tells its own.
fn told(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let body = serde_json::to_vec(problem).unwrap_or_default();
    (status, [(CONTENT_TYPE, "application/problem+json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use crate::relay::*;

    #[test]
    fn what_is_between_neighbours_is_not_passed_on() {
        let pairs = [
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("cookie", "a=b"),
            ("te", "trailers"),
            ("host", "h"),
            ("range", "bytes=1-2"),
            ("accept", "*/*"),
        ];
        let mut headers: HeaderMap = pairs
            .iter()
            .map(|(k, v)| (k.parse::<HeaderName>().unwrap(), v.parse().unwrap()))
            .collect();
        strip(&mut headers);
        let left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["range", "accept"]);
    }
}
