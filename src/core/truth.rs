//! Reads true and false as YAML 1.1 writes them.

use std::fmt;

use schemars::json_schema;
use serde::Deserializer;
use serde::de::{Error, Visitor};

use crate::json_schema::in_place;

/// The other words for true and false in YAML 1.1, which Invirt's files are written in.
const TRUTHS: [(&str, bool); 4] = [("yes", true), ("on", true), ("no", false), ("off", false)];

/// Reads true or false.
pub(crate) fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct Truth;
    impl Visitor<'_> for Truth {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("true or false")
        }

        fn visit_bool<E: Error>(self, truth: bool) -> Result<bool, E> {
            Ok(truth)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
            let known = TRUTHS.iter().find(|(word, _)| *word == text);
            known
                .map(|(_, truth)| *truth)
                .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_any(Truth)
}

/// True or false, for the schema.
pub(crate) enum TruthText {}

in_place!(TruthText, {
    let words = TRUTHS.map(|(word, _)| serde_json::Value::from(word));
    let all: Vec<_> = [true.into(), false.into()].into_iter().chain(words).collect();
    json_schema!({ "title": "true or false", "enum": all })
});
