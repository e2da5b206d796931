//! `check-config`: every problem of the configuration at once, and what looks wrong in the ACLs that it names.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use crate::acl::{self, Finding};
use crate::archive::Archive;
use crate::config::{self, Config, Problem};
use crate::error::Exit;

/// Runs the verb. It needs no record and gives nothing away, so it asks nobody who they are; but it reads the file
/// with the rights of whoever runs it.
pub fn run(path: Option<&Path>, as_json: bool) -> Result<Exit> {
    let path = config::path(path);
    let (problems, findings, warnings) = match config::load(&path) {
        Ok(config) => (keys(&config, &path), acl::lint(&config), warnings(&config)),
        Err(problems) => (problems, Vec::new(), Vec::new()),
    };
    let mut out = std::io::stdout();
    if as_json {
        writeln!(
            out,
            "{}",
            json!({ "file": path, "problems": problems.iter().map(|p| json!({
            "file": p.file, "line": p.line, "column": p.column, "message": p.message,
        })).collect::<Vec<_>>(), "acl": findings.iter().map(|f| json!({
            "place": f.place, "message": f.message, "refuses": f.refuses,
        })).collect::<Vec<_>>(), "warnings": warnings })
        )?;
    } else {
        for problem in &problems {
            writeln!(std::io::stderr(), "{}", crate::text::one_line(&problem.to_string()))?;
        }
        for Finding { place, message, refuses } in &findings {
            let word = if *refuses { "" } else { "warning: " };
            writeln!(std::io::stderr(), "{}", crate::text::one_line(&format!("{place}: {word}{message}")))?;
        }
        for warning in &warnings {
            writeln!(std::io::stderr(), "{}: warning: {warning}", path.display())?;
        }
        if problems.is_empty() && findings.is_empty() {
            writeln!(out, "{}: no problems", path.display())?;
        }
    }
    // An entry that says nothing is odd, and one that refuses everybody is wrong.
    let wrong = !problems.is_empty() || findings.iter().any(|finding| finding.refuses);
    Ok(if wrong { Exit::Config } else { Exit::Ok })
}

/// Keys that could not sign, or that clients could not use. Those that are not there yet are made by 'init', and those that whoever runs
/// this may not read are not looked at.
fn keys(config: &Config, path: &Path) -> Vec<Problem> {
    if config.archive.signing_key.iter().any(|key| std::fs::read(key.certificate()).is_err()) {
        return Vec::new();
    }
    let wrong = Archive::check_keys(config).err();
    wrong
        .map(|error| config::problem(path, "archive.signing_key", format!("archive.signing_key: {error:#}")))
        .into_iter()
        .collect()
}

/// What is no problem, and should be known.
fn warnings(config: &Config) -> Vec<String> {
    let pockets = config.build.pockets.iter();
    let pockets =
        pockets.flat_map(|(name, pocket)| pocket.caveats().into_iter().map(move |it| format!("pocket {name}: {it}")));
    pockets.chain(Archive::key_caveats(config)).collect()
}
