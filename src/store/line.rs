//! Decides who changes the record next: writers stand in line, in the order in which they came.
//!
//! SQLite lets in one writer at a time, but a writer that waits for it sleeps and tries. With many
//! there is always one that tries at the right moment and one that never does. So a writer draws a
//! number first, from a file beside the database, and holds a lock on the byte of that number. It
//! sleeps until at most one holds a lower one, and is awake when that one leaves: on a busy machine
//! waking up takes as long as a change does. The kernel lets go of a dead process's byte, so nobody
//! waits for the dead. The line is for fairness alone: if its file cannot be used, SQLite still
//! lets in one at a time.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};

/// The byte that a writer locks while it draws a number. Numbers begin behind it.
const DOOR: i64 = 0;

/// The time between two looks of the next in line at whether it is its turn.
const LOOK: Duration = Duration::from_micros(200);

/// The line in which the writers of one database stand.
#[derive(Debug, Clone)]
pub(super) struct Line {
    path: PathBuf,
}

/// The right to write. It ends when this is dropped, or when the process does.
#[derive(Debug)]
pub(super) struct Turn {
    file: File,
    number: i64,
}

/// The outcome of standing in line.
#[derive(Debug)]
pub(super) enum LineOutcome {
    /// It is our turn.
    Turn(Turn),
    /// We cannot use the line, for this reason.
    NoLine(io::Error),
    /// Others were before us for too long.
    TooLong,
}

impl Line {
    /// Returns the line of a database.
    pub(super) fn of(database: &Path) -> Self {
        Self { path: database.with_extension("line") }
    }

    /// Returns the path of the line's file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for our turn, but not longer than `most`.
    pub(super) fn wait(&self, most: Duration) -> LineOutcome {
        let end = Instant::now() + most;
        let next =
            match self.draw(false).and_then(|mine| mine.is_first().map(|first| (mine, first))) {
                Ok((mine, true)) => return LineOutcome::Turn(mine),
                Ok((mine, false)) => in_time(most, move || mine.until_next()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let line = self.clone();
                    in_time(most, move || line.draw(true)?.until_next())
                }
                Err(error) => return LineOutcome::NoLine(error),
            };
        match next {
            LineOutcome::Turn(mine) => mine.until_first(end),
            other => other,
        }
    }

    /// Draws a number; with `wait` also if somebody else is just drawing one.
    fn draw(&self, wait: bool) -> io::Result<Turn> {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)?;
        lock(&file, libc::F_WRLCK, (DOOR, 1), wait)?;
        let mut last = [0; 8];
        // A new file has none, and after a crash of the machine nobody holds one.
        let _ = file.read_exact_at(&mut last, 0);
        let number = i64::from_le_bytes(last).clamp(DOOR, i64::MAX / 2) + 1;
        file.write_all_at(&number.to_le_bytes(), 0)?;
        lock(&file, libc::F_WRLCK, (number, 1), false)?;
        lock(&file, libc::F_UNLCK, (DOOR, 1), false)?;
        Ok(Turn { file, number })
    }
}

