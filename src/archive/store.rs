//! Puts what was admitted where the archive has it, durably, and removes what was on its way there.
//!
//! Most of the time goes into waiting for the disk, so several files are written at once.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::unistd::syncfs;
use rayon::prelude::*;
use rusqlite::Connection;

use super::admit::Admitted;
use super::beside::Text;
use super::files;
use crate::error::Failure;
use crate::failpoint::{Point, reach};
use crate::record::beside::{Beside, What};
use crate::record::pool::{self, PoolFile};

/// How many files are written at once.
const AT_ONCE: usize = 8;

/// Something that is to be in the archive.
enum New<'a> {
    /// A file of the pool, and where it is now.
    File(&'a PoolFile, &'a Path),
    /// A text.
    Text(&'a Text),
    /// A link, and where it points.
    Link(&'a str, &'a str),
}

/// Puts everything into the pool and beside it, durably. The caller has written down that it is about to ([`pool::intend`]).
pub fn store(root: &Path, admitted: &Admitted) -> Result<(), Failure> {
    let files = admitted.content.files.iter().zip(&admitted.built);
    let mut all: Vec<New> = files.map(|(file, from)| New::File(file, from)).collect();
    all.extend(beside(&admitted.content.beside, &admitted.texts));
    write(root, &all)?;
    Ok(reach(Point::PoolFilled)?)
}

/// Writes what is beside the pool, durably. The caller has written down that it is about to.
pub fn store_beside(root: &Path, links: &[Beside], texts: &[Text]) -> Result<(), Failure> {
    write(root, &beside(links, texts).collect::<Vec<_>>())
}

/// The same of many versions: the file system is made durable once, at the end.
pub fn store_all_beside<'a>(root: &Path, all: impl Iterator<Item = (&'a [Beside], &'a [Text])>) -> Result<(), Failure> {
    for new in all.flat_map(|(links, texts)| beside(links, texts)) {
        let target = root.join(new.path());
        fs::create_dir_all(target.parent().context("a file has a directory")?)?;
        if let Some(unfinished) = new.write(&target)? {
            fs::rename(unfinished, target)?;
        }
    }
    Ok(syncfs(fs::File::open(root)?).context("cannot sync the archive")?)
}

fn beside<'a>(links: &'a [Beside], texts: &'a [Text]) -> impl Iterator<Item = New<'a>> {
    let links = links.iter().filter_map(|one| match &one.what {
        What::Link(to) => Some(New::Link(&one.path, to)),
        What::File { .. } => None,
    });
    texts.iter().map(New::Text).chain(links)
}

/// Writes all of it, and makes every directory durable that has a new entry.
fn write(root: &Path, all: &[New]) -> Result<(), Failure> {
    let mut dirs = BTreeSet::new();
    for new in all {
        let target = root.join(new.path());
        make_dirs(target.parent().context("a file has a directory")?, &mut dirs)?;
    }
    let threads = rayon::ThreadPoolBuilder::new().num_threads(AT_ONCE).build().map_err(anyhow::Error::from)?;
    threads.install(|| {
        all.par_iter().try_for_each(|new| put(new, &root.join(new.path())))?;
        Ok(dirs.par_iter().try_for_each(|dir| files::sync_dir(dir))?)
    })
}

/// Makes a directory and those above it; adds all that have a new entry, or are to have one, to `dirs`.
fn make_dirs(dir: &Path, dirs: &mut BTreeSet<PathBuf>) -> Result<(), Failure> {
    if !dirs.insert(dir.to_owned()) || dir.is_dir() {
        return Ok(());
    }
    make_dirs(dir.parent().context("a directory has a parent")?, dirs)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot create {}", dir.display()))?
        }
        _ => Ok(()),
    }
}

fn put(new: &New, target: &Path) -> Result<(), Failure> {
    let Some(unfinished) = new.write(target)? else { return Ok(()) };
    if matches!(new, New::Link(..)) {
        return Ok(fs::rename(unfinished, target)?);
    }
    fs::File::open(&unfinished)?.sync_all()?;
    reach(Point::PoolFileWritten)?;
    fs::rename(unfinished, target)?;
    Ok(reach(Point::PoolFileNamed)?)
}

impl New<'_> {
    fn path(&self) -> &str {
        match self {
            New::File(file, _) => &file.path,
            New::Text(text) => &text.path,
            New::Link(path, _) => path,
        }
    }

    /// Writes it under another name, unless it is there.
    fn write(&self, target: &Path) -> Result<Option<PathBuf>, Failure> {
        let new = files::unfinished(target)?;
        match self {
            New::File(file, from) => {
                // A file that a version has may be there; one that none has may be anything.
                if target.exists() && files::digest(target)? == (file.size, file.sha256.clone()) {
                    return Ok(None);
                }
                fs::copy(from, &new).with_context(|| format!("cannot write {}", new.display()))?;
                fs::set_permissions(&new, fs::Permissions::from_mode(0o644))?;
            }
            New::Text(text) => {
                fs::write(&new, &text.bytes).with_context(|| format!("cannot write {}", new.display()))?;
                fs::set_permissions(&new, fs::Permissions::from_mode(0o644))?;
            }
            New::Link(_, to) => {
                if fs::read_link(target).is_ok_and(|there| there == Path::new(to)) {
                    return Ok(None);
                }
                let _ = fs::remove_file(&new);
                symlink(to, &new).with_context(|| format!("cannot write {}", new.display()))?;
            }
        }
        Ok(Some(new))
    }
}

/// Removes what was on its way into the pool, or out of it, and what no version has now.
pub fn sweep(root: &Path, db: &Connection) -> Result<(), Failure> {
    let mut dirs = BTreeSet::new();
    for (path, wanted) in pool::intents(db)? {
        reach(Point::SweepPool)?;
        let target = root.join(&path);
        let new = files::unfinished(&target)?;
        let dir = target.parent().context("a file has a directory")?.to_owned();
        for gone in [Some(new), (!wanted).then(|| target.clone())].into_iter().flatten() {
            match fs::remove_file(&gone) {
                Ok(()) => drop(dirs.insert(dir.clone())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => Err(error).with_context(|| format!("cannot remove {}", gone.display()))?,
            }
        }
    }
    for dir in dirs {
        files::sync_dir(&dir)?;
        // Only an empty one goes.
        let _ = fs::remove_dir(&dir);
    }
    Ok(())
}
