//! Makes chroots anew when they are older than `chroots.refresh`, one at a time. Builds go on
//! meanwhile: those that run keep the old one, and the next finds the new one in its place.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use crate::shared::Shared;
use invirtibuilder_core::config::Config;
use invirtibuilder_core::manifest::Manifest;
use invirtibuilder_core::time::now;
use invirtibuilder_environment::Store;
use invirtibuilder_system::subprocess::CancellationToken;

/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(3600);

/// The task that makes a chroot, if there is one.
#[derive(Default)]
pub struct Refresher {
    task: JoinSet<()>,
    cancel: CancellationToken,
}

impl Refresher {
    /// Starts with the oldest chroot that is due, unless one is being made.
    pub fn start_due(&mut self, shared: &Arc<Shared>, config: &Arc<Config>) -> Result<()> {
        let ended = self.task.try_join_next();
        ended.transpose().context("a task that makes chroots died")?;
        let Some(every) = config.chroots.refresh.filter(|_| self.task.is_empty()) else {
            return Ok(());
        };
        let store = Store::new(config);
        let due = |manifest: &Manifest| now() - manifest.created > every.as_millis() as i64;
        let images = store.images()?.into_iter().map(|image| (image.manifest, true));
        let all = store.list()?.into_iter().map(|chroot| (chroot, false)).chain(images);
        let oldest =
            all.filter(|(manifest, _)| due(manifest)).min_by_key(|(manifest, _)| manifest.created);
        let Some((old, is_image)) = oldest else { return Ok(()) };
        let (shared, config, cancel) = (shared.clone(), config.clone(), self.cancel.clone());
        self.task.spawn(async move {
            let made = make(&store, &config, (&old, is_image), &cancel).await;
            if let Some(error) = made.err().filter(|_| !cancel.is_cancelled()) {
                shared.complain("a chroot cannot be made anew", &error);
                let _ = tokio::time::timeout(AGAIN, cancel.cancelled()).await;
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

async fn make(
    store: &Store,
    config: &Config,
    (old, is_image): (&Manifest, bool),
    cancel: &CancellationToken,
) -> Result<()> {
    let form = if is_image { "image" } else { "chroot" };
    let log = config.state_dir.join("logs").join(format!("{form}-{}.log", old.distro));
    std::fs::create_dir_all(log.parent().context("a log has a directory")?)?;
    let _ = std::fs::remove_file(&log);
    let new = if is_image {
        store.create_image(&old.distro, &old.architecture, &log, cancel).await?
    } else {
        store.create(&old.distro, &old.architecture, &log, cancel).await?
    };
    tracing::info!(distro = %new.distro, architecture = %new.architecture, "{form}-refreshed");
    Ok(())
}
