//! Unpacks the programs of a distro so that a sandbox can run them: the dpkg-source of a distro
//! makes the source packages that are for it.
//!
//! They are `/usr` and little more of a chroot's tarball or of an image, as files of the service's
//! own user, and nobody ever writes them again. Unpacking runs nothing of them: no maintainer
//! script, and no machine.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::make::LIMIT;
use crate::{Chroot, Image, Store};
use invirtibuilder_core::config::{Config, Isolation, Pocket};
use invirtibuilder_core::error::Failure;
use invirtibuilder_core::manifest::Manifest;
use invirtibuilder_core::names::ChrootDigest;
use invirtibuilder_system::architectures;
use invirtibuilder_system::remove::remove_tree;
use invirtibuilder_system::subprocess::{CancellationToken, Cmd};

/// The files that are left out: nothing that makes a source package is there.
const LEFT_OUT: [&str; 8] = [
    "./usr/share/doc/*",
    "./usr/share/man/*",
    "./usr/share/locale/*",
    "./usr/share/info/*",
    "./usr/include/*",
    "./usr/lib/gcc/*",
    "./usr/lib/modules/*",
    "./usr/lib/python3/*",
];

/// The chroot, image or host that programs come from.
#[derive(Debug, Clone)]
pub enum From {
    /// A chroot's tarball.
    Chroot(Chroot),
    /// An image's file system.
    Image(Image),
    /// This machine itself, as there is nothing else.
    Host,
}

impl From {
    /// Chooses what makes a pocket's source packages: for `vm` an image, for others a chroot. It
    /// takes one of the host's own architecture first, if the pocket builds for that. A pocket
    /// whose builds are schroot's does without one, with the host's programs.
    pub fn of(config: &Config, pocket: &Pocket) -> Result<Self, Failure> {
        let (store, host) = (Store::new(config), architectures::host());
        let mut others = architectures::of_pocket(pocket);
        let is_hosts = others.contains(&host);
        others.retain(|one| *one != host);
        let first = is_hosts.then_some(&host).into_iter();
        for architecture in first.chain(&others).chain([&host]) {
            let found = match pocket.isolation {
                Isolation::Vm => store.image(&pocket.distro, architecture)?.map(Self::Image),
                Isolation::Unshare | Isolation::Schroot => {
                    store.find(&pocket.distro, architecture)?.map(Self::Chroot)
                }
            };
            if let Some(found) = found {
                return Ok(found);
            }
        }
        if pocket.isolation == Isolation::Schroot {
            return Ok(Self::Host);
        }
        let architecture = pocket.architectures.first().unwrap_or(&host);
        Err(super::missing(&pocket.distro, architecture, pocket.isolation))
    }

    /// Returns the manifest of the chroot or image; `None`: it is the host.
    pub fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Chroot(chroot) => Some(&chroot.manifest),
            Self::Image(image) => Some(&image.manifest),
            Self::Host => None,
        }
    }

    /// Returns the version of its dpkg-source, if that is known.
    pub fn dpkg(&self) -> Option<&str> {
        let package =
            self.manifest()?.packages.iter().find(|package| package.name == "dpkg-dev")?;
        Some(&package.version)
    }
}

/// Programs that a sandbox can run, until this is dropped.
#[derive(Debug)]
pub struct SandboxPrograms {
    /// The root file system that the programs are in.
    pub root: PathBuf,
    _lock: Option<Flock<File>>,
}

impl SandboxPrograms {
    /// Returns the host's own programs.
    pub fn of_host() -> Self {
        Self { root: "/".into(), _lock: None }
    }
}

/// The directory of all programs that are unpacked.
#[derive(Debug, Clone)]
pub struct UnpackedPrograms {
    dir: PathBuf,
}

impl UnpackedPrograms {
    /// Opens the directory that the configuration names.
    pub fn new(config: &Config) -> Self {
        Self { dir: config.state_dir.join("programs") }
    }

