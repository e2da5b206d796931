//! `promote`: submits to one pocket the commit that another has now.

use anyhow::Result;

use crate::session::CliSession;
use crate::verbs::submit::{How, show_preview, show_submitted};
use invirtibuilder_api::submit::Promotion;
use invirtibuilder_core::error::Exit;
use invirtibuilder_service::submit::{preview_promotion, promote_package};

/// Arguments of `promote`.
#[derive(Debug, clap::Args)]
pub struct PromoteArgs {
    /// The source package
    package: String,
    /// The pocket that has it
    from: String,
    /// The pocket that is to get it
    to: String,
    #[command(flatten)]
    how: How,
}

impl PromoteArgs {
    /// Tells whether the command stays until the job has ended.
    pub fn stays(&self) -> bool {
        self.how.manner().follow
    }
}

/// Runs the verb.
pub fn answer(session: &mut CliSession, args: &PromoteArgs) -> Result<Exit> {
    let PromoteArgs { package, from, to, how } = args;
    let promotion = Promotion {
        package: package.clone(),
        from: from.clone(),
        to: to.clone(),
        manner: how.manner(),
    };
    if how.dry_run {
        let preview = preview_promotion(session, &promotion)?;
        return show_preview(session, &preview);
    }
    let submitted = promote_package(session, &promotion)?;
    show_submitted(session, &submitted, promotion.manner)
}
