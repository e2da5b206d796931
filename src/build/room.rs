//! Where a build writes: in memory, or on the disk if that is not enough.

use std::fs;
use std::path::Path;

use super::sandbox::{Bind, Spec};
use super::{Builder, Request, bounds, inside, large, remove_tree};
use crate::error::Failure;
use crate::subprocess::{Ended, Finished};

/// Where a build writes.
#[derive(Debug, Clone, Copy)]
pub enum Room {
    /// In memory, as many bytes.
    Memory(u64),
    /// On the disk.
    Disk,
}

impl Builder {
    /// Where a build writes at first.
    pub(super) fn room(&self, request: &Request) -> Room {
        let room = request.limits.disk.0.min(self.in_memory);
        if room < request.limits.disk.0 && self.large.has(&request.package) { Room::Disk } else { Room::Memory(room) }
    }

    /// Whether a build that ended so is to be done once more, on the disk. The log then says so, and nothing is left of the first.
    pub(super) fn outgrew(&self, request: &Request, room: Room, done: &Finished) -> Result<bool, Failure> {
        let may_have_more = matches!(room, Room::Memory(room) if room < request.limits.disk.0);
        if !(may_have_more && done.ended == Ended::Exit(bounds::DISK)) {
            return Ok(false);
        }
        self.large.add(&request.package)?;
        large::clear(&request.output)?;
        request.say(
            "\nThe build needs more memory than it has for its files (chroots.in_memory): once more, on the disk.",
        )?;
        Ok(true)
    }

    /// Has the testbed of a sandbox write in this directory, which is emptied, so many bytes.
    pub(super) async fn write_on_disk(&self, spec: &mut Spec, dir: &Path, most: u64) -> Result<(), Failure> {
        let room = spec.testbed.kind.room().to_owned();
        remove_tree(dir).await?;
        fs::create_dir_all(dir)?;
        spec.size = self.in_memory;
        spec.binds.push(Bind { from: dir.to_owned(), to: inside(&room.to_string_lossy()), writable: true });
        spec.bounds.written = Some((room, most));
        Ok(())
    }
}
