//! `packages`: the matrix of packages and pockets.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::session::CliSession;
use invirtibuilder_core::error::Exit;
use invirtibuilder_core::names::{PackageName, PocketName};
use invirtibuilder_service::pockets::list_packages;

/// Arguments of `packages`.
#[derive(Debug, clap::Args)]
pub struct PackagesArgs {
    /// Only this pocket
    pocket: Option<String>,
}

/// Runs the verb.
pub fn answer(session: &mut CliSession, args: &PackagesArgs) -> Result<Exit> {
    let held = list_packages(session, args.pocket.as_deref())?;
    if session.wants_json() {
        session.print_json(&held)?;
        return Ok(Exit::Ok);
    }
    let mut matrix: BTreeMap<&PackageName, Vec<(&PocketName, String)>> = BTreeMap::new();
    for h in &held {
        matrix
            .entry(&h.package)
            .or_default()
            .push((&h.pocket, format!("{} ({})", h.version, h.commit.short())));
    }
    let mut rows = Vec::new();
    for (package, pockets) in matrix {
        for (n, (pocket, what)) in pockets.into_iter().enumerate() {
            let package = if n == 0 { package.to_string() } else { String::new() };
            rows.push([package, pocket.to_string(), what]);
        }
    }
    session.table(["PACKAGE", "POCKET", "VERSION (COMMIT)"], &rows)?;
    Ok(Exit::Ok)
}
