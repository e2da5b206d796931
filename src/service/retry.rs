//! Queues a failed or cancelled job again.

use anyhow::Result;

use crate::Session;
use invirtibuilder_api::job::{Job, Retried, State};
use invirtibuilder_api::tokens::TokenVerb;
use invirtibuilder_builder::source::{self, SourcePlan};
use invirtibuilder_core::config::Config;
use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::JobId;
use invirtibuilder_git as git;
use invirtibuilder_publish::validate::{self, Decision, JobRequest, Valid};
use invirtibuilder_store::{jobs, sources};

/// Queues a job again, for principals who may submit to its pocket now.
pub fn retry_job(session: &mut Session, id: JobId) -> Result<Retried> {
    let job = now(&session.config, session.find_job(id)?);
    session.config.pocket(job.pocket.as_str())?;
    session.demand(TokenVerb::Retry, Some(&job.pocket))?;
    session.authorize(&job.pocket)?;
    let (who, config) = (session.who.clone(), session.config.clone());
    let source = plan_again(session, &job)?;
    session.write(|tx| {
        let job = now(&config, jobs::get(tx, job.id)?);
        if !matches!(job.state, State::Failed | State::Cancelled) {
            let state = job.state;
            return Err(Error::invalid(format!(
                "job {} is {state}: only failed and cancelled ones can be retried",
                job.id
            ))
            .into());
        }
        match validate::check_record(tx, &config, &JobRequest::of(&job), Some(job.id))? {
            Decision::Run(_) => {}
            Decision::UnderWay(other) => {
                let text =
                    format!("job {} is already {} for the same commit", other.id, other.state);
                return Err(Error::invalid(text).into());
            }
            Decision::AlreadyThere(other) => {
                let text = format!("{} has this commit already, by job {other}", job.pocket);
                return Err(Error::invalid(text).into());
            }
        }
        validate::check_open_jobs(tx, &config, &who)?;
        jobs::retry(tx, job.id, job.state, &who)?;
        source.as_ref().map_or_else(
            || sources::forget(tx, job.id),
            |source| sources::fix(tx, job.id, &validate::planned(source)),
        )
    })?;
    if let Some(source) = &source {
        source::pin(&config.git.package(&job.package), source)?;
    }
    session.ring();
    Ok(Retried { job: job.id, state: State::Queued })
}

/// Returns a job as one for the domain that its pocket is in now.
fn now(config: &Config, job: Job) -> Job {
    Job { domain: config.domain(&job.pocket), ..job }
}

/// Decides what the source package of a job is made of now, if it is to be built: the branch
/// pristine-tar may have been mended since. It is an error if it could only fail again, as the
/// rules are now.
fn plan_again(session: &Session, job: &Job) -> Result<Option<SourcePlan>> {
    let (db, config) = (session.record.db(), &session.config);
    let is_over = matches!(job.state, State::Failed | State::Cancelled);
    let request = JobRequest::of(job);
    if !is_over {
        return Ok(None);
    }
    let path = config.git.package(&job.package);
    let repo = git::open(&path)?;
    let decision = validate::check_in(db, config, &repo, &request, Some(job.id))?;
    let Decision::Run(Valid::Build) = decision else { return Ok(None) };
    let source = validate::plan_submission(db, config, &repo, &request)?;
    source::pin(&path, &source)?;
    Ok(Some(source))
}
