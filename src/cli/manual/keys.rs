//! The configuration's keys, read from its schema: a key that is added to the types is in the
//! manual, with its documentation and its default.

use serde_json::Value;

/// One key.
#[derive(Debug)]
pub struct ConfigKey {
    /// The full name, `git.packages`.
    pub name: String,
    /// What is written there, in a few words.
    pub kind: String,
    /// What is taken if nothing is written there, if that can be written.
    pub default: Option<String>,
    /// What it means.
    pub text: String,
}

/// Lists every key: those of one section together, in the order of their names.
pub fn all() -> Vec<ConfigKey> {
    let root = invirtibuilder_core::config::schema().to_value();
    let mut keys = Vec::new();
    expand(&root, &root, "", &mut keys);
    keys
}

/// Adds the keys of the maps that may stand where `schema` does.
fn expand(root: &Value, schema: &Value, name: &str, keys: &mut Vec<ConfigKey>) {
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let name = format!("{name}{}{key}", if name.is_empty() { "" } else { "." });
        // A list of maps and one of these maps have the same keys.
        if keys.iter().any(|known| known.name == name) {
            continue;
        }
        keys.push(ConfigKey {
            name: name.clone(),
            kind: kind(root, property),
            default: property.get("default").and_then(written),
            text: property["description"].as_str().unwrap_or_default().to_owned(),
        });
        expand(root, property, &name, keys);
    }
    if let Some(definition) = definition(root, schema) {
        expand(root, definition, name, keys);
    }
    if schema["additionalProperties"].is_object() {
        let one = name.rsplit('.').next().unwrap_or(name).trim_end_matches('s').to_uppercase();
        expand(root, &schema["additionalProperties"], &format!("{name}.{one}"), keys);
    }
    for choice in choices(schema).chain(schema.get("items")) {
        expand(root, choice, name, keys);
    }
}

/// Returns what `schema` refers to.
fn definition<'a>(root: &'a Value, schema: &Value) -> Option<&'a Value> {
    root.pointer(schema["$ref"].as_str()?.strip_prefix('#')?)
}

/// Lists the schemas of which a value fits one, or all.
fn choices(schema: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|word| schema[word].as_array());
    lists.flatten()
}

/// Returns what is written where `schema` is, in a few words.
fn kind(root: &Value, schema: &Value) -> String {
    let mut words = words(root, schema);
    words.dedup();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, first)) => format!("{} or {last}", first.join(", ")),
        None => String::new(),
    }
}

/// Lists the words for everything that may be written where `schema` is.
fn words(root: &Value, schema: &Value) -> Vec<String> {
    if let Some(definition) = definition(root, schema) {
        return words(root, definition);
    }
    if let Some(word) = schema["title"].as_str().or_else(|| schema["const"].as_str()) {
        return vec![word.to_owned()];
    }
    let choices: Vec<String> = choices(schema).flat_map(|choice| words(root, choice)).collect();
    if !choices.is_empty() {
        return choices;
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect::<Vec<_>>(),
    };
    // Whatever may be left out may be null; nobody writes that.
    let types = types.into_iter().filter(|name| *name != "null");
    types.map(|name| type_word(name).to_owned()).collect()
}

fn type_word(name: &str) -> &str {
    match name {
        "boolean" => "true or false",
        "integer" => "number",
        "array" => "list",
        "object" => "map",
        "string" => "text",
        other => other,
    }
}

/// Finds a value as it is written in the configuration; `None` for an empty one.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) if list.is_empty() => None,
        Value::Array(list) => Some(list.iter().filter_map(written).collect::<Vec<_>>().join(", ")),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use crate::manual::keys::*;

    #[test]
    fn keys_are_those_of_the_example() {
        let example = include_str!("../../../examples/config.yaml");
        let keys = all();
        assert!(keys.len() > 60, "{keys:?}");
        for key in keys {
            let last = key.name.rsplit('.').next().unwrap();
            assert!(example.contains(&format!("{last}:")), "{}", key.name);
            assert!(key.text.len() > 3 && !key.kind.is_empty(), "{key:?}");
        }
    }

    #[test]
    fn a_key_has_its_kind_and_its_default() {
        let keys = all();
        for (name, kind, default) in [
            ("state_dir", "path", Some("/var/lib/invirtibuilder")),
            ("realm", "text", None),
            ("archive", "map", None),
            ("archive.signing_key", "path, map or list", None),
            ("archive.signing_key.command", "list", None),
            ("archive.valid_for", "duration", None),
            ("build.open_jobs", "number", None),
            ("build.pockets.POCKET.acl", "ACL entry or list", None),
            ("build.pockets.POCKET.allow_backtracking", "true or false", Some("false")),
            ("build.pockets.POCKET.components", "list", Some("main")),
            ("build.pockets.POCKET.isolation", "schroot, unshare or vm", Some("unshare")),
            ("build.pockets.POCKET.limits.time", "duration", Some("2h")),
            ("chroots.distros.DISTRO.sources.key", "path", None),
            ("http.listen", "address:port", None),
            ("git.max_push", "size", Some("2G")),
        ] {
            let key = keys.iter().find(|key| key.name == name).unwrap();
            assert_eq!((key.kind.as_str(), key.default.as_deref()), (kind, default), "{name}");
        }
    }
}
