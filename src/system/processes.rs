//! Finds processes of our own user.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;
use nix::unistd::{Pid, getpid, getuid};

/// Lists the processes of our user, but for this one, whose directory in proc(5) is `wanted`.
pub fn of_ours(wanted: impl Fn(&Path) -> bool) -> Result<Vec<Pid>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) =
            entry.file_name().to_str().and_then(|name| name.parse().ok()).map(Pid::from_raw)
        else {
            continue;
        };
        // Processes come and go while this looks at them.
        let mine =
            entry.metadata().is_ok_and(|meta| meta.uid() == getuid().as_raw()) && pid != getpid();
        if mine && wanted(&entry.path()) {
            pids.push(pid);
        }
    }
    Ok(pids)
}
