//! What runs a build: a folder an executor.
//!
//! An executor is given a [`BuildPlan`] and gives back a [`BuildOutcome`]; it decides neither what
//! is built nor what an outcome means.

use futures_util::future::BoxFuture;

mod sandboxed;
pub mod schroot;
pub mod slurm;
pub mod unshare;
pub mod vm;

use crate::attempt::Attempt;
use crate::request::BuildRequest;
use invirtibuilder_core::error::Failure;
use invirtibuilder_core::names::Architecture;
use invirtibuilder_environment::Environment;
use invirtibuilder_system::architectures::Binaries;
use invirtibuilder_system::cgroup::Breach;
use invirtibuilder_system::slot::Slot;
use invirtibuilder_system::subprocess::{CancellationToken, Finished};
pub use sandboxed::{Run, Sandboxed, WayOut};

/// One architecture of a source package, and what it is built in.
#[derive(Debug)]
pub struct Target {
    /// The architecture.
    pub architecture: Architecture,
    /// Which of its binary packages are built there.
    pub binaries: Binaries,
    /// The chroot or image; `None`: schroot(1) has it, and the service knows nothing of it.
    pub environment: Option<Environment>,
}

/// One run of sbuild(1).
#[derive(Debug, Clone, Copy)]
pub struct BuildPlan<'a> {
    /// What is built.
    pub request: &'a BuildRequest,
    /// For which architecture, and in what.
    pub target: &'a Target,
    /// The ids that the build has.
    pub slot: &'a Slot,
    /// What this run has otherwise than an earlier one.
    pub attempt: &'a Attempt,
}

/// How a run of sbuild ended.
#[derive(Debug)]
pub struct BuildOutcome {
    /// How the processes ended.
    pub finished: Finished,
    /// Which limit of the kernel's they met.
    pub breach: Option<Breach>,
}

/// Runs sbuild, somewhere.
pub trait Executor: Send + Sync {
    /// Finds what builds for an architecture are built in.
    fn environment(
        &self,
        request: &BuildRequest,
        architecture: &Architecture,
    ) -> Result<Option<Environment>, Failure>;

    /// Runs sbuild once, and leaves nothing of it but the log and what it made.
    fn run<'a>(
        &'a self,
        plan: BuildPlan<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<BuildOutcome, Failure>>;

    /// Notes that the lists of packages kept for an environment may be too old.
    fn distrust_lists(&self, _: &Environment) -> Result<(), Failure> {
        Ok(())
    }
}
