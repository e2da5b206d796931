//! What is done so that the next build starts at once: chroots are unpacked, with apt's lists in
//! them, and build dependencies are installed above them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::executor::BuildOutcome;
use crate::executor::sandboxed::{Run, inside};
use crate::executor::unshare::{UNPACKED, Unshare};
use crate::sbuild;
use invirtibuilder_core::config::Limits;
use invirtibuilder_core::manifest::Manifest;
use invirtibuilder_environment::Chroot;
use invirtibuilder_environment::dependencies::Dependencies;
use invirtibuilder_environment::layers::LayerOutcome;
use invirtibuilder_environment::roots::Need;
use invirtibuilder_sandbox::Bind;
use invirtibuilder_sandbox::testbed::{CLIENT, UnpackedRoot};
use invirtibuilder_system::remove::remove_tree;
use invirtibuilder_system::slot::Slot;
use invirtibuilder_system::subprocess::{CancellationToken, Cmd};

/// The most that is kept of what apt says.
const SAID: usize = 4 << 20;

/// The most that a layer of build dependencies has, in bytes.
const LARGEST: u64 = 4 << 30;

/// The sets of build dependencies that are to be installed, for each chroot.
#[derive(Debug)]
pub struct WantedLayers(Vec<Vec<Dependencies>>);

/// What was made ready, or could not be.
#[derive(Debug)]
pub struct Ready {
    /// The event that it is in the system log.
    pub event: &'static str,
    /// The chroot and the slot.
    pub chroot: String,
    /// Why it could not be.
    pub why: Option<String>,
}

impl Ready {
    fn of(event: &'static str, chroot: &Chroot, slot: u32) -> Self {
        let Manifest { distro, architecture, .. } = &chroot.manifest;
        Self { event, chroot: format!("{distro} {architecture} {slot}"), why: None }
    }
}

impl Unshare {
    /// Does the first thing that is to be done for builds in these chroots, `jobs` of them at a
    /// time, if anything is. What a running build uses is left alone.
    pub async fn get_ready(
        &self,
        jobs: u32,
        chroots: &[Chroot],
        cancel: &CancellationToken,
    ) -> Result<Option<Ready>> {
        for number in 0..jobs {
            for chroot in chroots {
                match self.roots.need(number, &chroot.manifest) {
                    Need::Nothing => continue,
                    // With apt's lists it is not twice as long as its tarball. Without room builds
                    // unpack it themselves.
                    Need::Root
                        if !self.roots.has_room(fs::metadata(&chroot.tarball)?.len() * 2)? =>
                    {
                        continue;
                    }
                    Need::Root | Need::Lists => {}
                }
                let Some(slot) = Slot::take_this(&self.slots, number)? else { continue };
                let scratch = self.fresh_scratch(number).await?;
                let done = self.unpack(&slot, chroot, &scratch, cancel).await;
                remove_tree(&scratch).await?;
                done?;
                return Ok(Some(Ready::of("chroot-ready", chroot, number)));
            }
        }
        Ok(None)
    }

    /// Installs the first set of build dependencies that was asked for and is not installed above
    /// these chroots, if there is one.
    pub async fn install_next(
        &self,
        jobs: u32,
        chroots: &[Chroot],
        wanted: &WantedLayers,
        cancel: &CancellationToken,
    ) -> Result<Option<Ready>> {
        for number in 0..jobs {
            for (chroot, wanted) in chroots.iter().zip(&wanted.0) {
                let Some(dependencies) = self.lacking(number, &chroot.manifest, wanted)? else {
                    continue;
                };
                let Some(slot) = Slot::take_this(&self.slots, number)? else { continue };
                return self.install_in(&slot, chroot, dependencies, cancel).await.map(Some);
            }
        }
        Ok(None)
    }

