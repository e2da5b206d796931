//! Makes and keeps chroots: for each distro and architecture a tarball that builds start from, and
//! a manifest of what is in it.
//!
//! A chroot never changes: a new one takes its place, and the old one stays for builds that run,
//! and for those that are repeated. `trixie-amd64.json`, a symbolic link, is the manifest of the
//! one that is used now; the tarball has its name and the beginning of its digest.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

pub mod cause;
mod dates;
pub mod dependencies;
mod image;
pub mod layers;
mod make;
mod manifest;
mod mirrors;
pub mod programs;
pub mod roots;

use crate::make::Asked;
pub use image::Image;
use invirtibuilder_core::config::{Chroots, Config, Isolation};
use invirtibuilder_core::error::{Error, Failure, FailureKind};
use invirtibuilder_core::manifest::Manifest;
use invirtibuilder_core::names::{Architecture, ChrootDigest, Distro};
use invirtibuilder_system::subprocess::CancellationToken;
pub use make::FAKEROOT;

/// A chroot that the service has made.
#[derive(Debug, Clone)]
pub struct Chroot {
    /// The manifest of what is in the chroot.
    pub manifest: Manifest,
    /// The tarball of the chroot. It is there as long as the chroot is the newest but
    /// [`Chroots::keep`].
    pub tarball: PathBuf,
}

/// A root file system to build in, of either kind.
#[derive(Debug, Clone)]
pub enum Environment {
    /// A chroot.
    Chroot(Chroot),
    /// The image of a virtual machine.
    Image(Image),
}

impl Environment {
    /// Returns what it is, exactly.
    pub fn manifest(&self) -> &Manifest {
        match self {
            Self::Chroot(chroot) => &chroot.manifest,
            Self::Image(image) => &image.manifest,
        }
    }
}

/// The directory of chroots.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    config: Chroots,
}

impl Store {
    /// Opens the directory that the configuration names.
    pub fn new(config: &Config) -> Self {
        Self { dir: config.chroot_dir(), config: config.chroots.clone() }
    }

    /// Returns the beginning of the names of all files of a chroot.
    fn stem(distro: &Distro, architecture: &Architecture) -> String {
        format!("{distro}-{architecture}.")
    }

    fn read(&self, path: &Path) -> Result<Chroot> {
        let manifest = manifest::read(path)?;
        let stem = Self::stem(&manifest.distro, &manifest.architecture);
        let tarball = self.dir.join(format!("{stem}{}.tar", manifest.digest.short()));
        Ok(Chroot { manifest, tarball })
    }

    /// Finds the chroot of a distro and architecture that is used now, if one was made.
    pub fn find(&self, distro: &Distro, architecture: &Architecture) -> Result<Option<Chroot>> {
        let path = self.dir.join(Self::stem(distro, architecture) + "json");
        let found = if path.exists() { Some(self.read(&path)?) } else { None };
        Ok(found.filter(|chroot| chroot.tarball.is_file()))
    }

    /// Finds the chroot with this digest, whether it is used now or only kept.
    pub fn with_digest(&self, digest: &ChrootDigest) -> Result<Option<Chroot>> {
        let found = self
            .all()?
            .into_iter()
            .map(|(_, chroot)| chroot)
            .find(|it| it.manifest.digest == *digest);
        Ok(found.filter(|chroot| chroot.tarball.is_file()))
    }

    /// Finds a chroot or an image by its digest, whether it is used now or only kept.
    pub fn environment(&self, digest: &ChrootDigest) -> Result<Option<Environment>> {
        if let Some(chroot) = self.with_digest(digest)? {
            return Ok(Some(Environment::Chroot(chroot)));
        }
        Ok(self.image_with_digest(digest)?.map(Environment::Image))
    }

