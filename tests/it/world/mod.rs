//! One empty service in the world that `script/test` has made, and what its users do with it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

pub mod api;
mod apt;
pub mod browser;
pub mod cluster;
mod daemon;
mod disk;
pub mod pages;
mod release;
mod remctld;
mod repo;
mod snapshot;
mod ssh;
mod untouched;

pub use apt::Apt;
pub use daemon::{Daemon, log as daemon_log};
pub use disk::Disk;
pub use invirtibuilder_tests_common::{Answer, eventually, run};
pub use remctld::Remctld;
pub use repo::{Repo, Tiny, bare, rev};
pub use ssh::{Login, Sshd};
pub use untouched::Machine;

/// Where the service keeps everything.
pub const STATE: &str = "/var/lib/invirtibuilder";
/// The configuration.
pub const CONFIG: &str = "/etc/invirtibuilder/config.yaml";
/// The longest that a small build may take on a loaded machine.
pub const BUILD: Duration = Duration::from_secs(240);
/// The longest that anything else may take.
pub const SOON: Duration = Duration::from_secs(20);

/// A program that the sandbox finds before sbuild.
const STUB: &str = "/usr/sbin/sbuild";

static TURN: Mutex<()> = Mutex::new(());

/// The service, set up and empty, with no daemon running. Dropping it ends what was started.
pub struct World {
    etc: Option<release::Etc>,
    _turn: MutexGuard<'static, ()>,
}

impl World {
    /// Waits for its turn, and starts from nothing.
    pub fn new() -> Self {
        let world = Self::bare();
        fs::write(CONFIG, include_str!("../../../script/lib/config.yaml")).unwrap();
        world.local(&["init"]).ok();
        world
    }

    /// Waits for its turn, and removes what the story before has left.
    fn bare() -> Self {
        assert!(
            std::env::var_os("IB_WORLD").is_some(),
            "these tests replace the service's state: run them with 'script/test --only e2e', in a world of their own"
        );
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        empty(Path::new(STATE), &["chroots", "roots", "programs"]);
        for dir in
            ["/srv/git", "/srv/apt", "/etc/invirtibuilder/hooks", "/etc/invirtibuilder/conf.d"]
        {
            empty(Path::new(dir), &[]);
        }
        let _ = fs::remove_file(STUB);
        Self { etc: None, _turn: turn }
    }

    /// A command of a Kerberos user, through remctl.
    pub fn build<S: AsRef<std::ffi::OsStr>>(&self, who: &str, args: &[S]) -> Answer {
        Answer::of(self.command(who).args(args))
    }

    /// The command that [`World::build`] runs, to be started by the caller.
    pub fn command(&self, who: &str) -> Command {
        let mut command = Command::new("as");
        command.args([who, "build"]);
        command
    }

    /// A command of root in a shell on the server.
    pub fn local(&self, args: &[&str]) -> Answer {
        Answer::of(Command::new("invirt-build").args(args).env_remove("REMOTE_USER"))
    }

    /// Has builds made by `script/lib/sbuild-stub`, for a story that is about something else.
    pub fn stub_sbuild(&self) {
        let stub = Path::new(env!("CARGO_MANIFEST_DIR")).join("../script/lib/sbuild-stub");
        fs::copy(&stub, STUB).unwrap_or_else(|e| panic!("{}: {e}", stub.display()));
    }

    /// Has builds made by sbuild again.
    pub fn unstub_sbuild(&self) {
        let _ = fs::remove_file(STUB);
    }

    /// Makes the image that virtual machines start from, unless an earlier run has.
    pub fn image(&self) {
        if !Path::new(STATE).join("chroots/bookworm-amd64.vm").exists() {
            self.local(&["chroot", "create", "bookworm", "--vm"])
                .ok()
                .says(&["image bookworm amd64 is ready"]);
        }
    }

    /// Starts the daemon with this umask.
    pub fn daemon_with_umask(&self, umask: &str) -> Daemon {
        Daemon::start_with_umask(umask)
    }

