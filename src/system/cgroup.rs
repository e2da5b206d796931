//! Puts builds into control groups: the kernel's own limits of memory and processes, where the
//! service may make groups.
//!
//! It uses version 2 as systemd delegates it (`Delegate=yes`), or version 1 where the service may
//! write the groups that it is in. The limit on memory is that of `limits.memory` and of
//! `limits.disk` together, as a file system in memory is memory; within it
//! `invirtibuilder_sandbox::bounds` tells them apart.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::libc;

use crate::subprocess::CancellationToken;
use invirtibuilder_core::config::Limits;
use invirtibuilder_core::text;

/// The group of our own processes below one that was delegated: a group with limits on its children
/// can hold none.
const OWN: &str = "daemon";

/// The beginning of the names of builds' groups; three numbers follow: the slot, the daemon's
/// process, and which of its groups it is.
const BUILD: &str = "build-";

/// The number of processes of a sandbox that are ours.
const OURS: u64 = 64;

/// The time between two looks at whether a build has met a limit.
const PACE: Duration = Duration::from_millis(200);

/// The longest that killed processes may take to be gone: the kernel first gives back what they had
/// in memory.
const PATIENCE: Duration = Duration::from_secs(10);

/// The control groups that we can limit builds with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mechanism {
    /// The version 2 group below which builds have theirs.
    V2(PathBuf),
    /// The version 1 groups below which builds have theirs.
    V1 {
        /// The group of the memory controller.
        memory: PathBuf,
        /// The group of the pids controller.
        pids: PathBuf,
    },
    /// We can use neither, for this reason.
    None(String),
}

impl Mechanism {
    /// Describes the mechanism in words, for administrators.
    pub fn describe(&self) -> String {
        match self {
            Self::V2(dir) => format!("cgroup v2 below {}", dir.display()),
            Self::V1 { memory, .. } => format!("cgroup v1 below {}", memory.display()),
            Self::None(why) => {
                format!(
                    "no cgroup can be used ({why}): memory is watched, processes are limited by RLIMIT_NPROC"
                )
            }
        }
    }

    /// Lists the groups below which builds have theirs: that of memory first, that of processes
    /// last.
    fn dirs(&self) -> Vec<&Path> {
        match self {
            Self::V2(dir) => vec![dir],
            Self::V1 { memory, pids } => vec![memory, pids],
            Self::None(_) => Vec::new(),
        }
    }
}

/// Returns the mechanism of this process. The first call makes it ready.
pub fn mechanism() -> &'static Mechanism {
    static FOUND: OnceLock<Mechanism> = OnceLock::new();
    FOUND.get_or_init(|| {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let found = find(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        first_that_works(found, prepare)
    })
}

/// Returns the first mechanism that can be made ready; if none can, why the best cannot.
fn first_that_works(
    found: Vec<Mechanism>,
    prepare: impl Fn(&Mechanism) -> Result<()>,
) -> Mechanism {
    let mut why = None;
    for mechanism in found {
        match prepare(&mechanism) {
            Ok(()) => return mechanism,
            Err(error) => why = why.or_else(|| Some(text::one_line(&format!("{error:#}")))),
        }
    }
    Mechanism::None(why.unwrap_or_else(|| "none with memory and pids is mounted".to_owned()))
}

/// Lists the mechanisms that may work, the best first.
fn find(mountinfo: &str, cgroup: &str) -> Vec<Mechanism> {
    // Mount point, type and options of the file system; the root of the mount has to be the
    // hierarchy's, as seen from here.
    let mounts: Vec<(&str, &str, &str)> = mountinfo
        .lines()
        .filter_map(|line| {
            let (head, tail) = line.split_once(" - ")?;
            let (point, mut tail) = (head.split(' ').nth(4)?, tail.split(' '));
            Some((point, tail.next()?, tail.nth(1)?))
        })
        .collect();
    let at = |point: &str, path: &str| Path::new(point).join(path.trim_start_matches('/'));
    let mine = |controller: &str| {
        cgroup.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (names, path) = (fields.next()?, fields.next()?);
            (names.split(',').any(|name| name == controller)).then_some(path)
        })
    };
    let v1 = |controller: &str| {
        let (point, ..) = mounts.iter().find(|(_, kind, options)| {
            *kind == "cgroup" && options.split(',').any(|option| option == controller)
        })?;
        Some(at(point, mine(controller)?))
    };
    let v2 = || {
        let (point, ..) = mounts.iter().find(|(_, kind, _)| *kind == "cgroup2")?;
        let dir = at(point, mine("")?);
        Some(if dir.ends_with(OWN) { dir.parent()?.to_owned() } else { dir })
    };
    let mut found: Vec<_> = v2().map(Mechanism::V2).into_iter().collect();
    if let (Some(memory), Some(pids)) = (v1("memory"), v1("pids")) {
        found.push(Mechanism::V1 { memory, pids });
    }
    found
}

