//! Entries of the audit trail.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use invirtibuilder_core::names::JobId;

/// A head of the trail that somebody else has kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KnownHead {
    /// The number of the entry.
    pub entry: i64,
    /// The hash that it had, in hexadecimal.
    pub hash: String,
}

/// The request to show entries: those that every given field admits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EntriesRequest {
    /// The job that they are about.
    pub job: Option<JobId>,
    /// Their kind, or the words before a dot that it begins with.
    pub event: Option<String>,
    /// The principal that they are by or about.
    pub principal: Option<String>,
    /// The pocket that they are about.
    pub pocket: Option<String>,
    /// The time before which there is none of them, in milliseconds since 1970-01-01 UTC.
    pub since: i64,
    /// The most entries: the newest.
    pub limit: usize,
}

/// What a walk along the trail found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TrailState {
    /// Each entry is in its place.
    Intact(IntactTrail),
    /// Something is wrong.
    Broken(BrokenTrail),
}

/// A trail whose entries are each in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IntactTrail {
    /// The number of entries.
    pub entries: i64,
    /// `true`.
    pub ok: bool,
    /// The last entry that a configured key has signed: it and all before it are as they were then.
    pub sealed: Option<i64>,
    /// When that was, in milliseconds since 1970-01-01 UTC.
    #[serde(skip)]
    pub sealed_at: Option<i64>,
    /// The number of signed heads that are by no configured key.
    pub unknown_seals: usize,
}

/// A trail that was tampered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BrokenTrail {
    /// `false`.
    pub ok: bool,
    /// The first thing that is wrong, in a sentence.
    pub problem: String,
}

/// An entry that the trail has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recorded {
    /// The number of the entry: entries are counted from 1 without a gap.
    pub id: i64,
    /// When it was appended, in milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// The kind of the entry, a dotted word.
    pub event: String,
    /// The job that it is about.
    pub job: Option<JobId>,
    /// The other fields.
    pub detail: Value,
    /// The SHA-256 over its predecessor's hash and its own fields, in hexadecimal.
    pub hash: String,
}

impl Recorded {
    /// Returns a field of the detail as text.
    pub fn field(&self, key: &str) -> Option<&str> {
        self.detail.get(key)?.as_str()
    }

    /// Lists the fields of the detail as text, in order.
    pub fn fields(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match &self.detail {
            Value::Object(map) => {
                map.iter().map(|(key, value)| (key.clone(), text(value))).collect()
            }
            other => vec![("detail".to_owned(), text(other))],
        }
    }
}
