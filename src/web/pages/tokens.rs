//! The visitor's tokens. They are made over remctl alone; here they are seen and ended.

use askama::Template;
use axum::Form;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;

use invirtibuilder_api::tokens::Token;
use invirtibuilder_core::names::TokenName;

use crate::frame::{Frame, Tab};
use crate::html::page;
use crate::pages::steer::{ButtonForm, command};
use crate::refusal::Refused;
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "tokens.html")]
struct TokensPage {
    frame: Frame,
    tokens: Vec<Token>,
    command: String,
}

impl TokensPage {
    /// Tells how a token stands.
    fn standing(&self, token: &Token) -> &'static str {
        match token.revoked {
            Some(_) => "revoked",
            None if token.expires <= self.frame.now => "ended",
            None => "holds",
        }
    }
}

/// Lists the tokens of the visitor.
pub async fn tokens(visit: Visit) -> Result<Response, Refused> {
    if visit.frame.who.is_none() {
        return Ok(Redirect::to(&visit.frame.at("/login?next=%2Ftokens")).into_response());
    }
    let tokens = visit.get("/api/v1/tokens").await?;
    let frame = visit.frame("My tokens", Tab::Mine);
    let words = ["token", "create", "NAME", "--verbs", "read,submit", "--expires", "90d"];
    let command = command(&frame, &words.each_ref().map(|word| word as _));
    Ok(page(StatusCode::OK, &TokensPage { frame, tokens, command }))
}

/// Ends a token of the visitor.
pub async fn revoke(
    visit: Visit,
    Path(name): Path<String>,
    Form(form): Form<ButtonForm>,
) -> Result<Response, Refused> {
    visit.is_ours(&form.forgery)?;
    let Ok(name) = name.parse::<TokenName>() else {
        return Err(visit.nothing("you have no token of this name: the page Tokens lists them"));
    };
    let ended = visit.delete::<Token>(&format!("/api/v1/tokens/{name}")).await;
    ended.map_err(|problem| {
        let same = command(&visit.frame, &[&"token", &"revoke", &name]);
        visit.not_done(problem, same)
    })?;
    Ok(Redirect::to(&visit.frame.at("/tokens")).into_response())
}
