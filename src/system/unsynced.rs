//! Brings what somebody writes to the disk while they go on writing, all of it before they may say
//! that it is there.
//!
//! To wait for the disk once a file takes most of the time of a publication. So threads of their own
//! wait: for each file from when it is written, for each directory once, at the end.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::files;

/// The most threads that wait for the disk.
const THREADS: usize = 8;

/// The number of files that may be open for them: beyond it the writer waits.
const AHEAD: usize = 64;

/// Files and directories that are written, and that the disk may not have yet. Nothing may name them
/// before [`Unsynced::sync`] has returned.
#[derive(Default)]
pub struct Unsynced(Mutex<WaitingSyncs>);

#[derive(Default)]
struct WaitingSyncs {
    dirs: BTreeSet<PathBuf>,
    threads: Option<Threads>,
}

struct Threads {
    queue: SyncSender<Waited>,
    taken: Arc<Mutex<Receiver<Waited>>>,
    all: Vec<JoinHandle<Result<()>>>,
}

/// A file, or a directory that is not open yet.
type Waited = (PathBuf, Option<File>);

impl Unsynced {
    /// Takes a file that is written.
    pub fn add_file(&self, path: &Path, file: File) -> Result<()> {
        self.hand_over((path.to_owned(), Some(file)))
    }

    /// Writes a new file, and gives it this time of modification.
    pub fn write_new(&self, path: &Path, content: &[u8], time: Option<SystemTime>) -> Result<()> {
        let mut file = files::create_new(path)?;
        file.write_all(content)?;
        if let Some(time) = time {
            file.set_modified(time)?;
        }
        self.add_file(path, file)
    }

    /// Takes a directory that gets entries.
    pub fn add_dir(&self, dir: &Path) {
        self.waiting().dirs.insert(dir.to_owned());
    }

    /// Takes a directory and all below it.
    pub fn add_tree(&self, dir: &Path) -> Result<()> {
        self.add_dir(dir);
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.add_tree(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Makes a directory, which gets entries, and those above it.
    pub fn make_dirs(&self, dir: &Path) -> Result<()> {
        if !self.waiting().dirs.insert(dir.to_owned()) || dir.is_dir() {
            return Ok(());
        }
        self.make_dirs(dir.parent().context("a directory has a parent")?)?;
        match fs::create_dir(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("cannot create {}", dir.display()))
            }
            _ => Ok(()),
        }
    }

    /// Waits until the disk has all of it.
    pub fn sync(self) -> Result<()> {
        let dirs = std::mem::take(&mut self.waiting().dirs);
        let handed = dirs.into_iter().try_for_each(|dir| self.hand_over((dir, None)));
        let threads = self.waiting().threads.take();
        threads.map_or(Ok(()), Threads::end).and(handed)
    }

    fn hand_over(&self, waited: Waited) -> Result<()> {
        let queue = {
            let mut waiting = self.waiting();
            let threads = waiting.threads.get_or_insert_with(Threads::none);
            // Without a thread more, those that there are have more to do.
            if threads.all.len() < THREADS && threads.start().is_err() && threads.all.is_empty() {
                return wait(waited);
            }
            threads.queue.clone()
        };
        queue.send(waited).ok().context("nobody waits for the disk any more")
    }

    fn waiting(&self) -> MutexGuard<'_, WaitingSyncs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Unsynced {
    fn drop(&mut self) {
        // What they wait for is of no use to anybody now.
        if let Some(threads) = self.waiting().threads.take() {
            let _ = threads.end();
        }
    }
}

impl Threads {
    fn none() -> Self {
        let (queue, taken) = sync_channel(AHEAD);
        Self { queue, taken: Arc::new(Mutex::new(taken)), all: Vec::new() }
    }

    fn start(&mut self) -> std::io::Result<()> {
        let taken = self.taken.clone();
        let all_of_it = move || {
            let mut done = Ok(());
            loop {
                let next = taken.lock().unwrap_or_else(PoisonError::into_inner).recv();
                match next {
                    // Those that come after a failure are waited for too: the writer goes on.
                    Ok(waited) => done = done.and(wait(waited)),
                    Err(_) => return done,
                }
            }
        };
        self.all.push(thread::Builder::new().name("sync".to_owned()).spawn(all_of_it)?);
        Ok(())
    }

    fn end(self) -> Result<()> {
        drop(self.queue);
        let mut done = Ok(());
        for thread in self.all {
            done = done.and(thread.join().unwrap_or_else(|it| std::panic::resume_unwind(it)));
        }
        done
    }
}

fn wait((path, file): Waited) -> Result<()> {
    let file = file.map_or_else(|| File::open(&path), Ok);
    file.and_then(|file| file.sync_all()).with_context(|| format!("cannot sync {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_is_waited_for_and_each_directory_once() {
        let dir = tempfile::tempdir().unwrap();
        let unsynced = Unsynced::default();
        let below = dir.path().join("a/b");
        unsynced.make_dirs(&below).unwrap();
        unsynced.make_dirs(&below).unwrap();
        // More than may be open at a time.
        for n in 0..3 * AHEAD {
            unsynced.write_new(&below.join(n.to_string()), b"x", None).unwrap();
        }
        let wanted: Vec<PathBuf> =
            [dir.path().to_owned(), dir.path().join("a"), below.clone()].into();
        assert_eq!(unsynced.waiting().dirs.iter().cloned().collect::<Vec<_>>(), wanted);
        unsynced.sync().unwrap();
        assert_eq!(fs::read_dir(&below).unwrap().count(), 3 * AHEAD);
        let tree = Unsynced::default();
        tree.add_tree(dir.path()).unwrap();
        assert_eq!(tree.waiting().dirs.iter().cloned().collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn what_cannot_be_synced_is_named_and_keeps_no_other_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        let unsynced = Unsynced::default();
        unsynced.add_dir(&gone);
        // A pipe cannot be synced: it is on no disk.
        let (_, pipe) = nix::unistd::pipe().unwrap();
        unsynced.add_file(Path::new("pipe"), File::from(pipe)).unwrap();
        for n in 0..2 * AHEAD {
            unsynced.write_new(&dir.path().join(n.to_string()), b"x", None).unwrap();
        }
        let error = format!("{:#}", unsynced.sync().unwrap_err());
        assert!(error.starts_with("cannot sync pipe: ") || error.contains("/gone: "), "{error}");
    }

    #[test]
    fn a_time_that_is_given_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (path, time) = (dir.path().join("x"), SystemTime::UNIX_EPOCH);
        let unsynced = Unsynced::default();
        unsynced.write_new(&path, b"x", Some(time)).unwrap();
        unsynced.sync().unwrap();
        assert_eq!(fs::metadata(path).unwrap().modified().unwrap(), time);
    }
}
