//! `generate`: man pages, shell completions and the configuration's schema, for the package that is
//! being built.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap_complete::Shell;

use crate::manual;
use invirtibuilder_core::error::Exit;

/// Bash's completion, which asks the service.
const BASH: &str = include_str!("../../../examples/completion/invirt-build.bash");

/// Arguments of `generate`.
#[derive(Debug, clap::Args)]
pub struct GenerateArgs {
    /// The directory to write to
    dir: PathBuf,
}

/// Returns the command without what is hidden.
fn visible(command: &clap::Command) -> clap::Command {
    clap::Command::new("invirt-build")
        .args(command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned())
        .subcommands(command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned())
        .disable_help_subcommand(true)
        .version(env!("CARGO_PKG_VERSION"))
}

/// Runs the verb: `man/`, `completions/` and `config.schema.json` below the directory.
pub fn answer(command: clap::Command, args: &GenerateArgs) -> Result<Exit> {
    let (man, completions) = (args.dir.join("man"), args.dir.join("completions"));
    for dir in [&man, &completions] {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    fs::write(man.join("invirt-build.1"), manual::verbs(&command))?;
    fs::write(man.join("invirtibuilderd.8"), manual::daemon(&invirtibuilder_daemon::command()))?;
    fs::write(man.join("invirtibuilder-api.8"), manual::answerer())?;
    fs::write(man.join("invirtibuilder-web.8"), manual::web())?;
    fs::write(man.join("invirtibuilder-node.8"), manual::node())?;
    fs::write(man.join("invirtibuilder.yaml.5"), manual::configuration())?;
    let schema = serde_json::to_string_pretty(&invirtibuilder_core::config::schema())?;
    fs::write(args.dir.join("config.schema.json"), schema + "\n")?;
    fs::write(completions.join("invirt-build"), BASH)?;
    for (shell, file) in [(Shell::Zsh, "_invirt-build"), (Shell::Fish, "invirt-build.fish")] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut visible(&command), "invirt-build", &mut script);
        fs::write(completions.join(file), script)?;
    }
    Ok(Exit::Ok)
}
