//! Which files of our own archive a sandbox may ask for: what the suites that may satisfy its build
//! dependencies show.
//!
//! The pool is one for all suites of a domain, so a place in it is no permission: a file is given
//! out if the index of such a suite names it. Main's archive is at the top; those of other domains
//! are below `domain/NAME/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;

use invirtibuilder_core::domain::{MAIN, SuiteId};
use invirtibuilder_core::given::Given;
use invirtibuilder_core::names::{Component, DomainName};

/// A suite of our own archives that may satisfy build dependencies.
#[derive(Debug, Clone)]
pub struct LocalSuite {
    /// The root of its domain's archive.
    pub root: PathBuf,
    /// The suite.
    pub suite: SuiteId,
    /// Its components.
    pub components: Vec<Component>,
    /// The public key that it is signed with.
    pub key: PathBuf,
}

impl LocalSuite {
    /// Names the directory of its archive, below the address of all of ours.
    pub fn place(&self) -> String {
        let domain = &self.suite.domain;
        if domain.is_main() { String::new() } else { format!("{DOMAINS}{domain}/") }
    }
}

/// The directory of the archives of domains other than main.
const DOMAINS: &str = "domain/";

/// The host that our own archives have in a sandbox. No name server knows it (RFC 2606).
pub const HOST: &str = "archive.invalid";

/// Notes which packages of our own a build is given, for those who have to know that later.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<BTreeSet<Given>>>);

/// The most packages of our own that one build is given: none needs as many, and each is written
/// down.
const MOST_GIVEN: usize = 4000;

impl Ledger {
    fn note(&self, given: &Given) -> Result<()> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(
            all.len() < MOST_GIVEN || all.contains(given),
            "the build has asked for {MOST_GIVEN} packages of our own archive, which are the most"
        );
        all.insert(given.clone());
        Ok(())
    }

    /// Notes all that another one has.
    pub fn take_over(&self, other: &Self) {
        let others = other.all();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(others);
    }

    /// Lists all of them.
    pub fn all(&self) -> Vec<Given> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Suites of our own archives.
#[derive(Debug, Default)]
pub struct Suites {
    archives: BTreeMap<DomainName, AllowedArchive>,
    named: Mutex<NamedFiles>,
    ledger: Ledger,
}

/// The suites of one archive that may be asked for.
#[derive(Debug)]
struct AllowedArchive {
    root: PathBuf,
    suites: Vec<(SuiteId, Vec<Component>)>,
}

/// What the indexes that were given out name.
#[derive(Debug, Default)]
struct NamedFiles {
    /// The generations that were read.
    generations: BTreeSet<PathBuf>,
    /// By domain, and path below the archive's root.
    files: BTreeMap<DomainName, BTreeMap<String, Given>>,
}

impl Suites {
    /// These. What is given out of their pools is noted in the ledger.
    pub fn of(local: &[LocalSuite], ledger: Ledger) -> Self {
        let mut archives: BTreeMap<DomainName, AllowedArchive> = BTreeMap::new();
        for local in local {
            let new = || AllowedArchive { root: local.root.clone(), suites: Vec::new() };
            let archive = archives.entry(local.suite.domain.clone()).or_insert_with(new);
            archive.suites.push((local.suite.clone(), local.components.clone()));
        }
        Self { archives, named: Mutex::default(), ledger }
    }

