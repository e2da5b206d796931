//! `history`: the jobs of a package.

use anyhow::Result;

use crate::session::CliSession;
use crate::verbs::status;
use invirtibuilder_core::error::Exit;
use invirtibuilder_service::history::list_history;

/// Arguments of `history`.
#[derive(Debug, clap::Args)]
pub struct HistoryArgs {
    /// The source package
    package: String,
}

/// Runs the verb.
pub fn answer(session: &mut CliSession, args: &HistoryArgs) -> Result<Exit> {
    let jobs = list_history(session, &args.package.parse()?)?;
    if session.wants_json() {
        session.print_json(&jobs)?;
        return Ok(Exit::Ok);
    }
    status::show(session, jobs.iter())
}
