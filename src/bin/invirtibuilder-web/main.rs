//! The pages: see `invirtibuilder-web(8)`.

use std::process::ExitCode;

fn main() -> ExitCode {
    invirtibuilder_web::main(std::env::args_os())
}
