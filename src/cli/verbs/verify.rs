//! `verify`: whether database, Git and archive agree, and what to do where they do not.

use anyhow::Result;

use crate::session::CliSession;
use invirtibuilder_api::verify::{Depth, MendedDifference, Repair, Repaired, Report};
use invirtibuilder_core::error::Exit;
use invirtibuilder_core::text::count;
use invirtibuilder_service::verify;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Apply the record again where something is not as it says
    #[arg(long)]
    repair: bool,
    /// With --repair: take branches, superproject and tags as they are, if they pass validation
    #[arg(long, requires = "repair")]
    adopt: bool,
    /// Read and hash every file of the pool
    #[arg(long)]
    deep: bool,
    /// Build again what this job has published, in the same chroots, and compare the packages bit
    /// by bit
    #[arg(long, value_name = "JOB", allow_negative_numbers = true, conflicts_with_all = ["repair", "deep"])]
    rebuild: Option<String>,
    /// Make every source package that pockets have again, and name those that would be refused now
    #[arg(long, conflicts_with_all = ["repair", "deep", "rebuild"])]
    sources: bool,
}

/// Runs the verb: exit 0 if everything agrees (now), 1 if not.
pub fn answer(session: &mut CliSession, args: &VerifyArgs) -> Result<Exit> {
    if let Some(job) = &args.rebuild {
        return super::reproduce::answer(session, job);
    }
    if args.sources {
        return super::sources::answer(session);
    }
    let server = &mut session.at_server("verify")?;
    if args.repair {
        let how = if args.adopt { Repair::Adopt } else { Repair::Reapply };
        let repaired = verify::repair_all(server, how)?;
        return show_repaired(session, &repaired);
    }
    let depth = if args.deep { Depth::Contents } else { Depth::Sizes };
    let report = verify::compare_all(server, depth)?;
    show(session, &report)
}

fn show_repaired(session: &CliSession, repaired: &Repaired) -> Result<Exit> {
    if session.wants_json() {
        session.print_json(repaired)?;
        return Ok(exit(&repaired.left));
    }
    for MendedDifference { done, failed, place, text } in &repaired.mended {
        match (done, failed) {
            (Some(done), _) => session.line(format!("{place}: {text}: {done}"))?,
            (None, failed) => {
                let why = failed.as_deref().unwrap_or_default();
                session.line(format!("{place}: {text}: not mended: {why}"))?;
            }
        }
    }
    show(session, &repaired.left)
}

fn show(session: &CliSession, report: &Report) -> Result<Exit> {
    if session.wants_json() {
        session.print_json(report)?;
        return Ok(exit(report));
    }
    for difference in &report.differences {
        session.line(format!("{}: {}", difference.place, difference.text))?;
    }
    for warning in &report.warnings {
        session.line(format!("warning: {}: {}", warning.place, warning.text))?;
    }
    let Report { packages, suites, files, differences, .. } = report;
    let compared = format!(
        "{}, {}, {} of the pool",
        count(*packages, "package"),
        count(*suites, "suite"),
        count(*files, "file")
    );
    match differences.len() {
        0 => session.line(format!("database, Git and archive agree: {compared}"))?,
        n => session.line(format!("{}: {compared}", count(n, "difference")))?,
    }
    Ok(exit(report))
}

fn exit(report: &Report) -> Exit {
    if report.differences.is_empty() { Exit::Ok } else { Exit::JobFailed }
}
