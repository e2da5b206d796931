//! Errors, as HTTP tells them (RFC 9457).

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use invirtibuilder_api::problem::Problem;
use invirtibuilder_core::error::{Error, Exit, exit_for};
use invirtibuilder_core::text::one_line;
use invirtibuilder_service::login::Unauthenticated;

/// What an address that names something means if there is no such thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// The address names it: it is not there.
    Place,
    /// The request names it: the request is not valid.
    Request,
}

/// Tells an error.
pub fn tell(error: &anyhow::Error, names: Names) -> Response {
    let detail = one_line(&format!("{error:#}"));
    if error.downcast_ref::<Unauthenticated>().is_some() {
        return describe(StatusCode::UNAUTHORIZED, Exit::Denied, detail);
    }
    let exit = exit_for(error);
    let status = match exit {
        Exit::Denied => StatusCode::FORBIDDEN,
        Exit::Usage => StatusCode::BAD_REQUEST,
        Exit::Invalid if names == Names::Place => StatusCode::NOT_FOUND,
        Exit::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Exit::TryAgain | Exit::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Exit::Ok | Exit::JobFailed | Exit::Bug | Exit::Config => StatusCode::INTERNAL_SERVER_ERROR,
    };
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(what = "a request by HTTP failed", why = detail, "trouble");
    }
    describe(status, exit, detail)
}

fn describe(status: StatusCode, exit: Exit, detail: String) -> Response {
    let problem = Problem {
        kind: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or_default().to_owned(),
        status: status.as_u16(),
        detail,
        exit: exit as u8,
    };
    let mut response = (status, Json(problem)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Negotiate"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

/// Answers what no route answers.
pub async fn no_such_place() -> Response {
    let text = "there is nothing at this address: /api/v1/openapi.json lists what there is";
    tell(&Error::invalid(text).into(), Names::Place)
}

/// Answers a method that a route does not know.
pub async fn no_such_method() -> Response {
    let text =
        "this address does not know the method: /api/v1/openapi.json lists those that it knows";
    describe(StatusCode::METHOD_NOT_ALLOWED, Exit::Usage, text.to_owned())
}
