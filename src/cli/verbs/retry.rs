//! `retry`: queues a failed or cancelled job again, for principals who may submit to its pocket
//! now.

use anyhow::Result;

use crate::session::CliSession;
use invirtibuilder_core::error::Exit;
use invirtibuilder_service::retry::retry_job;

/// Arguments of `retry`.
#[derive(Debug, clap::Args)]
pub struct RetryArgs {
    /// The number that submit printed
    #[arg(allow_negative_numbers = true)]
    job: String,
}

/// Runs the verb.
pub fn answer(session: &mut CliSession, args: &RetryArgs) -> Result<Exit> {
    let retried = retry_job(session, args.job.parse()?)?;
    if session.wants_json() {
        session.print_json(&retried)?;
    } else {
        session.line(format!("job {}: queued again", retried.job))?;
    }
    Ok(Exit::Ok)
}
