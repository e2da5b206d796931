//! The only way out of a sandbox: an HTTP proxy on a Unix socket, which gives out files of the
//! chroot's mirrors, and of those suites of our own archive that may satisfy its build
//! dependencies.
//!
//! It passes nothing on: a request only names a file. GET and HEAD are answered, for what is below
//! one of the mirrors; the daemon itself fetches it, and keeps it for the next build (see
//! [`Cache`]). A sandbox can so read what the mirrors have, and send nothing to anybody but the
//! names of their files. Our own archive is under the name [`HOST`] ([`Suites`]).

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Waker, Poll};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::Stream;
use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::io::ReaderStream;

#[cfg(test)]
mod apt;
mod cache;
mod held;
mod lists;
mod mirrors;
mod open;
mod suites;
mod sums;

pub use cache::{Cache, LIMIT};
use cache::{Take, Trouble};
use held::{HeldBytes, ProxyRoom};
pub use lists::{Lists, Stale};
pub use mirrors::{Mirrors, seen_inside};
pub use open::OpenArchive;
pub use suites::{HOST, Ledger, LocalSuite, Suites};

/// Connections of one build at a time. apt has one for each mirror.
const CONNECTIONS: usize = 32;

/// Files that are fetched for one build at a time.
const FETCHES: usize = 4;

/// How long a client may take over the head of a request.
const PATIENCE: Duration = Duration::from_secs(60);

/// The proxy of one build; ends when dropped.
pub struct Proxy {
    task: JoinHandle<()>,
}

/// Where clients come from.
trait Listener: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for UnixListener {
    type Stream = UnixStream;
    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    async fn next(&self) -> io::Result<TcpStream> {
        Ok(self.accept().await?.0)
    }
}

/// What clients are told.
trait Answers: Send + Sync + 'static {
    fn answer(&self, request: &Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// The proxy of one build, without a place where it listens: connections come from elsewhere.
#[derive(Clone)]
pub struct Gate {
    service: Arc<ProxyService>,
    room: Arc<Semaphore>,
}

struct ProxyService {
    mirrors: Mirrors,
    suites: Arc<Suites>,
    cache: Cache,
    fetches: Semaphore,
    /// URLs of what was given out, hashed.
    given: Mutex<HashSet<u64>>,
    room: ProxyRoom,
}

impl Proxy {
    /// Listens on a new socket. What the build holds of the disk by this proxy is at most `room`
    /// bytes.
    pub fn start(
        socket: &Path,
        mirrors: Mirrors,
        suites: Suites,
        cache: Cache,
        room: u64,
    ) -> Result<Self> {
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("cannot listen on {}", socket.display()))?;
        let service = Arc::new(ProxyService::new(mirrors, suites, cache, room));
        Ok(Self { task: tokio::spawn(serve(listener, service)) })
    }
}

impl ProxyService {
    fn new(mirrors: Mirrors, suites: Suites, cache: Cache, room: u64) -> Self {
        let suites = Arc::new(suites);
        let (fetches, given, room) =
            (Semaphore::new(FETCHES), Mutex::default(), ProxyRoom::new(room));
        Self { mirrors, suites, cache, fetches, given, room }
    }
}

impl Gate {
    /// Makes one. What the build holds of the disk by it is at most `room` bytes.
    pub fn new(mirrors: Mirrors, suites: Suites, cache: Cache, room: u64) -> Self {
        let service = Arc::new(ProxyService::new(mirrors, suites, cache, room));
        Self { service, room: Arc::new(Semaphore::new(CONNECTIONS)) }
    }

