//! Whether the archive's files are what the record says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Result;
use rayon::prelude::*;
use rusqlite::Connection;

use super::{Archive, Signed, SuiteSpec, beside, files, generation, index};
use crate::names::{PackageName, Version};
use crate::record::beside::{Beside, What};
use crate::record::contents::{self, SuiteState};
use crate::record::now;
use crate::record::pool::PoolFile;

impl Archive {
    /// What is wrong with the generation of a suite that is recorded as `state` and shows these versions; each a
    /// sentence.
    pub fn inspect(
        &self,
        db: &Connection,
        spec: &SuiteSpec,
        state: &SuiteState,
        shown: &BTreeMap<PackageName, Version>,
    ) -> Result<Vec<String>> {
        if state.release != self.describe(spec) {
            return Ok(vec!["the configuration describes it otherwise: 'kill -HUP' tells the daemon".to_owned()]);
        }
        let mut wrong = Vec::new();
        let dir = self.dists().join(generation::DIRECTORY).join(spec.suite.as_str()).join(state.generation.to_string());
        let listed = generation::recorded(db, &spec.suite, state.generation)?;
        let bad: Vec<Vec<String>> = listed.par_iter().map(|file| listed_file(&dir, file)).collect();
        wrong.extend(bad.into_iter().flatten());
        for name in generation::late(db, &spec.suite, state.generation)? {
            if !dir.join(&name).exists() {
                wrong.push(format!("{name}, of an earlier generation, is missing"));
            }
        }
        wrong.extend(self.release(&dir, state, &listed));
        if wrong.is_empty() {
            wrong.extend(indexes(db, spec, &dir, &listed, shown)?);
        }
        Ok(wrong)
    }

    fn release(&self, dir: &Path, state: &SuiteState, listed: &[generation::Listed]) -> Vec<String> {
        let read = |name: &str| fs::read(dir.join(name)).map_err(|error| format!("{name} cannot be read: {error}"));
        let (text, inline, detached) = match (read("Release"), read("InRelease"), read("Release.gpg")) {
            (Ok(text), Ok(inline), Ok(detached)) => (text, inline, detached),
            (a, b, c) => return [a, b, c].into_iter().filter_map(Result::err).collect(),
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut wrong = Vec::new();
        if !text.starts_with(&state.release) || !text.ends_with(&generation::sums(listed)) {
            wrong.push("Release is not what was written".to_owned());
        }
        if let Err(error) = self.keys().and_then(|keys| keys.verify(&text, &Signed { inline, detached })) {
            wrong.push(format!("its signature does not verify: {error:#}"));
        }
        if state.valid_until.is_some_and(|until| until < now()) {
            wrong.push("its Valid-Until is over: does the daemon run?".to_owned());
        }
        wrong
    }

    /// What is wrong with a file of the pool. Without `deep` its size is compared, and not its hash.
    pub fn inspect_file(&self, file: &PoolFile, deep: bool) -> Option<String> {
        let path = self.root.join(&file.path);
        let Ok(found) = fs::symlink_metadata(&path) else { return Some("it is missing".to_owned()) };
        if !found.is_file() || found.len() != file.size {
            return Some(format!("it is not the file of {} bytes that was published", file.size));
        }
        match deep.then(|| files::digest(&path)) {
            None => None,
            Some(Ok((_, sha256))) if sha256 == file.sha256 => None,
            Some(Ok(_)) => Some("its bytes are not those that were published".to_owned()),
            Some(Err(error)) => Some(format!("{error:#}")),
        }
    }

    /// What is wrong with what is beside the pool.
    pub fn inspect_beside(&self, beside: &Beside) -> Option<String> {
        match &beside.what {
            What::Link(target) => match fs::read_link(self.root.join(&beside.path)) {
                Ok(found) if found == Path::new(target) => None,
                Ok(_) => Some("it is a link to something else".to_owned()),
                Err(_) => Some("it is missing, or no link".to_owned()),
            },
            What::File { size, sha256 } => {
                let file = PoolFile { path: beside.path.clone(), size: *size, sha256: sha256.clone() };
                self.inspect_file(&file, true)
            }
        }
    }

    /// Files in the pool and beside it that are not among the known ones, by path below the archive's root.
    pub fn strays(&self, known: &BTreeSet<&str>) -> Result<Vec<String>> {
        let mut strays = Vec::new();
        for dir in ["pool"].iter().chain(&beside::DIRECTORIES) {
            walk(&self.root, dir, &mut |path| {
                if !known.contains(path) {
                    strays.push(path.to_owned());
                }
            })?;
        }
        strays.sort();
        Ok(strays)
    }
}

fn walk(root: &Path, below: &str, found: &mut impl FnMut(&str)) -> Result<()> {
    let entries = match fs::read_dir(root.join(below)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let path = format!("{below}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() { walk(root, &path, found)? } else { found(&path) }
    }
    Ok(())
}

fn listed_file(dir: &Path, file: &generation::Listed) -> Vec<String> {
    let mut wrong = Vec::new();
    match files::digest(&dir.join(generation::home(file))) {
        Ok(found) if found == (file.size, file.sha256.clone()) => {}
        Ok(_) => wrong.push(format!("{} is not what was written", file.path)),
        Err(_) => wrong.push(format!("{} is missing", file.path)),
    }
    let hashed = generation::hashed(file);
    if fs::metadata(dir.join(&hashed)).map(|found| found.len()).ok() != Some(file.size) {
        wrong.push(format!("{hashed} is missing, or is another file"));
    }
    wrong
}

/// Every index has the entries of what is shown, and no others.
fn indexes(
    db: &Connection,
    spec: &SuiteSpec,
    dir: &Path,
    listed: &[generation::Listed],
    shown: &BTreeMap<PackageName, Version>,
) -> Result<Vec<String>> {
    let mut expected: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for path in spec.paths() {
        expected.insert(path, BTreeMap::new());
    }
    for (source, version) in shown {
        for part in contents::content(db, source, version)?.iter().flat_map(|content| &content.parts) {
            for path in spec.paths_of(part) {
                let entry = format!("{}\n", part.stanza);
                expected.entry(path).or_default().insert(part.name.clone(), entry);
            }
        }
    }
    let mut wrong = Vec::new();
    for (path, expected) in expected {
        let Some(file) = listed.iter().find(|file| file.path == path) else {
            wrong.push(format!("Release does not list {path}"));
            continue;
        };
        let text = fs::read(dir.join(generation::home(file)))?;
        let actual = index::entries(&text)?;
        if index::plain(db, &spec.suite, &path)? != text {
            wrong.push(format!("{path} is not put together from the pieces that the record has"));
        }
        let names: BTreeSet<&String> = expected.keys().chain(actual.keys()).collect();
        for name in names {
            match (expected.get(name), actual.get(name)) {
                (Some(expected), Some(actual)) if expected == actual => {}
                (Some(_), Some(_)) => wrong.push(format!("{path} has another entry for {name} than the record")),
                (Some(_), None) => wrong.push(format!("{path} does not have {name}")),
                (None, _) => wrong.push(format!("{path} has {name}, which the record does not")),
            }
        }
    }
    Ok(wrong)
}
