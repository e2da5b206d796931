//! Makes images of virtual machines: a root as a file system, with a kernel and its initial file
//! system beside it, from the same definition as the chroot. They hold no file of the service (see
//! `invirtibuilder_sandbox::machine`).
//!
//! An image is a directory behind a symbolic link, `DISTRO-ARCHITECTURE.vm`, that one rename flips.
//! Earlier ones stay for a while, as those of chroots do.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::make::{self, LIMIT};
use crate::manifest;
use crate::{Store, remove_if_there};
use invirtibuilder_core::config::chroots::MACHINES;
use invirtibuilder_core::error::Error;
use invirtibuilder_core::manifest::Manifest;
use invirtibuilder_core::names::{Architecture, ChrootDigest, Distro};
use invirtibuilder_system::remove::remove_tree;
use invirtibuilder_system::slot::everybody;
use invirtibuilder_system::subprocess::{CancellationToken, Cmd};

/// An image that the service has made.
#[derive(Debug, Clone)]
pub struct Image {
    dir: PathBuf,
    /// The manifest of what is in the image.
    pub manifest: Manifest,
}

impl Image {
    /// Takes a directory for an image, whose files are named `kernel`, `initrd` and `root`.
    pub fn of_dir(dir: PathBuf, manifest: Manifest) -> Self {
        Self { dir, manifest }
    }

    /// Returns the path of the kernel.
    pub fn kernel(&self) -> PathBuf {
        self.dir.join("kernel")
    }

    /// Returns the path of the kernel's initial file system.
    pub fn initrd(&self) -> PathBuf {
        self.dir.join("initrd")
    }

    /// Returns the path of the root, an ext4 file system.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    fn read(link: &Path) -> Result<Self> {
        // From here on it is this one, whatever the link becomes.
        let dir = link.canonicalize().with_context(|| format!("cannot find {}", link.display()))?;
        let manifest = manifest::read(&dir.join("manifest"))?;
        Ok(Self { dir, manifest })
    }
}

impl Store {
    fn image_path(&self, distro: &Distro, architecture: &Architecture, kind: &str) -> PathBuf {
        self.dir.join(Self::stem(distro, architecture) + kind)
    }

    /// Finds the image of a distro and architecture that is used now, if one was made.
    pub fn image(&self, distro: &Distro, architecture: &Architecture) -> Result<Option<Image>> {
        let link = self.image_path(distro, architecture, "vm");
        if link.is_symlink() { Image::read(&link).map(Some) } else { Ok(None) }
    }

    /// Finds the image with this digest, whether it is used now or only kept.
    pub fn image_with_digest(&self, digest: &ChrootDigest) -> Result<Option<Image>> {
        for image in self.images()? {
            for dir in self.generations(&image.manifest.distro, &image.manifest.architecture)? {
                let image = Image::read(&dir)?;
                if image.manifest.digest == *digest {
                    return Ok(Some(image));
                }
            }
        }
        Ok(None)
    }

    /// Lists every image that is used now, by distro and architecture.
    pub fn images(&self) -> Result<Vec<Image>> {
        let links =
            fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let links = links.filter(|path| {
            path.extension().is_some_and(|suffix| suffix == "vm") && path.is_symlink()
        });
        let mut all = links.map(|path| Image::read(&path)).collect::<Result<Vec<_>>>()?;
        all.sort_by(|a, b| {
            (&a.manifest.distro, &a.manifest.architecture)
                .cmp(&(&b.manifest.distro, &b.manifest.architecture))
        });
        Ok(all)
    }

    /// Makes an image with mmdebstrap(1) and mke2fs(8), in place of the one that there is. Running
    /// builds keep the old one.
    pub async fn create_image(
        &self,
        distro: &Distro,
        architecture: &Architecture,
        log: &Path,
        cancel: &CancellationToken,
    ) -> Result<Manifest> {
        if !MACHINES.contains(&architecture.as_str()) {
            let known = MACHINES.join(", ");
            return Err(Error::unavailable(format!(
                "there are no virtual machines for {architecture}: there are for {known}"
            ))
            .into());
        }
        let lock = Self::stem(distro, architecture) + "vm.lock";
        let _lock = self.lock(&lock, &format!("image {distro} {architecture}"))?;
        let new = self.image_path(distro, architecture, "vm.new");
        remove_tree(&new).await?;
        fs::create_dir(&new)?;
        let kernel = kernel_package(architecture, cancel).await?;
        let tarball = new.join("tarball");
        let made = async {
            let manifest = make::make(
                &self.config,
                &make::Asked { distro, architecture, more: Some(&kernel) },
                &tarball,
                log,
                cancel,
            )
            .await?;
            fill(&new, &manifest, &tarball, cancel).await.map(|()| manifest)
        };
        let manifest = match made.await {
            Ok(manifest) => manifest,
            Err(error) => {
                remove_tree(&new).await?;
                return Err(error);
            }
        };
        self.install(&new, &manifest).await?;
        Ok(manifest)
    }

