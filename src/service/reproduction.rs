//! Builds again what was built, in the same chroots, and compares the packages bit by bit.
//!
//! Whoever gets the same packages from the same source knows that nothing but that source is in
//! them (<https://reproducible-builds.org/docs/definition/>).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rusqlite::Connection;

use invirtibuilder_api::builds::{Build, BuiltIn, ComparedPackage, PackageVerdict};
use invirtibuilder_api::job::Job;
use invirtibuilder_archive::Archive;
use invirtibuilder_builder::{BuildRequest, Builder, Target};
use invirtibuilder_core::config::{Config, Isolation};
use invirtibuilder_core::error::{Error, Failure, FailureKind};
use invirtibuilder_core::facts::{is_binary, is_source};
use invirtibuilder_core::manifest::Manifest;
use invirtibuilder_environment::{Environment, Store};
use invirtibuilder_store::builds;
use invirtibuilder_store::chroots;
use invirtibuilder_store::jobs;
use invirtibuilder_store::{pockets, pool};
use invirtibuilder_system::files::digest;
use invirtibuilder_system::subprocess::CancellationToken;

/// Lists the binary packages in a directory, by name: SHA-256 of each.
pub fn packages_in(dir: &Path) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if let Some(name) =
            path.file_name().and_then(|name| name.to_str()).filter(|name| is_binary(name))
        {
            all.insert(name.to_owned(), digest(&path)?.1);
        }
    }
    Ok(all)
}

/// Lists every package of either build, compared.
pub fn compare(
    first: &BTreeMap<String, String>,
    second: &BTreeMap<String, String>,
) -> Vec<ComparedPackage> {
    let names: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    let verdict = |name: &String| match (first.get(name), second.get(name)) {
        (Some(a), Some(b)) if a == b => PackageVerdict::Same,
        (Some(_), Some(_)) => PackageVerdict::Differs,
        (Some(_), None) => PackageVerdict::Missing,
        (None, _) => PackageVerdict::Extra,
    };
    names
        .into_iter()
        .map(|name| ComparedPackage { file: name.clone(), verdict: verdict(name) })
        .collect()
}

/// Fails if two builds did not give the same.
pub fn demand_same(compared: &[ComparedPackage]) -> Result<(), Failure> {
    let other: Vec<&str> = compared
        .iter()
        .filter(|one| one.verdict != PackageVerdict::Same)
        .map(|one| one.file.as_str())
        .collect();
    if other.is_empty() {
        return Ok(());
    }
    let text =
        format!("a second build did not give the same {} (require_reproducible)", other.join(", "));
    Err(Failure::new(FailureKind::Unreproducible, text))
}

/// Lists what was installed in one build only, by two `.buildinfo` files (deb-buildinfo(5)): `-`
/// for the first, `+` for the second. Build dependencies come from mirrors and suites as they are
/// now: where they differ, a package that differs says nothing of itself.
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
    let lines =
        buildinfo.lines().skip_while(|line| !line.starts_with("Installed-Build-Depends:")).skip(1);
    lines
        .take_while(|line| line.starts_with(' '))
        .map(|line| line.trim().trim_end_matches(','))
        .collect()
}

/// What was built once, with all that it takes to build it again.
#[derive(Debug)]
pub struct Original {
    /// The job that built it.
    pub job: Job,
    /// The chroots or images that it was built in.
    pub environments: Vec<Environment>,
    /// The files of its source package.
    pub source: Vec<PathBuf>,
    /// Its binary packages, by name: SHA-256 of each.
    pub packages: BTreeMap<String, String>,
    /// Where its files are, by name.
    pub pool: BTreeMap<String, PathBuf>,
}

