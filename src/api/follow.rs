//! Jobs that somebody follows to their end, and their logs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::job::{Job, State, StateChange};
use crate::wait::Wait;
use invirtibuilder_core::names::JobId;

/// The wish to read the build log of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogRequest {
    /// The job.
    pub job: JobId,
    /// Whether the reader waits for what comes, until the job ends.
    pub follow: bool,
}

/// How far a job has come.
#[derive(Debug, Clone)]
pub struct JobProgress {
    /// The job.
    pub job: Job,
    /// The states that it entered.
    pub steps: Vec<StateChange>,
    /// Whether it has ended, and everything that its end owes is done.
    pub is_over: bool,
}

/// One thing that is said to those who follow a job: as JSON, one line.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Followed {
    /// The job has entered a state.
    Step(StateChange),
    /// The job is still queued.
    Waiting(StillWaiting),
    /// The job has ended.
    End(Box<Job>),
}

/// One thing that is said to those who follow several jobs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct FollowedJob {
    /// The job that it is said of.
    pub job: JobId,
    /// What is said.
    #[serde(flatten)]
    pub what: Followed,
}

/// What a queued job waits for at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StillWaiting {
    /// The moment, in milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// The state of the job.
    pub state: State,
    /// What it waits for, and how long.
    pub waits: Wait,
}

#[cfg(test)]
mod tests {
    use crate::examples::{self, pretty};
    use crate::follow::*;

    #[test]
    fn the_json_of_following_is_pinned() {
        let waiting =
            StillWaiting { at: 1_700_000_015_000, state: State::Queued, waits: examples::wait() };
        let lines = [
            Followed::Step(StateChange { at: 1_700_000_000_000, state: State::Queued }),
            Followed::Waiting(waiting),
            Followed::End(Box::new(examples::job())),
        ];
        assert_eq!(pretty(&lines), include_str!("json/followed.json"));
        let [first, ..] = lines;
        let named = FollowedJob { job: JobId(12), what: first };
        assert_eq!(
            serde_json::to_string(&named).unwrap(),
            r#"{"job":12,"at":1700000000000,"state":"queued"}"#
        );
    }
}
