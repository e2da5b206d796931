//! Children of a dead daemon: builds and hooks that nobody watches any more.
//!
//! Most die with it (`setpriv --pdeathsig`), but not one that was about to ask for that. All are
//! known by a variable in their environment, which [`invirtibuilder_system::subprocess`] sets and
//! which their own children inherit; those of other users are in process namespaces that end with a
//! first process of ours.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use invirtibuilder_system::processes;
use invirtibuilder_system::subprocess::MARK;

/// How long the kernel may take to end what was killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Kills every child of an earlier daemon of this state directory. The caller holds the instance
/// lock and has no children yet.
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
    processes::of_ours(|process| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == mark)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use crate::orphans::*;

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
