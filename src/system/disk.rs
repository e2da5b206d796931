//! Measures how much of the disk a directory takes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use invirtibuilder_core::config::Config;
use invirtibuilder_core::names::DomainName;

/// The room that a disk has to have for a program not to fail for want of it, in bytes.
const LITTLE: u64 = 1 << 20;

/// The size of a disk, and what can be written to it, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct DiskSpace {
    /// All of it.
    pub size: u64,
    /// What those who are not root can write.
    pub free: u64,
}

/// Measures the disk that a directory is on.
pub fn space(dir: &Path) -> std::io::Result<DiskSpace> {
    let disk = nix::sys::statvfs::statvfs(dir)?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.fragment_size());
    Ok(DiskSpace { size: bytes(disk.blocks()), free: bytes(disk.blocks_available()) })
}

/// What the service keeps in a directory that needs room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskUse {
    /// The record, logs, chroots and builds.
    State,
    /// Repositories.
    Git,
    /// The archive of a domain.
    Archive(DomainName),
}

/// Lists the directories whose disks need room.
pub fn directories(config: &Config) -> Vec<(DiskUse, &Path)> {
    let mut all: Vec<(DiskUse, &Path)> =
        vec![(DiskUse::State, &config.state_dir), (DiskUse::Git, &config.git.packages)];
    all.extend(
        config.domains().map(|(domain, archive)| (DiskUse::Archive(domain), &*archive.root)),
    );
    all
}

/// Tells whether the disk that a directory is on is full.
pub fn is_full(dir: &Path) -> std::io::Result<bool> {
    Ok(space(dir)?.free < LITTLE)
}

/// The room that the next job needs to start, where jobs work and where the record is, in bytes.
const ROOM: u64 = 64 << 20;

/// Finds the directory that has too little room for another job, if one has.
pub fn short_of_room(config: &Config) -> Option<PathBuf> {
    // What cannot be looked at is for the job to say.
    let is_short = |dir: &PathBuf| space(dir).is_ok_and(|disk| disk.free < ROOM);
    [config.scratch(), config.state_dir.clone()].into_iter().find(is_short)
}

/// The room that an entry of a directory takes besides its blocks, in bytes: an inode and its name,
/// roughly.
const ENTRY: u64 = 512;

/// Measures what [`used`] does, and adds what entries take that have no blocks: many empty files
/// are a lot, too.
pub fn taken(dir: &Path) -> u64 {
    sum(dir, ENTRY)
}

/// Measures how much of the disk a directory takes, in bytes. What goes away meanwhile, or cannot
/// be read, counts nothing.
pub fn used(dir: &Path) -> u64 {
    sum(dir, 0)
}

/// Tells whether there is anything but directories in a directory.
pub fn has_files(dir: &Path) -> bool {
    let mut entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .any(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir() || has_files(&entry.path())))
}

fn sum(dir: &Path, entry: u64) -> u64 {
    let of = |found: fs::DirEntry| match found.metadata() {
        Ok(about) if about.is_dir() => about.blocks() * 512 + entry + sum(&found.path(), entry),
        Ok(about) => about.blocks() * 512 + entry,
        Err(_) => 0,
    };
    fs::read_dir(dir).into_iter().flatten().flatten().map(of).sum()
}

/// Removes what was of no use for longest from a directory, if there is too much in it.
pub fn make_room(dir: &Path, room: u64) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut all: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let about = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((about.modified().ok()?, about.len(), entry.path()))
        })
        .collect();
    all.sort_unstable_by(|a, b| b.cmp(a));
    let mut sum = 0u64;
    for (_, length, path) in all {
        sum += length;
        if sum > room {
            let _ = fs::remove_file(path);
        }
    }
}
