//! How much of the disk a directory takes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What an entry of a directory takes besides its blocks: an inode and its name, roughly.
const ENTRY: u64 = 512;

/// As [`used`], with what entries take that have no blocks: many empty files are a lot, too.
pub fn taken(dir: &Path) -> u64 {
    sum(dir, ENTRY)
}

/// Bytes on the disk. What goes away meanwhile, or cannot be read, counts nothing.
pub fn used(dir: &Path) -> u64 {
    sum(dir, 0)
}

fn sum(dir: &Path, entry: u64) -> u64 {
    let of = |found: fs::DirEntry| match found.metadata() {
        Ok(about) if about.is_dir() => about.blocks() * 512 + entry + sum(&found.path(), entry),
        Ok(about) => about.blocks() * 512 + entry,
        Err(_) => 0,
    };
    fs::read_dir(dir).into_iter().flatten().flatten().map(of).sum()
}