    /// Lists the chroots that are used now, by distro and architecture.
    pub fn list(&self) -> Result<Vec<Manifest>> {
        let mut now: Vec<Manifest> = self
            .all()?
            .into_iter()
            .filter(|(name, it)| {
                *name == Self::stem(&it.manifest.distro, &it.manifest.architecture) + "json"
            })
            .map(|(_, chroot)| chroot.manifest)
            .collect();
        now.sort_by(|a, b| (&a.distro, &a.architecture).cmp(&(&b.distro, &b.architecture)));
        Ok(now)
    }

    /// Tells whether a distro has a chroot now, by the names of files: it reads none.
    pub fn has(&self, distro: &Distro) -> Result<bool> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Ok(false) };
        for entry in entries {
            let name = entry?.file_name();
            // Those of before have a digest behind the architecture: no architecture has a dot.
            let architecture = || {
                name.to_str()?
                    .strip_suffix(".json")?
                    .strip_prefix(distro.as_str())?
                    .strip_prefix('-')
            };
            if architecture().is_some_and(|it| it.parse::<Architecture>().is_ok()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads every manifest by its file's name: those that are used now come twice.
    fn all(&self) -> Result<Vec<(String, Chroot)>> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if let Some(name) = path
                .file_name()
                .and_then(|name| name.to_str())
                .filter(|name| name.ends_with(".json"))
            {
                all.push((name.to_owned(), self.read(&path)?));
            }
        }
        Ok(all)
    }

    /// Makes a chroot with mmdebstrap(1), in place of the one that there is. Running builds keep
    /// the old one.
    pub async fn create(
        &self,
        distro: &Distro,
        architecture: &Architecture,
        log: &Path,
        cancel: &CancellationToken,
    ) -> Result<Manifest> {
        let stem = Self::stem(distro, architecture);
        let _lock =
            self.lock(&(stem.clone() + "lock"), &format!("chroot {distro} {architecture}"))?;
        let new = self.dir.join(stem + "tar.new");
        let _ = fs::remove_file(&new);
        let made = make::make(
            &self.config,
            &Asked { distro, architecture, more: None },
            &new,
            log,
            cancel,
        )
        .await;
        let manifest = match made {
            Ok(manifest) => manifest,
            Err(error) => {
                let _ = fs::remove_file(&new);
                return Err(error);
            }
        };
        self.put(&manifest, &new)?;
        self.prune(&manifest)?;
        Ok(manifest)
    }

    /// Keeps others from making the same chroot or image, by a lock on the file `name`, until the
    /// caller drops the lock.
    fn lock(&self, name: &str, what: &str) -> Result<Flock<File>> {
        fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot create {}", self.dir.display()))?;
        let file =
            File::options().write(true).create(true).truncate(false).open(self.dir.join(name))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            Error::try_again(format!("the {what} is being made already: wait until that has ended"))
                .into()
        })
    }

    /// Puts a new tarball in its place. The last step is one rename.
    fn put(&self, manifest: &Manifest, new: &Path) -> Result<()> {
        let stem = Self::stem(&manifest.distro, &manifest.architecture);
        let own = format!("{stem}{}", manifest.digest.short());
        // Builds read it as another user.
        fs::set_permissions(new, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        File::open(new)?.sync_all()?;
        fs::rename(new, self.dir.join(format!("{own}.tar")))?;
        let json = self.dir.join(stem.clone() + "json.new");
        fs::write(&json, serde_json::to_vec_pretty(manifest)?)?;
        File::open(&json)?.sync_all()?;
        fs::rename(&json, self.dir.join(format!("{own}.json")))?;
        for kind in ["tar", "json"] {
            let link = self.dir.join(format!("{stem}{kind}.new"));
            let _ = fs::remove_file(&link);
            symlink(format!("{own}.{kind}"), &link)?;
            fs::rename(&link, self.dir.join(format!("{stem}{kind}")))?;
        }
        Ok(File::open(&self.dir)?.sync_all()?)
    }

    /// Removes the chroots that are too old to be kept.
    fn prune(&self, now: &Manifest) -> Result<()> {
        let mut old: Vec<Chroot> = self
            .all()?
            .into_iter()
            .map(|(_, chroot)| chroot)
            .filter(|it| {
                (&it.manifest.distro, &it.manifest.architecture) == (&now.distro, &now.architecture)
            })
            .filter(|it| it.manifest.digest != now.digest)
            .collect();
        old.sort_by_key(|chroot| std::cmp::Reverse(chroot.manifest.created));
        for chroot in old.iter().skip(self.config.keep) {
            remove_if_there(&chroot.tarball.with_extension("json"))?;
            remove_if_there(&chroot.tarball)?;
        }
        Ok(())
    }

    /// Removes a chroot and the earlier ones that are kept. Returns whether there was one. Builds
    /// that run keep theirs.
    pub fn remove(&self, distro: &Distro, architecture: &Architecture) -> Result<bool> {
        let stem = Self::stem(distro, architecture);
        let (all, mut was_there) = (self.all()?, false);
        // Without the link, nothing starts in it any more.
        for kind in ["json", "tar"] {
            was_there |= remove_if_there(&self.dir.join(format!("{stem}{kind}")))?;
        }
        for (_, chroot) in all {
            if (&chroot.manifest.distro, &chroot.manifest.architecture) == (distro, architecture) {
                was_there |= remove_if_there(&chroot.tarball)?;
                remove_if_there(&chroot.tarball.with_extension("json"))?;
            }
        }
        Ok(was_there)
    }
}

