//! Gives each build its subordinate ids: no two running builds share one.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{User, getuid};

use invirtibuilder_core::error::{Failure, FailureKind};

/// The number of ids of one build: root's own, the one that runs sbuild, and 65,536 for the
/// testbed.
pub const IDS: u32 = 131_072;

/// One range of subordinate ids, held until it is dropped.
#[derive(Debug)]
pub struct Slot {
    number: u32,
    uid: u32,
    gid: u32,
    _lock: Flock<File>,
}

impl Slot {
    /// Takes a range that no other build has.
    pub fn take(dir: &Path) -> Result<Self, Failure> {
        let (uids, gids) = (range("/etc/subuid")?, range("/etc/subgid")?);
        let slots = uids.1.min(gids.1) / IDS;
        fs::create_dir_all(dir)?;
        for number in 0..slots {
            if let Some(slot) = Self::lock(dir, number, uids.0, gids.0)? {
                return Ok(slot);
            }
        }
        let text = format!(
            "/etc/subuid and /etc/subgid give the service's user ids for {slots} builds at a time, which is not enough: each \
             needs {IDS}"
        );
        Err(Failure::new(FailureKind::System, text))
    }

    /// Takes the range with this number, if no build has it.
    pub fn take_this(dir: &Path, number: u32) -> Result<Option<Self>> {
        let (uids, gids) = (range("/etc/subuid")?, range("/etc/subgid")?);
        if number >= uids.1.min(gids.1) / IDS {
            return Ok(None);
        }
        fs::create_dir_all(dir)?;
        Self::lock(dir, number, uids.0, gids.0)
    }

    /// Takes the first range, of ids that need not exist.
    #[cfg(any(test, feature = "testing"))]
    pub fn for_tests(dir: &Path) -> Self {
        Self::lock(dir, 0, 1_000_000, 1_000_000).unwrap().unwrap()
    }

    fn lock(dir: &Path, number: u32, uid: u32, gid: u32) -> Result<Option<Self>> {
        let path = dir.join(number.to_string());
        let file = File::options().write(true).create(true).truncate(false).open(&path)?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok();
        Ok(lock.map(|lock| Self {
            number,
            uid: uid + number * IDS,
            gid: gid + number * IDS,
            _lock: lock,
        }))
    }

    /// Returns the number of the range, which no other running build has.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Returns the options of unshare(1) for this range: our own id is root there, and the range
    /// follows.
    pub fn mapping(&self) -> [String; 2] {
        [format!("--map-users={},1,{IDS}", self.uid), format!("--map-groups={},1,{IDS}", self.gid)]
    }
}

/// Lists the slots that have something in a directory with one of their own for each.
pub fn numbers_in(dir: &Path) -> Vec<u32> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Returns the options of unshare(1) for all ids: our own id is root there, and all of our
/// subordinate ids follow.
pub fn everybody() -> Result<[String; 2]> {
    let (uids, gids) = (range("/etc/subuid")?, range("/etc/subgid")?);
    Ok([
        format!("--map-users={},1,{}", uids.0, uids.1),
        format!("--map-groups={},1,{}", gids.0, gids.1),
    ])
}

/// Reads the first range of subordinate ids that a file gives us: start and count.
fn range(path: &str) -> Result<(u32, u32)> {
    let uid = getuid();
    let name = User::from_uid(uid)?.map_or_else(String::new, |user| user.name);
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    find(&text, &name, &uid.to_string()).with_context(|| {
        format!("{path} gives no ids to {name}: add a line such as {name}:1000000:1048576")
    })
}

pub(super) fn find(text: &str, name: &str, uid: &str) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let (start, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (owner == name || owner == uid).then_some((start, count))
    })
}

#[cfg(test)]
mod tests {
    use crate::slot::*;

    #[test]
    fn ranges_are_those_of_subuid() {
        let text = "alice:100000:65536\nbroken\n_invirtibuilder:1000000:1048576\n990:5:6\n";
        assert_eq!(find(text, "_invirtibuilder", "64321"), Some((1_000_000, 1_048_576)));
        assert_eq!(find(text, "x", "990"), Some((5, 6)));
        assert_eq!(find(text, "nobody", "1"), None);
    }
}
