//! Keeps build dependencies installed: layers above a slot's unpacked chroot, one for each set that
//! a build asked for lately.
//!
//! A layer is what `apt-get satisfy` makes of the chroot with the mirrors alone, while nobody
//! waits: it is a function of the chroot, of the mirrors' lists and of what a package asks for, and
//! never of a build or of one of our own suites. Builds that ask for the same have the same layer.
//! A build sees it read-only, and only as long as it is what a build without it would install.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use deb822_fast::Deb822;
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use xattr::FileExt;

use crate::dependencies::Dependencies;
use invirtibuilder_core::manifest::Manifest;
use invirtibuilder_core::relations::provided;
use invirtibuilder_system::beneath::open_beneath;
use invirtibuilder_system::remove::remove_tree;
use invirtibuilder_system::slot::{self, Slot};

/// The time for which we believe that a set cannot be installed from the mirrors alone.
const BELIEVED: Duration = Duration::from_secs(3600);

/// The time for which we keep a set that no build asks for.
const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// The longest status file of dpkg that we read, in bytes.
const LONGEST: u64 = 64 << 20;

/// The name of a layer while it is made, and that while it is removed: nobody takes it for one
/// then.
const NEW: &str = "new";
const GONE: &str = "gone";

/// The directories of layers, and of the sets that builds ask for.
#[derive(Debug, Clone)]
pub struct Layers {
    dir: PathBuf,
    wanted: PathBuf,
    most: usize,
}

/// The record of a layer, beside its files.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    /// The build dependencies that a build asked for.
    asked: Dependencies,
    /// The digest of the lists that it was made with.
    lists: String,
    /// The names of the packages that were installed, of what these provide, and of what might have
    /// been installed in their place; `None`: the set cannot be installed.
    names: Option<HashSet<String>>,
}

/// What became of a layer that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerOutcome {
    /// The set is installed.
    Made,
    /// The set cannot be installed.
    Impossible,
}

impl Layers {
    /// Opens the layers of a service, `most` sets for each slot and chroot. It keeps none where the
    /// kernel cannot have builds write above them in memory.
    pub fn new(state_dir: &Path, most: usize) -> Self {
        let most = if memory_has_attributes() { most } else { 0 };
        Self { dir: state_dir.join("layers"), wanted: state_dir.join("wanted"), most }
    }

    /// Tells whether the service keeps any layers.
    pub fn are_kept(&self) -> bool {
        self.most > 0
    }

    fn of(&self, slot: u32, chroot: &Manifest) -> PathBuf {
        self.dir.join(slot.to_string()).join(chroot.digest.short())
    }

    fn asked(&self, chroot: &Manifest) -> PathBuf {
        self.wanted.join(format!("{}-{}", chroot.distro, chroot.architecture))
    }

    /// Remembers what a build asks for.
    pub fn want(&self, chroot: &Manifest, dependencies: &Dependencies) -> Result<()> {
        let dir = self.asked(chroot);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        // Whoever looks meanwhile sees the old file or the new one.
        let mut file = tempfile::Builder::new().prefix(".").tempfile_in(&dir)?;
        serde_json::to_writer(&mut file, dependencies)?;
        file.persist(dir.join(dependencies.key()))?;
        Ok(())
    }

    /// Lists the sets that builds asked for lately, the last first. It forgets those from before
    /// that.
    pub fn wanted(&self, chroot: &Manifest) -> Result<Vec<Dependencies>> {
        let mut all = Vec::new();
        for path in entries(&self.asked(chroot)) {
            let found = fs::metadata(&path)
                .and_then(|it| it.modified())
                .and_then(|at| Ok((at, fs::read(&path)?)));
            let Ok((at, bytes)) = found else { continue };
            let is_old = |most: Duration| at.elapsed().is_ok_and(|age| age > most);
            let is_hidden =
                path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            match serde_json::from_slice::<Dependencies>(&bytes) {
                Ok(dependencies) if !is_hidden && !is_old(KEPT) => {
                    all.push((at, path, dependencies));
                }
                // It is being written.
                _ if is_hidden && !is_old(BELIEVED) => {}
                _ => forget(&path)?,
            }
        }
        all.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
        for (_, path, _) in all.split_off(self.most.min(all.len())) {
            forget(&path)?;
        }
        Ok(all.into_iter().map(|(.., dependencies)| dependencies).collect())
    }

    /// Finds the files of a layer that was made with these lists, unless one of these names is
    /// among those that the layer has.
    pub fn find(
        &self,
        slot: &Slot,
        chroot: &Manifest,
        (dependencies, lists): (&Dependencies, &str),
        others: &HashSet<String>,
    ) -> Option<PathBuf> {
        let path = self.of(slot.number(), chroot).join(dependencies.key());
        let about = about(&path)?;
        let names = about.names.filter(|_| about.lists == lists && about.asked == *dependencies)?;
        names.is_disjoint(others).then(|| path.join("room/upper"))
    }

