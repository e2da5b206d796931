//! Builds a source package for one architecture after the other.

use std::path::PathBuf;
use std::sync::Arc;

use crate::attempt::{Attempt, Scratch};
use crate::executor::schroot::Schroot;
use crate::executor::unshare::Unshare;
use crate::executor::vm::Vm;
use crate::executor::{BuildOutcome, BuildPlan, Executor, Sandboxed, Target, WayOut};
use crate::large;
use crate::proxy::{Lists, Stale};
use crate::request::BuildRequest;
use invirtibuilder_core::config::{Config, Isolation};
use invirtibuilder_core::error::Failure;
use invirtibuilder_core::names::Architecture;
use invirtibuilder_environment::Environment;
use invirtibuilder_system::slot::Slot;
use invirtibuilder_system::subprocess::CancellationToken;

/// Runs builds.
pub struct Builder {
    slots: PathBuf,
    sandboxed: Arc<Sandboxed>,
    unshare: Unshare,
    vm: Vm,
    schroot: Schroot,
}

impl Builder {
    /// Prepares to build with this configuration.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        Self::of(config, Sandboxed::new(config)?)
    }

    /// Prepares to build with this way out by the network: for builds whose files are elsewhere.
    pub fn with_way_out(config: &Config, way_out: Box<dyn WayOut>) -> anyhow::Result<Self> {
        Self::of(config, Sandboxed::with_way_out(config, way_out)?)
    }

    fn of(config: &Config, sandboxed: Sandboxed) -> anyhow::Result<Self> {
        let sandboxed = Arc::new(sandboxed);
        Ok(Self {
            slots: config.state_dir.join("slots"),
            sandboxed: sandboxed.clone(),
            unshare: Unshare::new(config, sandboxed.clone()),
            vm: Vm::new(config, sandboxed),
            schroot: Schroot::new(config)?,
        })
    }

    /// Returns what builds in chroots: it also gets them ready beforehand.
    pub fn unshare(&self) -> &Unshare {
        &self.unshare
    }

    fn executor(&self, isolation: Isolation) -> &dyn Executor {
        match isolation {
            Isolation::Unshare => &self.unshare,
            Isolation::Vm => &self.vm,
            Isolation::Schroot => &self.schroot,
        }
    }

    /// Finds what has to be built for a request, in which order, and what it is built in.
    pub fn targets(&self, request: &BuildRequest) -> Result<Vec<Target>, Failure> {
        let executor = self.executor(request.isolation);
        let target = |(architecture, binaries)| {
            let environment = executor.environment(request, &architecture)?;
            Ok(Target { architecture, binaries, environment })
        };
        request.to_build(&request.architectures)?.into_iter().map(target).collect()
    }

    /// Does the same for a build in these chroots or images, which may not be those of today.
    pub fn targets_in(
        &self,
        request: &BuildRequest,
        environments: &[Environment],
    ) -> Result<Vec<Target>, Failure> {
        if environments.is_empty() {
            return Ok(Vec::new());
        }
        let on: Vec<Architecture> =
            environments.iter().map(|it| it.manifest().architecture.clone()).collect();
        let wanted = request.to_build(&on)?;
        let target = |environment: &Environment| {
            let own = &environment.manifest().architecture;
            let (architecture, binaries) = wanted.iter().find(|(other, _)| other == own)?.clone();
            Some(Target { architecture, binaries, environment: Some(environment.clone()) })
        };
        Ok(environments.iter().filter_map(target).collect())
    }

    /// Builds each of these, one after the other. The source package is beside what was made.
    pub async fn build(
        &self,
        request: &BuildRequest,
        targets: &[Target],
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        self.build_binaries(request, targets, &Slot::take(&self.slots)?, cancel).await?;
        request.keep_source()
    }

    /// Builds each of these in a slot, one after the other, and leaves the source package where it
    /// is.
    pub async fn build_binaries(
        &self,
        request: &BuildRequest,
        targets: &[Target],
        slot: &Slot,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let executor = self.executor(request.isolation);
        for target in targets {
            let mut attempt = self.first_attempt(request);
            loop {
                let plan = BuildPlan { request, target, slot, attempt: &attempt };
                let outcome = executor.run(plan, cancel).await?;
                match self.next_attempt(plan, &outcome)? {
                    Some(next) => attempt = next,
                    None => {
                        outcome.judge(request, target)?;
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Says how the first run of a build is carried out.
    fn first_attempt(&self, request: &BuildRequest) -> Attempt {
        let (scratch, lists) = match request.isolation {
            Isolation::Unshare | Isolation::Vm => (self.sandboxed.scratch(request), Lists::Kept),
            // schroot(1) writes where it is set up to, and the service keeps no lists for it.
            Isolation::Schroot => (Scratch::Disk, Lists::Anew),
        };
        Attempt { scratch, lists, stale: Stale::default() }
    }

    /// Says how a build that ended so is run once more, if it is. The log then says why, and
    /// nothing is left of the run before.
    fn next_attempt(
        &self,
        plan: BuildPlan,
        outcome: &BuildOutcome,
    ) -> Result<Option<Attempt>, Failure> {
        let BuildPlan { request, target, attempt, .. } = plan;
        if outcome.outgrew(request, attempt) {
            self.sandboxed.large.add(&request.package)?;
            large::clear(&request.output)?;
            request.say(
                "\nThe build needs more memory than it has for its files (chroots.in_memory): once more, on the disk.",
            )?;
            return Ok(Some(Attempt { scratch: Scratch::Disk, ..attempt.clone() }));
        }
        if !outcome.had_old_lists(attempt) {
            return Ok(None);
        }
        large::clear(&request.output)?;
        if let Some(environment) = &target.environment {
            self.executor(request.isolation).distrust_lists(environment)?;
        }
        request.say(
            "\nThe lists of packages may be older than what the mirrors have: once more, with what they say now.",
        )?;
        Ok(Some(Attempt { lists: Lists::Anew, stale: Stale::default(), ..attempt.clone() }))
    }
}
