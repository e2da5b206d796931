//! The configuration, as the rest of the program sees it: complete, checked, with every default
//! filled in.
//!
//! `invirtibuilder.yaml.5` and the annotated example document the keys; [`load()`] reads the files.
//! The comments of the types are what the schema and the manual say of each key: they are for the
//! administrator.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

mod acl;
pub mod archive;
mod check;
pub mod chroots;
mod domains;
mod executor;
pub mod http;
mod load;
mod places;
mod pockets;
mod schema;
mod tag;
mod units;

use crate::names::{DomainName, PackageName, PocketName};
pub use acl::AclEntry;
pub use archive::{Keep, SigningCommand, SigningKey};
pub use chroots::{AptSourceConfig, Chroots, Definition};
pub use executor::{Constraint, ExecutorSetting, SlurmPlace, SlurmSettings};
pub use http::{Http, HttpReaders, Network, Tls};
pub use load::{ConfigProblem, files, fingerprint, load, path, problem};
pub use places::ConfigPlace;
pub use pockets::{Automatic, ConfiguredPocket, Isolation, Limits, OrigSource, Pocket, Unreleased};
pub use schema::schema;
pub use tag::TagPattern;
pub use units::{ByteSize, read_duration};
use units::{DurationText, OneOrMany, PathText};

/// All settings of `config.yaml` and `conf.d`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "The configuration of Invirtibuilder")]
pub struct Config {
    /// The directory that holds database, logs, work and chroots.
    #[schemars(with = "PathText")]
    pub state_dir: PathBuf,
    /// The realm of principals written without one. Default: that of krb5.conf(5).
    pub realm: Option<String>,
    /// The Git repositories.
    pub git: Git,
    /// The APT archive of the domain main.
    #[serde(deserialize_with = "archive::of_main")]
    pub archive: ArchiveConfig,
    /// The archives of other domains, by the domain's name. Each shares nothing with another one.
    pub archives: BTreeMap<DomainName, ArchiveConfig>,
    /// The pockets and the identity that signs Git objects: Invirt's section.
    pub build: BuildConfig,
    /// The settings of the programs that entries of an ACL name, and lists of such entries.
    pub acl: AclPrograms,
    /// The chroots that builds run in.
    pub chroots: Chroots,
    /// The hook scripts.
    pub hooks: Hooks,
    /// The daemon itself.
    pub daemon: DaemonConfig,
    /// Where builds run, for pockets that do not say it themselves.
    pub executor: ExecutorSetting,
    /// How the daemon and the nodes of a Slurm cluster reach each other. Default: no pocket can
    /// build on Slurm.
    pub slurm: Option<SlurmSettings>,
    /// The limits of what clients may take up.
    pub clients: Clients,
    /// The pages and the API. Default: there are none.
    pub http: Option<Http>,
    /// The directory of the sockets at which `invirtibuilder-api` answers.
    #[schemars(with = "PathText")]
    pub run_dir: PathBuf,
    /// The logins by ssh.
    pub ssh: Ssh,
    /// The system log.
    pub syslog: Syslog,
}

/// `git:`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Git {
    /// The directory of the bare package repositories, `<package>.git`.
    #[schemars(with = "PathText")]
    pub packages: PathBuf,
    /// The bare superproject.
    #[schemars(with = "PathText")]
    pub superproject: PathBuf,
    /// The URL that `.gitmodules` gives for a package; `{package}` stands for its name.
    pub submodule_url: String,
    /// The longest pack that one push may bring. `init` writes it into every repository.
    pub max_push: ByteSize,
    /// The room that one repository may take on the disk. A hook refuses pushes that make it take
    /// more.
    pub max_repository: ByteSize,
    /// Whether the archive's first key that can signs the tags of versions.
    #[serde(deserialize_with = "crate::truth::truth")]
    #[schemars(with = "crate::truth::TruthText")]
    pub sign_tags: bool,
    /// The pattern of the tags of versions.
    pub tag: TagPattern,
}

impl Git {
    /// Returns the path of the bare repository of a package.
    pub fn package(&self, package: &PackageName) -> PathBuf {
        self.packages.join(format!("{package}.git"))
    }
}

