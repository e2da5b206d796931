//! One daemon at a time.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use invirtibuilder_core::error::Error;
use invirtibuilder_core::text;

/// Proof that no other daemon uses this state directory. The kernel lets go of it when we die,
/// however we die.
#[derive(Debug)]
pub struct InstanceLock {
    _file: Flock<File>,
}

impl InstanceLock {
    /// Takes the lock, or says who has it.
    pub fn take(state_dir: &Path) -> Result<Self> {
        let path = state_dir.join("daemon.lock");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let asked = Instant::now();
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(mut file) => {
                    file.set_len(0)?;
                    file.rewind()?;
                    writeln!(file, "{}", std::process::id())?;
                    return Ok(Self { _file: file });
                }
                Err((file, _)) => file,
            };
            let mut pid = String::new();
            file.rewind()?;
            let _ = file.read_to_string(&mut pid);
            let pid = text::one_line(pid.trim());
            if lives(&pid) || asked.elapsed() > LEFT {
                let text =
                    format!("another invirtibuilderd (pid {pid}) serves {}", state_dir.display());
                return Err(Error::unavailable(text).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The longest that a dead daemon can have the lock still: a child that it was starting has it, too,
/// until that runs its own program (fork(2), flock(2)).
const LEFT: Duration = Duration::from_secs(10);

/// Tells whether a process of this number lives, and is not only waited for.
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // PID (NAME) STATE …, and the name may hold anything (proc(5)).
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use crate::lock::*;

    #[test]
    fn a_second_daemon_is_refused_and_told_who_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let first = InstanceLock::take(dir.path()).unwrap();
        let error = InstanceLock::take(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        InstanceLock::take(dir.path()).unwrap();
    }

    #[test]
    fn what_a_dead_daemon_was_starting_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.lock");
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        std::fs::write(&path, format!("{}\n", dead.id())).unwrap();
        let childs = Flock::lock(File::open(&path).unwrap(), FlockArg::LockExclusive).unwrap();
        std::thread::scope(|scope| {
            let next = scope.spawn(|| InstanceLock::take(dir.path()));
            std::thread::sleep(Duration::from_millis(100));
            assert!(!next.is_finished(), "the lock is not free");
            drop(childs);
            next.join().unwrap().unwrap();
        });
    }
}
