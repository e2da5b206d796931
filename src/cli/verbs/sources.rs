//! `verify --sources`: which packages that pockets have would be refused if they were submitted
//! now.

use anyhow::Result;

use crate::session::CliSession;
use crate::verbs::progress::Terminal;
use invirtibuilder_api::verify::SourcesChecked;
use invirtibuilder_builder::source::SUMS;
use invirtibuilder_core::error::Exit;
use invirtibuilder_core::names::PocketName;
use invirtibuilder_service::sources::check_sources;

/// Looks at every package: exit 0 if all can be made as they are, 1 if not.
pub fn answer(session: &mut CliSession) -> Result<Exit> {
    let server = &session.at_server("verify")?;
    let checked = check_sources(server, &Terminal)?;
    if session.wants_json() {
        session.print_json(&checked.refused)?;
    } else {
        show(session, &checked)?;
    }
    Ok(if checked.refused.is_empty() { Exit::Ok } else { Exit::JobFailed })
}

fn show(session: &CliSession, checked: &SourcesChecked) -> Result<()> {
    let SourcesChecked { all, refused } = checked;
    for one in refused {
        let pockets: Vec<&str> = one.pockets.iter().map(PocketName::as_str).collect();
        session.line(format!(
            "{} {} ({}): {}",
            one.package,
            one.version,
            pockets.join(", "),
            one.why
        ))?;
        for line in &one.add {
            session.line(format!("  to add to {SUMS}: {line}"))?;
        }
    }
    match refused.len() {
        0 => session.line(format!("all {all} source packages can be made from their commits"))?,
        n => session.line(format!("{n} of {all} source packages would be refused now"))?,
    }
    Ok(())
}
