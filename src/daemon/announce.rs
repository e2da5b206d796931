//! Runs the hooks that are owed: those of one job one after the other, those of different jobs side by side.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Result;
use tokio::task::{JoinError, JoinSet};

use super::shared::Shared;
use crate::config::Config;
use crate::failpoint::{Point, reach};
use crate::hooks::{self, Extra};
use crate::names::JobId;
use crate::record::hooks::Owed;
use crate::record::{Event, beside, contents, jobs, moves};
use crate::subprocess::CancellationToken;

/// Jobs whose hooks run at one time.
const MOST: usize = 8;

/// The tasks that run hooks.
#[derive(Default)]
pub struct Heralds {
    tasks: JoinSet<JobId>,
    busy: HashSet<JobId>,
    stop: CancellationToken,
}

impl Heralds {
    /// Starts the hooks of events that are owed. `published` is told only when Git and apt show it.
    pub fn start_due(&mut self, shared: &Arc<Shared>, config: &Arc<Config>) -> Result<()> {
        for owed in shared.read(crate::record::hooks::owed)? {
            let due = owed.event != Event::Published || !shared.read(|db| moves::owes(db, owed.job))?;
            if self.busy.len() < MOST && due && self.busy.insert(owed.job) {
                let (shared, config, stop) = (shared.clone(), config.clone(), self.stop.clone());
                self.tasks.spawn(async move {
                    if let Err(error) = announce(&shared, &config, &owed, &stop).await {
                        shared.complain("hooks cannot be run", &error);
                        // What fails now is not tried again at once.
                        tokio::time::sleep(super::TICK).await;
                    }
                    owed.job
                });
            }
        }
        Ok(())
    }

    /// The next of them that has ended; `None` when there is none.
    pub async fn join_next(&mut self) -> Option<Result<(), JoinError>> {
        Some(self.tasks.join_next().await?.map(|job| {
            self.busy.remove(&job);
        }))
    }

    /// Kills those that run; what they were told stays owed.
    pub fn stop(&mut self) {
        self.stop.cancel();
    }
}

async fn announce(shared: &Shared, config: &Config, owed: &Owed, stop: &CancellationToken) -> Result<()> {
    let (job, changes) = shared.read(|db| {
        let job = jobs::get(db, owed.job)?;
        let changes = match owed.event {
            Event::Published => {
                let suite = config.suite(&job.pocket);
                match beside::changes(db, &suite, &job.package, &job.version)? {
                    Some(path) => Some(path),
                    None => contents::changes(db, &job.package, &job.version)?,
                }
            }
            Event::Submitted | Event::Started | Event::Failed | Event::Cancelled => None,
        };
        Ok((job, changes))
    })?;
    let extra = Extra { changes: changes.map(|path| config.archive.root.join(path)) };
    let runs = hooks::run(config, owed.event, &job, &extra, stop).await;
    if stop.is_cancelled() {
        return Ok(());
    }
    reach(Point::HookRan)?;
    shared.write(|tx| crate::record::hooks::settle(tx, owed, &runs))?;
    Ok(reach(Point::HookRecorded)?)
}
