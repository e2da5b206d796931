//! `log`: a job's build log, live with `--follow`.

use anyhow::Result;

use crate::session::CliSession;
use crate::verbs::follow;
use invirtibuilder_api::follow::LogRequest;
use invirtibuilder_core::error::Exit;
use invirtibuilder_service::follow::find_log;

/// Arguments of `log`.
#[derive(Debug, clap::Args)]
pub struct LogArgs {
    /// The number that submit printed
    #[arg(allow_negative_numbers = true)]
    job: String,
    /// Stream it until the job ends
    #[arg(long)]
    follow: bool,
}

/// Runs the verb.
pub fn answer(session: &mut CliSession, args: &LogArgs) -> Result<Exit> {
    let request = LogRequest { job: args.job.parse()?, follow: args.follow };
    let path = find_log(session, &request)?;
    follow::log(session, &request, path)
}
