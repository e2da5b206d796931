//! The pages of Invirtibuilder in the browser, and the way of HTTP requests to the API.
//!
//! This process has no record, no key (but that of its own certificate) and no say: it passes on
//! what visitors show of themselves to `invirtibuilder-api`, and makes pages of what comes back.
//! Whoever takes it over has the tickets, sessions and tokens that pass while they hold it, and
//! nothing else.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use invirtibuilder_core::config;
use invirtibuilder_core::error::{Error, exit_for};
use invirtibuilder_core::text;

mod app;
mod arrival;
mod assets;
mod credentials;
mod frame;
mod html;
mod live;
mod logs;
mod pages;
mod plots;
mod refusal;
mod relay;
mod routes;
mod serve;
mod settings;
mod timeline;
mod upstream;
mod visit;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use settings::Settings;

/// Serves the pages of Invirtibuilder, and relays requests to its API.
#[derive(Debug, Parser)]
#[command(name = "invirtibuilder-web", version, max_term_width = 80)]
pub struct WebCli {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only tell by the exit code whether the configuration has http: 1, if it has not
    #[arg(long)]
    is_configured: bool,
}

/// The threads that make pages.
const THREADS: usize = 2;

/// Runs the program, and returns its exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = WebCli::parse_from(args);
    let path = config::path(cli.config.as_deref());
    if cli.is_configured {
        // One that is wrong is complained of when it is used.
        let is_off = config::load(&path).is_ok_and(|config| config.http.is_none());
        return ExitCode::from(u8::from(is_off));
    }
    match run(&path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("invirtibuilder-web: {}", text::one_line(&format!("{error:#}")));
            exit_for(&error).into()
        }
    }
}

fn run(path: &Path) -> Result<()> {
    let config = config::load(path).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Error::config(lines.join("; "))
    })?;
    let settings = Settings::of(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve::serve(settings))
}
