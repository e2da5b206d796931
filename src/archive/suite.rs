//! The description of a suite, and which indexes it has.

use invirtibuilder_core::config::Automatic;
use invirtibuilder_core::domain::SuiteId;
use invirtibuilder_core::names::{Architecture, Component, Suite};
use invirtibuilder_store::contents::{Part, PartKind};

/// The description of a suite.
#[derive(Debug, Clone)]
pub struct SuiteSpec {
    /// The suite.
    pub suite: SuiteId,
    /// The suite's components, the default one first.
    pub components: Vec<Component>,
    /// The suite's architectures, without `all`.
    pub architectures: Vec<Architecture>,
    /// The number of versions of a package that the suite's indexes have.
    pub keep: u32,
    /// What the suite is for, in one line.
    pub description: Option<String>,
    /// The codename of the suite.
    pub codename: Suite,
    /// Whether machines take packages of it by themselves.
    pub automatic: Automatic,
}

impl SuiteSpec {
    /// Lists every index of the suite.
    pub(crate) fn paths(&self) -> Vec<String> {
        let sources = self.components.iter().map(|component| format!("{component}/source/Sources"));
        sources.chain(self.indexes(PartKind::Deb)).chain(self.indexes(PartKind::Udeb)).collect()
    }

    /// Lists the indexes of binary packages of a kind.
    pub(crate) fn indexes(&self, kind: PartKind) -> impl Iterator<Item = String> {
        let dirs = match kind {
            PartKind::Dsc => [].as_slice(),
            PartKind::Deb => &[""],
            PartKind::Udeb => &["debian-installer/"],
        };
        let of = move |component| {
            dirs.iter().flat_map(move |dir| {
                self.architectures.iter().map(move |architecture| {
                    format!("{component}/{dir}binary-{architecture}/Packages")
                })
            })
        };
        self.components.iter().flat_map(of)
    }

    /// Lists the indexes that a part is in: `all` is in that of each architecture.
    pub(crate) fn paths_of(&self, part: &Part) -> Vec<String> {
        let component = &part.component;
        let binary = |dir: &str| {
            let mine =
                |a: &&Architecture| part.architecture == "all" || part.architecture == a.as_str();
            let all = self.architectures.iter().filter(mine);
            all.map(|a| format!("{component}/{dir}binary-{a}/Packages")).collect()
        };
        match part.kind {
            PartKind::Dsc => vec![format!("{component}/source/Sources")],
            PartKind::Deb => binary(""),
            PartKind::Udeb => binary("debian-installer/"),
        }
    }
}
