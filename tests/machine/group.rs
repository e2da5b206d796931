//! Control groups of builds, and the processes in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::world::{GROUP, Job, STATE};

/// The control group of a running build.
pub struct Group(PathBuf);

impl Group {
    /// Looks for the group of a job's build.
    pub fn of(job: Job) -> Option<Self> {
        let sandbox = format!("build-sandbox sandbox {STATE}/work/job-{job}/");
        processes("cmdline", |line| line.contains(&sandbox)).into_iter().find_map(|pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
            let name = text.lines().find_map(|line| line.strip_prefix("0::"))?;
            let group = format!("/sys/fs/cgroup{name}");
            group.starts_with(&format!("{GROUP}/build-")).then(|| Self(group.into()))
        })
    }

    /// Those of all builds, running or left behind.
    pub fn all() -> Vec<PathBuf> {
        let entries = fs::read_dir(GROUP).unwrap_or_else(|e| panic!("{GROUP}: {e}"));
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| file_name(path).starts_with("build-")).collect()
    }

    /// Its name within the daemon's.
    pub fn name(&self) -> &str {
        file_name(&self.0)
    }

    /// Where the kernel has one of its settings.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What the kernel says of it.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        let text = fs::read_to_string(self.file(name));
        text.unwrap_or_else(|e| panic!("{}: {e}", self.file(name).display())).trim_end().to_owned()
    }

    /// What the kernel says of it, as a number.
    #[track_caller]
    pub fn number(&self, name: &str) -> u64 {
        let text = self.read(name);
        text.parse().unwrap_or_else(|_| panic!("{name} is {text}, which is no number"))
    }

    /// Memory that cannot be written to files: what is left when the kernel has freed what it may.
    pub fn memory_taken(&self) -> u64 {
        let text = self.read("memory.stat");
        let fields = text.lines().map(|line| line.split_once(' ').unwrap());
        fields
            .filter(|(name, _)| ["anon", "shmem", "kernel"].contains(name))
            .map(|(_, number)| number.parse::<u64>().unwrap())
            .sum()
    }

    /// Brings a process into it that no namespace ends.
    pub fn add_stranger(&self) -> Stranger {
        let child = Command::new("sleep").arg("100000").stdin(Stdio::null()).spawn().unwrap();
        fs::write(self.file("cgroup.procs"), child.id().to_string()).unwrap();
        Stranger(child)
    }

    /// Its processes of now.
    pub fn processes(&self) -> Vec<u32> {
        self.read("cgroup.procs").lines().map(|pid| pid.parse().unwrap()).collect()
    }
}

/// A process that is in a build's group but not of the build.
pub struct Stranger(Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The processes of which a file in `/proc` says what is looked for.
pub fn processes(file: &str, holds: impl Fn(&str) -> bool) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        // It may have ended since.
        let Ok(text) = fs::read(entry.path().join(file)) else { continue };
        if holds(&String::from_utf8_lossy(&text).replace('\0', " ")) {
            found.push(pid);
        }
    }
    found
}

/// Whether a process runs: one that waits for its parent to hear of its end does not.
pub fn runs(pid: u32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    let state = status.lines().find_map(|line| line.strip_prefix("State:")).unwrap();
    !state.trim_start().starts_with(['Z', 'X'])
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap()
}
