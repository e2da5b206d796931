//! Lists the jobs of a package.

use anyhow::Result;

use crate::Session;
use invirtibuilder_api::job::Job;
use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::PackageName;
use invirtibuilder_store::jobs;

/// The most jobs that are listed.
const MOST: usize = 200;

/// Lists the jobs of a package, the newest first. It is an error if there is no such package.
pub fn list_history(session: &Session, package: &PackageName) -> Result<Vec<Job>> {
    let jobs = jobs::of_package(session.record.db(), package, MOST)?;
    if jobs.is_empty() && !session.config.git.package(package).exists() {
        return Err(Error::invalid(format!(
            "there is no package {package}: 'packages' lists them"
        ))
        .into());
    }
    Ok(jobs)
}
