//! Builds again what was built, in the same chroots, and compares the packages bit by bit.
//!
//! Whoever gets the same packages from the same source knows that nothing but that source is in them
//! (<https://reproducible-builds.org/docs/definition/>).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rusqlite::Connection;
use serde::Serialize;

use crate::archive::digest;
use crate::build::{Base, Builder, Request};
use crate::chroot::{Manifest, Store};
use crate::config::{Config, Isolation};
use crate::error::{Error, Failure, FailureKind};
use crate::record::builds::{self, Build};
use crate::record::chroots::BuiltIn;
use crate::record::jobs::{self, Job};
use crate::record::{chroots, pockets, pool};
use crate::subprocess::CancellationToken;

/// How one package of the first build and one of the second compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// They are the same, bit by bit.
    Same,
    /// They are not.
    Differs,
    /// The second build did not make it.
    Missing,
    /// Only the second build made it.
    Extra,
}

/// One package, compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// The file's name.
    pub file: String,
    /// How it compares.
    pub verdict: Verdict,
}

/// The binary packages in a directory, by name: SHA-256 of each.
pub fn packages_in(dir: &Path) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| is_binary(name)) {
            all.insert(name.to_owned(), digest(&path)?.1);
        }
    }
    Ok(all)
}

/// Whether a file of a version is a binary package, by its name.
pub fn is_binary(name: &str) -> bool {
    [".deb", ".udeb", ".ddeb"].iter().any(|suffix| name.ends_with(suffix))
}

/// Whether a file of a version is one of its source package, by its name.
pub fn is_source(name: &str) -> bool {
    !is_binary(name) && !name.ends_with(".changes") && !name.ends_with(".buildinfo")
}

/// Every package of either build, compared.
pub fn compare(first: &BTreeMap<String, String>, second: &BTreeMap<String, String>) -> Vec<Compared> {
    let names: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    let verdict = |name: &String| match (first.get(name), second.get(name)) {
        (Some(a), Some(b)) if a == b => Verdict::Same,
        (Some(_), Some(_)) => Verdict::Differs,
        (Some(_), None) => Verdict::Missing,
        (None, _) => Verdict::Extra,
    };
    names.into_iter().map(|name| Compared { file: name.clone(), verdict: verdict(name) }).collect()
}

/// Fails if two builds did not give the same.
pub fn demand_same(compared: &[Compared]) -> Result<(), Failure> {
    let other: Vec<&str> =
        compared.iter().filter(|one| one.verdict != Verdict::Same).map(|one| one.file.as_str()).collect();
    if other.is_empty() {
        return Ok(());
    }
    let text = format!("a second build did not give the same {} (require_reproducible)", other.join(", "));
    Err(Failure::new(FailureKind::Unreproducible, text))
}

/// What was installed in one build only, by two `.buildinfo` files (deb-buildinfo(5)): `-` for the first, `+` for the second. Build
/// dependencies come from mirrors and suites as they are now: where they differ, a package that differs says nothing of itself.
pub fn environment(first: &str, second: &str) -> Vec<String> {
    let (first, second) = (installed(first), installed(second));
    let mut lines: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (sign, these, others) in [("-", &first, &second), ("+", &second, &first)] {
        for package in these.difference(others) {
            let name = package.split_whitespace().next().unwrap_or_default();
            lines.entry(name).or_default().push(format!("{sign}{package}"));
        }
    }
    lines.into_values().flatten().collect()
}

/// `Installed-Build-Depends`: one package a line, with its version.
fn installed(buildinfo: &str) -> BTreeSet<&str> {
    let lines = buildinfo.lines().skip_while(|line| !line.starts_with("Installed-Build-Depends:")).skip(1);
    lines.take_while(|line| line.starts_with(' ')).map(|line| line.trim().trim_end_matches(',')).collect()
}

/// What was built once, with all that it takes to build it again.
#[derive(Debug)]
pub struct Original {
    /// The job that built it.
    pub job: Job,
    /// What it was built in.
    pub bases: Vec<Base>,
    /// The files of its source package.
    pub source: Vec<PathBuf>,
    /// Its binary packages, by name: SHA-256 of each.
    pub packages: BTreeMap<String, String>,
    /// Where its files are, by name.
    pub pool: BTreeMap<String, PathBuf>,
}

