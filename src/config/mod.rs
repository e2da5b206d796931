//! The configuration, as the rest of the program sees it: complete, checked, with every default filled in.
//!
//! The keys are documented in `invirtibuilder.yaml.5` and in the annotated example; [`load()`] reads the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::names::{Architecture, Component, Distro, PackageName, PocketName, Suite};

mod acl;
mod archive;
mod check;
mod chroots;
mod load;
mod places;
mod units;

pub use acl::AclEntry;
pub use archive::{Keep, SigningCommand, SigningKey};
pub use chroots::{Chroots, Definition, Source};
pub use load::{Problem, fingerprint, load, path, problem};
pub use places::Place;
pub use units::ByteSize;

/// Everything that `config.yaml` and `conf.d` say.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Database, logs, work and chroots live below this directory.
    pub state_dir: PathBuf,
    /// Realm for principals written without one; `None` is krb5.conf's default realm.
    pub realm: Option<String>,
    /// Where the Git repositories are.
    pub git: Git,
    /// The APT archive.
    pub archive: Archive,
    /// Pockets and the identity that signs Git objects: Invirt's section.
    pub build: Build,
    /// How the programs that entries of an ACL name are run.
    pub acl: AclPrograms,
    /// Chroots that builds run in.
    pub chroots: Chroots,
    /// Hook scripts.
    pub hooks: Hooks,
    /// The daemon itself.
    pub daemon: Daemon,
    /// What those who ask may take up.
    pub clients: Clients,
    /// The status pages; `None`: not served.
    pub http: Option<Http>,
    /// Logins by ssh.
    pub ssh: Ssh,
    /// The system log.
    pub syslog: Syslog,
}

/// `git:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Git {
    /// Directory of the bare package repositories, `<package>.git`.
    pub packages: PathBuf,
    /// The bare superproject.
    pub superproject: PathBuf,
    /// URL that `.gitmodules` gives for a package; `{package}` stands for its name.
    pub submodule_url: String,
    /// Longest pack that one push may bring. `init` writes it into every repository.
    pub max_push: ByteSize,
    /// Room that one repository may take on the disk. Pushes that make it take more are refused.
    pub max_repository: ByteSize,
    /// Whether the archive's first key that can signs the tags of versions.
    pub sign_tags: bool,
}

impl Git {
    /// The bare repository of a package.
    pub fn package(&self, package: &PackageName) -> PathBuf {
        self.packages.join(format!("{package}.git"))
    }
}

/// `archive:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Archive {
    /// Directory that holds `dists/` and `pool/`.
    pub root: PathBuf,
    /// Where clients find `root`, such as `https://apt.example.org`: Release says by it where changelogs are. Without it only
    /// clients on this machine find them.
    pub url: Option<String>,
    /// `Origin` of every Release file.
    pub origin: String,
    /// `Label` of every Release file.
    pub label: String,
    /// The keys that sign, one or several.
    #[serde(deserialize_with = "archive::signing_keys")]
    pub signing_key: Vec<SigningKey>,
    /// How long a Release is valid; `None`: for ever. The daemon signs anew when half of it is over.
    #[serde(deserialize_with = "units::some_duration")]
    pub valid_for: Option<Duration>,
    /// Which published states of a suite `archive gc` leaves.
    pub keep: Keep,
}

/// `build:`, Invirt's section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Build {
    /// Who tags and commits.
    pub tagger: Tagger,
    /// Jobs that one principal may have queued and running at a time; `None`: any number.
    pub open_jobs: Option<u32>,
    /// The pockets by name.
    pub pockets: BTreeMap<PocketName, Pocket>,
}

/// `build.tagger:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tagger {
    /// Name of the tagger and committer.
    pub name: String,
    /// Its mail address.
    pub email: String,
}

