//! Words that every part speaks: names, versions, times, texts, errors, the configuration.

pub mod config;
pub mod domain;
pub mod error;
pub mod facts;
pub mod failpoint;
pub mod given;
mod json_schema;
pub mod manifest;
pub mod names;
pub mod relations;
pub mod stanza;
pub mod stored;
pub mod text;
pub mod time;
mod truth;
pub mod version_rule;