impl Original {
    /// Returns what this published job, or the one that its packages were copied from, has built.
    /// It is an error if the pool, or the chroots that it was built in, are gone.
    pub fn of(config: &Config, db: &Connection, job: &Job) -> Result<Self> {
        let id = &job.identity();
        let files = pool::of_version(db, id)?;
        let known = pockets::version_of_job(db, job)?;
        let Some(known) = known.filter(|_| !files.is_empty()) else {
            let text = format!(
                "job {} has published nothing that is still in the pool: 'status {0}' shows it",
                job.id
            );
            return Err(Error::invalid(text).into());
        };
        // An older release did not say whose build it is. What another attempt of this job was
        // built in says nothing of it.
        let built_by = match builds::of_version(db, id)? {
            Some(Build { facts: Some(_), job, .. }) => job,
            _ if chroots::chroots_of_job(db, job.id)?.is_empty() => known.job,
            _ => job.id,
        };
        let store = Store::new(config);
        let mut found = Vec::new();
        for built_in in chroots::chroots_of_job(db, built_by)? {
            found.push(store.environment(&built_in.digest)?.ok_or_else(|| {
                Error::unavailable(format!(
                    "the chroot {} that job {built_by} was built in is gone: chroots.keep says how many are kept",
                    built_in.digest.short()
                ))
            })?);
        }
        if found.is_empty() {
            return Err(Error::unavailable(format!(
                "the record does not say what job {built_by} was built in"
            ))
            .into());
        }
        let mut original = Self {
            job: jobs::get(db, built_by)?,
            environments: found,
            source: Vec::new(),
            packages: BTreeMap::new(),
            pool: BTreeMap::new(),
        };
        let archive = Archive::open(config, &id.domain)?;
        for file in files {
            let path = archive.root().join(&file.path);
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .context("a file of the pool has a name")?;
            if is_binary(name) {
                original.packages.insert(name.to_owned(), file.sha256);
            } else if is_source(name) {
                original.source.push(path.clone());
            }
            original.pool.insert(name.to_owned(), path);
        }
        Ok(original)
    }

    /// Returns what it takes to build it again with what this request says, but for the source.
    pub fn request(&self, request: BuildRequest) -> Result<BuildRequest> {
        let dsc =
            self.source.iter().find(|path| path.extension().is_some_and(|suffix| suffix == "dsc"));
        let dsc = dsc.context("the pool has no source package of it")?.clone();
        Ok(BuildRequest { dsc, source_files: self.source.clone(), ..request })
    }

    /// Builds it again in these chroots or images, and compares.
    pub async fn build_again(
        &self,
        builder: &Builder,
        request: BuildRequest,
        environments: &[Environment],
        cancel: &CancellationToken,
    ) -> Result<Vec<ComparedPackage>, Failure> {
        let request = BuildRequest { isolation: isolation(environments), ..self.request(request)? };
        builder.build(&request, &builder.targets_in(&request, environments)?, cancel).await?;
        Ok(compare(&self.packages, &packages_in(&request.output)?))
    }
}

/// Names what keeps a build in these chroots or images from the host.
pub fn isolation(environments: &[Environment]) -> Isolation {
    let is_image = |it: &Environment| matches!(it, Environment::Image(_));
    if !environments.is_empty() && environments.iter().all(is_image) {
        Isolation::Vm
    } else {
        Isolation::Unshare
    }
}

/// Lists the chroots and images that targets are built in: none where schroot(1) has them.
pub fn environments(targets: &[Target]) -> Vec<Environment> {
    targets.iter().filter_map(|target| target.environment.clone()).collect()
}

/// Writes chroots and images as the record keeps what a build was made in.
pub fn built_in(environments: &[Environment]) -> Vec<BuiltIn> {
    let of = |manifest: &Manifest| BuiltIn {
        architecture: manifest.architecture.clone(),
        digest: manifest.digest.clone(),
    };
    environments.iter().map(|environment| of(environment.manifest())).collect()
}

#[cfg(test)]
mod tests {
    use crate::reproduction::*;

    #[test]
    fn what_was_installed_is_compared() {
        let old = "Format: 1.0\nInstalled-Build-Depends:\n a (= 2.71-3),\n b (= 1),\n z (= 3)\nEnvironment:\n A=\"1\"\n";
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
        let first =
            of("a", &[("x.deb", "1"), ("y.deb", "1"), ("z.udeb", "1"), ("x.buildinfo", "1")]);
        let second =
            of("b", &[("x.deb", "1"), ("y.deb", "2"), ("w.deb", "1"), ("x.buildinfo", "2")]);
        let compared = compare(&first, &second);
        let said: Vec<_> = compared.iter().map(|one| (one.file.as_str(), one.verdict)).collect();
        assert_eq!(
            said,
            [
                ("w.deb", PackageVerdict::Extra),
                ("x.deb", PackageVerdict::Same),
                ("y.deb", PackageVerdict::Differs),
                ("z.udeb", PackageVerdict::Missing)
            ]
        );
        assert_eq!(demand_same(&compare(&first, &first)), Ok(()));
        let failure = demand_same(&compared).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unreproducible);
        assert!(failure.text.contains("w.deb, y.deb, z.udeb"), "{}", failure.text);
    }
}
