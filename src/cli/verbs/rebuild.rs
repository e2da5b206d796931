//! `rebuild`: builds what a pocket has once more, without changes, as a version of its own.

use anyhow::Result;

use crate::session::CliSession;
use crate::verbs::submit::{How, show_preview, show_submitted};
use invirtibuilder_api::submit::Rebuild;
use invirtibuilder_core::error::Exit;
use invirtibuilder_service::submit::{preview_rebuild, rebuild_package};

/// Arguments of `rebuild`.
#[derive(Debug, clap::Args)]
pub struct RebuildArgs {
    /// The pocket that has it
    pocket: String,
    /// The source package
    package: String,
    /// Why: one line, which the changelog of the package tells everybody
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    how: How,
}

impl RebuildArgs {
    /// Tells whether the command stays until the job has ended.
    pub fn stays(&self) -> bool {
        self.how.manner().follow
    }
}

/// Runs the verb.
pub fn answer(session: &mut CliSession, args: &RebuildArgs) -> Result<Exit> {
    let RebuildArgs { pocket, package, reason, how } = args;
    let rebuild = Rebuild {
        pocket: pocket.clone(),
        package: package.clone(),
        reason: reason.clone(),
        manner: how.manner(),
    };
    if how.dry_run {
        let preview = preview_rebuild(session, &rebuild)?;
        return show_preview(session, &preview);
    }
    let submitted = rebuild_package(session, &rebuild)?;
    show_submitted(session, &submitted, rebuild.manner)
}
