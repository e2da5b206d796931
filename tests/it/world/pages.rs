//! `invirtibuilder-web` as a process, before an API that answers.

use std::fs::{self, File};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::api::Api;
use super::{SOON, eventually, free_port};

const LOG: &str = "/run/world/log/invirtibuilder-web";
const CONFIG: &str = "/etc/invirtibuilder/conf.d/http.yaml";

/// The running processes; ended when dropped.
pub struct Pages {
    child: Child,
    /// Where the pages are, as a browser has to call it to show a ticket.
    pub url: String,
    _api: Api,
}

impl Pages {
    /// Starts both, with these keys of `http` besides where to listen.
    pub fn start(keys: &str) -> Self {
        // The port is free until somebody else takes it: in a world, that is we.
        let port = free_port();
        let listen = format!("listen: '127.0.0.1:{port}'");
        let keytab = "keytab: /etc/invirtibuilder/http.keytab";
        fs::write(CONFIG, format!("http: {{ {listen}, {keytab}, {keys} }}\n")).unwrap();
        let api = Api::start();
        let log = File::create(LOG).unwrap();
        let child = Command::new("setpriv")
            .args(["--reuid=_invirtibuilder-web", "--regid=_invirtibuilder-web", "--clear-groups"])
            .arg("invirtibuilder-web")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let scheme = if keys.contains("tls:") { "https" } else { "http" };
        let mut pages = Self { child, url: format!("{scheme}://localhost:{port}"), _api: api };
        eventually("the pages are there", SOON, || {
            let ended = pages.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", fs::read_to_string(LOG).unwrap());
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        pages
    }

    /// What curl(1) gets that has somebody's ticket, keeps cookies, and goes where it is led.
    #[track_caller]
    pub fn curl(&self, who: &str, path: &str, args: &[&str]) -> String {
        let done = self.try_curl(who, path, args);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    /// The same, that may fail.
    pub fn try_curl(&self, who: &str, path: &str, args: &[&str]) -> Output {
        Command::new("as")
            .args([who, "curl", "--silent", "--show-error", "--max-time", "60", "--location"])
            .args(["--negotiate", "--user", ":"])
            .args([
                "--cookie",
                &format!("/tmp/{who}.jar"),
                "--cookie-jar",
                &format!("/tmp/{who}.jar"),
            ])
            .args(args)
            .arg(format!("{}{path}", self.url))
            .output()
            .unwrap()
    }

    /// Sends a signal to the server of the pages.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    /// Waits until the server of the pages has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// What the server of the pages has said.
    pub fn said(&self) -> String {
        fs::read_to_string(LOG).unwrap()
    }

    /// The process id of the server of the pages.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(CONFIG);
        if std::thread::panicking() {
            eprintln!("the pages said: {}", fs::read_to_string(LOG).unwrap_or_default());
        }
    }
}
