//! Takes a package out of a pocket.

use anyhow::Result;

use crate::Session;
use crate::submit::{checked_reason, held};
use invirtibuilder_api::archive::Committed;
use invirtibuilder_api::pocket::{RemoveRequest, Removed};
use invirtibuilder_api::tokens::TokenVerb;
use invirtibuilder_core::names::PackageName;
use invirtibuilder_core::time::now;
use invirtibuilder_publish::Publisher;
use invirtibuilder_store::domains;

/// Takes a package out of a pocket, for principals who may submit there.
pub fn remove_package(
    session: &mut Session,
    request: &RemoveRequest,
) -> Result<Committed<Removed>> {
    let pocket = session.config.pocket(&request.pocket)?.name().clone();
    session.demand(TokenVerb::Remove, Some(&pocket))?;
    session.authorize(&pocket)?;
    let package: PackageName = request.package.parse()?;
    let held = held(session, &pocket, &package)?;
    let reason = checked_reason(&request.reason)?;
    let removed = Removed { held, at: now(), by: session.who.clone(), reason };
    domains::demand(session.record.db(), &session.config)?;
    let publisher = Publisher::open(&session.config)?;
    let (change, troubles) = publisher.remove(&session.config, removed)?;
    let Removed { by, reason, .. } = &change;
    let (version, by, reason) = (&change.held.version, by.as_str(), &reason[..]);
    tracing::warn!(%pocket, package = %change.held.package, %version, by, reason, "removed");
    // Hooks are owed.
    session.ring();
    Ok(Committed { change, troubles })
}