/// `archive:`, and each of `archives:`, which has no default for `root` and `signing_key`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default = "ArchiveConfig::unplaced")]
pub struct ArchiveConfig {
    /// The directory that holds `dists/` and `pool/`. Default for `archive`: `/srv/apt`; another
    /// domain has none.
    #[schemars(with = "PathText")]
    pub root: PathBuf,
    /// The URL at which clients find `root`, such as `https://apt.example.org`: Release says by it
    /// where changelogs are. Without it only clients on this machine find them.
    pub url: Option<String>,
    /// The `Origin` of every Release file.
    pub origin: String,
    /// The `Label` of every Release file.
    pub label: String,
    /// The keys that sign, one or several. Default for `archive`:
    /// `/etc/invirtibuilder/archive-key.asc`; another domain has none.
    #[serde(deserialize_with = "archive::signing_keys")]
    #[schemars(with = "OneOrMany<SigningKey>")]
    pub signing_key: Vec<SigningKey>,
    /// The time for which a Release is valid. The daemon signs it again when half of the time is
    /// over. Default: for ever.
    #[serde(with = "units::some_duration")]
    #[schemars(with = "DurationText")]
    pub valid_for: Option<Duration>,
    /// The published states of a suite that `archive gc` leaves.
    pub keep: Keep,
    /// The last states of a suite that have a URL of their own, `snapshot/TIME/`.
    pub states: u32,
    // [`Config::tag`] knows the default.
    /// The pattern of the tags of versions in this domain. Default: that of `git.tag`.
    pub tag: Option<TagPattern>,
    /// The domain's weight: domains that always have work get places in the proportion of their
    /// shares, and divide those among their pockets.
    pub share: u32,
    /// The stronger domains: pockets of this one may build with suites of theirs.
    pub builds_from: Vec<DomainName>,
}

impl ArchiveConfig {
    /// Returns the URL at which clients find the archive.
    pub fn clients_url(&self) -> String {
        match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("file:{}", crate::text::one_line(&self.root.display().to_string())),
        }
    }
}

/// `build:`, Invirt's section.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BuildConfig {
    /// The person or service that tags and commits.
    pub tagger: Tagger,
    /// The jobs that one principal may have queued and running at a time. Default: any number.
    pub open_jobs: Option<u32>,
    /// The pockets by name.
    pub pockets: BTreeMap<PocketName, Pocket>,
}

/// `build.tagger:`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tagger {
    /// The name of the tagger and committer.
    pub name: String,
    /// The mail address of the tagger and committer.
    pub email: String,
}

/// `acl:`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AclPrograms {
    /// The entries that may create package repositories.
    #[serde(deserialize_with = "units::one_or_many")]
    #[schemars(with = "OneOrMany<AclEntry>")]
    pub create_repo: Vec<AclEntry>,
    /// The entries that may read others' decisions (`acl check`, `acl show`).
    #[serde(deserialize_with = "units::one_or_many")]
    #[schemars(with = "OneOrMany<AclEntry>")]
    pub admins: Vec<AclEntry>,
    /// The entries that may cancel any job.
    #[serde(deserialize_with = "units::one_or_many")]
    #[schemars(with = "OneOrMany<AclEntry>")]
    pub operators: Vec<AclEntry>,
    /// The program that resolves `system:` and other Invirt locators.
    #[schemars(with = "Option<PathText>")]
    pub locator_command: Option<PathBuf>,
    /// How long an entry's program may run.
    #[serde(with = "units::duration")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
    /// How long its answer holds; nothing is kept at 0.
    #[serde(with = "units::duration")]
    #[schemars(with = "DurationText")]
    pub cache: Duration,
}

/// `hooks:`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hooks {
    /// The directory of the `<event>.d` directories.
    #[schemars(with = "PathText")]
    pub dir: PathBuf,
    /// How long one hook may run.
    #[serde(with = "units::duration")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
}

/// `daemon:`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DaemonConfig {
    /// The number of jobs that run side by side.
    pub jobs: usize,
}

/// `clients:`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Clients {
    /// The commands of one principal at one time that stay as long as a job, or as their reader:
    /// `--wait`, `--follow` and `log`.
    pub followers: u32,
}

/// `ssh:`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ssh {
    /// A directory of files named for principals, or a YAML map, with everybody's public keys.
    /// Default: nobody has one.
    #[schemars(with = "Option<PathText>")]
    pub keys: Option<PathBuf>,
}

/// `syslog:`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Syslog {
    /// The facility as in syslog(3), lower-case, without `LOG_`.
    pub facility: String,
    /// The socket of the system logger.
    #[schemars(with = "PathText")]
    pub socket: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/invirtibuilder".into(),
            realm: None,
            git: Git::default(),
            archive: ArchiveConfig::default(),
            archives: BTreeMap::new(),
            build: BuildConfig::default(),
            acl: AclPrograms::default(),
            chroots: Chroots::default(),
            hooks: Hooks::default(),
            daemon: DaemonConfig::default(),
            executor: ExecutorSetting::Local,
            slurm: None,
            clients: Clients::default(),
            http: None,
            run_dir: "/run/invirtibuilder".into(),
            ssh: Ssh::default(),
            syslog: Syslog::default(),
        }
    }
}

