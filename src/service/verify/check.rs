//! Compares the record with itself, with Git and with the archive.

use anyhow::Result;

use crate::verify::facts::Facts;
use crate::verify::fault::{Deep, Examined};
use crate::verify::{archive, git};
use invirtibuilder_core::config::Config;
use invirtibuilder_store::Record;

/// Compares everything.
pub fn check(config: &Config, record: &mut Record, deep: &Deep) -> Result<Examined> {
    let facts = record.read(|tx| Facts::read(tx, config))?;
    let mut faults = facts.contradictions(config);
    faults.extend(git::check(config, &facts)?);
    let seen = archive::Seen { config, record, facts: &facts };
    faults.extend(archive::check(&seen, deep)?);
    let mut compared = Examined {
        packages: facts.packages().len(),
        suites: config.build.pockets.len(),
        files: facts.pool.len(),
        faults,
        warnings: git::warnings(config, &facts)?,
    };
    archive::places(&seen, &mut compared)?;
    Ok(compared)
}
