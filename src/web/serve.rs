//! Listens, and hands what comes to the pages.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use invirtibuilder_core::error::Error;

use crate::app::WebApp;
use crate::arrival::Peer;
use crate::routes::Site;
use crate::settings::{Settings, TlsFiles};

/// The connections at a time.
const CONNECTIONS: usize = 4096;

/// How long a browser may take for the head of a request, and be silent between two.
const HEAD: Duration = Duration::from_secs(30);

/// How long it may take to agree on keys.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long answers that have begun may take when the process is told to end.
const DRAIN: Duration = Duration::from_secs(3);

/// The room for the head of a request, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// Serves until the process is told to stop.
pub async fn serve(settings: Settings) -> Result<()> {
    // Before the certificate is read: who renews it now and says so does not end us.
    let (mut hangup, mut term) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
    let listen = settings.listen;
    let files = settings.tls.clone();
    let tls = files.as_ref().map(|files| load(files).map(Mutex::new)).transpose()?;
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        Error::unavailable(format!(
            "http.listen: nothing can be served at {listen}: {error}; choose another address, or end what has it"
        ))
    })?;
    let site = Site::new(Arc::new(WebApp::new(settings)));
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let (end, ends) = watch::channel(());
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    loop {
        let place = room.clone().acquire_owned().await.context("the places are closed")?;
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = term.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
            _ = hangup.recv() => {
                reload(files.as_ref(), tls.as_ref());
                continue;
            }
        };
        let Ok((stream, address)) = accepted else {
            // Too many files are open, say: others end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let keys =
            tls.as_ref().map(|keys| keys.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let (site, ends) = (site.clone(), ends.clone());
        tokio::spawn(async move {
            let _place = place;
            connection(stream, keys, Peer(address), site, ends).await;
        });
    }
    drop(listener);
    drop(end);
    let all = room.acquire_many(CONNECTIONS as u32);
    // Those who follow something come again by themselves.
    let _ = tokio::time::timeout(DRAIN, all).await;
    Ok(())
}

/// Reads the certificate again. The old one stays if the new one is bad.
fn reload(files: Option<&TlsFiles>, tls: Option<&Mutex<TlsAcceptor>>) {
    let (Some(files), Some(tls)) = (files, tls) else { return };
    match load(files) {
        Ok(new) => *tls.lock().unwrap_or_else(PoisonError::into_inner) = new,
        Err(error) => eprintln!("invirtibuilder-web: the certificate stays as it was: {error:#}"),
    }
}

async fn connection(
    stream: TcpStream,
    keys: Option<TlsAcceptor>,
    peer: Peer,
    site: Site,
    ends: watch::Receiver<()>,
) {
    let Some(keys) = keys else { return talk(stream, peer, site, ends).await };
    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, keys.accept(stream)).await {
        talk(stream, peer, site, ends).await;
    }
}

/// Answers the requests of one connection, until the process is told to end.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: Peer,
    site: Site,
    mut ends: watch::Receiver<()>,
) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let site = site.clone();
        async move { Ok::<_, std::convert::Infallible>(site.answer(peer, request.map(Body::new)).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    // A connection that breaks is nobody's fault here.
    tokio::select! {
        _ = connection.as_mut() => {}
        _ = ends.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// Reads the certificate and its key.
fn load(files: &TlsFiles) -> Result<TlsAcceptor> {
    let trouble = |what: &str, path: &Path, why: &dyn std::fmt::Display| {
        Error::config(format!(
            "http.tls.{what}: {} cannot be used: {why}; give a file in PEM that invirtibuilder-web can read",
            path.display()
        ))
    };
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(&files.certificate)
            .and_then(Iterator::collect)
            .map_err(|error| trouble("certificate", &files.certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| trouble("key", &files.key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| trouble("certificate", &files.certificate, &error))?;
    // Browsers leave HTTP/2 to show a ticket.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
