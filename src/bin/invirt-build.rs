//! The command backend: see `invirt-build(1)`.

use std::process::ExitCode;

fn main() -> ExitCode {
    invirtibuilder::cli::main(std::env::args_os())
}
