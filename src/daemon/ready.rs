//! Gets the next builds ready: one thing at a time, beside the builds that run. Build dependencies are installed only while a job
//! less runs than may.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use super::shared::Shared;
use crate::build::{Builder, Ready};
use crate::chroot::programs::{From, Unpacked};
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
    /// Cancelled when what is installed beforehand has to give way.
    spare: CancellationToken,
}

impl Readier {
    /// Starts what is due, unless something is being done; `spare`: whether a job more could run.
    pub fn start_due(&mut self, shared: &Arc<Shared>, config: &Arc<Config>, spare: bool) -> Result<()> {
        let ended = self.task.try_join_next();
        ended.transpose().context("a task that unpacks chroots died")?;
        if !self.task.is_empty() {
            return Ok(());
        }
        self.spare = self.cancel.child_token();
        if !spare {
            self.spare.cancel();
        }
        let (shared, config, cancel, spare) = (shared.clone(), config.clone(), self.cancel.clone(), self.spare.clone());
        self.task.spawn(async move {
            let done = get_ready(&shared, &config, &cancel, &spare).await;
            if let Some(error) = done.err().filter(|_| !cancel.is_cancelled()) {
                shared.complain("a build cannot be prepared", &error);
                let _ = tokio::time::timeout(AGAIN, cancel.cancelled()).await;
            }
        });
        Ok(())
    }

    /// Every slot is needed: nothing is installed beforehand for now.
    pub fn give_way(&self) {
        self.spare.cancel();
    }

    /// Stops, and waits until it has.
    pub async fn stop(&mut self) {
        self.cancel.cancel();
        while self.task.join_next().await.is_some() {}
    }
}

/// Unpacks what has to be, and then installs one set of build dependencies: whether more is to be done is looked at anew.
async fn get_ready(
    shared: &Shared,
    config: &Config,
    cancel: &CancellationToken,
    spare: &CancellationToken,
) -> Result<()> {
    unpack_programs(shared, config, cancel).await?;
    let (builder, jobs) = (Builder::new(config)?, config.daemon.jobs as u32);
    let chroots = if config.chroots.unpacked { wanted(shared, config)? } else { Vec::new() };
    let sets = builder.wanted(&chroots)?;
    builder.forget(jobs, &chroots, &sets).await?;
    while let Some(ready) = builder.get_ready(jobs, &chroots, cancel).await? {
        say(shared, &ready);
    }
    if !spare.is_cancelled() {
        match builder.install_next(jobs, &chroots, &sets, spare).await {
            Err(_) if spare.is_cancelled() => {}
            done => done?.iter().for_each(|ready| say(shared, ready)),
        }
    }
    Ok(())
}

/// Unpacks what makes source packages, and removes what is of chroots and images that were replaced.
async fn unpack_programs(shared: &Shared, config: &Config, cancel: &CancellationToken) -> Result<()> {
    let unpacked = Unpacked::new(config);
    let from =
        config.build.pockets.values().filter_map(|pocket| From::of(config, pocket, shared.publisher.host()).ok());
    let from: Vec<From> = from.collect();
    for one in &from {
        let is_there = one.manifest().is_none_or(|manifest| unpacked.has(&manifest.digest));
        if !is_there {
            unpacked.get(one, cancel).await?;
        }
    }
    let keep: Vec<_> = from.iter().filter_map(From::manifest).map(|manifest| &manifest.digest).collect();
    unpacked.prune(&keep).await
}

fn say(shared: &Shared, ready: &Ready) {
    let why = ready.why.iter().map(|why| ("why", &why[..]));
    let fields: Vec<_> = [("chroot", &ready.chroot[..])].into_iter().chain(why).collect();
    shared.log.event(Severity::Info, ready.event, &fields);
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
