//! Has a use case answer a request, and writes down what it says.

use anyhow::Result;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, WWW_AUTHENTICATE,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::http::App;
use crate::http::problem::{self, Names};
use invirtibuilder_api::login::FORGERY_HEADER;
use invirtibuilder_core::error::Error;
use invirtibuilder_core::text::{hex, one_line};
use invirtibuilder_service::Session;
use invirtibuilder_service::login::{Credentials, Known, RequestEffect, identify};

/// The query of a request. One that is not valid is refused as every other request.
pub struct AskedQuery<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for AskedQuery<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let read = Query::from_request_parts(parts, state).await;
        let read: Result<_, QueryRejection> = read;
        read.map(|Query(asked)| Self(asked))
            .map_err(|error| refuse("the query", &error.body_text()))
    }
}

/// The JSON of a request. A body that is not valid is refused as every other request.
pub struct SentJson<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for SentJson<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let read: Result<_, JsonRejection> = Json::from_request(request, state).await;
        read.map(|Json(sent)| Self(sent)).map_err(|error| refuse("the body", &error.body_text()))
    }
}

/// Whose tokens a request is about.
#[derive(Debug, Deserialize)]
pub struct TokenOwner {
    /// The principal; `None`: the caller.
    #[serde(rename = "for")]
    pub principal: Option<String>,
}

/// Reads what a request says of who asks.
pub fn credentials(headers: &HeaderMap) -> Credentials {
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    Credentials {
        authorization: headers.get(AUTHORIZATION).and_then(text),
        forgery: headers.get(FORGERY_HEADER).and_then(text),
    }
}

/// Does work that waits for the record or for files, away from the threads that serve connections.
pub async fn blocking<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&App) -> Result<T> + Send + 'static,
) -> Result<T> {
    let turn = app.turns.clone().acquire_owned().await?;
    let app = app.clone();
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work(&app)
    });
    done.await.map_err(|_| Error::bug("the request was not served to its end"))?
}

/// Has a use case answer somebody who is known.
pub async fn ask<T: Send + 'static>(
    app: &App,
    headers: &HeaderMap,
    effect: RequestEffect,
    work: impl FnOnce(&mut Session) -> Result<T> + Send + 'static,
) -> Result<(T, Option<String>)> {
    let credentials = credentials(headers);
    blocking(app, move |app| {
        let Known { caller, reply } = identify(&app.desk, &credentials, effect)?;
        let mut session = app.desk.session(&caller)?;
        if effect == RequestEffect::Reads {
            session.demand(invirtibuilder_api::tokens::TokenVerb::Read, None)?;
        }
        Ok((work(&mut session)?, reply))
    })
    .await
}

/// Answers a request that changes nothing with JSON and its ETag.
pub async fn read<T: Serialize + Send + 'static>(
    app: App,
    headers: HeaderMap,
    names: Names,
    work: impl FnOnce(&mut Session) -> Result<T> + Send + 'static,
) -> Response {
    let text = move |session: &mut Session| Ok(serde_json::to_vec(&work(session)?)?);
    match ask(&app, &headers, RequestEffect::Reads, text).await {
        Ok((text, reply)) => with_reply(json(&headers, text), reply),
        Err(error) => problem::tell(&error, names),
    }
}

/// Answers a request that changes something.
pub async fn change<T: Serialize + Send + 'static>(
    app: App,
    headers: HeaderMap,
    names: Names,
    status: StatusCode,
    work: impl FnOnce(&mut Session) -> Result<T> + Send + 'static,
) -> Response {
    let text = move |session: &mut Session| Ok(serde_json::to_vec(&work(session)?)?);
    match ask(&app, &headers, RequestEffect::Changes, text).await {
        Ok((text, reply)) => {
            let content = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
            with_reply((status, content, text).into_response(), reply)
        }
        Err(error) => problem::tell(&error, names),
    }
}

/// Writes JSON, unless the client has the same already.
fn json(headers: &HeaderMap, text: Vec<u8>) -> Response {
    let tag = format!("\"{}\"", &hex(&Sha256::digest(&text))[..32]);
    let has = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_same = has.is_some_and(|has| has.split(',').any(|one| one.trim() == tag));
    let body = if is_same { Body::empty() } else { Body::from(text) };
    let mut response = Response::new(body);
    if is_same {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        let kind = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

/// Adds what the client's GSS-API is to be told.
pub fn with_reply(mut response: Response, reply: Option<String>) -> Response {
    let value = reply.and_then(|it| HeaderValue::from_str(&format!("Negotiate {it}")).ok());
    if let Some(value) = value {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    response
}

fn refuse(what: &str, why: &str) -> Response {
    let text = format!("{what} is not valid: {}; see /api/v1/openapi.json", one_line(why));
    problem::tell(&Error::usage(text).into(), Names::Request)
}
