//! `isolation: unshare`: a build in a chroot, in a sandbox of namespaces. It writes in memory or,
//! if that is not enough, on the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use futures_util::future::BoxFuture;

mod ready;

use crate::attempt::Scratch;
use crate::executor::sandboxed::{Run, fill, inside};
use crate::executor::{BuildOutcome, BuildPlan, Executor, Sandboxed};
use crate::proxy::Lists;
use crate::request::BuildRequest;
use crate::sbuild::{self, Installing};
use invirtibuilder_core::config::{Config, Isolation, Limits};
use invirtibuilder_core::error::Failure;
use invirtibuilder_core::manifest::Manifest;
use invirtibuilder_core::names::Architecture;
use invirtibuilder_environment::dependencies::Dependencies;
use invirtibuilder_environment::layers::Layers;
use invirtibuilder_environment::roots::{self, Roots};
use invirtibuilder_environment::{self as environment, Chroot, Environment, Store};
use invirtibuilder_sandbox::testbed::{Root, UnpackedRoot};
use invirtibuilder_sandbox::{Bind, Spec, TestbedKind};
use invirtibuilder_system::filter::Programs;
use invirtibuilder_system::subprocess::CancellationToken;
pub use ready::{Ready, WantedLayers};

/// Architectures of 32 bits that processors of 64 bits run.
const NARROW: [&str; 3] = ["i386", "armhf", "armel"];

/// What the testbed of a chroot has to write in.
const SCRATCH: &str = "/testbed";

/// Where the sandbox has the unpacked chroot.
const UNPACKED: &str = "/unpacked";

/// Where it has a layer of build dependencies.
const LAYER: &str = "/layer";

/// Builds in chroots.
pub struct Unshare {
    sandboxed: Arc<Sandboxed>,
    chroots: Store,
    slots: PathBuf,
    scratch: PathBuf,
    roots: Roots,
    layers: Layers,
}

impl Executor for Unshare {
    fn environment(
        &self,
        request: &BuildRequest,
        architecture: &Architecture,
    ) -> Result<Option<Environment>, Failure> {
        match self.chroots.find(&request.distro, architecture)? {
            Some(chroot) => Ok(Some(Environment::Chroot(chroot))),
            None => Err(environment::missing(&request.distro, architecture, Isolation::Unshare)),
        }
    }

    fn run<'a>(
        &'a self,
        plan: BuildPlan<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<BuildOutcome, Failure>> {
        Box::pin(async move {
            match &plan.target.environment {
                Some(Environment::Chroot(chroot)) => self.build(plan, chroot, cancel).await,
                _ => Err(environment::missing(
                    &plan.request.distro,
                    &plan.target.architecture,
                    Isolation::Unshare,
                )),
            }
        })
    }

    fn distrust_lists(&self, environment: &Environment) -> Result<(), Failure> {
        Ok(self.roots.distrust(environment.manifest())?)
    }
}

impl Unshare {
    /// Prepares to build in chroots with this configuration.
    pub fn new(config: &Config, sandboxed: Arc<Sandboxed>) -> Self {
        Self {
            sandboxed,
            chroots: Store::new(config),
            slots: config.state_dir.join("slots"),
            scratch: config.scratch(),
            roots: Roots::new(config.state_dir.join("roots")),
            layers: Layers::new(&config.state_dir, config.chroots.layers),
        }
    }

    async fn build(
        &self,
        plan: BuildPlan<'_>,
        chroot: &Chroot,
        cancel: &CancellationToken,
    ) -> Result<BuildOutcome, Failure> {
        let BuildPlan { request, target, slot, attempt } = plan;
        let binaries = target.binaries;
        let (manifest, limits, scratch) = (&chroot.manifest, &request.limits, &request.scratch);
        let unpacked = self.roots.find(slot, manifest);
        let asked = Dependencies::of(&request.dsc, binaries);
        let nothing = asked.as_ref().is_some_and(|asked| asked.are_in(manifest));
        let layer = match (&unpacked, &asked) {
            (Some(root), Some(asked)) if !nothing && attempt.lists == Lists::Kept => {
                self.layer(plan, manifest, asked, root)?
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
        let below: Vec<_> = layer
            .map(|path| (path, LAYER))
            .into_iter()
            .chain(unpacked.map(|root| (root.path, UNPACKED)))
            .collect();
        let paths = below.iter().map(|(_, to)| PathBuf::from(to)).collect();
        let mut spec = self.chroot_spec(
            scratch,
            limits,
            chroot,
            (!below.is_empty()).then_some(UnpackedRoot::Below(paths)),
        )?;
        spec.binds.extend(below.into_iter().map(|(from, to)| Bind {
            from,
            to: inside(to),
            writable: false,
        }));
        match attempt.scratch {
            Scratch::Memory(size) => spec.size = size,
            Scratch::Disk => {
                self.sandboxed
                    .write_on_disk(&mut spec, &scratch.join("layer"), limits.disk.0)
                    .await?;
            }
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
            slot,
        };
        self.sandboxed
            .run(run, spec, |cmd| cmd.log(&request.log, request.limits.log.0), cancel)
            .await
    }

    /// Tells whether builds can find their dependencies installed.
    pub fn are_layers_kept(&self) -> bool {
        self.layers.are_kept()
    }

    /// The layer that has what a build asks for, and that such builds are remembered by.
    fn layer(
        &self,
        BuildPlan { request, slot, .. }: BuildPlan<'_>,
        chroot: &Manifest,
        asked: &Dependencies,
        root: &roots::UnpackedChroot,
    ) -> Result<Option<PathBuf>> {
        let Some(others) = &request.others else { return Ok(None) };
        self.layers.want(chroot, asked)?;
        let Some(lists) = &root.lists else { return Ok(None) };
        Ok(self.layers.find(slot, chroot, (asked, lists), others))
    }

    /// Returns a sandbox with a testbed that starts from this chroot, and with no command yet.
    pub(super) fn chroot_spec(
        &self,
        scratch: &Path,
        limits: &Limits,
        chroot: &Chroot,
        unpacked: Option<UnpackedRoot>,
    ) -> Result<Spec, Failure> {
        let root = Root {
            scratch: SCRATCH.into(),
            tarball: "/chroot.tar".into(),
            unpacked,
            files: sbuild::chroot_files(&chroot.manifest.sources),
            narrow: NARROW.contains(&chroot.manifest.architecture.as_str()),
        };
        let mut spec = self.sandboxed.bare_spec(scratch, limits, TestbedKind::Root(root))?;
        if chroot.manifest.architecture.as_str() == "i386" {
            spec.programs = Programs::I386;
        }
        spec.binds.push(Bind {
            from: chroot.tarball.clone(),
            to: "chroot.tar".into(),
            writable: false,
        });
        Ok(spec)
    }
}