    /// Answers one client to the end of its connection, once there is a place for it.
    pub async fn converse(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Ok(_place) = self.room.clone().acquire_owned().await else { return };
        converse(stream, self.service.clone()).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: impl Listener, service: Arc<impl Answers>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // Connections end with this task.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok(place) = room.clone().acquire_owned().await {
        while connections.try_join_next().is_some() {}
        match listener.next().await {
            Ok(stream) => {
                let service = service.clone();
                connections.spawn(async move {
                    converse(stream, service).await;
                    drop(place);
                });
            }
            // Out of descriptors: others close theirs.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: Arc<impl Answers>,
) {
    let answer = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, io::Error>(service.answer(&request).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(64 << 10);
    // A client that goes away, or speaks no HTTP, is its own affair.
    let _ = http.serve_connection(TokioIo::new(stream), answer).await;
}

/// An answer of ours.
pub type Answer = Response<Either<Full<Bytes>, FileBody>>;

impl Answers for ProxyService {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return not_allowed();
        }
        let head = request.method() == Method::HEAD;
        if is_ours(request.uri()) {
            return own(&self.suites, request.uri().path().to_owned(), FilePart::of(request)).await;
        }
        let Some(url) = self.mirrors.find(request.uri()) else {
            return refuse(StatusCode::FORBIDDEN, "this is no file of the mirrors of this chroot");
        };
        let Ok(_turn) = self.fetches.acquire().await else {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "the proxy is ending");
        };
        let mut held = self.room.hold();
        let take = if !head && self.was_given(&url) { Take::New } else { Take::Kept };
        match self.cache.get(&url, take, &mut held).await {
            Ok(file) => {
                if !head {
                    self.given.lock().unwrap_or_else(PoisonError::into_inner).insert(digest(&url));
                }
                send(file, FilePart::of(request), Some(held)).await
            }
            Err(Trouble::Absent) => refuse(StatusCode::NOT_FOUND, "the mirror does not have it"),
            Err(Trouble::NoRoom) => refuse(
                StatusCode::INSUFFICIENT_STORAGE,
                "the build has as many files of mirrors open and unread as limits.disk lets it",
            ),
            Err(Trouble::Other(error)) => refuse(
                StatusCode::BAD_GATEWAY,
                &invirtibuilder_core::text::one_line(&format!("{error:#}")),
            ),
        }
    }
}

impl ProxyService {
    fn was_given(&self, url: &str) -> bool {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).contains(&digest(url))
    }
}

/// Returns what a URL is remembered by: mirrors have many.
fn digest(url: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    url.hash(&mut hasher);
    hasher.finish()
}

/// Answers with a file of our own archive.
async fn own(suites: &Arc<Suites>, path: String, part: FilePart) -> Answer {
    let suites = suites.clone();
    // An index may be long.
    let found = tokio::task::spawn_blocking(move || suites.find(&path)).await;
    match found.map_err(anyhow::Error::from).and_then(|found| found) {
        Ok(Some(path)) => match tokio::fs::File::open(&path).await {
            Ok(file) => send(file, part, None).await,
            Err(_) => refuse(StatusCode::NOT_FOUND, "the archive does not have it"),
        },
        Ok(None) => {
            refuse(StatusCode::FORBIDDEN, "this is no file of a suite that this build may use")
        }
        Err(error) => refuse(
            StatusCode::BAD_GATEWAY,
            &invirtibuilder_core::text::one_line(&format!("{error:#}")),
        ),
    }
}

/// What of a file is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilePart {
    /// Its length.
    Head,
    /// All of it.
    All,
}

impl FilePart {
    fn of(request: &Request<Incoming>) -> Self {
        if request.method() == Method::HEAD { Self::Head } else { Self::All }
    }
}

fn not_allowed() -> Answer {
    refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD pass")
}

fn is_ours(uri: &Uri) -> bool {
    uri.scheme_str() == Some("http")
        && uri.query().is_none()
        && uri.authority().is_some_and(|to| to.as_str() == HOST)
}

/// Answers with a file, or with what is known of it.
pub async fn send(file: tokio::fs::File, part: FilePart, held: Option<HeldBytes>) -> Answer {
    let length = match file.metadata().await {
        Ok(about) if about.is_file() => about.len(),
        _ => return refuse(StatusCode::NOT_FOUND, "this is no file"),
    };
    let body = if part == FilePart::Head {
        Either::Left(Full::default())
    } else {
        Either::Right(FileBody(ReaderStream::new(file), held))
    };
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    answer
}

