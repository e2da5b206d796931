//! The settings of `chroots:`, and of the definition of each.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::ByteSize;
use crate::config::units::{self, DurationText, PathText};
use crate::names::{Architecture, Component, Distro, Suite};

/// `chroots:`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Chroots {
    /// The directory that they are kept in. Default: `<state_dir>/chroots`.
    #[schemars(with = "Option<PathText>")]
    pub dir: Option<PathBuf>,
    /// The directory in which builds unpack them; a tmpfs is fastest. Default: `<state_dir>/work`.
    #[schemars(with = "Option<PathText>")]
    pub scratch: Option<PathBuf>,
    /// The most bytes that a build writes in memory. A build that needs more, and may by
    /// `limits.disk`, is repeated on the disk, and starts there for a month. Default: half of the
    /// machine's memory, shared by `daemon.jobs`.
    pub in_memory: Option<ByteSize>,
    /// Whether each of `daemon.jobs` has them unpacked on the disk, below `<state_dir>/roots`:
    /// builds start faster, and each takes the room of a chroot.
    #[serde(deserialize_with = "crate::truth::truth")]
    #[schemars(with = "crate::truth::TruthText")]
    pub unpacked: bool,
    /// The number of sets of build dependencies that each of `daemon.jobs` keeps installed above an
    /// unpacked chroot, below `<state_dir>/layers`: a package whose dependencies were asked for
    /// lately is built at once. 0: none.
    pub layers: usize,
    /// The age at which the daemon makes new ones. Default: it never does.
    #[serde(with = "units::some_duration")]
    #[schemars(with = "DurationText")]
    pub refresh: Option<Duration>,
    /// The number of earlier ones of each that are kept, at least one: running builds use it, and
    /// `verify --rebuild` builds in them again.
    pub keep: usize,
    /// The definition of the chroot of a distro, if the host's own mirrors and the distro's name do
    /// not say it all.
    pub distros: BTreeMap<Distro, Definition>,
}

/// `chroots.distros.<distro>:`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Definition {
    /// The suite of the host's mirrors that it is made from. Default: the distro's name.
    pub suite: Option<Suite>,
    /// Components of that suite, and of its updates. Default: those that the host uses.
    pub components: Vec<Component>,
    /// Other archives that chroot and builds may take packages from.
    pub sources: Vec<AptSourceConfig>,
    /// Packages that are installed beside the build-essential ones; `name` or `name:architecture`.
    pub packages: Vec<String>,
    /// A program of yours that finishes the chroot: mmdebstrap(1) runs it on the host, in a user
    /// namespace, with the chroot's directory as its argument.
    #[schemars(with = "Option<PathText>")]
    pub hook: Option<PathBuf>,
    /// The architectures whose packages apt can install, too.
    pub foreign_architectures: Vec<Architecture>,
}

/// `chroots.distros.<distro>.sources`, each:
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AptSourceConfig {
    /// The URL of the archive, http or https.
    pub uri: String,
    /// The suite.
    pub suite: Suite,
    /// The components of the suite.
    pub components: Vec<Component>,
    /// The public key that it is signed with, ASCII-armoured.
    #[schemars(with = "PathText")]
    pub key: PathBuf,
}

impl Default for Chroots {
    fn default() -> Self {
        Self {
            dir: None,
            scratch: None,
            in_memory: None,
            unpacked: true,
            layers: 10,
            refresh: None,
            keep: 1,
            distros: BTreeMap::new(),
        }
    }
}

/// The architectures that virtual machines are made for.
pub const MACHINES: [&str; 1] = ["amd64"];
