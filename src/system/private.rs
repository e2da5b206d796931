//! Gives files and directories their modes, whatever the umask of the process that started us:
//! remctld, sshd, a shell.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::sys::stat::{Mode, umask};

/// Sets the umask: others can read what they are served, and can write nothing. What is not for
/// them is made with modes of its own. Call it before anything is made, and before there are
/// threads.
pub fn settle_umask() {
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
}

/// Makes a directory that only its owner may use, unless it is there.
pub fn create_dir(path: &Path) -> Result<()> {
    there(DirBuilder::new().mode(0o700).create(path))
}

/// Makes an empty file that only its owner may use, unless it is there.
pub fn create_file(path: &Path) -> Result<()> {
    there(OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop))
}

fn there(made: Result<()>) -> Result<()> {
    match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}