    /// Finds the file for the path of a request, if it may be asked for; it may not be there. What
    /// a suite's pool files are is read when its InRelease is asked for: whoever has that may have
    /// them, whatever is published meanwhile. A package that is found counts as given.
    pub fn find(&self, path: &str) -> Result<Option<PathBuf>> {
        let Some(path) = decoded(path) else { return Ok(None) };
        let (domain, path) = match path.strip_prefix(DOMAINS).and_then(|rest| rest.split_once('/'))
        {
            Some((domain, path)) => (domain, path),
            None => (MAIN, &path[..]),
        };
        let found = self.archives.iter().find(|(name, _)| name.as_str() == domain);
        let Some((domain, archive)) = found else { return Ok(None) };
        let Some(rest) = path.strip_prefix("dists/") else {
            let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
            let given = named.files.get(domain).and_then(|files| files.get(path));
            return given
                .map(|given| self.ledger.note(given).map(|()| archive.root.join(path)))
                .transpose();
        };
        let Some((suite, rest)) = rest.split_once('/') else { return Ok(None) };
        let Some((suite, components)) =
            archive.suites.iter().find(|(allowed, _)| allowed.suite.as_str() == suite)
        else {
            return Ok(None);
        };
        let link = archive.root.join("dists").join(suite.suite.as_str());
        let generation = match fs::canonicalize(link) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            generation => generation?,
        };
        if ["InRelease", "Release"].contains(&rest) {
            self.read(suite, &generation, components)
                .with_context(|| format!("suite {suite} cannot be read"))?;
        }
        Ok(Some(generation.join(rest)))
    }

    fn read(&self, suite: &SuiteId, generation: &Path, components: &[Component]) -> Result<()> {
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
                    let files = named.files.entry(suite.domain.clone()).or_default();
                    for given in newest(entries_of(suite, &index)?) {
                        files.insert(given.path.clone(), given);
                    }
                }
            }
        }
        named.generations.insert(generation.to_owned());
        Ok(())
    }
}

/// Takes the newest version of each package: an index may have older ones behind it (`keep` of a
/// pocket), and builds get none of those.
fn newest(all: Vec<Given>) -> Vec<Given> {
    let mut seen = BTreeSet::new();
    let mut is_first =
        |given: &Given| seen.insert((given.package.clone(), given.architecture.clone()));
    all.into_iter().filter(|given| is_first(given)).collect()
}

/// Lists the packages of an index. We have written it: every entry has these fields, each in a line
/// of its own.
fn entries_of(suite: &SuiteId, index: &Path) -> Result<Vec<Given>> {
    let lines = BufReader::new(MultiGzDecoder::new(fs::File::open(index)?)).lines();
    let (mut all, mut fields) = (Vec::new(), BTreeMap::new());
    for line in lines.chain([Ok(String::new())]) {
        let line = line?;
        if let Some((name, value)) =
            line.split_once(": ").filter(|(name, _)| !name.starts_with(' '))
        {
            fields.insert(name.to_owned(), value.to_owned());
        }
        if line.is_empty() {
            let mut field = |name: &str| fields.remove(name);
            if let Some(path) = field("Filename") {
                let mut demand = |name: &str| {
                    field(name).with_context(|| format!("{path} has no {name} in an index"))
                };
                all.push(Given {
                    suite: suite.clone(),
                    package: demand("Package")?,
                    version: demand("Version")?,
                    architecture: demand("Architecture")?,
                    sha256: demand("SHA256")?,
                    path,
                });
            }
            fields.clear();
        }
    }
    Ok(all)
}

