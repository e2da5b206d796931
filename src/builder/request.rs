//! What a build is asked for.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;

use crate::proxy::{Ledger, LocalSuite};
use invirtibuilder_core::config::{Config, ConfiguredPocket, Isolation, Limits, Pocket};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::names::{Architecture, Distro, PackageName, PocketName, Version};
use invirtibuilder_system::architectures::{self, Binaries, Table};

/// What is to be built, and how.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The source package's `.dsc`.
    pub dsc: PathBuf,
    /// All of its files, the `.dsc` among them.
    pub source_files: Vec<PathBuf>,
    /// The source package.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// The distro to build in.
    pub distro: Distro,
    /// The pocket that it is for.
    pub pocket: PocketName,
    /// The architectures of the pocket: those of them are built that the source package names, and
    /// `all` with the first.
    pub architectures: Vec<Architecture>,
    /// Suites of our own that may satisfy build dependencies.
    pub local: Vec<LocalSuite>,
    /// Names of the binary packages in those, and what they provide: where one of these is among
    /// the build dependencies, they are installed anew. `None`: they are in any case.
    pub others: Option<HashSet<String>>,
    /// Which packages of those suites the build was given, once it has run.
    pub given: Ledger,
    /// What keeps the build from the host.
    pub isolation: Isolation,
    /// What the build may use.
    pub limits: Limits,
    /// An empty directory of the job's own.
    pub scratch: PathBuf,
    /// An empty directory, which then holds the binaries, the `.changes` and the source package.
    pub output: PathBuf,
    /// The log to append to.
    pub log: PathBuf,
}

/// Where a build works.
#[derive(Debug)]
pub struct BuildPaths {
    /// As in [`BuildRequest`].
    pub scratch: PathBuf,
    /// As in [`BuildRequest`].
    pub output: PathBuf,
    /// As in [`BuildRequest`].
    pub log: PathBuf,
}

impl BuildRequest {
    /// Returns what a configured pocket says of a build. The source package is still to be named.
    pub fn new(
        config: &Config,
        pocket: ConfiguredPocket,
        (package, version): (&PackageName, &Version),
        architectures: Vec<Architecture>,
        places: BuildPaths,
    ) -> Self {
        let local = config.build_depends_from(pocket).into_iter().filter_map(|from| {
            // A configuration that loads describes all of them.
            let archive = config.archive_of(from.domain())?;
            Some(LocalSuite {
                root: archive.root.clone(),
                suite: from.suite(),
                components: from.settings().components.clone(),
                key: archive.public_key(),
            })
        });
        let Pocket { distro, isolation, limits, .. } = pocket.settings();
        Self {
            dsc: PathBuf::new(),
            source_files: Vec::new(),
            package: package.clone(),
            version: version.clone(),
            pocket: pocket.name().clone(),
            distro: distro.clone(),
            architectures,
            local: local.collect(),
            others: None,
            given: Ledger::default(),
            isolation: *isolation,
            limits: limits.clone(),
            scratch: places.scratch,
            output: places.output,
            log: places.log,
        }
    }

    /// Adds a line of ours to the log.
    pub fn say(&self, line: &str) -> anyhow::Result<()> {
        let mut log = File::options().append(true).create(true).open(&self.log)?;
        Ok(writeln!(log, "{line}")?)
    }

    /// Copies the source package to what was built.
    pub(crate) fn keep_source(&self) -> Result<(), Failure> {
        for file in &self.source_files {
            let name = file.file_name().context("a source file has a name")?;
            fs::copy(file, self.output.join(name))?;
        }
        Ok(())
    }

    /// Lists what has to be built on these architectures, and in which order.
    pub(crate) fn to_build(
        &self,
        on: &[Architecture],
    ) -> Result<Vec<(Architecture, Binaries)>, Failure> {
        let named = self.named()?;
        let words: Vec<&str> = named.split_whitespace().collect();
        let all = architectures::to_build(&Table::read()?, &words, on);
        if all.is_empty() {
            let text = architectures::nothing_for(&self.pocket, &words, on);
            return Err(Failure::new(FailureKind::Invalid, text));
        }
        Ok(all)
    }

    /// Says in a sentence for which architectures of the pocket nothing is built; `None`: there is
    /// none.
    pub fn left_out(&self) -> Result<Option<String>, Failure> {
        let named = self.named()?;
        let words: Vec<&str> = named.split_whitespace().collect();
        Ok(architectures::left_out(&Table::read()?, &words, &self.architectures))
    }

    /// Reads which architectures the source package names.
    fn named(&self) -> Result<String, Failure> {
        let dsc = fs::read_to_string(&self.dsc)?;
        let field = dsc.lines().find_map(|line| line.strip_prefix("Architecture:"));
        Ok(field.unwrap_or_default().to_owned())
    }
}