    /// Tells whether a slot lacks a layer, so that it has to be made. The slot need not be held.
    pub fn lacks(&self, slot: u32, chroot: &Manifest, key: &str, lists: &str) -> bool {
        let path = self.of(slot, chroot).join(key);
        let age =
            || fs::metadata(path.join("about")).and_then(|it| it.modified()).ok()?.elapsed().ok();
        match about(&path) {
            Some(about) if about.lists == lists => {
                about.names.is_none() && age().is_none_or(|age| age > BELIEVED)
            }
            _ => true,
        }
    }

    /// Creates an empty directory for a layer to be made in.
    pub async fn begin(&self, slot: &Slot, chroot: &Manifest) -> Result<PathBuf> {
        let new = self.of(slot.number(), chroot).join(NEW);
        remove_tree(&new).await?;
        let room = new.join("room");
        fs::create_dir_all(&room).with_context(|| format!("cannot create {}", room.display()))?;
        Ok(room)
    }

    /// Keeps what became of the layer that was begun by [`Layers::begin`].
    /// After a power cut it is whole or not there.
    pub async fn finish(
        &self,
        slot: &Slot,
        chroot: &Manifest,
        (asked, lists): (&Dependencies, &str),
        made: LayerOutcome,
    ) -> Result<()> {
        let dir = self.of(slot.number(), chroot);
        let new = dir.join(NEW);
        let names = match made {
            LayerOutcome::Made => {
                remove_tree(&new.join("room/work")).await?;
                Some(added(&new.join("room"), chroot)?)
            }
            LayerOutcome::Impossible => {
                remove_tree(&new.join("room")).await?;
                None
            }
        };
        let about = About { asked: asked.clone(), lists: lists.to_owned(), names };
        fs::write(new.join("about"), serde_json::to_vec(&about)?)?;
        nix::unistd::syncfs(File::open(&new)?)?;
        let path = dir.join(asked.key());
        discard(&path).await?;
        fs::rename(&new, &path)?;
        Ok(File::open(&dir)?.sync_all()?)
    }

    /// Tells whether a slot has layers of other chroots, or of other sets, than these.
    pub fn has_others(&self, slot: u32, keep: &[(&Manifest, Vec<String>)]) -> bool {
        !self.others(slot, keep).is_empty()
    }

    /// Removes the layers of a slot that are of other chroots, or of other sets, than these.
    pub async fn prune(&self, slot: &Slot, keep: &[(&Manifest, Vec<String>)]) -> Result<()> {
        for path in self.others(slot.number(), keep) {
            discard(&path).await?;
        }
        Ok(())
    }

    fn others(&self, slot: u32, keep: &[(&Manifest, Vec<String>)]) -> Vec<PathBuf> {
        let mut others = Vec::new();
        for path in entries(&self.dir.join(slot.to_string())) {
            let digest = path.file_name().unwrap_or_default();
            match keep.iter().find(|(chroot, _)| chroot.digest.short() == digest) {
                None => others.push(path),
                Some((_, keys)) => others.extend(entries(&path).into_iter().filter(|layer| {
                    !keys.iter().any(|key| layer.file_name() == Some(key.as_ref()))
                })),
            }
        }
        others
    }

    /// Lists the slots that have any layers.
    pub fn slots(&self) -> Vec<u32> {
        slot::numbers_in(&self.dir)
    }
}

