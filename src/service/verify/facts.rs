//! What the record says, read in one piece, and whether it contradicts itself.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use rusqlite::Transaction;

use crate::verify::fault::{Fault, Mend, shown};
use invirtibuilder_api::archive::PoolFile;
use invirtibuilder_api::pocket::Held;
use invirtibuilder_core::config::Config;
use invirtibuilder_core::domain::{Identity, SuiteId};
use invirtibuilder_core::names::{CommitId, DomainName, PackageName, PocketName, Version};
use invirtibuilder_store::beside::{self, Beside};
use invirtibuilder_store::contents::{self, SuiteState};
use invirtibuilder_store::moves::{self, OwedMove, RefOrSuite};
use invirtibuilder_store::pockets::{self, KnownVersion};
use invirtibuilder_store::pool::{self, Intent};
use invirtibuilder_store::{damage, queue_check};

/// One state of the record.
pub struct Facts {
    /// What configured pockets have.
    pub held: Vec<Held>,
    /// What every version names.
    pub versions: Vec<(Identity, KnownVersion)>,
    /// Where superproject branches are.
    pub superproject: BTreeMap<String, CommitId>,
    /// The suites of configured pockets that there are, and what they show.
    pub suites: BTreeMap<PocketName, (SuiteState, BTreeMap<PackageName, Version>)>,
    /// Every file of the pool of each configured domain.
    pub pool: Vec<(DomainName, PoolFile)>,
    /// Everything beside the pool, the same.
    pub beside: Vec<(DomainName, Beside)>,
    /// Files on their way.
    pub intents: Vec<Intent>,
    /// Moves that are owed.
    pub owed: Vec<OwedMove>,
    /// What SQLite says of its file, if it has complaints.
    corruption: Vec<String>,
    /// What the queue keeps and does not follow from the jobs.
    queue: Vec<String>,
}

impl Facts {
    pub fn read(tx: &Transaction, config: &Config) -> Result<Self> {
        let mut suites = BTreeMap::new();
        let mut superproject = BTreeMap::new();
        for pocket in config.build.pockets.keys() {
            let (suite, branch) = (config.suite(pocket), config.branch(pocket));
            if let Some(state) = contents::suite(tx, &suite)? {
                suites.insert(
                    pocket.clone(),
                    (state, contents::sources(tx, &suite)?.into_iter().collect()),
                );
            }
            if let Some(commit) = pockets::superproject(tx, &branch)? {
                superproject.insert(branch, commit);
            }
        }
        let (mut files, mut others) = (Vec::new(), Vec::new());
        for (domain, _) in config.domains() {
            let of = |file| (domain.clone(), file);
            files.extend(pool::files(tx, &domain)?.into_iter().map(of));
            let of = |beside| (domain.clone(), beside);
            others.extend(beside::all(tx, &domain)?.into_iter().map(of));
        }
        let mut held = pockets::all(tx)?;
        held.retain(|held| config.build.pockets.contains_key(&held.pocket));
        Ok(Self {
            held,
            versions: pockets::versions(tx)?,
            superproject,
            suites,
            pool: files,
            beside: others,
            intents: pool::intents(tx)?,
            owed: moves::owed(tx)?,
            corruption: damage::found(tx)?,
            queue: queue_check::differences(tx)?,
        })
    }

    /// Lists every package that a version or a pocket names.
    pub fn packages(&self) -> BTreeSet<&PackageName> {
        let held = self.held.iter().map(|held| &held.package);
        self.versions.iter().map(|(id, _)| &id.package).chain(held).collect()
    }

    /// Tells whether a ref is to be moved still: then it may be at the old place.
    pub fn owes_ref(&self, repo: &std::path::Path, name: &str) -> bool {
        self.owed.iter().any(
            |owed| matches!(&owed.what, RefOrSuite::Ref(mv) if mv.repo == repo && mv.name == name),
        )
    }

    /// Tells whether a suite is to be flipped still.
    pub fn owes_suite(&self, id: &SuiteId) -> bool {
        self.owed
            .iter()
            .any(|owed| matches!(&owed.what, RefOrSuite::Suite { suite, .. } if suite == id))
    }

    /// Lists the packages of a pocket, each with its commit.
    pub fn links(&self, pocket: &PocketName) -> BTreeMap<String, CommitId> {
        let mine = self.held.iter().filter(|held| held.pocket == *pocket);
        mine.map(|held| (held.package.to_string(), held.commit.clone())).collect()
    }

    /// Lists where the record is at odds with itself, and what it owes.
    pub fn contradictions(&self, config: &Config) -> Vec<Fault> {
        let mut found = Vec::new();
        let lost = |text: String| Fault::new("database", text, Mend::Nothing);
        found.extend(self.corruption.iter().map(|line| lost(format!("SQLite says: {line}"))));
        found.extend(self.queue.iter().map(|text| Fault::new("queue", text, Mend::Queue)));
        for owed in &self.owed {
            found.push(match &owed.what {
                RefOrSuite::Ref(mv) => {
                    let text = format!("the move of {} is owed still", mv.name);
                    Fault::new(shown(&mv.repo), text, Mend::Owed(owed.id, mv.clone()))
                }
                RefOrSuite::Suite { suite, generation } => {
                    let text = match generation {
                        Some(number) => format!("the flip to generation {number} is owed still"),
                        None => "its removal from the archive is owed still".to_owned(),
                    };
                    Fault::new(format!("suite {suite}"), text, Mend::Settle)
                }
            });
        }
        for intent in &self.intents {
            let text = "a publication that was cut short has left it, or was about to remove it";
            let place = intent.domain.qualify(&intent.path);
            found.push(Fault::new(place, text, Mend::Settle));
        }
        let named: BTreeMap<&Identity, &KnownVersion> =
            self.versions.iter().map(|(id, known)| (id, known)).collect();
        for held in &self.held {
            let Held { pocket, package, commit, version, .. } = held;
            let id = Identity {
                domain: config.domain(pocket),
                package: package.clone(),
                version: version.clone(),
            };
            match named.get(&id) {
                Some(known) if known.commit == *commit => {}
                Some(known) => found.push(lost(format!(
                    "{pocket} has {package} {version} at {}, but that version is {}",
                    commit.short(),
                    known.commit.short()
                ))),
                None => found.push(lost(format!(
                    "{pocket} has {package} {version}, which no job published"
                ))),
            }
            let shown = self.suites.get(pocket).and_then(|(_, shown)| shown.get(package));
            if shown != Some(version) {
                let shown = shown.map_or("nothing".to_owned(), Version::to_string);
                let suite = config.suite(pocket);
                found.push(lost(format!(
                    "{pocket} has {package} {version}, but suite {suite} has {shown}"
                )));
            }
        }
        let held: BTreeSet<(&PocketName, &PackageName)> =
            self.held.iter().map(|held| (&held.pocket, &held.package)).collect();
        for (pocket, (_, shown)) in &self.suites {
            for (package, version) in
                shown.iter().filter(|(package, _)| !held.contains(&(pocket, *package)))
            {
                let suite = config.suite(pocket);
                found.push(lost(format!(
                    "suite {suite} has {package} {version}, but {pocket} does not"
                )));
            }
        }
        found
    }
}
