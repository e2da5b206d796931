//! Gives each sandbox its share of what the kernel counts by user, so that no build takes
//! everybody's.
//!
//! The kernel counts what is in a user namespace for the user that made that namespace, too, and so
//! on outwards: all builds together are the service's user there. What it says of a namespace
//! (`/proc/sys/user`) holds for each id in it. So the share is written in the sandbox's own
//! namespace, of which the testbed's, where the package's code is, is one user. Limits of a process
//! (setrlimit(2)) hold for all that is in a namespace which it makes.
//!
//! What is counted for an id alone (pipes, epoll, keys, sockets on their way) needs no share: no
//! two builds have an id in common.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use serde::{Deserialize, Serialize};

/// The directory that has one file for each kind of thing that the kernel counts.
const COUNTED: &str = "/proc/sys/user";

/// The number of shares beside those of the jobs: one is for getting the next build ready, one for
/// the service's user outside of builds.
const OTHERS: u64 = 2;

/// The most namespaces of one kind. The kernel allows tens of thousands, and they take memory that
/// belongs to no process.
const NAMESPACES: u64 = 512;

/// The most bytes of POSIX message queues (mq_overview(7)): as many as the kernel gives a user.
const QUEUES: u64 = 819_200;

/// The most signals that wait, timers included (timer_create(2)).
const SIGNALS: u64 = 65_536;

/// The most bytes of shared memory that are locked (shmctl(2)).
const LOCKED: u64 = 8 << 20;

/// The size of a page in bytes, or the smallest where pages are larger.
const PAGE: u64 = 4096;

/// The share of one sandbox.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Shares {
    /// The files of [`COUNTED`], and what is written to them.
    counted: Vec<(String, u64)>,
    queues: u64,
    signals: u64,
    locked: u64,
    /// The most bytes that a process alone may lock.
    lockable: u64,
}

impl Shares {
    /// Computes the share of one of `jobs` builds at a time.
    pub fn of(jobs: usize) -> Result<Self> {
        let parts = jobs as u64 + OTHERS;
        let limit =
            |resource, most| Ok::<_, nix::Error>(share(getrlimit(resource)?.0, parts, most));
        Ok(Self {
            counted: counted(Path::new(COUNTED), parts)?,
            queues: limit(Resource::RLIMIT_MSGQUEUE, QUEUES)?,
            signals: limit(Resource::RLIMIT_SIGPENDING, SIGNALS)?,
            locked: limit(Resource::RLIMIT_MEMLOCK, LOCKED)?,
            lockable: getrlimit(Resource::RLIMIT_MEMLOCK)?.0,
        })
    }

    /// Writes the share into the user namespace of this process, where nobody without its rights
    /// can change it.
    pub fn write(&self) -> Result<()> {
        for (name, most) in &self.counted {
            let path = Path::new(COUNTED).join(name);
            fs::write(&path, most.to_string())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// Returns the options of prlimit(1) for the process that makes the testbed's user namespace.
    pub fn before(&self) -> [String; 3] {
        [
            format!("--msgqueue={0}:{0}", self.queues),
            format!("--sigpending={0}:{0}", self.signals),
            // In a namespace the kernel counts pages, against a limit that was meant as bytes.
            format!("--memlock={}:", (self.locked / PAGE).max(1)),
        ]
    }

    /// Returns the options of prlimit(1) within: a process alone may lock as much as it always
    /// could, as that is counted for it alone.
    pub fn within(&self) -> String {
        match self.lockable {
            RLIM_INFINITY => "--memlock=unlimited:".to_owned(),
            bytes => format!("--memlock={bytes}:"),
        }
    }
}

fn counted(dir: &Path, parts: u64) -> Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        let (name, what) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        let text =
            fs::read_to_string(&what).with_context(|| format!("cannot read {}", what.display()))?;
        let limit =
            text.trim().parse().with_context(|| format!("{} holds no number", what.display()))?;
        let most = if name.ends_with("_namespaces") { NAMESPACES } else { i32::MAX as u64 };
        found.push((name, share(limit, parts, most)));
    }
    Ok(found)
}

fn share(limit: u64, parts: u64, most: u64) -> u64 {
    (limit / parts).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use crate::shares::*;

    #[test]
    fn everybody_has_a_part() {
        let dir = tempfile::tempdir().unwrap();
        for (name, limit) in [
            ("max_inotify_instances", "128\n"),
            ("max_net_namespaces", "96365\n"),
            ("max_new", "2\n"),
        ] {
            fs::write(dir.path().join(name), limit).unwrap();
        }
        let mut found = counted(dir.path(), 4).unwrap();
        found.sort();
        let want =
            [("max_inotify_instances", 32), ("max_net_namespaces", NAMESPACES), ("max_new", 1)];
        assert_eq!(found, want.map(|(name, most)| (name.to_owned(), most)));
        fs::write(dir.path().join("max_new"), "much").unwrap();
        assert!(counted(dir.path(), 4).is_err());
        assert_eq!(share(RLIM_INFINITY, 4, QUEUES), QUEUES);
    }

    #[test]
    fn this_kernel_counts() {
        let shares = Shares::of(2).unwrap();
        for name in ["max_inotify_instances", "max_user_namespaces"] {
            assert!(shares.counted.iter().any(|(counted, _)| counted == name), "{name}");
        }
    }
}
