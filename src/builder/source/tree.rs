//! Looks at a commit's tree, and writes it out exactly as its objects have it, or refuses.

use std::collections::BTreeMap;
use std::fs::{File, FileTimes, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path as FilePath;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use git2::{ObjectType, Oid, Repository, Tree};

use crate::source::links::{Led, Links};
use crate::source::object::{LINK, MAX_LINK, OUTSIDE, Path, blob, refuse, shown};
use invirtibuilder_core::error::Failure;

/// No source package has more files or deeper directories; a small repository can say that it has.
pub const MAX_ENTRIES: usize = 2_000_000;
pub const MAX_DEPTH: usize = 200;

/// What a tree has at a path that is no directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeEntry {
    /// The object.
    pub id: Oid,
    /// What it is.
    pub kind: FileKind,
}

impl TreeEntry {
    /// Tells whether it is a file without content.
    pub fn is_empty(&self) -> bool {
        self.id.to_string() == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    }
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A plain file, and whether it may be executed.
    File {
        /// Git's mode 100755.
        executable: bool,
    },
    /// A symbolic link.
    Link,
}

/// Every path of a tree that is no directory.
pub type Entries = BTreeMap<Vec<u8>, TreeEntry>;

/// A commit's tree, looked through.
pub struct Looked<'a> {
    /// Its repository.
    pub repo: &'a Repository,
    /// Follows its links.
    pub links: &'a Links<'a>,
    /// Its paths.
    pub entries: &'a Entries,
}

/// All paths of a tree together have no more bytes than this: one tree may be in a thousand places.
pub const MAX_PATHS: usize = 256 << 20;

/// Trees of up to so many files are looked through for pointers of Git LFS before a job is made.
pub const QUICK: usize = 20_000;

/// Returns every path of a tree, or why no source package is made from it.
pub fn entries(repo: &Repository, tree: &Tree) -> Result<Entries, Failure> {
    let mut walk =
        Walk { repo, links: Links::new(repo, tree), seen: 0, bytes: 0, all: Entries::new() };
    walk.directory(tree, &mut Vec::new(), 0)?;
    let all = walk.all;
    if all.len() <= QUICK {
        for (path, entry) in &all {
            refuse_pointer(repo, path, entry)?;
        }
    }
    Ok(all)
}

struct Walk<'a> {
    repo: &'a Repository,
    links: Links<'a>,
    seen: usize,
    bytes: usize,
    all: Entries,
}

impl Walk<'_> {
    fn directory(&mut self, tree: &Tree, at: &mut Vec<u8>, depth: usize) -> Result<(), Failure> {
        if depth > MAX_DEPTH {
            return Err(refuse(&shown(at), "is too deep a directory"));
        }
        for entry in tree {
            let start = at.len();
            at.extend_from_slice(entry.name_bytes());
            check_name(entry.name_bytes(), &shown(at))?;
            self.seen += 1;
            self.bytes += at.len();
            if self.seen > MAX_ENTRIES || self.bytes > MAX_PATHS {
                return Err(refuse(&shown(at), "is in a tree with too many files"));
            }
            let id = entry.id();
            match (entry.kind(), entry.filemode()) {
                (Some(ObjectType::Tree), _) => {
                    at.push(b'/');
                    self.directory(&self.repo.find_tree(id)?, at, depth + 1)?;
                }
                (Some(ObjectType::Blob), LINK) => {
                    match blob(self.repo, id, MAX_LINK)? {
                        Some(target) => check_link(&self.links, target.content(), at, depth)?,
                        None => {
                            return Err(refuse(
                                &shown(at),
                                "is a symbolic link of more than 4 KiB",
                            ));
                        }
                    }
                    self.add(at, TreeEntry { id, kind: FileKind::Link })?;
                }
                (Some(ObjectType::Blob), mode) => {
                    self.add(
                        at,
                        TreeEntry { id, kind: FileKind::File { executable: mode & 0o100 != 0 } },
                    )?;
                }
                (Some(ObjectType::Commit), _) => return Err(refuse(&shown(at), SUBMODULE)),
                _ => {
                    return Err(refuse(&shown(at), "is neither file, directory nor symbolic link"));
                }
            }
            at.truncate(start);
        }
        Ok(())
    }

    fn add(&mut self, at: &Path, entry: TreeEntry) -> Result<(), Failure> {
        match self.all.insert(at.to_vec(), entry) {
            None => Ok(()),
            Some(_) => Err(refuse(&shown(at), "is there twice")),
        }
    }
}