    fn path(&self, digest: &ChrootDigest) -> PathBuf {
        self.dir.join(digest.short())
    }

    /// Waits for a lock: the process that unpacks holds `make`; each process that runs what is
    /// unpacked holds `use`, shared with others.
    fn lock(&self, name: &str, why: &str, how: FlockArg) -> Result<Flock<File>> {
        fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot create {}", self.dir.display()))?;
        let path = self.dir.join(format!("{name}.{why}"));
        let file = File::options().write(true).create(true).truncate(false).open(&path)?;
        Flock::lock(file, how)
            .map_err(|(_, errno)| errno)
            .with_context(|| format!("cannot lock {}", path.display()))
    }

    /// Tells whether the programs of the chroot or image with this digest are unpacked.
    pub fn has(&self, digest: &ChrootDigest) -> bool {
        self.path(digest).is_dir()
    }

    /// Returns programs to run. It unpacks them if need be, which takes seconds.
    pub async fn get(&self, from: &From, cancel: &CancellationToken) -> Result<SandboxPrograms> {
        let Some(digest) = from.manifest().map(|manifest| manifest.digest.clone()) else {
            return Ok(SandboxPrograms::of_host());
        };
        if !self.has(&digest) {
            let (this, of) = (self.clone(), digest.clone());
            let lock = move || this.lock(of.short(), "make", FlockArg::LockExclusive);
            let _lock = tokio::task::spawn_blocking(lock).await??;
            if !self.has(&digest) {
                self.unpack(from, &digest, cancel).await?;
            }
        }
        // Only what is no longer used is ever held otherwise, for the time that it takes to remove
        // it.
        let lock = self.lock(digest.short(), "use", FlockArg::LockShared)?;
        Ok(SandboxPrograms { root: self.path(&digest), _lock: Some(lock) })
    }

    async fn unpack(
        &self,
        from: &From,
        digest: &ChrootDigest,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let new = self.dir.join(format!("{}.new", digest.short()));
        remove_tree(&new).await?;
        fs::create_dir(&new)?;
        match from {
            From::Chroot(chroot) => of_tarball(&chroot.tarball, &new, cancel).await?,
            From::Image(image) => of_image(&image.root(), &new, cancel).await?,
            From::Host => {}
        }
        nix::unistd::syncfs(File::open(&new)?)?;
        fs::rename(&new, self.path(digest))?;
        Ok(File::open(&self.dir)?.sync_all()?)
    }

    /// Removes the programs that are of none of these digests and that nobody uses.
    pub async fn prune(&self, keep: &[&ChrootDigest]) -> Result<()> {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if !path.is_dir()
                || name.ends_with(".new")
                || keep.iter().any(|digest| digest.short() == name)
            {
                continue;
            }
            if let Ok(_lock) = self.lock(&name, "use", FlockArg::LockExclusiveNonblock) {
                remove_tree(&path).await?;
            }
        }
        Ok(())
    }
}

async fn of_tarball(tarball: &Path, to: &Path, cancel: &CancellationToken) -> Result<()> {
    let mut tar = Cmd::new("tar").args([
        "--extract",
        "--no-same-owner",
        "--no-same-permissions",
        "--wildcards",
    ]);
    tar = tar
        .args(LEFT_OUT.map(|pattern| format!("--exclude={pattern}")))
        .arg("--file")
        .arg(tarball)
        .arg("--directory")
        .arg(to);
    let members = ["./usr/*", "./bin*", "./sbin*", "./lib*", "./etc/dpkg/*"];
    let done = tar.args(members).total(LIMIT).run(cancel).await?;
    done.success().with_context(|| format!("cannot unpack {}", tarball.display()))?;
    Ok(())
}

