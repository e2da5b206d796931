//! A booted machine on which our packages are installed, and what is done on it.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use invirtibuilder_tests_common::{Answer, look_every, run};
use serde_json::Value;

use crate::group::{Group, runs};
use crate::packages::Package;

/// The service's user.
pub const SERVICE: &str = "_invirtibuilder";
/// Where the service keeps everything.
pub const STATE: &str = "/var/lib/invirtibuilder";
/// Where the trees of packages are.
pub const HERE: &str = "/run/packages";
/// The daemon's unit.
pub const UNIT: &str = "invirtibuilderd";
/// What systemd gives the unit.
pub const GROUP: &str = "/sys/fs/cgroup/system.slice/invirtibuilderd.service";
/// The longest that a build may take: everything is emulated, and may take very long.
pub const LONG: Duration = Duration::from_secs(1500);
/// The longest that the daemon may take.
pub const SOON: Duration = Duration::from_secs(60);
/// The longest that the end of a build may take.
pub const AN_END: Duration = Duration::from_secs(120);

/// Limits of builds, in MiB and processes; what is met by the daemon's own watching is far above
/// what these builds use.
const MEMORY: u64 = 400;
const DISK: u64 = 900;
const PROCESSES: u64 = 200;

/// Whose turn it is, and whether the service is set up; a story that fails leaves the lock
/// poisoned, and the machine to nobody.
static SET_UP: Mutex<bool> = Mutex::new(false);

/// The machine; the daemon runs, its chroots are ready, and it builds nothing.
pub struct Booted {
    _turn: MutexGuard<'static, bool>,
}

/// The number of a job.
#[derive(Debug, Clone, Copy)]
pub struct Job(u64);

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The process that the unit runs, and how often systemd has started another by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Main {
    /// Its number.
    pub pid: String,
    /// How often.
    pub restarts: String,
}

/// Which limit of a build's group is made narrower.
#[derive(Debug, Clone, Copy)]
pub enum Narrow {
    /// Memory: little more than what it has.
    Memory,
    /// Processes: few more than it has.
    Processes,
}

impl Booted {
    /// Waits for its turn; the first story finds the service set up as an administrator would set
    /// it up.
    pub fn new() -> Self {
        Self::with_builds("", chroot_gets_ready)
    }

    /// The same, with more of a configuration when it is set up, and then this wait.
    pub fn with_builds(configured: &str, ready: impl FnOnce()) -> Self {
        assert!(
            std::env::var_os("IB_DISTRO").is_some(),
            "these tests set up the machine that they run on: \
             run them with 'script/test --only systemd'"
        );
        let Ok(mut set_up) = SET_UP.lock() else {
            panic!("an earlier story has failed on this machine")
        };
        if !*set_up {
            configure(configured);
        }
        run("systemctl", &["start", UNIT]);
        soon("the daemon listens", is_listening);
        if !*set_up {
            assert_eq!(property("NRestarts"), "0", "systemd had to restart the daemon");
            ready();
            *set_up = true;
        }
        assert_eq!(Group::all(), Vec::<&Path>::new(), "a build runs already");
        Self { _turn: set_up }
    }

    /// A command of root in a shell on the server.
    pub fn local(&self, args: &[&str]) -> Answer {
        Answer::of(Command::new("invirt-build").args(args))
    }

    /// A command of alice, as remctld calls it.
    pub fn alice(&self, args: &[&str]) -> Answer {
        let mut command = vec!["env", "REMOTE_USER=alice@EXAMPLE.ORG", "REMOTE_ADDR=127.0.0.1"];
        command.push("invirt-build");
        command.extend(args);
        Answer::of(&mut as_service(&command))
    }

    /// Makes a package's repository, and pushes its one commit.
    pub fn push(&self, package: &Package) {
        let (name, tree) = (package.name, package.write());
        self.alice(&["create-repo", name]).ok();
        let git = |args: &[&str]| {
            let mut command =
                vec!["git", "-c", "user.name=Alice", "-c", "user.email=alice@example.org"];
            command.extend(["-C", tree.to_str().unwrap()]);
            command.extend(args);
            Answer::of(&mut as_service(&command)).ok()
        };
        git(&["init", "-q", "-b", "main"]);
        git(&["add", "-A"]);
        git(&["commit", "-q", "-m", "First"]);
        git(&["push", "-q", &format!("/srv/git/packages/{name}.git"), "main"]);
    }

    /// Submits a package that was pushed.
    pub fn submit(&self, package: &Package) -> Job {
        let answer = self.alice(&["--json", "submit", "prod", package.name, "main"]).ok().json();
        let job = Job(answer["job"].as_u64().unwrap_or_else(|| panic!("no job: {answer}")));
        println!("job {job}: {}", package.name);
        job
    }

