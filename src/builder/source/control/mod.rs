//! `debian/control`, looked at before anything is made of it: what of it could not be built or
//! published is refused when it is submitted.

use std::path::Path;

mod reader;
mod rules;

use crate::source::links::Links;
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::names::{CommitId, PackageName};
use invirtibuilder_core::stanza;
use invirtibuilder_git as git;
use reader::{ControlProblem, ControlStanza};

const NAME: &str = "debian/control";

/// Larger files are none. The largest of Debian have less than 1 MiB.
const LARGEST: u64 = 4 << 20;

/// What is needed of it before and after a build. dpkg-source has the last word on the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Control {
    /// The section of the source package, if it has one (Debian policy 5.6.5).
    pub section: Option<String>,
    /// Its binary packages.
    pub binaries: Vec<BinaryPackage>,
    /// Whether something else than `debian/rules` drives its build (the field `Build-Driver`, from
    /// dpkg 1.23 on).
    pub has_driver: bool,
}

/// A binary package of a source package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BinaryPackage {
    /// Its name.
    pub name: String,
    /// The words of its field `Architecture`.
    pub architectures: Vec<String>,
    /// Its section, which is the source package's if it has none of its own.
    pub section: Option<String>,
}

impl Control {
    /// Reads that of a commit which was built. Nothing is in it if dpkg would not read it: the
    /// build had another one then.
    pub fn of_commit(repo: &Path, commit: &CommitId) -> Result<Self, Failure> {
        let repo = git::open(repo)?;
        let tree = repo.find_commit(commit.into())?.tree()?;
        let stanzas = read(&Links::new(&repo, &tree))?.and_then(Result::ok);
        stanzas.map_or_else(|| Ok(Self::default()), |stanzas| Self::checked(&stanzas))
    }

    /// Reads that of a tree. It is an error if nothing could be built or published with it.
    pub fn of(links: &Links, package: &PackageName) -> Result<Self, Failure> {
        let at = |problem: ControlProblem| {
            refuse(format!("{NAME} line {} {}", problem.line, problem.reason))
        };
        let Some(stanzas) = read(links)? else {
            return Err(refuse(format!("there is no {NAME}: a source package has one")));
        };
        let stanzas = stanzas.map_err(at)?;
        rules::check(&stanzas, package).map_err(at)?;
        Self::checked(&stanzas)
    }

    fn checked(stanzas: &[ControlStanza]) -> Result<Self, Failure> {
        let control = Self::from(stanzas);
        // It comes into a signed index, and becomes the name of a directory.
        let plain = |section: &&String| {
            section.chars().all(|c| c.is_ascii_alphanumeric() || "+-._/".contains(c))
        };
        let sections = control
            .section
            .iter()
            .chain(control.binaries.iter().filter_map(|it| it.section.as_ref()));
        match sections.into_iter().find(|section| !plain(section)) {
            Some(odd) => Err(refuse(format!(
                "{NAME} has the section {}, which is no name of one",
                invirtibuilder_core::text::quoted(odd)
            ))),
            None => Ok(control),
        }
    }

    /// Lists the words that say for which architectures it is, each once.
    pub fn architectures(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self
            .binaries
            .iter()
            .flat_map(|binary| &binary.architectures)
            .map(String::as_str)
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

fn refuse(text: String) -> Failure {
    Failure::new(FailureKind::Tree, text)
}

/// Lists the stanzas of a tree's file, or why dpkg does not read them; `None`: there is no file. It
/// is an error if it has what could not be published.
fn read(links: &Links) -> Result<Option<Result<Vec<ControlStanza>, ControlProblem>>, Failure> {
    let Some(blob) = links.file(NAME, LARGEST)? else { return Ok(None) };
    let text = std::str::from_utf8(blob.content())
        .map_err(|_| refuse(format!("{NAME} is not UTF-8: convert it")))?;
    stanza::check_control(text).map_err(|error| refuse(format!("{NAME} {error:#}")))?;
    Ok(Some(reader::stanzas(text)))
}

impl From<&[ControlStanza]> for Control {
    fn from(stanzas: &[ControlStanza]) -> Self {
        let given = |stanza: &ControlStanza, name: &str| {
            Some(stanza.value(name).to_owned()).filter(|value| !value.is_empty())
        };
        let section = stanzas.first().and_then(|source| given(source, "Section"));
        let binary = |stanza: &ControlStanza| BinaryPackage {
            name: stanza.value("Package").to_owned(),
            architectures: stanza
                .value("Architecture")
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            section: given(stanza, "Section").or_else(|| section.clone()),
        };
        let binaries = stanzas.iter().skip(1).map(binary).collect();
        let driver = stanzas.first().and_then(|source| given(source, "Build-Driver"));
        Self {
            binaries,
            section,
            has_driver: driver.is_some_and(|driver| driver != "debian-rules"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::source::control::*;

    #[test]
    fn a_control_file_says_what_is_built() {
        let text = "Source: x\nsection: contrib/net\nBuild-Depends: a,\n# in the middle\n b\n\n\n\
                    Package: x\nArchitecture: amd64\n  i386\nDescription: y\n Section: no\n\t\nPackage: y\nSection: libs\n\
                    Architecture:all\n";
        let control = Control::from(&reader::stanzas(text).unwrap()[..]);
        assert_eq!(control.section.as_deref(), Some("contrib/net"));
        assert_eq!(control.architectures(), ["all", "amd64", "i386"]);
        let sections: Vec<_> = control
            .binaries
            .iter()
            .map(|it| (it.name.as_str(), it.section.as_deref().unwrap_or("")))
            .collect();
        assert_eq!(sections, [("x", "contrib/net"), ("y", "libs")]);
        assert!(!control.has_driver);
        for (driver, has) in [("debian-rules", false), ("debputy", true)] {
            let text = text.replacen("Source: x", &format!("Source: x\nBuild-Driver: {driver}"), 1);
            assert_eq!(Control::from(&reader::stanzas(&text).unwrap()[..]).has_driver, has);
        }
    }
}
