//! One daemon at a time.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use invirtibuilder_core::error::Error;

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
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                file.set_len(0)?;
                file.rewind()?;
                writeln!(file, "{}", std::process::id())?;
                Ok(Self { _file: file })
            }
            Err((mut file, _)) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let pid = invirtibuilder_core::text::one_line(pid.trim());
                Err(Error::unavailable(format!(
                    "another invirtibuilderd (pid {pid}) serves {}",
                    state_dir.display()
                ))
                .into())
            }
        }
    }
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
}
