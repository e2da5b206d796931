//! Which deaths are tried, in which order: every failpoint in turn, those of recovery in the
//! recovery from another death, and random instants in between.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::clients::Work;
use invirtibuilder_core::failpoint::Point;

/// Where the disk can fail, and how.
const FAULTS: [Point; 26] = {
    use Point::*;
    [
        JobChecked,
        SourceMade,
        BuildMade,
        JobPublishing,
        PoolFileWritten,
        PoolFileNamed,
        PoolFilled,
        TagWritten,
        SuperprojectWritten,
        SuiteIndexWritten,
        SuiteIndexed,
        SuiteReleaseWritten,
        SuiteSigned,
        SuiteWritten,
        PublishPrepared,
        PublishUncommitted,
        MovePublished,
        TagAside,
        MoveTag,
        MoveBranch,
        MoveSuperproject,
        MoveSuite,
        SuiteStateNamed,
        SuiteLinked,
        SweepGeneration,
        HookRan,
    ]
};

/// One death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// When it comes by a point for the `nth` time.
    At(Point, usize),
    /// So long after a job is running.
    Random(Duration),
    /// Soon after the disk has failed at a point, once, with this error.
    AfterError(Point, &'static str),
}

impl Death {
    /// The value of `FAILPOINTS`.
    pub fn failpoints(self) -> String {
        match self {
            Death::At(point, 1) => format!("{}=return(kill)", point.name()),
            Death::At(point, nth) => format!("{}={}*off->return(kill)", point.name(), nth - 1),
            Death::Random(_) => String::new(),
            Death::AfterError(point, error) => format!("{}=1*return({error})", point.name()),
        }
    }
}

/// What a round does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// What the clients do.
    pub work: Work,
    /// How the daemon dies while it works.
    pub at_work: Death,
    /// How the next one dies before it is ready.
    pub in_recovery: Option<Point>,
    /// Whether the archive's description is changed in between.
    pub relabel: bool,
}

/// The endless list of rounds.
pub struct Plan {
    random: fastrand::Rng,
    queue: VecDeque<Round>,
    tries: HashMap<String, usize>,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            queue: VecDeque::new(),
            tries: HashMap::new(),
        }
    }

    /// The next round.
    pub fn next(&mut self) -> Round {
        loop {
            if let Some(round) = self.queue.pop_front() {
                return round;
            }
            let mut rounds: Vec<Round> =
                Point::ALL.iter().flat_map(|point| self.rounds_of(*point)).collect();
            for point in FAULTS {
                let error = ["eio", "enospc", "erofs"][self.random.usize(..3)];
                let at_work = Death::AfterError(point, error);
                rounds.push(Round { work: Work::Any, at_work, in_recovery: None, relabel: false });
            }
            self.random.shuffle(&mut rounds);
            for (n, round) in rounds.into_iter().enumerate() {
                self.queue.push_back(round);
                if n % 4 == 0 {
                    let random = self.random_instant();
                    self.queue.push_back(random);
                }
            }
        }
    }

    /// The point of a round was reached.
    pub fn reached(&mut self, round: Round) {
        self.tries.remove(&format!("{round:?}"));
    }

    /// Tries a round again later, in which its point was not reached. `false`: that was tried often
    /// enough in a row.
    pub fn again(&mut self, round: Round) -> bool {
        let tries = self.tries.entry(format!("{round:?}")).or_default();
        *tries += 1;
        self.queue.push_back(round);
        *tries < 4
    }

    fn random_instant(&mut self) -> Round {
        let at_work = Death::Random(Duration::from_millis(self.random.u64(..1500)));
        Round { work: Work::Any, at_work, in_recovery: None, relabel: false }
    }

    fn rounds_of(&mut self, point: Point) -> Vec<Round> {
        use Point::*;
        let nth = match point {
            PoolFileWritten | PoolFileNamed => self.random.usize(1..=5),
            SuiteIndexWritten => self.random.usize(1..=6),
            HookRan | HookRecorded => self.random.usize(1..=3),
            _ => 1,
        };
        let work = match point {
            JobFailing | JobFailed => Work::Failures,
            JobCancelling => Work::Cancels,
            _ => Work::Any,
        };
        let at_work =
            Round { work, at_work: Death::At(point, nth), in_recovery: None, relabel: false };
        let recovery = |death| Round { at_work: death, in_recovery: Some(point), ..at_work };
        match point {
            RecoverBegun | RecoverGivenBack | RecoverSwept | SweepWorkspace | Recovered => {
                vec![recovery(Death::At(JobBuilding, 1))]
            }
            SweepPool => vec![recovery(Death::At(PoolFilled, 1))],
            ProjectCommitted => {
                vec![Round { relabel: true, ..recovery(Death::At(JobPublishing, 1)) }]
            }
            // They are made after the commit, or by the next daemon.
            MovePublished | MovedPublished | TagAside | MoveTag | MovedTag | MoveBranch
            | MovedBranch | MoveSuperproject | MovedSuperproject | MoveSuite | SuiteStateNamed
            | SuiteLinked | SuiteFlipped | MovedSuite | MovesUnrecorded | MovesRecorded => {
                vec![
                    at_work,
                    recovery(Death::At(
                        match point {
                            MovePublished | MovedPublished => MovePublished,
                            TagAside => TagAside,
                            MoveTag | MovedTag => MoveTag,
                            _ => PublishCommitted,
                        },
                        1,
                    )),
                ]
            }
            // No daemon comes there: pockets are moved by an administrator (`wander.rs`).
            SuiteUnlinked => Vec::new(),
            _ => vec![at_work],
        }
    }
}
