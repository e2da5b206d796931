//! `init`: makes what the configuration names and is not there yet, and says what else the machine
//! lacks. It can be run again at any time; with `--check` it only looks.

use std::io::Write;
use std::path::Path;

use anyhow::Result;

use crate::session::{OutputFormat, print_json};
use crate::verbs::progress::Terminal;
use invirtibuilder_api::readiness::{Check, Readiness};
use invirtibuilder_core::config;
use invirtibuilder_core::error::{Error, Exit};
use invirtibuilder_core::names::Distro;
use invirtibuilder_core::text;
use invirtibuilder_service::readiness::check_readiness;
use invirtibuilder_service::setup::set_up_service;

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The distro to make a first chroot of, unless it is there
    #[arg(long)]
    distro: Option<String>,
    /// Only look, and say what is missing and which command mends it
    #[arg(long, conflicts_with = "distro")]
    check: bool,
}

/// Runs the verb: as root it makes everything for the service's user, as any other user for that
/// one. With `--check` it changes nothing, and 69 says that something is missing.
pub fn answer(path: Option<&Path>, args: &InitArgs, format: OutputFormat) -> Result<Exit> {
    let distro: Option<Distro> = args.distro.as_deref().map(str::parse).transpose()?;
    let path = config::path(path);
    if args.check {
        let checks = check_readiness(&path)?;
        if format == OutputFormat::Json {
            print_json(&mut std::io::stdout(), &checks)?;
        } else {
            show(&checks)?;
        }
        let works = checks.iter().all(|check| check.verdict != Readiness::Wrong);
        return Ok(if works { Exit::Ok } else { Exit::Unavailable });
    }
    let done = set_up_service(&path, distro.as_ref(), &Terminal)?;
    show(&done.left)?;
    if let Some(first) = done.broken.first() {
        let more = match done.broken.len() - 1 {
            0 => String::new(),
            more => format!("; and {more} more: 'init --check' names what mends each"),
        };
        return Err(Error::unavailable(format!("{first}{more}")).into());
    }
    writeln!(std::io::stdout(), "the service is set up; 'init --check' looks at everything again")?;
    Ok(Exit::Ok)
}

/// Prints one line for each thing, and below it the command that mends it.
fn show(checks: &[Check]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let width = checks.iter().map(|check| check.what.chars().count()).max().unwrap_or(0);
    for check in checks {
        let (what, found) = (text::one_line(&check.what), text::one_line(&check.found));
        let word = match check.verdict {
            Readiness::Fine => "fine",
            Readiness::Note => "note",
            Readiness::Wrong => "WRONG",
        };
        writeln!(out, "{word:5}  {what:width$}  {found}")?;
        if let Some(mend) = &check.mend {
            writeln!(out, "{:5}  {:width$}  -> {}", "", "", text::one_line(mend))?;
        }
    }
    Ok(())
}
