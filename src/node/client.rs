//! Asks the daemon, over TLS. The daemon is known by the digest of its certificate, and by nothing
//! else: no authority vouches for it, and no name is looked at.

use std::collections::HashSet;
use std::io::{self, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::SignatureScheme;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use invirtibuilder_builder::slurm::protocol::{self, Bootstrap, MOST_JSON, MOST_OTHERS};
use invirtibuilder_core::text::{hex, one_line};

/// How long the daemon may take to answer a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// The body of a request.
type RequestBody = BoxBody<Bytes, io::Error>;

/// The daemon, as a node reaches it.
#[derive(Clone)]
pub struct DaemonClient {
    address: String,
    tls: TlsConnector,
    key: Option<String>,
}

/// The daemon says that the session, or the build, is over.
#[derive(Debug)]
pub struct SessionOver(String);

impl std::fmt::Display for SessionOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SessionOver {}

impl DaemonClient {
    /// Makes what reaches the daemon that a script names.
    pub fn new(bootstrap: &Bootstrap) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Pinned { digest: bootstrap.certificate.clone(), provider: provider.clone() };
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { address: bootstrap.address.clone(), tls, key: None })
    }

    /// Makes the same, in a session.
    pub fn in_session(&self, key: String) -> Self {
        Self { key: Some(key), ..self.clone() }
    }

    /// Asks, and gives back what is answered if that is no refusal.
    async fn ask(&self, request: Request<RequestBody>) -> Result<Response<Incoming>> {
        let sent = async {
            let stream = TcpStream::connect(&self.address)
                .await
                .with_context(|| format!("the daemon at {} cannot be reached", self.address))?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from("invirtibuilderd").context("a valid name")?;
            let stream = self
                .tls
                .connect(name, stream)
                .await
                .with_context(|| format!("{} is not the daemon", self.address))?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection.with_upgrades());
            Ok::<_, anyhow::Error>(sender)
        };
        let mut sender = tokio::time::timeout(PATIENCE, sent)
            .await
            .with_context(|| format!("the daemon at {} does not answer", self.address))??;
        let answer = sender.send_request(request).await.context("the daemon went away")?;
        let status = answer.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(answer);
        }
        let why = Limited::new(answer.into_body(), 4096).collect().await;
        let why = why.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let why = one_line(String::from_utf8_lossy(&why).trim());
        if status == StatusCode::GONE {
            return Err(SessionOver(why).into());
        }
        bail!("the daemon refuses it: {why}")
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: RequestBody,
    ) -> Result<Request<RequestBody>> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, "daemon");
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        Ok(request.body(body)?)
    }

    /// Sends JSON, and reads JSON.
    pub async fn exchange<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        value: &impl serde::Serialize,
    ) -> Result<T> {
        read_json(self.send_json(path, value).await?, MOST_JSON).await
    }

    /// Sends JSON.
    pub async fn send_json(
        &self,
        path: &str,
        value: &impl serde::Serialize,
    ) -> Result<Response<Incoming>> {
        let body = whole(serde_json::to_vec(value)?);
        self.ask(self.request(Method::POST, path, body)?).await
    }

    /// Tells the daemon that the node lives.
    pub async fn beat(&self) -> Result<()> {
        let asked = self.ask(self.request(Method::POST, "/beat", whole(Vec::new()))?);
        tokio::time::timeout(PATIENCE, asked).await.context("the daemon does not answer")??;
        Ok(())
    }

    /// Asks which names the suites of our own have.
    pub async fn others(&self) -> Result<HashSet<String>> {
        let answer = self.ask(self.request(Method::GET, "/others", whole(Vec::new()))?).await?;
        read_json(answer, MOST_OTHERS).await
    }

    /// Fetches a file of this length and digest. Where it has zeros only, it takes no room.
    pub async fn fetch(&self, path: &str, to: &Path, size: u64, sha256: &str) -> Result<()> {
        let answer = self.ask(self.request(Method::GET, path, whole(Vec::new()))?).await?;
        let mut file = tokio::fs::File::create(to)
            .await
            .with_context(|| format!("cannot create {}", to.display()))?;
        let (mut body, mut hash, mut length) = (answer.into_body(), Sha256::new(), 0);
        while let Some(frame) = body.frame().await {
            let Ok(bytes) = frame.context("the file is cut")?.into_data() else { continue };
            length += bytes.len() as u64;
            ensure!(length <= size, "{path} is longer than the daemon said");
            hash.update(&bytes);
            let written = if bytes.iter().all(|byte| *byte == 0) {
                file.seek(SeekFrom::Current(bytes.len() as i64)).await.map(drop)
            } else {
                file.write_all(&bytes).await
            };
            written.with_context(|| format!("cannot write {}", to.display()))?;
        }
        file.flush().await?;
        file.set_len(length).await?;
        let is_it = length == size && hex(&hash.finalize()) == sha256;
        ensure!(is_it, "{path} is not what the daemon said");
        Ok(())
    }

    /// Sends a file that the build has made.
    pub async fn send_file(&self, path: &str, from: &Path) -> Result<()> {
        let file = tokio::fs::File::open(from).await?;
        let frames = stream::unfold(file, |mut file| async move {
            let mut buffer = vec![0; 256 << 10];
            match file.read(&mut buffer).await {
                Ok(0) => None,
                Ok(n) => {
                    buffer.truncate(n);
                    Some((Ok(Frame::data(Bytes::from(buffer))), file))
                }
                Err(error) => Some((Err(error), file)),
            }
        });
        let body = BodyExt::boxed(StreamBody::new(SyncStream(Box::pin(frames))));
        self.ask(self.request(Method::PUT, path, body)?).await.map(drop)
    }

    /// Sends a log as it is written, until its sender is dropped and all has arrived.
    pub async fn send_log(&self, log: mpsc::Receiver<Bytes>) -> Result<()> {
        let frames = stream::unfold(log, |mut log| async move {
            log.recv().await.map(|bytes| (Ok::<_, io::Error>(Frame::data(bytes)), log))
        });
        let body = BodyExt::boxed(StreamBody::new(SyncStream(Box::pin(frames))));
        self.ask(self.request(Method::POST, "/log", body)?).await.map(drop)
    }

    /// Opens a connection to the proxy of the build.
    pub async fn proxy(&self, lists: &str) -> Result<TokioIo<hyper::upgrade::Upgraded>> {
        let path = format!("/proxy/{lists}");
        let mut request = self.request(Method::GET, &path, whole(Vec::new()))?;
        request.headers_mut().insert(CONNECTION, "upgrade".parse()?);
        request.headers_mut().insert(UPGRADE, protocol::UPGRADE.parse()?);
        let answer = self.ask(request).await?;
        Ok(TokioIo::new(hyper::upgrade::on(answer).await?))
    }
}

async fn read_json<T: serde::de::DeserializeOwned>(
    answer: Response<Incoming>,
    most: usize,
) -> Result<T> {
    let body = Limited::new(answer.into_body(), most).collect().await;
    let bytes = body.map_err(|error| anyhow::anyhow!("the answer is cut: {error}"))?.to_bytes();
    serde_json::from_slice(&bytes).context("the daemon's answer is not valid")
}

fn whole(bytes: Vec<u8>) -> RequestBody {
    Full::from(bytes).map_err(|never| match never {}).boxed()
}

/// A stream that nobody polls from two threads at a time.
struct SyncStream<T>(std::pin::Pin<Box<dyn futures_util::Stream<Item = T> + Send + Sync>>);

impl<T> futures_util::Stream for SyncStream<T> {
    type Item = T;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        waker: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<T>> {
        self.0.as_mut().poll_next(waker)
    }
}

/// Takes the certificate with this digest, and no other.
#[derive(Debug)]
struct Pinned {
    digest: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if hex(&Sha256::digest(certificate)) == self.digest {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("its certificate is another one".to_owned()))
        }
    }

    // Only TLS 1.3 is spoken.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
