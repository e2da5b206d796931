//! Puts what was admitted where the archive has it, and removes what was on its way there.
//!
//! The caller gets what is written as [`Unsynced`]: the disk has it before the record names it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::unistd::syncfs;
use rayon::prelude::*;
use rusqlite::Connection;

use crate::admit::Admitted;
use crate::beside::Text;
use invirtibuilder_api::archive::PoolFile;
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::failpoint::{Point, reach};
use invirtibuilder_core::names::DomainName;
use invirtibuilder_store::beside::{Beside, FileOrLink};
use invirtibuilder_store::contents::Content;
use invirtibuilder_store::pool::{self, Intent};
use invirtibuilder_system::files;
use invirtibuilder_system::unsynced::Unsynced;

/// Something that the archive gets.
enum New<'a> {
    /// A file of the pool, and the path where it is now.
    File(&'a PoolFile, &'a Path),
    /// The same, of which nobody has looked yet whether it is what it should be.
    Unseen(PoolFile, PathBuf),
    /// A text.
    Text(&'a Text),
    /// A link, and the path that it points to.
    Link(&'a str, &'a str),
}

/// Puts everything into the pool and beside it. The caller has written down that it is about to
/// ([`pool::intend`]).
pub fn store(root: &Path, admitted: &Admitted, unsynced: &Unsynced) -> Result<(), Failure> {
    let files = admitted.content.files.iter().zip(&admitted.built);
    let mut all: Vec<New> = files.map(|(file, from)| New::File(file, from)).collect();
    all.extend(beside(&admitted.content.beside, &admitted.texts));
    write(root, &all, unsynced)?;
    Ok(reach(Point::PoolFilled)?)
}

/// Copies what the archive at `from` has of a version. The caller has written down that it is about
/// to.
pub fn transfer(
    from: &Path,
    root: &Path,
    content: &Content,
    unsynced: &Unsynced,
) -> Result<(), Failure> {
    let unseen = |file: PoolFile| {
        let path = from.join(&file.path);
        New::Unseen(file, path)
    };
    let mut all: Vec<New> = content.files.iter().cloned().map(unseen).collect();
    for Beside { path, what } in &content.beside {
        all.push(match what {
            FileOrLink::Link(to) => New::Link(path, to),
            FileOrLink::File { size, sha256 } => {
                let (path, size, sha256) = (path.clone(), *size, sha256.clone());
                unseen(PoolFile { path, size, sha256 })
            }
        });
    }
    write(root, &all, unsynced)?;
    Ok(reach(Point::PoolFilled)?)
}

/// Writes what is beside the pool. The caller has written down that it is about to.
pub fn store_beside(
    root: &Path,
    links: &[Beside],
    texts: &[Text],
    unsynced: &Unsynced,
) -> Result<(), Failure> {
    write(root, &beside(links, texts).collect::<Vec<_>>(), unsynced)
}

/// Does what [`store_beside`] does, for many versions: it makes the file system durable once, at
/// the end.
pub fn store_all_beside<'a>(
    root: &Path,
    all: impl Iterator<Item = (&'a [Beside], &'a [Text])>,
) -> Result<(), Failure> {
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
        FileOrLink::Link(to) => Some(New::Link(&one.path, to)),
        FileOrLink::File { .. } => None,
    });
    texts.iter().map(New::Text).chain(links)
}

fn write(root: &Path, all: &[New], unsynced: &Unsynced) -> Result<(), Failure> {
    for new in all {
        let target = root.join(new.path());
        unsynced.make_dirs(target.parent().context("a file has a directory")?)?;
    }
    all.par_iter().try_for_each(|new| put(new, &root.join(new.path()), unsynced))
}

fn put(new: &New, target: &Path, unsynced: &Unsynced) -> Result<(), Failure> {
    let unfinished = new.write(target)?;
    if matches!(new, New::Link(..)) {
        return Ok(unfinished.map_or(Ok(()), |unfinished| fs::rename(unfinished, target))?);
    }
    // One that is there already may be of somebody who died before the disk had it.
    let file = fs::File::open(unfinished.as_deref().unwrap_or(target))?;
    if let Some(unfinished) = unfinished {
        reach(Point::PoolFileWritten)?;
        fs::rename(unfinished, target)?;
        reach(Point::PoolFileNamed)?;
    }
    Ok(unsynced.add_file(target, file)?)
}

impl New<'_> {
    fn path(&self) -> &str {
        match self {
            New::File(file, _) => &file.path,
            New::Unseen(file, _) => &file.path,
            New::Text(text) => &text.path,
            New::Link(path, _) => path,
        }
    }

    /// Writes it under another name, and returns that; `None`: it is there already.
    fn write(&self, target: &Path) -> Result<Option<PathBuf>, Failure> {
        let new = files::unfinished(target)?;
        match self {
            New::File(file, from) => {
                // A file that a version has may be there; one that none has may be anything.
                if target.exists() && files::digest(target)? == (file.size, file.sha256.clone()) {
                    return Ok(None);
                }
                copy(from, &new)?;
            }
            New::Unseen(file, from) => {
                if target.exists() && files::digest(target)? == (file.size, file.sha256.clone()) {
                    return Ok(None);
                }
                copy(from, &new)?;
                if files::digest(&new)? != (file.size, file.sha256.clone()) {
                    let text = format!(
                        "{} is not what was published: restore it from a backup",
                        from.display()
                    );
                    return Err(Failure::new(FailureKind::Conflict, text));
                }
            }
            New::Text(text) => {
                fs::write(&new, &text.bytes)
                    .with_context(|| format!("cannot write {}", new.display()))?;
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

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(0o644))?)
}

/// Removes what was on its way into the pool of a domain, or out of it, and what no version has
/// now.
pub fn sweep(root: &Path, domain: &DomainName, db: &Connection) -> Result<(), Failure> {
    let mut dirs = BTreeSet::new();
    for Intent { path, wanted, .. } in
        pool::intents(db)?.into_iter().filter(|it| it.domain == *domain)
    {
        reach(Point::SweepPool)?;
        let target = root.join(&path);
        let new = files::unfinished(&target)?;
        let dir = target.parent().context("a file has a directory")?.to_owned();
        for gone in [Some(new), (!wanted).then(|| target.clone())].into_iter().flatten() {
            match fs::remove_file(&gone) {
                Ok(()) => drop(dirs.insert(dir.clone())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    Err(error).with_context(|| format!("cannot remove {}", gone.display()))?;
                }
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
