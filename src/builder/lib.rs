//! Builds: sbuild(1) inside a sandbox of ours, with a testbed of ours.
//!
//! The whole of sbuild runs in a user namespace made from subordinate ids that no other running
//! build has, with its own mounts, processes, network, cgroups and host name: it sees `/usr`
//! read-only, its inputs, and a file system in memory that dies with it. The chroot is in the
//! [`testbed`](invirtibuilder_sandbox::testbed), a second set of namespaces within, of other ids
//! again. Killing the first process of the sandbox kills all of it, and that process dies with the
//! daemon. There is no network while the package builds; while build dependencies are installed
//! there is a [`proxy`] that gives out files of the chroot's mirrors and of the suites of our own
//! that may satisfy them, and nothing else.

mod attempt;
mod builder;
pub mod executor;
mod large;
mod outcome;
pub mod proxy;
mod reason;
mod request;
mod sbuild;
pub mod source;

pub use builder::Builder;
pub use executor::schroot;
pub use executor::slurm;
pub use executor::unshare::{Ready, Unshare};
pub use executor::{Executor, Run, Target, WayOut};
pub use proxy::{Lists, LocalSuite};
pub use request::{BuildPaths, BuildRequest};
