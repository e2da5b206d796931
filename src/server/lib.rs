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

use anyhow::{Context, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

mod commands;
mod http;
mod sockets;

pub use http::document as openapi_document;
use invirtibuilder_access::spnego;
use invirtibuilder_core::config;
use invirtibuilder_core::error::exit_for;
use invirtibuilder_core::text;
use invirtibuilder_service::desk::Desk;
use invirtibuilder_system::{log, privilege};
use sockets::Sockets;

/// Answers remctl's commands and HTTP.
#[derive(Debug, Parser)]
#[command(name = "invirtibuilder-api", version, max_term_width = 80)]
struct ServerCli {
    /// Configuration file [default: $INVIRTIBUILDER_CONFIG, then /etc/invirtibuilder/config.yaml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Returns the command line, as the manual needs it.
pub fn command() -> clap::Command {
    <ServerCli as clap::CommandFactory>::command()
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

/// Speaks HTTP if the configuration has it do so.
async fn answer_http(socket: Option<UnixListener>, desk: &Arc<Desk>) -> Result<()> {
    let Some(socket) = socket else { return std::future::pending().await };
    socket.set_nonblocking(true)?;
    http::serve(tokio::net::UnixListener::from_std(socket)?, desk.clone()).await
}

fn serve(path: &Path) -> Result<()> {
    let desk = Arc::new(Desk::of(path.to_owned()));
    let config = desk.config()?;
    privilege::become_owner_of(&config.state_dir)?;
    log::install(&config.syslog);
    if let Some(keytab) = config.http.as_ref().and_then(|http| http.keytab.as_deref()) {
        spnego::use_keytab(keytab);
    }
    let Sockets { command, http } = Sockets::open(&config)?;
    commands::answer(command, &desk)?;
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
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}
