//! What a node keeps: environments, and the directories of builds that run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};

use crate::client::DaemonClient;
use invirtibuilder_builder::slurm::protocol::{ENVIRONMENT, OfferedFile};
use invirtibuilder_core::manifest::Manifest;
use invirtibuilder_core::names::ChrootDigest;
use invirtibuilder_environment::{Chroot, Environment, Image};
use invirtibuilder_sandbox::machine::kvm;
use invirtibuilder_system::files::write_whole;
use invirtibuilder_system::private;
use invirtibuilder_system::remove::remove_tree;

/// The directory of environments, each in one that its digest names.
const ENVIRONMENTS: &str = "environments";

/// The manifest of an environment, beside its files.
const MANIFEST: &str = "manifest";

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

/// A chroot or image that is there as long as this is held.
pub struct HeldEnvironment {
    /// What it is.
    pub environment: Environment,
    _lock: Flock<File>,
}

impl NodeDir {
    /// Opens it, and makes what is lacking.
    pub fn open(path: &Path) -> Result<Self> {
        for dir in [path.to_owned(), path.join(ENVIRONMENTS), path.join("work")] {
            private::create_dir(&dir)
                .with_context(|| format!("cannot create {}", dir.display()))?;
        }
        Ok(Self(path.to_owned()))
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Tells this process what an earlier one found out: whether KVM works, since the machine
    /// started.
    pub fn recall_kvm(&self) {
        if boot().is_some_and(|now| fs::read_to_string(self.kvm_note()).is_ok_and(|it| it == now)) {
            kvm::has_failed();
        }
    }

    /// Tells later processes, if this one found out that KVM does not work.
    pub fn note_kvm(&self) -> Result<()> {
        match boot().filter(|_| kvm::failed()) {
            Some(now) => Ok(fs::write(self.kvm_note(), now)?),
            None => Ok(()),
        }
    }

    fn kvm_note(&self) -> PathBuf {
        self.0.join("kvm-failed")
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

    /// Returns a chroot or image, which is fetched if it is not there: by one build, however many
    /// want it.
    pub async fn environment(
        &self,
        daemon: &DaemonClient,
        (manifest, files): (&Manifest, &[OfferedFile]),
    ) -> Result<HeldEnvironment> {
        let (tarball, image) = ENVIRONMENT;
        let names: Vec<&str> = files.iter().map(|file| &file.name[..]).collect();
        ensure!(names == [tarball] || names == image, "the daemon offers no chroot and no image");
        // An image's files are of one making: the root's sum is that of all.
        let last = files.last().context("there is a file")?;
        let digest: ChrootDigest = last.sha256.parse()?;
        let dir = self.0.join(ENVIRONMENTS).join(digest.to_string());
        let length =
            |file: &OfferedFile| fs::metadata(dir.join(&file.name)).map(|it| it.len()).ok();
        let is_whole =
            || dir.join(MANIFEST).is_file() && files.iter().all(|it| length(it) == Some(it.size));
        let held = loop {
            let with_others = wait_for_lock(&dir, FlockArg::LockShared).await?;
            if is_whole() {
                break with_others;
            }
            drop(with_others);
            let _alone = wait_for_lock(&dir, FlockArg::LockExclusive).await?;
            if !is_whole() {
                remove_tree(&dir).await?;
                if let Err(error) = fetch(daemon, &dir, manifest, files).await {
                    remove_tree(&dir).await?;
                    return Err(error);
                }
            }
        };
        File::open(dir.join(MANIFEST))?.set_modified(SystemTime::now())?;
        self.prune(&dir).await?;
        let manifest = manifest.clone();
        let environment = if names == [tarball] {
            Environment::Chroot(Chroot { manifest, tarball: dir.join(tarball) })
        } else {
            Environment::Image(Image::of_dir(dir, manifest))
        };
        Ok(HeldEnvironment { environment, _lock: held })
    }

    /// Lists the chroots that are here.
    pub fn chroots(&self) -> Result<Vec<Chroot>> {
        let chroot = |dir: PathBuf| {
            let tarball = dir.join(ENVIRONMENT.0);
            let manifest = serde_json::from_slice(&fs::read(dir.join(MANIFEST)).ok()?).ok()?;
            tarball.is_file().then_some(Chroot { manifest, tarball })
        };
        Ok(self.environments()?.filter_map(chroot).collect())
    }

    fn environments(&self) -> Result<impl Iterator<Item = PathBuf>> {
        let entries = fs::read_dir(self.0.join(ENVIRONMENTS))?.flatten().map(|entry| entry.path());
        Ok(entries.filter(|path| path.join(MANIFEST).is_file()))
    }

    /// Removes the environments that nobody has used for long.
    async fn prune(&self, but: &Path) -> Result<()> {
        let used = |dir: &Path| fs::metadata(dir.join(MANIFEST)).ok()?.modified().ok();
        let mut all: Vec<(SystemTime, PathBuf)> = self
            .environments()?
            .filter(|dir| dir != but)
            .filter_map(|dir| Some((used(&dir)?, dir)))
            .collect();
        all.sort();
        let old = all.len().saturating_sub(KEPT);
        for (_, dir) in all.into_iter().take(old) {
            if let Ok(Some(_lock)) = lock(&lock_of(&dir), FlockArg::LockExclusiveNonblock) {
                remove_tree(&dir).await?;
            }
        }
        Ok(())
    }
}

/// Fetches the files of an environment. Its manifest is there last.
async fn fetch(
    daemon: &DaemonClient,
    dir: &Path,
    manifest: &Manifest,
    files: &[OfferedFile],
) -> Result<()> {
    fs::create_dir(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for file in files {
        let path = format!("/environment/{}", file.name);
        let to = dir.join(&file.name);
        daemon.fetch(&path, &to, file.size, &file.sha256).await?;
        // It is believed by its length from now on, also after a power cut.
        tokio::fs::File::open(&to).await?.sync_all().await?;
    }
    write_whole(&dir.join(MANIFEST), &serde_json::to_vec(manifest)?)
}

impl BuildDir {
    /// Removes it.
    pub async fn remove(self) -> Result<()> {
        remove_tree(&self.path).await?;
        Ok(fs::remove_file(lock_of(&self.path))?)
    }
}

/// The name of this run of the machine (random(4)).
fn boot() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()
}

fn lock_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Waits for the lock of a directory.
async fn wait_for_lock(dir: &Path, how: FlockArg) -> Result<Flock<File>> {
    let path = lock_of(dir);
    let locked = tokio::task::spawn_blocking(move || lock(&path, how)).await??;
    locked.context("a lock that is waited for")
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
    use invirtibuilder_builder::slurm::protocol::Bootstrap;

    #[tokio::test]
    async fn builds_at_the_same_time_have_an_environment_in_common() {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeDir::open(dir.path()).unwrap();
        let digest = "a".repeat(64);
        let text = r#"{ "distro": "sid", "architecture": "amd64", "created": 0, "sources": [],
            "packages": [], "digest": "@" }"#;
        let manifest: Manifest = serde_json::from_str(&text.replace('@', &digest)).unwrap();
        let it = dir.path().join(ENVIRONMENTS).join(&digest);
        fs::create_dir(&it).unwrap();
        fs::write(it.join(ENVIRONMENT.0), "tar").unwrap();
        fs::write(it.join(MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
        // Nobody asks the daemon for what is there.
        let daemon = DaemonClient::new(&Bootstrap {
            address: "127.0.0.1:1".to_owned(),
            certificate: String::new(),
            name: String::new(),
            right: String::new(),
        })
        .unwrap();
        let file = OfferedFile { name: ENVIRONMENT.0.to_owned(), size: 3, sha256: digest };
        let offered = (&manifest, std::slice::from_ref(&file));
        let one = node.environment(&daemon, offered).await.unwrap();
        let other = node.environment(&daemon, offered);
        let other = tokio::time::timeout(std::time::Duration::from_secs(60), other).await;
        drop((one, other.expect("it does not wait for the first").unwrap()));
        // What is not whole is fetched anew.
        let longer = OfferedFile { size: 4, ..file };
        let lacking = node.environment(&daemon, (&manifest, std::slice::from_ref(&longer))).await;
        assert!(lacking.is_err() && !it.exists());
    }

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
