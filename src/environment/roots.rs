//! Keeps chroots unpacked, so that a build need not wait for it: each slot has its own, as files
//! belong to ids and no two running builds share those.
//!
//! Builds cannot write them: they see one read-only below a layer of their own that dies with them.
//! The sandbox that builds run in makes a root, with apt's lists in it, when nobody waits. A build
//! that finds none unpacks one for itself.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use nix::sys::statvfs::statvfs;
use sha2::{Digest, Sha256};

use invirtibuilder_core::manifest::Manifest;
use invirtibuilder_core::names::ChrootDigest;
use invirtibuilder_system::beneath::open_beneath;
use invirtibuilder_system::files::digest_of;
use invirtibuilder_system::remove::remove_tree;
use invirtibuilder_system::slot::{self, Slot};

/// The age of apt's lists at which we fetch them again. Debian's change four times a day.
const FRESH: Duration = Duration::from_secs(3600);

/// The age of apt's lists up to which a build relies on them: mirrors keep for longer what they
/// name.
const STALE: Duration = Duration::from_secs(6 * 3600);

/// The room on the disk that unpacked chroots leave to others, in bytes.
const SPARE: u64 = 5 << 30;

/// The directory of unpacked chroots.
#[derive(Debug, Clone)]
pub struct Roots {
    dir: PathBuf,
}

/// A chroot that is unpacked.
#[derive(Debug, Clone)]
pub struct UnpackedChroot {
    /// The directory that the chroot is unpacked in.
    pub path: PathBuf,
    /// The digest of the lists in it, if a build can rely on them.
    pub lists: Option<String>,
}

/// The need of a root, before a build can rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It needs nothing.
    Nothing,
    /// Somebody has to make it.
    Root,
    /// It needs younger lists.
    Lists,
}

