//! What Git is told about a publication: objects first, which nobody sees, then refs, each by compare-and-set.

use std::path::PathBuf;

use git2::Oid;

/// A ref that is to go from one object to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The bare repository.
    pub repo: PathBuf,
    /// The ref's full name, `refs/…`.
    pub name: String,
    /// What it points at now; `None`: it does not exist.
    pub old: Option<Oid>,
    /// What it is to point at.
    pub new: Oid,
}