/// `build.pockets.<pocket>:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pocket {
    /// Entries in order, as in remctld(8); no match denies. One entry may stand without a list.
    #[serde(deserialize_with = "units::one_or_many")]
    pub acl: Vec<AclEntry>,
    /// Suite; `None` is the pocket's name. Use [`Config::suite`].
    pub apt: Option<Suite>,
    /// Branch; `None` is the pocket's name. Use [`Config::branch`].
    pub git: Option<String>,
    /// Distribution the binaries are built in.
    pub distro: Distro,
    /// Components of the suite, the default one first.
    pub components: Vec<Component>,
    /// Architectures of the binaries, without `all`; empty stands for the host's own.
    pub architectures: Vec<Architecture>,
    /// Whether commit and version may go backwards.
    pub allow_backtracking: bool,
    /// Pockets whose suites may satisfy build dependencies; `None` is the pocket itself.
    pub build_depends_from: Option<Vec<PocketName>>,
    /// Pockets whose builds this one takes as they are, whatever those had that builds of its own may not have: their users can
    /// bring anything into it.
    pub copies_from: Vec<PocketName>,
    /// What keeps a build from the host. With `schroot` nothing does: a package's maintainer scripts are root on it.
    pub isolation: Isolation,
    /// Whether everything is built twice, and published only if both builds gave the same packages, bit by bit.
    pub require_reproducible: bool,
    /// Whether an `isolation` that is no boundary, which is `schroot`, is an error.
    pub require_isolation: bool,
    /// Its weight: pockets that always have work get places in the proportion of their shares.
    pub share: u32,
    /// The most of its jobs that run at once; `None`: as many as there are places.
    pub jobs: Option<u32>,
    /// Places of `daemon.jobs` that only it may use. What runs there is not counted to its share.
    pub reserve: u32,
    /// Entries that may `submit --priority`: before the pocket's other jobs.
    #[serde(deserialize_with = "units::one_or_many")]
    pub priority: Vec<AclEntry>,
    /// What a build may use.
    pub limits: Limits,
}

crate::stored::stored_enum! {
    /// `isolation:`, the weaker before the stronger.
    #[derive(Deserialize)]
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
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Wall-clock time of one build.
    #[serde(deserialize_with = "units::duration")]
    pub time: Duration,
    /// Longest time without a byte of output.
    #[serde(deserialize_with = "units::duration")]
    pub silence: Duration,
    /// Memory.
    pub memory: ByteSize,
    /// Disk space for chroot, build tree and results.
    pub disk: ByteSize,
    /// Processes and threads at one time.
    pub processes: u64,
    /// Length of the build log.
    pub log: ByteSize,
}

/// `acl:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AclPrograms {
    /// Entries that may create package repositories.
    #[serde(deserialize_with = "units::one_or_many")]
    pub create_repo: Vec<AclEntry>,
    /// Entries that may read others' decisions (`acl check`, `acl show`).
    #[serde(deserialize_with = "units::one_or_many")]
    pub admins: Vec<AclEntry>,
    /// Entries that may cancel any job.
    #[serde(deserialize_with = "units::one_or_many")]
    pub operators: Vec<AclEntry>,
    /// Program that resolves `system:` and other Invirt locators.
    pub locator_command: Option<PathBuf>,
    /// How long an entry's program may run.
    #[serde(deserialize_with = "units::duration")]
    pub timeout: Duration,
    /// How long its answer holds; nothing is kept at 0.
    #[serde(deserialize_with = "units::duration")]
    pub cache: Duration,
}

/// `hooks:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hooks {
    /// Directory of the `<event>.d` directories.
    pub dir: PathBuf,
    /// How long one hook may run.
    #[serde(deserialize_with = "units::duration")]
    pub timeout: Duration,
}

/// `daemon:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Daemon {
    /// Jobs that run side by side.
    pub jobs: usize,
}

/// `clients:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clients {
    /// Commands of one principal at one time that stay as long as a job, or as their reader: `--wait`, `--follow` and `log`.
    pub followers: u32,
}

/// `http:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address and port to listen on.
    pub listen: std::net::SocketAddr,
    /// Keytab with the `HTTP/` service key; without it nobody is asked who they are.
    pub keytab: Option<PathBuf>,
}

/// `ssh:`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ssh {
    /// A directory of files named for principals, or a YAML map, with everybody's public keys; `None`: nobody has one.
    pub keys: Option<PathBuf>,
}

/// `syslog:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Syslog {
    /// Facility name as in syslog(3), lower-case, without `LOG_`.
    pub facility: String,
    /// The socket of the system logger.
    pub socket: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/invirtibuilder".into(),
            realm: None,
            git: Git::default(),
            archive: Archive::default(),
            build: Build::default(),
            acl: AclPrograms::default(),
            chroots: Chroots::default(),
            hooks: Hooks::default(),
            daemon: Daemon::default(),
            clients: Clients::default(),
            http: None,
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
        }
    }
}

impl Default for Archive {
    fn default() -> Self {
        Self {
            root: "/srv/apt".into(),
            url: None,
            origin: "Invirtibuilder".into(),
            label: "Invirtibuilder".into(),
            signing_key: vec![SigningKey::File("/etc/invirtibuilder/archive-key.asc".into())],
            valid_for: None,
            keep: Keep::default(),
        }
    }
}

impl Default for Tagger {
    fn default() -> Self {
        Self { name: "Build Server".into(), email: "root@localhost".into() }
    }
}