    /// Unpacks a chroot for a slot that a build holds already, unless it is there or the disk has
    /// no room: on a machine where nobody does so beforehand. Lists that no build would rely on
    /// are fetched. Returns whether it did anything.
    pub async fn get_slot_ready(
        &self,
        slot: &Slot,
        chroot: &Chroot,
        cancel: &CancellationToken,
    ) -> Result<bool> {
        let is_due = match self.roots.find(slot, &chroot.manifest) {
            Some(root) => root.lists.is_none(),
            None => self.roots.has_room(fs::metadata(&chroot.tarball)?.len() * 2)?,
        };
        if is_due {
            let scratch = self.fresh_scratch(slot.number()).await?;
            let done = self.unpack(slot, chroot, &scratch, cancel).await;
            remove_tree(&scratch).await?;
            done?;
        }
        Ok(is_due)
    }

    /// Installs what a build asks for above the chroot of a slot that it holds already, if a build
    /// has asked for the same before and it is not there: on a machine where nobody does so
    /// beforehand.
    pub async fn install_for(
        &self,
        slot: &Slot,
        chroot: &Chroot,
        asked: &Dependencies,
        cancel: &CancellationToken,
    ) -> Result<Option<Ready>> {
        let manifest = &chroot.manifest;
        let is_wanted = !asked.are_in(manifest) && self.layers.wanted(manifest)?.contains(asked);
        let due = std::slice::from_ref(asked);
        if !is_wanted || self.lacking(slot.number(), manifest, due)?.is_none() {
            return Ok(None);
        }
        self.install_in(slot, chroot, asked, cancel).await.map(Some)
    }

    /// Installs build dependencies for a slot, in a scratch directory of its own.
    async fn install_in(
        &self,
        slot: &Slot,
        chroot: &Chroot,
        dependencies: &Dependencies,
        cancel: &CancellationToken,
    ) -> Result<Ready> {
        let scratch = self.fresh_scratch(slot.number()).await?;
        let done = self.install((slot, &scratch), chroot, dependencies, cancel).await;
        remove_tree(&scratch).await?;
        let why = done?;
        let event = if why.is_none() { "layer-ready" } else { "layer-not-made" };
        Ok(Ready { why, ..Ready::of(event, chroot, slot.number()) })
    }

    async fn fresh_scratch(&self, number: u32) -> Result<PathBuf> {
        let scratch = self.scratch.join(format!("ready-{number}"));
        remove_tree(&scratch).await?;
        fs::create_dir_all(&scratch)?;
        Ok(scratch)
    }

