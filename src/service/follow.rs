//! Tells how far a job has come, and where its log is, to those who follow it.

use std::path::PathBuf;

use anyhow::Result;

use crate::Session;
use crate::waiting::Waiting;
use invirtibuilder_api::follow::{JobProgress, LogRequest, StillWaiting};
use invirtibuilder_api::job::{Job, State};
use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::JobId;
use invirtibuilder_core::time::now;
use invirtibuilder_store::{jobs, moves};

/// Tells how far a job has come.
pub fn look_at_job(session: &Session, id: JobId) -> Result<JobProgress> {
    let db = session.record.db();
    let job = jobs::get(db, id)?;
    let steps = jobs::steps(db, id)?;
    let is_over = job.state.is_end() && !moves::owes(db, id)?;
    Ok(JobProgress { job, steps, is_over })
}

/// Takes a place among those who follow what happens.
pub fn begin_to_follow(session: &mut Session) -> Result<()> {
    session.take_place()
}

/// Finds the jobs that somebody wants to follow, each once, and a place among the followers. It is
/// an error if there is no such job.
pub fn find_jobs(session: &mut Session, asked: &[String]) -> Result<Vec<JobId>> {
    let mut found = Vec::new();
    for id in asked {
        let job = session.find_job(id.parse()?)?;
        if !found.contains(&job.id) {
            found.push(job.id);
        }
    }
    session.take_place()?;
    Ok(found)
}

/// Tells what a job waits for now; `None`: it is not queued.
pub fn explain_wait(session: &Session, job: &Job) -> Result<Option<StillWaiting>> {
    let db = session.record.db();
    let waits = Waiting::look(&session.config, db)?.of(db, job)?;
    Ok(waits.map(|waits| StillWaiting { at: now(), state: job.state, waits }))
}

/// Finds the build log of a job, and a place among the followers for its reader. It is an
/// error if there is none, and none is to come that the reader waits for.
pub fn find_log(session: &mut Session, request: &LogRequest) -> Result<PathBuf> {
    let job = session.find_job(request.job)?;
    let path = session.config.build_log(job.id);
    if !path.exists() && (job.state.is_end() || !request.follow) {
        let why = match (&job.copied_from, job.state) {
            (Some(from), _) => format!("its binaries were copied from {from}"),
            (None, State::Queued) => "it waits for its turn".to_owned(),
            (None, state) => format!("it is {state} and nothing was built"),
        };
        return Err(Error::invalid(format!("job {} has no build log: {why}", job.id)).into());
    }
    // Also for those who do not follow: whoever does not read keeps it here.
    session.take_place()?;
    Ok(path)
}