const SUBMODULE: &str = "is a submodule: a source package is made from one commit alone";

/// The sizes that a pointer of Git LFS can have, in bytes; its specification says less than 1024.
const POINTER: std::ops::Range<u64> = 100..1024;

fn refuse_pointer(repo: &Repository, path: &Path, entry: &TreeEntry) -> Result<(), Failure> {
    let is_file = matches!(entry.kind, FileKind::File { .. });
    if !is_file || !POINTER.contains(&(repo.odb()?.read_header(entry.id)?.0 as u64)) {
        return Ok(());
    }
    if is_pointer(repo.find_blob(entry.id)?.content()) {
        Err(refuse(&shown(path), LFS))
    } else {
        Ok(())
    }
}

const LFS: &str = "is a pointer of Git LFS, and its content is not in Git: commit the file itself, with 'git lfs migrate export' or \
                   without its line in .gitattributes";

/// Tells whether this is what Git LFS puts in place of a file: a version, an object id and a size,
/// one a line, sorted but for the first (the specification's "The Pointer").
fn is_pointer(content: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(content) else { return false };
    let mut lines = text.lines();
    let version = lines.next().is_some_and(|line| {
        matches!(
            line,
            "version https://git-lfs.github.com/spec/v1"
                | "version https://hawser.github.com/spec/v1"
        )
    });
    let rest: Vec<&str> = lines.collect();
    let oid = |line: &&str| {
        let digits = line.strip_prefix("oid sha256:").unwrap_or_default();
        digits.len() == 64 && digits.bytes().all(|c| c.is_ascii_hexdigit())
    };
    let size =
        |line: &&str| line.strip_prefix("size ").is_some_and(|size| size.parse::<u64>().is_ok());
    version && rest.iter().any(oid) && rest.iter().any(size)
}

/// What a file that git-crypt has encrypted begins with.
pub const GIT_CRYPT: &[u8] = b"\0GITCRYPT\0";

/// Files are read as a whole, so none is larger.
const MAX_FILE: u64 = 1 << 30;

/// Writes `tree` into the new directory `dir`. Every file gets the same time, in seconds since
/// 1970-01-01 UTC. Nothing is written if all together has more than `room` bytes.
pub fn export(
    repo: &Repository,
    tree: &Tree,
    dir: &FilePath,
    time: i64,
    room: u64,
) -> Result<(), Failure> {
    Measure { repo, room, entries: 0, bytes: 0 }.directory(tree, "", 0)?;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time.max(0) as u64);
    let mut export = Export {
        repo,
        links: Links::new(repo, tree),
        times: FileTimes::new().set_modified(time).set_accessed(time),
    };
    export.directory(tree, dir, "", 0)
}

/// What a tree would take, found out without reading a file. One tree may be in a thousand places.
struct Measure<'a> {
    repo: &'a Repository,
    room: u64,
    entries: usize,
    bytes: u64,
}

impl Measure<'_> {
    fn directory(&mut self, tree: &Tree, shown: &str, depth: usize) -> Result<(), Failure> {
        if depth > MAX_DEPTH {
            return Err(refuse(shown, "is too deep a directory"));
        }
        for entry in tree {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(refuse(shown, "is in a tree with too many files"));
            }
            let path = || format!("{shown}{}", String::from_utf8_lossy(entry.name_bytes()));
            match entry.kind() {
                Some(ObjectType::Tree) => {
                    self.directory(
                        &self.repo.find_tree(entry.id())?,
                        &format!("{}/", path()),
                        depth + 1,
                    )?;
                }
                Some(ObjectType::Blob) => {
                    let size = self.repo.odb()?.read_header(entry.id())?.0 as u64;
                    if size > MAX_FILE {
                        return Err(refuse(&path(), "is larger than 1 GiB"));
                    }
                    self.bytes += size;
                }
                _ => {}
            }
            if self.bytes > self.room {
                let text = format!(
                    "is in a tree that is too large: more than {} MiB (limits.disk)",
                    self.room >> 20
                );
                return Err(refuse(&path(), &text));
            }
        }
        Ok(())
    }
}

