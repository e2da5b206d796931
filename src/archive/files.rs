//! Files that are there whole or not at all, and are on the disk before anything says that they are there.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The directory of a source package below its component (Debian's pool: `libf` for `libfoo`, else the first letter).
pub fn prefix(source: &str) -> &str {
    let length = if source.starts_with("lib") && source.len() > 3 { 4 } else { 1 };
    &source[..length]
}

/// Makes the entries of a directory durable.
pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)?.sync_all().with_context(|| format!("cannot sync {}", dir.display()))
}

/// Makes a directory and those above it, each durable.
pub fn make_dirs(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().context("a directory has a parent")?;
    make_dirs(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("cannot create {}", dir.display()));
        }
        _ => {}
    }
    sync_dir(parent)
}

/// Creates a file that is not there yet.
pub fn create_new(path: &Path) -> Result<File> {
    let options = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    options.with_context(|| format!("cannot create {}", path.display()))
}

/// Writes a new file, durably but for its directory entry.
pub fn write_new(path: &Path, parts: &[&[u8]]) -> Result<()> {
    let mut file = create_new(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    Ok(())
}

/// Replaces a file by one rename.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let dir = path.parent().context("a file has a directory")?;
    let name = path.file_name().context("a file has a name")?.to_string_lossy();
    let new = dir.join(format!(".{name}.new"));
    let _ = fs::remove_file(&new);
    write_new(&new, &[content])?;
    fs::rename(&new, path)?;
    sync_dir(dir)
}

/// Size and SHA-256, in hexadecimal, of a file.
pub fn digest(path: &Path) -> Result<(u64, String)> {
    digest_of(File::open(path).with_context(|| format!("cannot read {}", path.display()))?)
}

/// Size and SHA-256, in hexadecimal, of what there is to read.
pub fn digest_of(mut file: impl Read) -> Result<(u64, String)> {
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 256 << 10]);
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((size, crate::text::hex(&hash.finalize())));
        }
        hash.update(&buffer[..n]);
        size += n as u64;
    }
}
