//! What `verify` finds where database, Git and archive do not agree, and what was done about it.

use serde::{Deserialize, Serialize};

use invirtibuilder_core::error::FailureKind;
use invirtibuilder_core::names::{PackageName, PocketName, Version};

/// How much of the pool's files is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// Their sizes.
    Sizes,
    /// Their contents: every file is read and hashed.
    Contents,
}

/// Which side is right where the record and what is there differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Repair {
    /// The record: it is applied again.
    Reapply,
    /// Branches, superproject and tags as they are, if they pass validation; else the record.
    Adopt,
}

/// Something that is not as the record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What is at fault: a ref, a suite, a file.
    pub place: String,
    /// What is wrong with it, in a sentence.
    pub text: String,
}

/// Something that is nobody's fault now, and may mislead people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What it is about.
    pub place: String,
    /// What is odd about it, in a sentence.
    pub text: String,
}

/// What was compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The number of packages that pockets have or had.
    pub packages: usize,
    /// The number of suites.
    pub suites: usize,
    /// The number of files of the pool.
    pub files: usize,
    /// What is not as the record says.
    pub differences: Vec<Difference>,
    /// What agrees, but somebody should look at. `verify` does not fail of it.
    pub warnings: Vec<Warning>,
}

/// What was done about the differences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repaired {
    /// What was found after that.
    pub left: Report,
    /// Each difference, and what was done about it.
    pub mended: Vec<MendedDifference>,
}

/// A difference, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MendedDifference {
    /// What was done; `None`: nothing could be.
    pub done: Option<String>,
    /// Why nothing could be done.
    pub failed: Option<String>,
    /// What was at fault.
    pub place: String,
    /// What was wrong with it, in a sentence.
    pub text: String,
}

/// What came of making source packages again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcesChecked {
    /// The number of source packages that were looked at.
    pub all: usize,
    /// Those that would be refused if they were submitted now.
    pub refused: Vec<RefusedSource>,
}

/// A version that pockets have, and that would be refused if it were submitted now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedSource {
    /// The source package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// The pockets that have it.
    pub pockets: Vec<PocketName>,
    /// The kind of the failure.
    pub failure: FailureKind,
    /// The reason, in a sentence.
    pub why: String,
    /// The lines of `debian/upstream/sha256sums` that would bind its tarballs, where that is what
    /// it lacks.
    pub add: Vec<String>,
}
