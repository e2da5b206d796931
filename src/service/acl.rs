//! Who may submit where, and which entries say so. For administrators: in a shell on the server, or
//! in `acl.admins`.

use anyhow::Result;

use crate::session::Session;
use invirtibuilder_access::acl;
use invirtibuilder_access::identity;
use invirtibuilder_api::acl::{Access, AccessDecision, AccessQuestion};

/// Says whether a principal may submit to a pocket, and which entries say so.
pub fn explain_access(session: &mut Session, question: &AccessQuestion) -> Result<AccessDecision> {
    authorize_reading(session)?;
    let pocket = session.config.pocket(&question.pocket)?.name();
    let principal = identity::qualified(&question.principal, session.config.realm.as_deref())?;
    let explained = acl::explain(&session.config, pocket, &principal);
    Ok(AccessDecision {
        admitted: explained.admitted,
        pocket: pocket.clone(),
        principal,
        steps: explained.steps,
    })
}

/// Lists who may submit to a pocket, as far as it can be known: in the order in which the ACL
/// decides. `pocket` is its name as the caller calls it.
pub fn list_access(session: &mut Session, pocket: &str) -> Result<Vec<Access>> {
    authorize_reading(session)?;
    let pocket = session.config.pocket(pocket)?.name();
    Ok(acl::show(&session.config, pocket))
}

fn authorize_reading(session: &mut Session) -> Result<()> {
    let config = session.config.clone();
    session.authorize_entries("admins", &config.acl.admins, "may not read ACLs")
}
