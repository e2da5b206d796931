//! What is done before the first job is claimed: a daemon may have died at any moment before.

use std::sync::Arc;

use anyhow::Result;
use rusqlite::Transaction;

use crate::shared::Shared;
use crate::workspace::Workspace;
use invirtibuilder_api::job::Job;
use invirtibuilder_api::job::State;
use invirtibuilder_core::config::Config;
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::failpoint::{Point, reach};
use invirtibuilder_store::jobs;
use invirtibuilder_store::queue;

/// Ends what a dead daemon left: its claims, its builds, its work, and the moves that its
/// publications owe.
pub async fn recover_jobs(config: &Arc<Config>, shared: &Shared) -> Result<()> {
    reach(Point::RecoverBegun)?;
    std::fs::create_dir_all(config.scratch())?;
    let mut keep = Vec::new();
    for job in shared.read(jobs::begun)? {
        let tried = shared.read(|db| jobs::publications(db, job.id))?;
        // We hold the instance lock, so whoever claimed it is dead.
        let ended = job.state.is_running() && shared.write(|tx| let_go(tx, &job, tried))?;
        if job.state.is_running() {
            reach(Point::RecoverGivenBack)?;
        }
        // Daemons may die one after the other before it is published.
        if tried > 0 && !ended {
            keep.push(job.id);
        }
    }
    let mended = shared.write(queue::mend)?;
    if mended > 0 {
        let text = format!(
            "{mended} jobs were not in it as they should be, which was mended: an older release's program has changed it"
        );
        shared.complain("the queue", &anyhow::anyhow!(text));
    }
    for error in Workspace::sweep(config, &keep).await? {
        shared.complain("work of an earlier daemon is left", &error);
    }
    reach(Point::RecoverSwept)?;
    shared.project(config).await?;
    Ok(reach(Point::Recovered)?)
}

/// How many daemons may die over the publication of one job.
const DEATHS: usize = 3;

/// Takes a job from a dead daemon: to its end, if somebody wanted it cancelled or it is what
/// daemons die of, and otherwise back to the queue. Whether it has ended.
fn let_go(tx: &Transaction, job: &Job, tried: usize) -> Result<bool> {
    if let Some(by) = &job.cancel_by {
        jobs::cancelled(tx, job.id, job.state, by)?;
        return Ok(true);
    }
    if job.state == State::Publishing && tried >= DEATHS {
        let text = "the daemon died three times in a row while it published this job: the system log has what it said last; 'retry' \
                    builds it again";
        jobs::fail(tx, job.id, job.state, &Failure::new(FailureKind::Crash, text))?;
        return Ok(true);
    }
    jobs::give_back(tx, job.id, job.state, "the daemon was restarted")?;
    Ok(false)
}

#[cfg(test)]
mod tests {
    use crate::recover::*;
    use invirtibuilder_publish::testing::{TestService, alice};

    /// Decides what becomes of a job whose daemon has died.
    async fn after(
        service: &TestService,
        config: &Arc<Config>,
    ) -> Vec<(State, Option<FailureKind>)> {
        // Every daemon has a connection of its own.
        recover_jobs(config, &Shared::open(config).unwrap()).await.unwrap();
        let all = jobs::lately_finished(service.record.db(), 9).unwrap();
        let open = jobs::open(service.record.db()).unwrap();
        all.into_iter().chain(open).map(|job| (job.state, job.failure)).collect()
    }

    #[tokio::test]
    async fn a_job_that_daemons_die_of_fails() {
        let mut service = TestService::new();
        let config = Arc::new(service.config.clone());
        let commit = service.commit("hello", "1.0");
        let id = service.job("prod", "hello", "1.0", &commit);
        let built = config.scratch().join(format!("job-{id}/built"));
        for _ in 0..2 {
            std::fs::create_dir_all(&built).unwrap();
            assert_eq!(after(&service, &config).await, [(State::Queued, None)]);
            assert!(built.exists(), "it is published from what was built");
            service.begin(id);
        }
        assert_eq!(after(&service, &config).await, [(State::Failed, Some(FailureKind::Crash))]);
        assert!(!built.exists());
        // A retry has as many tries again, and builds again.
        service.record.write(|tx| jobs::retry(tx, id, State::Failed, &alice())).unwrap();
        assert_eq!(jobs::publications(service.record.db(), id).unwrap(), 0);
        service.begin(id);
        assert_eq!(after(&service, &config).await, [(State::Queued, None)]);
    }

    #[tokio::test]
    async fn a_publication_that_was_to_be_cancelled_is_not_tried_again() {
        let mut service = TestService::new();
        let config = Arc::new(service.config.clone());
        let commit = service.commit("hello", "1.0");
        let id = service.job("prod", "hello", "1.0", &commit);
        service.record.write(|tx| jobs::ask_to_cancel(tx, id, &alice())).unwrap();
        assert_eq!(after(&service, &config).await, [(State::Cancelled, None)]);
    }
}
