//! `acl check`: the decision about a principal, and the entries that made it.

use anyhow::Result;
use serde_json::json;

use crate::acl;
use crate::error::Exit;
use crate::names::Principal;
use crate::session::Session;

/// What can be asked about an ACL.
#[derive(Debug, clap::Subcommand)]
pub enum Acl {
    /// Say whether a principal may submit to a pocket, and why (on the server only)
    Check {
        /// The pocket
        pocket: String,
        /// The principal, with its realm
        principal: String,
    },
}

/// Runs the verb: exit 0 if the principal is admitted, 77 if not.
pub fn run(session: &mut Session, verb: &Acl) -> Result<Exit> {
    let Acl::Check { pocket, principal } = verb;
    session.local_only("acl check")?;
    let pocket = session.config.pocket(pocket)?.0.clone();
    let principal = Principal::from_authenticated(principal)?;
    let explained = acl::explain(&session.config, &pocket, &principal);
    let word = if explained.admitted { "may" } else { "may not" };
    if session.json {
        let steps: Vec<_> = explained
            .steps
            .iter()
            .map(|step| json!({ "place": step.place, "entry": step.text, "result": step.result }))
            .collect();
        session.print_json(&json!({ "admitted": explained.admitted, "steps": steps }))?;
    } else {
        session.line(format!("{principal} {word} submit to {pocket}"))?;
        for step in &explained.steps {
            session.line(format!("  {}: {}: {}", step.place, step.text, step.result))?;
        }
    }
    Ok(if explained.admitted { Exit::Ok } else { Exit::Denied })
}