    /// Puts an image that is complete in its place, and removes those that are too old to be kept.
    async fn install(&self, new: &Path, manifest: &Manifest) -> Result<()> {
        let (distro, architecture) = (&manifest.distro, &manifest.architecture);
        let link = self.image_path(distro, architecture, "vm");
        let dir = self.image_path(distro, architecture, &format!("vm.{}", manifest.created));
        fs::rename(new, &dir)?;
        let next = self.image_path(distro, architecture, "vm.next");
        let _ = fs::remove_file(&next);
        symlink(dir.file_name().context("an image has a name")?, &next)?;
        fs::rename(&next, &link)?;
        File::open(&self.dir)?.sync_all()?;
        let mut old = self.generations(distro, architecture)?;
        old.retain(|generation| *generation != dir);
        for dir in old.iter().skip(self.config.keep) {
            remove_tree(dir).await?;
        }
        Ok(())
    }

    /// Lists the directories of an image, the newest first.
    fn generations(&self, distro: &Distro, architecture: &Architecture) -> Result<Vec<PathBuf>> {
        let start = format!("{distro}-{architecture}.vm.");
        let created =
            |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix(&start)?.parse::<u64>().ok();
        let entries = fs::read_dir(&self.dir)?.flatten().map(|entry| entry.path());
        let mut all: Vec<_> = entries.filter_map(|path| Some((created(&path)?, path))).collect();
        all.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
        Ok(all.into_iter().map(|(_, path)| path).collect())
    }

    /// Removes an image. Returns whether there was one. Builds that run keep it.
    pub async fn remove_image(&self, distro: &Distro, architecture: &Architecture) -> Result<bool> {
        if !remove_if_there(&self.image_path(distro, architecture, "vm"))? {
            return Ok(false);
        }
        for dir in self.generations(distro, architecture)? {
            remove_tree(&dir).await?;
        }
        Ok(true)
    }
}