impl Default for Git {
    fn default() -> Self {
        Self {
            packages: "/srv/git/packages".into(),
            superproject: "/srv/git/packages.git".into(),
            submodule_url: "../packages/{package}.git".into(),
            max_push: ByteSize(2 << 30),
            max_repository: ByteSize(20 << 30),
            sign_tags: false,
            tag: TagPattern::default(),
        }
    }
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        Self {
            root: "/srv/apt".into(),
            url: None,
            origin: "Invirtibuilder".into(),
            label: "Invirtibuilder".into(),
            signing_key: vec![SigningKey::File("/etc/invirtibuilder/archive-key.asc".into())],
            valid_for: None,
            keep: Keep::default(),
            states: 8,
            tag: None,
            share: 1,
            builds_from: Vec::new(),
        }
    }
}

impl Default for Tagger {
    fn default() -> Self {
        Self { name: "Build Server".into(), email: "root@localhost".into() }
    }
}

impl Default for AclPrograms {
    fn default() -> Self {
        Self {
            create_repo: Vec::new(),
            admins: Vec::new(),
            operators: Vec::new(),
            locator_command: None,
            timeout: Duration::from_secs(10),
            cache: Duration::from_secs(60),
        }
    }
}

impl Default for Hooks {
    fn default() -> Self {
        Self { dir: "/etc/invirtibuilder/hooks".into(), timeout: Duration::from_secs(5 * 60) }
    }
}

impl Default for DaemonConfig {
    fn default() -> Self {
        Self { jobs: 2 }
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self { followers: 50 }
    }
}

impl Default for Syslog {
    fn default() -> Self {
        Self { facility: "daemon".into(), socket: "/dev/log".into() }
    }
}

impl Config {
    /// Returns the path of the database file.
    pub fn database(&self) -> PathBuf {
        self.state_dir.join("invirtibuilder.db")
    }

    /// Returns the directory of one job's logs.
    pub fn job_logs(&self, job: crate::names::JobId) -> PathBuf {
        self.state_dir.join("logs").join(job.to_string())
    }

    /// Returns the path of the build log of one attempt of a job.
    pub fn attempt_log(&self, job: crate::names::JobId, attempt: i64) -> PathBuf {
        self.job_logs(job).join(format!("build.{attempt}.log"))
    }

    /// Returns the path of the build log of a job: its last attempt's.
    pub fn build_log(&self, job: crate::names::JobId) -> PathBuf {
        self.job_logs(job).join("build.log")
    }

    /// Returns the path of the datagram socket on which requests wake the daemon.
    pub fn wake_socket(&self) -> PathBuf {
        self.state_dir.join("wake")
    }

    /// Returns the directory that chroots are kept in.
    pub fn chroot_dir(&self) -> PathBuf {
        self.chroots.dir.clone().unwrap_or_else(|| self.state_dir.join("chroots"))
    }

    /// Returns the path of the file in which those who follow jobs lock their bytes.
    pub fn followers(&self) -> PathBuf {
        self.state_dir.join("followers")
    }

    /// Returns the path of the file in which the daemon notes what holds builds to their limits.
    pub fn limits_note(&self) -> PathBuf {
        self.state_dir.join("limits")
    }

    /// Returns the path of the file in which the daemon notes that machines do not start with KVM,
    /// if they do not.
    pub fn kvm_note(&self) -> PathBuf {
        self.state_dir.join("kvm")
    }

    /// Returns how many bytes a build may write in memory.
    pub fn in_memory(&self) -> u64 {
        let shared = || {
            let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
            let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some((kib << 10) / 2 / self.daemon.jobs.max(1) as u64)
        };
        self.chroots.in_memory.map(|size| size.0).or_else(shared).unwrap_or(u64::MAX)
    }

    /// Returns the directory in which jobs work; everything in it may be deleted when no daemon
    /// runs.
    pub fn scratch(&self) -> PathBuf {
        self.chroots.scratch.clone().unwrap_or_else(|| self.state_dir.join("work"))
    }
}

/// Returns the path of the configuration when neither `--config` nor the environment names another.
pub fn default_path() -> &'static Path {
    Path::new("/etc/invirtibuilder/config.yaml")
}
