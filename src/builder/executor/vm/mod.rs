//! `isolation: vm`: a build in a virtual machine of its own: what its sandbox is given, and a
//! second try where KVM turns out not to work. What the machine writes is in memory or, if that is
//! not enough, on the disk.

use std::fs;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::attempt::Scratch;
use crate::executor::sandboxed::{Run, fill, inside};
use crate::executor::{BuildOutcome, BuildPlan, Executor, Sandboxed};
use crate::request::BuildRequest;
use crate::sbuild::{self, Installing};
use invirtibuilder_core::config::{Config, Isolation};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::names::Architecture;
use invirtibuilder_environment::dependencies::Dependencies;
use invirtibuilder_environment::{self as environment, Environment, Image, Store};
use invirtibuilder_sandbox::machine::{self, Accelerator, Machine, kvm};
use invirtibuilder_sandbox::status::Status;
use invirtibuilder_sandbox::{Bind, TestbedKind};
use invirtibuilder_system::subprocess::CancellationToken;

/// What a machine has to write in.
const SCRATCH: &str = "/machine";

/// Builds in virtual machines.
pub struct Vm {
    sandboxed: Arc<Sandboxed>,
    chroots: Store,
}

impl Executor for Vm {
    fn environment(
        &self,
        request: &BuildRequest,
        architecture: &Architecture,
    ) -> Result<Option<Environment>, Failure> {
        match self.chroots.image(&request.distro, architecture)? {
            Some(image) => Ok(Some(Environment::Image(image))),
            None => Err(environment::missing(&request.distro, architecture, Isolation::Vm)),
        }
    }

    fn run<'a>(
        &'a self,
        plan: BuildPlan<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<BuildOutcome, Failure>> {
        Box::pin(async move {
            match &plan.target.environment {
                Some(Environment::Image(image)) => self.build(plan, image, cancel).await,
                _ => Err(environment::missing(
                    &plan.request.distro,
                    &plan.target.architecture,
                    Isolation::Vm,
                )),
            }
        })
    }
}

impl Vm {
    /// Prepares to build in virtual machines with this configuration.
    pub fn new(config: &Config, sandboxed: Arc<Sandboxed>) -> Self {
        Self { sandboxed, chroots: Store::new(config) }
    }

    /// Builds in a machine of its own.
    async fn build(
        &self,
        plan: BuildPlan<'_>,
        image: &Image,
        cancel: &CancellationToken,
    ) -> Result<BuildOutcome, Failure> {
        let request = plan.request;
        let (length, disk) = (fs::metadata(image.root())?.len() >> 20, request.limits.disk.0 >> 20);
        if length > disk {
            let text = format!("the image alone has {length} MiB, and limits.disk is {disk} MiB");
            return Err(Failure::new(FailureKind::BuildDisk, text));
        }
        let first = self.boot(plan, image, cancel).await?;
        if first.status() != Some(Status::NoKvm) {
            return Ok(first);
        }
        // It did not come so far that anything was built.
        kvm::has_failed();
        self.boot(plan, image, cancel).await
    }

    async fn boot(
        &self,
        plan: BuildPlan<'_>,
        image: &Image,
        cancel: &CancellationToken,
    ) -> Result<BuildOutcome, Failure> {
        let BuildPlan { request, target, slot, attempt } = plan;
        let binaries = target.binaries;
        let (manifest, scratch) = (&image.manifest, &request.scratch);
        let files = sbuild::chroot_files(&manifest.sources);
        let machine = Machine::new(SCRATCH, &request.limits, announced(request)?, files);
        let limits = machine.outer(&request.limits);
        let mut spec = self.sandboxed.bare_spec(scratch, &limits, TestbedKind::Machine(machine))?;
        let initrd = fs::metadata(image.initrd())?.len();
        match attempt.scratch {
            Scratch::Memory(size) => {
                spec.size = machine::around(size);
                spec.bounds.written = Some((SCRATCH.into(), machine::scratch_size(size, initrd)));
            }
            Scratch::Disk => {
                self.sandboxed
                    .write_on_disk(
                        &mut spec,
                        &scratch.join("layer"),
                        machine::scratch_size(request.limits.disk.0, initrd),
                    )
                    .await?;
            }
        }
        for (from, to) in
            [(image.kernel(), "/kernel"), (image.initrd(), "/initrd"), (image.root(), "/image")]
        {
            spec.binds.push(Bind { from, to: inside(to), writable: false });
        }
        let nothing =
            Dependencies::of(&request.dsc, binaries).is_some_and(|asked| asked.are_in(manifest));
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
            slot,
        };
        self.sandboxed
            .run(run, spec, |cmd| cmd.log(&request.log, request.limits.log.0), cancel)
            .await
    }
}

/// Returns what a machine is to be carried out by; if it has to be emulated, the log says why.
fn announced(request: &BuildRequest) -> Result<Accelerator, Failure> {
    let Some(why) = kvm::trouble() else { return Ok(Accelerator::Kvm) };
    request.say(&format!("This virtual machine is emulated, and slow: {why}"))?;
    Ok(Accelerator::Tcg)
}
