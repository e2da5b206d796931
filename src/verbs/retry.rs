//! `retry`: queues a failed or cancelled job again, for whoever may submit to its pocket now.

use anyhow::Result;
use serde_json::json;

use crate::error::{Error, Exit};
use crate::record::{State, jobs};
use crate::session::Session;
use crate::validate::{self, Plan, Request};

/// Arguments of `retry`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The number that submit printed
    job: String,
}

/// Runs the verb.
pub fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let job = session.job(&args.job)?;
    session.config.pocket(job.pocket.as_str())?;
    session.authorize(&job.pocket)?;
    let (who, config) = (session.who.clone(), session.config.clone());
    session.write(|tx| {
        let job = jobs::get(tx, job.id)?;
        if !matches!(job.state, State::Failed | State::Cancelled) {
            let state = job.state;
            return Err(Error::invalid(format!(
                "job {} is {state}: only failed and cancelled ones can be retried",
                job.id
            ))
            .into());
        }
        match validate::check_record(tx, &config, &Request::of(&job), Some(job.id))? {
            Plan::Run(_) => {}
            Plan::UnderWay(other) => {
                let text = format!("job {} is already {} for the same commit", other.id, other.state);
                return Err(Error::invalid(text).into());
            }
            Plan::AlreadyThere(other) => {
                let text = format!("{} has this commit already, by job {other}", job.pocket);
                return Err(Error::invalid(text).into());
            }
        }
        jobs::retry(tx, job.id, job.state, &who)
    })?;
    session.ring();
    if session.json {
        session.print_json(&json!({ "job": job.id, "state": "queued" }))?;
    } else {
        session.line(format!("job {}: queued again", job.id))?;
    }
    Ok(Exit::Ok)
}
