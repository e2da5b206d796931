//! Paths and objects of a commit's tree.

use git2::{Blob, Oid, Repository};

use invirtibuilder_core::error::{Failure, FailureKind};

/// A path in a tree, of the bytes that Git has.
pub type Path = [u8];

/// Tells whether a path is one of the package's own part.
pub fn is_debian(path: &Path) -> bool {
    path.starts_with(b"debian/")
}

/// Git's mode of a symbolic link.
pub const LINK: i32 = 0o120000;

/// The longest target of a symbolic link (PATH_MAX).
pub const MAX_LINK: u64 = 4096;

/// What is wrong with a link that leads out of the tree.
pub const OUTSIDE: &str = "is a symbolic link that points outside the source package: commit the file itself, or make the link when \
                           the package is built";

/// Finds a blob, unless it is larger than `most` bytes: a small repository can have huge ones, and
/// a reader has one whole in memory.
pub fn blob(repo: &Repository, id: Oid, most: u64) -> Result<Option<Blob<'_>>, git2::Error> {
    let (size, _) = repo.odb()?.read_header(id)?;
    if size as u64 > most { Ok(None) } else { repo.find_blob(id).map(Some) }
}

/// Says what is wrong with a path of the tree.
pub fn refuse(path: &str, why: &str) -> Failure {
    Failure::new(FailureKind::Tree, format!("{} {why}", invirtibuilder_core::text::quoted(path)))
}

/// Returns a path for people.
pub fn shown(path: &Path) -> String {
    String::from_utf8_lossy(path).into_owned()
}
