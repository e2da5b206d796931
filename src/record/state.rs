//! The states of a job and the moves between them.

use crate::stored::stored_enum;

stored_enum! {
    /// Where a job is. `queued → preparing → building → publishing → published`, with `failed` and `cancelled` as the
    /// other ends. A job that needs no build (a copy) goes from `preparing` to `publishing`.
    pub enum State {
        /// Accepted; waits for its turn.
        Queued = "queued",
        /// Claimed; validated again and the source package made.
        Preparing = "preparing",
        /// sbuild runs.
        Building = "building",
        /// Artifacts are checked and the publication is prepared; committing it makes the job `published`.
        Publishing = "publishing",
        /// In the pocket: an end.
        Published = "published",
        /// An end; the failure says why.
        Failed = "failed",
        /// Somebody stopped it: an end.
        Cancelled = "cancelled",
    }
}

stored_enum! {
    /// What hooks can hear of.
    pub enum Event {
        /// A job was accepted.
        Submitted = "submitted",
        /// A job was claimed; no code of the package has run.
        Started = "started",
        /// A job is in its pocket.
        Published = "published",
        /// A job failed.
        Failed = "failed",
        /// A job was cancelled.
        Cancelled = "cancelled",
    }
}

impl State {
    /// Whether nothing more will happen to the job unless somebody retries it.
    pub fn is_end(self) -> bool {
        match self {
            State::Queued | State::Preparing | State::Building | State::Publishing => false,
            State::Published | State::Failed | State::Cancelled => true,
        }
    }

    /// Whether a worker holds the job.
    pub fn is_running(self) -> bool {
        match self {
            State::Preparing | State::Building | State::Publishing => true,
            State::Queued | State::Published | State::Failed | State::Cancelled => false,
        }
    }

    /// Whether a job may go from here to `next`. Back to `queued` is a claim given up or a retry.
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

    /// The event that entering this state is, if hooks hear of it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_pinned() {
        let states: Vec<_> = State::ALL.iter().map(|s| s.as_str()).collect();
        assert_eq!(states, ["queued", "preparing", "building", "publishing", "published", "failed", "cancelled"]);
        let events: Vec<_> = Event::ALL.iter().map(|s| s.as_str()).collect();
        assert_eq!(events, ["submitted", "started", "published", "failed", "cancelled"]);
        let kinds: Vec<_> = crate::error::FailureKind::ALL.iter().map(|s| s.as_str()).collect();
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
