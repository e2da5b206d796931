//! Whether database, Git and archive say the same, and what to do where they do not.
//!
//! The record is the truth. [`check`] compares it with itself (`facts`), with Git (`git`) and with the archive
//! (`archive`), and names every difference; `mend` re-applies the record, or takes what is there.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::config::Config;
use crate::gitrecord::Move;
use crate::names::{CommitId, PackageName, PocketName, Version};
use crate::publish::Publisher;
use crate::record::Record;

mod archive;
mod facts;
mod git;
mod mend;

use facts::Facts;
pub use mend::{Mended, mend};

/// Something that is not as the record says.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// What is at fault: a ref, a suite, a file.
    pub place: String,
    /// What is wrong with it, in a sentence.
    pub text: String,
    /// How the record is applied again.
    #[serde(skip)]
    pub mend: Mend,
    /// How what is there can be taken instead, if it can.
    #[serde(skip)]
    pub adopt: Option<Adopt>,
}

/// How a difference is mended.
#[derive(Debug, Clone)]
pub enum Mend {
    /// Owed moves are made; what was on its way into the pool is removed.
    Settle,
    /// An owed move that somebody else's got in the way of is made from where the ref is.
    Owed(i64, Move),
    /// The ref is moved to where the record has it.
    Ref(Move),
    /// The tag is written anew.
    Tag(PackageName, Version),
    /// The next commit of a pocket's superproject branch is written from the record.
    Superproject(PocketName),
    /// The next generation of a pocket's suite is written from the record.
    Suite(PocketName),
    /// What the queue keeps is written from the jobs.
    Queue,
    /// The record does not have what is missing.
    Nothing,
}

/// What can be taken as it is.
#[derive(Debug, Clone)]
pub enum Adopt {
    /// A pocket branch of a package: its commit is submitted, with the same validation as any.
    Branch(PocketName, PackageName, CommitId),
    /// A superproject branch whose commit has the same submodules as the record.
    Superproject(String, CommitId),
    /// A tag that stands for the right commit: what the ref points at.
    Tag(PackageName, Version, String),
}

impl Difference {
    fn new(place: impl Into<String>, text: impl Into<String>, mend: Mend) -> Self {
        Self { place: place.into(), text: text.into(), mend, adopt: None }
    }

    fn adoptable(self, adopt: Option<Adopt>) -> Self {
        Self { adopt, ..self }
    }
}

/// What was compared.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Packages that pockets have or had.
    pub packages: usize,
    /// Suites.
    pub suites: usize,
    /// Files of the pool.
    pub files: usize,
    /// What is not as the record says.
    pub differences: Vec<Difference>,
    /// What agrees, but somebody should look at: a place and a sentence. `verify` does not fail of it.
    pub warnings: Vec<Warning>,
}

/// Something that is nobody's fault now, and may mislead people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What it is about.
    pub place: String,
    /// What is odd about it, in a sentence.
    pub text: String,
}

/// Which files of the pool are read and hashed; of the others the sizes are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deep {
    /// Those with these paths.
    These(BTreeSet<String>),
    /// All.
    All,
}

impl Deep {
    /// No file is read.
    pub const fn none() -> Self {
        Self::These(BTreeSet::new())
    }

    fn includes(&self, path: &str) -> bool {
        match self {
            Deep::These(paths) => paths.contains(path),
            Deep::All => true,
        }
    }
}

/// Compares everything.
pub fn check(config: &Config, publisher: &Publisher, record: &mut Record, deep: &Deep) -> Result<Report> {
    let facts = record.read(|tx| Facts::read(tx, config))?;
    let mut differences = facts.contradictions(config);
    differences.extend(git::check(config, &facts)?);
    differences.extend(archive::check(config, publisher, record, &facts, deep)?);
    let mut warnings = git::warnings(config, &facts)?;
    archive::places(config, publisher, record, &facts, &mut differences, &mut warnings)?;
    Ok(Report {
        packages: facts.packages().len(),
        suites: config.build.pockets.len(),
        files: facts.pool.len(),
        differences,
        warnings,
    })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests;
