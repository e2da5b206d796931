//! Everything that Git, APT and the record say, as text that can be compared.

use std::fmt::Write;
use std::path::Path;

use rusqlite::types::ValueRef;

use super::{STATE, run};

/// Takes it. The audit trail and the hooks are left out: refusals are to be written down.
pub fn take() -> String {
    let mut text = run(
        "sh",
        &[
            "-c",
            "find /srv/git -name '*.git' -prune | sort | while read repo; do echo $repo; git -C $repo for-each-ref; done; \
             find /srv/apt -type f -exec sha256sum {} + | sort -k2; find /srv/apt -type l -printf '%p -> %l\\n' | sort",
        ],
    );
    for table in ["job", "version", "pocket_package", "superproject", "owed_move"] {
        let _ = write!(text, "\n{table}\n{}", rows(table));
    }
    text
}

fn rows(table: &str) -> String {
    let database = Path::new(STATE).join("invirtibuilder.db");
    let db =
        rusqlite::Connection::open_with_flags(database, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
            .unwrap();
    let mut query = db.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
    let columns = query.column_count();
    let mut rows = query.query([]).unwrap();
    let mut text = String::new();
    while let Some(row) = rows.next().unwrap() {
        for n in 0..columns {
            let _ = match row.get_ref(n).unwrap() {
                ValueRef::Text(value) => write!(text, "{}|", String::from_utf8_lossy(value)),
                other => write!(text, "{other:?}|"),
            };
        }
        text.push('\n');
    }
    text
}
