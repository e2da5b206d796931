//! What a job's source package was made of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use invirtibuilder_core::config::Isolation;
use invirtibuilder_core::domain::SuiteId;
use invirtibuilder_core::facts::{Bound, Layout};
use invirtibuilder_core::names::{ChrootDigest, CommitId, JobId};

/// The plan of a job's source package, and what was made of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobSource {
    /// The commit of the branch pristine-tar, if the plan looked at it and there was one.
    pub branch: Option<CommitId>,
    /// The layout of the commit's tree.
    pub layout: Option<Layout>,
    /// The isolation that kept the build from the host.
    pub isolation: Option<Isolation>,
    /// The service's own suites that build dependencies might come from.
    pub suites: Vec<SuiteId>,
    /// The chroot or image whose dpkg-source made it; `None`: the host's did, or it was not made
    /// yet.
    pub programs: Option<ChrootDigest>,
    /// The SHA-256 of the `.dsc`.
    pub dsc_sha256: Option<String>,
    /// The `.dsc`.
    #[serde(skip)]
    pub dsc: Option<String>,
    /// The upstream tarballs, the main one first.
    pub tarballs: Vec<JobTarball>,
    /// Whether the service has unpacked it and compared it with the commit.
    pub proven: bool,
    /// The paths that a tarball has and the commit has not, and that the commit binds.
    pub extra: Vec<String>,
    /// The notes on what was left out or let go, each a sentence.
    pub notes: Vec<String>,
}

/// An upstream tarball of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobTarball {
    /// The name of the tarball.
    pub name: String,
    /// The origin: `pool`, `pristine-tar`, `tag` or `commit`.
    pub origin: String,
    /// The job that brought the pool's tarball.
    pub brought_by: Option<JobId>,
    /// The delta, a blob of Git.
    pub delta: Option<String>,
    /// The tree that the service makes it of, or that the delta was made against.
    pub tree: Option<String>,
    /// The tag that led to the tree.
    pub tag: Option<String>,
    /// The SHA-256 of the tarball, if it is known.
    pub sha256: Option<String>,
    /// The way in which the commit binds it.
    pub bound: Option<Bound>,
}
