//! `history`: the jobs of a package.

use anyhow::Result;

use super::status;
use crate::error::{Error, Exit};
use crate::names::PackageName;
use crate::record::jobs;
use crate::session::Session;

/// The most jobs that are shown.
const MOST: usize = 200;

/// Arguments of `history`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The source package
    package: String,
}

/// Runs the verb.
pub fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let package: PackageName = args.package.parse()?;
    let jobs = jobs::of_package(session.record.db(), &package, MOST)?;
    if jobs.is_empty() && !session.config.git.package(&package).exists() {
        return Err(Error::invalid(format!("there is no package {package}: 'packages' lists them")).into());
    }
    if session.json {
        session.print_json(&jobs)?;
        return Ok(Exit::Ok);
    }
    status::show(jobs.iter())
}
