//! Our own archive for a build that shares the host's network: over TCP, and without the mirrors,
//! which it reaches itself.
//!
//! Whoever is on this machine can connect. So everything is below a name that only the build is
//! told; and what is there are files that the archive serves to everybody.

use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context, Result};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::proxy::{Answer, Answers, FilePart, Suites, not_allowed, own, refuse, serve};

/// Our own archive on a port of the loopback interface; ends when dropped.
pub struct OpenArchive {
    task: JoinHandle<()>,
    url: String,
}

struct Door {
    path: String,
    suites: Arc<Suites>,
}

impl OpenArchive {
    /// Listens on a free port of the loopback interface.
    pub async fn start(suites: Suites) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen for apt")?;
        let mut secret = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut secret).context("no random bytes")?;
        let path = format!("/{}", invirtibuilder_core::text::hex(&secret));
        let url = format!("http://{}{path}/", listener.local_addr()?);
        let door = Arc::new(Door { path, suites: Arc::new(suites) });
        Ok(Self { task: tokio::spawn(serve(listener, door)), url })
    }

    /// Returns the archive's address; ends with a slash.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for OpenArchive {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Answers for Door {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        let path = request
            .uri()
            .path()
            .strip_prefix(&self.path)
            .filter(|_| request.uri().query().is_none());
        match (path, request.method()) {
            (_, method) if !matches!(*method, Method::GET | Method::HEAD) => not_allowed(),
            (Some(path), _) => own(&self.suites, path.to_owned(), FilePart::of(request)).await,
            (None, _) => refuse(StatusCode::FORBIDDEN, "this is for a build"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use crate::proxy::LocalSuite;
    use crate::proxy::open::*;

    #[tokio::test]
    async fn only_who_knows_the_name_gets_files_of_the_suites() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        for suite in ["stable", "unstable"] {
            std::fs::create_dir_all(root.join("dists").join(suite).join("main")).unwrap();
            std::fs::write(root.join("dists").join(suite).join("InRelease"), "ours").unwrap();
        }
        let suite = LocalSuite {
            root,
            suite: "stable".parse().unwrap(),
            components: vec!["main".parse().unwrap()],
            key: Default::default(),
        };
        let open = OpenArchive::start(Suites::of(&[suite], crate::proxy::Ledger::default()))
            .await
            .unwrap();
        let (host, name) = open.url().strip_prefix("http://").unwrap().split_once('/').unwrap();
        assert!(host.starts_with("127.0.0.1:") && name.len() == 33, "{}", open.url());
        let ask = async |method: &str, path: &str| {
            let mut stream = TcpStream::connect(host).await.unwrap();
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = ask("GET", &format!("/{name}dists/stable/InRelease")).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nours"),
            "{answer}"
        );
        for path in [
            "/dists/stable/InRelease".to_owned(),
            format!("/{name}dists/unstable/InRelease"),
            format!("/{name}dists/stable/../unstable/InRelease"),
            format!("/{name}dists/stable/InRelease?x"),
            format!("/{}dists/stable/InRelease", &name[1..]),
            format!("http://deb.debian.org/{name}dists/stable/InReleas"),
        ] {
            let answer = ask("GET", &path).await;
            assert!(
                answer.starts_with("HTTP/1.1 403 ") || answer.starts_with("HTTP/1.1 404 "),
                "{path}: {answer}"
            );
            assert!(!answer.contains("ours"), "{path}: {answer}");
        }
        let answer = ask("POST", &format!("/{name}dists/stable/InRelease")).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    }
}
