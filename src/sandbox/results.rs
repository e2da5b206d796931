//! Brings what a build has made to where we look at it: plain files, and no more of them than there
//! is room for.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Result;

/// The most files that a build makes; what is more is left behind.
const MOST_FILES: usize = 10_000;

/// Copies the plain files of a directory that nobody writes any more; what is no plain file is the
/// package's own affair. Returns whether they have no more than `room` bytes: a file can be longer
/// than the file system that it is in, if it has holes.
pub fn bring_out(from: &Path, to: &Path, mut room: u64) -> Result<bool> {
    for entry in fs::read_dir(from)?.take(MOST_FILES) {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        let source =
            File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(entry.path())?;
        let mut target = File::options()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(to.join(entry.file_name()))?;
        if source.metadata()?.len() > room {
            return Ok(false);
        }
        room -= io::copy(&mut source.take(room), &mut target)?;
    }
    Ok(true)
}
