//! Packages of our own archive that a build was given.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::SuiteId;

/// A package of our own that a build was given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Given {
    /// The suite whose index named it.
    pub suite: SuiteId,
    /// The binary package.
    pub package: String,
    /// The version of the package.
    pub version: String,
    /// The architecture of the package.
    pub architecture: String,
    /// The path of its file, below the archive's root.
    pub path: String,
    /// The SHA-256 that the index has of it.
    pub sha256: String,
}
