//! Signs people in and out.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::http::App;
use crate::http::answer::{blocking, credentials, with_reply};
use crate::http::problem::{self, Names};
use invirtibuilder_service::login::{begin_login, end_login};

/// Begins a session with a ticket.
pub async fn begin(State(app): State<App>, headers: HeaderMap) -> Response {
    let credentials = credentials(&headers);
    match blocking(&app, move |app| begin_login(&app.desk, &credentials)).await {
        Ok((login, reply)) => with_reply((StatusCode::CREATED, Json(login)).into_response(), reply),
        Err(error) => problem::tell(&error, Names::Request),
    }
}

/// Ends the session that the request names.
pub async fn end(State(app): State<App>, headers: HeaderMap) -> Response {
    let credentials = credentials(&headers);
    match blocking(&app, move |app| end_login(&app.desk, &credentials)).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => problem::tell(&error, Names::Request),
    }
}
