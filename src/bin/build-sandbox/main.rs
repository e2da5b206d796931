//! Runs what a build needs around it: sandbox, testbed, virtual machine.

use std::process::ExitCode;

fn main() -> ExitCode {
    invirtibuilder_sandbox::program::main(std::env::args_os())
}
