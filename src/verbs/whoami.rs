//! `whoami`: the principal that the service sees.

use anyhow::Result;
use serde_json::json;

use crate::error::Exit;
use crate::session::Session;

/// Runs the verb.
pub fn run(session: &mut Session) -> Result<Exit> {
    if session.json {
        session.print_json(&json!({ "principal": session.who }))?;
    } else {
        session.line(&session.who)?;
    }
    Ok(Exit::Ok)
}
