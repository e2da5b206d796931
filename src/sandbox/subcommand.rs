//! The subcommands of `build-sandbox`, which the parts of a build start each other by.

/// The subcommand of a sandbox's first process.
pub const SANDBOX: &str = "sandbox";
/// The subcommand of a virtual machine.
pub const MACHINE: &str = "machine";
/// The subcommand of a testbed's first process.
pub const AGENT: &str = "testbed-agent";
/// The subcommand that sbuild starts.
pub const SERVER: &str = "testbed-server";
/// The subcommand that puts a build in a schroot into its control groups.
pub const JOIN: &str = "join-groups";
