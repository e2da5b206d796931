//! Slurm's queue as it was a moment ago: however many builds look at it, it is asked for once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::Mutex;

use crate::executor::slurm::commands::{self, QueuedJob};
use invirtibuilder_system::subprocess::CancellationToken;

/// The jobs of this user, by name.
pub type QueueView = Arc<HashMap<String, QueuedJob>>;

/// The queue, as it was last.
#[derive(Debug, Default)]
pub struct SlurmQueue(Mutex<Option<(Instant, QueueView)>>);

impl SlurmQueue {
    /// Returns the queue as it was less than `age` ago.
    pub async fn look(&self, age: Duration, cancel: &CancellationToken) -> Result<QueueView> {
        let mut last = self.0.lock().await;
        if let Some((_, view)) = last.as_ref().filter(|(at, _)| at.elapsed() < age) {
            return Ok(view.clone());
        }
        let view = Arc::new(commands::queue(cancel).await?);
        *last = Some((Instant::now(), view.clone()));
        Ok(view)
    }
}
