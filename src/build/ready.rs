//! What is done so that the next build starts at once: chroots are unpacked, with apt's lists in them, while nobody waits.

use std::fs;

use anyhow::{Context, Result};

use super::in_chroot::UNPACKED;
use super::roots::Need;
use super::sandbox::Bind;
use super::slot::Slot;
use super::testbed::{CLIENT, Unpacked};
use super::{Builder, Run, inside, remove_tree, sbuild};
use crate::chroot::Chroot;
use crate::config::Limits;
use crate::subprocess::{CancellationToken, Cmd};

/// The most that is kept of what apt says.
const SAID: usize = 64 << 10;

impl Builder {
    /// Does the first thing that is to be done for builds in these chroots, `jobs` of them at a time, if anything is; what it was.
    /// What a running build uses is left alone.
    pub async fn get_ready(&self, jobs: u32, chroots: &[Chroot], cancel: &CancellationToken) -> Result<Option<String>> {
        self.forget(jobs, chroots).await?;
        for number in 0..jobs {
            for chroot in chroots {
                match self.roots.need(number, &chroot.manifest) {
                    Need::Nothing => continue,
                    // Builds then unpack it themselves.
                    Need::Root if !self.roots.has_room(chroot)? => continue,
                    Need::Root | Need::Lists => {}
                }
                let Some(slot) = Slot::take_this(&self.slots, number)? else { continue };
                let scratch = self.scratch.join(format!("ready-{number}"));
                let done = self.unpack(&slot, chroot, &scratch, cancel).await;
                remove_tree(&scratch).await?;
                done?;
                let manifest = &chroot.manifest;
                return Ok(Some(format!("{} {} {number}", manifest.distro, manifest.architecture)));
            }
        }
        Ok(None)
    }

    /// Removes what no build will use.
    async fn forget(&self, jobs: u32, chroots: &[Chroot]) -> Result<()> {
        let manifests: Vec<_> = chroots.iter().map(|chroot| chroot.manifest.clone()).collect();
        for number in self.roots.slots() {
            let keep = if number < jobs { &manifests[..] } else { &[] };
            if self.roots.has_others(number, keep) {
                if let Some(slot) = Slot::take_this(&self.slots, number)? {
                    self.roots.prune(&slot, keep).await?;
                }
            }
        }
        Ok(())
    }

    /// Unpacks a chroot for a slot, if it is not yet, and brings apt's lists up to date in it.
    async fn unpack(
        &self,
        slot: &Slot,
        chroot: &Chroot,
        scratch: &std::path::Path,
        cancel: &CancellationToken,
    ) -> Result<()> {
        remove_tree(scratch).await?;
        fs::create_dir_all(scratch)?;
        let there = self.roots.find(slot, &chroot.manifest);
        let from = match &there {
            Some(root) => root.path.clone(),
            None => self.roots.begin(slot).await?,
        };
        let limits = Limits::default();
        let itself = Unpacked::Itself(UNPACKED.into());
        let mut spec = self.chroot_spec(scratch, &limits, chroot, Some(itself))?;
        spec.binds.push(Bind { from, to: inside(UNPACKED), writable: true });
        spec.command = [sbuild::PROGRAM, CLIENT, sbuild::SOCKET, "apt-get", "update"].map(str::to_owned).to_vec();
        let run = Run { manifest: &chroot.manifest, local: &[], limits: &limits, scratch };
        let (ended, _) = self.sandboxed(run, spec, slot, |cmd: Cmd| cmd.capture(SAID), cancel).await?;
        ended.success().context("a chroot cannot be unpacked")?;
        if there.is_none() {
            self.roots.finish(slot, &chroot.manifest)?;
        }
        self.roots.updated(slot, &chroot.manifest)
    }
}
