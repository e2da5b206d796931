//! `log`: a job's build log, live with `--follow`.

use anyhow::Result;

use super::follow;
use crate::error::{Error, Exit};
use crate::record::State;
use crate::session::Session;

/// Arguments of `log`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The number that submit printed
    #[arg(allow_negative_numbers = true)]
    job: String,
    /// Stream it until the job ends
    #[arg(long)]
    follow: bool,
}

/// Runs the verb.
pub fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let job = session.job(&args.job)?;
    let there = session.config.build_log(job.id).exists();
    if !there && (job.state.is_end() || !args.follow) {
        let why = match (&job.copied_from, job.state) {
            (Some(from), _) => format!("its binaries were copied from {from}"),
            (None, State::Queued) => "it waits for its turn".to_owned(),
            (None, state) => format!("it is {state} and nothing was built"),
        };
        return Err(Error::invalid(format!("job {} has no build log: {why}", job.id)).into());
    }
    // Also without --follow: whoever does not read keeps it here.
    let _place = session.place()?;
    follow::log(session, job.id, args.follow)
}
