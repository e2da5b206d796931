//! `wait`: waits until jobs have ended.

use anyhow::Result;

use crate::session::CliSession;
use crate::verbs::follow;
use invirtibuilder_core::error::Exit;
use invirtibuilder_service::follow::find_jobs;

/// Arguments of `wait`.
#[derive(Debug, clap::Args)]
pub struct WaitArgs {
    /// The numbers that submit printed
    #[arg(required = true, allow_negative_numbers = true)]
    jobs: Vec<String>,
}

/// Runs the verb.
pub fn answer(session: &mut CliSession, args: &WaitArgs) -> Result<Exit> {
    let jobs = find_jobs(session, &args.jobs)?;
    follow::jobs(session, &jobs)
}
