//! The settings of pockets, and how the rest of the program finds them.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{self, DurationText, OneOrMany};
use crate::config::{AclEntry, ByteSize, Config, ExecutorSetting, TagPattern};
use crate::domain::SuiteId;
use crate::error::{Error, Failure, FailureKind};
use crate::names::{Architecture, Component, Distro, DomainName, PocketName, Suite};
use crate::text;
use crate::version_rule::VersionRule;

/// `build.pockets.<pocket>:`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pocket {
    /// The domain whose archive has the suite.
    pub domain: DomainName,
    /// The entries that may submit, in order, as in remctld(8); no match denies. One entry may
    /// stand without a list.
    #[serde(deserialize_with = "units::one_or_many")]
    #[schemars(with = "OneOrMany<AclEntry>")]
    pub acl: Vec<AclEntry>,
    // [`Config::suite`] knows the default.
    /// The suite. Default: the pocket's name.
    pub apt: Option<Suite>,
    /// What the suite is for, in one line: Release and the archive's page say it.
    pub description: Option<String>,
    /// The `Codename` of the suite's Release. Default: the suite.
    pub codename: Option<Suite>,
    /// Whether machines take packages of the suite by themselves.
    pub automatic: Automatic,
    // [`Config::branch`] knows the default.
    /// The branch. Default: the pocket's name.
    pub git: Option<String>,
    /// The distribution that the binaries are built in.
    pub distro: Distro,
    /// The components of the suite, the default one first.
    pub components: Vec<Component>,
    /// The architectures of the binaries, without `all`. Default: the host's own.
    pub architectures: Vec<Architecture>,
    /// Whether commit and version may go backwards.
    #[serde(deserialize_with = "crate::truth::truth")]
    #[schemars(with = "crate::truth::TruthText")]
    pub allow_backtracking: bool,
    /// How the version that is built follows from the one that `debian/changelog` has.
    pub version: VersionRule,
    /// What becomes of commits whose last changelog entry says `UNRELEASED`. Default: they are
    /// built, and the job warns of it.
    pub unreleased: Option<Unreleased>,
    /// Where an upstream tarball may come from: the pool has the first word, then the branch
    /// pristine-tar, then a tag of upstream's version.
    pub orig: Vec<OrigSource>,
    /// The number of versions of a package that stay in the suite's indexes.
    pub keep: u32,
    // [`Config::tag`] knows the default.
    /// The pattern of the tags of versions. Default: that of the domain.
    pub tag: Option<TagPattern>,
    // [`Config::build_depends_from`] knows the default.
    /// The pockets whose suites may satisfy build dependencies. Default: the pocket itself.
    pub build_depends_from: Option<Vec<PocketName>>,
    /// The pockets whose builds this one takes as they are, whatever those had that builds of its
    /// own may not have: their users can bring anything into it.
    pub copies_from: Vec<PocketName>,
    /// The isolation of builds from the host. With `schroot` there is none: a package's maintainer
    /// scripts are root on it.
    pub isolation: Isolation,
    // [`Config::executor_of`] knows the default.
    /// Where its builds run. Default: what `executor` says.
    pub executor: Option<ExecutorSetting>,
    /// Whether the service builds everything twice, and publishes it only if both builds gave the
    /// same packages, bit by bit.
    #[serde(deserialize_with = "crate::truth::truth")]
    #[schemars(with = "crate::truth::TruthText")]
    pub require_reproducible: bool,
    /// Whether an `isolation` that is no boundary, which is `schroot`, is an error.
    #[serde(deserialize_with = "crate::truth::truth")]
    #[schemars(with = "crate::truth::TruthText")]
    pub require_isolation: bool,
    /// The pocket's weight: pockets that always have work get places in the proportion of their
    /// shares.
    pub share: u32,
    /// The most of the pocket's jobs that run at once. Default: as many as there are places.
    pub jobs: Option<u32>,
    /// The places of `daemon.jobs`, or of `slurm.jobs` if it builds there, that only it may use.
    /// What runs there is not counted to its share.
    pub reserve: u32,
    /// The entries that may `submit --priority`: before the pocket's other jobs.
    #[serde(deserialize_with = "units::one_or_many")]
    #[schemars(with = "OneOrMany<AclEntry>")]
    pub priority: Vec<AclEntry>,
    /// The limits of a build.
    pub limits: Limits,
}

