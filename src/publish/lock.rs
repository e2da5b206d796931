//! Keeps publications one at a time, no matter who makes them: the daemon, or an administrator's
//! `archive` and `verify`.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// The proof that nobody else changes archive and pocket refs of this service. The kernel lets go
/// of the lock when we die.
#[derive(Debug)]
pub struct PublishLock {
    _file: Flock<File>,
}

impl PublishLock {
    /// Waits for the lock.
    pub fn take(state_dir: &Path) -> Result<Self> {
        let file = Self::open(state_dir)?;
        let file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        Ok(Self { _file: file })
    }

    /// Takes the lock, unless somebody has it now.
    pub fn try_take(state_dir: &Path) -> Result<Option<Self>> {
        match Flock::lock(Self::open(state_dir)?, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(Self { _file: file })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    fn open(state_dir: &Path) -> Result<File> {
        let path = state_dir.join("publish.lock");
        let options = File::options().write(true).create(true).truncate(false).open(&path);
        options.with_context(|| format!("cannot open {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use crate::lock::*;

    #[test]
    fn one_has_it_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = PublishLock::take(dir.path()).unwrap();
        assert!(PublishLock::try_take(dir.path()).unwrap().is_none());
        drop(first);
        assert!(PublishLock::try_take(dir.path()).unwrap().is_some());
    }
}
