//! The log of a build that runs on several nodes: those for other architectures than the first wait
//! until the log has that one's, whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// One architecture's part of a build log.
#[derive(Debug)]
pub struct ClusterLog {
    log: PathBuf,
    spool: PathBuf,
    most: u64,
    /// Whether it is this part's turn, and the file that is written.
    open: Mutex<(LogTurn, Option<File>)>,
}

/// Where a part is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogTurn {
    /// In the log itself.
    Mine,
    /// Beside it, until it is its turn.
    Waiting,
}

impl ClusterLog {
    /// Begins a part of a log that may have `most` bytes. `spool` is a file for what has to wait.
    pub fn new(log: &Path, spool: PathBuf, most: u64, turn: LogTurn) -> Self {
        Self { log: log.to_owned(), spool, most, open: Mutex::new((turn, None)) }
    }

    /// Appends to it. Returns whether all of it had room.
    pub fn append(&self, bytes: &[u8]) -> io::Result<bool> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let path = if open.0 == LogTurn::Mine { &self.log } else { &self.spool };
        if open.1.is_none() {
            open.1 = Some(File::options().append(true).create(true).open(path)?);
        }
        let Some(file) = &mut open.1 else { return Ok(false) };
        let room = self.most.saturating_sub(file.metadata()?.len());
        let fits = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        file.write_all(&bytes[..fits])?;
        Ok(fits == bytes.len())
    }

    /// Appends a line of ours.
    pub fn say(&self, line: &str) -> io::Result<()> {
        self.append(format!("{line}\n").as_bytes()).map(drop)
    }

    /// Brings what has waited into the log. From here on it is written there.
    pub fn take_turn(&self) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.0 == LogTurn::Mine {
            return Ok(());
        }
        *open = (LogTurn::Mine, None);
        let mut from = match File::open(&self.spool) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            from => from?,
        };
        let mut log = File::options().append(true).create(true).open(&self.log)?;
        io::copy(&mut from, &mut log)?;
        fs::remove_file(&self.spool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_one_after_the_other_and_have_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let (log, spool) = (dir.path().join("log"), dir.path().join("spool"));
        let first = ClusterLog::new(&log, dir.path().join("none"), 12, LogTurn::Mine);
        let second = ClusterLog::new(&log, spool.clone(), 12, LogTurn::Waiting);
        assert!(second.append(b"zwei").unwrap() && first.append(b"eins").unwrap());
        assert_eq!(fs::read(&log).unwrap(), b"eins");
        second.take_turn().unwrap();
        second.say("!").unwrap();
        assert_eq!(fs::read(&log).unwrap(), b"einszwei!\n");
        assert!(!spool.exists());
        assert!(!second.append(b"abc").unwrap(), "the log is full");
        assert_eq!(fs::read(&log).unwrap(), b"einszwei!\nab");
    }
}