fn prepare(mechanism: &Mechanism) -> Result<()> {
    match mechanism {
        Mechanism::V2(dir) => {
            let offered = fs::read_to_string(dir.join("cgroup.controllers"))?;
            for name in ["memory", "pids"] {
                let has = offered.split_whitespace().any(|word| word == name);
                anyhow::ensure!(has, "{} has no controller {name}", dir.display());
            }
            let own = dir.join(OWN);
            fs::create_dir_all(&own).with_context(|| format!("cannot create {}", own.display()))?;
            for pid in fs::read_to_string(dir.join("cgroup.procs"))?.lines() {
                // Those that ended meanwhile, as the last of an earlier daemon may, are in nobody's
                // way.
                match write(&own.join("cgroup.procs"), pid) {
                    Err(error)
                        if error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error)
                            == Some(libc::ESRCH) => {}
                    moved => moved?,
                }
            }
            write(&dir.join("cgroup.subtree_control"), "+memory +pids")
        }
        Mechanism::V1 { memory, pids } => {
            for dir in [memory, pids] {
                let probe = dir.join("probe");
                fs::create_dir_all(&probe)?;
                fs::remove_dir(&probe)?;
            }
            Ok(())
        }
        Mechanism::None(_) => Ok(()),
    }
}

/// Removes the groups that an earlier daemon has left, with everything in them. The caller holds
/// the instance lock, and builds nothing yet.
pub async fn remove_all() {
    remove_those(|_| true, Duration::from_secs(1)).await;
}

/// Removes the groups of builds that have had one of these slots, as far as it can.
async fn remove_those(of_slot: impl Fn(u32) -> bool, patience: Duration) {
    for dir in mechanism().dirs() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_name().to_str().and_then(slot_of).is_some_and(&of_slot) {
                remove(&entry.path(), patience).await;
            }
        }
    }
}

/// Reads the slot in a group's name, if the group is a build's.
fn slot_of(name: &str) -> Option<u32> {
    let numbers: Vec<u32> = name
        .strip_prefix(BUILD)?
        .split('-')
        .map(|number| number.parse().ok())
        .collect::<Option<_>>()?;
    (numbers.len() == 3).then(|| numbers[0])
}

/// A limit that the kernel has held a build to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// There was no memory left, and it killed a process.
    Memory,
    /// There were enough processes, and it refused one more.
    Processes,
}

/// The groups of one build. If the caller drops them without [`Groups::end`], that kills what is in
/// them. If they cannot be removed then, the next build in the slot removes them. It has groups of
/// its own, as the old ones would come with counters.
pub struct Groups {
    mechanism: &'static Mechanism,
    dirs: Vec<PathBuf>,
}