/// `automatic:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Automatic {
    /// They do.
    Always,
    /// They upgrade what somebody has installed from it: `NotAutomatic` and
    /// `ButAutomaticUpgrades`, as for Debian's backports.
    Upgrades,
    /// They do only when somebody asks for it: `NotAutomatic`, as for Debian's experimental.
    Never,
}

/// `unreleased:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unreleased {
    /// A submission is refused.
    Refuse,
    /// It is as good as any other.
    Allow,
}

/// A place that an upstream tarball may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OrigSource {
    /// The pool, which has it from an earlier version.
    Pool,
    /// The branch pristine-tar.
    PristineTar,
    /// A tag of upstream's version, whose tree becomes the tarball.
    Tag,
}

crate::stored_enum! {
    /// `isolation:`, the weaker before the stronger.
    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum Isolation {
        /// schroot(1), which keeps nothing from the host.
        Schroot = "schroot",
        /// Unprivileged user namespaces.
        Unshare = "unshare",
        /// A virtual machine.
        Vm = "vm",
    }
}

/// `limits:`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The wall-clock time of one build.
    #[serde(with = "units::duration")]
    #[schemars(with = "DurationText")]
    pub time: Duration,
    /// The longest time without a byte of output.
    #[serde(with = "units::duration")]
    #[schemars(with = "DurationText")]
    pub silence: Duration,
    /// The memory of one build.
    pub memory: ByteSize,
    /// The disk space for chroot, build tree and results.
    pub disk: ByteSize,
    /// The processes and threads at one time.
    pub processes: u64,
    /// The length of the build log.
    pub log: ByteSize,
}

impl Default for Pocket {
    fn default() -> Self {
        Self {
            domain: DomainName::main(),
            acl: Vec::new(),
            apt: None,
            description: None,
            codename: None,
            automatic: Automatic::Always,
            git: None,
            distro: "trixie".parse().expect("a valid name"),
            components: vec!["main".parse().expect("a valid name")],
            architectures: Vec::new(),
            allow_backtracking: false,
            version: VersionRule::default(),
            unreleased: None,
            orig: vec![OrigSource::Pool, OrigSource::PristineTar, OrigSource::Tag],
            keep: 1,
            tag: None,
            build_depends_from: None,
            copies_from: Vec::new(),
            isolation: Isolation::Unshare,
            executor: None,
            require_reproducible: false,
            require_isolation: false,
            share: 1,
            jobs: None,
            reserve: 0,
            priority: Vec::new(),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(2 * 3600),
            silence: Duration::from_secs(30 * 60),
            memory: ByteSize(8 << 30),
            disk: ByteSize(20 << 30),
            processes: 4096,
            log: ByteSize(256 << 20),
        }
    }
}

impl Pocket {
    /// Says why builds of this pocket may not run at all: it wants to be isolated, and has an
    /// isolation that is none.
    pub fn contradiction(&self) -> Option<&'static str> {
        (self.require_isolation && self.isolation == Isolation::Schroot).then_some(
            "the pocket says require_isolation, and schroot isolates nothing: use unshare or vm",
        )
    }

    /// Says what the administrator should know of this pocket's `isolation`.
    pub fn caveat(&self) -> Option<&'static str> {
        (self.isolation == Isolation::Schroot).then_some(
            "in a schroot the maintainer scripts of build dependencies are root on this machine, and builds have its \
             network: for packages that you trust",
        )
    }

    /// Lists what the administrator should know of all that this pocket's configuration says.
    pub fn caveats(&self) -> Vec<String> {
        let copies = (!self.copies_from.is_empty()).then(|| {
            let from: Vec<&str> = self.copies_from.iter().map(PocketName::as_str).collect();
            format!(
                "copies_from: what {} has built comes here as it is, whatever it was built with: whoever may submit there can \
                 bring anything into this pocket",
                from.join(" or ")
            )
        });
        self.caveat().map(str::to_owned).into_iter().chain(copies).collect()
    }
}

/// A pocket that is configured: its name and its settings. Only a look-up that found it makes one,
/// so code that has one need not ask again.
#[derive(Debug, Clone, Copy)]
pub struct ConfiguredPocket<'a> {
    name: &'a PocketName,
    settings: &'a Pocket,
}

