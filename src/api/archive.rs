//! Files and suites of the archive, and what an administrator did to them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::builds::Build;
use invirtibuilder_core::domain::SuiteId;
use invirtibuilder_core::names::{
    CommitId, DomainName, JobId, PackageName, PocketName, Principal, Version,
};

/// A file of the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolFile {
    /// The path below the archive's root.
    pub path: String,
    /// The size in bytes.
    pub size: u64,
    /// The SHA-256, in hexadecimal.
    pub sha256: String,
}

/// One published state of a suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// The number of the snapshot: that of the generation that showed it first.
    pub number: i64,
    /// When it was published, in milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// The description of what published it.
    pub note: String,
    /// The number of source packages that it has.
    pub packages: i64,
}

/// A version that an administrator let go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Released {
    /// The domain.
    pub domain: DomainName,
    /// The source package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// The commit that it named.
    pub commit: CommitId,
    /// The job that built it.
    pub job: JobId,
    /// When it was let go, in milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// The administrator.
    pub by: Principal,
    /// The reason.
    pub reason: String,
}

/// The result of a rollback.
#[derive(Debug, Serialize)]
pub struct RolledBack {
    /// The suite that went back.
    pub suite: SuiteId,
    /// The snapshot whose contents it has again.
    pub to: i64,
    /// The snapshot that the suite shows now.
    pub now: i64,
    /// Each package that changed: the version it had and the version it has, `null` where it has
    /// none.
    pub changed: Vec<(PackageName, Option<Version>, Option<Version>)>,
}

/// The version that was let go, and what went with it.
#[derive(Debug, Serialize)]
pub struct LetGo {
    /// The domain that it was of.
    pub domain: DomainName,
    /// The source package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// The commit that the version named.
    pub commit: CommitId,
    /// The number of files that the pool no longer has.
    pub files: usize,
}

/// The things that a collection removed.
#[derive(Debug, Default, Serialize)]
pub struct Collected {
    /// The snapshots: suite and number.
    pub snapshots: Vec<(SuiteId, i64)>,
    /// The versions of source packages, each with its domain.
    pub versions: Vec<(PackageName, Version, DomainName)>,
    /// The files in the pools that no version had. A path in another archive than main's begins
    /// with the domain.
    pub strays: Vec<String>,
    /// The number of files of these versions.
    pub files: usize,
    /// The size of these files, in bytes.
    pub bytes: u64,
}

/// The request to take a suite back to what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackRequest {
    /// The suite, as the caller calls it: `SUITE`, or `DOMAIN/SUITE`.
    pub suite: String,
    /// The number of the snapshot whose contents it shall have again.
    pub number: i64,
}

/// The request to let a version go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRequest {
    /// The source package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// The domain that it is of, as the caller calls it; `None`: the only one that has it, or
    /// main.
    pub domain: Option<String>,
    /// The reason, for the audit trail.
    pub reason: String,
}

/// The request to answer for a build, or to take that back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VouchRequest {
    /// The source package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// The pocket that may have it, as the caller calls it; `None`: every pocket.
    pub pocket: Option<String>,
    /// The domain that it is of, as the caller calls it; `None`: the pocket's, else the only one
    /// that has it, or main.
    pub domain: Option<String>,
    /// The reason, for the audit trail.
    pub reason: String,
}

/// The request to move a pocket into another domain, in words that the service looks up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelocationRequest {
    /// The pocket.
    pub pocket: String,
    /// The domain that the configuration puts it into.
    pub domain: String,
}

/// A pocket that was moved into another domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Relocated {
    /// The pocket.
    pub pocket: PocketName,
    /// The domain that it was in.
    pub from: DomainName,
    /// The suite that shows it now.
    pub suite: SuiteId,
    /// The versions that came with it.
    pub versions: Vec<(PackageName, Version)>,
}

/// A change that is committed, and what could not be done after that; the daemon goes on trying.
#[derive(Debug)]
pub struct Committed<T> {
    /// The change.
    pub change: T,
    /// The things that are not complete yet, each a sentence.
    pub troubles: Vec<String>,
}

/// The build that nobody answers for any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VouchRevoked {
    /// The build.
    #[serde(flatten)]
    pub build: Build,
    /// Whether somebody answers for it to every pocket still.
    #[serde(skip)]
    pub holds_for_all: bool,
}
