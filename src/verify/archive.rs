//! The archive's files against the record: what each suite shows, and what the pool has.

use std::collections::BTreeSet;

use anyhow::Result;
use rayon::prelude::*;

use super::facts::Facts;
use super::{Deep, Difference, Mend, Warning};
use crate::architectures::Table;
use crate::archive::Archive;
use crate::config::Config;
use crate::copies;
use crate::names::PocketName;
use crate::publish::Publisher;
use crate::record::pockets::Held;
use crate::record::{Record, builds, contents};

/// Every difference.
pub fn check(
    config: &Config,
    publisher: &Publisher,
    record: &Record,
    facts: &Facts,
    deep: &Deep,
) -> Result<Vec<Difference>> {
    let archive = Archive::open(config)?;
    let mut found = Vec::new();
    for pocket in config.build.pockets.keys() {
        found.extend(suite(config, publisher, record, facts, &archive, pocket)?);
    }
    let bad: Vec<Difference> = facts
        .pool
        .par_iter()
        .filter_map(|file| {
            Some(Difference::new(&file.path, archive.inspect_file(file, deep.includes(&file.path))?, Mend::Nothing))
        })
        .collect();
    found.extend(bad);
    let bad = facts
        .beside
        .par_iter()
        .filter_map(|it| Some(Difference::new(&it.path, archive.inspect_beside(it)?, Mend::Nothing)));
    found.extend(bad.collect::<Vec<_>>());
    let mut known: BTreeSet<&str> = facts.pool.iter().map(|file| file.path.as_str()).collect();
    known.extend(facts.beside.iter().map(|it| it.path.as_str()));
    known.extend(facts.intents.iter().map(|(path, _)| path.as_str()));
    for path in archive.strays(&known)? {
        let text = "no version that the record knows has it: 'archive gc' removes it";
        found.push(Difference::new(path, text, Mend::Nothing));
    }
    Ok(found)
}

/// Whether each pocket's suite has a place for all that its versions are: components and architectures.
pub fn places(
    config: &Config,
    publisher: &Publisher,
    record: &Record,
    facts: &Facts,
    differences: &mut Vec<Difference>,
    warnings: &mut Vec<Warning>,
) -> Result<()> {
    let table = Table::read()?;
    for held in &facts.held {
        let Held { pocket, package, version, .. } = held;
        let (target, architectures) = (&config.build.pockets[pocket], publisher.architectures(config, pocket));
        let parts = contents::outline(record.db(), package, version)?;
        let place = format!("suite {}", config.suite(pocket));
        if let Some(why) = copies::hidden(pocket, target, &architectures, &parts) {
            let text = format!(
                "it does not show all of {package} {version}, which {pocket} has: {why}: add that to the pocket, or submit a \
                 version without it"
            );
            differences.push(Difference::new(&place, text, Mend::Nothing));
        }
        let build = builds::of_version(record.db(), package, version)?;
        if let Some(why) = build.and_then(|build| copies::not_built(&table, pocket, &architectures, &parts, &build)) {
            warnings.push(Warning { place, text: format!("{package} {version}: {why}") });
        }
    }
    Ok(())
}

fn suite(
    config: &Config,
    publisher: &Publisher,
    record: &Record,
    facts: &Facts,
    archive: &Archive,
    pocket: &PocketName,
) -> Result<Vec<Difference>> {
    let suite = config.suite(pocket);
    let place = format!("suite {suite}");
    let one = |text: String, mend: Mend| Ok(vec![Difference::new(&place, text, mend)]);
    let again = || Mend::Suite(pocket.clone());
    let shown = match archive.current(&suite) {
        Ok(shown) => shown,
        Err(error) => return one(format!("{error:#}"), Mend::Nothing),
    };
    match (facts.suites.get(pocket), shown) {
        (None, None) => Ok(Vec::new()),
        (None, Some(shown)) => one(
            format!(
                "it shows generation {shown}, but the record does not know it: restore the database, for --repair writes \
                 it anew with nothing in it"
            ),
            again(),
        ),
        (Some(_), _) if facts.owes_suite(suite.as_str()) => Ok(Vec::new()),
        (Some((state, _)), shown) if shown != Some(state.generation) => {
            let shown = shown.map_or("nothing".to_owned(), |shown| format!("generation {shown}"));
            one(format!("it shows {shown}; the record has generation {}", state.generation), again())
        }
        (Some((state, contents)), _) => {
            let wrong = archive.inspect(record.db(), &publisher.suite(config, pocket), state, contents)?;
            Ok(wrong.into_iter().map(|text| Difference::new(&place, text, again())).collect())
        }
    }
}
