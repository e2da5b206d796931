//! Gets the next builds ready while nobody waits: one thing at a time, beside the builds that run.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use super::shared::Shared;
use crate::build::{Builder, Ready};
use crate::chroot::{Chroot, Store};
use crate::config::{Config, Isolation};
use crate::log::Severity;
use crate::subprocess::CancellationToken;

/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(15 * 60);

/// The task that does it, if there is one.
#[derive(Default)]
pub struct Readier {
    task: JoinSet<()>,
    cancel: CancellationToken,
}

impl Readier {
    /// Starts what is due, unless something is being done.
    pub fn start_due(&mut self, shared: &Arc<Shared>, config: &Arc<Config>) -> Result<()> {
        let ended = self.task.try_join_next();
        ended.transpose().context("a task that unpacks chroots died")?;
        if !self.task.is_empty() {
            return Ok(());
        }
        let (builder, jobs) = (Builder::new(config)?, config.daemon.jobs as u32);
        let chroots = if config.chroots.unpacked { wanted(shared, config)? } else { Vec::new() };
        let (shared, cancel) = (shared.clone(), self.cancel.clone());
        self.task.spawn(async move {
            loop {
                match builder.get_ready(jobs, &chroots, &cancel).await {
                    Ok(Some((what, chroot))) => {
                        let event = match what {
                            Ready::Chroot => "chroot-ready",
                            Ready::Layer => "layer-ready",
                        };
                        shared.log.event(Severity::Info, event, &[("chroot", &chroot)]);
                    }
                    Ok(None) => break,
                    Err(_) if cancel.is_cancelled() => break,
                    Err(error) => {
                        shared.complain("a build cannot be prepared", &error);
                        let _ = tokio::time::timeout(AGAIN, cancel.cancelled()).await;
                        break;
                    }
                }
            }
        });
        Ok(())
    }

    /// Stops, and waits until it has.
    pub async fn stop(&mut self) {
        self.cancel.cancel();
        while self.task.join_next().await.is_some() {}
    }
}

/// The chroots that builds in user namespaces start from.
fn wanted(shared: &Shared, config: &Config) -> Result<Vec<Chroot>> {
    let store = Store::new(config);
    let mut wanted = Vec::new();
    for (name, pocket) in &config.build.pockets {
        if pocket.isolation == Isolation::Unshare {
            let architectures = shared.publisher.architectures(config, name);
            wanted.extend(architectures.into_iter().map(|architecture| (pocket.distro.clone(), architecture)));
        }
    }
    wanted.sort();
    wanted.dedup();
    let found = wanted.iter().map(|(distro, architecture)| store.find(distro, architecture));
    Ok(found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}
