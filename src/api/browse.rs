//! What somebody looks for who leafs through jobs and packages.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::job::Job;
use crate::metrics::PhaseTime;
use crate::pocket::Held;
use invirtibuilder_core::names::{CommitId, DomainName, PackageName, Version};

invirtibuilder_core::stored_enum! {
    /// The jobs that somebody wants to see.
    pub enum JobFilter {
        /// All of them.
        All = "all",
        /// Those that have not ended.
        Open = "open",
        /// Those that have ended.
        Ended = "ended",
        /// Those that were published.
        Published = "published",
        /// Those that failed.
        Failed = "failed",
        /// Those that were cancelled.
        Cancelled = "cancelled",
    }
}

invirtibuilder_core::stored_in_json!(JobFilter);

/// The wish to see jobs, the newest first, in words that the service looks up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JobsRequest {
    /// Which jobs.
    pub show: Option<JobFilter>,
    /// Those of this pocket only.
    pub pocket: Option<String>,
    /// Those of this source package only.
    pub package: Option<String>,
    /// Those that this principal submitted only.
    pub principal: Option<String>,
    /// Those that are older than the job of this number.
    pub after: Option<String>,
    /// The most jobs of a page.
    pub limit: Option<u32>,
}

/// The wish to see which package is where, by name, in words that the service looks up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MatrixRequest {
    /// Packages whose names begin with this.
    pub prefix: Option<String>,
    /// Packages that this pocket has.
    pub pocket: Option<String>,
    /// Packages whose names come after this one.
    pub after: Option<String>,
    /// The most packages of a page.
    pub limit: Option<u32>,
}

/// The wish to see how two pockets differ, by package, in words that the service looks up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DifferencesRequest {
    /// The name of one pocket.
    pub left: String,
    /// The name of the other.
    pub right: String,
    /// Packages whose names come after this one.
    #[serde(default)]
    pub after: Option<String>,
    /// The most packages of a page.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// What the pockets have of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MatrixRow {
    /// The source package.
    pub package: PackageName,
    /// What each pocket that has it has, by the pocket's name.
    pub held: Vec<Held>,
}

/// What a search has found.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    /// The source packages whose names begin with the text, or hold it.
    pub packages: Vec<PackageName>,
    /// The job of that number, and jobs of that commit or version.
    pub jobs: Vec<Job>,
}

/// What has changed in a package since the version that the pocket had before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobChanges {
    /// The version that the pocket had; `None`: it had none.
    pub since: Option<EarlierVersion>,
    /// The commits between, the newest first.
    pub commits: Vec<CommitSummary>,
    /// Whether there are more.
    pub more: bool,
    /// The entries of `debian/changelog` at the commit, down to that version.
    pub changelog: Vec<ChangeNote>,
}

/// A version that a pocket had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EarlierVersion {
    /// The version.
    pub version: Version,
    /// The version that `debian/changelog` had at its commit.
    pub written: Version,
    /// Its commit.
    pub commit: CommitId,
}

/// A commit, for people. Its texts are its author's: nothing is to be believed of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommitSummary {
    /// The commit.
    pub commit: CommitId,
    /// Its author's name.
    pub author: String,
    /// When it was made, in milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// The first line of its message.
    pub summary: String,
}

/// An entry of `debian/changelog`, as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeNote {
    /// The version that it is about.
    pub version: String,
    /// Its text, without the lines at its beginning and end.
    pub text: String,
}

/// Numbers for plots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Statistics {
    /// How jobs ended, by day, the oldest first.
    pub days: Vec<DayOutcome>,
    /// How long jobs were in each state.
    pub phases: Vec<PhaseTime>,
    /// What the archives have, by day, the oldest first.
    pub archives: Vec<ArchiveSize>,
}

/// How the jobs of a day ended, and how long they took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DayOutcome {
    /// The beginning of the day, in milliseconds since 1970-01-01 UTC.
    pub day: i64,
    /// The number of jobs that were published.
    pub published: u32,
    /// The number of jobs that failed.
    pub failed: u32,
    /// The number of jobs that were cancelled.
    pub cancelled: u32,
    /// The median time from submission to start, in milliseconds; `None`: no job started.
    pub waited: Option<i64>,
    /// The median time from start to publication, in milliseconds; `None`: none was published.
    pub took: Option<i64>,
}

/// The size of a domain's pool at the end of a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArchiveSize {
    /// The beginning of the day, in milliseconds since 1970-01-01 UTC.
    pub day: i64,
    /// The domain.
    pub domain: DomainName,
    /// The number of files.
    pub files: u32,
    /// Their length, in bytes.
    pub bytes: u64,
}

/// A package that two snapshots of a suite do not have at the same version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotChange {
    /// The source package.
    pub package: PackageName,
    /// Its version in the older one; `None`: it has none.
    pub from: Option<Version>,
    /// Its version in the newer one; `None`: it has none.
    pub to: Option<Version>,
}