/// Answers with a sentence.
pub fn refuse(status: StatusCode, why: &str) -> Answer {
    let mut answer = Response::new(Either::Left(Full::from(format!("{why}\n"))));
    *answer.status_mut() = status;
    answer
}

/// A file as a message's body, and what it takes of a build's room while it is open.
pub struct FileBody(ReaderStream<tokio::fs::File>, #[allow(dead_code)] Option<HeldBytes>);

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        waker: &mut Waker<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.0).poll_next(waker).map_ok(Frame::data)
    }
}

#[cfg(test)]
mod tests {

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::proxy::LocalSuite;
    use crate::proxy::*;

    async fn ask(socket: &Path, request: &str) -> String {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn files_of_mirrors_are_given_out_and_nothing_else_passes() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(&dir.path().join("cache")).unwrap();
        cache.helper = "/bin/false".into();
        cache.put("http://deb.example.org/debian/pool/x.deb", b"a package");
        let mirrors = Mirrors::of(&[invirtibuilder_core::manifest::AptSource {
            uri: "http://deb.example.org/debian/".into(),
            suite: "bookworm".parse().unwrap(),
            components: Vec::new(),
            key: None,
            options: Vec::new(),
        }]);
        let socket = dir.path().join("proxy");
        let root = dir.path().join("apt");
        std::fs::create_dir_all(root.join("dists/stable/main")).unwrap();
        std::fs::write(root.join("dists/stable/InRelease"), "ours").unwrap();
        let suite = LocalSuite {
            root,
            suite: "stable".parse().unwrap(),
            components: vec!["main".parse().unwrap()],
            key: Default::default(),
        };
        let _proxy = Proxy::start(
            &socket,
            mirrors,
            Suites::of(&[suite], Ledger::default()),
            cache.clone(),
            100,
        )
        .unwrap();
        let get = |method: &str, url: &str| {
            format!(
                "{method} {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            )
        };

        let answer = ask(&socket, &get("GET", "http://deb.example.org/debian/pool/x.deb")).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\na package"),
            "{answer}"
        );
        let answer = ask(&socket, &get("HEAD", "http://deb.example.org/debian/pool/x.deb")).await;
        assert!(
            answer.contains("content-length: 9\r\n") && answer.ends_with("\r\n\r\n"),
            "{answer}"
        );
        let answer = ask(&socket, &get("GET", "http://deb.example.org/debian/pool/x.deb")).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "the mirror is asked again: {answer}");
        cache.put("http://deb.example.org/debian/pool/y.deb", &[0; 101]);
        let answer = ask(&socket, &get("GET", "http://deb.example.org/debian/pool/y.deb")).await;
        assert!(answer.starts_with("HTTP/1.1 507 ") && answer.contains("limits.disk"), "{answer}");
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
            let answer =
                ask(&socket, &get(method, "http://deb.example.org/debian/pool/x.deb")).await;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        }
        let answer = ask(&socket, &get("CONNECT", "deb.example.org:443")).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        let answer =
            ask(&socket, &get("GET", "http://archive.invalid/dists/stable/InRelease")).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nours"),
            "{answer}"
        );
        for url in
            ["http://archive.invalid/dists/stable/main", "http://archive.invalid/dists/stable/x"]
        {
            let answer = ask(&socket, &get("GET", url)).await;
            assert!(answer.starts_with("HTTP/1.1 404 "), "{url}: {answer}");
        }
        for url in [
            "http://127.0.0.1:22/",
            "http://other.example.org/debian/",
            "/debian/pool/x.deb",
            "http://archive.invalid/dists/unstable/InRelease",
            "http://archive.invalid/archive-key.asc",
            "http://archive.invalid:80/dists/stable/InRelease",
            "http://archive.invalid/dists/stable/InRelease?x",
        ] {
            let answer = ask(&socket, &get("GET", url)).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{url}: {answer}");
        }
    }
}