impl Groups {
    /// Makes the groups of the build that has this slot.
    pub async fn create(slot: u32, limits: &Limits) -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let mechanism = mechanism();
        remove_those(|other| other == slot, Duration::ZERO).await;
        let name = format!(
            "{BUILD}{slot}-{}-{}",
            std::process::id(),
            MADE.fetch_add(1, Ordering::Relaxed)
        );
        let dirs: Vec<PathBuf> = mechanism.dirs().iter().map(|dir| dir.join(&name)).collect();
        let groups = Self { mechanism, dirs };
        for dir in &groups.dirs {
            fs::create_dir_all(dir)
                .with_context(|| format!("cannot create the cgroup {}", dir.display()))?;
        }
        let memory = limits.memory.0.saturating_add(limits.disk.0).to_string();
        let processes = limits.processes.saturating_add(OURS).to_string();
        match &groups.dirs[..] {
            [both] => {
                write(&both.join("memory.max"), &memory)?;
                // Swap would only put it off. Not every kernel has it.
                let _ = write(&both.join("memory.swap.max"), "0");
                // What is left of a build that lost a process is of no use. It would only be killed
                // piece by piece.
                let _ = write(&both.join("memory.oom.group"), "1");
                write(&both.join("pids.max"), &processes)?;
            }
            [own, pids] => {
                write(&own.join("memory.limit_in_bytes"), &memory)?;
                let _ = write(&own.join("memory.memsw.limit_in_bytes"), &memory);
                write(&pids.join("pids.max"), &processes)?;
            }
            _ => {}
        }
        Ok(groups)
    }

    /// Lists the files by which a process joins the groups.
    pub fn doors(&self) -> Vec<PathBuf> {
        self.dirs.iter().map(|dir| dir.join("cgroup.procs")).collect()
    }

    /// Finds the limit that the build has met, if it has met one.
    pub fn breach(&self) -> Option<Breach> {
        let (memory, pids) = (self.dirs.first()?, self.dirs.last()?);
        let killed = match self.mechanism {
            Mechanism::V2(_) => "memory.events",
            _ => "memory.oom_control",
        };
        let counts =
            |file: PathBuf, name| is_counted(&fs::read_to_string(file).unwrap_or_default(), name);
        if counts(memory.join(killed), "oom_kill ") {
            return Some(Breach::Memory);
        }
        counts(pids.join("pids.events"), "max ").then_some(Breach::Processes)
    }

    /// Waits for the end of what runs in the groups. When that meets a limit, it is told to stop.
    pub async fn watch<T>(&self, running: impl Future<Output = T>, stop: &CancellationToken) -> T {
        tokio::pin!(running);
        let mut look = tokio::time::interval(PACE);
        loop {
            tokio::select! {
                ended = &mut running => return ended,
                _ = look.tick() => {
                    if self.breach().is_some() {
                        stop.cancel();
                    }
                }
            }
        }
    }

    /// Ends everything that is in the groups, no matter whose it is, where the kernel can (version
    /// 2, Linux 5.14).
    pub fn kill(&self) {
        self.dirs.iter().for_each(|dir| kill(dir));
    }

    /// Ends everything that is in the groups, and removes them when they are empty. Returns the
    /// limit that the build has met, if it has met one. Where the kernel cannot end it, somebody
    /// else has to have done so.
    pub async fn end(self) -> Option<Breach> {
        let breach = self.breach();
        for dir in &self.dirs {
            remove(dir, PATIENCE).await;
        }
        breach
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Tells whether a file of counters has one of this name that is not 0.
fn is_counted(counters: &str, name: &str) -> bool {
    counters.lines().any(|line| line.strip_prefix(name).is_some_and(|count| count.trim() != "0"))
}

/// Kills the processes of a group, in version 2: version 1 has no such file.
fn kill(dir: &Path) {
    let _ = write(&dir.join("cgroup.kill"), "1");
}

/// Ends everything that is in a group, where the kernel can, and removes the group when it is
/// empty.
async fn remove(dir: &Path, patience: Duration) {
    kill(dir);
    let end = Instant::now() + patience;
    while fs::remove_dir(dir).is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
        && Instant::now() < end
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Joins groups by their doors.
pub fn join(doors: &[PathBuf]) -> Result<()> {
    doors.iter().try_for_each(|door| write(door, "0").context("cannot join the build's cgroup"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let mut file = File::options()
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use crate::cgroup::*;

    #[test]
    fn groups_are_found_where_they_are_mounted() {
        let v1 = "31 25 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                  32 25 0:28 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n";
        let v2 = "33 25 0:29 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let unit = "/system.slice/invirtibuilderd.service";
        let dir = Path::new("/sys/fs/cgroup").join(&unit[1..]);
        assert_eq!(find(v2, &format!("0::{unit}\n")), [Mechanism::V2(dir.clone())]);
        assert_eq!(find(v2, &format!("0::{unit}/daemon\n")), [Mechanism::V2(dir)]);
        let mine = "8:pids:/\n4:memory:/api/x\n1:cpu,cpuacct:/y\n";
        let (memory, pids) = ("/sys/fs/cgroup/memory/api/x".into(), "/sys/fs/cgroup/pids".into());
        assert_eq!(find(v1, mine), [Mechanism::V1 { memory, pids }]);
        assert_eq!(find(v1, "4:memory:/\n"), []);
        assert_eq!(find("rubbish\n", "rubbish\n"), []);
    }

    #[test]
    fn it_is_said_why_there_are_no_groups() {
        let two = || vec![Mechanism::V2("/a".into()), Mechanism::V2("/b".into())];
        let only = |good: &'static str| {
            move |mechanism: &Mechanism| match mechanism {
                Mechanism::V2(dir) if dir == Path::new(good) => Ok(()),
                other => Err(anyhow::anyhow!("{other:?} is\nbusy")),
            }
        };
        assert_eq!(first_that_works(two(), only("/b")), Mechanism::V2("/b".into()));
        let none = first_that_works(two(), only("/c")).describe();
        assert!(
            none.starts_with("no cgroup can be used (V2(\"/a\") is\\nbusy): memory is watched"),
            "{none}"
        );
        assert!(
            first_that_works(Vec::new(), |_| Ok(()))
                .describe()
                .contains("(none with memory and pids is mounted)")
        );
    }

    fn of_version_2(dir: &Path) -> Groups {
        Groups { mechanism: Box::leak(Box::new(Mechanism::V2(dir.into()))), dirs: vec![dir.into()] }
    }

    #[test]
    fn what_the_kernel_has_counted_is_a_breach() {
        let dir = tempfile::tempdir().unwrap();
        let (memory, pids) = (dir.path().join("memory"), dir.path().join("pids"));
        let put = |dir: &Path, file: &str, text: &str| {
            fs::create_dir_all(dir).unwrap();
            fs::write(dir.join(file), text).unwrap();
        };
        let v2 = of_version_2(&memory);
        assert_eq!(v2.breach(), None, "a group that is gone");
        put(
            &memory,
            "memory.events",
            "low 0\nhigh 0\nmax 70\noom 0\noom_kill 0\noom_group_kill 0\n",
        );
        put(&memory, "pids.events", "max 0\n");
        assert_eq!(v2.breach(), None);
        put(&memory, "pids.events", "max 3\n");
        assert_eq!(v2.breach(), Some(Breach::Processes));
        put(
            &memory,
            "memory.events",
            "low 0\nhigh 0\nmax 70\noom 1\noom_kill 2\noom_group_kill 1\n",
        );
        assert_eq!(v2.breach(), Some(Breach::Memory));

        put(&memory, "memory.oom_control", "oom_kill_disable 0\nunder_oom 1\noom_kill 0\n");
        put(&pids, "pids.events", "max 1\n");
        let mechanism = Mechanism::V1 { memory: memory.clone(), pids: pids.clone() };
        let v1 =
            Groups { mechanism: Box::leak(Box::new(mechanism)), dirs: vec![memory.clone(), pids] };
        assert_eq!(v1.breach(), Some(Breach::Processes));
        put(&memory, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
        assert_eq!(v1.breach(), Some(Breach::Memory));
        let none = Box::leak(Box::new(Mechanism::None("x".to_owned())));
        assert_eq!(Groups { mechanism: none, dirs: Vec::new() }.breach(), None);
    }

    #[tokio::test]
    async fn what_meets_a_limit_is_told_to_stop() {
        let dir = tempfile::tempdir().unwrap();
        let groups = of_version_2(dir.path());
        let stop = CancellationToken::new();
        groups.watch(async {}, &stop).await;
        assert!(!stop.is_cancelled());
        fs::write(dir.path().join("memory.events"), "oom_kill 1\n").unwrap();
        let running = tokio::time::timeout(Duration::from_secs(60), stop.cancelled());
        groups.watch(running, &stop).await.unwrap();
    }

    #[test]
    fn only_groups_of_builds_are_removed() {
        assert_eq!((slot_of("build-0-812-0"), slot_of("build-17-812-3")), (Some(0), Some(17)));
        for other in [
            "daemon",
            "build-",
            "build-1",
            "build-1-2-x",
            "build-1-2-3.scope",
            "build-1-2-3-4",
            "xbuild-1-2-3",
        ] {
            assert_eq!(slot_of(other), None, "{other}");
        }
    }
}