/// Makes the files of an image from a tarball, and removes the tarball.
async fn fill(
    dir: &Path,
    manifest: &Manifest,
    tarball: &Path,
    cancel: &CancellationToken,
) -> Result<()> {
    let (tree, root) = (dir.join("tree"), dir.join("root"));
    // Its parents may not be for all to pass; the ids in it are those of a user namespace, where
    // root is ourselves.
    fs::create_dir(&tree)?;
    in_namespace(&[
        "tar",
        "--extract",
        "--preserve-permissions",
        "--numeric-owner",
        "--exclude=./dev/*",
        "--file",
    ])?
    .arg(tarball)
    .arg("--directory")
    .arg(&tree)
    .total(LIMIT)
    .run(cancel)
    .await?
    .success()?;
    copy_only(&tree.join("boot"), "vmlinuz-", &dir.join("kernel"))?;
    copy_only(&tree.join("boot"), "initrd.img-", &dir.join("initrd"))?;
    let length = fs::metadata(tarball)?.len();
    fs::remove_file(tarball)?;
    File::create(&root)?.set_len(room(length))?;
    // What is lost in a power cut is lost anyway. What is free may be needed by whoever is not
    // root.
    in_namespace(&["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"])?
        .arg(&tree)
        .arg("--")
        .arg(&root)
        .total(LIMIT)
        .run(cancel)
        .await?
        .success()?;
    remove_tree(&tree).await?;
    fs::write(dir.join("manifest"), serde_json::to_vec_pretty(manifest)?)?;
    for name in ["root", "kernel", "initrd", "manifest"] {
        let path = dir.join(name);
        // Builds read them as another user.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        File::open(&path)?.sync_all()?;
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    Ok(File::open(dir)?.sync_all()?)
}

/// Makes the command that runs a program as root of a user namespace that has all of our ids.
fn in_namespace(words: &[&str]) -> Result<Cmd> {
    Ok(Cmd::new("unshare")
        .args(["--user", "--map-root-user"])
        .args(everybody()?)
        .arg("--")
        .args(words))
}

/// Returns the size of a file system that holds what a tarball of this length does, and little
/// more, in bytes: it grows when it is used.
fn room(length: u64) -> u64 {
    const MIB: u64 = 1 << 20;
    (length + length / 8 + 64 * MIB).next_multiple_of(MIB)
}

/// Finds the package of Debian's kernel for machines, if there is one for this architecture, else
/// that of the general kernel.
async fn kernel_package(architecture: &Architecture, cancel: &CancellationToken) -> Result<String> {
    let listed = Cmd::new("apt-cache")
        .args(["pkgnames", "linux-image-cloud-"])
        .run(cancel)
        .await?
        .success()?;
    let cloud = format!("linux-image-cloud-{architecture}");
    let has_cloud = String::from_utf8_lossy(&listed).lines().any(|name| name == cloud);
    Ok(if has_cloud { cloud } else { format!("linux-image-{architecture}") })
}

/// Copies the only file of a directory whose name begins so. It follows no link.
fn copy_only(dir: &Path, start: &str, to: &Path) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let is = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(start))
    };
    let found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is).collect();
    let [file] = &found[..] else {
        bail!("the image has {} files boot/{start}*, not one", found.len())
    };
    if !file.symlink_metadata()?.is_file() {
        bail!("boot/{start}* of the image is no file");
    }
    fs::copy(file, to)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::image::*;
    use invirtibuilder_core::config::Chroots;

    #[tokio::test]
    async fn an_image_is_replaced_at_once_and_the_one_before_stays_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store { dir: dir.path().to_owned(), config: Chroots::default() };
        let (distro, amd64): (Distro, Architecture) =
            ("trixie".parse().unwrap(), "amd64".parse().unwrap());
        assert!(store.image(&distro, &amd64).unwrap().is_none());
        for created in 1..4 {
            let new = dir.path().join("trixie-amd64.vm.new");
            let manifest = Manifest {
                distro: distro.clone(),
                architecture: amd64.clone(),
                created,
                digest: format!("{created:02}").repeat(32).parse().unwrap(),
                sources: Vec::new(),
                packages: Vec::new(),
                definition: None,
            };
            fs::create_dir(&new).unwrap();
            fs::write(new.join("manifest"), serde_json::to_vec(&manifest).unwrap()).unwrap();
            store.install(&new, &manifest).await.unwrap();
            let image = store.image(&distro, &amd64).unwrap().unwrap();
            assert_eq!(image.manifest.created, created);
            assert!(image.root().ends_with(format!("trixie-amd64.vm.{created}/root")), "{image:?}");
        }
        assert_eq!(store.generations(&distro, &amd64).unwrap().len(), 2);
        assert_eq!(store.images().unwrap().len(), 1);
        assert!(
            store.image_with_digest(&"02".repeat(32).parse().unwrap()).unwrap().is_some(),
            "it is kept"
        );
        assert!(
            store.image_with_digest(&"01".repeat(32).parse().unwrap()).unwrap().is_none(),
            "it is not"
        );
        assert!(store.list().unwrap().is_empty(), "it is no chroot");
        assert!(store.remove_image(&distro, &amd64).await.unwrap());
        assert!(!store.remove_image(&distro, &amd64).await.unwrap());
        assert!(store.generations(&distro, &amd64).unwrap().is_empty());
    }

    #[test]
    fn a_kernel_is_a_file_and_the_only_one() {
        let dir = tempfile::tempdir().unwrap();
        let (boot, to) = (dir.path().join("boot"), dir.path().join("kernel"));
        fs::create_dir(&boot).unwrap();
        assert!(copy_only(&boot, "vmlinuz-", &to).is_err());
        symlink("/etc/passwd", boot.join("vmlinuz-1")).unwrap();
        assert!(copy_only(&boot, "vmlinuz-", &to).is_err());
        fs::remove_file(boot.join("vmlinuz-1")).unwrap();
        fs::write(boot.join("vmlinuz-2"), "kernel").unwrap();
        copy_only(&boot, "vmlinuz-", &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "kernel");
        fs::write(boot.join("vmlinuz-3"), "another").unwrap();
        assert!(copy_only(&boot, "vmlinuz-", &to).is_err());
    }
}
