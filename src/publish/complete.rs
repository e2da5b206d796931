//! Gives versions that an older release has published what this one publishes with each: MD5 sums
//! in `Sources`, and what the archive has beside its pool. It is done once, before suites are
//! written, and goes on where it was killed.

use anyhow::{Context, Result};

use crate::items;
use invirtibuilder_archive::{Archive, MissingFiles};
use invirtibuilder_core::config::Config;
use invirtibuilder_core::domain::{Identity, SuiteId};
use invirtibuilder_store::contents::{self, Content};
use invirtibuilder_store::{Record, beside, jobs, pockets, pool};

/// The number of versions that one transaction completes.
const AT_ONCE: usize = 500;

/// Completes the versions that can be completed. Returns what could not be, each a sentence.
pub fn complete(config: &Config, record: &mut Record) -> Result<Vec<String>> {
    let mut troubles = sums(config, record)?;
    for (domain, _) in config.domains() {
        let archive = Archive::open(config, &domain)?;
        let all: Vec<(SuiteId, Identity)> = beside::missing(record.db())?
            .into_iter()
            .filter(|(suite, _)| suite.domain == domain)
            .collect();
        for some in all.chunks(AT_ONCE) {
            troubles.extend(complete_some(config, &archive, record, some)?);
        }
    }
    Ok(troubles)
}

/// Completes versions of one domain, in one transaction.
fn complete_some(
    config: &Config,
    archive: &Archive,
    record: &mut Record,
    some: &[(SuiteId, Identity)],
) -> Result<Vec<String>> {
    let (mut ready, mut troubles): (Vec<(Content, MissingFiles)>, _) = (Vec::new(), Vec::new());
    for (suite, id) in some {
        // Its other suite's is in the same batch.
        let before = ready.iter().rfind(|(content, _)| content.id == *id);
        let before = before.map(|(content, _)| content.clone());
        match missing(config, archive, record, before, (suite, id)) {
            Ok(done) => ready.push(done),
            Err(error) => troubles.push(format!("{id} in suite {suite}: {error:#}")),
        }
    }
    record.write(|tx| {
        ready.iter().try_for_each(|(content, missing)| {
            missing.paths().try_for_each(|path| pool::intend(tx, &content.id.domain, path))
        })
    })?;
    archive.store_all_beside(ready.iter().map(|(_, missing)| missing))?;
    record.write(|tx| ready.iter().try_for_each(|(content, _)| contents::add(tx, content)))?;
    Ok(troubles)
}

fn missing(
    config: &Config,
    archive: &Archive,
    record: &Record,
    before: Option<Content>,
    (suite, id): (&SuiteId, &Identity),
) -> Result<(Content, MissingFiles)> {
    let mut content = match before {
        Some(content) => content,
        None => contents::content(record.db(), id)?.context("the record has no such version")?,
    };
    let known = pockets::known(record.db(), id)?.context("the record does not know its commit")?;
    let job = jobs::get(record.db(), known.job)?;
    let changelog = items::changelog(config, &job, &known.distro)?;
    let missing = archive.complete(&mut content, suite, &changelog)?;
    Ok((content, missing))
}

/// Adds MD5 sums to entries of `Sources` that have none. The service writes the suites that show
/// them again next.
fn sums(config: &Config, record: &mut Record) -> Result<Vec<String>> {
    let mut troubles = Vec::new();
    for some in contents::sources_without_sums(record.db())?.chunks(AT_ONCE) {
        let mut stanzas = Vec::new();
        for id in some {
            let files = pool::of_version(record.db(), id)?;
            let stanza = contents::source_stanza(record.db(), id)?;
            let with_sums = Archive::open(config, &id.domain)
                .and_then(|archive| archive.with_sums(&stanza, &files));
            match with_sums {
                Ok(stanza) => stanzas.push((id, stanza)),
                Err(error) => {
                    troubles.push(format!("the entry of {id} in Sources: {error:#}"));
                }
            }
        }
        record.write(|tx| {
            stanzas.iter().try_for_each(|(id, stanza)| contents::replace_stanza(tx, id, stanza))
        })?;
    }
    Ok(troubles)
}
