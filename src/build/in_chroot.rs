//! A build in a chroot, which writes in memory or, if that is not enough, on the disk.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::attempt::{Attempt, Lists};
use super::cgroup::Breach;
use super::dependencies::Dependencies;
use super::room::Room;
use super::sandbox::{Bind, Kind, Spec};
use super::sbuild::Installing;
use super::slot::Slot;
use super::testbed::{Root, Unpacked};
use super::{Builder, Request, Run, fill, inside, roots, sbuild};
use crate::architectures::Binaries;
use crate::chroot::{Chroot, Manifest};
use crate::config::{Isolation, Limits};
use crate::error::Failure;
use crate::filter::Programs;
use crate::subprocess::{CancellationToken, Finished};

/// Architectures of 32 bits that processors of 64 bits run.
const NARROW: [&str; 3] = ["i386", "armhf", "armel"];

/// What the testbed of a chroot has to write in.
const ROOM: &str = "/testbed";

/// Where the sandbox has the unpacked chroot.
pub(super) const UNPACKED: &str = "/unpacked";

/// Where it has a layer of build dependencies.
const LAYER: &str = "/layer";

impl Builder {
    /// Builds in a chroot: how that ended, and which limit of the kernel's it has met.
    pub(super) async fn in_chroot(
        &self,
        request: &Request,
        chroot: &Chroot,
        binaries: Binaries,
        slot: &Slot,
        attempt: &Attempt,
        cancel: &CancellationToken,
    ) -> Result<(Finished, Option<Breach>), Failure> {
        let (manifest, limits, scratch) = (&chroot.manifest, &request.limits, &request.scratch);
        let unpacked = self.roots.find(slot, manifest);
        let asked = Dependencies::of(&request.dsc, binaries != Binaries::Own);
        let nothing = asked.as_ref().is_some_and(|asked| asked.are_in(manifest));
        let layer = match (&unpacked, &asked) {
            (Some(root), Some(asked)) if !nothing && attempt.lists == Lists::Kept => {
                self.layer(request, manifest, asked, slot, root)?
            }
            _ => None,
        };
        if layer.is_some() {
            request
                .say("\nThe build dependencies were installed beforehand, from the mirrors and as a build would.")?;
        }
        let installing = match (&layer, &unpacked) {
            (Some(_), _) => Installing::Nothing,
            _ if nothing => Installing::Nothing,
            (_, Some(root)) if root.lists.is_some() && attempt.lists == Lists::Kept => {
                attempt.stale.note();
                Installing::FromLists
            }
            _ => Installing::AfterUpdate,
        };
        let below: Vec<_> =
            layer.map(|path| (path, LAYER)).into_iter().chain(unpacked.map(|root| (root.path, UNPACKED))).collect();
        let paths = below.iter().map(|(_, to)| PathBuf::from(to)).collect();
        let mut spec =
            self.chroot_spec(scratch, limits, chroot, (!below.is_empty()).then_some(Unpacked::Below(paths)))?;
        spec.binds.extend(below.into_iter().map(|(from, to)| Bind { from, to: inside(to), writable: false }));
        match attempt.room {
            Room::Memory(size) => spec.size = size,
            Room::Disk => self.write_on_disk(&mut spec, &scratch.join("layer"), limits.disk.0).await?,
        }
        fill(&mut spec, request, &manifest.architecture, binaries, installing)?;
        let run = Run {
            manifest,
            local: &request.local,
            given: request.given.clone(),
            limits,
            lists: attempt.lists,
            stale: attempt.stale.clone(),
            scratch,
        };
        self.sandboxed(run, spec, slot, |cmd| cmd.log(&request.log, request.limits.log.0), cancel).await
    }

    /// Whether builds of this kind can find their dependencies installed.
    pub fn may_use_layers(&self, request: &Request) -> bool {
        request.isolation == Isolation::Unshare && self.layers.are_kept()
    }

    /// The layer that has what a build asks for, and that such builds are remembered by.
    fn layer(
        &self,
        request: &Request,
        chroot: &Manifest,
        asked: &Dependencies,
        slot: &Slot,
        root: &roots::Unpacked,
    ) -> Result<Option<PathBuf>> {
        let Some(others) = &request.others else { return Ok(None) };
        self.layers.want(chroot, asked)?;
        let Some(lists) = &root.lists else { return Ok(None) };
        Ok(self.layers.find(slot, chroot, asked, lists, others))
    }

    /// A sandbox with a testbed that starts from this chroot, and with no command yet.
    pub(super) fn chroot_spec(
        &self,
        scratch: &Path,
        limits: &Limits,
        chroot: &Chroot,
        unpacked: Option<Unpacked>,
    ) -> Result<Spec, Failure> {
        let root = Root {
            room: ROOM.into(),
            tarball: "/chroot.tar".into(),
            unpacked,
            files: sbuild::chroot_files(&chroot.manifest.sources),
            narrow: NARROW.contains(&chroot.manifest.architecture.as_str()),
        };
        let mut spec = self.bare_spec(scratch, limits, Kind::Root(root))?;
        if chroot.manifest.architecture.as_str() == "i386" {
            spec.programs = Programs::I386;
        }
        spec.binds.push(Bind { from: chroot.tarball.clone(), to: "chroot.tar".into(), writable: false });
        Ok(spec)
    }
}
