//! The JSON Schema of the configuration: editors complete and check `config.yaml` by it, and the
//! manual is made from it.
//!
//! It has the types of all keys, what each means, and its default. It is laxer than [`load()`],
//! which also checks names and what keys say of each other.
//!
//! [`load()`]: crate::config::load()

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Value, json};

use crate::config::Config;

/// Makes the schema of a configuration file. It is of the draft that editors know best.
pub fn schema() -> Schema {
    let settings = SchemaSettings::draft07().with_transform(RecursiveTransform(tidy));
    settings.into_generator().into_root_schema_for::<Config>()
}

/// Joins the lines of a description, as they are broken for the source, and takes out defaults that
/// say nothing.
fn tidy(schema: &mut Schema) {
    let description = schema.get("description").and_then(Value::as_str);
    if let Some(text) = description.map(|text| text.replace('\n', " ")) {
        schema.insert("description".to_owned(), text.into());
    }
    // Other archives than main's have no default place and no default key.
    let says_nothing =
        |value: &Value| value.is_null() || *value == json!("") || *value == json!([""]);
    if schema.get("default").is_some_and(says_nothing) {
        schema.remove("default");
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;
    use serde_json::Map;

    use crate::config::schema::*;

    /// Lists what of `value` does not fit `schema`. It knows the words that [`schema()`] writes,
    /// and no other.
    fn misfits(root: &Value, schema: &Map<String, Value>, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        let of = |schema: &Value, value: &Value| misfits(root, schema.as_object().unwrap(), value);
        let known = schema.get("properties").and_then(Value::as_object);
        for (word, says) in schema {
            let fits = match word.as_str() {
                "$schema" | "title" | "description" | "default" | "definitions" | "format" => true,
                "type" => match says {
                    Value::Array(types) => types.iter().any(|name| is_of(value, name)),
                    name => is_of(value, name),
                },
                "enum" => says.as_array().unwrap().contains(value),
                "const" => says == value,
                "pattern" => value
                    .as_str()
                    .is_none_or(|text| Regex::new(says.as_str().unwrap()).unwrap().is_match(text)),
                "minimum" => value.as_i64().is_none_or(|number| number >= says.as_i64().unwrap()),
                "required" => value.as_object().is_none_or(|map| {
                    says.as_array()
                        .unwrap()
                        .iter()
                        .all(|key| map.contains_key(key.as_str().unwrap()))
                }),
                "$ref" => {
                    found.extend(of(root.pointer(&says.as_str().unwrap()[1..]).unwrap(), value));
                    true
                }
                "allOf" => says.as_array().unwrap().iter().all(|one| of(one, value).is_empty()),
                "anyOf" | "oneOf" => {
                    says.as_array().unwrap().iter().any(|one| of(one, value).is_empty())
                }
                "items" => {
                    let items = value.as_array().into_iter().flatten();
                    found.extend(items.flat_map(|item| of(says, item)));
                    true
                }
                "properties" => {
                    let there = value.as_object().into_iter().flatten();
                    let there = there.filter_map(|(key, value)| Some((says.get(key)?, value)));
                    found.extend(there.flat_map(|(says, value)| of(says, value)));
                    true
                }
                "additionalProperties" => {
                    let others = value.as_object().into_iter().flatten();
                    let others =
                        others.filter(|(key, _)| known.is_none_or(|it| !it.contains_key(*key)));
                    for (key, other) in others {
                        match says {
                            Value::Bool(allowed) => found.extend((!allowed).then(|| key.clone())),
                            schema => found.extend(of(schema, other)),
                        }
                    }
                    true
                }
                unknown => panic!("this test does not know the word {unknown}"),
            };
            found.extend((!fits).then(|| format!("{word} {says}: {value}")));
        }
        found
    }

    fn is_of(value: &Value, name: &Value) -> bool {
        match name.as_str().unwrap() {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("this test does not know the type {other}"),
        }
    }

    fn wrong(text: &str) -> Vec<String> {
        let schema = schema().to_value();
        let value: Value = serde_yaml::from_str(text).unwrap();
        misfits(&schema, schema.as_object().unwrap(), &value)
    }

    #[test]
    fn the_shipped_configurations_fit() {
        for text in [
            include_str!("../../../examples/config.yaml"),
            include_str!("../../../debian/conf/config.yaml"),
            include_str!("../../../script/lib/config.yaml"),
            "build: { pockets: { prod: { acl: system:xvm-root, allow_backtracking: yes } } }",
            "archive: { signing_key: [/a, { certificate: /b, command: [/c] }], valid_for: 90 }",
            "http: { listen: '127.0.0.1:80', keytab: null }",
        ] {
            assert_eq!(wrong(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn what_is_wrong_does_not_fit() {
        for text in [
            "nonsense: 1",
            "git: { colour: red }",
            "state_dir: relative",
            "realm: 7",
            "http: { keytab: /k }",
            "git: { max_push: 2 G }",
            "git: { sign_tags: maybe }",
            "hooks: { timeout: soon }",
            "daemon: { jobs: -1 }",
            "build: { pockets: { prod: { colour: red } } }",
            "build: { pockets: { prod: { isolation: none } } }",
            "build: { pockets: { prod: { acl: [7] } } }",
            "build: { pockets: { prod: { components: main } } }",
            "archive: { signing_key: { certificate: /b } }",
            "chroots: { distros: { trixie: { sources: [{ uri: 'http://x' }] } } }",
        ] {
            assert_ne!(wrong(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn defaults_are_as_people_write_them() {
        let schema = schema().to_value();
        for (path, default) in [
            ("definitions/Limits/properties/time", "\"2h\""),
            ("definitions/Limits/properties/memory", "\"8G\""),
            ("definitions/Pocket/properties/components", "[\"main\"]"),
            ("definitions/Pocket/properties/isolation", "\"unshare\""),
            ("definitions/ArchiveConfig/properties/origin", "\"Invirtibuilder\""),
            ("properties/state_dir", "\"/var/lib/invirtibuilder\""),
        ] {
            let written = schema.pointer(&format!("/{path}/default")).map(Value::to_string);
            assert_eq!(written.as_deref(), Some(default), "{path}");
        }
        assert!(!schema.to_string().contains("\"default\":null"));
        let key = schema.pointer("/definitions/ArchiveConfig/properties/signing_key").unwrap();
        assert_eq!(key.get("default"), None, "archives other than main's have none");
    }
}
