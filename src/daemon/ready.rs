//! Gets the next builds ready: one thing at a time, beside the builds that run. Build dependencies
//! are installed only while a job less runs than may.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use crate::shared::Shared;
use invirtibuilder_builder::{Builder, Ready};
use invirtibuilder_core::config::{Config, Isolation, Pocket};
use invirtibuilder_environment::programs::{From, UnpackedPrograms};
use invirtibuilder_environment::{Chroot, Store};
use invirtibuilder_system::architectures;
use invirtibuilder_system::subprocess::CancellationToken;

/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(15 * 60);

/// The task that does it, if there is one.
#[derive(Default)]
pub struct Readier {
    task: JoinSet<()>,
    cancel: CancellationToken,
    /// Cancelled when what is installed beforehand has to give way.
    spare: CancellationToken,
}

/// Whether the daemon runs as many jobs as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Places {
    /// It does.
    Taken,
    /// One more could run.
    Free,
}

impl Readier {
    /// Starts what is due, unless something is being done.
    pub fn start_due(
        &mut self,
        shared: &Arc<Shared>,
        config: &Arc<Config>,
        places: Places,
    ) -> Result<()> {
        let ended = self.task.try_join_next();
        ended.transpose().context("a task that unpacks chroots died")?;
        if !self.task.is_empty() {
            return Ok(());
        }
        self.spare = self.cancel.child_token();
        if places == Places::Taken {
            self.spare.cancel();
        }
        let (shared, config, cancel, spare) =
            (shared.clone(), config.clone(), self.cancel.clone(), self.spare.clone());
        self.task.spawn(async move {
            let done = get_ready(&config, &cancel, &spare).await;
            if let Some(error) = done.err().filter(|_| !cancel.is_cancelled()) {
                shared.complain("a build cannot be prepared", &error);
                let _ = tokio::time::timeout(AGAIN, cancel.cancelled()).await;
            }
        });
        Ok(())
    }

    /// Says that every slot is needed: nothing is installed beforehand for now.
    pub fn give_way(&self) {
        self.spare.cancel();
    }

    /// Stops, and waits until it has.
    pub async fn stop(&mut self) {
        self.cancel.cancel();
        while self.task.join_next().await.is_some() {}
    }
}

/// Unpacks what has to be, and then installs one set of build dependencies: whether more is to be
/// done is looked at anew.
async fn get_ready(
    config: &Config,
    cancel: &CancellationToken,
    spare: &CancellationToken,
) -> Result<()> {
    unpack_programs(config, cancel).await?;
    let (builder, jobs) = (Builder::new(config)?, config.daemon.jobs as u32);
    let chroots = if config.chroots.unpacked { wanted(config)? } else { Vec::new() };
    let unshare = builder.unshare();
    let sets = unshare.wanted(&chroots)?;
    unshare.forget(jobs, &chroots, &sets).await?;
    while let Some(ready) = unshare.get_ready(jobs, &chroots, cancel).await? {
        say(&ready);
    }
    if !spare.is_cancelled() {
        match unshare.install_next(jobs, &chroots, &sets, spare).await {
            Err(_) if spare.is_cancelled() => {}
            done => done?.iter().for_each(say),
        }
    }
    Ok(())
}

/// Unpacks what makes source packages, and removes what is of chroots and images that were
/// replaced.
async fn unpack_programs(config: &Config, cancel: &CancellationToken) -> Result<()> {
    let unpacked = UnpackedPrograms::new(config);
    let from = config.build.pockets.values().filter_map(|pocket| From::of(config, pocket).ok());
    let from: Vec<From> = from.collect();
    for one in &from {
        let is_there = one.manifest().is_none_or(|manifest| unpacked.has(&manifest.digest));
        if !is_there {
            unpacked.get(one, cancel).await?;
        }
    }
    let keep: Vec<_> =
        from.iter().filter_map(From::manifest).map(|manifest| &manifest.digest).collect();
    unpacked.prune(&keep).await
}

fn say(ready: &Ready) {
    tracing::info!(chroot = ready.chroot, why = ready.why, "{}", ready.event);
}

/// Lists the chroots that builds in user namespaces start from on this machine.
fn wanted(config: &Config) -> Result<Vec<Chroot>> {
    let store = Store::new(config);
    let mut wanted = Vec::new();
    for pocket in config.pockets() {
        let settings = pocket.settings();
        let Pocket { distro, isolation, .. } = settings;
        if *isolation == Isolation::Unshare && !config.is_on_slurm(settings) {
            let architectures = architectures::of_pocket(settings);
            wanted.extend(
                architectures.into_iter().map(|architecture| (distro.clone(), architecture)),
            );
        }
    }
    wanted.sort();
    wanted.dedup();
    let found = wanted.iter().map(|(distro, architecture)| store.find(distro, architecture));
    Ok(found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}
