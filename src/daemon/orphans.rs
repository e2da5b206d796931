//! Children of a dead daemon: builds and hooks that nobody watches any more.
//!
//! Most die with it (`setpriv --pdeathsig`), but not one that was about to ask for that. All are known by a variable in
//! their environment, which [`crate::subprocess`] sets and which their own children inherit; those of other users are in
//! process namespaces that end with a first process of ours.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getuid};

use crate::subprocess::MARK;

/// How long the kernel may take to end what was killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Kills every child of an earlier daemon of this state directory. The caller holds the instance lock and has no
/// children yet.
pub fn kill_all(state_dir: &Path) -> Result<()> {
    let start = Instant::now();
    loop {
        let pids = marked(state_dir)?;
        if pids.is_empty() {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            bail!("processes {pids:?} of an earlier daemon do not die");
        }
        for pid in pids {
            // It may have ended meanwhile.
            let _ = kill(pid, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn marked(state_dir: &Path) -> Result<Vec<Pid>> {
    let mark = [MARK.as_bytes(), b"=", state_dir.as_os_str().as_bytes()].concat();
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).map(Pid::from_raw) else {
            continue;
        };
        // Processes come and go while this looks at them.
        let mine = entry.metadata().is_ok_and(|meta| meta.uid() == getuid().as_raw()) && pid != getpid();
        let environment = if mine { fs::read(entry.path().join("environ")).unwrap_or_default() } else { Vec::new() };
        if environment.split(|byte| *byte == 0).any(|entry| entry == mark) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_children_of_this_state_directory_are_killed() {
        let start = |dir: &str| Command::new("sleep").arg("1000").env(MARK, dir).spawn().unwrap();
        let (mut mine, mut other) = (start("/nonexistent/mine"), start("/nonexistent/other"));
        // A child is not known as marked before it runs its program.
        let here = || {
            marked(Path::new("/nonexistent/mine")).unwrap().len()
                + marked(Path::new("/nonexistent/other")).unwrap().len()
        };
        while here() < 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        kill_all(Path::new("/nonexistent/mine")).unwrap();
        assert_eq!(mine.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
