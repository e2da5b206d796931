//! `chroots:`, and what each of them is made of.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{ByteSize, units};
use crate::names::{Architecture, Component, Distro, Suite};

/// `chroots:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Chroots {
    /// Where they are kept; `None` is `<state_dir>/chroots`.
    pub dir: Option<PathBuf>,
    /// Where builds unpack them; a tmpfs is fastest. `None` is `<state_dir>/work`.
    pub scratch: Option<PathBuf>,
    /// How much a build writes in memory; one that needs more, and may by `limits.disk`, is built again on the disk, and starts there for a month. `None` is half of the machine's memory, shared by `daemon.jobs`.
    pub in_memory: Option<ByteSize>,
    /// Whether each of `daemon.jobs` has them unpacked on the disk, below `<state_dir>/roots`: builds start faster, and each takes the room of a chroot.
    pub unpacked: bool,
    /// How many sets of build dependencies each of `daemon.jobs` keeps installed above an unpacked chroot, below `<state_dir>/layers`: a package whose dependencies were asked for lately is built at once. 0: none.
    pub layers: usize,
    /// The age at which the daemon makes them anew; `None`: it never does.
    #[serde(deserialize_with = "units::some_duration")]
    pub refresh: Option<Duration>,
    /// How many earlier ones of each are kept, at least one: running builds use it, and `verify --rebuild` builds in them again.
    pub keep: usize,
    /// What the chroot of a distro is made of, if the host's own mirrors and the distro's name do not say it all.
    pub distros: BTreeMap<Distro, Definition>,
}

/// `chroots.distros.<distro>:`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Definition {
    /// The suite of the host's mirrors that it is made from; `None` is the distro's name.
    pub suite: Option<Suite>,
    /// Components of that suite, and of its updates; empty stands for those that the host uses.
    pub components: Vec<Component>,
    /// Other archives that chroot and builds may take packages from.
    pub sources: Vec<Source>,
    /// Packages that are installed beside the build-essential ones; `name` or `name:architecture`.
    pub packages: Vec<String>,
    /// A program of yours that finishes the chroot: mmdebstrap(1) runs it on the host, in a user namespace, with the chroot's directory as its argument.
    pub hook: Option<PathBuf>,
    /// Architectures whose packages can be installed, too.
    pub foreign_architectures: Vec<Architecture>,
}

/// `chroots.distros.<distro>.sources`, each:
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Where the archive is: a URL of http or https.
    pub uri: String,
    /// The suite.
    pub suite: Suite,
    /// Its components.
    pub components: Vec<Component>,
    /// The public key that it is signed with, ASCII-armoured.
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
