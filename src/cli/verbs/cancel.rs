//! `cancel`: stops a queued or running job. For its submitter, for principals who may submit to its
//! pocket, and for operators.

use anyhow::Result;

use crate::session::CliSession;
use invirtibuilder_api::job::Cancelling;
use invirtibuilder_core::error::Exit;
use invirtibuilder_service::cancel::cancel_job;

/// Arguments of `cancel`.
#[derive(Debug, clap::Args)]
pub struct CancelArgs {
    /// The number that submit printed
    #[arg(allow_negative_numbers = true)]
    job: String,
}

/// Runs the verb.
pub fn answer(session: &mut CliSession, args: &CancelArgs) -> Result<Exit> {
    let done = cancel_job(session, args.job.parse()?)?;
    if session.wants_json() {
        session.print_json(&done)?;
        return Ok(Exit::Ok);
    }
    let word = match done.state {
        Cancelling::Cancelled => "cancelled",
        Cancelling::Stopping => "stopping",
    };
    session.line(format!("job {}: {word}", done.job))?;
    Ok(Exit::Ok)
}
