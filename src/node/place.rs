//! What a node keeps: environments, and the directories of builds that run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::client::DaemonClient;
use invirtibuilder_core::names::ChrootDigest;
use invirtibuilder_system::private;
use invirtibuilder_system::remove::remove_tree;

/// The environments that stay, beside those that builds use.
const KEPT: usize = 6;

/// The directory of a node.
#[derive(Debug, Clone)]
pub struct NodeDir(PathBuf);

/// A directory of a build. Whoever finds it unlocked may remove it.
pub struct BuildDir {
    /// The directory.
    pub path: PathBuf,
    _lock: Flock<File>,
}

/// An environment that is there as long as this is held.
pub struct HeldEnvironment {
    /// The tarball.
    pub tarball: PathBuf,
    _lock: Flock<File>,
}

impl NodeDir {
    /// Opens it, and makes what is lacking.
    pub fn open(path: &Path) -> Result<Self> {
        for dir in [path.to_owned(), path.join("chroots"), path.join("work")] {
            private::create_dir(&dir)
                .with_context(|| format!("cannot create {}", dir.display()))?;
        }
        Ok(Self(path.to_owned()))
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes a directory for a build, and removes those of builds that are no more.
    pub async fn begin(&self, name: &str) -> Result<BuildDir> {
        let work = self.0.join("work");
        for entry in fs::read_dir(&work)?.flatten() {
            let is_lock = entry.path().extension().is_some_and(|suffix| suffix == "lock");
            if !is_lock && lock(&lock_of(&entry.path()), FlockArg::LockExclusiveNonblock)?.is_some()
            {
                // What cannot be removed is in nobody's way.
                let _ = remove_tree(&entry.path()).await;
                let _ = fs::remove_file(lock_of(&entry.path()));
            }
        }
        let path = work.join(name);
        let lock = lock(&lock_of(&path), FlockArg::LockExclusiveNonblock)?
            .with_context(|| format!("{} is in use", path.display()))?;
        remove_tree(&path).await?;
        fs::create_dir_all(&path)?;
        Ok(BuildDir { path, _lock: lock })
    }

    /// Returns an environment, which is fetched if it is not there: by one build, however many want
    /// it.
    pub async fn environment(
        &self,
        daemon: &DaemonClient,
        digest: &ChrootDigest,
        size: u64,
    ) -> Result<HeldEnvironment> {
        let dir = self.0.join("chroots");
        let tarball = dir.join(format!("{digest}.tar"));
        let wanted = tarball.clone();
        let first =
            tokio::task::spawn_blocking(move || lock(&lock_of(&wanted), FlockArg::LockExclusive));
        let first = first.await??.context("a lock that is waited for")?;
        if fs::metadata(&tarball).map_or(0, |about| about.len()) != size {
            let new = tarball.with_extension("new");
            let fetched = daemon.fetch("/environment", &new, size, &digest.to_string()).await;
            if let Err(error) = fetched {
                let _ = fs::remove_file(&new);
                return Err(error);
            }
            fs::rename(&new, &tarball)?;
        }
        File::open(&tarball)?.set_modified(SystemTime::now())?;
        first.relock(FlockArg::LockShared)?;
        self.prune(&tarball)?;
        Ok(HeldEnvironment { tarball, _lock: first })
    }

    /// Lists the environments that are here.
    pub fn kept(&self) -> Result<Vec<ChrootDigest>> {
        let digest = |path: PathBuf| path.file_stem()?.to_str()?.parse().ok();
        Ok(self.tarballs()?.filter_map(digest).collect())
    }

    fn tarballs(&self) -> Result<impl Iterator<Item = PathBuf>> {
        let entries = fs::read_dir(self.0.join("chroots"))?.flatten().map(|entry| entry.path());
        Ok(entries.filter(|path| path.extension().is_some_and(|suffix| suffix == "tar")))
    }

    /// Removes the environments that nobody has used for long.
    fn prune(&self, but: &Path) -> Result<()> {
        let mut all: Vec<(SystemTime, PathBuf)> = self
            .tarballs()?
            .filter(|path| path != but)
            .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
            .collect();
        all.sort();
        let old = all.len().saturating_sub(KEPT);
        for (_, path) in all.into_iter().take(old) {
            if let Ok(Some(_lock)) = lock(&lock_of(&path), FlockArg::LockExclusiveNonblock) {
                let _ = fs::remove_file(&path);
            }
        }
        Ok(())
    }
}

impl BuildDir {
    /// Removes it.
    pub async fn remove(self) -> Result<()> {
        remove_tree(&self.path).await?;
        Ok(fs::remove_file(lock_of(&self.path))?)
    }
}

fn lock_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Locks a file; `None`: somebody else has it.
fn lock(path: &Path, how: FlockArg) -> Result<Option<Flock<File>>> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(Flock::lock(file, how).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn directories_of_builds_that_are_no_more_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeDir::open(dir.path()).unwrap();
        let one = node.begin("one").await.unwrap();
        let two = node.begin("two").await.unwrap();
        fs::write(one.path.join("x"), "x").unwrap();
        let (first, second) = (one.path.clone(), two.path.clone());
        drop(one);
        let three = node.begin("three").await.unwrap();
        assert!(!first.exists() && second.exists());
        assert!(node.begin("two").await.is_err(), "it is in use");
        two.remove().await.unwrap();
        three.remove().await.unwrap();
        assert_eq!(fs::read_dir(dir.path().join("work")).unwrap().count(), 0);
    }
}
