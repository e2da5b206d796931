//! Gives versions that an older release has published what this one publishes with each: MD5 sums in `Sources`, and what the archive
//! has beside its pool. It is done once, before suites are written, and goes on where it was killed.

use anyhow::{Context, Result};

use super::items;
use crate::archive::{Archive, Missing};
use crate::config::Config;
use crate::names::{PackageName, Suite, Version};
use crate::record::contents::{self, Content};
use crate::record::{Record, beside, pockets, pool};

/// How many versions are done in one transaction.
const AT_ONCE: usize = 500;

/// Completes what can be completed; what cannot is returned, each a sentence.
pub fn complete(config: &Config, record: &mut Record) -> Result<Vec<String>> {
    let archive = Archive::open(config)?;
    let mut troubles = sums(&archive, record)?;
    for some in beside::missing(record.db())?.chunks(AT_ONCE) {
        let mut ready: Vec<(Content, Missing)> = Vec::new();
        for (suite, source, version) in some {
            // Its other suite's is in the same batch.
            let before = ready.iter().rfind(|(content, _)| content.source == *source && content.version == *version);
            let before = before.map(|(content, _)| content.clone());
            match missing(config, &archive, record, before, (suite, source, version)) {
                Ok(done) => ready.push(done),
                Err(error) => troubles.push(format!("{source} {version} in suite {suite}: {error:#}")),
            }
        }
        let paths = || ready.iter().flat_map(|(_, missing)| missing.paths());
        record.write(|tx| paths().try_for_each(|path| pool::intend(tx, path)))?;
        archive.store_all_beside(ready.iter().map(|(_, missing)| missing))?;
        record.write(|tx| ready.iter().try_for_each(|(content, _)| contents::add(tx, content)))?;
    }
    Ok(troubles)
}

fn missing(
    config: &Config,
    archive: &Archive,
    record: &Record,
    before: Option<Content>,
    (suite, source, version): (&Suite, &PackageName, &Version),
) -> Result<(Content, Missing)> {
    let mut content = match before {
        Some(content) => content,
        None => contents::content(record.db(), source, version)?.context("the record has no such version")?,
    };
    let known = pockets::known(record.db(), source, version)?.context("the record does not know its commit")?;
    let changelog = items::changelog(config, source, &known.commit)?;
    let missing = archive.complete(&mut content, suite, &changelog)?;
    Ok((content, missing))
}

/// Adds MD5 sums to entries of `Sources` that have none. Suites that show them are written anew next.
fn sums(archive: &Archive, record: &mut Record) -> Result<Vec<String>> {
    let mut troubles = Vec::new();
    for some in contents::sources_without_sums(record.db())?.chunks(AT_ONCE) {
        let mut stanzas = Vec::new();
        for (source, version) in some {
            let files = pool::of_version(record.db(), source, version)?;
            match archive.with_sums(&contents::source_stanza(record.db(), source, version)?, &files) {
                Ok(stanza) => stanzas.push((source, version, stanza)),
                Err(error) => troubles.push(format!("the entry of {source} {version} in Sources: {error:#}")),
            }
        }
        record.write(|tx| {
            stanzas
                .iter()
                .try_for_each(|(source, version, stanza)| contents::replace_stanza(tx, source, version, stanza))
        })?;
    }
    Ok(troubles)
}
