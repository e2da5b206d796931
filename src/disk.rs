//! How much of the disk a directory takes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes on the disk. What goes away meanwhile, or cannot be read, counts nothing.
pub fn used(dir: &Path) -> u64 {
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => about.blocks() * 512 + used(&entry.path()),
        Ok(about) => about.blocks() * 512,
        Err(_) => 0,
    };
    fs::read_dir(dir).into_iter().flatten().flatten().map(of).sum()
}
