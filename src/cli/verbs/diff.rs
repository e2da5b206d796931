//! `diff`: how two pockets differ, and in which direction.

use anyhow::Result;

use crate::session::CliSession;
use invirtibuilder_api::pocket::{Held, Order, PackageDifference, PocketPair};
use invirtibuilder_core::error::Exit;
use invirtibuilder_service::pockets::compare_pockets;

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// One pocket
    left: String,
    /// The other
    right: String,
}

/// Runs the verb.
pub fn answer(session: &mut CliSession, args: &DiffArgs) -> Result<Exit> {
    let pair = PocketPair { left: args.left.clone(), right: args.right.clone() };
    let differences = compare_pockets(session, &pair)?;
    if session.wants_json() {
        session.print_json(&differences)?;
    } else if differences.is_empty() {
        session.line(format!("{} and {} hold the same", pair.left, pair.right))?;
    } else {
        let rows: Vec<_> = differences.iter().map(row).collect();
        session.table(["PACKAGE", &pair.left, "", &pair.right], &rows)?;
    }
    Ok(Exit::Ok)
}

fn row(difference: &PackageDifference) -> [String; 4] {
    let version =
        |held: &Option<Held>| held.as_ref().map_or("-".to_owned(), |held| held.version.to_string());
    let sign = match difference.order {
        Order::Left => ">",
        Order::Right => "<",
        Order::Clash => "!",
    };
    let package = difference.package.to_string();
    [package, version(&difference.left), sign.to_owned(), version(&difference.right)]
}
