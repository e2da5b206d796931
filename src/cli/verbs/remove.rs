//! `remove`: takes a package out of a pocket.

use anyhow::Result;

use crate::session::CliSession;
use crate::verbs::archive::report;
use invirtibuilder_api::archive::Committed;
use invirtibuilder_api::pocket::RemoveRequest;
use invirtibuilder_core::error::Exit;
use invirtibuilder_service::remove::remove_package;

/// Arguments of `remove`.
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    /// The pocket that has it
    pocket: String,
    /// The source package
    package: String,
    /// Why: one line, for the audit trail, the superproject and hooks
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Runs the verb.
pub fn answer(session: &mut CliSession, args: &RemoveArgs) -> Result<Exit> {
    let RemoveArgs { pocket, package, reason } = args;
    let request =
        RemoveRequest { pocket: pocket.clone(), package: package.clone(), reason: reason.clone() };
    let Committed { change, troubles } = remove_package(session, &request)?;
    if session.wants_json() {
        session.print_json(&change)?;
    } else {
        let held = &change.held;
        session
            .line(format!("{} {} is no longer in {}", held.package, held.version, held.pocket))?;
    }
    report(session, &troubles)?;
    Ok(Exit::Ok)
}