/// Finds a path below the root: apt encodes what URLs do not take, a plus for one. `None` for what
/// is not plainly a path.
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
    let is_plain =
        path.chars().all(bytes) && path.split('/').all(|part| !["", ".", ".."].contains(&part));
    is_plain.then_some(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use crate::proxy::suites::*;

    fn suite(root: &Path, name: &str, generation: u32, files: &[&str]) {
        let dir = root.join(format!("dists/.generations/{name}/{generation}"));
        let index = dir.join("main/binary-amd64");
        fs::create_dir_all(&index).unwrap();
        fs::write(dir.join("InRelease"), name).unwrap();
        let text: String = files
            .iter()
            .map(|file| {
                let sum = invirtibuilder_core::text::hex(file.as_bytes());
                format!(
                    "Package: x-{sum}\nVersion: 1\nArchitecture: all\nFilename: {file}\nSHA256: {sum}\nDescription: x\n Filename: secret\n\n"
                )
            })
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
        Suites::of(&suites.iter().map(local).collect::<Vec<_>>(), Ledger::default())
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
        assert_eq!(
            find("/dists/stable/InRelease"),
            Some(root.join("dists/.generations/stable/1/InRelease"))
        );
        assert_eq!(stable.ledger.all(), []);
        assert_eq!(find(good), Some(root.join("pool/main/g/g++/g++_1~2_amd64.deb")));
        assert_eq!(find(good), Some(root.join("pool/main/g/g++/g++_1~2_amd64.deb")));
        let path = "pool/main/g/g++/g++_1~2_amd64.deb";
        let given = Given {
            suite: "stable".parse().unwrap(),
            package: format!("x-{}", invirtibuilder_core::text::hex(path.as_bytes())),
            version: "1".into(),
            architecture: "all".into(),
            path: path.into(),
            sha256: invirtibuilder_core::text::hex(path.as_bytes()),
        };
        assert_eq!(stable.ledger.all(), std::slice::from_ref(&given));
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
        assert_eq!(stable.ledger.all(), [given], "nothing that was refused counts as given");
        let both = allowed(&root, &["stable", "unstable"]);
        both.find("/dists/unstable/InRelease").unwrap().unwrap();
        assert!(both.find("/pool/main/g/g++/g++_999_amd64.deb").unwrap().is_some());
        assert_eq!(allowed(&root, &[]).find("/dists/stable/InRelease").unwrap(), None);
    }

    #[test]
    fn a_domain_is_given_out_below_its_name_and_only_to_who_may_have_it() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let roots = dirs.each_ref().map(|dir| fs::canonicalize(dir.path()).unwrap());
        let file = "pool/main/h/hello/hello_1_all.deb";
        roots.iter().for_each(|root| suite(root, "stable", 1, &[file]));
        let local = |root: &Path, name: &str| LocalSuite {
            root: root.to_owned(),
            suite: name.parse().unwrap(),
            components: vec!["main".parse().unwrap()],
            key: PathBuf::new(),
        };
        let (main, dev) = (local(&roots[0], "stable"), local(&roots[1], "dev/stable"));
        assert_eq!((main.place(), dev.place()), (String::new(), "domain/dev/".to_owned()));
        let both = Suites::of(&[main.clone(), dev], Ledger::default());
        for (root, place) in roots.iter().zip(["", "domain/dev/"]) {
            assert_eq!(both.find(&format!("/{place}{file}")).unwrap(), None, "not read yet");
            both.find(&format!("/{place}dists/stable/InRelease")).unwrap().unwrap();
            let found = both.find(&format!("/{place}{file}")).unwrap();
            assert_eq!(found, Some(root.join(file)));
        }
        let suites: Vec<_> = both.ledger.all().iter().map(|it| it.suite.to_string()).collect();
        assert_eq!(suites, ["dev/stable", "stable"]);
        let alone = Suites::of(&[main], Ledger::default());
        for path in ["domain/dev/dists/stable/InRelease", &format!("domain/dev/{file}")] {
            assert_eq!(alone.find(&format!("/{path}")).unwrap(), None, "{path}");
        }
    }

    #[test]
    fn a_build_is_given_so_many_packages_and_no_more() {
        let ledger = Ledger::default();
        let given = |n: usize| Given {
            suite: "stable".parse().unwrap(),
            package: n.to_string(),
            version: "1".into(),
            architecture: "all".into(),
            path: n.to_string(),
            sha256: String::new(),
        };
        (0..MOST_GIVEN).for_each(|n| ledger.note(&given(n)).unwrap());
        ledger.note(&given(0)).unwrap();
        assert!(ledger.note(&given(MOST_GIVEN)).is_err());
        assert_eq!(ledger.all().len(), MOST_GIVEN);
    }

    #[test]
    fn builds_are_given_the_newest_version_only() {
        let given = |package: &str, version: &str| Given {
            suite: "stable".parse().unwrap(),
            package: package.to_owned(),
            version: version.to_owned(),
            architecture: "all".into(),
            path: format!("{package}_{version}"),
            sha256: String::new(),
        };
        let all = vec![given("a", "3"), given("a", "2"), given("b", "1"), given("a", "1")];
        assert_eq!(newest(all), [given("a", "3"), given("b", "1")]);
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
