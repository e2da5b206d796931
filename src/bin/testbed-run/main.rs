//! Has a command run in the root of a build: sbuild calls it for each. It is no part of the
//! daemon's program because it links to next to nothing, and so starts in a third of the time.

use std::process::ExitCode;

fn main() -> ExitCode {
    invirtibuilder_sandbox::testbed::run(std::env::args_os())
}
