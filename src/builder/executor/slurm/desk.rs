//! Answers nodes: gives each start of a job of Slurm's a session of its own, and takes from that
//! session the log and the results of its build.
//!
//! A node is believed no more than a package. A session is had for the right that the script has, by
//! the start that Slurm itself names, from the node that Slurm names, once and for a while; it ends
//! an earlier start's. What comes over a session is bounded by the limits of the build, and counts
//! only if the record names the session still.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;

use crate::executor::slurm::book::{NodeStart, SlurmBook};
use crate::executor::slurm::commands::{self, JobDescription};
use crate::executor::slurm::log::ClusterLog;
use crate::executor::slurm::protocol::{
    self, Assignment, BuildEnd, MOST_JSON, MOST_REASON, MOST_RESULTS, OfferedFile, StartAnswer,
    StartRequest, is_plain_name,
};
use crate::executor::slurm::tls::ServerIdentity;
use crate::proxy::{self, Cache, Gate, Ledger, Lists, LocalSuite, Mirrors, Stale, Suites};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::manifest::Manifest;
use invirtibuilder_core::names::PocketName;
use invirtibuilder_core::text::hex;
use invirtibuilder_core::time::now;
use invirtibuilder_system::subprocess::CancellationToken;

/// Connections at one time.
const CONNECTIONS: usize = 4096;

/// How long a node may take to agree on keys, and for the head of a request.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long after a start's job runs its right is good.
const GOOD: Duration = Duration::from_secs(5 * 60);

/// How far the clocks of node and daemon may be apart: apt believes no list of the future.
const CLOCKS: Duration = Duration::from_secs(30);

/// The daemon's end of all builds on nodes.
pub struct NodeDesk {
    book: Arc<dyn SlurmBook>,
    cache: PathBuf,
    digest: String,
    state: Mutex<DeskState>,
}

#[derive(Default)]
struct DeskState {
    expected: HashMap<String, Arc<ExpectedBuild>>,
    /// By the SHA-256 of their keys.
    sessions: HashMap<[u8; 32], Arc<NodeSession>>,
}

/// A build that a node may begin.
pub struct ExpectedBuild {
    /// The job's name.
    pub name: String,
    /// The SHA-256 of the right.
    pub bootstrap: [u8; 32],
    /// What a node is told.
    pub assignment: Assignment,
    /// The files of the source package, in the order of the assignment.
    pub sources: Vec<PathBuf>,
    /// The files of the chroot or image, by the names that they have in the assignment.
    pub environment: Vec<(&'static str, PathBuf)>,
    /// The manifest of the chroot or image, with the passwords of its mirrors.
    pub manifest: Manifest,
    /// The suites that the build may have.
    pub local: Vec<LocalSuite>,
    /// The names in those suites, as JSON, if they are known.
    pub others: Option<Bytes>,
    /// A pocket that builds on this machine, if one does.
    pub builds_here: Option<PocketName>,
    /// Its part of the log.
    pub log: Arc<ClusterLog>,
    /// An empty directory.
    pub scratch: PathBuf,
    /// Who waits for it.
    pub events: mpsc::UnboundedSender<NodeEvent>,
    /// The start that was seen running last, by how often it was started again, and since when.
    pub running: Mutex<Option<(u32, Instant)>>,
    /// Why a start that had the right got no session, if one did not.
    pub refused: Mutex<Option<String>>,
}

/// What became of a build.
pub enum NodeEvent {
    /// A start has its session.
    Started(Arc<NodeSession>),
    /// It is over, and this is what was made. The record has admitted it.
    Ended {
        /// Why it failed, if it did.
        result: Result<(), Failure>,
        /// The directory of what it made.
        results: PathBuf,
        /// What it was given of our own suites.
        given: Ledger,
        /// The node.
        node: String,
    },
}

/// The session of one start.
pub struct NodeSession {
    build: Arc<ExpectedBuild>,
    start: NodeStart,
    key: [u8; 32],
    over: CancellationToken,
    heard: Mutex<Instant>,
    dir: PathBuf,
    room: AtomicU64,
    results: AtomicUsize,
    given: Ledger,
    gates: Mutex<HashMap<&'static str, Gate>>,
}

impl NodeSession {
    /// Returns the start that it is of.
    pub fn start(&self) -> &NodeStart {
        &self.start
    }