impl Turn {
    /// Tells whether nobody is before us.
    fn is_first(&self) -> io::Result<bool> {
        match self.lock_before(1, false) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sleeps until nobody is before us but the one whose turn it is.
    fn until_next(self) -> io::Result<Self> {
        // When one leaves, only one is woken. Those in between may have died in line, so the others
        // count, too.
        if self.number > DOOR + 2 {
            lock(&self.file, libc::F_RDLCK, (self.number - 2, 1), true)?;
        }
        self.lock_before(2, true)?;
        Ok(self)
    }

    /// Looks until nobody is before us.
    fn until_first(self, end: Instant) -> LineOutcome {
        loop {
            match self.is_first() {
                Ok(true) => return LineOutcome::Turn(self),
                Ok(false) if Instant::now() < end => std::thread::sleep(LOOK),
                Ok(false) => return LineOutcome::TooLong,
                Err(error) => return LineOutcome::NoLine(error),
            }
        }
    }

    /// Locks, beside others who wait, the numbers that are lower than ours by so much or more:
    /// nobody stands there then.
    fn lock_before(&self, by: i64, wait: bool) -> io::Result<()> {
        match self.number - by - DOOR {
            // A length of nothing would stand for all that follows.
            ..=0 => Ok(()),
            length => lock(&self.file, libc::F_RDLCK, (DOOR + 1, length), wait),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // A child that was just forked has the file too until it runs its program.
        let _ = lock(&self.file, libc::F_UNLCK, (0, 0), false);
    }
}

/// Waits in a thread of its own, as the kernel's waiting has no end. It lets go of a turn that
/// comes too late at once.
fn in_time(
    most: Duration,
    wait: impl FnOnce() -> io::Result<Turn> + Send + 'static,
) -> LineOutcome {
    let (give, take) = mpsc::sync_channel(1);
    let waiter = move || {
        let _ = give.send(wait());
    };
    if let Err(error) = std::thread::Builder::new().name("in-line".to_owned()).spawn(waiter) {
        return LineOutcome::NoLine(error);
    }
    match take.recv_timeout(most) {
        Ok(Ok(turn)) => LineOutcome::Turn(turn),
        Ok(Err(error)) => LineOutcome::NoLine(error),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            LineOutcome::NoLine(io::Error::other("a thread has ended"))
        }
        Err(mpsc::RecvTimeoutError::Timeout) => LineOutcome::TooLong,
    }
}

/// Locks or unlocks bytes for as long as `file` is open (fcntl(2), open file description locks).
fn lock(file: &File, kind: i32, (start, length): (i64, i64), wait: bool) -> io::Result<()> {
    let bytes = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: length,
        l_pid: 0,
    };
    loop {
        let how = if wait { FcntlArg::F_OFD_SETLKW(&bytes) } else { FcntlArg::F_OFD_SETLK(&bytes) };
        match fcntl(file, how) {
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::EACCES | nix::errno::Errno::EAGAIN) => {
                return Err(ErrorKind::WouldBlock.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use crate::line::*;

    const LONG: Duration = Duration::from_secs(60);

    fn turn(outcome: LineOutcome) -> Turn {
        match outcome {
            LineOutcome::Turn(turn) => turn,
            other => panic!("{other:?}"),
        }
    }

    fn line() -> (tempfile::TempDir, Line) {
        let dir = tempfile::tempdir().unwrap();
        let line = Line::of(&dir.path().join("it.db"));
        (dir, line)
    }

    /// Waits until so many have drawn a number.
    fn until_drawn(line: &Line, count: i64) {
        let start = Instant::now();
        while std::fs::read(&line.path).is_ok_and(|last| last != count.to_le_bytes()) {
            assert!(start.elapsed() < LONG, "nobody comes");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn who_comes_first_is_served_first() {
        let (_dir, line) = line();
        let first = turn(line.wait(LONG));
        let served = Arc::new(Mutex::new(Vec::new()));
        let threads: Vec<_> = (0..20)
            .map(|n| {
                let (its, served) = (line.clone(), served.clone());
                let thread = std::thread::spawn(move || {
                    let turn = turn(its.wait(LONG));
                    served.lock().unwrap().push(n);
                    drop(turn);
                });
                until_drawn(&line, n + 2);
                thread
            })
            .collect();
        assert_eq!(served.lock().unwrap().len(), 0);
        drop(first);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*served.lock().unwrap(), (0..20).collect::<Vec<i64>>());
        turn(line.wait(Duration::ZERO));
    }

    #[test]
    fn nobody_waits_longer_than_told_and_who_gave_up_is_in_nobodys_way() {
        let (_dir, line) = line();
        let first = turn(line.wait(LONG));
        assert!(matches!(line.wait(Duration::from_millis(20)), LineOutcome::TooLong));
        drop(first);
        turn(line.wait(LONG));
    }

    #[test]
    fn who_dies_in_line_lets_nobody_past_those_before() {
        let (_dir, line) = line();
        let first = turn(line.wait(LONG));
        drop(line.draw(true).unwrap());
        assert!(matches!(line.wait(Duration::from_millis(50)), LineOutcome::TooLong));
        drop(first);
        turn(line.wait(LONG));
    }

    /// Runs this test again as another process, which holds a turn until the test kills it.
    #[test]
    fn nobody_waits_for_the_dead() {
        const HOLD: &str = "IB_TEST_HOLD_LINE";
        if let Some(database) = std::env::var_os(HOLD) {
            let _turn = turn(Line::of(Path::new(&database)).wait(LONG));
            println!("held");
            std::thread::sleep(LONG);
            return;
        }
        let (dir, line) = line();
        let mut holder = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "line::tests::nobody_waits_for_the_dead", "--nocapture"])
            .env(HOLD, dir.path().join("it.db"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = io::BufReader::new(holder.stdout.take().unwrap());
        let mut text = String::new();
        while !text.contains("held") {
            assert_ne!(io::BufRead::read_line(&mut said, &mut text).unwrap(), 0, "{text}");
        }
        assert!(matches!(line.wait(Duration::from_millis(50)), LineOutcome::TooLong));
        holder.kill().unwrap();
        holder.wait().unwrap();
        turn(line.wait(LONG));
    }

    #[test]
    fn a_line_that_cannot_be_used_is_none() {
        let line = Line::of(Path::new("/nonexistent/it.db"));
        assert!(matches!(line.wait(LONG), LineOutcome::NoLine(_)));
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("it.line")).unwrap();
        assert!(matches!(Line::of(&dir.path().join("it.db")).wait(LONG), LineOutcome::NoLine(_)));
    }
}
