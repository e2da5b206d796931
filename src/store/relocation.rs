//! Takes what is known of a version from one domain into another.

use anyhow::Result;
use rusqlite::{Connection, Transaction, params};

use crate::contents::Content;
use crate::sources;
use invirtibuilder_core::domain::Identity;

/// Copies the one `.dsc` of a version, whose build the pool has, and the second build that gave the
/// same packages, to the same version of another domain. What is there stays.
pub fn copy_facts(tx: &Transaction, from: &Identity, to: &Identity) -> Result<()> {
    for (table, columns) in
        [("version_source", "sha256, dsc"), ("reproduced", "at, isolation, chroots, packages")]
    {
        tx.execute(
            &format!(
                "INSERT INTO {table} (domain, package, version, {columns})
                 SELECT ?1, package, version, {columns} FROM {table}
                 WHERE domain = ?2 AND package = ?3 AND version = ?4 ON CONFLICT DO NOTHING"
            ),
            params![to.domain, from.domain, from.package, from.version],
        )?;
    }
    tx.execute(
        "UPDATE pool_version SET built_by = (SELECT its.built_by FROM pool_version AS its
             WHERE its.domain = ?2 AND its.source = ?3 AND its.version = ?4)
         WHERE domain = ?1 AND source = ?3 AND version = ?4 AND built_by IS NULL",
        params![to.domain, from.domain, from.package, from.version],
    )?;
    Ok(())
}

/// Tells whether a domain had a version with another `.dsc` than these files have.
pub fn has_other_dsc(db: &Connection, id: &Identity, content: &Content) -> Result<bool> {
    let mine = content.files.iter().find(|file| file.path.ends_with(".dsc"));
    let there = sources::dsc_of(db, id)?;
    Ok(there.is_some_and(|sum| mine.is_none_or(|mine| mine.sha256 != sum)))
}
