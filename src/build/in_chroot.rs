//! A build in a chroot, which writes in memory or, if that is not enough, on the disk.

use std::fs;
use std::path::Path;

use super::sandbox::{Bind, Kind, Spec};
use super::slot::Slot;
use super::testbed::{Root, Unpacked};
use super::{Builder, Request, Run, bounds, fill, inside, large, remove_tree, sbuild};
use crate::chroot::Chroot;
use crate::config::Limits;
use crate::error::Failure;
use crate::subprocess::{CancellationToken, Ended, Finished};

/// Architectures of 32 bits that processors of 64 bits run.
const NARROW: [&str; 3] = ["i386", "armhf", "armel"];

/// Where a build writes.
enum Room {
    /// In memory, as many bytes.
    Memory(u64),
    /// On the disk.
    Disk,
}

/// What the testbed of a chroot has to write in.
const ROOM: &str = "/testbed";

/// Where the sandbox has the unpacked chroot.
pub(super) const UNPACKED: &str = "/unpacked";

impl Builder {
    /// Builds in a chroot: how that ended, and whether it ran out of memory.
    pub(super) async fn in_chroot(
        &self,
        request: &Request,
        chroot: &Chroot,
        all: bool,
        slot: &Slot,
        cancel: &CancellationToken,
    ) -> Result<(Finished, bool), Failure> {
        let room = request.limits.disk.0.min(self.in_memory);
        let may_have_more = room < request.limits.disk.0;
        if !(may_have_more && self.large.has(&request.package)) {
            let done = self.in_chroot_with(request, chroot, all, slot, Room::Memory(room), cancel).await?;
            if !(may_have_more && done.0.ended == Ended::Exit(bounds::DISK)) {
                return Ok(done);
            }
            self.large.add(&request.package)?;
            large::clear(&request.output)?;
            request.say(
                "\nThe build needs more memory than it has for its files (chroots.in_memory): once more, on the disk.",
            )?;
        }
        self.in_chroot_with(request, chroot, all, slot, Room::Disk, cancel).await
    }

    async fn in_chroot_with(
        &self,
        request: &Request,
        chroot: &Chroot,
        all: bool,
        slot: &Slot,
        room: Room,
        cancel: &CancellationToken,
    ) -> Result<(Finished, bool), Failure> {
        let (manifest, limits, scratch) = (&chroot.manifest, &request.limits, &request.scratch);
        let unpacked = self.roots.find(slot, manifest);
        let has_lists = unpacked.as_ref().is_some_and(|root| root.fresh);
        let below = unpacked.as_ref().map(|_| Unpacked::Below(UNPACKED.into()));
        let mut spec = self.chroot_spec(scratch, limits, chroot, below)?;
        if let Some(root) = unpacked {
            spec.binds.push(Bind { from: root.path, to: inside(UNPACKED), writable: false });
        }
        match room {
            Room::Memory(size) => spec.size = size,
            Room::Disk => {
                let layer = scratch.join("layer");
                // That of another architecture, or of a first build.
                remove_tree(&layer).await?;
                fs::create_dir_all(&layer)?;
                spec.size = self.in_memory;
                spec.bounds.written = Some((spec.testbed.kind.room().to_owned(), limits.disk.0));
                spec.binds.push(Bind { from: layer, to: inside(ROOM), writable: true });
            }
        }
        fill(&mut spec, request, &manifest.architecture, all, has_lists)?;
        let run = Run { manifest, local: &request.local, limits, scratch };
        self.sandboxed(run, spec, slot, |cmd| cmd.log(&request.log, request.limits.log.0), cancel).await
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
        spec.binds.push(Bind { from: chroot.tarball.clone(), to: "chroot.tar".into(), writable: false });
        Ok(spec)
    }
}
