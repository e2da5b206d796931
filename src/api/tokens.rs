//! Tokens, by which programs ask, and what they may be used for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use invirtibuilder_core::names::{PocketName, Principal, TokenName};

invirtibuilder_core::stored_enum! {
    /// What a token may be used for.
    pub enum TokenVerb {
        /// All that changes nothing.
        Read = "read",
        /// `submit`.
        Submit = "submit",
        /// `promote`.
        Promote = "promote",
        /// `rebuild`.
        Rebuild = "rebuild",
        /// `remove`.
        Remove = "remove",
        /// `cancel`.
        Cancel = "cancel",
        /// `retry`.
        Retry = "retry",
        /// `create-repo`.
        CreateRepo = "create-repo",
    }
}

invirtibuilder_core::stored_in_json!(TokenVerb);

/// What of its principal's rights a token has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenScope {
    /// The pockets that it may change; empty: all that its principal may.
    pub pockets: Vec<PocketName>,
    /// What it may do.
    pub verbs: Vec<TokenVerb>,
}

/// The wish for a token, in words that the service looks up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRequest {
    /// The name of the token, by which it is listed and revoked.
    pub name: TokenName,
    /// The principal whose rights it has; `None`: the caller.
    #[serde(rename = "for")]
    pub principal: Option<String>,
    /// The names of the pockets that it may change; empty: all that its principal may.
    pub pockets: Vec<String>,
    /// What it may do.
    pub verbs: Vec<TokenVerb>,
    /// The time from now for which it holds, in milliseconds.
    pub holds_for: i64,
}

/// What is known of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// The name of the token.
    pub name: TokenName,
    /// The principal whose rights it has.
    pub principal: Principal,
    /// What of those rights it has.
    #[serde(flatten)]
    pub scope: TokenScope,
    /// Who made it.
    pub by: Principal,
    /// When it was made, in milliseconds since 1970-01-01 UTC.
    pub created: i64,
    /// When it ends, in milliseconds since 1970-01-01 UTC.
    pub expires: i64,
    /// When it was revoked, in milliseconds since 1970-01-01 UTC.
    pub revoked: Option<i64>,
}

/// A token that was just made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewToken {
    /// What is known of it.
    #[serde(flatten)]
    pub token: Token,
    /// The token itself. Nobody sees it again.
    pub secret: String,
}

/// The wish that a token ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRevocation {
    /// The name of the token.
    pub name: TokenName,
    /// The principal whose rights it has; `None`: the caller.
    #[serde(rename = "for")]
    pub principal: Option<String>,
}
