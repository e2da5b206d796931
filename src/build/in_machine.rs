//! A build in a virtual machine: what its sandbox is given, and a second try where KVM turns out not to work. What the machine
//! writes is in memory or, if that is not enough, on the disk.

use std::fs;

use super::attempt::Attempt;
use super::cgroup::Breach;
use super::dependencies::Dependencies;
use super::machine::{self, Accelerator, Machine, kvm};
use super::room::Room;
use super::sandbox::{Bind, Kind};
use super::sbuild::Installing;
use super::slot::Slot;
use super::{Builder, Request, Run, fill, inside, sbuild};
use crate::architectures::Binaries;
use crate::chroot::Image;
use crate::error::{Failure, FailureKind};
use crate::subprocess::{CancellationToken, Ended, Finished};

/// What a machine has to write in.
const ROOM: &str = "/machine";

impl Builder {
    /// Builds in a machine of its own: how the sandbox around it ended, and which limit of the kernel's it has met.
    pub(super) async fn in_machine(
        &self,
        request: &Request,
        image: &Image,
        binaries: Binaries,
        slot: &Slot,
        attempt: &Attempt,
        cancel: &CancellationToken,
    ) -> Result<(Finished, Option<Breach>), Failure> {
        let (length, disk) = (fs::metadata(image.root())?.len() >> 20, request.limits.disk.0 >> 20);
        if length > disk {
            let text = format!("the image alone has {length} MiB, and limits.disk is {disk} MiB");
            return Err(Failure::new(FailureKind::BuildDisk, text));
        }
        let first = self.boot(request, image, binaries, slot, attempt, cancel).await?;
        if first.0.ended != Ended::Exit(machine::NO_KVM) {
            return Ok(first);
        }
        // It did not come so far that anything was built.
        kvm::has_failed();
        self.boot(request, image, binaries, slot, attempt, cancel).await
    }

    async fn boot(
        &self,
        request: &Request,
        image: &Image,
        binaries: Binaries,
        slot: &Slot,
        attempt: &Attempt,
        cancel: &CancellationToken,
    ) -> Result<(Finished, Option<Breach>), Failure> {
        let (manifest, scratch) = (&image.manifest, &request.scratch);
        let files = sbuild::chroot_files(&manifest.sources);
        let machine = Machine::new(ROOM, &request.limits, announced(request)?, files);
        let limits = machine.outer(&request.limits);
        let mut spec = self.bare_spec(scratch, &limits, Kind::Machine(machine))?;
        let initrd = fs::metadata(image.initrd())?.len();
        match attempt.room {
            Room::Memory(size) => {
                spec.size = machine::around(size);
                spec.bounds.written = Some((ROOM.into(), machine::room_of(size, initrd)));
            }
            Room::Disk => {
                self.write_on_disk(&mut spec, &scratch.join("layer"), machine::room_of(request.limits.disk.0, initrd))
                    .await?
            }
        }
        for (from, to) in [(image.kernel(), "/kernel"), (image.initrd(), "/initrd"), (image.root(), "/image")] {
            spec.binds.push(Bind { from, to: inside(to), writable: false });
        }
        let nothing =
            Dependencies::of(&request.dsc, binaries != Binaries::Own).is_some_and(|asked| asked.are_in(manifest));
        let installing = if nothing { Installing::Nothing } else { Installing::AfterUpdate };
        fill(&mut spec, request, &manifest.architecture, binaries, installing)?;
        let run = Run {
            manifest,
            local: &request.local,
            given: request.given.clone(),
            limits: &limits,
            lists: attempt.lists,
            stale: attempt.stale.clone(),
            scratch,
        };
        self.sandboxed(run, spec, slot, |cmd| cmd.log(&request.log, request.limits.log.0), cancel).await
    }
}

/// What a machine is to be carried out by; if it has to be emulated, the log says why.
fn announced(request: &Request) -> Result<Accelerator, Failure> {
    let Some(why) = kvm::trouble() else { return Ok(Accelerator::Kvm) };
    request.say(&format!("This virtual machine is emulated, and slow: {why}"))?;
    Ok(Accelerator::Tcg)
}
