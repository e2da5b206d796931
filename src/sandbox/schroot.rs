//! What runs on the host for a build in a schroot, in its control groups and under its name.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::status::Status;
use invirtibuilder_system::cgroup;

/// schroot(1) itself.
pub const SCHROOT: &str = "/usr/bin/schroot";

/// The name under which sbuild finds our program before schroot's own.
pub const SHIM: &str = "schroot";

/// The variable that tells [`SHIM`] how a new session is to be named.
pub const SESSION: &str = "INVIRTIBUILDER_SESSION";

/// Runs schroot with the same arguments; a session that it begins gets our name.
pub fn begin_or_pass(args: &[OsString]) -> ExitCode {
    let mut command = Command::new(SCHROOT);
    if args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--begin-session") {
        let Some(name) = std::env::var_os(SESSION) else {
            return broken(&anyhow::anyhow!("{SESSION} is not set"));
        };
        command.arg("--session-name").arg(name);
    }
    broken(&anyhow::Error::from(command.args(args).exec()).context("cannot run schroot"))
}

/// Joins control groups by their doors, and becomes a command.
pub fn join(doors: &[PathBuf], command: &[OsString]) -> ExitCode {
    let Some((program, args)) = command.split_first() else {
        return broken(&anyhow::anyhow!("a command has to be named"));
    };
    broken(&match cgroup::join(doors) {
        Ok(()) => {
            anyhow::Error::from(Command::new(program).args(args).exec()).context("cannot run it")
        }
        Err(error) => error,
    })
}

fn broken(error: &anyhow::Error) -> ExitCode {
    eprintln!("{}", invirtibuilder_core::text::one_line(&format!("{error:#}")));
    ExitCode::from(Status::Broken.code())
}
