//! Stops a queued or running job.

use anyhow::Result;

use crate::Session;
use invirtibuilder_api::job::{Cancellation, Cancelling, State};
use invirtibuilder_api::tokens::TokenVerb;
use invirtibuilder_builder::source;
use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::JobId;
use invirtibuilder_store::{jobs, sources};

/// Stops a job: for its submitter, for principals who may submit to its pocket, and for operators.
pub fn cancel_job(session: &mut Session, id: JobId) -> Result<Cancellation> {
    let job = session.find_job(id)?;
    session.demand(TokenVerb::Cancel, Some(&job.pocket))?;
    if job.principal != session.who && !session.is_operator() {
        session.config.pocket(job.pocket.as_str())?;
        session.authorize(&job.pocket)?;
    }
    let who = session.who.clone();
    let state = session.write(|tx| {
        let job = jobs::get(tx, job.id)?;
        match job.state {
            State::Queued => jobs::cancelled(tx, job.id, State::Queued, &who)?,
            // What is being published is so, but for a daemon that dies over it: the next one does
            // not try again.
            State::Preparing | State::Building | State::Publishing => {
                jobs::ask_to_cancel(tx, job.id, &who)?;
            }
            State::Published | State::Failed | State::Cancelled => {
                return Err(
                    Error::invalid(format!("job {} is {} already", job.id, job.state)).into()
                );
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
    let state = if state == State::Queued { Cancelling::Cancelled } else { Cancelling::Stopping };
    Ok(Cancellation { job: job.id, state })
}
