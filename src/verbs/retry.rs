//! `retry`: queues a failed or cancelled job again, for whoever may submit to its pocket now.

use anyhow::Result;
use serde_json::json;

use crate::error::{Error, Exit};
use crate::record::jobs::{self, Job};
use crate::record::{State, sources};
use crate::session::Session;
use crate::source::{self, Plan as SourcePlan};
use crate::validate::{self, Plan, Request, Valid};

/// Arguments of `retry`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The number that submit printed
    #[arg(allow_negative_numbers = true)]
    job: String,
}

/// Runs the verb.
pub fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let job = session.job(&args.job)?;
    session.config.pocket(job.pocket.as_str())?;
    session.authorize(&job.pocket)?;
    let (who, config) = (session.who.clone(), session.config.clone());
    let source = plan(session, &job)?;
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
        validate::check_open_jobs(tx, &config, &who)?;
        jobs::retry(tx, job.id, job.state, &who)?;
        source.as_ref().map_or_else(|| sources::forget(tx, job.id), |source| sources::fix(tx, job.id, source))
    })?;
    if let Some(source) = &source {
        crate::source::pin(&config.git.package(&job.package), source)?;
    }
    session.ring();
    if session.json {
        session.print_json(&json!({ "job": job.id, "state": "queued" }))?;
    } else {
        session.line(format!("job {}: queued again", job.id))?;
    }
    Ok(Exit::Ok)
}

/// What its source package is made of now, if it is to be built: the branch pristine-tar may have been mended since. An error if it
/// could only fail again, as the rules are now.
fn plan(session: &Session, job: &Job) -> Result<Option<SourcePlan>> {
    let (db, config) = (session.record.db(), &session.config);
    let is_over = matches!(job.state, State::Failed | State::Cancelled);
    let request = Request::of(job);
    let plan = if is_over { validate::check(db, config, &request, Some(job.id))? } else { return Ok(None) };
    let Plan::Run(Valid::Build) = plan else { return Ok(None) };
    let source = validate::plan_submission(db, config, &request)?;
    source::pin(&config.git.package(&job.package), &source)?;
    Ok(Some(source))
}
