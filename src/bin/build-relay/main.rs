//! What remctld starts: it has the command answered by `invirtibuilder-api`, which is there
//! already, or becomes `invirt-build`, which answers every command.

use std::process::ExitCode;

fn main() -> ExitCode {
    invirtibuilder_system::relay::main(std::env::args_os())
}
