//! The program that runs inside of builds, `build-sandbox`: one subcommand for each thing that it
//! is there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::subcommand::{AGENT, JOIN, MACHINE, SANDBOX, SERVER};
use crate::{machine, schroot, testbed};

/// Runs what a build needs around it. The daemon and sbuild start it; it is of no use to people.
#[derive(Debug, Parser)]
#[command(name = "build-sandbox", version, max_term_width = 80)]
struct SandboxCli {
    #[command(subcommand)]
    part: SandboxPart,
}

#[derive(Debug, Subcommand)]
enum SandboxPart {
    /// Be the first process of a sandbox: make its root, run its command, bring its results out
    #[command(name = SANDBOX)]
    Sandbox {
        /// The file that says what is inside
        specification: PathBuf,
    },
    /// Run the virtual machine of a build, and answer for it at the socket that is standard input
    #[command(name = MACHINE)]
    Machine {
        /// What the machine is like, as JSON
        description: String,
    },
    /// Be the first process of a testbed: run commands of a build in its root
    #[command(name = AGENT)]
    Agent {
        /// What the root is like, as JSON
        root: String,
    },
    /// Speak autopkgtest's protocol for testbeds with sbuild
    #[command(name = SERVER)]
    Server {
        /// Where the testbed's agent listens
        socket: OsString,
    },
    /// Join control groups, and become a command
    #[command(name = JOIN)]
    Join {
        /// The `cgroup.procs` of each group
        groups: Vec<PathBuf>,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

/// Does what the arguments say. Under the name `schroot` it is schroot(1), with our session names.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let name = args.first().and_then(|name| Path::new(name).file_name());
    if name.is_some_and(|name| name == schroot::SHIM) {
        return schroot::begin_or_pass(&args[1..]);
    }
    match SandboxCli::parse_from(args).part {
        SandboxPart::Sandbox { specification } => crate::main(&specification),
        SandboxPart::Machine { description } => machine::main(&description),
        SandboxPart::Agent { root } => testbed::agent::main(&root),
        SandboxPart::Server { socket } => testbed::server::main(&socket),
        SandboxPart::Join { groups, command } => schroot::join(&groups, &command),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_part_has_a_subcommand_and_help() {
        SandboxCli::command().debug_assert();
        let words = ["build-sandbox", JOIN, "a", "b", "--", "cmd", "--its-option", "--"];
        let SandboxPart::Join { groups, command } = SandboxCli::parse_from(words).part else {
            panic!()
        };
        assert_eq!(
            (groups.len(), command),
            (2, vec!["cmd".into(), "--its-option".into(), "--".into()])
        );
        assert!(SandboxCli::try_parse_from(["build-sandbox"]).is_err());
    }
}
