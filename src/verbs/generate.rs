//! `generate`: man pages and shell completions, for the package that is being built.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap_complete::Shell;

use crate::error::Exit;
use crate::manual;

/// Arguments of `generate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory to write to
    dir: PathBuf,
}

/// The command without what is hidden.
fn visible(command: &clap::Command) -> clap::Command {
    clap::Command::new("invirt-build")
        .args(command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned())
        .subcommands(command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned())
        .disable_help_subcommand(true)
        .version(env!("CARGO_PKG_VERSION"))
}

/// Runs the verb: `man/` and `completions/` below the directory.
pub fn run(command: clap::Command, args: &Args) -> Result<Exit> {
    let (man, completions) = (args.dir.join("man"), args.dir.join("completions"));
    for dir in [&man, &completions] {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    fs::write(man.join("invirt-build.1"), manual::verbs(&command))?;
    fs::write(man.join("invirtibuilderd.8"), manual::daemon(&crate::daemon::command()))?;
    fs::write(man.join("invirtibuilder.yaml.5"), manual::configuration())?;
    for (shell, file) in
        [(Shell::Bash, "invirt-build"), (Shell::Zsh, "_invirt-build"), (Shell::Fish, "invirt-build.fish")]
    {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut visible(&command), "invirt-build", &mut script);
        fs::write(completions.join(file), script)?;
    }
    Ok(Exit::Ok)
}
