//! Watches what the processes of a sandbox use: its first process does, as it sees all of them, and
//! they end with it.
//!
//! `/proc` is there on every machine, for every user. Where there are cgroups too (see
//! [`invirtibuilder_system::cgroup`]) they are the wall behind this fence.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};

use crate::status::Status;
use invirtibuilder_system::disk;

/// The most that a sandbox may use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bounds {
    /// The bytes of memory that processes have for themselves; each counts its part of what it
    /// shares.
    pub memory: u64,
    /// The number of processes and threads.
    pub processes: u64,
    /// A directory, and the bytes on the disk that may be in it, or in files of the sandbox's that
    /// are in none.
    pub written: Option<(PathBuf, u64)>,
}

/// The memory and the processes that a sandbox uses.
struct Used {
    memory: u64,
    processes: u64,
}

/// The time between two looks at what the processes use.
const PACE: Duration = Duration::from_millis(100);

/// The time between two looks at whether the file system is full. A build that fails for want of
/// room soon removes what it has written: on a busy machine nobody else would have seen it.
const GLANCE: Duration = Duration::from_millis(10);

/// The free room below which the file system is full, in bytes: no process can write what it wants
/// to write.
const LEFT: u64 = 1 << 20;

/// The longest that the file system may be full. A process that copies out of a package's hands may
/// not notice, and go on for ever.
const FULL: Duration = Duration::from_secs(30);

static WAS_FULL: AtomicBool = AtomicBool::new(false);

/// Tells whether the root's file system was ever full.
pub fn was_full() -> bool {
    WAS_FULL.load(Ordering::Relaxed)
}

/// Watches from now on, and ends this process, and so the sandbox, at the first breach.
pub fn watch(bounds: Bounds) -> std::io::Result<()> {
    if let Some((dir, most)) = bounds.written {
        thread::Builder::new().spawn(move || {
            loop {
                let start = Instant::now();
                if disk::used(&dir) + nameless(Path::new("/proc")) > most {
                    std::process::exit(Status::Disk.code().into());
                }
                // Looking at many files is not to be what the machine does.
                thread::sleep((4 * start.elapsed()).max(PACE));
            }
        })?;
    }
    thread::Builder::new().spawn(|| {
        let mut had_room = Instant::now();
        loop {
            if statvfs("/").is_ok_and(|there| there.blocks_free() * there.fragment_size() < LEFT) {
                WAS_FULL.store(true, Ordering::Relaxed);
                if had_room.elapsed() > FULL {
                    std::process::exit(Status::Disk.code().into());
                }
            } else {
                had_room = Instant::now();
            }
            thread::sleep(GLANCE);
        }
    })?;
    thread::Builder::new().spawn(move || {
        loop {
            let used = look(false);
            if used.processes > bounds.processes {
                std::process::exit(Status::Processes.code().into());
            }
            // Resident pages are quickly read, and count twice what is shared: so the exact number
            // is asked for only then.
            if used.memory > bounds.memory && look(true).memory > bounds.memory {
                std::process::exit(Status::Memory.code().into());
            }
            thread::sleep(PACE);
        }
    })?;
    Ok(())
}

/// Sums the bytes of files on a disk that no directory shows any more, and that processes have
/// open. It cannot see what only a mapping or a socket holds.
fn nameless(proc: &Path) -> u64 {
    let below =
        |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let open = below(proc.to_owned()).flat_map(|process| below(process.join("fd")));
    let mut files = HashSet::new();
    open.filter_map(|path| {
        let file = fs::metadata(&path).ok().filter(|file| file.is_file() && file.nlink() == 0)?;
        // What is in memory counts as memory.
        let on_disk = statfs(&path).ok()?.filesystem_type() != TMPFS_MAGIC;
        (on_disk && files.insert((file.dev(), file.ino()))).then(|| file.blocks() * 512)
    })
    .sum()
}

/// Finds what all processes but the first use; `exactly` takes longer.
fn look(exactly: bool) -> Used {
    let page =
        nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096)
            as u64;
    let mut used = Used { memory: 0, processes: 0 };
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) =
            name.to_str().filter(|name| name.bytes().all(|b| b.is_ascii_digit()) && *name != "1")
        else {
            continue;
        };
        let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else { continue };
        let Some((threads, resident)) = numbers(&stat) else { continue };
        used.processes += threads;
        let exact = || own(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?);
        used.memory += exactly.then(exact).flatten().unwrap_or(resident * page);
    }
    used
}

/// Reads the threads and the resident pages of one process, from proc(5)'s `stat`. Its name may
/// hold anything.
fn numbers(stat: &[u8]) -> Option<(u64, u64)> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields: Vec<&str> =
        std::str::from_utf8(&stat[end + 1..]).ok()?.split_whitespace().collect();
    // The third field is the first after the name; threads are the 20th, resident pages the 24th.
    Some((fields.get(17)?.parse().ok()?, fields.get(21)?.parse().ok()?))
}

/// Reads the bytes of anonymous memory, each shared page divided by those who share it.
fn own(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss_Anon:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use crate::bounds::*;

    #[test]
    fn what_a_process_uses_is_read() {
        let me = std::process::id();
        let (threads, pages) = numbers(&fs::read(format!("/proc/{me}/stat")).unwrap()).unwrap();
        assert!(threads >= 1 && pages > 100, "{threads} {pages}");
        let bytes = own(&fs::read_to_string("/proc/self/smaps_rollup").unwrap()).unwrap();
        assert!(bytes > 1 << 16, "{bytes}");
        let hostile = b"7 (a) R 1 (x) 9) S 1 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 3 0 100 4096 77 1";
        assert_eq!(numbers(hostile), Some((3, 77)));
    }

    #[test]
    fn files_without_a_name_count_once() {
        use std::io::Write;
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::symlink;
        let proc = tempfile::tempdir().unwrap();
        let mut opened = 0;
        let mut open = |path: String| {
            opened += 1;
            let dir = proc.path().join((opened % 2).to_string()).join("fd");
            fs::create_dir_all(&dir).unwrap();
            symlink(path, dir.join(opened.to_string())).unwrap();
        };
        let program = std::env::current_exe().unwrap();
        let mut on_disk = tempfile::tempfile_in(program.parent().unwrap()).unwrap();
        on_disk.write_all(&[1; 1 << 20]).unwrap();
        on_disk.sync_all().unwrap();
        let fd = |file: &fs::File| format!("/proc/self/fd/{}", file.as_raw_fd());
        open("socket:[1234]".to_owned());
        open(program.to_str().unwrap().to_owned());
        open("/dev/null".to_owned());
        assert_eq!(nameless(proc.path()), 0);
        let mut in_memory = tempfile::tempfile_in("/dev/shm").unwrap();
        in_memory.write_all(&[1; 1 << 20]).unwrap();
        open(fd(&in_memory));
        assert_eq!(nameless(proc.path()), 0);
        for _ in 0..3 {
            open(fd(&on_disk));
        }
        let there = nameless(proc.path());
        assert!((1 << 20..=(1 << 20) + (64 << 10)).contains(&there), "{there}");
    }
}
