//! Finds what is wrong with the database file itself.

use anyhow::Result;
use rusqlite::Connection;

/// Lists what SQLite finds wrong with the database, a line each; nothing if it is whole.
pub fn found(db: &Connection) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for pragma in ["quick_check", "foreign_key_check"] {
        let mut statement = db.prepare(&format!("PRAGMA {pragma}"))?;
        let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
        all.extend(lines.collect::<Result<Vec<_>, _>>()?.into_iter().filter(|line| line != "ok"));
    }
    Ok(all)
}
