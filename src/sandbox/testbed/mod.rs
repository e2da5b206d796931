//! Runs the commands of a build in a root of its own, behind a socket.
//!
//! sbuild(1) runs outside of it, in the sandbox, and reaches it through autopkgtest's interface for
//! testbeds: it starts a `server` that names a `client` which has commands run, and the client
//! hands its command and its standard streams to the `agent`, which runs it. The client is a
//! program of its own, which starts quickly: sbuild runs some eighty commands. The agent's user,
//! mount and process namespaces lie within those of the sandbox: root of the testbed is nobody in
//! the sandbox, and has none of its mounts but its own.

pub(crate) mod agent;
mod client;
mod command;
mod prefix;
mod root;
pub(crate) mod server;
mod wire;

pub use client::main as run;
pub use command::CodeOf;
pub use root::{BUILDER, Root, UnpackedRoot};
#[cfg(test)]
pub use wire::answered;
pub use wire::{NOT_STARTED, Streams, answer, heard};

/// The program that has a command run, as the sandbox has it; the agent's socket and the command
/// are its arguments.
pub const CLIENT: &str = "/testbed-run";