impl Original {
    /// What this published job, or the one that its packages were copied from, has built. An error if the pool, or the chroots that
    /// it was built in, are gone.
    pub fn of(config: &Config, db: &Connection, job: &Job) -> Result<Self> {
        let (package, version) = (&job.package, &job.version);
        let files = pool::of_version(db, package, version)?;
        // A version that was let go may be another commit's.
        let known = pockets::known(db, package, version)?.filter(|known| known.commit == job.commit);
        let Some(known) = known.filter(|_| !files.is_empty()) else {
            let text = format!("job {} has published nothing that is still in the pool: 'status {0}' shows it", job.id);
            return Err(Error::invalid(text).into());
        };
        // An older release did not say whose build it is. What another attempt of this job was built in says nothing of it.
        let built_by = match builds::of_version(db, package, version)? {
            Some(Build { facts: Some(_), job, .. }) => job,
            _ if chroots::of(db, job.id)?.is_empty() => known.job,
            _ => job.id,
        };
        let store = Store::new(config);
        let mut found = Vec::new();
        for built_in in chroots::of(db, built_by)? {
            let chroot = store.with_digest(&built_in.digest)?.map(Base::Chroot);
            let image = store.image_with_digest(&built_in.digest)?.map(Base::Image);
            found.push(chroot.or(image).ok_or_else(|| {
                Error::unavailable(format!(
                    "the chroot {} that job {built_by} was built in is gone: chroots.keep says how many are kept",
                    built_in.digest.short()
                ))
            })?);
        }
        if found.is_empty() {
            return Err(Error::unavailable(format!("the record does not say what job {built_by} was built in")).into());
        }
        let mut original = Self {
            job: jobs::get(db, built_by)?,
            bases: found,
            source: Vec::new(),
            packages: BTreeMap::new(),
            pool: BTreeMap::new(),
        };
        for file in files {
            let path = config.archive.root.join(&file.path);
            let name = path.file_name().and_then(|name| name.to_str()).context("a file of the pool has a name")?;
            if is_binary(name) {
                original.packages.insert(name.to_owned(), file.sha256);
            } else if is_source(name) {
                original.source.push(path.clone());
            }
            original.pool.insert(name.to_owned(), path);
        }
        Ok(original)
    }

    /// What it takes to build it again with what this request says, but for the source.
    pub fn request(&self, request: Request) -> Result<Request> {
        let dsc = self.source.iter().find(|path| path.extension().is_some_and(|suffix| suffix == "dsc"));
        let dsc = dsc.context("the pool has no source package of it")?.clone();
        Ok(Request { dsc, source_files: self.source.clone(), ..request })
    }

    /// Builds it again in these, and compares.
    pub async fn build_again(
        &self,
        builder: &Builder,
        request: Request,
        bases: &[Base],
        cancel: &CancellationToken,
    ) -> Result<Vec<Compared>, Failure> {
        let request = Request { isolation: isolation(bases), ..self.request(request)? };
        builder.build(&request, bases, cancel).await?;
        Ok(compare(&self.packages, &packages_in(&request.output)?))
    }
}

/// What keeps a build in these from the host.
pub fn isolation(bases: &[Base]) -> Isolation {
    let in_machines = !bases.is_empty() && bases.iter().all(|base| matches!(base, Base::Image(_)));
    if in_machines { Isolation::Vm } else { Isolation::Unshare }
}

/// What the record says of a build in these.
pub fn built_in(bases: &[Base]) -> Vec<BuiltIn> {
    let of =
        |manifest: &Manifest| BuiltIn { architecture: manifest.architecture.clone(), digest: manifest.digest.clone() };
    bases.iter().map(|base| of(base.manifest())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_installed_is_compared() {
        let old =
            "Format: 1.0\nInstalled-Build-Depends:\n a (= 2.71-3),\n b (= 1),\n z (= 3)\nEnvironment:\n A=\"1\"\n";
        let new = old.replace("b (= 1)", "b (= 2)").replace(" z (= 3)", " new (= 1)");
        assert_eq!(environment(old, old), [""; 0]);
        assert_eq!(environment(old, &new), ["-b (= 1)", "+b (= 2)", "+new (= 1)", "-z (= 3)"]);
        assert!(installed("rubbish").is_empty());
    }

    #[test]
    fn packages_are_compared_by_their_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str, files: &[(&str, &str)]| {
            let dir = dir.path().join(name);
            fs::create_dir(&dir).unwrap();
            files.iter().for_each(|(name, text)| fs::write(dir.join(name), text).unwrap());
            packages_in(&dir).unwrap()
        };
        let first = of("a", &[("x.deb", "1"), ("y.deb", "1"), ("z.udeb", "1"), ("x.buildinfo", "1")]);
        let second = of("b", &[("x.deb", "1"), ("y.deb", "2"), ("w.deb", "1"), ("x.buildinfo", "2")]);
        let compared = compare(&first, &second);
        let said: Vec<_> = compared.iter().map(|one| (one.file.as_str(), one.verdict)).collect();
        assert_eq!(
            said,
            [
                ("w.deb", Verdict::Extra),
                ("x.deb", Verdict::Same),
                ("y.deb", Verdict::Differs),
                ("z.udeb", Verdict::Missing)
            ]
        );
        assert_eq!(demand_same(&compare(&first, &first)), Ok(()));
        let failure = demand_same(&compared).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unreproducible);
        assert!(failure.text.contains("w.deb, y.deb, z.udeb"), "{}", failure.text);
    }
}
