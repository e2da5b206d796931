//! `invirtibuilder-api` as a process, and what its clients get.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::{SOON, eventually};

const LOG: &str = "/run/world/log/invirtibuilder-api";

/// Where it speaks HTTP.
pub const SOCKET: &str = "/run/invirtibuilder/http";

/// The running process; killed when dropped. Later commands of remctl are answered by processes of their own.
pub struct Api {
    child: Child,
}

/// An answer by HTTP.
#[derive(Debug)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// The headers, as they came.
    pub headers: String,
    /// The body.
    pub body: String,
}

impl HttpAnswer {
    /// The body, which is JSON, of an answer that served the request.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Demands a refusal with this status that says these words.
    #[track_caller]
    pub fn refused(&self, status: u16, words: &[&str]) {
        assert_eq!(self.status, status, "{self:?}");
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], status, "{self:?}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(words.iter().all(|word| detail.contains(word)), "{words:?}: {self:?}");
    }
}

impl Api {
    /// Starts it as the service's user, in place of the world's own, and waits until it answers.
    pub fn start() -> Self {
        end_all();
        let _ = fs::remove_file(SOCKET);
        let log = File::create(LOG).unwrap();
        let child = Command::new("as-service")
            .arg("invirtibuilder-api")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut api = Self { child };
        eventually("the API answers", SOON, || {
            let ended = api.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", fs::read_to_string(LOG).unwrap());
            Path::new(SOCKET).exists()
        });
        api
    }

    /// Asks with curl(1), as a user with a ticket, `who`: by Kerberos if `args` say `--negotiate`.
    #[track_caller]
    pub fn ask(&self, who: &str, path: &str, args: &[&str]) -> HttpAnswer {
        let ticket = format!("/run/world/tickets/{who}");
        let done = Command::new("curl")
            .args(["--silent", "--show-error", "--include", "--max-time", "60"])
            .args(["--unix-socket", SOCKET])
            .args(args)
            .arg(format!("http://localhost{path}"))
            .env("KRB5CCNAME", ticket)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        // What is before a second round is not the answer.
        let last = text.rfind("HTTP/1.1 ").unwrap();
        let (headers, body) = text[last..].split_once("\r\n\r\n").unwrap();
        let status = headers[9..12].parse().unwrap();
        HttpAnswer { status, headers: headers.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// Asks with a ticket.
    #[track_caller]
    pub fn with_ticket(&self, who: &str, path: &str, args: &[&str]) -> HttpAnswer {
        self.ask(who, path, &[&["--negotiate", "--user", ":"], args].concat())
    }

    /// Asks with a token or a session.
    #[track_caller]
    pub fn with_token(&self, token: &str, path: &str, args: &[&str]) -> HttpAnswer {
        let header = format!("Authorization: Bearer {token}");
        self.ask("nobody", path, &[&["--header", &header], args].concat())
    }

    /// Sends JSON with a token or a session.
    #[track_caller]
    pub fn post(&self, token: &str, path: &str, body: &Value, args: &[&str]) -> HttpAnswer {
        let body = body.to_string();
        let json = ["--json", &body];
        self.with_token(token, path, &[&json, args].concat())
    }
}

/// Ends those that run, so that another may listen.
fn end_all() {
    let _ = Command::new("pkill").args(["-KILL", "-f", "^invirtibuilder-api"]).status();
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the API said: {}", fs::read_to_string(LOG).unwrap_or_default());
        }
    }
}
