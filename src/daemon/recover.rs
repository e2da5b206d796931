//! What is done before the first job is claimed: a daemon may have died at any moment before.

use std::sync::Arc;

use anyhow::Result;

use super::shared::Shared;
use super::worker::Workspace;
use crate::config::Config;
use crate::failpoint::{Point, reach};
use crate::record::{State, jobs};

/// Ends what a dead daemon left: its claims, its builds, its work, and the moves that its publications owe.
pub async fn run(config: &Arc<Config>, shared: &Shared) -> Result<()> {
    reach(Point::RecoverBegun)?;
    std::fs::create_dir_all(config.scratch())?;
    let mut keep = Vec::new();
    for job in shared.read(jobs::open)? {
        // Daemons may die one after the other before it is published.
        if shared.read(|db| jobs::was_publishing(db, job.id))? {
            keep.push(job.id);
        }
        if !job.state.is_running() {
            continue;
        }
        // We hold the instance lock, so whoever claimed it is dead.
        shared.write(|tx| match &job.cancel_by {
            Some(by) if job.state != State::Publishing => jobs::cancelled(tx, job.id, job.state, by),
            _ => jobs::give_back(tx, job.id, job.state, "the daemon was restarted"),
        })?;
        reach(Point::RecoverGivenBack)?;
    }
    for error in Workspace::sweep(config, &keep).await? {
        shared.complain("work of an earlier daemon is left", &error);
    }
    reach(Point::RecoverSwept)?;
    shared.project(config).await?;
    Ok(reach(Point::Recovered)?)
}
