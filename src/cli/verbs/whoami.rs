//! `whoami`: the principal that the service sees. As JSON, also how they came and what they may
//! submit to.

use anyhow::Result;

use crate::session::CliSession;
use invirtibuilder_core::error::Exit;
use invirtibuilder_service::caller::describe_caller;

/// Runs the verb.
pub fn answer(session: &mut CliSession) -> Result<Exit> {
    if session.wants_json() {
        session.print_json(&describe_caller(session))?;
    } else {
        session.line(&session.who)?;
    }
    Ok(Exit::Ok)
}
