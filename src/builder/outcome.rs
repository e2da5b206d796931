//! What the end of a run of sbuild means for the job.

use std::fs;
use std::time::Duration;

use crate::attempt::{Attempt, Scratch};
use crate::executor::{BuildOutcome, Target};
use crate::proxy::Lists;
use crate::reason::{self, Stage};
use crate::request::BuildRequest;
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_sandbox::status::Status;
use invirtibuilder_system::architectures::Binaries;
use invirtibuilder_system::cgroup::Breach;
use invirtibuilder_system::subprocess::Ended;

impl BuildOutcome {
    /// Returns what the sandbox said of itself, if it did.
    pub fn status(&self) -> Option<Status> {
        match self.finished.ended {
            Ended::Exit(code) => Status::of(code),
            _ => None,
        }
    }

    /// Tells whether a build had too little memory for its files, and may have more on the disk.
    pub fn outgrew(&self, request: &BuildRequest, attempt: &Attempt) -> bool {
        matches!(attempt.scratch, Scratch::Memory(room) if room < request.limits.disk.0)
            && self.status() == Some(Status::Disk)
    }

    /// Tells whether a build may have failed because lists of packages were too old. Where lists do
    /// not fit together, the mirror was just changing them, or somebody on the way had old ones.
    pub fn had_old_lists(&self, attempt: &Attempt) -> bool {
        let by_itself = matches!(self.finished.ended, Ended::Exit(code) if (1..=3).contains(&code));
        if !by_itself || attempt.lists != Lists::Kept {
            return false;
        }
        match reason::stage(&String::from_utf8_lossy(&self.finished.stderr)) {
            Stage::Lists => true,
            Stage::Dependencies => attempt.stale.was_noted(),
            _ => false,
        }
    }

    /// Decides whether the build succeeded, or why it failed. sbuild says 0 for what it skipped
    /// too: only a `.changes` is a success.
    pub fn judge(&self, request: &BuildRequest, target: &Target) -> Result<(), Failure> {
        let status = match self.breach {
            Some(Breach::Processes) => Some(Status::Processes),
            _ => self.status(),
        };
        match (status, self.breach) {
            // Without one of its processes it may even believe that it succeeded.
            (status, Some(Breach::Memory)) if status != Some(Status::Memory) => Err(Failure::new(
                FailureKind::BuildMemory,
                "the build used all the memory that it may (limits.memory and limits.disk)",
            )),
            (Some(status), _) => Err(of_sandbox(status, self, request)),
            (None, _) => self.of_sbuild(request, target),
        }
    }

    fn of_sbuild(&self, request: &BuildRequest, target: &Target) -> Result<(), Failure> {
        let limits = &request.limits;
        let (kind, text) = match self.finished.ended {
            Ended::Exit(0) if has_changes(request, target)? => return Ok(()),
            Ended::Exit(_) | Ended::Signal(_) => {
                return Err(reason::why(&String::from_utf8_lossy(&self.finished.stderr)));
            }
            Ended::TimedOut => (
                FailureKind::BuildTimeout,
                format!("the build took longer than {}", span(limits.time)),
            ),
            Ended::Silent => (
                FailureKind::BuildSilence,
                format!("the build said nothing for {}", span(limits.silence)),
            ),
            Ended::TooMuchOutput => (
                FailureKind::BuildLog,
                format!("the build log is longer than {} KiB (limits.log)", limits.log.0 >> 10),
            ),
            Ended::Cancelled => (FailureKind::System, "the build was told to stop".to_owned()),
        };
        Err(Failure::new(kind, text))
    }
}

/// Tells whether sbuild has made what it was asked for.
pub fn has_changes(request: &BuildRequest, target: &Target) -> Result<bool, Failure> {
    let all = target.binaries == Binaries::All;
    let suffix = format!("_{}.changes", if all { "all" } else { target.architecture.as_str() });
    let mut entries = fs::read_dir(&request.output)?.flatten();
    Ok(entries.any(|entry| entry.file_name().to_string_lossy().ends_with(&suffix)))
}

/// Says what a sandbox said of itself.
fn of_sandbox(status: Status, outcome: &BuildOutcome, request: &BuildRequest) -> Failure {
    let limits = &request.limits;
    let (kind, text) = match status {
        Status::Broken => (FailureKind::System, outcome.finished.describe()),
        Status::Memory => (
            FailureKind::BuildMemory,
            format!(
                "the build used more than {} MiB of memory (limits.memory)",
                limits.memory.0 >> 20
            ),
        ),
        Status::Processes => (
            FailureKind::BuildProcesses,
            format!(
                "the build had more than {} processes and threads (limits.processes)",
                limits.processes
            ),
        ),
        Status::Disk => (
            FailureKind::BuildDisk,
            format!(
                "the build used all {} MiB of disk space that it may (limits.disk)",
                limits.disk.0 >> 20
            ),
        ),
        Status::NotStarted | Status::NoKvm => (
            FailureKind::Chroot,
            "the virtual machine does not start: the log has what its console said".to_owned(),
        ),
        Status::MachineEnded => {
            (FailureKind::BuildFailed, "the virtual machine ended before the build did".to_owned())
        }
    };
    Failure::new(kind, text)
}

fn span(limit: Duration) -> String {
    invirtibuilder_core::time::span(limit.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use invirtibuilder_core::config::Config;
    use invirtibuilder_system::subprocess::Finished;

    use super::*;
    use crate::request::BuildPaths;

    #[test]
    fn what_the_kernel_has_met_is_said_before_what_the_build_made_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.build.pockets.insert("dev".parse().unwrap(), Default::default());
        let pocket = config.pocket("dev").unwrap();
        let at = || dir.path().to_owned();
        let paths = BuildPaths { scratch: at(), output: at(), log: dir.path().join("log") };
        let (package, version) = ("hello".parse().unwrap(), "1.0".parse().unwrap());
        let request = BuildRequest::new(&config, pocket, (&package, &version), Vec::new(), paths);
        let architecture = "amd64".parse().unwrap();
        let target = Target { architecture, binaries: Binaries::Own, environment: None };
        let kind = |ended: Ended, breach: Option<Breach>| {
            let (program, stdout, stderr) = ("sbuild".to_owned(), Vec::new(), Vec::new());
            let finished = Finished { program, ended, stdout, stderr };
            BuildOutcome { finished, breach }.judge(&request, &target).unwrap_err().kind
        };
        let exit = |status: Status| Ended::Exit(status.code().into());
        let (memory, processes) = (Some(Breach::Memory), Some(Breach::Processes));
        assert_eq!(kind(exit(Status::Memory), None), FailureKind::BuildMemory);
        assert_eq!(kind(exit(Status::Memory), processes), FailureKind::BuildProcesses);
        assert_eq!(kind(exit(Status::Disk), None), FailureKind::BuildDisk);
        assert_eq!(kind(exit(Status::Disk), memory), FailureKind::BuildMemory);
        assert_eq!(kind(Ended::TimedOut, memory), FailureKind::BuildMemory);
        assert_eq!(kind(Ended::TimedOut, None), FailureKind::BuildTimeout);
        assert_eq!(kind(Ended::Exit(0), processes), FailureKind::BuildProcesses);
        assert_eq!(kind(exit(Status::NoKvm), None), FailureKind::Chroot);
    }
}
