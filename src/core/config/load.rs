//! Reads the files, merges them and reports every problem with file, line and column.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_path_to_error::Segment;
use serde_yaml::{Mapping, Value};
use sha2::{Digest, Sha256};

use crate::config::places::{ConfigPlace, KeyPath, KeyPlaces};
use crate::config::{AclEntry, Config, check};

/// The largest file that is a configuration, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The most problems that are listed; after so many one more does not help.
const MAX_PROBLEMS: usize = 100;

/// One thing that is wrong in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigProblem {
    /// The column, from 1.
    pub column: usize,
    /// The file that the problem is in.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The problem, in one sentence.
    pub message: String,
}

impl ConfigProblem {
    fn at(place: ConfigPlace, message: impl Into<String>) -> Self {
        Self { file: place.file, line: place.line, column: place.column, message: message.into() }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file.display(), self.line, self.column, self.message)
    }
}

/// Finds the configuration: the file that `--config`, else `$INVIRTIBUILDER_CONFIG` names, else the
/// installed one.
pub fn path(option: Option<&Path>) -> PathBuf {
    let named = option
        .map(Path::to_owned)
        .or_else(|| std::env::var_os("INVIRTIBUILDER_CONFIG").map(PathBuf::from));
    named.unwrap_or_else(|| super::default_path().to_owned())
}

/// Reads `path`, then the `*.yaml` of the `conf.d` beside it in name order. It merges maps;
/// anything else of a later file replaces that of an earlier one. It reports every problem there
/// is.
pub fn load(path: &Path) -> Result<Config, Vec<ConfigProblem>> {
    let mut problems = Vec::new();
    let mut places = KeyPlaces::default();
    let mut merged = Value::Mapping(Mapping::new());
    for file in files(path) {
        match read(&file) {
            Ok((text, value)) => {
                places.add(&file, &text);
                merge(&mut merged, value);
            }
            Err(problem) => problems.push(problem),
        }
    }
    let mut config = parse(merged, &places, &mut problems);
    if let Some(config) = &mut config {
        locate(config, &places);
        let found = check::problems(config).into_iter();
        problems
            .extend(found.map(|(path, message)| ConfigProblem::at(places.find(&path), message)));
    }
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems),
    }
}

/// Makes a problem with a key of a configuration that was read, at its place.
pub fn problem(path: &Path, key: &str, message: String) -> ConfigProblem {
    let mut places = KeyPlaces::default();
    for file in files(path) {
        if let Ok((text, _)) = read(&file) {
            places.add(&file, &text);
        }
    }
    let key: Vec<String> = key.split('.').map(str::to_owned).collect();
    ConfigProblem::at(places.find(&key), message)
}

/// Computes the SHA-256 over the files that [`load()`] reads, in hexadecimal: it tells one
/// configuration from another.
pub fn fingerprint(path: &Path) -> String {
    let mut hasher = Sha256::new();
    for file in files(path) {
        for part in [file.as_os_str().as_encoded_bytes(), &std::fs::read(&file).unwrap_or_default()]
        {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
    }
    crate::text::hex(&hasher.finalize())
}

/// Notes where each entry of an ACL stands.
fn locate(config: &mut Config, places: &KeyPlaces) {
    let path = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<KeyPath>();
    let note = |entries: &mut Vec<AclEntry>, list: &KeyPath| {
        for (n, entry) in entries.iter_mut().enumerate() {
            entry.place = Some(places.find(&[&list[..], &[n.to_string()]].concat()));
        }
    };
    note(&mut config.acl.create_repo, &path(&["acl", "create_repo"]));
    note(&mut config.acl.admins, &path(&["acl", "admins"]));
    note(&mut config.acl.operators, &path(&["acl", "operators"]));
    for (name, pocket) in &mut config.build.pockets {
        note(&mut pocket.acl, &path(&["build", "pockets", name.as_str(), "acl"]));
        note(&mut pocket.priority, &path(&["build", "pockets", name.as_str(), "priority"]));
    }
}

/// Lists the files that [`load()`] reads, in its order.
pub fn files(path: &Path) -> Vec<PathBuf> {
    let mut more: Vec<PathBuf> = match std::fs::read_dir(path.with_file_name("conf.d")) {
        Ok(entries) => entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().as_encoded_bytes();
                name.ends_with(b".yaml") && !name.starts_with(b".")
            })
            .collect(),
        Err(_) => Vec::new(),
    };
    more.sort();
    std::iter::once(path.to_owned()).chain(more).collect()
}

