//! The way to the API: HTTP over its Unix socket. Nothing here decides; what comes back is passed on.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tower_service::Service;

use invirtibuilder_api::login::FORGERY_HEADER;
use invirtibuilder_api::problem::Problem;

use crate::credentials::VisitorCredentials;

/// How long the API may take until it begins to answer: a submission looks at Git and at ACLs.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long it may take from there to the end of an answer that a page is made of.
const WHOLE: Duration = Duration::from_secs(30);

/// The longest answer that a page is made of, in bytes.
const MAX_ANSWER: usize = 16 << 20;

/// Connections that are kept for the next request.
const IDLE: usize = 64;

/// The API, as this process sees it.
#[derive(Clone)]
pub struct Upstream {
    client: Client<UnixConnector, Body>,
    socket: Arc<Path>,
}

impl Upstream {
    /// Makes the way to the socket; nothing is connected before the first request.
    pub fn new(socket: &Path) -> Self {
        let connector = UnixConnector { path: Arc::from(socket) };
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE)
            .pool_idle_timeout(WHOLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self { client, socket: Arc::from(socket) }
    }

    /// Sends a request. The answer is that of the API, whatever it says; only if there is none,
    /// the problem is ours.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>, Problem> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = Uri::builder()
            .scheme("http")
            .authority("localhost")
            .path_and_query(path)
            .build()
            .map_err(|_| problem(StatusCode::BAD_REQUEST, 64, "the URL cannot be read"))?;
        request.headers_mut().insert(http::header::HOST, HeaderValue::from_static("localhost"));
        match tokio::time::timeout(PATIENCE, self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.silent(&deepest(&error))),
            Err(_) => Err(self.silent("it takes too long")),
        }
    }

    fn silent(&self, why: &str) -> Problem {
        problem(
            StatusCode::SERVICE_UNAVAILABLE,
            69,
            &format!(
                "the service does not answer at {}: {why}; try again, or have an administrator look at invirtibuilder-api.service",
                self.socket.display()
            ),
        )
    }

    /// Gets the value at a path of the API.
    pub async fn get<T: DeserializeOwned>(
        &self,
        credentials: &VisitorCredentials,
        path: &str,
    ) -> Result<T, Problem> {
        let request = request(Method::GET, credentials, path, Body::empty())?;
        self.value(request).await
    }

    /// Posts a value, and returns the answer.
    pub async fn post<T: DeserializeOwned>(
        &self,
        credentials: &VisitorCredentials,
        path: &str,
        value: &impl Serialize,
    ) -> Result<T, Problem> {
        let body = serde_json::to_vec(value)
            .map_err(|error| problem(StatusCode::INTERNAL_SERVER_ERROR, 70, &error.to_string()))?;
        let mut request = request(Method::POST, credentials, path, Body::from(body))?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        self.value(request).await
    }

    /// Deletes what is at a path, and returns the answer.
    pub async fn delete<T: DeserializeOwned>(
        &self,
        credentials: &VisitorCredentials,
        path: &str,
    ) -> Result<T, Problem> {
        self.value(request(Method::DELETE, credentials, path, Body::empty())?).await
    }

    /// Sends a request, and reads the value that it is answered with.
    async fn value<T: DeserializeOwned>(&self, request: Request<Body>) -> Result<T, Problem> {
        let response = self.send(request).await?;
        let status = response.status();
        let body = whole(response, MAX_ANSWER).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| {
                problem(
                    StatusCode::BAD_GATEWAY,
                    70,
                    &format!("the service's answer cannot be read: {error}; it is of another release: restart invirtibuilder-web"),
                )
            });
        }
        Err(serde_json::from_slice(&body).unwrap_or_else(|_| {
            problem(status, 70, &format!("the service answers {status} without a reason"))
        }))
    }
}

/// Reads a body to its end.
pub async fn whole(response: Response<Incoming>, most: usize) -> Result<Bytes, Problem> {
    let body = Limited::new(response.into_body(), most).collect();
    match tokio::time::timeout(WHOLE, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(problem(
            StatusCode::BAD_GATEWAY,
            69,
            &format!("the service's answer broke off: {error}; try again"),
        )),
        Err(_) => Err(problem(
            StatusCode::BAD_GATEWAY,
            69,
            "the service's answer took too long: try again",
        )),
    }
}

/// Makes a request for the API by the rights of a visitor.
pub fn request(
    method: Method,
    credentials: &VisitorCredentials,
    path: &str,
    body: Body,
) -> Result<Request<Body>, Problem> {
    let mut request = Request::builder()
        .method(method.clone())
        .uri(path)
        .header(ACCEPT, "application/json")
        .body(body)
        .map_err(|_| problem(StatusCode::BAD_REQUEST, 64, "the URL cannot be read"))?;
    if let VisitorCredentials::Session(session) = credentials {
        request.headers_mut().insert(AUTHORIZATION, session.bearer());
        if method != Method::GET {
            request.headers_mut().insert(FORGERY_HEADER, session.forgery_header());
        }
    }
    Ok(request)
}

/// Makes a problem of our own.
pub fn problem(status: StatusCode, exit: u8, detail: &str) -> Problem {
    Problem {
        kind: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or_default().to_owned(),
        status: status.as_u16(),
        detail: detail.to_owned(),
        exit,
    }
}

/// Returns what the last cause of an error says: the first ones only say that a client failed.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

/// Connects to the socket, whatever the URL says.
#[derive(Clone)]
struct UnixConnector {
    path: Arc<Path>,
}

impl Service<Uri> for UnixConnector {
    type Response = TokioIo<ApiStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path: PathBuf = self.path.to_path_buf();
        Box::pin(async move { Ok(TokioIo::new(ApiStream(UnixStream::connect(path).await?))) })
    }
}

/// A connection to the API.
struct ApiStream(UnixStream);

impl Connection for ApiStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for ApiStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for ApiStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
