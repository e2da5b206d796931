//! `verify --rebuild`: whether what was published can be built again.

use anyhow::Result;

use crate::session::CliSession;
use crate::verbs::progress::Terminal;
use invirtibuilder_api::builds::{PackageVerdict, RebuildDetail, RebuildRequest, Rebuilt};
use invirtibuilder_core::error::Exit;
use invirtibuilder_service::reproduce;

/// Builds again what a job has published: exit 0 if the packages are the same, 1 if not.
pub fn answer(session: &mut CliSession, job: &str) -> Result<Exit> {
    let detail =
        if session.wants_json() { RebuildDetail::Verdict } else { RebuildDetail::Contents };
    let server = &mut session.at_server("verify")?;
    let request = RebuildRequest { job: job.parse()?, detail };
    let rebuilt = reproduce::reproduce_job(server, &request, &Terminal)?;
    if session.wants_json() {
        session.print_json(&rebuilt)?;
    } else {
        show(session, &rebuilt)?;
    }
    Ok(if rebuilt.same { Exit::Ok } else { Exit::JobFailed })
}

fn show(session: &CliSession, rebuilt: &Rebuilt) -> Result<()> {
    for one in &rebuilt.packages {
        let verdict = match one.verdict {
            PackageVerdict::Same => "is the same",
            PackageVerdict::Differs => "differs",
            PackageVerdict::Missing => "was not built again",
            PackageVerdict::Extra => "was not built before",
        };
        session.line(format!("{} {verdict}", one.file))?;
        if let Some(contents) = rebuilt.contents.get(&one.file) {
            session.line(contents)?;
        }
    }
    if !rebuilt.environment.is_empty() {
        session.line("what was installed is not what was installed then:")?;
        rebuilt.environment.iter().try_for_each(|line| session.line(format!("  {line}")))?;
    }
    let Rebuilt { package, version, job, same, .. } = rebuilt;
    match same {
        true => session
            .line(format!("{package} {version} of job {job} can be built again, bit by bit"))?,
        false => session
            .line(format!("{package} {version} of job {job} cannot be built again as it was"))?,
    }
    Ok(())
}
