//! The archive's files against the record: what each suite shows, and what the pool has.

use std::collections::BTreeSet;

use anyhow::Result;
use rayon::prelude::*;

use crate::verify::facts::Facts;
use crate::verify::fault::{Deep, Examined, Fault, Mend};
use invirtibuilder_api::pocket::Held;
use invirtibuilder_api::verify::Warning;
use invirtibuilder_archive::Archive;
use invirtibuilder_core::config::{Config, ConfiguredPocket};
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::names::DomainName;
use invirtibuilder_publish::{copies, suite_spec};
use invirtibuilder_store::{Record, builds, contents};
use invirtibuilder_system::architectures::{self, Table};

/// What the archive is compared with.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The record.
    pub record: &'a Record,
    /// What the record says.
    pub facts: &'a Facts,
}

/// Lists every difference.
pub fn check(seen: &Seen, deep: &Deep) -> Result<Vec<Fault>> {
    let mut found = Vec::new();
    for pocket in seen.config.pockets() {
        found.extend(suite(seen, &Archive::open(seen.config, pocket.domain())?, pocket)?);
    }
    for (domain, _) in seen.config.domains() {
        found.extend(files(seen, &domain, deep)?);
    }
    Ok(found)
}

/// Lists every difference in the pool of a domain and beside it.
fn files(seen: &Seen, domain: &DomainName, deep: &Deep) -> Result<Vec<Fault>> {
    let facts = seen.facts;
    let archive = Archive::open(seen.config, domain)?;
    let of = |of: &DomainName| of == domain;
    let pool = facts.pool.par_iter().filter(|(it, _)| of(it)).map(|(_, file)| file);
    let bad = pool.filter_map(|file| {
        let place = domain.qualify(&file.path);
        let why = archive.inspect_file(file, deep.of(&place))?;
        Some(Fault::new(place, why, Mend::Nothing))
    });
    let mut found: Vec<Fault> = bad.collect();
    let beside = facts.beside.par_iter().filter(|(it, _)| of(it)).map(|(_, it)| it);
    let bad = beside.filter_map(|it| {
        Some(Fault::new(domain.qualify(&it.path), archive.inspect_beside(it)?, Mend::Nothing))
    });
    found.extend(bad.collect::<Vec<_>>());
    let pool = facts.pool.iter().filter(|(it, _)| of(it)).map(|(_, file)| file.path.as_str());
    let beside = facts.beside.iter().filter(|(it, _)| of(it)).map(|(_, it)| it.path.as_str());
    let intents = facts.intents.iter().filter(|it| of(&it.domain)).map(|it| it.path.as_str());
    let known: BTreeSet<&str> = pool.chain(beside).chain(intents).collect();
    for path in archive.strays(&known)? {
        let text = "no version that the record knows has it: 'archive gc' removes it";
        found.push(Fault::new(domain.qualify(&path), text, Mend::Nothing));
    }
    Ok(found)
}

/// Checks whether each pocket's suite has a place for all that its versions are: components and
/// architectures.
pub fn places(seen: &Seen, compared: &mut Examined) -> Result<()> {
    let Seen { config, record, facts } = *seen;
    let table = Table::read()?;
    for held in &facts.held {
        let Held { pocket, package, version, .. } = held;
        let Some(target) = config.find_pocket(pocket) else { continue };
        let architectures = architectures::of_pocket(target.settings());
        let id = Identity {
            domain: target.domain().clone(),
            package: package.clone(),
            version: version.clone(),
        };
        let parts = contents::outline(record.db(), &id)?;
        let place = format!("suite {}", target.suite());
        if let Some(why) = copies::hidden(target, &architectures, &parts) {
            let text = format!(
                "it does not show all of {package} {version}, which {pocket} has: {why}: add that to the pocket, or submit a \
                 version without it"
            );
            compared.faults.push(Fault::new(&place, text, Mend::Nothing));
        }
        let build = builds::of_version(record.db(), &id)?;
        if let Some(why) = build
            .and_then(|build| copies::not_built(&table, pocket, &architectures, &parts, &build))
        {
            compared.warnings.push(Warning { place, text: format!("{package} {version}: {why}") });
        }
    }
    Ok(())
}

fn suite(seen: &Seen, archive: &Archive, pocket: ConfiguredPocket) -> Result<Vec<Fault>> {
    let Seen { record, facts, .. } = *seen;
    let suite = pocket.suite();
    let place = format!("suite {suite}");
    let one = |text: String, mend: Mend| Ok(vec![Fault::new(&place, text, mend)]);
    let again = || Mend::Suite(pocket.name().clone());
    let shown = match archive.current(&suite) {
        Ok(shown) => shown,
        Err(error) => return one(format!("{error:#}"), Mend::Nothing),
    };
    match (facts.suites.get(pocket.name()), shown) {
        (None, None) => Ok(Vec::new()),
        (None, Some(shown)) => one(
            format!(
                "it shows generation {shown}, but the record does not know it: restore the database, for --repair writes \
                 it anew with nothing in it"
            ),
            again(),
        ),
        (Some(_), _) if facts.owes_suite(&suite) => Ok(Vec::new()),
        (Some((state, _)), shown) if shown != Some(state.generation) => {
            let shown = shown.map_or("nothing".to_owned(), |shown| format!("generation {shown}"));
            one(
                format!("it shows {shown}; the record has generation {}", state.generation),
                again(),
            )
        }
        (Some((state, contents)), _) => {
            let wrong = archive.inspect(record.db(), &suite_spec(pocket), state, contents)?;
            Ok(wrong.into_iter().map(|text| Fault::new(&place, text, again())).collect())
        }
    }
}
