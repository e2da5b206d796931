//! `acl check` and `acl show`: the decision about a principal and the entries that made it, and all
//! who have access. For administrators: in a shell on the server, or in `acl.admins`.

use anyhow::Result;

use crate::session::CliSession;
use invirtibuilder_api::acl::{Access, AccessDecision, AccessQuestion, Effect};
use invirtibuilder_core::error::Exit;
use invirtibuilder_service::acl;

/// What can be asked about an ACL.
#[derive(Debug, clap::Subcommand)]
pub enum Acl {
    /// Say whether a principal may submit to a pocket, and which entries say so (exit 77 if not)
    Check {
        /// The pocket
        pocket: String,
        /// The principal
        principal: String,
    },
    /// List who may submit to a pocket, as far as it can be known
    Show {
        /// The pocket
        pocket: String,
    },
}

/// Runs the verb.
pub fn answer(session: &mut CliSession, verb: &Acl) -> Result<Exit> {
    match verb {
        Acl::Check { pocket, principal } => {
            let (pocket, principal) = (pocket.clone(), principal.clone());
            let decision = acl::explain_access(session, &AccessQuestion { pocket, principal })?;
            show_decision(session, &decision)
        }
        Acl::Show { pocket } => {
            let found = acl::list_access(session, pocket)?;
            show_access(session, pocket, &found)
        }
    }
}

/// Exit 0 if the principal is admitted, 77 if not.
fn show_decision(session: &CliSession, decision: &AccessDecision) -> Result<Exit> {
    let AccessDecision { admitted, pocket, principal, steps } = decision;
    if session.wants_json() {
        session.print_json(decision)?;
    } else {
        let word = if *admitted { "may" } else { "may not" };
        session.line(format!("{principal} {word} submit to {pocket}"))?;
        for step in steps {
            let indent = "  ".repeat(step.depth + 1);
            session.line(format!("{indent}{}: {}: {}", step.place, step.text, step.result))?;
        }
        if steps.iter().all(|step| step.result == "no match") {
            session.line("  no entry matches")?;
        }
    }
    Ok(if *admitted { Exit::Ok } else { Exit::Denied })
}

/// Principals and descriptions in the order in which they are decided.
fn show_access(session: &CliSession, pocket: &str, found: &[Access]) -> Result<Exit> {
    if session.wants_json() {
        session.print_json(&found)?;
    } else if found.is_empty() {
        session.line(format!("nobody may submit to {pocket}: its acl is empty"))?;
    } else {
        for access in found {
            let word = match access.effect {
                Effect::Allow => "allow",
                Effect::Deny => "deny ",
                Effect::Error => "error",
            };
            session.line(format!("{word}  {}  ({})", access.who, access.place))?;
        }
    }
    Ok(Exit::Ok)
}
