//! A real sshd for the service's user, and clients that log in by key or by ticket.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};

use super::{Answer, SOON, STATE, eventually, free_port, run};

const DIR: &str = "/run/world/ssh";
const USER: &str = "_invirtibuilder";

/// A running sshd; ended when dropped.
pub struct Sshd {
    child: Child,
    port: u16,
}

/// How a client shows who it is.
#[derive(Debug, Clone, Copy)]
pub enum Login {
    /// With the key of that name.
    Key,
    /// With the ticket of that name.
    Ticket,
}

impl Sshd {
    /// Starts one as `docs/how-to/ssh.md` configures it, with more lines at the end.
    pub fn start(more: &str) -> Self {
        prepare();
        let config = format!(
            "HostKey {DIR}/host\nListenAddress 127.0.0.1\nPidFile none\nUsePAM no\nAllowUsers {USER}\n\
             AuthorizedKeysFile none\nAuthorizedKeysCommand /usr/bin/invirt-build authorized-keys %u\n\
             AuthorizedKeysCommandUser {USER}\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n{more}"
        );
        for _ in 0..5 {
            let port = free_port();
            let file = format!("{DIR}/config-{port}");
            fs::write(&file, &config).unwrap();
            let mut child = Command::new("/usr/sbin/sshd")
                .args(["-D", "-f", &file, "-p", &port.to_string(), "-E", "/run/world/log/sshd"])
                .stdin(std::process::Stdio::null())
                .spawn()
                .unwrap();
            let mut ended = false;
            eventually("sshd listens", SOON, || {
                ended = child.try_wait().unwrap().is_some();
                ended || TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
            if !ended {
                return Self { child, port };
            }
        }
        panic!(
            "sshd does not start: {}",
            fs::read_to_string("/run/world/log/sshd").unwrap_or_default()
        );
    }

    /// What a client answers that asks for `line`, with more options for it.
    pub fn ask(
        &self,
        login: Login,
        who: &str,
        options: &[&str],
        line: impl AsRef<OsStr>,
    ) -> Answer {
        let mut command = self.ssh(login, who);
        command.args(options).arg(format!("{USER}@localhost"));
        if !line.as_ref().is_empty() {
            command.arg("--").arg(line);
        }
        Answer::of(&mut command)
    }

    /// A client that stays logged in: its requests are quick.
    pub fn client(&self, login: Login, who: &'static str) -> Client<'_> {
        let socket = format!("{DIR}/{who}-{login:?}-{}", self.port);
        let mut command = self.ssh(login, who);
        command.args(["-N", "-M", "-S", &socket, &format!("{USER}@localhost")]);
        let null = std::process::Stdio::null;
        let master = command.stdin(null()).stdout(null()).stderr(null()).spawn().unwrap();
        eventually("the client is logged in", SOON, || fs::exists(&socket).unwrap());
        Client { sshd: self, login, who, socket, master }
    }

    fn ssh(&self, login: Login, who: &str) -> Command {
        let mut command = Command::new("as");
        command.args([who, "ssh", "-F", "/dev/null", "-4", "-p", &self.port.to_string(), "-T"]);
        let method = match login {
            Login::Key => "PreferredAuthentications=publickey",
            Login::Ticket => "PreferredAuthentications=gssapi-with-mic",
        };
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "LogLevel=ERROR",
            "GSSAPIAuthentication=yes",
            method,
        ] {
            command.args(["-o", option]);
        }
        command.args([
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "IdentitiesOnly=yes",
            "-i",
            &format!("{DIR}/{who}"),
        ]);
        command
    }
}

/// A client that stays logged in until it is dropped.
pub struct Client<'a> {
    sshd: &'a Sshd,
    login: Login,
    who: &'static str,
    socket: String,
    master: Child,
}

impl Client<'_> {
    /// What it answers that asks for `line`.
    pub fn ask(&self, line: impl AsRef<OsStr>) -> Answer {
        self.sshd.ask(self.login, self.who, &["-S", &self.socket], line)
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        let _ = self.master.kill();
        let _ = self.master.wait();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "sshd said: {}",
                fs::read_to_string("/run/world/log/sshd").unwrap_or_default()
            );
        }
    }
}

/// The user's shell, keys of alice and mallory, and who may log in by ticket.
fn prepare() {
    run("usermod", &["--shell", "/bin/sh", "--password", "*", USER]);
    fs::create_dir_all(DIR).unwrap();
    let keys = "/etc/invirtibuilder/ssh-keys";
    fs::create_dir_all(keys).unwrap();
    for name in ["host", "alice", "mallory", "stranger"] {
        let key = format!("{DIR}/{name}");
        if !fs::exists(&key).unwrap() {
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", &key]);
        }
        if ["alice", "mallory"].contains(&name) {
            fs::copy(format!("{key}.pub"), format!("{keys}/{name}@EXAMPLE.ORG")).unwrap();
        }
    }
    fs::write("/etc/invirtibuilder/conf.d/ssh.yaml", format!("ssh: {{ keys: {keys} }}\n")).unwrap();
    let k5login = format!("{STATE}/.k5login");
    fs::write(&k5login, "alice@EXAMPLE.ORG\nmallory@EXAMPLE.ORG\n").unwrap();
    fs::set_permissions(&k5login, fs::Permissions::from_mode(0o644)).unwrap();
}
