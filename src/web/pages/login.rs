//! Signing in with a ticket, and signing out.
//!
//! A browser shows its ticket when it is asked for it, here and nowhere else: from then on its
//! cookie says who it is. A profile that has never been used does not answer the first time, so
//! the page asks it once more by itself.

use askama::Template;
use axum::Form;
use axum::extract::Query;
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;

use invirtibuilder_api::login::NewLogin;
use invirtibuilder_core::time::now;

use axum::body::Body;

use crate::credentials::{CookieSession, VisitorCredentials};
use crate::frame::{Frame, Tab};
use crate::html::page;
use crate::pages::steer::ButtonForm;
use crate::refusal::Refused;
use crate::upstream::{problem, request, whole};
use crate::visit::Visit;

/// The longest answer to a login, in bytes.
const MAX_LOGIN: usize = 64 << 10;

/// Where somebody comes from who signs in.
#[derive(Debug, Deserialize)]
pub struct LoginAsked {
    next: Option<String>,
    again: Option<String>,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
    /// Where the page goes by itself, if it was not asked twice yet.
    again: Option<String>,
    next: String,
    trouble: Option<String>,
}

#[derive(Template)]
#[template(path = "logout.html")]
struct LogoutPage {
    frame: Frame,
}

/// Takes only a path of our own, as everything else could be somebody's trap.
fn local(next: Option<&str>) -> &str {
    let plain = |c: u8| c.is_ascii_graphic() && c != b'\\';
    match next {
        Some(next)
            if next.starts_with('/') && !next.starts_with("//") && next.bytes().all(plain) =>
        {
            next
        }
        Some(_) | None => "/",
    }
}

/// Signs somebody in.
pub async fn login(
    visit: Visit,
    Query(asked): Query<LoginAsked>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let next = local(asked.next.as_deref()).to_owned();
    let Some(ticket) = headers.get(AUTHORIZATION) else {
        return Ok(ask(&visit, next, asked.again.is_some(), None, None));
    };
    let nobody = VisitorCredentials::Nothing;
    let request = request(Method::POST, &nobody, "/api/v1/session", Body::empty());
    let mut request = request.map_err(|problem| visit.refuse(problem))?;
    request.headers_mut().insert(AUTHORIZATION, ticket.clone());
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let answer = visit.app.upstream.send(request).await;
    let answer = answer.map_err(|problem| visit.refuse(problem))?;
    let said = answer.headers().get(WWW_AUTHENTICATE).cloned();
    let status = answer.status();
    let body = whole(answer, MAX_LOGIN).await.map_err(|problem| visit.refuse(problem))?;
    if status != StatusCode::CREATED {
        let told = serde_json::from_slice(&body)
            .unwrap_or_else(|_| problem(status, 70, "the service gives no reason"));
        if status != StatusCode::UNAUTHORIZED {
            return Err(visit.refuse(told));
        }
        return Ok(ask(&visit, next, true, said, Some(told.detail)));
    }
    let wrong =
        || problem(StatusCode::BAD_GATEWAY, 70, "the service's answer to the login cannot be read");
    let login: Result<NewLogin, _> = serde_json::from_slice(&body);
    let login = login.map_err(|_| visit.refuse(wrong()))?;
    let session = CookieSession::new(&login.secret).ok_or_else(|| visit.refuse(wrong()))?;
    visit.app.remember(&session, login.principal);
    let mut response = Redirect::to(&visit.frame.at(&next)).into_response();
    response.headers_mut().extend(said.map(|said| (WWW_AUTHENTICATE, said)));
    visit.cookie().keep(response.headers_mut(), &session, (login.expires - now()) / 1000);
    Ok(response)
}

/// Asks for a ticket.
fn ask(
    visit: &Visit,
    next: String,
    is_again: bool,
    said: Option<HeaderValue>,
    trouble: Option<String>,
) -> Response {
    let query = serde_urlencoded::to_string([("again", "1"), ("next", &next)]).unwrap_or_default();
    let again = (!is_again).then(|| visit.frame.at(&format!("/login?{query}")));
    let frame = visit.frame("Sign in", Tab::None);
    let shown = LoginPage { frame, again, next, trouble };
    let mut response = page(StatusCode::UNAUTHORIZED, &shown);
    let negotiate = said.unwrap_or_else(|| HeaderValue::from_static("Negotiate"));
    response.headers_mut().insert(WWW_AUTHENTICATE, negotiate);
    response
}

/// Asks whether somebody wants to sign out.
#[allow(clippy::unused_async, reason = "handlers are")]
pub async fn leave(visit: Visit) -> Response {
    if visit.frame.who.is_none() {
        return Redirect::to(&visit.frame.at("/")).into_response();
    }
    page(StatusCode::OK, &LogoutPage { frame: visit.frame("Sign out", Tab::None) })
}

/// Signs somebody out: the API forgets the session, and so does the browser.
pub async fn logout(visit: Visit, Form(form): Form<ButtonForm>) -> Result<Response, Refused> {
    visit.is_ours(&form.forgery)?;
    if let VisitorCredentials::Session(session) = &visit.credentials {
        visit.app.forget(session);
        let request = request(Method::DELETE, &visit.credentials, "/api/v1/session", Body::empty());
        let request = request.map_err(|problem| visit.refuse(problem))?;
        let answer = visit.app.upstream.send(request).await;
        let answer = answer.map_err(|problem| visit.refuse(problem))?;
        let status = answer.status();
        // One that has ended already is as good.
        if !status.is_success() && status != StatusCode::UNAUTHORIZED {
            let text = "the session has not ended: try again";
            return Err(visit.refuse(problem(status, 75, text)));
        }
    }
    let mut response = Redirect::to(&visit.frame.at("/")).into_response();
    visit.cookie().forget(response.headers_mut());
    Ok(response)
}

#[cfg(test)]
mod tests {
    use crate::pages::login::*;

    #[test]
    fn only_paths_of_our_own_are_gone_to() {
        for good in ["/", "/jobs/7?attempt=2", "/packages/libfoo+"] {
            assert_eq!(local(Some(good)), good);
        }
        for trap in [
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "evil",
            "",
            "/a\r\nb",
            "/\t/x",
        ] {
            assert_eq!(local(Some(trap)), "/", "{trap:?}");
        }
        assert_eq!(local(None), "/");
    }
}
