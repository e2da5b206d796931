//! Numbers about the service, for monitoring.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::job::State;
use invirtibuilder_core::error::FailureKind;
use invirtibuilder_core::names::{Architecture, Distro, DomainName, PocketName, Suite};

/// All numbers at one time. Times are milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Metrics {
    /// The version of the program.
    pub version: String,
    /// Whether a daemon runs.
    pub daemon: bool,
    /// The places that jobs run in.
    pub places: usize,
    /// The jobs that have not ended.
    pub open: Vec<JobsInState>,
    /// The jobs that wait the longest.
    pub oldest: Vec<OldestJob>,
    /// The jobs that have ended.
    pub ended: Vec<EndedJobs>,
    /// How long jobs were in each state.
    pub phases: Vec<PhaseTime>,
    /// The moves of Git and of the archive that committed publications owe still.
    pub owed_moves: usize,
    /// The suites.
    pub suites: Vec<SuiteDates>,
    /// The keys that sign.
    pub keys: Vec<KeyDates>,
    /// The chroots.
    pub chroots: Vec<ChrootDate>,
    /// The disks.
    pub disks: Vec<DiskRoom>,
}

/// How many jobs of a pocket are in a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobsInState {
    /// The pocket.
    pub pocket: PocketName,
    /// The state.
    pub state: State,
    /// How many there are.
    pub jobs: u32,
}

/// The job of a pocket that waits the longest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OldestJob {
    /// The pocket.
    pub pocket: PocketName,
    /// When it was submitted.
    pub submitted: i64,
}

/// How many jobs of a pocket have come to an end, ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndedJobs {
    /// The pocket.
    pub pocket: PocketName,
    /// The end.
    pub state: State,
    /// The kind of failure, if they failed.
    pub failure: Option<FailureKind>,
    /// How many there are.
    pub jobs: u32,
}

/// How long jobs of a pocket were in a state until they left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseTime {
    /// The pocket.
    pub pocket: PocketName,
    /// The state.
    pub state: State,
    /// The times, sorted; each bucket has what shorter ones have, too.
    pub buckets: Vec<PhaseBucket>,
    /// How many jobs there were.
    pub jobs: u32,
    /// The times of all of them together, in milliseconds.
    pub ms: i64,
}

/// The jobs that took no longer than some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseBucket {
    /// That time, in milliseconds.
    pub up_to_ms: i64,
    /// How many jobs there were.
    pub jobs: u32,
}

/// The dates of a suite's Release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SuiteDates {
    /// The domain.
    pub domain: DomainName,
    /// The suite.
    pub suite: Suite,
    /// When it was signed last.
    pub signed: i64,
    /// Until when clients take it; `None`: for ever.
    pub valid_until: Option<i64>,
}

/// The dates of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyDates {
    /// The domain whose archive it signs.
    pub domain: DomainName,
    /// The fingerprint of the key.
    pub fingerprint: String,
    /// When it was made.
    pub created: i64,
    /// When it expires; `None`: never.
    pub expires: Option<i64>,
}

/// The date of a chroot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChrootDate {
    /// The distro.
    pub distro: Distro,
    /// The architecture.
    pub architecture: Architecture,
    /// When it was made.
    pub created: i64,
}

/// The room on the disk of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskRoom {
    /// What the directory is for: `state`, `git`, or `archive` with its domain.
    pub directory: String,
    /// The bytes that can be written.
    pub free: u64,
    /// The bytes that the disk has.
    pub size: u64,
}
