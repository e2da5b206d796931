//! `check-config`: every problem of the configuration at once, and what looks wrong in the ACLs
//! that it names.

use std::io::Write;
use std::path::Path;

use anyhow::Result;

use crate::session::{OutputFormat, print_json};
use invirtibuilder_api::acl::Finding;
use invirtibuilder_api::configuration::ConfigReport;
use invirtibuilder_core::config;
use invirtibuilder_core::error::Exit;
use invirtibuilder_core::text;
use invirtibuilder_service::configuration::check_configuration;

/// Runs the verb.
pub fn answer(path: Option<&Path>, format: OutputFormat) -> Result<Exit> {
    let report = check_configuration(config::path(path));
    if format == OutputFormat::Json {
        print_json(&mut std::io::stdout(), &report)?;
    } else {
        show(&report)?;
    }
    // An entry that says nothing is odd, and one that refuses everybody is wrong.
    let wrong = !report.problems.is_empty() || report.acl.iter().any(|finding| finding.refuses);
    Ok(if wrong { Exit::Config } else { Exit::Ok })
}

fn show(report: &ConfigReport) -> Result<()> {
    let ConfigReport { acl, file, problems, warnings } = report;
    let mut error = std::io::stderr();
    for problem in problems {
        writeln!(error, "{}", text::one_line(&problem.to_string()))?;
    }
    for Finding { place, message, refuses } in acl {
        let word = if *refuses { "" } else { "warning: " };
        writeln!(error, "{}", text::one_line(&format!("{place}: {word}{message}")))?;
    }
    for warning in warnings {
        writeln!(error, "{}: warning: {warning}", file.display())?;
    }
    if problems.is_empty() && acl.is_empty() {
        writeln!(std::io::stdout(), "{}: no problems", file.display())?;
    }
    Ok(())
}
