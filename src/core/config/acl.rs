//! Entries of ACLs, with the place where each stands: a decision has to name it.

use schemars::json_schema;
use serde::{Deserialize, Deserializer};

use crate::config::places::ConfigPlace;
use crate::json_schema::in_place;

/// One entry of an ACL in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclEntry {
    /// The entry, as in remctld(8).
    pub text: String,
    /// The place where the entry stands; [`super::load()`] fills it in.
    pub place: Option<ConfigPlace>,
}

impl AclEntry {
    /// Writes the place as `FILE:LINE`.
    pub fn place(&self) -> String {
        match &self.place {
            Some(place) => format!("{}:{}", place.file.display(), place.line),
            None => "configuration".to_owned(),
        }
    }
}

impl From<String> for AclEntry {
    fn from(text: String) -> Self {
        Self { text, place: None }
    }
}

impl<'de> Deserialize<'de> for AclEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

in_place!(AclEntry, json_schema!({ "type": "string", "title": "ACL entry" }));