impl Default for Pocket {
    fn default() -> Self {
        Self {
            acl: Vec::new(),
            apt: None,
            git: None,
            distro: "trixie".parse().expect("a valid name"),
            components: vec!["main".parse().expect("a valid name")],
            architectures: Vec::new(),
            allow_backtracking: false,
            build_depends_from: None,
            copies_from: Vec::new(),
            isolation: Isolation::Unshare,
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

impl Default for Daemon {
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

impl Pocket {
    /// Why builds of this pocket may not run at all: it wants to be isolated, and says how it is not.
    pub fn contradiction(&self) -> Option<&'static str> {
        (self.require_isolation && self.isolation == Isolation::Schroot)
            .then_some("the pocket says require_isolation, and schroot isolates nothing: use unshare or vm")
    }

    /// What whoever configures this pocket should know of its `isolation`.
    pub fn caveat(&self) -> Option<&'static str> {
        (self.isolation == Isolation::Schroot).then_some(
            "in a schroot the maintainer scripts of build dependencies are root on this machine, and builds have its \
             network: for packages that you trust",
        )
    }

    /// What whoever configures this pocket should know of all that it says.
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

impl Config {
    /// The pocket, or an error that lists those there are.
    pub fn pocket(&self, name: &str) -> Result<(&PocketName, &Pocket), crate::error::Error> {
        let known = || self.build.pockets.keys().map(PocketName::as_str).collect::<Vec<_>>().join(", ");
        self.build.pockets.iter().find(|(pocket, _)| pocket.as_str() == name).ok_or_else(|| {
            crate::error::Error::invalid(format!(
                "there is no pocket {}: the pockets are {}",
                crate::text::quoted(name),
                known()
            ))
        })
    }

    /// The suite of a configured pocket.
    pub fn suite(&self, pocket: &PocketName) -> Suite {
        self.build.pockets[pocket]
            .apt
            .clone()
            .unwrap_or_else(|| pocket.as_str().parse().expect("a pocket name is a valid suite name"))
    }

    /// The branch of a configured pocket, without `refs/heads/`.
    pub fn branch(&self, pocket: &PocketName) -> String {
        self.build.pockets[pocket].git.clone().unwrap_or_else(|| pocket.to_string())
    }

    /// The pockets whose suites may satisfy build dependencies of `pocket`.
    pub fn build_depends_from(&self, pocket: &PocketName) -> Vec<PocketName> {
        self.build.pockets[pocket].build_depends_from.clone().unwrap_or_else(|| vec![pocket.clone()])
    }

    /// The database file.
    pub fn database(&self) -> PathBuf {
        self.state_dir.join("invirtibuilder.db")
    }

    /// The directory of one job's logs.
    pub fn job_logs(&self, job: crate::names::JobId) -> PathBuf {
        self.state_dir.join("logs").join(job.to_string())
    }

    /// The build log of one job.
    pub fn build_log(&self, job: crate::names::JobId) -> PathBuf {
        self.job_logs(job).join("build.log")
    }

    /// The datagram socket on which the daemon is woken.
    pub fn wake_socket(&self) -> PathBuf {
        self.state_dir.join("wake")
    }

    /// Where chroots are kept.
    pub fn chroot_dir(&self) -> PathBuf {
        self.chroots.dir.clone().unwrap_or_else(|| self.state_dir.join("chroots"))
    }

    /// The file of those who follow jobs.
    pub fn followers(&self) -> PathBuf {
        self.state_dir.join("followers")
    }

    /// Where the daemon writes down what holds builds to their limits.
    pub fn limits_note(&self) -> PathBuf {
        self.state_dir.join("limits")
    }

    /// Where the daemon writes down that machines do not start with KVM, if they do not.
    pub fn kvm_note(&self) -> PathBuf {
        self.state_dir.join("kvm")
    }

    /// How many bytes a build may write in memory.
    pub fn in_memory(&self) -> u64 {
        let shared = || {
            let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
            let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some((kib << 10) / 2 / self.daemon.jobs.max(1) as u64)
        };
        self.chroots.in_memory.map(|size| size.0).or_else(shared).unwrap_or(u64::MAX)
    }

    /// Where jobs work; everything in it may be deleted when no daemon runs.
    pub fn scratch(&self) -> PathBuf {
        self.chroots.scratch.clone().unwrap_or_else(|| self.state_dir.join("work"))
    }
}

/// The configuration file when neither `--config` nor the environment names another.
pub fn default_path() -> &'static Path {
    Path::new("/etc/invirtibuilder/config.yaml")
}
