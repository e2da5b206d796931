//! Binary files, as diff(1) and dpkg-source tell them: by a NUL in the first 4 KiB.

use git2::Oid;

use crate::source::Format;
use crate::source::links::Led;
use crate::source::notes::named;
use crate::source::object;
use crate::source::object::{Path, is_debian};
use crate::source::options::{INCLUDED, Options};
use crate::source::tree::{FileKind, Looked};
use invirtibuilder_core::error::{Failure, FailureKind};

/// How many bytes are looked through for them; what is beyond that is found when the source package
/// is made.
const ROOM: u64 = 64 << 20;

/// How much of a file decides.
const START: usize = 4096;

/// Tells binary files.
pub struct Teller<'a> {
    tree: &'a Looked<'a>,
    room: u64,
}

impl<'a> Teller<'a> {
    /// For the files of this tree.
    pub fn new(tree: &'a Looked<'a>) -> Self {
        Self { tree, room: ROOM }
    }

    /// Lists those of these paths that certainly are binary files.
    pub fn of<'p>(
        &mut self,
        paths: impl Iterator<Item = &'p Path>,
    ) -> Result<Vec<&'p Path>, Failure> {
        let mut found = Vec::new();
        for path in paths {
            let id = match self.tree.entries.get(path).map(|entry| (entry.kind, entry.id)) {
                Some((FileKind::File { .. }, id)) => id,
                // dpkg-source looks at what a link leads to.
                Some((FileKind::Link, _)) => match self.tree.links.follow(b"", path)? {
                    Led::File(id) => id,
                    _ => continue,
                },
                None => continue,
            };
            if self.is_one(id)? {
                found.push(path);
            }
        }
        Ok(found)
    }

    fn is_one(&mut self, id: Oid) -> Result<bool, Failure> {
        let Some(blob) = object::blob(self.tree.repo, id, self.room)? else { return Ok(false) };
        self.room -= blob.size() as u64;
        Ok(blob.content().iter().take(START).any(|&c| c == 0))
    }
}

/// Refuses binary files in `debian/` that the commit does not list: dpkg-source makes no 3.0
/// (quilt) package with them.
pub fn refuse_unlisted(tree: &Looked, format: Format, options: &Options) -> Result<(), Failure> {
    // What is left out is not looked at, and only dpkg-source knows for certain what that is.
    if format != Format::Quilt || options.includes_binaries() || options.has_tar_ignore() {
        return Ok(());
    }
    let unlisted = |path: &&Path| is_debian(path) && !options.is_included_binary(path);
    let paths = tree.entries.keys().map(Vec::as_slice).filter(unlisted);
    let found = Teller::new(tree).of(paths)?;
    if found.is_empty() {
        return Ok(());
    }
    let text = format!(
        "binary files are in debian/ and not in {INCLUDED}: {}: add a line for each there",
        named(&found)
    );
    Err(Failure::new(FailureKind::Layout, text))
}
