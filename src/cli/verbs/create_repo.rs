//! `create-repo`: a new, empty package repository, for those whom `acl.create_repo` admits.

use anyhow::Result;

use crate::session::CliSession;
use invirtibuilder_core::error::Exit;
use invirtibuilder_service::create_repo::create_repository;

/// Arguments of `create-repo`.
#[derive(Debug, clap::Args)]
pub struct CreateRepoArgs {
    /// The source package
    package: String,
}

/// Runs the verb.
pub fn answer(session: &mut CliSession, args: &CreateRepoArgs) -> Result<Exit> {
    let created = create_repository(session, &args.package)?;
    if session.wants_json() {
        session.print_json(&created)?;
    } else {
        session.line(format!("{}: created {}", created.package, created.repository.display()))?;
    }
    Ok(Exit::Ok)
}
