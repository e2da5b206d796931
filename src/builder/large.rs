//! Packages whose builds do not fit into memory: those start on the disk.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use invirtibuilder_core::names::PackageName;

/// How long that is believed: the next version may be smaller.
const BELIEVED: Duration = Duration::from_secs(30 * 86_400);

/// The directory in which they are marked, each by a file of its name.
#[derive(Debug)]
pub struct Large(PathBuf);

impl Large {
    /// Opens those in this directory.
    pub fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// Tells whether a package is known to be one.
    pub fn has(&self, package: &PackageName) -> bool {
        let marked = fs::metadata(self.path(package)).and_then(|it| it.modified());
        marked.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < BELIEVED))
    }

    /// Marks one.
    pub fn add(&self, package: &PackageName) -> Result<()> {
        fs::create_dir_all(&self.0)
            .with_context(|| format!("cannot create {}", self.0.display()))?;
        let file = File::create(self.path(package))?;
        Ok(file.set_modified(SystemTime::now())?)
    }

    fn path(&self, package: &PackageName) -> PathBuf {
        self.0.join(package.as_str())
    }
}

/// Removes what an unfinished build has left in the directory of its results.
pub fn clear(output: &Path) -> Result<()> {
    for entry in fs::read_dir(output)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::large::*;

    #[test]
    fn a_package_is_large_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let (large, hello) = (Large::new(dir.path().join("large")), "hello".parse().unwrap());
        assert!(!large.has(&hello));
        large.add(&hello).unwrap();
        assert!(large.has(&hello) && !large.has(&"other".parse().unwrap()));
        let old = SystemTime::now() - Duration::from_secs(31 * 86_400);
        File::options().write(true).open(large.path(&hello)).unwrap().set_modified(old).unwrap();
        assert!(!large.has(&hello));
        large.add(&hello).unwrap();
        assert!(large.has(&hello));
    }
}
