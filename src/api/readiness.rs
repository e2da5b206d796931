//! What a server has to have before the service works on it, and what was made of that.

use serde::Serialize;

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Readiness {
    /// As it should be.
    Fine,
    /// It may be meant so, and the service works without it.
    Note,
    /// The service does not work like this.
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub what: String,
    /// How it is.
    pub verdict: Readiness,
    /// What was found.
    pub found: String,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// What setting up has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetUp {
    /// The repositories that could not be brought to what they should be, each a sentence.
    pub broken: Vec<String>,
    /// The things that are not as they should be, or need not be so.
    pub left: Vec<Check>,
}