    /// Starts the daemon by perl with these arguments, which runs what follows them, with this in
    /// its environment.
    pub fn daemon_below(&self, perl: &[String], variable: &str) -> Daemon {
        let variable = format!("{variable}=1");
        let args = perl.iter().map(|arg| &arg[..]);
        let args =
            args.chain(["as-service", "env", &variable, "invirtibuilderd"]).collect::<Vec<_>>();
        Daemon::start_by("perl", &args)
    }

    /// Waits until both places for builds have the chroot unpacked.
    pub fn wait_until_ready(&self) {
        let ready = |slot: u32| {
            let entries =
                fs::read_dir(format!("{STATE}/roots/{slot}")).into_iter().flatten().flatten();
            entries
                .filter(|entry| entry.path().extension().is_some_and(|suffix| suffix == "updated"))
                .count()
                == 1
        };
        eventually("chroots are unpacked", BUILD, || ready(0) && ready(1));
    }

    /// Starts the daemon.
    pub fn daemon(&self) -> Daemon {
        Daemon::start()
    }

    /// A new package repository, made by alice, and a work tree for it.
    pub fn repo(&self, package: &str) -> Repo {
        self.build("alice", &["create-repo", package]).ok();
        Repo::new(package)
    }

    /// Submits as alice without waiting, and returns the number of the job.
    pub fn submit(&self, pocket: &str, package: &str, commit: &str) -> String {
        let answer = self.build("alice", &["--json", "submit", pocket, package, commit]).ok();
        answer.json()["job"].to_string()
    }

    /// Submits as alice and follows the job until it is published.
    pub fn publish(&self, pocket: &str, package: &str, commit: &str) -> Answer {
        self.build("alice", &["submit", pocket, package, commit, "--wait"]).ok()
    }

    /// The job, its steps and its hooks.
    pub fn status(&self, job: &str) -> Value {
        self.build("alice", &["--json", "status", job]).ok().json()
    }

    /// The state of a job.
    pub fn state(&self, job: &str) -> String {
        self.status(job)["job"]["state"].as_str().unwrap().to_owned()
    }

    /// Waits until a job is in a state, and fails at once if it ends in another.
    pub fn wait_for(&self, job: &str, wanted: &str, limit: Duration) {
        let start = Instant::now();
        loop {
            let status = self.status(job);
            let state = status["job"]["state"].as_str().unwrap();
            if state == wanted {
                return;
            }
            let ended = ["published", "failed", "cancelled"].contains(&state);
            assert!(
                !ended && start.elapsed() < limit,
                "job {job} is not {wanted}: {status:#}\n{}",
                self.tail(job)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the build of a [`Tiny::Sleeps`] sleeps.
    pub fn wait_asleep(&self, job: &str) {
        self.wait_for(job, "building", SOON);
        eventually("the build sleeps", BUILD, || {
            assert_eq!(self.state(job), "building", "{}", self.tail(job));
            !processes(Tiny::SLEEP).is_empty()
        });
    }

    /// The end of a job's build log and of the daemon's.
    fn tail(&self, job: &str) -> String {
        let log = fs::read(format!("{STATE}/logs/{job}/build.log")).unwrap_or_default();
        let start = log.len().saturating_sub(4000);
        format!("{}\n{}", String::from_utf8_lossy(&log[start..]), daemon::log())
    }

    /// Everything that a refused request must leave alone.
    pub fn snapshot(&self) -> String {
        snapshot::take()
    }

    /// Installs a hook: a shell script.
    pub fn hook(&self, event: &str, name: &str, script: &str) {
        let dir = PathBuf::from(format!("/etc/invirtibuilder/hooks/{event}.d"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// Finds a port of the loopback interface that nobody has.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Processes of the world whose command line holds `text`.
pub fn processes(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(text) {
            found.push(line);
        }
    }
    found
}

/// Removes what is in a directory, except some names.
fn empty(dir: &Path, except: &[&str]) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if except.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let path = entry.path();
        let removed = if entry.file_type().unwrap().is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}
