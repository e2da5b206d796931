//! Writes files that are there whole or not at all, and are on the disk before anything says that
//! they are there.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

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

/// Returns the name of a file while it is written.
pub fn unfinished(target: &Path) -> Result<std::path::PathBuf> {
    let name = target.file_name().context("a file has a name")?.to_string_lossy();
    Ok(target.with_file_name(format!(".{name}.new")))
}

/// Replaces a file by one rename.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let dir = path.parent().context("a file has a directory")?;
    let new = unfinished(path)?;
    let _ = fs::remove_file(&new);
    write_new(&new, &[content])?;
    fs::rename(&new, path)?;
    sync_dir(dir)
}

/// A file's size, and its sums in hexadecimal.
#[derive(Debug, Clone)]
pub struct Sums {
    /// The size in bytes.
    pub size: u64,
    /// The MD5, which old readers want. It proves nothing.
    pub md5: String,
    /// The SHA-1, of which the same is true.
    pub sha1: String,
    /// The SHA-256.
    pub sha256: String,
}

/// Computes the sums of a file.
pub fn sums(path: &Path) -> Result<Sums> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut md5, mut sha1, mut sha256) = (Md5::new(), Sha1::new(), Sha256::new());
    let (mut size, mut buffer) = (0, vec![0; 256 << 10]);
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        md5.update(&buffer[..n]);
        sha1.update(&buffer[..n]);
        sha256.update(&buffer[..n]);
        size += n as u64;
    }
    let [md5, sha1, sha256] =
        [md5.finalize().to_vec(), sha1.finalize().to_vec(), sha256.finalize().to_vec()]
            .map(|sum| invirtibuilder_core::text::hex(&sum));
    Ok(Sums { size, md5, sha1, sha256 })
}

/// Computes the size and the SHA-256, in hexadecimal, of a file.
pub fn digest(path: &Path) -> Result<(u64, String)> {
    digest_of(File::open(path).with_context(|| format!("cannot read {}", path.display()))?)
}

/// Computes the size and the SHA-256, in hexadecimal, of what there is to read.
pub fn digest_of(mut file: impl Read) -> Result<(u64, String)> {
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 256 << 10]);
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((size, invirtibuilder_core::text::hex(&hash.finalize())));
        }
        hash.update(&buffer[..n]);
        size += n as u64;
    }
}