/// Removes a file. Returns whether it was there.
fn remove_if_there(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}

/// Returns the failure of a job that finds no chroot, or no image for a machine.
pub fn missing(distro: &Distro, architecture: &Architecture, isolation: Isolation) -> Failure {
    let (what, option) = match isolation {
        Isolation::Vm => ("image", " --vm"),
        Isolation::Unshare | Isolation::Schroot => ("chroot", ""),
    };
    let text = format!(
        "there is no {what} {distro} {architecture}: an administrator makes it with 'invirt-build chroot create {distro}{option} \
         --arch {architecture}'"
    );
    Failure::new(FailureKind::Chroot, text)
}

#[cfg(test)]
mod tests {
    use crate::*;

    fn manifest(n: u8) -> Manifest {
        Manifest {
            distro: "trixie".parse().unwrap(),
            architecture: "amd64".parse().unwrap(),
            created: n.into(),
            digest: format!("{n:02x}").repeat(32).parse().unwrap(),
            sources: Vec::new(),
            packages: Vec::new(),
            definition: None,
        }
    }

    #[test]
    fn a_chroot_is_replaced_and_the_last_ones_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store =
            Store { dir: dir.path().to_owned(), config: Chroots { keep: 2, ..Chroots::default() } };
        let put = |n: u8| {
            let new = dir.path().join("new");
            fs::write(&new, [n]).unwrap();
            store.put(&manifest(n), &new).unwrap();
            store.prune(&manifest(n)).unwrap();
        };
        let (distro, architecture) = (manifest(0).distro, manifest(0).architecture);
        assert!(
            store.find(&distro, &architecture).unwrap().is_none() && !store.has(&distro).unwrap()
        );
        (1..=4).for_each(put);
        assert!(store.has(&distro).unwrap() && !store.has(&"absent".parse().unwrap()).unwrap());
        let now = store.find(&distro, &architecture).unwrap().unwrap();
        assert_eq!((now.manifest.created, fs::read(&now.tarball).unwrap()), (4, vec![4]));
        assert_eq!(store.list().unwrap().len(), 1);
        let kept = |n| {
            store.with_digest(&manifest(n).digest).unwrap().map(|it| fs::read(it.tarball).unwrap())
        };
        assert_eq!(
            [kept(1), kept(2), kept(3), kept(4)],
            [None, Some(vec![2]), Some(vec![3]), Some(vec![4])]
        );

        // The same once more is no other.
        put(4);
        assert_eq!(kept(3), Some(vec![3]));
        assert!(store.remove(&distro, &architecture).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(!store.remove(&distro, &architecture).unwrap());
    }
}
