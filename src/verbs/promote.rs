//! `promote`: submits to one pocket the commit that another has now.

use anyhow::Result;

use super::submit::{How, submit};
use crate::error::{Error, Exit};
use crate::names::PackageName;
use crate::record::pockets;
use crate::session::Session;

/// Arguments of `promote`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The source package
    package: String,
    /// The pocket that has it
    from: String,
    /// The pocket that is to get it
    to: String,
    #[command(flatten)]
    how: How,
}

/// Runs the verb.
pub fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let to = session.config.pocket(&args.to)?.0.clone();
    let authorized = session.authorize(&to)?;
    let from = session.config.pocket(&args.from)?.0.clone();
    let package: PackageName = args.package.parse()?;
    let held = pockets::held(session.record.db(), &from, &package)?
        .ok_or_else(|| Error::invalid(format!("{from} has no {package}: 'packages {from}' lists what it has")))?;
    submit(session, &authorized, package, held.commit.as_str(), &args.how)
}
