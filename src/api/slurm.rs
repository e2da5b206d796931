//! What is known of a build that Slurm was asked for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use invirtibuilder_core::names::Architecture;

/// A job of Slurm's: one submission of the build for one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlurmJob {
    /// The architecture that is built for.
    pub architecture: Architecture,
    /// The name of the job there, which no other submission has.
    pub name: String,
    /// The number that Slurm gave it, once that is known.
    pub number: Option<u64>,
    /// The node that it runs or ran on, once it has started.
    pub node: Option<String>,
    /// How it is there, in words: what it waits for, that it runs, or how it ended.
    pub said: Option<String>,
}
