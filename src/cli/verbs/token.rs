//! `token`: tokens by which programs ask over HTTP.

use std::time::Duration;

use anyhow::Result;

use crate::session::CliSession;
use invirtibuilder_api::tokens::{Token, TokenRequest, TokenRevocation, TokenVerb};
use invirtibuilder_core::config;
use invirtibuilder_core::error::{Error, Exit};
use invirtibuilder_core::text::quoted;
use invirtibuilder_core::time::{now, utc};
use invirtibuilder_service::tokens::{create_token, list_tokens, revoke_token};

/// Verbs of `token`.
#[derive(Debug, clap::Subcommand)]
pub enum TokenCommand {
    /// Make a token, and print it: nobody sees it again
    Create {
        /// The name by which it is listed and revoked
        name: String,
        /// Pockets that it may change, with commas between; default: all that the principal may
        #[arg(long, value_delimiter = ',')]
        pockets: Vec<String>,
        /// What it may do, with commas between: read, submit, promote, rebuild, remove, cancel, retry
        /// and create-repo
        #[arg(long, value_delimiter = ',', default_value = "read")]
        verbs: Vec<String>,
        /// For how long it holds, such as 30d
        #[arg(long, default_value = "90d", value_name = "TIME")]
        expires: String,
        /// The principal whose rights it has; those of others are for acl.admins
        #[arg(long = "for", value_name = "PRINCIPAL")]
        principal: Option<String>,
    },
    /// List tokens
    List {
        /// The principal whose they are; those of others are for acl.admins
        #[arg(long = "for", value_name = "PRINCIPAL")]
        principal: Option<String>,
    },
    /// End a token
    Revoke {
        /// Its name
        name: String,
        /// The principal whose it is; those of others are for acl.admins
        #[arg(long = "for", value_name = "PRINCIPAL")]
        principal: Option<String>,
    },
}

/// Runs the verb.
pub fn answer(session: &mut CliSession, command: &TokenCommand) -> Result<Exit> {
    match command {
        TokenCommand::Create { name, pockets, verbs, expires, principal } => {
            let verb = |word: &String| {
                word.parse::<TokenVerb>().map_err(|_| {
                    let all: Vec<_> = TokenVerb::ALL.iter().map(|verb| verb.as_str()).collect();
                    let (word, all) = (quoted(word), all.join(", "));
                    Error::invalid(format!("{word} is nothing that a token may do: use {all}"))
                })
            };
            let request = TokenRequest {
                name: name.parse()?,
                principal: principal.clone(),
                pockets: pockets.clone(),
                verbs: verbs.iter().map(verb).collect::<Result<_, _>>()?,
                holds_for: time(expires)?.as_millis() as i64,
            };
            let made = create_token(session, &request)?;
            if session.wants_json() {
                session.print_json(&made)?;
            } else {
                session.line(&made.secret)?;
            }
        }
        TokenCommand::List { principal } => {
            let tokens = list_tokens(session, principal.as_deref())?;
            if session.wants_json() {
                session.print_json(&tokens)?;
            } else if tokens.is_empty() {
                session.line("no tokens: 'token create NAME' makes one")?;
            } else {
                let rows: Vec<_> = tokens.iter().map(row).collect();
                session.table(["TOKEN", "STATE", "ENDS", "POCKETS", "MAY"], &rows)?;
            }
        }
        TokenCommand::Revoke { name, principal } => {
            let revocation = TokenRevocation { name: name.parse()?, principal: principal.clone() };
            let token = revoke_token(session, &revocation)?;
            if session.wants_json() {
                session.print_json(&token)?;
            } else {
                session.line(format!("token {} of {} is revoked", token.name, token.principal))?;
            }
        }
    }
    Ok(Exit::Ok)
}

fn time(text: &str) -> Result<Duration, Error> {
    config::read_duration(text).ok_or_else(|| {
        let text = quoted(text);
        Error::invalid(format!("--expires: {text} is not a time: write one such as 30d or 12h"))
    })
}

fn row(token: &Token) -> [String; 5] {
    let state = match token.revoked {
        Some(_) => "revoked",
        None if token.expires <= now() => "ended",
        None => "holds",
    };
    let pockets = match token.scope.pockets.as_slice() {
        [] => "all".to_owned(),
        pockets => joined(pockets),
    };
    let verbs = joined(&token.scope.verbs);
    [token.name.to_string(), state.to_owned(), utc(token.expires), pockets, verbs]
}

fn joined(words: &[impl ToString]) -> String {
    words.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
