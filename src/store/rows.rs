//! Reads what rows of several tables begin with.

use rusqlite::Row;

use invirtibuilder_core::domain::Identity;

/// Reads the domain, the source package and the version that a row begins with.
pub(crate) fn identity(row: &Row) -> rusqlite::Result<Identity> {
    Ok(Identity { domain: row.get(0)?, package: row.get(1)?, version: row.get(2)? })
}
