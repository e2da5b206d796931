//! Builds a package on a node of a Slurm cluster.

use std::process::ExitCode;

fn main() -> ExitCode {
    invirtibuilder_node::main(std::env::args_os())
}