fn read(file: &Path) -> Result<(String, Value), ConfigProblem> {
    let start = ConfigPlace { file: file.to_owned(), line: 1, column: 1 };
    let text = match std::fs::metadata(file) {
        Ok(metadata) if metadata.len() > MAX_FILE => {
            return Err(ConfigProblem::at(start, "the file is larger than 1 MiB"));
        }
        _ => std::fs::read_to_string(file).map_err(|error| {
            ConfigProblem::at(start.clone(), format!("the file cannot be read: {error}"))
        })?,
    };
    let parsed = serde_yaml::from_str::<Value>(&text)
        .and_then(|mut value| value.apply_merge().map(|()| value));
    match parsed {
        Ok(Value::Null) => Ok((text, Value::Mapping(Mapping::new()))),
        Ok(value @ Value::Mapping(_)) => Ok((text, value)),
        Ok(_) => Err(ConfigProblem::at(
            start,
            "the file is not a map of keys: begin with a key such as 'state_dir:'",
        )),
        Err(error) => {
            let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
            let message = error.to_string();
            // The location is told by itself.
            let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
            Err(ConfigProblem::at(
                ConfigPlace { line, column, ..start },
                crate::text::one_line(&message),
            ))
        }
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Mapping(into), Value::Mapping(from)) => {
            for (key, value) in from {
                match into.get_mut(&key) {
                    Some(there) => merge(there, value),
                    None => drop(into.insert(key, value)),
                }
            }
        }
        (into, from) => *into = from,
    }
}

/// Reads the merged value. It notes what is wrong, takes that out, and reads the rest again: so it
/// finds everything that is wrong, each where it stands. `None` if the value cannot be read even
/// so.
fn parse(
    mut value: Value,
    places: &KeyPlaces,
    problems: &mut Vec<ConfigProblem>,
) -> Option<Config> {
    while problems.len() < MAX_PROBLEMS {
        let error = match serde_path_to_error::deserialize::<_, Config>(value.clone()) {
            Ok(config) => return Some(config),
            Err(error) => error,
        };
        let path: KeyPath = error
            .path()
            .iter()
            .filter_map(|segment| match segment {
                Segment::Map { key } => Some(key.clone()),
                Segment::Seq { index } => Some(index.to_string()),
                Segment::Enum { .. } | Segment::Unknown => None,
            })
            .collect();
        let name = if path.is_empty() { String::new() } else { format!("{}: ", path.join(".")) };
        let message = crate::text::one_line(&error.inner().to_string());
        problems.push(ConfigProblem::at(places.find(&path), format!("{name}{message}")));
        if !remove(&mut value, &path) {
            return None;
        }
    }
    None
}

