//! Compares the archive's files with what the record says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Result;
use rayon::prelude::*;
use rusqlite::Connection;

use crate::kept::Kept;
use crate::{Archive, Signed, SuiteSpec, beside, generation, index};
use invirtibuilder_api::archive::PoolFile;
use invirtibuilder_api::verify::Depth;
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::names::{PackageName, Version};
use invirtibuilder_core::time::now;
use invirtibuilder_store::beside::{Beside, FileOrLink};
use invirtibuilder_store::buckets;
use invirtibuilder_store::contents::{self, SuiteState};
use invirtibuilder_store::generations::{self, ListedFile};
use invirtibuilder_store::kept;
use invirtibuilder_system::files;

impl Archive {
    /// Lists what is wrong with the generation of a suite that is recorded as `state` and shows
    /// these versions; each a sentence.
    pub fn inspect(
        &self,
        db: &Connection,
        spec: &SuiteSpec,
        state: &SuiteState,
        shown: &BTreeMap<PackageName, Version>,
    ) -> Result<Vec<String>> {
        if state.release != self.describe(spec) || state.keep != spec.keep {
            return Ok(vec![
                "the configuration describes it otherwise: 'kill -HUP' tells the daemon".to_owned(),
            ]);
        }
        let mut wrong = Vec::new();
        let dir = self
            .dists()
            .join(generation::DIRECTORY)
            .join(spec.suite.suite.as_str())
            .join(state.generation.to_string());
        let listed = generations::files(db, &spec.suite, state.generation)?;
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

    fn release(&self, dir: &Path, state: &SuiteState, listed: &[ListedFile]) -> Vec<String> {
        let read = |name: &str| {
            fs::read(dir.join(name)).map_err(|error| format!("{name} cannot be read: {error}"))
        };
        let (text, inline, detached) =
            match (read("Release"), read("InRelease"), read("Release.gpg")) {
                (Ok(text), Ok(inline), Ok(detached)) => (text, inline, detached),
                (a, b, c) => return [a, b, c].into_iter().filter_map(Result::err).collect(),
            };
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut wrong = Vec::new();
        if !text.starts_with(&state.release) || !text.ends_with(&generation::sums(listed)) {
            wrong.push("Release is not what was written".to_owned());
        }
        if let Err(error) =
            self.keys().and_then(|keys| keys.verify(&text, &Signed { inline, detached }))
        {
            wrong.push(format!("its signature does not verify: {error:#}"));
        }
        if state.valid_until.is_some_and(|until| until < now()) {
            wrong.push("its Valid-Until is over: does the daemon run?".to_owned());
        }
        wrong
    }

    /// Says what is wrong with a file of the pool.
    pub fn inspect_file(&self, file: &PoolFile, depth: Depth) -> Option<String> {
        let path = self.root.join(&file.path);
        let Ok(found) = fs::symlink_metadata(&path) else {
            return Some("it is missing".to_owned());
        };
        if !found.is_file() || found.len() != file.size {
            return Some(format!("it is not the file of {} bytes that was published", file.size));
        }
        if depth == Depth::Sizes {
            return None;
        }
        // Whoever names the file says where it is.
        let found = fs::File::open(&path).map_err(Into::into).and_then(files::digest_of);
        match found {
            Ok((_, sha256)) if sha256 == file.sha256 => None,
            Ok(_) => Some("its bytes are not those that were published".to_owned()),
            Err(error) => Some(format!("it cannot be read: {error:#}")),
        }
    }

    /// Says what is wrong with a file or a link beside the pool.
    pub fn inspect_beside(&self, beside: &Beside) -> Option<String> {
        match &beside.what {
            FileOrLink::Link(target) => match fs::read_link(self.root.join(&beside.path)) {
                Ok(found) if found == Path::new(target) => None,
                Ok(_) => Some("it is a link to something else".to_owned()),
                Err(_) => Some("it is missing, or no link".to_owned()),
            },
            FileOrLink::File { size, sha256 } => {
                let file =
                    PoolFile { path: beside.path.clone(), size: *size, sha256: sha256.clone() };
                self.inspect_file(&file, Depth::Contents)
            }
        }
    }

    /// Lists the files in the pool and beside it that are not among the known ones, by path below
    /// the archive's root.
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

fn listed_file(dir: &Path, file: &ListedFile) -> Vec<String> {
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

/// Lists the indexes that lack an entry of what is shown, or have another one; each a sentence.
fn indexes(
    db: &Connection,
    spec: &SuiteSpec,
    dir: &Path,
    listed: &[ListedFile],
    shown: &BTreeMap<PackageName, Version>,
) -> Result<Vec<String>> {
    let mut expected: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for path in spec.paths() {
        expected.insert(path, BTreeMap::new());
    }
    let mut older = kept::of_suite(db, &spec.suite)?;
    for (source, version) in shown {
        let id = Identity {
            domain: spec.suite.domain.clone(),
            package: source.clone(),
            version: version.clone(),
        };
        let kept = Kept::recorded(
            db,
            &spec.suite.domain,
            (source, older.remove(source).unwrap_or_default()),
        )?;
        for part in contents::content(db, &id)?.iter().flat_map(|content| &content.parts) {
            for path in spec.paths_of(part) {
                let entry = format!("{}\n", kept.entry(part, &path));
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
        if buckets::plain_index(db, &spec.suite, &path)? != text {
            wrong.push(format!("{path} is not put together from the pieces that the record has"));
        }
        let names: BTreeSet<&String> = expected.keys().chain(actual.keys()).collect();
        for name in names {
            match (expected.get(name), actual.get(name)) {
                (Some(expected), Some(actual)) if expected == actual => {}
                (Some(_), Some(_)) => {
                    wrong.push(format!("{path} has another entry for {name} than the record"));
                }
                (Some(_), None) => wrong.push(format!("{path} does not have {name}")),
                (None, _) => wrong.push(format!("{path} has {name}, which the record does not")),
            }
        }
    }
    Ok(wrong)
}
