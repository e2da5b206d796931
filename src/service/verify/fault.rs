//! What a comparison finds, and how each fault is mended.

use std::collections::BTreeSet;
use std::path::Path;

use invirtibuilder_api::verify::{Depth, Difference, Report, Warning};
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::names::{CommitId, PackageName, PocketName};
use invirtibuilder_git::Move;

/// A difference, and what can be done about it.
#[derive(Debug, Clone)]
pub struct Fault {
    /// What is not as the record says.
    pub difference: Difference,
    /// How the record is applied again.
    pub mend: Mend,
    /// How what is there can be taken instead, if it can.
    pub adopt: Option<Adopt>,
}

/// How a fault is mended.
#[derive(Debug, Clone)]
pub enum Mend {
    /// Owed moves are made; what was on its way into the pool is removed.
    Settle,
    /// An owed move that somebody else's got in the way of is made from where the ref is.
    Owed(i64, Move),
    /// The ref is moved to where the record has it.
    Ref(Move),
    /// The tag is written anew.
    Tag(Identity),
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
    Tag(Identity, String),
}

impl Fault {
    pub(super) fn new(place: impl Into<String>, text: impl Into<String>, mend: Mend) -> Self {
        let difference = Difference { place: place.into(), text: text.into() };
        Self { difference, mend, adopt: None }
    }

    pub(super) fn adoptable(self, adopt: Option<Adopt>) -> Self {
        Self { adopt, ..self }
    }
}

/// What was compared, and what was found.
#[derive(Debug, Clone)]
pub struct Examined {
    /// The number of packages that pockets have or had.
    pub packages: usize,
    /// The number of suites.
    pub suites: usize,
    /// The number of files of the pool.
    pub files: usize,
    /// What is not as the record says.
    pub faults: Vec<Fault>,
    /// What agrees, but somebody should look at.
    pub warnings: Vec<Warning>,
}

impl Examined {
    /// Reports what was found, without how it is mended.
    pub fn report(self) -> Report {
        let Self { packages, suites, files, faults, warnings } = self;
        let differences = faults.into_iter().map(|fault| fault.difference).collect();
        Report { packages, suites, files, differences, warnings }
    }
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

    /// Returns how much of the file of this path is compared.
    pub(super) fn of(&self, path: &str) -> Depth {
        match self {
            Deep::These(paths) if !paths.contains(path) => Depth::Sizes,
            Deep::These(_) | Deep::All => Depth::Contents,
        }
    }
}

pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}
