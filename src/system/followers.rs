//! Limits the commands that follow jobs (`submit --wait`, `log --follow`): one principal has only
//! so many of them at a time.
//!
//! Each is a process that stays, and remctld and sshd start as many as a client asks for. A place
//! is a lock on one byte of a file, so it is given back whatever becomes of the command. The byte
//! says whose place it is; the file itself is empty.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use sha2::{Digest, Sha256};

use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::Principal;

/// The most places that one principal can have, whatever is configured: so many bytes of the file
/// are theirs.
const MOST: u32 = 1 << 16;

/// A place among the followers of one principal. It is given back when it is dropped, or its
/// process ends.
#[derive(Debug)]
pub struct FollowerPlace {
    _file: Option<File>,
}

impl FollowerPlace {
    /// Takes a place of `most` that `who` has. A user that sits at the server always gets one.
    pub fn take(file: &Path, who: &Principal, most: u32) -> Result<Self> {
        if who.is_local() {
            return Ok(Self { _file: None });
        }
        let opened = File::options().write(true).create(true).truncate(false).open(file);
        let opened = opened.with_context(|| format!("cannot open {}", file.display()))?;
        let first = first_byte(who);
        for place in 0..most.min(MOST) {
            if lock(&opened, first + i64::from(place))? {
                return Ok(Self { _file: Some(opened) });
            }
        }
        let text = format!(
            "{who} follows {most} jobs already, which is as many as clients.followers lets one principal: end one of those \
             commands, or do without --wait and --follow"
        );
        Err(Error::try_again(text).into())
    }
}

/// Finds where the bytes of a principal begin. That two have the same is as likely as a broken
/// hash.
fn first_byte(who: &Principal) -> i64 {
    let digest = Sha256::digest(who.as_str());
    let number = digest.iter().take(5).fold(0, |number, byte| number << 8 | i64::from(*byte));
    number * i64::from(MOST)
}

/// Locks one byte for this open file. Returns whether it was free.
fn lock(file: &File, byte: i64) -> Result<bool> {
    // Some systems have more in it.
    let lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&lock)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error).context("cannot lock a place"),
    }
}

#[cfg(test)]
mod tests {
    use crate::followers::*;

    #[test]
    fn a_principal_has_so_many_places_and_gets_them_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("followers");
        let who = |name: &str| Principal::from_authenticated(name).unwrap();
        let take = |name: &str, most| FollowerPlace::take(&file, &who(name), most);
        let alice = "alice@EXAMPLE.ORG";
        let (first, _second) = (take(alice, 2).unwrap(), take(alice, 2).unwrap());
        let refused = take(alice, 2).unwrap_err();
        assert_eq!(
            invirtibuilder_core::error::exit_for(&refused),
            invirtibuilder_core::error::Exit::TryAgain
        );
        assert!(refused.to_string().contains("alice@EXAMPLE.ORG follows 2 jobs"), "{refused}");
        let _others = take("bob@EXAMPLE.ORG", 2).unwrap();
        drop(first);
        let _third = take(alice, 2).unwrap();
        take(alice, 2).unwrap_err();
        take(alice, 3).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().len(), 0);
        take("carol@EXAMPLE.ORG", 0).unwrap_err();
    }
}
