//! The daemon: see `invirtibuilderd(8)`.

use std::process::ExitCode;

fn main() -> ExitCode {
    invirtibuilder::daemon::main(std::env::args_os())
}
