//! `check-config`: every problem of the configuration at once.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use crate::config;
use crate::error::Exit;

/// Runs the verb. It needs no record and gives nothing away, so it asks nobody who they are; but it reads the file
/// with the rights of whoever runs it.
pub fn run(path: Option<&Path>, as_json: bool) -> Result<Exit> {
    let path = config::path(path);
    let problems = config::load(&path).err().unwrap_or_default();
    let mut out = std::io::stdout();
    if as_json {
        writeln!(
            out,
            "{}",
            json!({ "file": path, "problems": problems.iter().map(|p| json!({
            "file": p.file, "line": p.line, "column": p.column, "message": p.message,
        })).collect::<Vec<_>>() })
        )?;
    } else if problems.is_empty() {
        writeln!(out, "{}: no problems", path.display())?;
    } else {
        for problem in &problems {
            writeln!(std::io::stderr(), "{}", crate::text::one_line(&problem.to_string()))?;
        }
    }
    Ok(if problems.is_empty() { Exit::Ok } else { Exit::Config })
}
