//! Names points in the life of a job and of a publication, at which a test makes this program die
//! or fail.
//!
//! They exist with the cargo feature `failpoints` only, which no program that is shipped has;
//! without it [`reach`] is nothing. With it the variable `FAILPOINTS` says what happens where, in
//! the words of the `fail` crate: a list such as
//! `publish.committed=return(kill);pool.file.written=3*off->return(enospc)`. The words that
//! [`reach`] knows are `kill`, which is a real SIGKILL to the whole process, and the errors `eio`,
//! `enospc` and `erofs`, which the point then returns.
//!
//! `docs/explanation/consistency.md` says what a crash at each of them leaves, and who mends it.

use std::io;

macro_rules! points {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// A step after, or right before, which a test can make the program die.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Point { $($(#[$doc])* $variant,)+ }

        impl Point {
            /// Every point, in the order in which a job comes by.
            pub const ALL: &'static [Point] = &[$(Point::$variant,)+];

            /// Returns the point's name in `FAILPOINTS`.
            pub fn name(self) -> &'static str {
                match self { $(Point::$variant => $name,)+ }
            }
        }
    };
}

points! {
    /// The daemon looks for a job to claim.
    JobUnclaimed = "job.unclaimed",
    /// The daemon has claimed a job; no worker has it yet.
    JobClaimed = "job.claimed",
    /// The worker has checked the job again.
    JobChecked = "job.checked",
    /// The worker has made the source package.
    SourceMade = "source.made",
    /// The job is `building`; the build has not begun.
    JobBuilding = "job.building",
    /// The build is complete, and not yet kept.
    BuildMade = "build.made",
    /// The files that the build made are durably in their place.
    BuildKept = "build.kept",
    /// The job is `publishing`; nothing is in the pool.
    JobPublishing = "job.publishing",
    /// The service has written a file of the pool under a temporary name.
    PoolFileWritten = "pool.file.written",
    /// The file of the pool has its name; the directory is not yet on the disk.
    PoolFileNamed = "pool.file.named",
    /// Every file of the job is in the pool.
    PoolFilled = "pool.filled",
    /// The service has written the tag object; no ref names it.
    TagWritten = "git.tag.written",
    /// The service has written the superproject's next commit; no ref names it.
    SuperprojectWritten = "git.superproject.written",
    /// The service has written one index file of the next generation, in one of its forms.
    SuiteIndexWritten = "suite.index.written",
    /// All index files are there, and their names by hash; Release is not.
    SuiteIndexed = "suite.indexed",
    /// The service has written Release; the signatures are not there.
    SuiteReleaseWritten = "suite.release.written",
    /// The service has written the signatures; the directories are not yet on the disk.
    SuiteSigned = "suite.signed",
    /// The generation is complete and on the disk; nothing shows it.
    SuiteWritten = "suite.written",
    /// Everything that precedes the commit is done.
    PublishPrepared = "publish.prepared",
    /// Inside the transaction, right before its COMMIT.
    PublishUncommitted = "publish.uncommitted",
    /// Right after COMMIT: every move is owed.
    PublishCommitted = "publish.committed",
    /// The service is about to move the ref that marks a version as published.
    MovePublished = "move.published",
    /// The service has moved the ref that marks a version as published.
    MovedPublished = "moved.published",
    /// A tag that is in the way is kept; that is not yet recorded, and it is where it was.
    TagAside = "tag.aside",
    /// The service is about to make the tag's ref.
    MoveTag = "move.tag",
    /// The service has made the tag's ref.
    MovedTag = "moved.tag",
    /// The service is about to move the package's pocket branch.
    MoveBranch = "move.branch",
    /// The service has moved the package's pocket branch.
    MovedBranch = "moved.branch",
    /// The service is about to move the superproject's pocket branch.
    MoveSuperproject = "move.superproject",
    /// The service has moved the superproject's pocket branch.
    MovedSuperproject = "moved.superproject",
    /// The service is about to flip the suite.
    MoveSuite = "move.suite",
    /// The state of the past that the next generation will be has its URL; the suite does not show
    /// it yet.
    SuiteStateNamed = "suite.state.named",
    /// The link to the next generation is there under a temporary name.
    SuiteLinked = "suite.linked",
    /// The link has its name; the directory is not yet on the disk.
    SuiteFlipped = "suite.flipped",
    /// The link of a suite that leaves its archive is gone; its generations are there.
    SuiteUnlinked = "suite.unlinked",
    /// The service has flipped the suite.
    MovedSuite = "moved.suite",
    /// The service is about to remove an old generation.
    SweepGeneration = "sweep.generation",
    /// The service has made all moves; the record still has them as owed.
    MovesUnrecorded = "moves.unrecorded",
    /// The record has all moves as made.
    MovesRecorded = "moves.recorded",
    /// A job ended well; its workspace is still there.
    JobPublished = "job.published",
    /// A job did not make it; that is not yet recorded.
    JobFailing = "job.failing",
    /// The record has the failure of a job; the workspace is still there.
    JobFailed = "job.failed",
    /// The worker of a job that somebody cancelled has let go; that is not yet recorded.
    JobCancelling = "job.cancelling",
    /// The service is about to remove a file of the pool that no version has.
    SweepPool = "sweep.pool",
    /// The service is about to remove a workspace.
    SweepWorkspace = "sweep.workspace",
    /// The hooks of an event have run; that is not yet recorded.
    HookRan = "hook.ran",
    /// The record has the end of an event's hooks.
    HookRecorded = "hook.recorded",
    /// Recovery begins.
    RecoverBegun = "recover.begun",
    /// Recovery has given one claim of a dead daemon back.
    RecoverGivenBack = "recover.given-back",
    /// Recovery has given all claims back, and removed workspaces.
    RecoverSwept = "recover.swept",
    /// A suite that the configuration describes in another way has a next generation; the record
    /// has it.
    ProjectCommitted = "project.committed",
    /// Recovery is complete; nobody was told.
    Recovered = "recovered",
}

/// Says that a point is reached: nothing, unless a test wants something to happen there.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(_: Point) -> io::Result<()> {
    Ok(())
}

/// Says that a point is reached: does what `FAILPOINTS` says about it.
#[cfg(feature = "failpoints")]
pub fn reach(point: Point) -> io::Result<()> {
    use nix::errno::Errno;
    use nix::sys::signal::{Signal, kill};

    static FROM_ENVIRONMENT: std::sync::Once = std::sync::Once::new();
    FROM_ENVIRONMENT.call_once(|| std::mem::forget(fail::FailScenario::setup()));
    let error = match fail::eval(point.name(), |word| word).flatten().as_deref() {
        None => return Ok(()),
        Some("kill") => {
            let _ = kill(nix::unistd::getpid(), Signal::SIGKILL);
            loop {
                std::thread::park();
            }
        }
        Some("eio") => Errno::EIO,
        Some("enospc") => Errno::ENOSPC,
        Some("erofs") => Errno::EROFS,
        Some(word) => panic!(
            "FAILPOINTS has {word} at {}: it may be kill, eio, enospc or erofs",
            point.name()
        ),
    };
    Err(error.into())
}

#[cfg(test)]
mod tests {
    use crate::failpoint::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = Point::ALL.iter().map(|point| point.name()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), Point::ALL.len());
    }
}
