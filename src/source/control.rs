//! `debian/control`, looked at before anything is made of it: what of it could not be published is refused when it is submitted.

use std::path::Path;

use git2::{Repository, Tree};

use super::tree;
use crate::error::{Failure, FailureKind};
use crate::stanza;

const NAME: &str = "debian/control";

/// Larger files are none. The largest of Debian have less than 1 MiB.
const LARGEST: u64 = 4 << 20;

/// Refuses what could not be published. That there is none is dpkg-source's to say.
pub fn check(repo: &Repository, tree: &Tree) -> Result<(), Failure> {
    let refuse = |text: String| Failure::new(FailureKind::Tree, text);
    let Ok(entry) = tree.get_path(Path::new(NAME)) else { return Ok(()) };
    let Ok(blob) = tree::blob(repo, entry.id(), LARGEST) else { return Ok(()) };
    let Some(blob) = blob else { return Err(refuse(format!("{NAME} is larger than {} MiB", LARGEST >> 20))) };
    let text = std::str::from_utf8(blob.content()).map_err(|_| refuse(format!("{NAME} is not UTF-8: convert it")))?;
    stanza::check_control(text).map_err(|error| refuse(format!("{NAME} {error:#}")))
}
