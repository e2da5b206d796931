//! ACLs: who may do what, and what decided it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use invirtibuilder_core::names::{PocketName, Principal};

/// The question whether a principal may submit to a pocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessQuestion {
    /// The pocket, as the caller calls it.
    pub pocket: String,
    /// The principal; without a realm it is of the default one.
    pub principal: String,
}

/// The decision about a principal, and how the ACL came to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessDecision {
    /// Whether the ACL admits the principal.
    pub admitted: bool,
    /// The pocket.
    pub pocket: PocketName,
    /// The principal.
    pub principal: Principal,
    /// The entries that were looked at, in order; below the decisive one, those inside it that
    /// counted.
    pub steps: Vec<EvaluationStep>,
}

/// One entry that an evaluation looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvaluationStep {
    /// The number of files that the entry is inside of.
    pub depth: usize,
    /// The text of the entry.
    #[serde(rename = "entry")]
    pub text: String,
    /// The place where the entry stands: `FILE:LINE`.
    pub place: String,
    /// The outcome of the entry, in words.
    pub result: String,
}

/// A principal, or a set of people that can only be described, in the order in which the ACL tries
/// its entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Access {
    /// The principal's name, or words that describe the people.
    pub who: String,
    /// The effect of the ACL on them if no entry above is about them.
    pub effect: Effect,
    /// The place of the entry that says so: `FILE:LINE`.
    pub place: String,
}

/// The effect of an entry on those that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It admits them.
    Allow,
    /// It refuses them.
    Deny,
    /// It is an error: it refuses everybody who gets so far.
    Error,
}

/// Something that the author of an ACL should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The fault, and what the author can do about it.
    pub message: String,
    /// The place that it is about: `FILE:LINE` or a file.
    pub place: String,
    /// Whether the entry is an error, which refuses everybody who gets to it; otherwise it only
    /// says nothing.
    pub refuses: bool,
}
