//! One request for a page: who asks, by which way, and what the frame of the page needs.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;

use invirtibuilder_api::problem::Problem;
use invirtibuilder_core::names::JobId;
use invirtibuilder_core::time::now;

use crate::app::WebApp;
use crate::arrival::{Arrival, Forged};
use crate::credentials::{CookieScope, VisitorCredentials};
use crate::frame::{Frame, Tab};
use crate::html::page;
use crate::refusal::{Refused, RefusedPage};
use crate::upstream::problem;

/// One request for a page.
pub struct Visit {
    /// What all requests share.
    pub app: Arc<WebApp>,
    /// What the visitor shows.
    pub credentials: VisitorCredentials,
    /// The way by which the request has come.
    pub arrival: Arrival,
    /// Whether a page of somebody else has sent the request.
    pub forged: Forged,
    /// The frame of the page.
    pub frame: Frame,
    /// The path and query of the page, below our prefix.
    pub here: String,
}

impl Visit {
    /// Gets the value at a path of the API, by the rights of the visitor.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Refused> {
        let answer = self.app.upstream.get(&self.credentials, path).await;
        answer.map_err(|problem| self.refuse(problem))
    }

    /// Gets a value; `None`: there is none.
    pub async fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Refused> {
        match self.app.upstream.get(&self.credentials, path).await {
            Ok(value) => Ok(Some(value)),
            Err(problem) if problem.status == 404 => Ok(None),
            Err(problem) => Err(self.refuse(problem)),
        }
    }

    /// Has the API change something, by the rights of the visitor.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        value: &impl Serialize,
    ) -> Result<T, Problem> {
        self.app.upstream.post(&self.credentials, path, value).await
    }

    /// Has the API delete something, by the rights of the visitor.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        self.app.upstream.delete(&self.credentials, path).await
    }

    /// Makes the frame of this page.
    pub fn frame(&self, title: impl Into<String>, tab: Tab) -> Frame {
        Frame { title: title.into(), tab, ..self.frame.clone() }
    }

    /// Returns where the cookie holds.
    pub fn cookie(&self) -> CookieScope<'_> {
        CookieScope { prefix: &self.app.settings.prefix, scheme: self.arrival.scheme }
    }

    /// Turns what the API says into the page that says it.
    pub fn refuse(&self, problem: Problem) -> Refused {
        let frame = self.frame("Not done", Tab::None);
        if problem.status == 401 {
            return Refused(Box::new(self.sign_in(problem)));
        }
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let frame = Frame { title: problem.title.clone(), ..frame };
        Refused(Box::new(page(status, &RefusedPage { frame, problem, command: None })))
    }

    /// Sends somebody who is not signed in to where they can be, and back here.
    fn sign_in(&self, _: Problem) -> Response {
        let query = serde_urlencoded::to_string([("next", &self.here)]).unwrap_or_default();
        let mut response = Redirect::to(&self.frame.at(&format!("/login?{query}"))).into_response();
        if self.credentials != VisitorCredentials::Nothing {
            self.cookie().forget(response.headers_mut());
        }
        response
    }

    /// Reads the number of a job from a path.
    pub fn job(&self, text: &str) -> Result<JobId, Refused> {
        let wrong = "there is no such job: the number of a job is what submit prints";
        text.parse().map_err(|_| self.nothing(wrong))
    }

    /// Says that there is no such page.
    pub fn nothing(&self, what: &str) -> Refused {
        self.refuse(problem(StatusCode::NOT_FOUND, 65, what))
    }
}

impl FromRequestParts<Arc<WebApp>> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<WebApp>) -> Result<Self, Response> {
        let Some(arrival) = parts.extensions.get::<Arrival>().cloned() else {
            return Err(StatusCode::INTERNAL_SERVER_ERROR.into_response());
        };
        let prefix = &app.settings.prefix;
        let scope = CookieScope { prefix, scheme: arrival.scheme };
        let credentials = scope.read(&parts.headers);
        let (who, trouble) = match app.whose(&credentials).await {
            Ok(who) => (who, None),
            Err(problem) => (None, Some(problem)),
        };
        let forgery = match &credentials {
            VisitorCredentials::Session(session) if who.is_some() => Some(session.forgery()),
            VisitorCredentials::Session(_) | VisitorCredentials::Nothing => None,
        };
        let frame = Frame {
            title: String::new(),
            tab: Tab::None,
            prefix: prefix.clone(),
            who,
            forgery,
            now: now(),
            server: arrival.server(&app.settings).to_owned(),
            query: String::new(),
        };
        let here = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let forged = arrival.forged(&app.settings, &parts.headers);
        let visit = Self { app: app.clone(), credentials, arrival, forged, frame, here };
        match trouble {
            Some(problem) => Err(visit.refuse(problem).into_response()),
            None => Ok(visit),
        }
    }
}