/// Tells whether files in memory can have the extended attributes that a layer needs (tmpfs(5):
/// from Linux 6.6 on, where it is built so).
fn memory_has_attributes() -> bool {
    // Where vm.memfd_noexec is 2, no other file can be made (memfd_create(2)).
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::from_bits_retain(nix::libc::MFD_NOEXEC_SEAL);
    memfd_create("probe", flags)
        .is_ok_and(|file| File::from(file).set_xattr("user.probe", b"1").is_ok())
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn about(layer: &Path) -> Option<About> {
    serde_json::from_slice(&fs::read(layer.join("about")).ok()?).ok()
}

fn forget(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes a layer. It is no layer any more from the beginning of that on.
async fn discard(layer: &Path) -> Result<()> {
    let Some(dir) = layer.parent().filter(|_| layer.exists()) else { return Ok(()) };
    let gone = dir.join(GONE);
    if layer != gone {
        remove_tree(&gone).await?;
        fs::rename(layer, &gone)?;
        File::open(dir)?.sync_all()?;
    }
    remove_tree(&gone).await
}

/// Lists the names of the packages that a layer has and its chroot has not, in this version; the
/// names that they provide; and those of the alternatives that their dependencies name. With a
/// package of such a name at hand, apt might have installed another.
fn added(room: &Path, chroot: &Manifest) -> Result<HashSet<String>> {
    let mut names = HashSet::new();
    let Some(file) = open_beneath(room, "upper/var/lib/dpkg/status")? else { return Ok(names) };
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    ensure!((bytes.len() as u64) < LONGEST, "dpkg's status is too long");
    let status: Deb822 =
        String::from_utf8_lossy(&bytes).parse().context("dpkg's status does not parse")?;
    for package in status.iter() {
        let field = |name| package.get(name).unwrap_or_default();
        let (name, version, architecture) =
            (field("Package"), field("Version"), field("Architecture"));
        let was_there = chroot.packages.iter().any(|old| {
            old.name == name && old.version == version && old.architecture == architecture
        });
        if !was_there {
            names.insert(name.to_owned());
            names.extend(provided(field("Provides")));
            let relations = [field("Pre-Depends"), field("Depends")]
                .into_iter()
                .flat_map(|field| field.split(','));
            names.extend(
                relations
                    .filter(|one| one.contains('|'))
                    .flat_map(|one| one.split('|').flat_map(provided)),
            );
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use crate::layers::*;

    fn chroot() -> Manifest {
        let text = r#"{ "distro": "sid", "architecture": "amd64", "created": 0, "sources": [], "digest": "@",
            "packages": [{ "name": "old", "version": "1", "architecture": "all" }, { "name": "newer", "version": "1", "architecture": "all" }] }"#;
        serde_json::from_str(&text.replace('@', &"a".repeat(64))).unwrap()
    }

    #[test]
    fn what_was_asked_for_last_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let layers =
            Layers { dir: dir.path().join("layers"), wanted: dir.path().join("wanted"), most: 2 };
        let asked = |needs: &str| Dependencies::for_tests(needs);
        let want = |needs: &str, age: u64| {
            layers.want(&chroot(), &asked(needs)).unwrap();
            let file = File::options()
                .write(true)
                .open(layers.asked(&chroot()).join(asked(needs).key()))
                .unwrap();
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(age)).unwrap();
        };
        assert_eq!(layers.wanted(&chroot()).unwrap(), []);
        want("a", 3);
        want("b", 2);
        want("c", 1);
        want("a", 0);
        assert_eq!(layers.wanted(&chroot()).unwrap(), [asked("a"), asked("c")]);
        assert_eq!(
            fs::read_dir(layers.asked(&chroot())).unwrap().count(),
            2,
            "the others are forgotten"
        );
    }

    #[tokio::test]
    async fn a_layer_is_for_its_lists_and_against_others() {
        let dir = tempfile::tempdir().unwrap();
        let layers =
            Layers { dir: dir.path().join("layers"), wanted: dir.path().join("wanted"), most: 2 };
        let slot = Slot::for_tests(dir.path());
        let (chroot, asked) = (chroot(), Dependencies::for_tests("x"));
        let find = |lists: &str, other: &str| {
            layers.find(&slot, &chroot, (&asked, lists), &HashSet::from([other.to_owned()]))
        };
        assert!(layers.lacks(0, &chroot, &asked.key(), "1") && find("1", "").is_none());
        let room = layers.begin(&slot, &chroot).await.unwrap();
        fs::create_dir_all(room.join("work")).unwrap();
        fs::create_dir_all(room.join("upper/var/lib/dpkg")).unwrap();
        let status = "Package: old\nVersion: 1\nArchitecture: all\n\nPackage: newer\nVersion: 2\nArchitecture: all\n\n\
                      Package: x\nVersion: 1\nArchitecture: all\nProvides: x-compat (= 1),\n y:any\n\
                      Depends: u, c (>= 2) | b\n";
        fs::write(room.join("upper/var/lib/dpkg/status"), status).unwrap();
        layers.finish(&slot, &chroot, (&asked, "1"), LayerOutcome::Made).await.unwrap();
        assert!(!layers.lacks(0, &chroot, &asked.key(), "1"));
        assert!(layers.lacks(0, &chroot, &asked.key(), "2"), "the mirrors have other packages now");
        assert!(layers.lacks(1, &chroot, &asked.key(), "1"), "another slot has its own");
        let upper = find("1", "old").unwrap();
        assert!(upper.join("var").is_dir() && !upper.with_file_name("work").exists());
        assert!(find("2", "old").is_none());
        assert!(find("1", "u").is_some(), "it would be among them");
        for name in ["newer", "x", "x-compat", "y", "c", "b"] {
            assert!(find("1", name).is_none(), "{name} may have to come from another suite");
        }
        // What maintainer scripts have left is not followed.
        let room = layers.begin(&slot, &chroot).await.unwrap();
        fs::create_dir_all(room.join("upper/var/lib")).unwrap();
        std::os::unix::fs::symlink(dir.path(), room.join("upper/var/lib/dpkg")).unwrap();
        fs::write(dir.path().join("status"), "").unwrap();
        layers.finish(&slot, &chroot, (&asked, "2"), LayerOutcome::Made).await.unwrap_err();
        layers.begin(&slot, &chroot).await.unwrap();
        layers.finish(&slot, &chroot, (&asked, "2"), LayerOutcome::Impossible).await.unwrap();
        assert!(!layers.lacks(0, &chroot, &asked.key(), "2"), "it cannot be made");
        assert!(find("2", "old").is_none());
        assert!(!layers.has_others(0, &[(&chroot, vec![asked.key()])]));
        assert!(layers.has_others(0, &[(&chroot, Vec::new())]) && layers.has_others(0, &[]));
        layers.prune(&slot, &[]).await.unwrap();
        assert!(!layers.has_others(0, &[]));
    }
}