    /// What the service says of a job.
    pub fn status(&self, job: Job) -> Value {
        let number = job.to_string();
        let mut answer = self.alice(&["--json", "status", &number]).ok().json();
        answer["job"].take()
    }

    /// A job's state.
    pub fn state(&self, job: Job) -> String {
        self.status(job)["state"].as_str().unwrap().to_owned()
    }

    /// Waits until a job has ended, however it does, and says what became of it.
    #[track_caller]
    pub fn wait_for_end(&self, job: Job) -> String {
        let mut state = String::new();
        at_length(&format!("job {job} ends"), || {
            state = self.state(job);
            ["published", "failed", "cancelled"].contains(&&state[..])
        });
        state
    }

    /// A job fails with this kind, and gives this reason.
    #[track_caller]
    pub fn fails(&self, job: Job, kind: &str, reason: &str) {
        self.wait_for_end(job);
        let said = self.alice(&["status", &job.to_string()]).ok().out;
        for line in said.lines().filter(|it| it.starts_with("failure") || it.starts_with("reason"))
        {
            println!("job {job}: {line}");
        }
        let status = self.status(job);
        let end = (&status["state"], &status["failure"]);
        assert!(
            end.0 == "failed" && end.1 == kind,
            "job {job} does not fail with {kind}: {status:#}"
        );
        let gives = |line: &str| line.starts_with("reason") && line.contains(reason);
        assert!(said.lines().any(gives), "job {job} does not give the reason {reason:?}:\n{said}");
    }

    /// The log of a job's build; empty as long as there is none.
    pub fn log(&self, job: Job) -> String {
        match fs::read(format!("{STATE}/logs/{job}/build.log")) {
            Ok(log) => String::from_utf8_lossy(&log).into_owned(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => panic!("the log of job {job}: {e}"),
        }
    }

    /// Waits until the script of a job's build begins.
    #[track_caller]
    pub fn wait_for_begin(&self, job: Job) {
        at_length(&format!("job {job} begins"), || self.log(job).lines().any(|it| it == "now"));
    }

    /// The group of a job whose build runs has what was asked of the kernel for it.
    #[track_caller]
    pub fn is_limited(&self, job: Job) -> Group {
        let group = Group::of(job).unwrap_or_else(|| panic!("job {job} has no group"));
        assert_eq!(
            group.number("memory.max"),
            (MEMORY + DISK) << 20,
            "memory and disk are limited"
        );
        // A kernel without swap has no such file.
        if group.file("memory.swap.max").exists() {
            assert_eq!(group.number("memory.swap.max"), 0, "there is no way into swap");
        }
        assert_eq!(group.number("memory.oom.group"), 1, "a build dies as one");
        assert!(
            group.number("pids.max") >= PROCESSES,
            "it may have {} processes",
            group.read("pids.max")
        );
        group
    }

    /// When a build says that it begins, its group gets a limit that is narrower than what the
    /// daemon watches for: whatever ends it then is the kernel. The service's user may set it;
    /// nothing in the build may.
    #[track_caller]
    pub fn narrow(&self, job: Job, what: Narrow) {
        self.wait_for_begin(job);
        let group = self.is_limited(job);
        let (file, limit) = match what {
            Narrow::Memory => ("memory.max", group.memory_taken() + (100 << 20)),
            Narrow::Processes => ("pids.max", group.number("pids.current") + 30),
        };
        let mut tee = as_service(&[OsStr::new("tee"), group.file(file).as_os_str()]);
        let mut tee = tee.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        tee.stdin.take().unwrap().write_all(limit.to_string().as_bytes()).unwrap();
        assert!(tee.wait().unwrap().success(), "the service's user may not set {file}");
        println!("job {job}: {} is narrowed: {what:?}", group.name());
    }

    /// What the unit runs now.
    pub fn main(&self) -> Main {
        Main { pid: property("MainPID"), restarts: property("NRestarts") }
    }

    /// Waits until the daemon that systemd has started in place of this one listens.
    #[track_caller]
    pub fn wait_for_another(&self, main: &Main) {
        eventually("there is another daemon", Duration::from_secs(300), || {
            is_listening() && property("MainPID") != main.pid
        });
    }

    /// No group of a build is left, after a while.
    #[track_caller]
    pub fn has_no_groups(&self) {
        eventually("no group of a build is left", AN_END, || Group::all().is_empty());
    }

    /// None of these processes runs any more.
    #[track_caller]
    pub fn has_none_of(&self, processes: &[u32]) {
        let left: Vec<_> = processes.iter().filter(|pid| runs(**pid)).collect();
        assert!(left.is_empty(), "of the build's processes there are left: {left:?}");
    }

    /// Layers of build dependencies want a newer kernel than Debian 12 has: none was tried there.
    #[track_caller]
    pub fn tries_layers_only_on_new_kernels(&self) {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let tried = Path::new(STATE).join("layers").exists();
        assert!(!(kernel.starts_with("6.1.") && tried), "a layer was tried on {kernel}");
    }

    /// How many lines of the kernel's about builds' groups there are, between these words.
    pub fn kernel_said(&self, before: &str, after: &str) -> usize {
        let group = format!("{before}/system.slice/{UNIT}.service/build-");
        let about = |line: &&str| {
            let Some(rest) = line.strip_prefix(&group) else { return false };
            let name = |c: char| c.is_ascii_digit() || c == '-';
            let words = rest.trim_start_matches(name);
            words.len() < rest.len() && words.starts_with(after)
        };
        run("journalctl", &["-k", "-o", "cat", "--no-pager"]).lines().filter(about).count()
    }
}

impl Drop for Booted {
    /// Says what whoever reads of a failure wants to know next.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let script = format!(
                "systemctl status --no-pager {UNIT}; ls -d {GROUP}/*/; \
                 journalctl --no-pager -o cat -u {UNIT} | tail -n 40; \
                 tail -n 60 {STATE}/logs/*/build.log; \
                 [ ! -d /var/log/slurm ] || tail -n 40 /var/log/slurm/*.log"
            );
            let _ = Command::new("sh").args(["-c", &script]).status();
        }
    }
}

