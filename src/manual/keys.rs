//! The configuration's keys, read from the source of the types that hold them: a key that is added there is in the
//! manual, with its documentation.

/// One key.
#[derive(Debug)]
pub struct Key {
    /// The full name, `git.packages`.
    pub name: String,
    /// What is written there, in a word.
    pub kind: &'static str,
    /// What it means.
    pub text: String,
}

/// Every key in the order of the source.
pub fn all() -> Vec<Key> {
    // The types come first, their defaults after them.
    let source = include_str!("../config/mod.rs").split("\nimpl Default").next().unwrap_or_default();
    let mut types = parse(source);
    types.extend(parse(include_str!("../config/archive.rs")));
    types.extend(parse(include_str!("../config/chroots.rs")));
    let mut keys = Vec::new();
    expand("Config", "", &types, &mut keys);
    keys
}

/// A field: name, type, documentation.
type Field = (String, String, String);

/// Every struct and its public fields.
fn parse(source: &str) -> Vec<(String, Vec<Field>)> {
    let mut types: Vec<(String, Vec<Field>)> = Vec::new();
    let mut doc = String::new();
    for line in source.lines() {
        let text = line.trim();
        if let Some(more) = text.strip_prefix("/// ") {
            doc = format!("{doc} {more}");
            continue;
        }
        if let Some(name) = line.strip_prefix("pub struct ") {
            types.push((name.trim_end_matches(" {").to_owned(), Vec::new()));
        } else if let Some((name, kind)) = line.strip_prefix("    pub ").and_then(|field| field.split_once(": ")) {
            if !name.starts_with("fn ") {
                if let Some((_, fields)) = types.last_mut() {
                    fields.push((name.to_owned(), kind.trim_end_matches(',').to_owned(), doc.trim().to_owned()));
                }
            }
        }
        // Attributes stand between a field and its documentation.
        if !text.starts_with("#[") {
            doc.clear();
        }
    }
    types
}

fn expand(of: &str, prefix: &str, types: &[(String, Vec<Field>)], keys: &mut Vec<Key>) {
    let Some((_, fields)) = types.iter().find(|(name, _)| name == of) else { return };
    for (name, kind, doc) in fields {
        let inner = kind.strip_prefix("Option<").and_then(|rest| rest.strip_suffix('>')).unwrap_or(kind);
        let name = format!("{prefix}{name}");
        let map = inner.strip_prefix("BTreeMap<").and_then(|rest| rest.strip_suffix('>'));
        if let Some((by, of)) = map.and_then(|map| map.split_once(", ")) {
            let by = by.trim_end_matches("Name").to_uppercase();
            expand(of, &format!("{name}.{by}."), types, keys);
        } else if inner == "Vec<Source>" {
            keys.push(Key { name: name.clone(), kind: word(inner), text: sentence(doc) });
            expand("Source", &format!("{name}."), types, keys);
        } else if types.iter().any(|(there, _)| there == inner) {
            expand(inner, &format!("{name}."), types, keys);
        } else {
            keys.push(Key { name, kind: word(inner), text: sentence(doc) });
        }
    }
}

fn word(kind: &str) -> &'static str {
    match kind {
        "PathBuf" => "path",
        "Vec<SigningKey>" => "path or list",
        "bool" => "true or false",
        "Duration" => "duration",
        "ByteSize" => "size",
        "Isolation" => "unshare, vm or schroot",
        "std::net::SocketAddr" => "address:port",
        kind if kind.starts_with("Vec<") => "list",
        kind if kind.starts_with('u') => "number",
        _ => "name",
    }
}

/// The documentation as a user of the file needs it.
fn sentence(doc: &str) -> String {
    let doc = doc.replace("`None` is", "Default:").replace("`None`:", "left out:");
    let (text, _) = doc.split_once(" Use [`").unwrap_or((&doc, ""));
    text.replace("; Default:", "; default:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_example() {
        let example = include_str!("../../examples/config.yaml");
        let keys = all();
        assert!(keys.len() > 35, "{keys:?}");
        for key in keys {
            let last = key.name.rsplit('.').next().unwrap();
            assert!(example.contains(&format!("{last}:")), "{}", key.name);
            assert!(key.text.len() > 3, "{} is not documented", key.name);
        }
    }
}
