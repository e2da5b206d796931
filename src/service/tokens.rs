//! Tokens of programs: each principal makes them for itself, an administrator for others.

use anyhow::Result;

use crate::Session;
use crate::login::secret;
use invirtibuilder_access::identity;
use invirtibuilder_api::login::TOKEN_PREFIX;
use invirtibuilder_api::tokens::{NewToken, Token, TokenRequest, TokenRevocation, TokenScope};
use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::Principal;
use invirtibuilder_core::time::now;
use invirtibuilder_store::audit::AuditEntry;
use invirtibuilder_store::tokens;

/// The longest that a token holds, in milliseconds: a year and a day.
const LONGEST: i64 = 366 * 86_400_000;

/// Finds whose tokens a request is about. Those of others are for administrators.
fn owner(session: &mut Session, named: Option<&str>) -> Result<Principal> {
    session.grant().demand_whole("manage tokens")?;
    let owner = match named {
        None => session.who.clone(),
        Some(name) => identity::qualified(name, session.config.realm.as_deref())?,
    };
    if owner != session.who && !session.who.is_local() {
        let config = session.config.clone();
        session.authorize_entries(
            "admins",
            &config.acl.admins,
            "may not manage the tokens of others",
        )?;
    }
    if owner.is_local() {
        let text = "a token is a principal's: name one with --for";
        return Err(Error::invalid(text).into());
    }
    Ok(owner)
}

/// Makes a token. It can do no more than its principal, whenever it is used.
pub fn create_token(session: &mut Session, request: &TokenRequest) -> Result<NewToken> {
    let principal = owner(session, request.principal.as_deref())?;
    let mut pockets = Vec::new();
    for name in &request.pockets {
        pockets.push(session.config.pocket(name)?.name().clone());
    }
    if request.verbs.is_empty() {
        let text = "a token that may do nothing is of no use: name verbs, such as read";
        return Err(Error::invalid(text).into());
    }
    if !(1..=LONGEST).contains(&request.holds_for) {
        let text = "a token holds for a year at most: write a time such as 90d";
        return Err(Error::invalid(text).into());
    }
    let created = now();
    let token = Token {
        name: request.name.clone(),
        principal,
        scope: TokenScope { pockets, verbs: request.verbs.clone() },
        by: session.who.clone(),
        created,
        expires: created + request.holds_for,
        revoked: None,
    };
    let secret = secret(TOKEN_PREFIX)?;
    session.write(|tx| {
        let there = tokens::find(tx, &token.principal, &token.name)?;
        if there.is_some_and(|there| there.revoked.is_none() && there.expires > created) {
            let text = format!(
                "{} has a token {} already: revoke it, or take another name",
                token.principal, token.name
            );
            return Err(Error::invalid(text).into());
        }
        tokens::add(tx, &token, &secret)?;
        AuditEntry::new("token.created")
            .with("principal", token.principal.as_str())
            .with("name", token.name.as_str())
            .with("pockets", joined(&token.scope.pockets))
            .with("verbs", joined(&token.scope.verbs))
            .with("expires", token.expires)
            .with("by", token.by.as_str())
            .append(tx)
    })?;
    Ok(NewToken { token, secret })
}

fn joined(words: &[impl ToString]) -> String {
    words.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Lists the tokens of a principal, those that have ended as well; `None`: the caller's own.
pub fn list_tokens(session: &mut Session, named: Option<&str>) -> Result<Vec<Token>> {
    let whose = owner(session, named)?;
    tokens::list(session.record.db(), Some(&whose))
}

/// Ends a token.
pub fn revoke_token(session: &mut Session, revocation: &TokenRevocation) -> Result<Token> {
    let whose = owner(session, revocation.principal.as_deref())?;
    let name = &revocation.name;
    let by = session.who.clone();
    session.write(|tx| {
        let token = tokens::find(tx, &whose, name)?;
        let Some(token) = token.filter(|token| token.revoked.is_none()) else {
            let text = format!("{whose} has no token {name} that holds: 'token list' lists them");
            return Err(Error::invalid(text).into());
        };
        tokens::revoke(tx, &token)?;
        AuditEntry::new("token.revoked")
            .with("principal", whose.as_str())
            .with("name", name.as_str())
            .with("by", by.as_str())
            .append(tx)?;
        Ok(Token { revoked: Some(now()), ..token })
    })
}
