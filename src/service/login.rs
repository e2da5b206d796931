//! Finds out who asks by HTTP: by a ticket, by the session that a ticket has begun, or by a token.

use std::time::Duration;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::desk::Desk;
use invirtibuilder_access::grant::Grant;
use invirtibuilder_access::identity::Caller;
use invirtibuilder_access::spnego::{AcceptedTicket, Acceptor};
use invirtibuilder_api::login::{NewLogin, SESSION_PREFIX, TOKEN_PREFIX, forgery_token};
use invirtibuilder_core::config::HttpReaders;
use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::Principal;
use invirtibuilder_core::time::now;
use invirtibuilder_store::audit::AuditEntry;
use invirtibuilder_store::tokens;

/// The longest that a session lasts.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// What a request by HTTP says of who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The value of the header `Authorization`.
    pub authorization: Option<String>,
    /// The token against forgery.
    pub forgery: Option<String>,
}

/// What a request by HTTP wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestEffect {
    /// To read.
    Reads,
    /// To change something: a session's request has to show that it comes from our own pages.
    Changes,
}

/// The answer to who asks.
#[derive(Debug)]
pub struct Known {
    /// Who asks, and what of their rights the request has.
    pub caller: Caller,
    /// What the client is to be told, for the header `WWW-Authenticate`.
    pub reply: Option<String>,
}

/// The error that nobody has said who they are, or nobody whom we know.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unauthenticated(String);

fn unauthenticated(text: &str) -> anyhow::Error {
    Unauthenticated(text.to_owned()).into()
}

/// Makes a secret of 256 bits of the kernel's randomness.
pub(crate) fn secret(prefix: &str) -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::unavailable(error.to_string()))?;
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// Finds out who asks. Without credentials that is nobody, who may read where `http.read` lets
/// everybody.
pub fn identify(desk: &Desk, credentials: &Credentials, effect: RequestEffect) -> Result<Known> {
    let Some(authorization) = &credentials.authorization else {
        let config = desk.config()?;
        let read = config.http.as_ref().map(|http| http.read).unwrap_or_default();
        return match (read, effect) {
            (HttpReaders::Public, RequestEffect::Reads) => {
                Ok(Known { caller: Caller::Http(None, Grant::Reading), reply: None })
            }
            _ => Err(unauthenticated("nobody has authenticated you: sign in first")),
        };
    };
    let (scheme, value) = authorization.split_once(' ').unwrap_or((authorization, ""));
    if scheme.eq_ignore_ascii_case("negotiate") {
        let AcceptedTicket { principal, reply, .. } = accept(desk, value.trim())?;
        return Ok(Known { caller: Caller::Http(Some(principal), Grant::Whole), reply });
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(unauthenticated(
            "this way to authenticate is not known: use Negotiate with a ticket, or Bearer with a token",
        ));
    }
    let (principal, grant) = bearer(desk, value.trim(), credentials.forgery.as_deref(), effect)?;
    Ok(Known { caller: Caller::Http(Some(principal), grant), reply: None })
}

fn bearer(
    desk: &Desk,
    secret: &str,
    forgery: Option<&str>,
    effect: RequestEffect,
) -> Result<(Principal, Grant)> {
    let record = desk.record()?;
    if secret.starts_with(SESSION_PREFIX) {
        let principal = tokens::of_login(record.db(), secret)?;
        let Some(principal) = principal else {
            return Err(unauthenticated("this session has ended: sign in again"));
        };
        if effect == RequestEffect::Changes && forgery != Some(&forgery_token(secret)) {
            return Err(Error::denied(
                "this request does not come from our own pages: load the page again, and repeat what you did",
            )
            .into());
        }
        return Ok((principal, Grant::Whole));
    }
    let token = tokens::of_secret(record.db(), secret)?;
    let Some(token) = token.filter(|_| secret.starts_with(TOKEN_PREFIX)) else {
        return Err(unauthenticated(
            "this token is not known, has ended or was revoked: make another with 'token create'",
        ));
    };
    Ok((token.principal, Grant::Token(token.name, token.scope)))
}

fn accept(desk: &Desk, token: &str) -> Result<AcceptedTicket> {
    let config = desk.config()?;
    if config.http.as_ref().is_none_or(|http| http.keytab.is_none()) {
        let text = "no ticket can be accepted: have an administrator set http.keytab";
        return Err(Error::unavailable(text).into());
    }
    // A keytab may have got a new key since.
    let ticket = Acceptor::open()?.accept(token, config.realm.as_deref());
    ticket.map_err(|error| {
        tracing::warn!(why = %error, via = "http", "denied");
        unauthenticated(&error.to_string())
    })
}

/// Begins a session with a ticket: later requests name it instead of the ticket.
pub fn begin_login(desk: &Desk, credentials: &Credentials) -> Result<(NewLogin, Option<String>)> {
    let authorization = credentials.authorization.as_deref().unwrap_or_default();
    let Some(("Negotiate" | "negotiate", token)) = authorization.split_once(' ') else {
        return Err(unauthenticated("a session begins with a ticket: use Negotiate"));
    };
    let AcceptedTicket { principal, lifetime, reply } = accept(desk, token.trim())?;
    let expires = now() + lifetime.min(LONGEST).as_millis() as i64;
    let secret = secret(SESSION_PREFIX)?;
    desk.record()?.write(|tx| {
        tokens::begin_login(tx, &secret, &principal, expires)?;
        AuditEntry::new("session.began")
            .with("principal", principal.as_str())
            .with("via", "http")
            .append(tx)
    })?;
    Ok((NewLogin { principal, secret, expires }, reply))
}

/// Ends the session that the credentials name.
pub fn end_login(desk: &Desk, credentials: &Credentials) -> Result<()> {
    let authorization = credentials.authorization.as_deref().unwrap_or_default();
    let secret = authorization.split_once(' ').map_or("", |(_, secret)| secret.trim());
    let ended = desk.record()?.write(|tx| tokens::end_login(tx, secret))?;
    if ended { Ok(()) } else { Err(unauthenticated("there is no such session: it may have ended")) }
}
