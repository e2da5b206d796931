//! What the record says, read in one piece, and whether it contradicts itself.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use rusqlite::Transaction;

use super::{Difference, Mend};
use crate::config::Config;
use crate::names::{CommitId, PackageName, PocketName, Version};
use crate::record::beside::{self, Beside};
use crate::record::contents::{self, SuiteState};
use crate::record::moves::{self, Owed, What};
use crate::record::pockets::{self, Held, Known};
use crate::record::pool::{self, PoolFile};
use crate::record::queue_check;

/// One state of the record.
pub struct Facts {
    /// What configured pockets have.
    pub held: Vec<Held>,
    /// What every version names.
    pub versions: Vec<(PackageName, Version, Known)>,
    /// Where superproject branches are.
    pub superproject: BTreeMap<String, CommitId>,
    /// The suites of configured pockets that there are, and what they show.
    pub suites: BTreeMap<PocketName, (SuiteState, BTreeMap<PackageName, Version>)>,
    /// Every file of the pool.
    pub pool: Vec<PoolFile>,
    /// Everything beside the pool.
    pub beside: Vec<Beside>,
    /// Files on their way.
    pub intents: Vec<(String, bool)>,
    /// Moves that are owed.
    pub owed: Vec<Owed>,
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
                suites.insert(pocket.clone(), (state, contents::sources(tx, &suite)?.into_iter().collect()));
            }
            if let Some(commit) = pockets::superproject(tx, &branch)? {
                superproject.insert(branch, commit);
            }
        }
        let mut held = pockets::all(tx)?;
        held.retain(|held| config.build.pockets.contains_key(&held.pocket));
        let mut corruption = Vec::new();
        for pragma in ["quick_check", "foreign_key_check"] {
            let mut statement = tx.prepare(&format!("PRAGMA {pragma}"))?;
            let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
            corruption.extend(lines.collect::<Result<Vec<_>, _>>()?.into_iter().filter(|line| line != "ok"));
        }
        Ok(Self {
            held,
            versions: pockets::versions(tx)?,
            superproject,
            suites,
            pool: pool::files(tx)?,
            beside: beside::all(tx)?,
            intents: pool::intents(tx)?,
            owed: moves::owed(tx)?,
            corruption,
            queue: queue_check::differences(tx)?,
        })
    }

    /// Every package that a version or a pocket names.
    pub fn packages(&self) -> BTreeSet<&PackageName> {
        let held = self.held.iter().map(|held| &held.package);
        self.versions.iter().map(|(package, ..)| package).chain(held).collect()
    }

    /// Whether a ref is to be moved still: then it may be at the old place.
    pub fn owes_ref(&self, repo: &std::path::Path, name: &str) -> bool {
        self.owed.iter().any(|owed| matches!(&owed.what, What::Ref(mv) if mv.repo == repo && mv.name == name))
    }

    /// Whether a suite is to be flipped still.
    pub fn owes_suite(&self, name: &str) -> bool {
        self.owed.iter().any(|owed| matches!(&owed.what, What::Suite { suite, .. } if suite.as_str() == name))
    }

    /// The packages of a pocket, each with its commit.
    pub fn links(&self, pocket: &PocketName) -> BTreeMap<String, CommitId> {
        let mine = self.held.iter().filter(|held| held.pocket == *pocket);
        mine.map(|held| (held.package.to_string(), held.commit.clone())).collect()
    }

    /// Where the record is at odds with itself, and what it owes.
    pub fn contradictions(&self, config: &Config) -> Vec<Difference> {
        let mut found = Vec::new();
        let lost = |text: String| Difference::new("database", text, Mend::Nothing);
        found.extend(self.corruption.iter().map(|line| lost(format!("SQLite says: {line}"))));
        found.extend(self.queue.iter().map(|text| Difference::new("queue", text, Mend::Queue)));
        for owed in &self.owed {
            found.push(match &owed.what {
                What::Ref(mv) => {
                    let text = format!("the move of {} is owed still", mv.name);
                    Difference::new(super::shown(&mv.repo), text, Mend::Owed(owed.id, mv.clone()))
                }
                What::Suite { suite, generation } => {
                    let text = format!("the flip to generation {generation} is owed still");
                    Difference::new(format!("suite {suite}"), text, Mend::Settle)
                }
            });
        }
        for (path, _) in &self.intents {
            let text = "a publication that was cut short has left it, or was about to remove it";
            found.push(Difference::new(path, text, Mend::Settle));
        }
        let named: BTreeMap<(&PackageName, &Version), &Known> =
            self.versions.iter().map(|(package, version, known)| ((package, version), known)).collect();
        for held in &self.held {
            let Held { pocket, package, commit, version, .. } = held;
            match named.get(&(package, version)) {
                Some(known) if known.commit == *commit => {}
                Some(known) => found.push(lost(format!(
                    "{pocket} has {package} {version} at {}, but that version is {}",
                    commit.short(),
                    known.commit.short()
                ))),
                None => found.push(lost(format!("{pocket} has {package} {version}, which no job published"))),
            }
            let shown = self.suites.get(pocket).and_then(|(_, shown)| shown.get(package));
            if shown != Some(version) {
                let shown = shown.map_or("nothing".to_owned(), Version::to_string);
                let suite = config.suite(pocket);
                found.push(lost(format!("{pocket} has {package} {version}, but suite {suite} has {shown}")));
            }
        }
        let held: BTreeSet<(&PocketName, &PackageName)> =
            self.held.iter().map(|held| (&held.pocket, &held.package)).collect();
        for (pocket, (_, shown)) in &self.suites {
            for (package, version) in shown.iter().filter(|(package, _)| !held.contains(&(pocket, *package))) {
                let suite = config.suite(pocket);
                found.push(lost(format!("suite {suite} has {package} {version}, but {pocket} does not")));
            }
        }
        found
    }
}