/// Takes the value at `path` out of its map or list. Returns whether there was one.
fn remove(value: &mut Value, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    match value {
        Value::Mapping(map) if rest.is_empty() => map.remove(first.as_str()).is_some(),
        Value::Mapping(map) => map.get_mut(first.as_str()).is_some_and(|inner| remove(inner, rest)),
        Value::Sequence(list) => match first.parse::<usize>() {
            Ok(index) if index < list.len() && rest.is_empty() => {
                list.remove(index);
                true
            }
            Ok(index) => list.get_mut(index).is_some_and(|inner| remove(inner, rest)),
            Err(_) => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::load::*;

    fn load_files(files: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("conf.d")).unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        load(&dir.path().join("config.yaml")).map_err(|problems| {
            let prefix = format!("{}/", dir.path().display());
            problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
        })
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        let config = load_files(&[("config.yaml", "# nothing\n")]).unwrap();
        assert_eq!(config.state_dir, Path::new("/var/lib/invirtibuilder"));
        assert_eq!(config.daemon.jobs, 2);
    }

    #[test]
    fn machines_are_for_some_architectures() {
        let text = "build: { pockets: { a: { isolation: vm, architectures: [amd64] } } }\n";
        load_files(&[("config.yaml", text)]).unwrap();
        let problems =
            load_files(&[("config.yaml", &text.replace("amd64", "amd64, i386"))]).unwrap_err();
        assert!(problems[0].contains("no virtual machines for i386"), "{problems:?}");
    }

    #[test]
    fn every_problem_is_reported_where_it_stands() {
        let text = "state_dir: relative\nbuild:\n  pockets:\n    prod:\n      distro: ../x\n      colour: red\n      \
                    limits: { time: soon }\n      build_depends_from: [prod, nowhere]\n    dev: { apt: prod }\nnonsense: 1\n";
        let problems = load_files(&[("config.yaml", text)]).unwrap_err();
        let starts: Vec<String> = problems.iter().map(|p| p.chars().take(40).collect()).collect();
        let has = |start: &str, word: &str| {
            assert!(
                problems.iter().any(|p| p.starts_with(start) && p.contains(word)),
                "{start} {word}: {starts:?}"
            );
        };
        has("config.yaml:1:1: ", "state_dir");
        has("config.yaml:5:7: ", "distro name");
        has("config.yaml:6:7: ", "unknown field `colour`");
        has("config.yaml:7:17: ", "a duration such as");
        has("config.yaml:8:34: ", "nowhere");
        has("config.yaml:4:5: ", "suite prod");
        has("config.yaml:10:1: ", "unknown field `nonsense`");
        assert_eq!(problems.len(), 7, "{problems:?}");
    }

    #[test]
    fn later_files_win_and_are_blamed() {
        let files = [
            ("config.yaml", "build: { pockets: { prod: { acl: [a, b], distro: trixie } } }\n"),
            ("conf.d/10-site.yaml", "build: { pockets: { prod: { distro: bookworm } } }\n"),
            ("conf.d/.hidden.yaml", "nonsense: 1\n"),
            ("conf.d/readme.txt", "nonsense\n"),
        ];
        let config = load_files(&files).unwrap();
        let prod = config.pocket("prod").unwrap().settings();
        assert_eq!((prod.distro.as_str(), prod.acl.len()), ("bookworm", 2));
        assert!(prod.acl[1].place().ends_with("config.yaml:1"));
        let mut bad = files.to_vec();
        bad.push(("conf.d/20-bad.yaml", "\nbuild: { pockets: { prod: { distro: 7 } } }\n"));
        let problems = load_files(&bad).unwrap_err();
        assert!(
            problems[0].starts_with("conf.d/20-bad.yaml:2:29: build.pockets.prod.distro: "),
            "{problems:?}"
        );
    }

    #[test]
    fn a_pocket_that_requires_isolation_has_one() {
        let text = |required: &str, kind: &str| {
            format!(
                "build:\n  pockets:\n    prod:\n      require_isolation: {required}\n      isolation: {kind}\n"
            )
        };
        let problems = load_files(&[("config.yaml", &text("true", "schroot"))]).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].starts_with("config.yaml:5:7: ") && problems[0].contains("schroot"),
            "{problems:?}"
        );
        for (required, kind, unsafe_) in [("true", "unshare", false), ("false", "schroot", true)] {
            let config = load_files(&[("config.yaml", &text(required, kind))]).unwrap();
            let prod = config.pocket("prod").unwrap().settings();
            assert_eq!((prod.contradiction(), prod.caveat().is_some()), (None, unsafe_));
        }
    }

    #[test]
    fn places_are_shared_so_that_every_pocket_can_build() {
        let pockets = |jobs: &str, a: &str, b: &str| {
            let text = format!(
                "daemon: {{ jobs: {jobs} }}\nbuild:\n  pockets:\n    a: {{ {a} }}\n    b: {{ {b}, apt: b }}\n"
            );
            load_files(&[("config.yaml", &text)])
                .map(|_| ())
                .map_err(|problems| problems.join("\n"))
        };
        pockets("2", "share: 3, reserve: 1", "jobs: 1").unwrap();
        pockets("2", "reserve: 1", "reserve: 1").unwrap();
        for (jobs, a, b, words) in [
            ("2", "share: 0", "share: 1", "config.yaml:4:10: share: "),
            ("2", "share: 1", "share: 1001", "config.yaml:5:10: share: "),
            ("2", "jobs: 0", "share: 1", "config.yaml:4:10: jobs: "),
            ("2", "jobs: 1, reserve: 2", "reserve: 0", "config.yaml:4:19: reserve: "),
            (
                "3",
                "reserve: 2",
                "reserve: 2",
                "reserve: 4 places are reserved, and daemon.jobs is 3",
            ),
            (
                "2",
                "reserve: 2",
                "share: 1",
                "all places are reserved for other pockets: b could never build",
            ),
        ] {
            let problems = pockets(jobs, a, b).unwrap_err();
            assert!(problems.contains(words), "{problems}");
        }
        let problems = load_files(&[("config.yaml", "build: { open_jobs: 0 }\n")]).unwrap_err();
        assert!(problems[0].contains("open_jobs: "), "{problems:?}");
    }

    #[test]
    fn broken_yaml_duplicate_keys_and_bombs_are_problems() {
        for (text, word) in [
            ("a: [1\nb: 2\n", "config.yaml:"),
            ("realm: A\nrealm: B\n", "duplicate"),
            ("- 1\n", "not a map"),
            ("realm: \"\\0\"\nx: *nothing\n", "unknown anchor"),
        ] {
            let problems = load_files(&[("config.yaml", text)]).unwrap_err();
            assert!(problems[0].contains(word), "{text:?}: {problems:?}");
        }
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for n in 1..12 {
            let refs = vec![format!("*a{}", n - 1); 10].join(",");
            bomb.push_str(&format!("a{n}: &a{n} [{refs}]\n"));
        }
        assert!(load_files(&[("config.yaml", &bomb)]).is_err());
        assert!(load_files(&[]).unwrap_err()[0].contains("cannot be read"));
    }

    #[test]
    fn invirts_build_section_works_unchanged() {
        let text = "build:\n  tagger:\n    name: Invirt Build Server\n    email: invirt@mit.edu\n  pockets:\n    prod:\n      \
                    acl: system:xvm-root\n      apt: stable\n    dev:\n      acl: system:xvm-dev\n      apt: unstable\n      \
                    allow_backtracking: yes\n";
        let config = load_files(&[("config.yaml", text)]).unwrap();
        let dev = "dev".parse().unwrap();
        assert_eq!(config.pocket("dev").unwrap().settings().acl[0].text, "system:xvm-dev");
        assert_eq!(config.suite(&dev).to_string(), "unstable");
        assert!(config.pocket("dev").unwrap().settings().allow_backtracking);
    }

    #[test]
    fn truth_is_written_in_few_words() {
        let with = |word: &str| {
            load_files(&[("config.yaml", &format!("git: {{ sign_tags: {word} }}"))])
                .map(|config| config.git.sign_tags)
        };
        for (word, truth) in [("true", true), ("yes", true), ("on", true), ("no", false)] {
            assert_eq!(with(word), Ok(truth), "{word}");
        }
        for word in ["y", "1", "maybe", "'true'", "~", "[yes]"] {
            let problems = with(word).unwrap_err();
            assert!(
                problems[0].starts_with("config.yaml:1:8: git.sign_tags: ")
                    && problems[0].ends_with("expected true or false"),
                "{problems:?}"
            );
        }
    }

    /// Lists every key that a map in `schema` may have.
    fn keys(schema: &serde_json::Value, found: &mut Vec<String>) {
        let maps = schema["properties"].as_object().into_iter();
        found.extend(maps.flat_map(|map| map.keys().cloned()));
        match schema {
            serde_json::Value::Object(map) => map.values().for_each(|inner| keys(inner, found)),
            serde_json::Value::Array(list) => list.iter().for_each(|inner| keys(inner, found)),
            _ => {}
        }
    }

    #[test]
    fn the_shipped_example_loads_and_has_every_key() {
        let text = include_str!("../../../examples/config.yaml");
        let config = load_files(&[("config.yaml", text)]).unwrap();
        assert_eq!(config.build.pockets.len(), 2);
        let mut found = Vec::new();
        keys(&crate::config::schema().to_value(), &mut found);
        assert!(found.len() > 60, "{found:?}");
        for key in found {
            assert!(text.contains(&format!("{key}:")), "the example does not have {key}");
        }
        // What is shown as a comment is right too.
        let all = text
            .replace("  # locator_command", "  locator_command")
            .replace("# http: {", "http: {");
        let all = all
            .replace("  # dir: /var", "  dir: /var")
            .replace("  # scratch: /var", "  scratch: /var");
        assert!(load_files(&[("config.yaml", &all)]).unwrap().http.is_some());
    }
}