/// The configuration and what more there is of it, with alice's rights, and everything that `init`
/// makes of it.
fn configure(more: &str) {
    let distro = std::env::var("IB_DISTRO").unwrap();
    fs::create_dir(HERE).unwrap();
    run("chown", &[&format!("{SERVICE}:"), HERE]);
    let limits = format!(
        "time: 40m, silence: 20m, memory: {MEMORY}M, disk: {DISK}M, processes: {PROCESSES}"
    );
    let config = format!(
        "realm: EXAMPLE.ORG\n\
         daemon: {{ jobs: 1 }}\n\
         build:\n  pockets:\n    \
         prod: {{ distro: {distro}, limits: {{ {limits} }} }}\n    \
         dev: {{ distro: {distro} }}\n{more}"
    );
    fs::write("/etc/invirtibuilder/conf.d/50-machine.yaml", config).unwrap();
    for acl in ["prod", "create-repo"] {
        let acl = format!("/etc/invirtibuilder/acl/{acl}");
        let mut acl = OpenOptions::new().append(true).open(acl).unwrap();
        acl.write_all(b"alice@EXAMPLE.ORG\n").unwrap();
    }
    run("invirt-build", &["init", "--distro", &distro]);
}

/// The place for builds gets a chroot while nobody waits: no job was ever submitted.
/// There is one place only: the machine has no time for a second chroot.
#[track_caller]
fn chroot_gets_ready() {
    at_length("the chroot is ready", || {
        let place = format!("{STATE}/roots/0");
        let mut files = fs::read_dir(place).into_iter().flatten().flatten();
        files.any(|file| file.path().extension().is_some_and(|it| it == "updated"))
    });
}

/// Waits until something holds, and looks seldom: whoever looks makes everything else slower.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, holds: impl FnMut() -> bool) {
    look_every(Duration::from_millis(500), what, limit, holds);
}

/// Waits as long as a build may take.
#[track_caller]
pub fn at_length(what: &str, holds: impl FnMut() -> bool) {
    look_every(Duration::from_secs(2), what, LONG, holds);
}

/// Waits as long as the daemon may take.
#[track_caller]
pub fn soon(what: &str, holds: impl FnMut() -> bool) {
    eventually(what, SOON, holds);
}

/// What systemd knows of the unit.
#[track_caller]
pub fn property(name: &str) -> String {
    run("systemctl", &["show", "--value", "--property", name, UNIT])
}

/// Whether the daemon takes requests.
pub fn is_listening() -> bool {
    let bell = fs::metadata(format!("{STATE}/wake"));
    bell.is_ok_and(|it| it.file_type().is_socket())
        && Answer::of(Command::new("systemctl").args(["-q", "is-active", UNIT])).code == 0
}

/// A command of the service's user.
fn as_service<S: AsRef<OsStr>>(command: &[S]) -> Command {
    let mut setpriv = Command::new("setpriv");
    setpriv.args([format!("--reuid={SERVICE}"), format!("--regid={SERVICE}")]);
    setpriv.args(["--init-groups", "env", &format!("HOME={HERE}")]).args(command);
    setpriv
}
