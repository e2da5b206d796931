//! The daemon as a process: started, told things by signals, killed.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{SOON, STATE, eventually};

const LOG: &str = "/run/world/log/invirtibuilderd";

/// A running daemon; killed with everything below it when dropped.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts it as the service's user, and waits until it listens.
    pub fn start() -> Self {
        Self::start_with_umask("022")
    }

    /// Starts it with this umask.
    pub fn start_with_umask(umask: &str) -> Self {
        Self::start_by("sh", &["-c", &format!("umask {umask}; exec as-service invirtibuilderd")])
    }

    /// Starts it by a command that becomes it.
    pub fn start_by(program: &str, args: &[&str]) -> Self {
        let log = File::create(LOG).unwrap();
        let bell = format!("{STATE}/wake");
        let _ = fs::remove_file(&bell);
        let child = Command::new(program)
            .args(args)
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut daemon = Self { child };
        eventually("the daemon listens", SOON, || {
            assert!(
                daemon.child.try_wait().unwrap().is_none(),
                "the daemon ended: {}",
                self::log()
            );
            Path::new(&bell).exists()
        });
        daemon
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// The time that it has had of processors, without that of programs which it ran.
    pub fn computed(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        // Ticks of 1/100 s: those in user mode, and in the kernel (proc(5), fields 14 and 15).
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// What proc(5) says of its memory by this name (`VmRSS`, `VmHWM`), in KiB.
    pub fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Lets its highest memory be that of now.
    pub fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    /// Whether it runs still.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Tells it to stop, and waits until it has.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        eventually("the daemon stops", Duration::from_secs(70), || !self.runs());
        self.child.wait().unwrap()
    }

    /// Kills it as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            // Builds end with the daemon when it is told to stop; a story that failed has no more
            // time than that.
            let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
            for _ in 0..500 {
                if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the daemon said: {}", log());
        }
    }
}

/// What the daemon has said.
pub fn log() -> String {
    fs::read_to_string(LOG).unwrap_or_default()
}
