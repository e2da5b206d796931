//! `cancel`: stops a queued or running job. For its submitter, for whoever may submit to its pocket, and for operators.

use anyhow::Result;
use serde_json::json;

use crate::error::{Error, Exit};
use crate::record::{State, jobs, sources};
use crate::session::Session;
use crate::source;

/// Arguments of `cancel`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The number that submit printed
    #[arg(allow_negative_numbers = true)]
    job: String,
}

/// Runs the verb.
pub fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let job = session.job(&args.job)?;
    if job.principal != session.who && !session.is_operator() {
        session.config.pocket(job.pocket.as_str())?;
        session.authorize(&job.pocket)?;
    }
    let who = session.who.clone();
    let state = session.write(|tx| {
        let job = jobs::get(tx, job.id)?;
        match job.state {
            State::Queued => jobs::cancelled(tx, job.id, State::Queued, &who)?,
            // What is being published is so, but for a daemon that dies over it: the next one does not try again.
            State::Preparing | State::Building | State::Publishing => jobs::ask_to_cancel(tx, job.id, &who)?,
            State::Published | State::Failed | State::Cancelled => {
                return Err(Error::invalid(format!("job {} is {} already", job.id, job.state)).into());
            }
        }
        Ok(job.state)
    })?;
    if state == State::Publishing {
        let text = format!(
            "job {} is being published: it is too late to stop that; only if the daemon dies before it is done, the job ends as cancelled",
            job.id
        );
        return Err(Error::try_again(text).into());
    }
    if state == State::Queued {
        let kept = sources::pinned(session.record.db(), &job.package)?;
        // What stays is removed at the end of the package's next job.
        let _ = source::unpin(&session.config.git.package(&job.package), &kept);
    }
    session.ring();
    let word = if state == State::Queued { "cancelled" } else { "stopping" };
    if session.json {
        session.print_json(&json!({ "job": job.id, "state": word }))?;
    } else {
        session.line(format!("job {}: {word}", job.id))?;
    }
    Ok(Exit::Ok)
}
