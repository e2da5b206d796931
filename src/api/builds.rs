//! Builds: what they were made in and given, and who vouches for them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use invirtibuilder_core::config::Isolation;
use invirtibuilder_core::given::Given;
use invirtibuilder_core::names::{
    Architecture, ChrootDigest, JobId, PackageName, PocketName, Principal, Version,
};

/// A build, and what it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Build {
    /// The job.
    pub job: JobId,
    /// The pocket that it was for.
    pub pocket: PocketName,
    /// The principal that submitted the job.
    pub principal: Principal,
    /// The facts of the build; `None`: an older release has built it, and did not write them down.
    pub facts: Option<BuildFacts>,
}

/// The facts of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BuildFacts {
    /// The isolation that kept it from the host.
    pub isolation: Isolation,
    /// The chroots that it was made in; none if schroot has brought its own.
    pub chroots: Vec<BuiltIn>,
    /// The packages of suites of our own that it was given.
    pub given: Vec<Given>,
}

/// The chroot that a job was built in, for one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BuiltIn {
    /// The architecture.
    pub architecture: Architecture,
    /// The digest of the chroot.
    pub digest: ChrootDigest,
}

/// A second build of a version that gave the same packages, and its conditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reproduced {
    /// When it was made, in milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// The isolation that kept the second build from the host; `None`: an older release did not
    /// say.
    pub isolation: Option<Isolation>,
    /// The chroots that it was made in.
    pub chroots: Vec<BuiltIn>,
}

/// The word of an administrator for a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Vouched {
    /// The pocket that may have it; `None`: each.
    pub pocket: Option<PocketName>,
    /// When it was given, in milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// The administrator who gave it.
    pub by: Principal,
    /// The reason.
    pub reason: String,
}

/// The request to build again what a job has published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildRequest {
    /// The job.
    pub job: JobId,
    /// What is told of packages that are not the same.
    pub detail: RebuildDetail,
}

/// What is told of packages that are not the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RebuildDetail {
    /// That they are not.
    Verdict,
    /// Also where they differ, which may take minutes.
    Contents,
}

/// How one package of a first build and one of a second compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageVerdict {
    /// They are the same, bit by bit.
    Same,
    /// They are not.
    Differs,
    /// The second build did not make it.
    Missing,
    /// Only the second build made it.
    Extra,
}

/// One package, compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComparedPackage {
    /// The file's name.
    pub file: String,
    /// How it compares.
    pub verdict: PackageVerdict,
}

/// What came of building a version again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// The chroots or images that both builds were made in.
    pub chroots: Vec<ChrootDigest>,
    /// What was installed in one build only: `-` for the first, `+` for the second.
    pub environment: Vec<String>,
    /// The job that had built it.
    pub job: JobId,
    /// Its source package.
    #[serde(skip)]
    pub package: PackageName,
    /// Its version.
    #[serde(skip)]
    pub version: Version,
    /// Each package of either build.
    pub packages: Vec<ComparedPackage>,
    /// Whether all are the same.
    pub same: bool,
    /// Where packages differ, by file, if that was asked for.
    #[serde(skip)]
    pub contents: BTreeMap<String, String>,
}