/// Unpacks the programs of an image: debugfs(8) reads the file system without mounting it.
async fn of_image(image: &Path, to: &Path, cancel: &CancellationToken) -> Result<()> {
    fs::create_dir(to.join("etc"))?;
    let debugfs = |request: String| {
        Cmd::new("debugfs").args(["-R", &request]).arg(image).dir(to).total(LIMIT).capture(64 << 20)
    };
    for (from, into) in [("/usr", "."), ("/etc/dpkg", "etc")] {
        debugfs(format!("rdump {from} {into}"))
            .run(cancel)
            .await?
            .success()
            .context("cannot unpack an image")?;
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), to.join(name))?;
    }
    anyhow::ensure!(
        to.join("usr/bin/dpkg-source").is_file(),
        "the image {} has no dpkg-source",
        image.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::programs::*;

    fn manifest(digit: &str) -> Manifest {
        let text = r#"{ "distro": "sid", "architecture": "amd64", "created": 0, "sources": [], "digest": "#;
        serde_json::from_str(&format!("{text}\"{}\", \"packages\": [{DPKG}] }}", digit.repeat(64)))
            .unwrap()
    }

    const DPKG: &str = r#"{ "name": "dpkg-dev", "version": "1.23.3", "architecture": "all" }"#;

    /// Makes a chroot whose tarball is like those of mmdebstrap(1).
    fn chroot(dir: &Path, digit: &str) -> From {
        let script = "mkdir -p t/usr/bin t/usr/share/doc/x t/usr/lib t/etc/dpkg/origins t/var/secret; echo p >t/usr/bin/dpkg-source
            echo d >t/usr/share/doc/x/y; echo o >t/etc/dpkg/origins/debian; cd t; ln -sf usr/bin bin; ln -sf usr/bin sbin; ln -sf usr/lib lib
            tar -cf ../chroot.tar .";
        let done = std::process::Command::new("sh")
            .args(["-ec", script])
            .current_dir(dir)
            .status()
            .unwrap();
        assert!(done.success());
        From::Chroot(Chroot { manifest: manifest(digit), tarball: dir.join("chroot.tar") })
    }

    #[tokio::test]
    async fn programs_are_unpacked_once_and_kept_while_they_are_used() {
        let dir = tempfile::tempdir().unwrap();
        let unpacked = UnpackedPrograms { dir: dir.path().join("programs") };
        let from = chroot(dir.path(), "a");
        assert_eq!(from.dpkg(), Some("1.23.3"));
        let cancel = CancellationToken::new();
        let digest = from.manifest().unwrap().digest.clone();
        assert!(!unpacked.has(&digest));
        let (one, two) = tokio::join!(unpacked.get(&from, &cancel), unpacked.get(&from, &cancel));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(one.root, two.root);
        for (path, is_there) in [
            ("usr/bin/dpkg-source", true),
            ("etc/dpkg/origins/debian", true),
            ("bin", true),
            ("usr/share/doc/x/y", false),
            ("var", false),
        ] {
            assert_eq!(fs::symlink_metadata(one.root.join(path)).is_ok(), is_there, "{path}");
        }
        unpacked.prune(&[&digest]).await.unwrap();
        unpacked.prune(&[]).await.unwrap();
        assert!(unpacked.has(&digest), "somebody uses it");
        drop((one, two));
        unpacked.prune(&[]).await.unwrap();
        assert!(!unpacked.has(&digest));
    }

    #[tokio::test]
    async fn an_image_is_read_without_mounting_it() {
        let dir = tempfile::tempdir().unwrap();
        chroot(dir.path(), "b");
        let script =
            "truncate -s 4M root; mke2fs -q -F -t ext4 -O ^has_journal -d t root; mkdir out";
        let done = std::process::Command::new("sh")
            .args(["-ec", script])
            .current_dir(dir.path())
            .status()
            .unwrap();
        assert!(done.success());
        let out = dir.path().join("out");
        of_image(&dir.path().join("root"), &out, &CancellationToken::new()).await.unwrap();
        assert_eq!(fs::read_to_string(out.join("bin/dpkg-source")).unwrap(), "p\n");
        assert!(out.join("etc/dpkg/origins/debian").is_file());
    }
}