    /// Returns how long ago the node was heard last.
    pub fn silent_for(&self) -> Duration {
        lock(&self.heard).elapsed()
    }

    fn hear(&self) {
        *lock(&self.heard) = Instant::now();
    }
}

/// Locks what no panic leaves half changed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a node gets nothing.
struct NodeRefusal(StatusCode, String);

impl NodeRefusal {
    fn no(why: impl Into<String>) -> Self {
        Self(StatusCode::FORBIDDEN, why.into())
    }
}

impl<E: Into<anyhow::Error>> From<E> for NodeRefusal {
    fn from(error: E) -> Self {
        let text = invirtibuilder_core::text::one_line(&format!("{:#}", error.into()));
        Self(StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

impl NodeDesk {
    /// Listens for nodes, for as long as the program runs.
    pub async fn open(
        listen: SocketAddr,
        cache: PathBuf,
        book: Arc<dyn SlurmBook>,
    ) -> Result<Arc<Self>> {
        let ServerIdentity { config, digest } = ServerIdentity::new()?;
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("slurm.listen: nodes cannot be answered at {listen}: choose another address, or end what has it")
        })?;
        let desk = Arc::new(Self { book, cache, digest, state: Mutex::default() });
        tokio::spawn(desk.clone().serve(listener, TlsAcceptor::from(config)));
        Ok(desk)
    }

    /// Returns the SHA-256 of the certificate, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Lets nodes begin a build.
    pub fn expect(&self, build: Arc<ExpectedBuild>) {
        lock(&self.state).expected.insert(build.name.clone(), build);
    }

    /// Lets nobody begin a build any more, and ends the session that it has.
    pub fn forget(&self, name: &str) {
        let mut state = lock(&self.state);
        state.expected.remove(name);
        state.sessions.retain(|_, session| {
            let stays = session.build.name != name;
            if !stays {
                session.over.cancel();
            }
            stays
        });
    }

    async fn serve(self: Arc<Self>, listener: TcpListener, tls: TlsAcceptor) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        while let Ok(place) = room.clone().acquire_owned().await {
            let Ok((stream, peer)) = listener.accept().await else {
                // Out of descriptors: others close theirs.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let _ = stream.set_nodelay(true);
            let (desk, tls) = (self.clone(), tls.clone());
            tokio::spawn(async move {
                desk.connection(stream, peer.ip().to_canonical(), tls).await;
                drop(place);
            });
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: IpAddr, tls: TlsAcceptor) {
        let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, tls.accept(stream)).await else {
            return;
        };
        let answer = service_fn(move |request| {
            let desk = self.clone();
            async move { Ok::<_, std::convert::Infallible>(desk.answer(peer, request).await) }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(64 << 10);
        // A node that goes away is noticed by its silence.
        let _ = http.serve_connection(TokioIo::new(stream), answer).with_upgrades().await;
    }

    async fn answer(&self, peer: IpAddr, request: Request<Incoming>) -> proxy::Answer {
        let is_start = request.method() == Method::POST && request.uri().path() == "/start";
        let answer =
            if is_start { self.start(peer, request).await } else { self.in_session(request).await };
        answer.unwrap_or_else(|NodeRefusal(status, why)| {
            let mut answer = proxy::refuse(status, &why);
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            answer
        })
    }

    /// Exchanges a right for a session.
    async fn start(
        &self,
        peer: IpAddr,
        request: Request<Incoming>,
    ) -> Result<proxy::Answer, NodeRefusal> {
        let asked: StartRequest = json(request, 64 << 10).await?;
        match self.session_for(peer, &asked).await {
            Ok(answer) => Ok(answer),
            Err(refusal) => {
                self.book.refused(&asked.name, &peer.to_string(), &refusal.1);
                Err(refusal)
            }
        }
    }

    async fn session_for(
        &self,
        peer: IpAddr,
        asked: &StartRequest,
    ) -> Result<proxy::Answer, NodeRefusal> {
        let build = lock(&self.state).expected.get(&asked.name).cloned();
        // Who has not the right learns nothing.
        let build = build
            .filter(|build| build.bootstrap == digest_of(&asked.right))
            .ok_or_else(|| NodeRefusal::no("this right is good for nothing"))?;
        let answered = self.session_of(peer, asked, &build).await;
        if let Err(NodeRefusal(_, why)) = &answered {
            *lock(&build.refused) = Some(why.clone());
        }
        answered
    }

    /// Gives a session of a build to a start that has the right.
    async fn session_of(
        &self,
        peer: IpAddr,
        asked: &StartRequest,
        build: &Arc<ExpectedBuild>,
    ) -> Result<proxy::Answer, NodeRefusal> {
        let own = env!("CARGO_PKG_VERSION");
        if asked.version != own {
            let why = format!(
                "this node has another version than the daemon, which is {own}: install that one"
            );
            return Err(NodeRefusal(StatusCode::UPGRADE_REQUIRED, why));
        }
        let ahead = asked.now.saturating_sub(now());
        let apart = Duration::from_millis(ahead.unsigned_abs());
        if apart > CLOCKS {
            let which = if ahead > 0 { "ahead of" } else { "behind" };
            return Err(NodeRefusal::no(format!(
                "the clock of node {} is {} s {which} the daemon's: have both keep the time (chrony, systemd-timesyncd)",
                invirtibuilder_core::text::one_line(&asked.node),
                apart.as_secs()
            )));
        }
        let said = commands::describe(asked.number, &CancellationToken::new()).await?;
        is_the_start(build, asked, &said)?;
        let of_node = commands::addresses(&asked.node, &CancellationToken::new()).await?;
        if !of_node.contains(&peer) {
            return Err(NodeRefusal::no(format!(
                "{peer} is not the address of node {}",
                asked.node
            )));
        }
        if let Some(pocket) = build.builds_here.as_ref().filter(|_| is_own(peer)) {
            return Err(NodeRefusal::no(format!(
                "node {} is the machine of the daemon, where pocket {pocket} builds, too, with the same subordinate ids: \
                 write executor: slurm for all pockets, or leave it out of the partition",
                asked.node
            )));
        }
        let key = new_secret()?;
        let digest = digest_of(&key);
        let start =
            NodeStart { number: asked.number, again: asked.again, node: asked.node.clone() };
        let dir = build.scratch.join(format!("results-{}-{}", asked.number, asked.again));
        if !self.book.start(&build.name, &start, &digest)? {
            return Err(NodeRefusal::no("this start has had its session, or a later one has"));
        }
        fs::create_dir_all(&dir)?;
        let session = Arc::new(NodeSession {
            room: AtomicU64::new(build.assignment.limits.disk),
            build: build.clone(),
            start,
            key: digest,
            over: CancellationToken::new(),
            heard: Mutex::new(Instant::now()),
            dir,
            results: AtomicUsize::new(0),
            given: Ledger::default(),
            gates: Mutex::default(),
        });
        {
            let mut state = lock(&self.state);
            if !state.expected.contains_key(&build.name) {
                return Err(NodeRefusal(StatusCode::GONE, "the build is over".to_owned()));
            }
            // The record names this session now: an earlier start's is over.
            state.sessions.retain(|_, other| {
                let stays = other.build.name != build.name;
                if !stays {
                    other.over.cancel();
                }
                stays
            });
            state.sessions.insert(digest, session.clone());
        }
        let _ = build.events.send(NodeEvent::Started(session));
        let answer = StartAnswer { session: key, build: build.assignment.clone() };
        Ok(said_in_json(&answer)?)
    }

    /// Answers what is asked with the key of a session, for as long as that lasts.
    async fn in_session(&self, request: Request<Incoming>) -> Result<proxy::Answer, NodeRefusal> {
        let key = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let digest = key.and_then(|key| key.strip_prefix("Bearer ")).map(digest_of);
        let session = digest.and_then(|digest| lock(&self.state).sessions.get(&digest).cloned());
        let session = session
            .ok_or_else(|| NodeRefusal(StatusCode::GONE, "there is no such session".to_owned()))?;
        session.hear();
        let answered = tokio::select! {
            biased;
            () = session.over.cancelled() => None,
            answer = self.answer_session(&session, request) => Some(answer),
        };
        answered.unwrap_or_else(|| {
            Err(NodeRefusal(StatusCode::GONE, "this session is over".to_owned()))
        })
    }

    async fn answer_session(
        &self,
        session: &Arc<NodeSession>,
        request: Request<Incoming>,
    ) -> Result<proxy::Answer, NodeRefusal> {
        let path = request.uri().path().to_owned();
        let (what, which) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
        match (request.method(), what) {
            (&Method::GET, "source") => {
                let file = which.parse().ok().and_then(|n: usize| session.build.sources.get(n));
                give(file.map(PathBuf::as_path)).await
            }
            (&Method::GET, "environment") => {
                let file = session.build.environment.iter().find(|(name, _)| *name == which);
                give(file.map(|(_, path)| path.as_path())).await
            }
            (&Method::GET, "others") => {
                let names = session.build.others.clone().unwrap_or_default();
                Ok(Response::new(Either::Left(Full::from(names))))
            }
            (&Method::GET, "proxy") => self.proxy(session, which, request),
            (&Method::POST, "beat") => Ok(nothing()),
            (&Method::POST, "log") => log(session, request).await,
            (&Method::PUT, "result") => result(session, which, request).await,
            (&Method::POST, "end") => self.end(session, request).await,
            _ => {
                Err(NodeRefusal(StatusCode::NOT_FOUND, "there is nothing of this name".to_owned()))
            }
        }
    }

    /// Makes the connection one to the build's proxy.
    fn proxy(
        &self,
        session: &Arc<NodeSession>,
        which: &str,
        request: Request<Incoming>,
    ) -> Result<proxy::Answer, NodeRefusal> {
        let gate = self.gate(session, which)?;
        let asks = request.headers().get(UPGRADE).is_some_and(|it| it == protocol::UPGRADE);
        if !asks {
            return Err(NodeRefusal(StatusCode::UPGRADE_REQUIRED, "ask for the proxy".to_owned()));
        }
        let session = session.clone();
        tokio::spawn(async move {
            let Ok(stream) = hyper::upgrade::on(request).await else { return };
            tokio::select! {
                () = session.over.cancelled() => {}
                () = gate.converse(TokioIo::new(stream)) => {}
            }
        });
        let mut answer = nothing();
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static(protocol::UPGRADE));
        Ok(answer)
    }

    fn gate(&self, session: &NodeSession, which: &str) -> Result<Gate, NodeRefusal> {
        let (name, lists) = match which {
            "kept" => ("kept", Lists::Kept),
            "anew" => ("anew", Lists::Anew),
            _ => return Err(NodeRefusal::no("write which lists are wanted: kept or anew")),
        };
        let mut gates = lock(&session.gates);
        if let Some(gate) = gates.get(name) {
            return Ok(gate.clone());
        }
        let build = &session.build;
        let mirrors = Mirrors::of(&build.manifest.sources);
        let suites = Suites::of(&build.local, session.given.clone());
        let cache = Cache::open(&self.cache)?.giving(lists, Stale::default());
        let gate = Gate::new(mirrors, suites, cache, build.assignment.limits.disk);
        gates.insert(name, gate.clone());
        Ok(gate)
    }

    /// Takes the end of a build, if it is that of the session that the record names.
    async fn end(
        &self,
        session: &Arc<NodeSession>,
        request: Request<Incoming>,
    ) -> Result<proxy::Answer, NodeRefusal> {
        let end: BuildEnd = json(request, MOST_JSON).await?;
        let looked = session.clone();
        let results = end.results;
        // They are read once more: what counts is what is there.
        let whole = move || are_whole(&looked.dir, &results);
        tokio::task::spawn_blocking(whole)
            .await?
            .map_err(|error| NodeRefusal::no(format!("{error:#}")))?;
        if !self.book.admit(&session.build.name, &session.key)? {
            let why = "the record names another session, or has taken results already";
            self.book.refused(&session.build.name, &session.start.node, why);
            return Err(NodeRefusal(StatusCode::GONE, why.to_owned()));
        }
        let result = match end.failure {
            None => Ok(()),
            Some(failure) => Err(believed(&failure.kind, &failure.text)),
        };
        lock(&self.state).sessions.remove(&session.key);
        let _ = session.build.events.send(NodeEvent::Ended {
            result,
            results: session.dir.clone(),
            given: session.given.clone(),
            node: session.start.node.clone(),
        });
        Ok(nothing())
    }
}

/// Tells whether an address is one of this machine's.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Tells whether somebody is the start that Slurm itself speaks of.
fn is_the_start(
    build: &ExpectedBuild,
    asked: &StartRequest,
    said: &JobDescription,
) -> Result<(), NodeRefusal> {
    let is_it = said.name == build.name
        && said.again == asked.again
        && said.node.as_deref() == Some(&asked.node[..]);
    if !is_it || said.state != "RUNNING" {
        return Err(NodeRefusal::no(format!(
            "Slurm says otherwise: job {} is {} on {}, started again {} times",
            asked.number,
            invirtibuilder_core::text::one_line(&said.state),
            invirtibuilder_core::text::one_line(said.node.as_deref().unwrap_or("no node")),
            said.again
        )));
    }
    let mut running = lock(&build.running);
    let since = match *running {
        Some((again, since)) if again == asked.again => since,
        _ => Instant::now(),
    };
    *running = Some((asked.again, since));
    if since.elapsed() > GOOD {
        return Err(NodeRefusal::no("the right of this start is no longer good"));
    }
    Ok(())
}

/// Makes of what a node reports a failure that a build may have.
fn believed(kind: &str, text: &str) -> Failure {
    use FailureKind::*;
    let of_builds = [
        BuildDeps,
        BuildFailed,
        BuildTimeout,
        BuildSilence,
        BuildMemory,
        BuildDisk,
        BuildProcesses,
        BuildLog,
        Chroot,
        Result,
        System,
    ];
    let kind = of_builds.into_iter().find(|known| known.as_str() == kind).unwrap_or(System);
    let end = text.char_indices().map(|(at, _)| at).find(|at| *at >= MOST_REASON);
    Failure::new(kind, &text[..end.unwrap_or(text.len())])
}

/// Appends to the log what comes, as it comes.
async fn log(
    session: &NodeSession,
    request: Request<Incoming>,
) -> Result<proxy::Answer, NodeRefusal> {
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        session.hear();
        let Ok(bytes) = frame?.into_data() else { continue };
        // What is more than fits is dropped: the node ends the build for it.
        session.build.log.append(&bytes)?;
    }
    Ok(nothing())
}

/// Takes a file that the build has made.
async fn result(
    session: &NodeSession,
    name: &str,
    request: Request<Incoming>,
) -> Result<proxy::Answer, NodeRefusal> {
    if !is_plain_name(name) {
        return Err(NodeRefusal::no("this is no name of a result"));
    }
    if session.results.fetch_add(1, Ordering::Relaxed) >= MOST_RESULTS {
        return Err(NodeRefusal::no("the build has as many results as it may"));
    }
    let path = session.dir.join(name);
    let mut file = tokio::fs::File::options().write(true).create_new(true).open(path).await?;
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        session.hear();
        let Ok(bytes) = frame?.into_data() else { continue };
        let length = bytes.len() as u64;
        let taken = session
            .room
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(length));
        if taken.is_err() {
            return Err(NodeRefusal(
                StatusCode::INSUFFICIENT_STORAGE,
                "the results are longer than limits.disk".to_owned(),
            ));
        }
        file.write_all(&bytes).await?;
    }
    file.flush().await?;
    Ok(nothing())
}

