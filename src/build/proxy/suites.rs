//! Which files of our own archive a sandbox may ask for: what the suites that may satisfy its build dependencies show.
//!
//! The pool is one for all suites, so a place in it is no permission: a file is given out if the index of such a suite names it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;

use super::super::LocalSuite;
use crate::names::{Component, Suite};

/// The host that our own archive has in a sandbox. No name server knows it (RFC 2606).
pub const HOST: &str = "archive.invalid";

/// Suites of our own archive.
#[derive(Debug, Default)]
pub struct Suites {
    root: PathBuf,
    suites: Vec<(Suite, Vec<Component>)>,
    named: Mutex<Named>,
}

/// What the indexes that were given out name.
#[derive(Debug, Default)]
struct Named {
    /// The generations that were read.
    generations: BTreeSet<PathBuf>,
    /// Paths below the archive's root.
    files: BTreeSet<String>,
}

impl Suites {
    /// These. They are of one archive.
    pub fn of(local: &[LocalSuite]) -> Self {
        let root = local.first().map(|suite| suite.root.clone()).unwrap_or_default();
        let suites = local.iter().map(|local| (local.suite.clone(), local.components.clone())).collect();
        Self { root, suites, named: Mutex::default() }
    }

    /// The file for the path of a request, if it may be asked for; it may not be there. What a suite's pool files are is
    /// read when its InRelease is asked for: whoever has that may have them, whatever is published meanwhile.
    pub fn find(&self, path: &str) -> Result<Option<PathBuf>> {
        let Some(path) = decoded(path) else { return Ok(None) };
        let Some(rest) = path.strip_prefix("dists/") else {
            let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
            return Ok(named.files.contains(&path).then(|| self.root.join(&path)));
        };
        let Some((suite, rest)) = rest.split_once('/') else { return Ok(None) };
        let Some((suite, components)) = self.suites.iter().find(|(allowed, _)| allowed.as_str() == suite) else {
            return Ok(None);
        };
        let generation = match fs::canonicalize(self.root.join("dists").join(suite.as_str())) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            generation => generation?,
        };
        if ["InRelease", "Release"].contains(&rest) {
            self.read(&generation, components).with_context(|| format!("suite {suite} cannot be read"))?;
        }
        Ok(Some(generation.join(rest)))
    }

    fn read(&self, generation: &Path, components: &[Component]) -> Result<()> {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.generations.contains(generation) {
            return Ok(());
        }
        for component in components {
            let entries = match fs::read_dir(generation.join(component.as_str())) {
                // It is configured, and nothing was published since.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let index = entry?.path().join("Packages.gz");
                if index.exists() {
                    named.files.extend(file_names(&index)?);
                }
            }
        }
        named.generations.insert(generation.to_owned());
        Ok(())
    }
}

fn file_names(index: &Path) -> Result<Vec<String>> {
    let lines = BufReader::new(MultiGzDecoder::new(fs::File::open(index)?)).lines();
    let mut names = Vec::new();
    for line in lines {
        names.extend(line?.strip_prefix("Filename: ").map(str::to_owned));
    }
    Ok(names)
}

/// A path below the root: apt encodes what URLs do not take, a plus for one. `None` for what is not plainly a path.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = path.strip_prefix('/')?.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    let path = String::from_utf8(plain).ok()?;
    let bytes = |c: char| c.is_ascii_alphanumeric() || "/.+-_~:".contains(c);
    let is_plain = path.chars().all(bytes) && path.split('/').all(|part| !["", ".", ".."].contains(&part));
    is_plain.then_some(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;

    fn suite(root: &Path, name: &str, generation: u32, files: &[&str]) {
        let dir = root.join(format!("dists/.generations/{name}/{generation}"));
        let index = dir.join("main/binary-amd64");
        fs::create_dir_all(&index).unwrap();
        fs::write(dir.join("InRelease"), name).unwrap();
        let text: String = files
            .iter()
            .map(|file| format!("Package: x\nFilename: {file}\nDescription: x\n Filename: secret\n\n"))
            .collect();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text.as_bytes()).unwrap();
        fs::write(index.join("Packages.gz"), gz.finish().unwrap()).unwrap();
        let link = root.join("dists").join(name);
        let _ = fs::remove_file(&link);
        symlink(format!(".generations/{name}/{generation}"), link).unwrap();
    }

    fn allowed(root: &Path, suites: &[&str]) -> Suites {
        let local = |name: &&str| LocalSuite {
            root: root.to_owned(),
            suite: name.parse().unwrap(),
            components: vec!["main".parse().unwrap()],
            key: PathBuf::new(),
        };
        Suites::of(&suites.iter().map(local).collect::<Vec<_>>())
    }

    #[test]
    fn files_of_other_suites_are_not_given_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        suite(&root, "stable", 1, &["pool/main/g/g++/g++_1~2_amd64.deb"]);
        suite(&root, "unstable", 1, &["pool/main/g/g++/g++_999_amd64.deb"]);
        let stable = allowed(&root, &["stable"]);
        let find = |path: &str| stable.find(path).unwrap();
        let good = "/pool/main/g/g%2b%2B/g++_1~2_amd64.deb";
        assert_eq!(find(good), None, "nobody has asked for the suite yet");
        assert_eq!(find("/dists/stable/InRelease"), Some(root.join("dists/.generations/stable/1/InRelease")));
        assert_eq!(find(good), Some(root.join("pool/main/g/g++/g++_1~2_amd64.deb")));
        for bad in [
            "/dists/unstable/InRelease",
            "/dists/stable/../unstable/InRelease",
            "/dists/stable/%2e%2e/unstable/InRelease",
            "/dists/.generations/unstable/1/InRelease",
            "/dists/nowhere/InRelease",
            "/dists/stable",
            "/dists/",
            "/pool/main/g/g++/g++_999_amd64.deb",
            "/pool/main/g/g++/../g++/g++_1~2_amd64.deb",
            "/pool//main/g/g++/g++_1~2_amd64.deb",
            "/pool/main/g/g++/",
            "/secret",
            "/archive-key.asc",
            "/pool/%",
            "/pool/%zz",
            "/pool/%+1",
            "/pool/%ff",
            "/pool/\u{1b}",
            "",
            "/",
        ] {
            assert_eq!(find(bad), None, "{bad}");
        }
        let both = allowed(&root, &["stable", "unstable"]);
        both.find("/dists/unstable/InRelease").unwrap().unwrap();
        assert!(both.find("/pool/main/g/g++/g++_999_amd64.deb").unwrap().is_some());
        assert_eq!(allowed(&root, &[]).find("/dists/stable/InRelease").unwrap(), None);
    }

    #[test]
    fn what_a_suite_named_when_it_was_read_can_be_had_after_a_flip() {
        let dir = tempfile::tempdir().unwrap();
        suite(dir.path(), "stable", 1, &["pool/main/h/hello/hello_1_all.deb"]);
        let suites = allowed(dir.path(), &["stable"]);
        suites.find("/dists/stable/InRelease").unwrap();
        suite(dir.path(), "stable", 2, &["pool/main/h/hello/hello_2_all.deb"]);
        assert!(suites.find("/pool/main/h/hello/hello_1_all.deb").unwrap().is_some());
        assert!(suites.find("/pool/main/h/hello/hello_2_all.deb").unwrap().is_none());
        suites.find("/dists/stable/InRelease").unwrap();
        assert!(suites.find("/pool/main/h/hello/hello_2_all.deb").unwrap().is_some());
    }
}
