//! `invirtibuilder-node`: Slurm starts it on a node, and it builds one package for the daemon.
//!
//! It has the right to begin from its script and nothing else: no key, no database, no Kerberos. It
//! builds in the same sandbox as the daemon does, and all that the build needs and makes passes over
//! one session with the daemon, whose key is in memory only.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

mod carry_out;
mod check;
mod client;
mod place;

use crate::carry_out::SlurmEnvironment;
use crate::place::NodeDir;
use invirtibuilder_builder::slurm::protocol::Bootstrap;
use invirtibuilder_core::error::{Error, exit_for};
use invirtibuilder_core::text;
use invirtibuilder_system::subprocess::CancellationToken;

/// Longer than any build runs.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Builds one package on a node of a Slurm cluster. Slurm starts it; for people there is --check.
#[derive(Debug, Parser)]
#[command(name = "invirtibuilder-node", version, max_term_width = 80)]
struct NodeCli {
    /// The script that the daemon gave to Slurm
    #[arg(required_unless_present_any = ["check", "set_up"])]
    script: Option<PathBuf>,
    /// Look whether this node can build, and say what is lacking
    #[arg(long, conflicts_with = "script")]
    check: bool,
    /// Give the service's user subordinate ids, as root; the package does it
    #[arg(long, conflicts_with_all = ["script", "check"])]
    set_up: bool,
    /// Where chroots are kept and builds work
    #[arg(long, value_name = "DIR", default_value = "/var/lib/invirtibuilder-node")]
    state_dir: PathBuf,
}

/// Returns the command line, as the manual needs it.
pub fn command() -> clap::Command {
    <NodeCli as clap::CommandFactory>::command()
}

/// Does what the arguments say, and returns the exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    invirtibuilder_system::private::settle_umask();
    let cli = NodeCli::parse_from(args);
    // Sandboxes die with the thread that started them (PR_SET_PDEATHSIG): none may end before we
    // do, idle or not.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().thread_keep_alive(FOREVER).enable_all().build();
    let done = runtime.context("cannot start the runtime").and_then(|rt| rt.block_on(run(&cli)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("invirtibuilder-node: {}", text::one_line(&format!("{error:#}")));
            exit_for(&error).into()
        }
    }
}

async fn run(cli: &NodeCli) -> Result<()> {
    if cli.set_up {
        return check::set_up().await;
    }
    let Some(script) = &cli.script else { return check::check(&cli.state_dir).await };
    let bootstrap = read(script)?;
    let slurm = SlurmEnvironment::read()?;
    let node = NodeDir::open(&cli.state_dir)?;
    let cancel = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let told = cancel.clone();
    tokio::spawn(async move {
        terminate.recv().await;
        told.cancel();
    });
    carry_out::run(&node, &bootstrap, &slurm, &cancel).await
}

fn read(script: &Path) -> Result<Bootstrap> {
    let shown = script.display();
    let text = std::fs::read_to_string(script)
        .map_err(|error| Error::usage(format!("{shown} cannot be read: {error}")))?;
    Bootstrap::of_script(&text).ok_or_else(|| {
        let text =
            format!("{shown} is no script of the daemon's: Slurm starts this program with one");
        Error::usage(text).into()
    })
}
