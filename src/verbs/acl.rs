//! `acl check` and `acl show`: the decision about a principal and the entries that made it, and all who have access. For
//! administrators: in a shell on the server, or in `acl.admins`.

use anyhow::Result;
use serde_json::json;

use crate::acl::{self, Effect};
use crate::error::Exit;
use crate::identity;
use crate::session::Session;

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
pub fn run(session: &mut Session, verb: &Acl) -> Result<Exit> {
    let config = session.config.clone();
    session.authorize_entries("admins", &config.acl.admins, "may not read ACLs")?;
    match verb {
        Acl::Check { pocket, principal } => check(session, pocket, principal),
        Acl::Show { pocket } => show(session, pocket),
    }
}

/// Exit 0 if the principal is admitted, 77 if not.
fn check(session: &Session, pocket: &str, principal: &str) -> Result<Exit> {
    let pocket = session.config.pocket(pocket)?.0;
    let principal = identity::qualified(principal, session.config.realm.as_deref())?;
    let explained = acl::explain(&session.config, pocket, &principal);
    let word = if explained.admitted { "may" } else { "may not" };
    if session.json {
        let steps: Vec<_> = explained
            .steps
            .iter()
            .map(|step| json!({ "place": step.place, "entry": step.text, "result": step.result, "depth": step.depth }))
            .collect();
        session.print_json(
            &json!({ "principal": principal, "pocket": pocket, "admitted": explained.admitted, "steps": steps }),
        )?;
    } else {
        session.line(format!("{principal} {word} submit to {pocket}"))?;
        for step in &explained.steps {
            let indent = "  ".repeat(step.depth + 1);
            session.line(format!("{indent}{}: {}: {}", step.place, step.text, step.result))?;
        }
        if explained.steps.iter().all(|step| step.result == "no match") {
            session.line("  no entry matches")?;
        }
    }
    Ok(if explained.admitted { Exit::Ok } else { Exit::Denied })
}

/// Principals and descriptions in the order in which they are decided.
fn show(session: &Session, pocket: &str) -> Result<Exit> {
    let pocket = session.config.pocket(pocket)?.0;
    let found = acl::show(&session.config, pocket);
    if session.json {
        session.print_json(&found)?;
    } else if found.is_empty() {
        session.line(format!("nobody may submit to {pocket}: its acl is empty"))?;
    } else {
        for access in &found {
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