/// Checks that a directory has these results, whole, and nothing else.
fn are_whole(dir: &Path, results: &[OfferedFile]) -> Result<()> {
    ensure!(fs::read_dir(dir)?.count() == results.len(), "other results were sent than are named");
    for result in results {
        ensure!(is_plain_name(&result.name), "this is no name of a result");
        let (size, sha256) = invirtibuilder_system::files::digest(&dir.join(&result.name))?;
        ensure!(
            size == result.size && sha256 == result.sha256,
            "{} is not what was sent",
            result.name
        );
    }
    Ok(())
}

async fn give(path: Option<&Path>) -> Result<proxy::Answer, NodeRefusal> {
    let path =
        path.ok_or_else(|| NodeRefusal(StatusCode::NOT_FOUND, "there is no such file".to_owned()))?;
    let file = tokio::fs::File::open(path).await?;
    Ok(proxy::send(file, proxy::FilePart::All, None).await)
}

fn nothing() -> proxy::Answer {
    Response::new(Either::Left(Full::default()))
}

fn said_in_json(value: &impl serde::Serialize) -> Result<proxy::Answer> {
    let body = Full::from(serde_json::to_vec(value)?);
    let mut answer = Response::new(Either::Left(body));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(answer)
}

async fn json<T: serde::de::DeserializeOwned>(
    request: Request<Incoming>,
    most: usize,
) -> Result<T, NodeRefusal> {
    let body = Limited::new(request.into_body(), most).collect();
    let bad = |why: String| NodeRefusal(StatusCode::BAD_REQUEST, why);
    let body = tokio::time::timeout(PATIENCE, body)
        .await
        .map_err(|_| bad("the request does not end".to_owned()))?
        .map_err(|error| bad(format!("the request cannot be read: {error}")))?;
    let bytes: Bytes = body.to_bytes();
    serde_json::from_slice(&bytes)
        .map_err(|error| bad(format!("the request is not valid: {error}")))
}

