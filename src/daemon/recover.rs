//! What is done before the first job is claimed: a daemon may have died at any moment before.

use std::sync::Arc;

use anyhow::Result;

use super::shared::Shared;
use super::worker::Workspace;
use crate::config::Config;
use crate::record::{State, jobs};

/// Ends what a dead daemon left: its claims, its builds, its work, and the moves that its publications owe.
pub async fn run(config: &Arc<Config>, shared: &Shared) -> Result<()> {
    std::fs::create_dir_all(config.scratch())?;
    let mut keep = Vec::new();
    // We hold the instance lock, so whoever claimed these is dead.
    for job in shared.read(jobs::open)?.into_iter().filter(|job| job.state.is_running()) {
        shared.write(|tx| match &job.cancel_by {
            Some(by) if job.state != State::Publishing => jobs::cancelled(tx, job.id, job.state, by),
            _ => jobs::give_back(tx, job.id, job.state, "the daemon was restarted"),
        })?;
        if job.state == State::Publishing {
            keep.push(job.id);
        }
    }
    Workspace::sweep(config, &keep)?;
    shared.project(config).await
}
