//! `pockets`: what pockets there are.

use anyhow::Result;

use crate::session::CliSession;
use invirtibuilder_api::pocket::PocketSummary;
use invirtibuilder_core::error::Exit;
use invirtibuilder_service::pockets::list_pockets;

/// Runs the verb.
pub fn answer(session: &mut CliSession) -> Result<Exit> {
    let pockets = list_pockets(session)?;
    if session.wants_json() {
        session.print_json(&pockets)?;
        return Ok(Exit::Ok);
    }
    let row = |pocket: &PocketSummary| {
        let back = if pocket.allow_backtracking { "yes" } else { "no" };
        [
            pocket.pocket.to_string(),
            pocket.domain.qualify(pocket.suite.as_str()),
            pocket.branch.clone(),
            pocket.distro.to_string(),
            back.to_owned(),
            pocket.packages.to_string(),
        ]
    };
    let rows: Vec<_> = pockets.iter().map(row).collect();
    session.table(["POCKET", "SUITE", "BRANCH", "DISTRO", "BACKTRACKING", "PACKAGES"], &rows)?;
    Ok(Exit::Ok)
}
