//! `whoami`: the principal that the service sees. As JSON, also how they came and what they may submit to.

use anyhow::Result;
use serde_json::json;

use crate::acl;
use crate::error::Exit;
use crate::names::PocketName;
use crate::session::Session;

/// Runs the verb.
pub fn run(session: &mut Session) -> Result<Exit> {
    if session.json {
        let may: Vec<&PocketName> = session
            .config
            .build
            .pockets
            .keys()
            .filter(|pocket| acl::explain(&session.config, pocket, &session.who).admitted)
            .collect();
        session.print_json(&json!({ "principal": session.who, "via": session.via(), "may_submit_to": may }))?;
    } else {
        session.line(&session.who)?;
    }
    Ok(Exit::Ok)
}
