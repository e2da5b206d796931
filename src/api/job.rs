//! Jobs: their states, and what happened to them.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::error::FailureKind;
use invirtibuilder_core::names::{
    CommitId, DomainName, JobId, PackageName, PocketName, Principal, Version,
};
use invirtibuilder_core::{stored_enum, stored_in_json};

stored_enum! {
    /// The state of a job. It goes `queued → preparing → building → publishing → published`, with
    /// `failed` and `cancelled` as the other ends. A job that needs no build (a copy) goes from
    /// `preparing` to `publishing`.
    pub enum State {
        /// The service has accepted the job, which waits for its turn.
        Queued = "queued",
        /// A daemon has claimed the job: it validates it again and makes the source package.
        Preparing = "preparing",
        /// The daemon runs sbuild.
        Building = "building",
        /// The daemon checks the artifacts and prepares the publication; committing that makes the
        /// job `published`.
        Publishing = "publishing",
        /// The pocket has the package: an end.
        Published = "published",
        /// The job failed, and the failure says why: an end.
        Failed = "failed",
        /// Somebody stopped the job: an end.
        Cancelled = "cancelled",
    }
}

stored_enum! {
    /// An event that hooks can hear of.
    pub enum Event {
        /// The service has accepted a job.
        Submitted = "submitted",
        /// A daemon has claimed a job; no code of the package has run.
        Started = "started",
        /// A job is in its pocket.
        Published = "published",
        /// A job failed.
        Failed = "failed",
        /// Somebody has cancelled a job.
        Cancelled = "cancelled",
        /// Somebody has taken what a job brought out of its pocket.
        Removed = "removed",
    }
}

stored_in_json!(State);
stored_in_json!(Event);

impl State {
    /// Tells whether nothing more will happen to the job unless somebody retries it.
    pub fn is_end(self) -> bool {
        match self {
            State::Queued | State::Preparing | State::Building | State::Publishing => false,
            State::Published | State::Failed | State::Cancelled => true,
        }
    }

    /// Tells whether a worker holds the job.
    pub fn is_running(self) -> bool {
        match self {
            State::Preparing | State::Building | State::Publishing => true,
            State::Queued | State::Published | State::Failed | State::Cancelled => false,
        }
    }

    /// Tells whether a job may go from here to `next`. Back to `queued` is a claim given up or a
    /// retry.
    pub fn may_become(self, next: State) -> bool {
        use State::*;
        match self {
            Queued => matches!(next, Preparing | Cancelled),
            Preparing => matches!(next, Building | Publishing | Failed | Cancelled | Queued),
            Building => matches!(next, Publishing | Failed | Cancelled | Queued),
            Publishing => matches!(next, Published | Failed | Cancelled | Queued),
            Failed | Cancelled => matches!(next, Queued),
            Published => false,
        }
    }

    /// Returns the event that entering this state is, if hooks hear of it.
    pub fn event(self) -> Option<Event> {
        match self {
            State::Queued => Some(Event::Submitted),
            State::Preparing => Some(Event::Started),
            State::Building | State::Publishing => None,
            State::Published => Some(Event::Published),
            State::Failed => Some(Event::Failed),
            State::Cancelled => Some(Event::Cancelled),
        }
    }
}

/// One accepted request to bring a commit of a package into a pocket.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// The number of the job.
    pub id: JobId,
    /// The pocket that it goes into.
    pub pocket: PocketName,
    /// The domain that the pocket was in when it was queued.
    pub domain: DomainName,
    /// The source package.
    pub package: PackageName,
    /// The commit, in full.
    pub commit: CommitId,
    /// The version that is built.
    pub version: Version,
    /// The version that `debian/changelog` has there.
    pub written: Version,
    /// The reason, if it is a rebuild without changes.
    pub why: Option<String>,
    /// The principal that submitted the job, or retried it last.
    pub principal: Principal,
    /// The state of the job.
    pub state: State,
    /// The kind of its failure, if it failed.
    pub failure: Option<FailureKind>,
    /// The reason in prose: why it failed, or who cancelled it.
    pub reason: Option<String>,
    /// The pocket whose binaries it took instead of a build.
    pub copied_from: Option<PocketName>,
    /// The number of times that a daemon claimed it.
    pub attempt: i64,
    /// When it was accepted, in milliseconds since 1970-01-01 UTC, as all times here.
    pub submitted: i64,
    /// When a daemon claimed it last.
    pub started: Option<i64>,
    /// When it ended.
    pub finished: Option<i64>,
    /// The principal that asked the running job to stop.
    pub cancel_by: Option<Principal>,
    /// Whether it goes before the other jobs of its pocket.
    pub priority: bool,
}

