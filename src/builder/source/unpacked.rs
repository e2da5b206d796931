//! An unpacked source package, looked at from outside. Nothing runs in it any more, but nothing in
//! it is trusted: no link is followed, only plain files are opened, and what is hashed is what a
//! commit has at the same path and in the same size.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path as FilePath, PathBuf};

use git2::{ObjectType, Oid};

use crate::source::object;
use crate::source::object::Path;
use crate::source::tree::{self, FileKind};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_system::subprocess::CancellationToken;

/// What stands at a path that is no directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnpackedFile {
    /// What it is.
    pub kind: FileKind,
    /// Its length in bytes; of a link, that of its target.
    pub size: u64,
    /// Its device and inode: one file may have many names.
    inode: (u64, u64),
}

/// All that was unpacked.
#[derive(Debug)]
pub struct UnpackedSource {
    dir: PathBuf,
    /// By path; directories are left out.
    pub found: BTreeMap<Vec<u8>, UnpackedFile>,
    bytes: usize,
    hashed: HashMap<(u64, u64), Oid>,
    cancel: CancellationToken,
}

impl UnpackedSource {
    /// Looks at every path below a directory.
    pub fn look(dir: &FilePath, cancel: &CancellationToken) -> Result<Self, Failure> {
        let mut all = Self {
            dir: dir.to_owned(),
            found: BTreeMap::new(),
            bytes: 0,
            hashed: HashMap::new(),
            cancel: cancel.clone(),
        };
        all.directory(dir, &mut Vec::new(), 0)?;
        Ok(all)
    }

    fn directory(&mut self, dir: &FilePath, at: &mut Vec<u8>, depth: usize) -> Result<(), Failure> {
        self.go_on()?;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let about = entry.metadata()?;
            let start = at.len();
            at.extend_from_slice(entry.file_name().as_bytes());
            self.bytes += at.len();
            let refuse = |why: &str| {
                let text = format!(
                    "the source package has {}, which {why}",
                    invirtibuilder_core::text::quoted(&object::shown(at))
                );
                Err(Failure::new(FailureKind::Differs, text))
            };
            if self.found.len() > tree::MAX_ENTRIES
                || self.bytes > tree::MAX_PATHS
                || depth > tree::MAX_DEPTH
            {
                return refuse("is one file too many, or too deep");
            }
            if about.is_dir() && entry.file_name() == ".git" {
                return refuse("would be a repository inside of it");
            }
            let kind = if about.is_symlink() {
                Some(FileKind::Link)
            } else if about.is_file() {
                Some(FileKind::File { executable: about.mode() & 0o100 != 0 })
            } else {
                None
            };
            match kind {
                Some(kind) => {
                    let inode = (about.dev(), about.ino());
                    self.found.insert(at.clone(), UnpackedFile { kind, size: about.len(), inode });
                }
                None if about.is_dir() => {
                    at.push(b'/');
                    self.directory(&entry.path(), at, depth + 1)?;
                }
                None => return refuse("is neither file, directory nor symbolic link"),
            }
            at.truncate(start);
        }
        Ok(())
    }

    fn go_on(&self) -> Result<(), Failure> {
        match self.cancel.is_cancelled() {
            true => Err(Failure::new(FailureKind::System, "it was told to stop")),
            false => Ok(()),
        }
    }

    /// Returns the id that Git would give to what was found at a path.
    pub fn id(&mut self, path: &Path, found: &UnpackedFile) -> Result<Oid, Failure> {
        self.go_on()?;
        if let Some(id) = self.hashed.get(&found.inode) {
            return Ok(*id);
        }
        let file = self.dir.join(OsStr::from_bytes(path));
        let id = match found.kind {
            FileKind::Link => {
                Oid::hash_object(ObjectType::Blob, fs::read_link(file)?.as_os_str().as_bytes())?
            }
            FileKind::File { .. } => Oid::hash_file(ObjectType::Blob, file)?,
        };
        self.hashed.insert(found.inode, id);
        Ok(id)
    }

    /// Finds a plain file of up to so many bytes.
    pub fn read(&self, path: &Path, most: u64) -> Option<Vec<u8>> {
        let found = self.found.get(path)?;
        let is_one = matches!(found.kind, FileKind::File { .. }) && found.size <= most;
        if is_one { fs::read(self.dir.join(OsStr::from_bytes(path))).ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use crate::source::unpacked::*;

    #[test]
    fn links_are_not_followed_and_one_file_is_hashed_once() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("tree");
        fs::create_dir_all(top.join("sub")).unwrap();
        fs::write(top.join("sub/file"), "text").unwrap();
        fs::hard_link(top.join("sub/file"), top.join("same")).unwrap();
        symlink("/etc/passwd", top.join("link")).unwrap();
        symlink("/etc", top.join("dir")).unwrap();
        let cancel = CancellationToken::new();
        let mut all = UnpackedSource::look(&top, &cancel).unwrap();
        let paths: Vec<_> = all.found.keys().map(|path| object::shown(path)).collect();
        assert_eq!(paths, ["dir", "link", "same", "sub/file"]);
        let text = Oid::hash_object(ObjectType::Blob, b"text").unwrap();
        for path in [&b"same"[..], b"sub/file"] {
            let found = all.found[path];
            assert_eq!((all.id(path, &found).unwrap(), found.size), (text, 4));
        }
        assert_eq!(all.hashed.len(), 1);
        let link = all.found[&b"link"[..]];
        assert_eq!(
            all.id(b"link", &link).unwrap(),
            Oid::hash_object(ObjectType::Blob, b"/etc/passwd").unwrap()
        );
        assert_eq!(
            (all.read(b"link", 1000), all.read(b"same", 3), all.read(b"same", 4)),
            (None, None, Some(b"text".to_vec()))
        );

        cancel.cancel();
        assert!(
            all.id(b"link", &UnpackedFile { inode: (0, 0), ..link }).is_err(),
            "it was told to stop"
        );
        nix::unistd::mkfifo(&top.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let refused = |name: &str| {
            UnpackedSource::look(&top, &CancellationToken::new()).unwrap_err().text.contains(name)
        };
        assert!(refused("fifo"));
        fs::remove_file(top.join("fifo")).unwrap();
        fs::create_dir(top.join("sub/.git")).unwrap();
        assert!(refused("sub/.git"));
    }
}
