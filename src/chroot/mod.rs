//! Chroots: one tarball for each distro and architecture, made from the host's own apt configuration.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

mod image;
mod mirrors;

use crate::config::Config;
use crate::error::Error;
use crate::names::{Architecture, Distro};
use crate::record::now;
use crate::subprocess::{CancellationToken, Cmd};
pub use image::{ARCHITECTURES as MACHINES, Image};

/// How long making one may take: emulated architectures are slow.
const LIMIT: Duration = Duration::from_secs(2 * 3600);

/// What is known of a chroot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// The distro.
    pub distro: Distro,
    /// The architecture.
    pub architecture: Architecture,
    /// When it was made; milliseconds since 1970-01-01 UTC.
    pub created: i64,
    /// Its apt sources.
    pub sources: Vec<String>,
}

/// The directory of chroots.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The one that the configuration names.
    pub fn new(config: &Config) -> Self {
        Self { dir: config.chroot_dir() }
    }

    fn path(&self, distro: &Distro, architecture: &Architecture, suffix: &str) -> PathBuf {
        self.dir.join(format!("{distro}-{architecture}.{suffix}"))
    }

    /// The tarball of a chroot, if it was made.
    pub fn find(&self, distro: &Distro, architecture: &Architecture) -> Option<PathBuf> {
        Some(self.path(distro, architecture, "tar")).filter(|path| path.is_file())
    }

    /// What is known of a chroot that was made.
    pub fn manifest(&self, distro: &Distro, architecture: &Architecture) -> Result<Manifest> {
        let path = self.path(distro, architecture, "json");
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} does not parse", path.display()))
    }

    /// Every chroot, by distro and architecture.
    pub fn list(&self) -> Result<Vec<Manifest>> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|suffix| suffix == "json") {
                let text = fs::read(&path)?;
                all.push(serde_json::from_slice(&text).with_context(|| format!("{} does not parse", path.display()))?);
            }
        }
        all.sort_by(|a: &Manifest, b| (&a.distro, &a.architecture).cmp(&(&b.distro, &b.architecture)));
        Ok(all)
    }

    /// Makes a chroot with mmdebstrap(1), in place of the one that there is; running builds keep that.
    pub async fn create(
        &self,
        distro: &Distro,
        architecture: &Architecture,
        log: &Path,
        cancel: &CancellationToken,
    ) -> Result<Manifest> {
        let sources = mirrors::sources(distro, cancel).await?;
        fs::create_dir_all(&self.dir).with_context(|| format!("cannot create {}", self.dir.display()))?;
        let lock = self.path(distro, architecture, "lock");
        let lock = File::options().write(true).create(true).truncate(false).open(&lock)?;
        // Held until this function ends.
        let _lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|_| {
            Error::try_again(format!(
                "the chroot {distro} {architecture} is being made already: wait until that has ended"
            ))
        })?;
        let new = self.path(distro, architecture, "tar.new");
        let _ = fs::remove_file(&new);
        let manifest = Manifest { distro: distro.clone(), architecture: architecture.clone(), created: now(), sources };
        if let Err(error) = debootstrap(&manifest, None, &new, log, cancel).await {
            let _ = fs::remove_file(&new);
            return Err(
                Error::unavailable(format!("the chroot {distro} {architecture} cannot be made: {error:#}")).into()
            );
        }
        // Builds read it as another user.
        fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        fs::File::open(&new)?.sync_all()?;
        fs::rename(&new, self.path(distro, architecture, "tar"))?;
        let json = self.path(distro, architecture, "json.new");
        fs::write(&json, serde_json::to_vec_pretty(&manifest)?)?;
        fs::rename(&json, self.path(distro, architecture, "json"))?;
        fs::File::open(&self.dir)?.sync_all()?;
        Ok(manifest)
    }

    /// Removes a chroot; whether there was one. Builds that run keep it.
    pub fn remove(&self, distro: &Distro, architecture: &Architecture) -> Result<bool> {
        let mut was_there = false;
        for suffix in ["tar", "json"] {
            let path = self.path(distro, architecture, suffix);
            match fs::remove_file(&path) {
                Ok(()) => was_there = true,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("cannot remove {}", path.display())),
            }
        }
        Ok(was_there)
    }
}

/// Runs mmdebstrap(1): the tarball `to` of a root with what builds need, and with one more package.
async fn debootstrap(
    manifest: &Manifest,
    more: Option<&str>,
    to: &Path,
    log: &Path,
    cancel: &CancellationToken,
) -> Result<()> {
    let mut cmd = Cmd::new("mmdebstrap")
        .args(["--mode=unshare", "--variant=buildd", "--format=tar", "--skip=output/dev"])
        .arg(format!("--architectures={}", manifest.architecture));
    for option in mirrors::options(cancel).await? {
        cmd = cmd.arg(format!("--aptopt={option}"));
    }
    if let Some(package) = more {
        cmd = cmd.arg(format!("--include={package}"));
    }
    let done = cmd
        .args([manifest.distro.as_str()])
        .arg(to)
        .arg("-")
        .input(format!("{}\n", manifest.sources.join("\n")))
        .total(LIMIT)
        .log(log, 64 << 20)
        .run(cancel)
        .await?;
    done.success().map(drop)
}

/// The architecture of this machine's own packages.
pub async fn host_architecture() -> Result<Architecture> {
    let done = Cmd::new("dpkg").arg("--print-architecture").run(&CancellationToken::new()).await?;
    let name = String::from_utf8(done.success()?)?;
    Ok(name.trim().parse()?)
}
