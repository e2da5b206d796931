//! Why a job waits, about how long, and how right earlier forecasts were.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use invirtibuilder_core::names::{JobId, PocketName};
use invirtibuilder_core::time::{now, span};

/// What a job waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "for", rename_all = "lowercase")]
pub enum WaitReason {
    /// No daemon runs.
    Daemon,
    /// The disk that jobs work on is nearly full.
    Disk {
        /// The directory.
        dir: String,
    },
    /// An earlier job of its package.
    Job {
        /// Which.
        job: JobId,
    },
    /// Its pocket is not in the configuration any more: it will fail.
    Pocket {
        /// Which.
        pocket: PocketName,
    },
    /// There is no chroot or image for its pocket: it will fail.
    Chroot {
        /// Of which distro.
        distro: String,
    },
    /// As many jobs of its pocket run as the pocket's `jobs` allows.
    Limit,
    /// Other pockets are before its own.
    Share,
    /// A place.
    Place,
}

/// What a job waits for, and how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wait {
    /// What for.
    #[serde(flatten)]
    pub reason: WaitReason,
    /// When it will start, if that can be told.
    pub start: Option<i64>,
    /// How long it will take then, in milliseconds.
    pub takes: Option<i64>,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            WaitReason::Daemon => {
                f.write_str("the daemon, which does not run: have an administrator start it")?;
            }
            WaitReason::Disk { dir } => write!(f, "room on the disk of {dir}")?,
            WaitReason::Job { job } => write!(f, "job {job} of its package")?,
            WaitReason::Pocket { pocket } => {
                write!(
                    f,
                    "its turn, and then fails, as the configuration has no pocket {pocket} any more: cancel it, or have an administrator put the pocket back"
                )?;
            }
            WaitReason::Chroot { distro } => {
                write!(
                    f,
                    "its turn, and then fails unless an administrator makes a chroot or image for {distro}"
                )?;
            }
            WaitReason::Limit => {
                f.write_str("one of its pocket's jobs to end: no more may run at once")?;
            }
            WaitReason::Share => f.write_str("its pocket's turn")?,
            WaitReason::Place => f.write_str("a place")?,
        }
        if let Some(start) = self.start {
            write!(f, ", about {}", span(start - now()))?;
        }
        Ok(())
    }
}

/// The forecast that users were told of a job that had to wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// When they were told, in milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// The start that they were told, in milliseconds since 1970-01-01 UTC.
    pub start: i64,
    /// The actual start, in milliseconds since 1970-01-01 UTC, if the job has started.
    pub started: Option<i64>,
}

/// The accuracy of the last forecasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Accuracy {
    /// The number of jobs that it is about.
    pub jobs: usize,
    /// The median distance of a start from the forecast, in milliseconds.
    pub median_ms: i64,
    /// The median of how long those jobs had been told to wait, in milliseconds.
    pub told_ms: i64,
}