impl Job {
    /// Names the version that it brings.
    pub fn identity(&self) -> Identity {
        let Self { domain, package, version, .. } = self;
        Identity { domain: domain.clone(), package: package.clone(), version: version.clone() }
    }
}

/// A step of a job: a state that it entered.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StateChange {
    /// When it entered the state, in milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// The state.
    pub state: State,
}

/// One run of one hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookRun {
    /// The event that the hook heard of.
    pub event: Event,
    /// The file name of the hook.
    pub name: String,
    /// When it started, in milliseconds since 1970-01-01 UTC.
    pub started: i64,
    /// When it ended, in milliseconds since 1970-01-01 UTC.
    pub finished: i64,
    /// `ok`, or what went wrong.
    pub outcome: String,
}

/// A job that somebody cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cancellation {
    /// The job.
    pub job: JobId,
    /// How far the cancellation has come.
    pub state: Cancelling,
}

/// How far a cancellation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cancelling {
    /// The job was queued, and has ended.
    Cancelled,
    /// The job runs, and its worker was asked to stop.
    Stopping,
}

/// A job that is queued again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Retried {
    /// The job.
    pub job: JobId,
    /// The state of the job.
    pub state: State,
}

/// The number of open jobs that were accepted before another one, counted up to [`Ahead::MOST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Ahead(pub u32);

impl Ahead {
    /// The most jobs that are counted: a user with so many before them does not care for the rest.
    /// Each submission counts: 1,000 would be a fifth of what it costs while many submit.
    pub const MOST: u32 = 100;
}

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.0 < Self::MOST { "" } else { " or more" };
        write!(f, "{}{more}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::{self, pretty};

    #[test]
    fn the_json_of_history_is_pinned() {
        assert_eq!(pretty(&[examples::job()]), include_str!("json/history.json"));
    }

    #[test]
    fn the_json_of_cancel_is_pinned() {
        let cancelled = |state| Cancellation { job: JobId(7), state };
        let both = [Cancelling::Cancelled, Cancelling::Stopping].map(cancelled);
        assert_eq!(pretty(&both), include_str!("json/cancellations.json"));
    }

    #[test]
    fn the_json_of_retry_is_pinned() {
        let retried = Retried { job: JobId(7), state: State::Queued };
        assert_eq!(pretty(&retried), include_str!("json/retried.json"));
    }

    #[test]
    fn spellings_are_pinned() {
        let states: Vec<_> = State::ALL.iter().map(|s| s.as_str()).collect();
        assert_eq!(
            states,
            ["queued", "preparing", "building", "publishing", "published", "failed", "cancelled"]
        );
        let events: Vec<_> = Event::ALL.iter().map(|s| s.as_str()).collect();
        assert_eq!(events, ["submitted", "started", "published", "failed", "cancelled", "removed"]);
        let kinds: Vec<_> = FailureKind::ALL.iter().map(|s| s.as_str()).collect();
        assert_eq!(
            kinds,
            [
                "prepare.invalid",
                "prepare.denied",
                "source.changelog",
                "source.tree",
                "source.format",
                "source.layout",
                "source.upstream",
                "source.dpkg",
                "source.differs",
                "source.disk",
                "build.deps",
                "build.failed",
                "build.timeout",
                "build.silence",
                "build.memory",
                "build.disk",
                "build.processes",
                "build.log",
                "build.chroot",
                "build.unreproducible",
                "build.result",
                "publish.conflict",
                "publish.takeover",
                "publish.crash",
                "system.error",
            ]
        );
    }

    #[test]
    fn ends_are_left_by_a_retry_only() {
        for state in State::ALL {
            for next in State::ALL {
                if state.is_end() && state.may_become(*next) {
                    assert_eq!(*next, State::Queued);
                    assert_ne!(*state, State::Published);
                }
            }
        }
    }
}
