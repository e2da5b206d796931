//! The file systems of the world, which can be full, or fail.

use std::path::{Path, PathBuf};

use super::run;

/// A file system in memory, mounted at a directory; as it was when this is dropped.
pub struct Disk {
    dir: PathBuf,
}

impl Disk {
    /// The one at a directory.
    pub fn of(dir: &str) -> Self {
        let kind = run("findmnt", &["--noheadings", "--output", "FSTYPE", "--mountpoint", dir]);
        assert_eq!(kind.lines().last(), Some("tmpfs"), "{dir} is not in memory");
        Self { dir: dir.into() }
    }

    /// Takes all room from it: what is in use is all that there is.
    pub fn fill(&self) {
        self.leave(0);
    }

    /// Takes all room from it but so many MiB.
    pub fn leave(&self, room: u64) {
        let used = run("df", &["--output=used", "-k", self.path()]);
        let used: u64 = used.lines().last().unwrap().trim().parse().unwrap();
        self.remount(&format!("size={}k", used + room * 1024));
    }

    /// Gives it room.
    pub fn make_room(&self) {
        self.remount("size=50%");
    }

    /// Changes how it is mounted.
    pub fn remount(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}"), self.path()]);
    }

    fn path(&self) -> &str {
        Path::to_str(&self.dir).unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        // The next story is to find it in order.
        for options in ["remount,rw", "remount,size=50%"] {
            let _ =
                std::process::Command::new("mount").args(["-o", options]).arg(&self.dir).status();
        }
    }
}