impl Roots {
    /// Opens the directory `dir` of unpacked chroots.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn of(&self, slot: u32) -> PathBuf {
        self.dir.join(slot.to_string())
    }

    fn path(&self, slot: u32, digest: &ChrootDigest) -> PathBuf {
        self.of(slot).join(digest.short())
    }

    /// Finds where a chroot is unpacked for a slot, if it is. Nobody writes it while the slot is
    /// held.
    pub fn find(&self, slot: &Slot, chroot: &Manifest) -> Option<UnpackedChroot> {
        self.look(slot.number(), chroot)
    }

    /// Does what [`Roots::find`] does, for a slot that need not be held.
    pub fn look(&self, slot: u32, chroot: &Manifest) -> Option<UnpackedChroot> {
        let path = self.path(slot, &chroot.digest);
        let lists = age(&path)
            .filter(|age| *age < STALE)
            .and_then(|_| fs::read_to_string(stamp(&path)).ok());
        path.is_dir().then_some(UnpackedChroot { path, lists })
    }

    /// Finds what a chroot needs to be ready in a slot. The slot need not be held.
    pub fn need(&self, slot: u32, chroot: &Manifest) -> Need {
        let path = self.path(slot, &chroot.digest);
        match age(&path) {
            _ if !path.is_dir() => Need::Root,
            Some(age) if age < FRESH => Need::Nothing,
            _ => Need::Lists,
        }
    }

    /// Tells whether the disk has room for `bytes`, and for what else needs some.
    pub fn has_room(&self, bytes: u64) -> Result<bool> {
        fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot create {}", self.dir.display()))?;
        let disk = statvfs(&self.dir)?;
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        Ok(free > bytes + SPARE)
    }

    /// Creates an empty directory in which the root of a slot can be made.
    pub async fn begin(&self, slot: &Slot) -> Result<PathBuf> {
        let new = self.of(slot.number()).join("new");
        remove_tree(&new).await?;
        fs::create_dir_all(&new).with_context(|| format!("cannot create {}", new.display()))?;
        Ok(new)
    }

    /// Keeps the root that was made at [`Roots::begin`], whole: also after a power cut it is what
    /// it was, or is not there.
    pub fn finish(&self, slot: &Slot, chroot: &Manifest) -> Result<()> {
        let dir = self.of(slot.number());
        nix::unistd::syncfs(File::open(dir.join("new"))?)?;
        fs::rename(dir.join("new"), self.path(slot.number(), &chroot.digest))?;
        Ok(File::open(&dir)?.sync_all()?)
    }

    /// Writes down that the lists of a root are young.
    pub fn updated(&self, slot: &Slot, chroot: &Manifest) -> Result<()> {
        let path = self.path(slot.number(), &chroot.digest);
        Ok(fs::write(stamp(&path), lists(&path)?)?)
    }

    /// Has no build rely on the lists that the slots have of a chroot, until there are younger
    /// ones.
    pub fn distrust(&self, chroot: &Manifest) -> Result<()> {
        for slot in self.slots() {
            match fs::remove_file(stamp(&self.path(slot, &chroot.digest))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Tells whether a slot has any root of other chroots than these.
    pub fn has_others(&self, slot: u32, keep: &[&ChrootDigest]) -> bool {
        self.others(slot, keep).next().is_some()
    }

    /// Removes the roots that a slot has of other chroots than these.
    pub async fn prune(&self, slot: &Slot, keep: &[&ChrootDigest]) -> Result<()> {
        for path in self.others(slot.number(), keep) {
            if path.is_dir() {
                remove_tree(&path).await?;
            } else {
                fs::remove_file(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    fn others(&self, slot: u32, keep: &[&ChrootDigest]) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(self.of(slot)).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| {
            let digest = path.file_stem().unwrap_or_default();
            !keep.iter().any(|kept| kept.short() == digest)
        })
    }

    /// Lists the slots that have any roots.
    pub fn slots(&self) -> Vec<u32> {
        slot::numbers_in(&self.dir)
    }
}

/// Returns the age of the lists, if there are any. It does not believe those from a time to come.
fn age(root: &Path) -> Option<Duration> {
    let updated = fs::metadata(stamp(root)).and_then(|it| it.modified()).ok()?;
    SystemTime::now().duration_since(updated).ok()
}

/// Computes a digest of what apt's lists in a root say of packages, and of nothing that changes
/// when no package does.
fn lists(root: &Path) -> Result<String> {
    const LISTS: &str = "var/lib/apt/lists";
    let dir = root.join(LISTS);
    let entries = fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let names = entries
        .map(|entry| Ok(entry?.file_name().into_string().ok()))
        .collect::<io::Result<Vec<_>>>()?;
    let mut names: Vec<_> =
        names.into_iter().flatten().filter(|name| name.contains("_Packages")).collect();
    names.sort();
    let mut hash = Sha256::new();
    for name in names {
        let file = open_beneath(root, &format!("{LISTS}/{name}"))?
            .with_context(|| format!("{name} is gone"))?;
        hash.update(&name);
        hash.update(digest_of(file)?.1);
    }
    Ok(invirtibuilder_core::text::hex(&hash.finalize()))
}

/// Returns the path of the file that names the lists, and whose age is theirs.
fn stamp(root: &Path) -> PathBuf {
    root.with_extension("updated")
}

#[cfg(test)]
mod tests {
    use crate::roots::*;

    #[test]
    fn what_a_slot_needs() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots::new(dir.path().join("roots"));
        let chroot = |digit: &str| -> Manifest {
            let digest = digit.repeat(64);
            let text = r#"{ "distro": "sid", "architecture": "amd64", "created": 0, "sources": [], "digest": "#;
            serde_json::from_str(&format!("{text}\"{digest}\" }}")).unwrap()
        };
        let (old, new) = (chroot("a"), chroot("b"));
        assert_eq!(roots.need(0, &old), Need::Root);
        let path = roots.path(0, &old.digest);
        fs::create_dir_all(&path).unwrap();
        assert_eq!(roots.need(0, &old), Need::Lists, "it was killed before it had them");
        let made = |age: u64| {
            let file = File::create(stamp(&path)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
            (roots.need(0, &old), crate::roots::age(&path).unwrap() < STALE)
        };
        assert_eq!(made(10), (Need::Nothing, true));
        assert_eq!(made(2 * 3600), (Need::Lists, true));
        assert_eq!(made(7 * 3600), (Need::Lists, false));
        assert_eq!(made(10), (Need::Nothing, true));
        roots.distrust(&old).unwrap();
        roots.distrust(&new).unwrap();
        assert!(roots.need(0, &old) == Need::Lists && age(&path).is_none());
        assert_eq!(roots.need(1, &old), Need::Root, "another slot has its own");
        assert_eq!(roots.slots(), [0]);
        assert!(!roots.has_others(0, &[&old.digest]));
        assert!(roots.has_others(0, &[&new.digest]), "it was replaced");
        fs::create_dir(dir.path().join("roots/0/new")).unwrap();
        assert!(roots.has_others(0, &[&old.digest]), "one was begun and never finished");
    }
}
