//! Pages that say why something was not done.

use askama::Template;
use axum::response::{IntoResponse, Response};

use invirtibuilder_api::problem::Problem;

use crate::frame::Frame;

/// A request that was not served, and the answer that says why.
#[derive(Debug)]
pub struct Refused(pub Box<Response>);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// The page that says why.
#[derive(Template)]
#[template(path = "refused.html")]
pub struct RefusedPage {
    /// The frame.
    pub frame: Frame,
    /// What the API says.
    pub problem: Problem,
    /// The command that would do the same.
    pub command: Option<String>,
}
