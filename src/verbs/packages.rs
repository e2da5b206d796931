//! `packages`: the matrix of packages and pockets.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::error::Exit;
use crate::names::{PackageName, PocketName};
use crate::record::pockets::{self, Held};
use crate::session::{Session, table};

/// Arguments of `packages`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this pocket
    pocket: Option<String>,
}

/// Runs the verb.
pub fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let only = match &args.pocket {
        Some(name) => Some(session.config.pocket(name)?.0.clone()),
        None => None,
    };
    let held = pockets::all(session.record.db())?;
    let held: Vec<Held> = held.into_iter().filter(|h| only.as_ref().is_none_or(|only| h.pocket == *only)).collect();
    if session.json {
        session.print_json(&held)?;
        return Ok(Exit::Ok);
    }
    let mut matrix: BTreeMap<&PackageName, Vec<(&PocketName, String)>> = BTreeMap::new();
    for h in &held {
        matrix.entry(&h.package).or_default().push((&h.pocket, format!("{} ({})", h.version, h.commit.short())));
    }
    let mut rows = Vec::new();
    for (package, pockets) in matrix {
        for (n, (pocket, what)) in pockets.into_iter().enumerate() {
            let package = if n == 0 { package.to_string() } else { String::new() };
            rows.push([package, pocket.to_string(), what]);
        }
    }
    table(["PACKAGE", "POCKET", "VERSION (COMMIT)"], &rows)?;
    Ok(Exit::Ok)
}
