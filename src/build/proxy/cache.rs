//! Files of mirrors, fetched by the host's own apt, and kept for the next build.
//!
//! `apt-helper download-file` fetches, so that all that the host's apt configuration says about proxies, certificates and
//! passwords holds. Whoever gets a file checks it, as apt does: nothing here vouches for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::subprocess::{CancellationToken, Cmd};

/// apt's helper (apt(8), "apt-helper").
const HELPER: &str = "/usr/lib/apt/apt-helper";

/// How long a suite's `InRelease` is good for. Debian's change four times a day.
const FRESH: Duration = Duration::from_secs(10 * 60);

/// How long fetching one file may take.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// The most bytes that are kept.
const ROOM: u64 = 4 << 30;

/// The directory of files that were fetched. No build can write it.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// The cache in this directory, which is made if need be.
    pub fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// A file of a mirror, at its beginning; `None` if the mirror does not have it.
    pub async fn get(&self, url: &str) -> Result<Option<tokio::fs::File>> {
        let path = self.path(url);
        if let Some(age) = age(&path).filter(|age| *age < lifetime(url)) {
            let file = fs::File::open(&path)?;
            // What was of use lately is the last to go.
            if lifetime(url) == Duration::MAX && age > FRESH {
                let _ = file.set_modified(SystemTime::now());
            }
            return Ok(Some(file.into()));
        }
        let new = tempfile::Builder::new().prefix("new.").tempfile_in(&self.dir)?.into_temp_path();
        let done = Cmd::new(HELPER)
            .args(["download-file", url])
            .arg(&new)
            .total(LIMIT)
            .capture(1 << 20)
            .run(&CancellationToken::new())
            .await?;
        if !done.ok() {
            let said = [&done.stdout[..], &done.stderr[..]].concat();
            if String::from_utf8_lossy(&said).contains("404  Not Found") {
                return Ok(None);
            }
            bail!(done.describe());
        }
        let file = fs::File::open(&new)?;
        if is_kept(url, &file) {
            new.persist(&path)?;
            self.make_room();
        }
        Ok(Some(file.into()))
    }

    fn path(&self, url: &str) -> PathBuf {
        self.dir.join(crate::text::hex(&Sha256::digest(url)))
    }

    /// Removes what was of no use for longest, if there is too much.
    fn make_room(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let mut all: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                Some((entry.metadata().ok()?.modified().ok()?, entry.metadata().ok()?.len(), entry.path()))
            })
            .collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        let mut sum = 0u64;
        for (_, length, path) in all {
            sum += length;
            if sum > ROOM {
                let _ = fs::remove_file(path);
            }
        }
    }

    #[cfg(test)]
    pub fn put(&self, url: &str, bytes: &[u8]) {
        fs::write(self.path(url), bytes).unwrap();
    }
}

fn age(path: &Path) -> Option<Duration> {
    let modified = fs::metadata(path).ok()?.modified().ok()?;
    // A clock that was set back makes nothing older.
    Some(SystemTime::now().duration_since(modified).unwrap_or_default())
}

/// How long a file is good for: what is in the pool, or is named by its hash, never changes.
fn lifetime(url: &str) -> Duration {
    if url.contains("/pool/") || url.contains("/by-hash/") {
        Duration::MAX
    } else if url.ends_with("/InRelease") {
        FRESH
    } else {
        Duration::ZERO
    }
}

/// An old `InRelease` does no harm if what it names is there by its hash, and only then.
fn is_kept(url: &str, mut file: &fs::File) -> bool {
    use std::io::{Read, Seek};
    let kept = match lifetime(url) {
        Duration::ZERO => false,
        Duration::MAX => true,
        _ => {
            let mut head = vec![0; 4096];
            let length = file.read(&mut head).unwrap_or(0);
            String::from_utf8_lossy(&head[..length]).contains("\nAcquire-By-Hash: yes\n")
        }
    };
    kept && file.rewind().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_change_is_not_believed_for_long() {
        assert_eq!(lifetime("http://m/debian/pool/main/h/hello/hello_1_amd64.deb"), Duration::MAX);
        assert_eq!(lifetime("http://m/debian/dists/sid/main/binary-amd64/by-hash/SHA256/00"), Duration::MAX);
        assert_eq!(lifetime("http://m/debian/dists/sid/InRelease"), FRESH);
        assert_eq!(lifetime("http://m/debian/dists/sid/main/binary-amd64/Packages.xz"), Duration::ZERO);
        let dir = tempfile::tempdir().unwrap();
        let kept = |text: &str| {
            let path = dir.path().join("x");
            fs::write(&path, text).unwrap();
            is_kept("http://m/debian/dists/sid/InRelease", &fs::File::open(&path).unwrap())
        };
        assert!(kept("Suite: sid\nAcquire-By-Hash: yes\nMD5Sum:\n"));
        assert!(!kept("Suite: sid\nMD5Sum:\n"));
    }
}