struct Export<'a> {
    repo: &'a Repository,
    links: Links<'a>,
    times: FileTimes,
}

impl Export<'_> {
    fn directory(
        &mut self,
        tree: &Tree,
        dir: &FilePath,
        shown: &str,
        depth: usize,
    ) -> Result<(), Failure> {
        std::fs::create_dir(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        for entry in tree {
            let name = entry.name_bytes();
            let path = format!("{shown}{}", String::from_utf8_lossy(name));
            check_name(name, &path)?;
            let target = dir.join(std::ffi::OsStr::from_bytes(name));
            match (entry.kind(), entry.filemode()) {
                (Some(ObjectType::Tree), _) => {
                    self.directory(
                        &self.repo.find_tree(entry.id())?,
                        &target,
                        &format!("{path}/"),
                        depth + 1,
                    )?;
                }
                (Some(ObjectType::Blob), LINK) => {
                    let blob = self.repo.find_blob(entry.id())?;
                    check_link(&self.links, blob.content(), path.as_bytes(), depth)?;
                    symlink(std::ffi::OsStr::from_bytes(blob.content()), &target)
                        .with_context(|| format!("cannot create {}", target.display()))?;
                }
                (Some(ObjectType::Blob), mode) => {
                    self.file(entry.id(), mode & 0o100 != 0, &target, &path)?;
                }
                (Some(ObjectType::Commit), _) => {
                    return Err(refuse(&path, SUBMODULE));
                }
                _ => return Err(refuse(&path, "is neither file, directory nor symbolic link")),
            }
        }
        File::open(dir)?.set_times(self.times)?;
        Ok(())
    }

    fn file(
        &mut self,
        id: Oid,
        executable: bool,
        target: &FilePath,
        path: &str,
    ) -> Result<(), Failure> {
        let blob = self.repo.find_blob(id)?;
        if POINTER.contains(&(blob.size() as u64)) && is_pointer(blob.content()) {
            return Err(refuse(path, LFS));
        }
        // Never through a link, never over a file: a tree may name one path twice.
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(if executable { 0o755 } else { 0o644 })
            .open(target)
            .map_err(|error| refuse(path, &format!("cannot be written: {error}")))?;
        file.write_all(blob.content())?;
        file.set_times(self.times)?;
        Ok(())
    }
}

fn check_name(name: &[u8], path: &str) -> Result<(), Failure> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
        return Err(refuse(path, "is not a file name"));
    }
    if name.eq_ignore_ascii_case(b".git") {
        return Err(refuse(path, "would be a repository inside the source package"));
    }
    if name.iter().any(u8::is_ascii_control) {
        return Err(refuse(path, "has a control character in its name"));
    }
    Ok(())
}

/// Checks a link, which may lead anywhere in the tree. Directories of a tree are never links, so
/// the leading `..` mean what they say; what follows goes down, through links that were checked as
/// well. Where it goes up again, it is followed.
fn check_link(links: &Links, target: &[u8], path: &Path, depth: usize) -> Result<(), Failure> {
    let outside = || refuse(&shown(path), OUTSIDE);
    if target.is_empty() || target.starts_with(b"/") || target.contains(&0) {
        return Err(outside());
    }
    let parts: Vec<&[u8]> =
        target.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    let up = parts.iter().take_while(|part| **part == b"..").count();
    if up > depth {
        return Err(outside());
    }
    let dir = path.iter().rposition(|&c| c == b'/').map_or(&path[..0], |slash| &path[..slash]);
    if parts[up..].contains(&&b".."[..]) && links.follow(dir, target)? == Led::Outside {
        return Err(outside());
    }
    Ok(())
}
