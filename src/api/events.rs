//! Events of a job as they are sent to those who follow it: server-sent events, each with one of
//! these as its data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::job::{Job, StateChange};
use crate::wait::Wait;

/// What has happened to a job.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum JobEvent {
    /// It has entered a state.
    State(StateChange),
    /// It is queued, and waits for this.
    Waits(Wait),
    /// Its log has more.
    Log(LogPiece),
    /// It has ended, and nothing follows.
    End(Box<Job>),
}

/// A piece of the log of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogPiece {
    /// The attempt; the first one is 1.
    pub attempt: i64,
    /// The byte of the log at which the piece begins.
    pub offset: u64,
    /// The byte at which it ends.
    pub end: u64,
    /// The text: whole lines where there are any. What is no UTF-8 is replaced.
    pub text: String,
}

/// What is known of the log of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogState {
    /// The attempt; the first one is 1.
    pub attempt: i64,
    /// The length of its log, in bytes.
    pub bytes: u64,
}
