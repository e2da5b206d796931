//! Completes each `/dev` that we make with what it has beside its devices.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

/// Mounts pseudo-terminals of its own at `pts`, which is there, with these options (devpts in
/// mount(8)), and makes the usual links, in place of whatever has their names.
pub fn complete(dev: &Path, options: &str) -> Result<()> {
    mount(
        Some("devpts"),
        &dev.join("pts"),
        Some("devpts"),
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        Some(options),
    )
    .context("cannot mount /dev/pts")?;
    for (link, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        let _ = fs::remove_file(dev.join(link));
        symlink(target, dev.join(link))?;
    }
    Ok(())
}
