//! `pockets`: what pockets there are.

use anyhow::Result;
use serde_json::json;

use crate::error::Exit;
use crate::record::pockets;
use crate::session::{Session, table};

/// Runs the verb.
pub fn run(session: &mut Session) -> Result<Exit> {
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for (name, pocket) in &session.config.build.pockets {
        let count = pockets::count(session.record.db(), name)?;
        let (suite, branch) = (session.config.suite(name), session.config.branch(name));
        values.push(json!({
            "pocket": name, "suite": suite, "branch": branch, "distro": pocket.distro,
            "allow_backtracking": pocket.allow_backtracking, "packages": count,
        }));
        let back = if pocket.allow_backtracking { "yes" } else { "no" };
        rows.push([
            name.to_string(),
            suite.to_string(),
            branch,
            pocket.distro.to_string(),
            back.to_owned(),
            count.to_string(),
        ]);
    }
    if session.json {
        session.print_json(&values)?;
    } else {
        table(["POCKET", "SUITE", "BRANCH", "DISTRO", "BACKTRACKING", "PACKAGES"], &rows)?;
    }
    Ok(Exit::Ok)
}