/// Makes a secret of 256 bits of the kernel's randomness.
pub fn new_secret() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    Ok(hex(&bytes))
}

/// Computes what a secret is known by.
pub fn digest_of(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_reports_failures_of_builds_only() {
        assert_eq!(believed("build.deps", "x").kind, FailureKind::BuildDeps);
        assert_eq!(believed("prepare.denied", "x").kind, FailureKind::System);
        assert_eq!(believed("publish.takeover", "x").kind, FailureKind::System);
        let long = believed("build.failed", &"ä".repeat(9000)).text;
        assert!((MOST_REASON..MOST_REASON + 2).contains(&long.len()), "{}", long.len());
    }

    #[test]
    fn this_machine_is_known_by_its_addresses() {
        let is_own = |text: &str| is_own(text.parse().unwrap());
        assert!(is_own("127.0.0.1") && !is_own("192.0.2.1"));
    }

    #[test]
    fn results_are_those_that_were_named_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.deb"), "abc").unwrap();
        let named = |name: &str, size, text: &str| OfferedFile {
            name: name.to_owned(),
            size,
            sha256: hex(&Sha256::digest(text)),
        };
        are_whole(dir.path(), &[named("a.deb", 3, "abc")]).unwrap();
        for wrong in [
            vec![],
            vec![named("a.deb", 3, "abd")],
            vec![named("a.deb", 4, "abc")],
            vec![named("../a.deb", 3, "abc")],
            vec![named("b.deb", 3, "abc")],
            vec![named("a.deb", 3, "abc"), named("b.deb", 0, "")],
        ] {
            assert!(are_whole(dir.path(), &wrong).is_err(), "{wrong:?}");
        }
    }
}
