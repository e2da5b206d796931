//! Where the commands of a build run: a root of its own, behind a socket.
//!
//! sbuild(1) runs outside of it, in the sandbox, and reaches it through autopkgtest's interface for testbeds: it starts a
//! `server` that names a `client` by which commands are run, and the client hands its command and its standard streams to
//! the `agent`, which runs it. The client is a program of its own, which starts quickly: sbuild runs some eighty commands. The agent's user, mount and process namespaces lie
//! within those of the sandbox: root of the testbed is nobody in the sandbox, and has none of its mounts but its own.

use std::ffi::OsString;
use std::process::ExitCode;

mod agent;
mod client;
mod command;
mod prefix;
mod root;
mod server;
mod wire;

pub use client::main as run;
pub use command::is_the_packages;
pub use root::{BUILDER, Root, Unpacked};
#[cfg(test)]
pub use wire::answered;
pub use wire::{NOT_STARTED, Streams, answer, heard};

/// The first argument of the program when it is to speak autopkgtest's protocol; the agent's socket follows.
pub const SERVER: &str = "testbed-server";
/// The program that has a command run, as the sandbox has it; the agent's socket and the command are its arguments.
pub const CLIENT: &str = "/testbed-run";
/// The first argument of the program when it is to be the agent.
pub const AGENT: &str = "testbed-agent";

/// Does what the arguments ask for, if it is one of these.
pub fn main(args: &[OsString]) -> Option<ExitCode> {
    let (first, rest) = args.get(1..)?.split_first()?;
    match first.to_str()? {
        SERVER => Some(server::main(rest)),
        AGENT => Some(agent::main(rest)),
        _ => None,
    }
}
