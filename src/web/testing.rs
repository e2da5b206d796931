//! An API for tests: it says what a test has it say, and remembers what it was asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use crate::app::WebApp;
use crate::arrival::Peer;
use crate::arrival::tests::settings;
use crate::routes::Site;
use crate::settings::Settings;

/// A session's cookie.
pub const COOKIE: &str = "invirtibuilder-session=ivs_0123456789";

/// What the API was asked.
#[derive(Debug, Clone)]
pub struct AskedOfApi {
    pub what: String,
    pub headers: HeaderMap,
    pub body: String,
}

/// What the API says.
#[derive(Clone)]
enum Said {
    Text(StatusCode, Vec<(&'static str, String)>, String),
    Log(String),
    Stream,
}

#[derive(Default)]
struct ApiShared {
    said: BTreeMap<String, Said>,
    asked: Vec<AskedOfApi>,
    streams: Vec<mpsc::Sender<Bytes>>,
}

/// An API at a socket of its own.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Mutex<ApiShared>>,
    dir: Arc<tempfile::TempDir>,
}

impl Api {
    /// Starts one that knows nothing but who asks.
    pub fn start() -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let listener = UnixListener::bind(dir.path().join("http")).unwrap();
        let api = Self { shared: Arc::default(), dir };
        let whoami = include_str!("../api/json/whoami.json");
        api.says("GET /api/v1/whoami", whoami);
        let serving = api.clone();
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let api = serving.clone();
                let answer = service_fn(move |request| {
                    let api = api.clone();
                    async move { Ok::<_, std::convert::Infallible>(api.answer(request).await) }
                });
                tokio::spawn(async move {
                    let _ =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        api
    }

    /// Has it answer with JSON.
    pub fn says(&self, what: &str, json: &str) {
        self.answers(what, 200, &[], json);
    }

    /// Has it answer with a status, headers and a body.
    pub fn answers(&self, what: &str, status: u16, headers: &[(&'static str, &str)], body: &str) {
        let status = StatusCode::from_u16(status).unwrap();
        let headers = headers.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
        let said = Said::Text(status, headers, body.to_owned());
        self.shared.lock().unwrap().said.insert(what.to_owned(), said);
    }

    /// Has it answer with a problem.
    pub fn refuses(&self, what: &str, status: u16, exit: u8, detail: &str) {
        let json = serde_json::json!({
            "type": "about:blank", "title": "Not done", "status": status, "detail": detail, "exit": exit
        });
        self.answers(
            what,
            status,
            &[("content-type", "application/problem+json")],
            &json.to_string(),
        );
    }

    /// Has it answer with a log, of which it gives ranges.
    pub fn logs(&self, what: &str, log: &str) {
        self.shared.lock().unwrap().said.insert(what.to_owned(), Said::Log(log.to_owned()));
    }

    /// Has it answer with a stream of events.
    pub fn streams(&self, what: &str) {
        self.shared.lock().unwrap().said.insert(what.to_owned(), Said::Stream);
    }

    /// Sends something to all whose streams are open.
    pub async fn sends(&self, text: &str) {
        let streams = self.shared.lock().unwrap().streams.clone();
        for stream in streams {
            let _ = stream.send(Bytes::from(text.to_owned())).await;
        }
    }

    /// Breaks all streams off.
    pub fn breaks_off(&self) {
        self.shared.lock().unwrap().streams.clear();
    }

    /// What it was asked, of what begins with this.
    pub fn asked(&self, what: &str) -> Vec<AskedOfApi> {
        let shared = self.shared.lock().unwrap();
        shared.asked.iter().filter(|asked| asked.what.starts_with(what)).cloned().collect()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body =
            body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let what = format!("{} {}", parts.method, parts.uri);
        let body = String::from_utf8_lossy(&body).into_owned();
        let mut shared = self.shared.lock().unwrap();
        shared.asked.push(AskedOfApi { what: what.clone(), headers: parts.headers.clone(), body });
        let path = what.split('?').next().unwrap();
        let said = shared.said.get(&what).or_else(|| shared.said.get(path)).cloned();
        match said {
            Some(Said::Text(status, headers, body)) => {
                let mut response = Response::new(Body::from(body));
                *response.status_mut() = status;
                for (name, value) in headers {
                    response.headers_mut().append(name, value.parse().unwrap());
                }
                response
            }
            Some(Said::Log(log)) => part(&log, &parts.headers),
            Some(Said::Stream) => {
                let (sender, receiver) = mpsc::channel(64);
                shared.streams.push(sender);
                let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
                    let piece = receiver.recv().await?;
                    Some((Ok::<_, std::io::Error>(piece), receiver))
                });
                Response::new(Body::from_stream(pieces))
            }
            None => {
                let mut response = Response::new(Body::from(
                    r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"there is no such thing","exit":65}"#,
                ));
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
        }
    }

    /// The settings of pages that ask this API.
    pub fn settings(&self) -> Settings {
        Settings { api: self.dir.path().join("http"), ..settings() }
    }

    /// Pages that ask this API.
    pub fn pages(&self) -> Pages {
        Pages(Site::new(Arc::new(WebApp::new(self.settings()))))
    }
}

/// A part of a log, as the range says.
fn part(log: &str, headers: &HeaderMap) -> Response<Body> {
    let Some(range) = headers.get("range") else {
        return Response::new(Body::from(log.to_owned()));
    };
    let range = range.to_str().unwrap().strip_prefix("bytes=").unwrap();
    let (from, to) = range.split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let to = (to.parse::<usize>().unwrap() + 1).min(log.len());
    if from >= log.len() {
        return Response::builder().status(416).body(Body::empty()).unwrap();
    }
    Response::builder()
        .status(206)
        .header("content-range", format!("bytes {from}-{}/{}", to - 1, log.len()))
        .body(Body::from(log[from..to].to_owned()))
        .unwrap()
}

/// The pages, as a browser meets them.
#[derive(Clone)]
pub struct Pages(pub Site);

/// What a browser was answered.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answered {
    /// A header, as text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Pages {
    /// Sends a request with these headers.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<Body> {
        let mut request =
            Request::builder().method(method).uri(path).header("host", "build.example.org");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let peer: SocketAddr = "127.0.0.1:4711".parse().unwrap();
        self.0.clone().answer(Peer(peer), request).await
    }

    /// Sends a request, and reads the answer to its end.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answered {
        let (parts, body) = self.send(method, path, headers, body).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answered {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    /// Gets a page as somebody who is signed in.
    pub async fn get(&self, path: &str) -> Answered {
        self.ask("GET", path, &[("cookie", COOKIE)], "").await
    }

    /// Sends a form of a page of ours, as somebody who is signed in.
    pub async fn post(&self, path: &str, form: &str) -> Answered {
        let form = format!("{form}&forgery={}", forgery());
        self.post_as(path, &form, &[("sec-fetch-site", "same-origin")]).await
    }

    /// Sends a form with these headers.
    pub async fn post_as(&self, path: &str, form: &str, more: &[(&str, &str)]) -> Answered {
        let mut headers =
            vec![("cookie", COOKIE), ("content-type", "application/x-www-form-urlencoded")];
        headers.extend(more);
        self.ask("POST", path, &headers, form).await
    }
}

/// What the forms of the session show.
pub fn forgery() -> String {
    invirtibuilder_api::login::forgery_token("ivs_0123456789")
}
