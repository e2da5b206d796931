//! The service under torture: its configuration, and the daemon as a process that is made to die.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Where the service keeps everything.
pub const STATE: &str = "/var/lib/invirtibuilder";
/// The archive of the second domain.
pub const LAB: &str = "/srv/apt-lab";
/// The service's user, as the world has it.
pub const SERVICE_UID: u32 = 64321;

const NOTIFY: &str = "/run/world/notify";
const LOG: &str = "/run/world/log/invirtibuilderd";
const CHROOTS: &str = "/run/world/chroots";

/// How long a daemon may take to be ready before the run is given up; what it should take is in the
/// report.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a program that has to succeed; what it printed.
pub fn run(command: &mut Command) -> Result<String> {
    let done =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() {
        bail!(
            "{command:?} ended with {}: {text}{}",
            done.status,
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(text)
}

/// A command as the service's user, with nothing of our environment.
pub fn as_service(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid=_invirtibuilder",
            "--regid=_invirtibuilder",
            "--init-groups",
            "--",
            program,
        ])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", STATE)
        .env("LC_ALL", "C.UTF-8");
    command
}

/// Sets the service up in its world, with a stub in place of sbuild and a hook for every event.
pub fn set_up() -> Result<()> {
    // The sandbox finds it before Debian's in /usr/bin; the world's /usr is its own.
    let stub = Path::new(env!("CARGO_MANIFEST_DIR")).join("../script/lib/sbuild-stub");
    fs::copy(&stub, "/usr/sbin/sbuild")
        .with_context(|| format!("cannot copy {}", stub.display()))?;
    fs::create_dir_all(CHROOTS)?;
    fs::write(format!("{CHROOTS}/bookworm-amd64.0000000000000000.tar"), "")?;
    let digest = "0".repeat(64);
    let manifest = format!(
        r#"{{ "distro": "bookworm", "architecture": "amd64", "created": 0, "digest": "{digest}", "sources": [] }}"#
    );
    fs::write(format!("{CHROOTS}/bookworm-amd64.json"), manifest)?;
    // The programs of that chroot, which make source packages, are this machine's.
    let programs = format!("{STATE}/programs/{}", &digest[..16]);
    run(as_service("mkdir").args(["-p", &format!("{programs}/usr"), &format!("{programs}/etc")]))?;
    for name in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), format!("{programs}/{name}"))?;
    }
    run(Command::new("cp").args(["-r", "/etc/dpkg", &format!("{programs}/etc/")]))?;
    run(Command::new("mount").args(["--bind", "/usr", &format!("{programs}/usr")]))?;
    let settings = format!(
        "chroots: {{ dir: {CHROOTS}, unpacked: false }}\ndaemon: {{ jobs: 3 }}\nbuild:\n  pockets:\n    \
         prod: {{ share: 2, reserve: 1, priority: [ 'princ:alice@EXAMPLE.ORG', 'princ:carol@EXAMPLE.ORG' ] }}\n    \
         dev: {{ jobs: 2 }}\n    \
         lab: {{ domain: lab, apt: stable, acl: [ 'princ:alice@EXAMPLE.ORG', 'princ:carol@EXAMPLE.ORG' ], \
         distro: bookworm, architectures: [amd64], allow_backtracking: true }}\n\
         archives: {{ lab: {{ root: {LAB}, signing_key: /etc/invirtibuilder/lab-key.asc, builds_from: [main] }} }}\n"
    );
    fs::write("/etc/invirtibuilder/conf.d/torture.yaml", settings)?;
    label(0)?;
    for event in ["submitted", "started", "published", "failed", "cancelled"] {
        let dir = format!("/etc/invirtibuilder/hooks/{event}.d");
        fs::create_dir_all(&dir)?;
        let hook = format!("{dir}/note");
        fs::write(&hook, "#!/bin/sh\nexit 0\n")?;
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755))?;
    }
    run(Command::new("invirt-build").arg("init")).map(drop)
}

/// Changes what the archive's suites say of themselves: the next start writes each of them anew.
pub fn label(number: usize) -> Result<()> {
    let text = format!("archive: {{ label: \"Torture {number}\" }}\n");
    Ok(fs::write("/etc/invirtibuilder/conf.d/label.yaml", text)?)
}

/// A daemon that was started.
pub struct Daemon {
    child: Child,
    started: Instant,
    notify: UnixDatagram,
}

/// What became of a daemon that was to become ready.
pub enum Start {
    /// It is, after this time from the start of its process.
    Ready(Daemon, Duration),
    /// It was killed before.
    Killed,
}

impl Daemon {
    /// Starts one with these failpoints, and waits until it is ready or dead.
    pub fn start(failpoints: &str) -> Result<Start> {
        let _ = fs::remove_file(NOTIFY);
        let notify = UnixDatagram::bind(NOTIFY)?;
        fs::set_permissions(NOTIFY, fs::Permissions::from_mode(0o666))?;
        notify.set_read_timeout(Some(Duration::from_millis(20)))?;
        let log = File::options().append(true).create(true).open(LOG)?;
        let started = Instant::now();
        let child = as_service("invirtibuilderd")
            .env("NOTIFY_SOCKET", NOTIFY)
            .env("FAILPOINTS", failpoints)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut daemon = Self { child, started, notify };
        loop {
            let mut text = [0; 256];
            let ready =
                daemon.notify.recv(&mut text).is_ok_and(|n| text[..n].starts_with(b"READY=1"));
            if ready {
                let took = daemon.started.elapsed();
                return Ok(Start::Ready(daemon, took));
            }
            if daemon.dead()? {
                return Ok(Start::Killed);
            }
            if daemon.started.elapsed() > PATIENCE {
                bail!("the daemon is not ready after {PATIENCE:?}: {}", log_tail());
            }
        }
    }

    /// Starts one that dies nowhere; how long it took to be ready.
    pub fn ready(failpoints: &str) -> Result<(Self, Duration)> {
        match Self::start(failpoints)? {
            Start::Ready(daemon, took) => Ok((daemon, took)),
            Start::Killed => bail!("the daemon was killed, but not by us: {}", log_tail()),
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it was killed by SIGKILL; any other end is an error.
    pub fn dead(&mut self) -> Result<bool> {
        match self.child.try_wait()? {
            None => Ok(false),
            Some(status) if status.signal() == Some(Signal::SIGKILL as i32) => Ok(true),
            Some(status) => bail!("the daemon ended by itself, with {status}: {}", log_tail()),
        }
    }

    /// Kills it.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Tells it to stop, and waits until it has.
    pub fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM)?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the daemon was told to stop and ended with {status}: {}", log_tail());
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What all daemons said.
pub fn log() -> String {
    fs::read_to_string(LOG).unwrap_or_default()
}

/// The end of it.
pub fn log_tail() -> String {
    let text = log();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join(" | ")
}