    /// Finds the first of these that a slot has not installed, if there is room for it.
    fn lacking<'a>(
        &self,
        slot: u32,
        chroot: &Manifest,
        wanted: &'a [Dependencies],
    ) -> Result<Option<&'a Dependencies>> {
        let Some(lists) = self.roots.look(slot, chroot).and_then(|root| root.lists) else {
            return Ok(None);
        };
        let lacking = wanted.iter().find(|one| self.layers.lacks(slot, chroot, &one.key(), &lists));
        Ok(if lacking.is_some() && self.roots.has_room(LARGEST)? { lacking } else { None })
    }

    /// Returns what builds in these chroots have asked for lately.
    pub fn wanted(&self, chroots: &[Chroot]) -> Result<WantedLayers> {
        Ok(WantedLayers(
            chroots
                .iter()
                .map(|chroot| self.layers.wanted(&chroot.manifest))
                .collect::<Result<_>>()?,
        ))
    }

    /// Removes what no build will use.
    pub async fn forget(&self, jobs: u32, chroots: &[Chroot], wanted: &WantedLayers) -> Result<()> {
        let manifests: Vec<_> = chroots.iter().map(|chroot| &chroot.manifest).collect();
        let digests: Vec<_> = manifests.iter().map(|manifest| &manifest.digest).collect();
        let keys = wanted.0.iter().map(|wanted| wanted.iter().map(Dependencies::key).collect());
        let layers: Vec<_> = manifests.iter().copied().zip(keys).collect();
        let short = !self.roots.has_room(0)?;
        let slots: BTreeSet<u32> =
            self.roots.slots().into_iter().chain(self.layers.slots()).collect();
        for number in slots {
            let roots = if number < jobs { &digests[..] } else { &[] };
            let layers = if number < jobs && !short { &layers[..] } else { &[] };
            if self.roots.has_others(number, roots) || self.layers.has_others(number, layers) {
                if let Some(slot) = Slot::take_this(&self.slots, number)? {
                    self.roots.prune(&slot, roots).await?;
                    self.layers.prune(&slot, layers).await?;
                }
            }
        }
        Ok(())
    }

    /// Installs build dependencies above an unpacked chroot, from its mirrors alone. That they
    /// cannot be is no error: it is written down, and why is returned.
    async fn install(
        &self,
        (slot, scratch): (&Slot, &Path),
        chroot: &Chroot,
        dependencies: &Dependencies,
        cancel: &CancellationToken,
    ) -> Result<Option<String>> {
        let manifest = &chroot.manifest;
        let root = self.roots.find(slot, manifest).context("the chroot is not unpacked")?;
        let lists = root.lists.context("the chroot has no lists")?;
        let room = self.layers.begin(slot, manifest).await?;
        let limits = Limits::default();
        let mut spec = self.chroot_spec(
            scratch,
            &limits,
            chroot,
            Some(UnpackedRoot::Below(vec![UNPACKED.into()])),
        )?;
        spec.binds.push(Bind { from: root.path, to: inside(UNPACKED), writable: false });
        self.sandboxed.write_on_disk(&mut spec, &room, LARGEST).await?;
        spec.command = [CLIENT, sbuild::SOCKET].map(str::to_owned).to_vec();
        spec.command.extend(sbuild::satisfy(dependencies));
        let run = Run::beforehand(manifest, &limits, slot, scratch);
        let BuildOutcome { finished: ended, .. } =
            self.sandboxed.run(run, spec, |cmd: Cmd| cmd.capture(SAID), cancel).await?;
        ensure!(!cancel.is_cancelled(), "told to stop");
        let mut why = (!ended.ok()).then(|| ended.describe());
        let asked = (dependencies, &lists[..]);
        if why.is_none()
            && let Err(error) = self.layers.finish(slot, manifest, asked, LayerOutcome::Made).await
        {
            why = Some(format!("{error:#}"));
        }
        if why.is_some() {
            self.layers.begin(slot, manifest).await?;
            self.layers.finish(slot, manifest, asked, LayerOutcome::Impossible).await?;
        }
        Ok(why)
    }

    /// Unpacks a chroot for a slot, if it is not yet, and brings apt's lists up to date in it.
    async fn unpack(
        &self,
        slot: &Slot,
        chroot: &Chroot,
        scratch: &Path,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let there = self.roots.find(slot, &chroot.manifest);
        let from = match &there {
            Some(root) => root.path.clone(),
            None => self.roots.begin(slot).await?,
        };
        let limits = Limits::default();
        let itself = UnpackedRoot::Itself(UNPACKED.into());
        let mut spec = self.chroot_spec(scratch, &limits, chroot, Some(itself))?;
        spec.binds.push(Bind { from, to: inside(UNPACKED), writable: true });
        // The proxy tries again by itself, and a build that misses something fetches the lists anew.
        let update = [CLIENT, sbuild::SOCKET, "apt-get", "-o", "Acquire::Retries=0", "update"];
        spec.command = update.map(str::to_owned).to_vec();
        let run = Run::beforehand(&chroot.manifest, &limits, slot, scratch);
        let BuildOutcome { finished: ended, .. } =
            self.sandboxed.run(run, spec, |cmd: Cmd| cmd.capture(SAID), cancel).await?;
        ended.success().context("a chroot cannot be unpacked")?;
        if there.is_none() {
            self.roots.finish(slot, &chroot.manifest)?;
        }
        self.roots.updated(slot, &chroot.manifest)
    }
}