impl<'a> ConfiguredPocket<'a> {
    /// Returns the name.
    pub fn name(self) -> &'a PocketName {
        self.name
    }

    /// Returns what the configuration says of it.
    pub fn settings(self) -> &'a Pocket {
        self.settings
    }

    /// Returns the domain.
    pub fn domain(self) -> &'a DomainName {
        &self.settings.domain
    }

    /// Names the suite.
    pub fn suite(self) -> SuiteId {
        let suite = self.settings.apt.clone().unwrap_or_else(|| own_suite(self.name));
        SuiteId { domain: self.settings.domain.clone(), suite }
    }

    /// Returns the branch, without `refs/heads/`.
    pub fn branch(self) -> String {
        self.settings.git.clone().unwrap_or_else(|| self.name.to_string())
    }
}

impl fmt::Display for ConfiguredPocket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// Returns the suite of a pocket for which the configuration names none.
fn own_suite(pocket: &PocketName) -> Suite {
    pocket.as_str().parse().expect("a pocket name is a valid suite name")
}

impl Config {
    /// Lists the pockets, by name.
    pub fn pockets(&self) -> impl Iterator<Item = ConfiguredPocket<'_>> {
        self.build.pockets.iter().map(|(name, settings)| ConfiguredPocket { name, settings })
    }

    /// Finds the pocket of this name, if it is configured.
    pub fn find_pocket(&self, name: &PocketName) -> Option<ConfiguredPocket<'_>> {
        let (name, settings) = self.build.pockets.get_key_value(name)?;
        Some(ConfiguredPocket { name, settings })
    }

    /// Finds the pocket of a name that somebody wrote. The error lists those there are.
    pub fn pocket(&self, name: &str) -> Result<ConfiguredPocket<'_>, Error> {
        self.pockets().find(|pocket| pocket.name.as_str() == name).ok_or_else(|| {
            let known: Vec<&str> = self.build.pockets.keys().map(PocketName::as_str).collect();
            Error::invalid(format!(
                "there is no pocket {}: the pockets are {}",
                text::quoted(name),
                known.join(", ")
            ))
        })
    }

    /// Finds the pocket that a job is for. If it is configured no longer, the job is not valid.
    pub fn pocket_of_job(&self, name: &PocketName) -> Result<ConfiguredPocket<'_>, Failure> {
        self.pocket(name.as_str())
            .map_err(|error| Failure::new(FailureKind::Invalid, error.to_string()))
    }

    /// Names the suite of a pocket. One that is not configured any more, which jobs may still name,
    /// had one of its own name in main if nothing else was said.
    pub fn suite(&self, pocket: &PocketName) -> SuiteId {
        let lost = || SuiteId::main(own_suite(pocket));
        self.find_pocket(pocket).map_or_else(lost, ConfiguredPocket::suite)
    }

    /// Returns the branch of a pocket, without `refs/heads/`, by the same rule.
    pub fn branch(&self, pocket: &PocketName) -> String {
        self.find_pocket(pocket).map_or_else(|| pocket.to_string(), ConfiguredPocket::branch)
    }

    /// Lists the pockets whose suites may satisfy build dependencies of `pocket`.
    pub fn build_depends_from<'a>(
        &'a self,
        pocket: ConfiguredPocket<'a>,
    ) -> Vec<ConfiguredPocket<'a>> {
        match &pocket.settings.build_depends_from {
            None => vec![pocket],
            // A configuration that loads names none but configured ones.
            Some(names) => names.iter().filter_map(|name| self.find_pocket(name)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::pockets::*;

    #[test]
    fn only_what_is_configured_is_found() {
        let config: Config = serde_yaml::from_str(
            "build: { pockets: { dev: { apt: unstable, git: main }, prod: { build_depends_from: [dev, gone] } } }",
        )
        .unwrap();
        let gone: PocketName = "gone".parse().unwrap();
        assert!(config.find_pocket(&gone).is_none());
        let failure = config.pocket_of_job(&gone).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Invalid);
        assert_eq!(failure.text, "there is no pocket 'gone': the pockets are dev, prod");
        assert_eq!(
            (config.suite(&gone).to_string(), &*config.branch(&gone)),
            ("gone".to_owned(), "gone")
        );

        let (dev, prod) = (config.pocket("dev").unwrap(), config.pocket("prod").unwrap());
        assert_eq!((&*dev.suite().to_string(), &*dev.branch()), ("unstable", "main"));
        assert_eq!((&*prod.suite().to_string(), &*prod.branch()), ("prod", "prod"));
        let builds_from = |pocket| -> Vec<&str> {
            let from = config.build_depends_from(pocket).into_iter();
            from.map(|from| from.name().as_str()).collect()
        };
        assert_eq!((builds_from(dev), builds_from(prod)), (vec!["dev"], vec!["dev"]));
    }
}
