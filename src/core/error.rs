//! Errors as a caller sees them: one sentence and one exit code.
//!
//! [`Error`] is for everything that ends a request; [`Failure`] is for a job that was accepted and
//! then did not make it. Anything else travels as `anyhow::Error` and is our bug unless
//! [`exit_for`] knows it.

use std::fmt;

/// The exit codes of both programs (sysexits(3)); remctl and ssh pass them to their callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command did what it should.
    Ok = 0,
    /// The job that the command waited for failed.
    JobFailed = 1,
    /// The command line is wrong.
    Usage = 64,
    /// The request is not valid.
    Invalid = 65,
    /// A service that is needed is unavailable.
    Unavailable = 69,
    /// The program has a bug.
    Bug = 70,
    /// The caller can try again later.
    TryAgain = 75,
    /// The caller may not do this.
    Denied = 77,
    /// The configuration is wrong.
    Config = 78,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with its exit code. The message is one sentence that names the thing at fault and the
/// way out.
#[derive(Debug, Clone)]
pub struct Error {
    exit: Exit,
    message: String,
}

impl Error {
    /// Makes the error of a wrong command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    /// Makes the error of a request that is not valid.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { exit: Exit::Invalid, message: message.into() }
    }

    /// Makes the error of a service that is needed and unavailable.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { exit: Exit::Unavailable, message: message.into() }
    }

    /// Makes the error of a bug in our own program.
    pub fn bug(message: impl Into<String>) -> Self {
        Self { exit: Exit::Bug, message: message.into() }
    }

    /// Makes an error after which the caller can try again later.
    pub fn try_again(message: impl Into<String>) -> Self {
        Self { exit: Exit::TryAgain, message: message.into() }
    }

    /// Makes the error of a caller that is not permitted to do this.
    pub fn denied(message: impl Into<String>) -> Self {
        Self { exit: Exit::Denied, message: message.into() }
    }

    /// Makes the error of a wrong configuration.
    pub fn config(message: impl Into<String>) -> Self {
        Self { exit: Exit::Config, message: message.into() }
    }

    /// Makes the same of an error that has ended somebody else's work, too.
    pub fn like(error: &anyhow::Error) -> Self {
        Self { exit: exit_for(error), message: format!("{error:#}") }
    }

    /// Returns the exit code that goes with the error.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Returns the exit code of any error: its own if it is an [`Error`], that of the condition if the
/// system said so, else [`Exit::Bug`].
pub fn exit_for(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if let Some(e) = cause.downcast_ref::<Error>() {
            return e.exit();
        }
        if let Some(e) = cause.downcast_ref::<Failure>() {
            return if e.kind == FailureKind::Invalid { Exit::Invalid } else { Exit::Unavailable };
        }
        #[cfg(feature = "sqlite")]
        if let Some(e) = cause.downcast_ref::<rusqlite::Error>() {
            use rusqlite::ErrorCode::*;
            return match e.sqlite_error_code() {
                Some(DatabaseBusy | DatabaseLocked) => Exit::TryAgain,
                Some(DiskFull | SystemIoFailure | CannotOpen | PermissionDenied | ReadOnly) => {
                    Exit::Unavailable
                }
                _ => Exit::Bug,
            };
        }
        if let Some(e) = cause.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::*;
            return match e.kind() {
                StorageFull | QuotaExceeded | PermissionDenied | NotFound | ReadOnlyFilesystem => {
                    Exit::Unavailable
                }
                _ => Exit::Bug,
            };
        }
    }
    Exit::Bug
}

crate::stored_in_json!(FailureKind);

crate::stored_enum! {
    /// The kind of a job's failure: stable words that tools may match on. The part before the dot
    /// is the stage.
    pub enum FailureKind {
        /// The rules of validation, checked again, refuse what they took at submission.
        Invalid = "prepare.invalid",
        /// The principal lost access between submission and start.
        Denied = "prepare.denied",
        /// `debian/changelog` does not parse, or names another package.
        Changelog = "source.changelog",
        /// The commit holds something a source package cannot be made from.
        Tree = "source.tree",
        /// `debian/source/format` names a format that is not supported.
        Format = "source.format",
        /// The commit's tree is none of the layouts that a source package is made from.
        Layout = "source.layout",
        /// The upstream tarball is neither in the archive nor in pristine-tar, or is not what it
        /// has to be.
        Upstream = "source.upstream",
        /// dpkg-source refused to make or to unpack the source package.
        DpkgSource = "source.dpkg",
        /// The source package is not the commit.
        Differs = "source.differs",
        /// Making the source package took more disk than `limits.disk`.
        SourceDisk = "source.disk",
        /// apt or dpkg cannot install the build dependencies.
        BuildDeps = "build.deps",
        /// The package's own build failed.
        BuildFailed = "build.failed",
        /// The build took longer than `limits.time`.
        BuildTimeout = "build.timeout",
        /// The build said nothing for `limits.silence`.
        BuildSilence = "build.silence",
        /// The build used more memory than `limits.memory`.
        BuildMemory = "build.memory",
        /// The build used more disk than `limits.disk`.
        BuildDisk = "build.disk",
        /// The build had more processes and threads than `limits.processes`.
        BuildProcesses = "build.processes",
        /// The build wrote a longer log than `limits.log`.
        BuildLog = "build.log",
        /// There is no chroot for the distro, or it does not work.
        Chroot = "build.chroot",
        /// A second build did not give the same packages (`require_reproducible`).
        Unreproducible = "build.unreproducible",
        /// The build returned something else than what it was asked for.
        Result = "build.result",
        /// The archive or the Git record holds something that contradicts the job.
        Conflict = "publish.conflict",
        /// A binary package of it belongs to another source package of the suite.
        Takeover = "publish.takeover",
        /// Three daemons in a row died while they published it.
        Crash = "publish.crash",
        /// The disk is full or fails, a program is missing, or the daemon hit a bug.
        System = "system.error",
    }
}

/// The end of a job that did not succeed: a stable kind and prose for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind, which tools match on.
    pub kind: FailureKind,
    /// One sentence for people; may hold text from the package, so show it through [`crate::text`].
    pub text: String,
}

impl Failure {
    /// Makes a failure of this kind.
    pub fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.text)
    }
}

impl std::error::Error for Failure {}

/// Takes an error below a stage that has no kind of its own: the disk, a missing program, a bug.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Failure>() {
            Ok(failure) => failure,
            Err(error) => Self::new(FailureKind::System, format!("{error:#}")),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        anyhow::Error::from(error).into()
    }
}

#[cfg(feature = "sqlite")]
impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        anyhow::Error::from(error).into()
    }
}

#[cfg(feature = "git")]
impl From<git2::Error> for Failure {
    fn from(error: git2::Error) -> Self {
        anyhow::Error::from(error).into()
    }
}
