//! Runs the hooks that are owed: those of one job one after the other, those of different jobs side
//! by side.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::task::{Id, JoinError, JoinSet};
use tracing::Instrument;

use crate::hooks::{self, Extra};
use crate::shared::Shared;
use invirtibuilder_api::job::Event;
use invirtibuilder_core::config::Config;
use invirtibuilder_core::failpoint::{Point, reach};
use invirtibuilder_core::names::JobId;
use invirtibuilder_store::hooks::OwedEvent;
use invirtibuilder_store::{beside, contents, jobs, moves};
use invirtibuilder_system::subprocess::CancellationToken;

/// Jobs whose hooks run at one time.
const MOST: usize = 8;

/// The tasks that run hooks.
pub struct Heralds {
    tasks: JoinSet<()>,
    /// The job that each task is about.
    busy: HashMap<Id, JobId>,
    stop: CancellationToken,
    /// The time until hooks that could not be run are tried again.
    again: Duration,
}

impl Heralds {
    /// Prepares to run hooks; `again` after they could not be run, it tries once more.
    pub fn new(again: Duration) -> Self {
        Self { tasks: JoinSet::new(), busy: HashMap::new(), stop: CancellationToken::new(), again }
    }

    /// Starts the hooks of events that are owed. `published` is told only when Git and apt show it.
    pub fn start_due(&mut self, shared: &Arc<Shared>, config: &Arc<Config>) -> Result<()> {
        for owed in shared.read(invirtibuilder_store::hooks::owed)? {
            let due = !matches!(owed.event, Event::Published | Event::Removed)
                || !shared.read(|db| moves::owes(db, owed.job))?;
            if self.busy.len() < MOST && due && !self.is_busy(owed.job) {
                let (shared, config, stop) = (shared.clone(), config.clone(), self.stop.clone());
                let (again, job) = (self.again, owed.job);
                let span = tracing::info_span!("job", job = %owed.job, event = owed.event.as_str());
                let run = async move {
                    if let Err(error) = announce(&shared, &config, &owed, &stop).await {
                        shared.complain("hooks cannot be run", &error);
                        // What fails now is not tried again at once.
                        tokio::time::sleep(again).await;
                    }
                };
                self.spawn(job, run.instrument(span));
            }
        }
        Ok(())
    }

    fn is_busy(&self, job: JobId) -> bool {
        self.busy.values().any(|other| *other == job)
    }

    fn spawn(&mut self, job: JobId, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(task);
        self.busy.insert(task.id(), job);
    }

    /// Waits for the next of them that ends; `None` when there is none. One that panicked is an
    /// error: its job's hooks are tried again, but not at once.
    pub async fn join_next(&mut self) -> Option<Result<(), JoinError>> {
        let ended = self.tasks.join_next_with_id().await?;
        let job = self.busy.remove(&ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id));
        if let (Err(_), Some(job), false) = (&ended, job, self.stop.is_cancelled()) {
            self.spawn(job, tokio::time::sleep(self.again));
        }
        Some(ended.map(|(_, ())| ()))
    }

    /// Kills those that run; what they were told stays owed.
    pub fn stop(&mut self) {
        self.stop.cancel();
    }
}

async fn announce(
    shared: &Shared,
    config: &Config,
    owed: &OwedEvent,
    stop: &CancellationToken,
) -> Result<()> {
    let (job, changes) = shared.read(|db| {
        let job = jobs::get(db, owed.job)?;
        let changes = match owed.event {
            Event::Published => {
                let (suite, id) = (config.suite_of_job(&job.pocket, &job.domain), job.identity());
                match beside::changes(db, &suite, &id)? {
                    Some(path) => Some(path),
                    None => contents::changes(db, &id)?,
                }
            }
            Event::Submitted
            | Event::Started
            | Event::Failed
            | Event::Cancelled
            | Event::Removed => None,
        };
        Ok((job, changes))
    })?;
    let archive = config.archive_of(&job.domain);
    let extra = Extra {
        changes: changes.and_then(|path| Some(archive?.root.join(path))),
        by: owed.by.clone(),
        reason: owed.reason.clone(),
    };
    let runs = hooks::run_hooks(config, owed.event, &job, &extra, stop).await;
    if stop.is_cancelled() {
        return Ok(());
    }
    reach(Point::HookRan)?;
    shared.write(|tx| invirtibuilder_store::hooks::settle(tx, owed, &runs))?;
    Ok(reach(Point::HookRecorded)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_ends_nothing_and_is_not_tried_again_at_once() {
        let (mut heralds, job) = (Heralds::new(Duration::from_millis(50)), JobId(7));
        heralds.spawn(job, async { panic!("a bug of ours") });
        assert!(heralds.join_next().await.unwrap().is_err());
        assert!(heralds.is_busy(job), "it waits before it is tried again");
        assert!(heralds.join_next().await.unwrap().is_ok());
        assert!(!heralds.is_busy(job));
        assert!(heralds.join_next().await.is_none());
    }
}
