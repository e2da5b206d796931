//! `invirtibuilder-api`: answers in one process that stays what would otherwise take a process
//! each.
//!
//! It has two sockets. At one it hears commands of remctld's, from this user and root only; the
//! other speaks HTTP with `invirtibuilder-web`, which it believes nothing. Whoever asks, use cases
//! decide. It holds no state that the record has not, so it may be killed and started at any time.

use std::ffi::OsString;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

mod commands;
mod http;
mod sockets;

use invirtibuilder_access::spnego;
use invirtibuilder_core::config;
use invirtibuilder_core::error::exit_for;
use invirtibuilder_core::text;
use invirtibuilder_service::desk::Desk;
use invirtibuilder_system::{log, privilege};
use sockets::{Maker, Sockets};

/// How often it is looked whether something that was settled has changed.
const LOOK: Duration = Duration::from_secs(2);

/// Answers remctl's commands and HTTP.
#[derive(Debug, Parser)]
#[command(name = "invirtibuilder-api", version, max_term_width = 80)]
struct ServerCli {
    /// Configuration file [default: $INVIRTIBUILDER_CONFIG, then /etc/invirtibuilder/config.yaml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Answers until it is told to stop, and returns the exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    invirtibuilder_system::private::settle_umask();
    let cli = ServerCli::parse_from(args);
    match serve(&config::path(cli.config.as_deref())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("invirtibuilder-api: {}", text::one_line(&format!("{error:#}")));
            exit_for(&error).into()
        }
    }
}

/// What is settled when we start: whether we speak HTTP, and by which keytab.
#[derive(Debug, PartialEq, Eq)]
struct HttpSettings {
    http: bool,
    keytab: Option<PathBuf>,
}

impl HttpSettings {
    /// Reads it from the configuration; `None`: there is none that can be used.
    fn of(desk: &Desk) -> Option<Self> {
        let config = desk.config().ok()?;
        let http = config.http.as_ref();
        Some(Self { http: http.is_some(), keytab: http.and_then(|http| http.keytab.clone()) })
    }
}

fn serve(path: &Path) -> Result<()> {
    let desk = Arc::new(Desk::of(path.to_owned()));
    let given = Sockets::given()?;
    let config = desk.config();
    let sockets = match (given, &config) {
        // Whoever asks is told what is wrong with the configuration.
        (Some(given), _) => given,
        (None, Ok(config)) => {
            privilege::become_owner_of(&config.state_dir)?;
            Sockets::make(config)?
        }
        (None, Err(_)) => {
            config?;
            return Ok(());
        }
    };
    if let Ok(config) = &config {
        log::install(&config.syslog);
    }
    let settled = HttpSettings::of(&desk);
    if let Some(keytab) = settled.as_ref().and_then(|settled| settled.keytab.as_deref()) {
        spnego::use_keytab(keytab);
    }
    let Sockets { command, http, maker } = sockets;
    commands::answer(command, &desk)?;
    let http = http.filter(|_| settled.as_ref().is_some_and(|settled| settled.http));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // systemd may not be there.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
        tokio::select! {
            served = answer_http(http, &desk) => served?,
            () = outdated(settled, maker, &desk) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}

/// Speaks HTTP if the configuration has us do so.
async fn answer_http(socket: Option<UnixListener>, desk: &Arc<Desk>) -> Result<()> {
    let Some(socket) = socket else { return std::future::pending().await };
    socket.set_nonblocking(true)?;
    http::serve(tokio::net::UnixListener::from_std(socket)?, desk.clone()).await
}

/// Waits until something that was settled is otherwise in the configuration. systemd then starts us
/// again with the next request; without it, we go on as we are.
async fn outdated(settled: Option<HttpSettings>, maker: Maker, desk: &Desk) {
    loop {
        tokio::time::sleep(LOOK).await;
        let now = HttpSettings::of(desk);
        if maker == Maker::Systemd && now.is_some() && now != settled {
            tracing::info!("http: has changed: ends, and begins again with the next request");
            return;
        }
    }
}
