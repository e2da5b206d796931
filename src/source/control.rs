//! `debian/control`, looked at before anything is made of it: what of it could not be built or published is refused when it is
//! submitted.

use std::path::Path;

use git2::{Repository, Tree};

use super::tree;
use crate::error::{Failure, FailureKind};
use crate::gitrecord;
use crate::names::CommitId;
use crate::stanza;

const NAME: &str = "debian/control";

/// Larger files are none. The largest of Debian have less than 1 MiB.
const LARGEST: u64 = 4 << 20;

/// What is needed of it before and after a build. dpkg-source has the last word on the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Control {
    /// The section of the source package, if it has one (Debian policy 5.6.5).
    pub section: Option<String>,
    /// Its binary packages.
    pub binaries: Vec<Binary>,
}

/// A binary package of a source package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Binary {
    /// Its name.
    pub name: String,
    /// The words of its field `Architecture`.
    pub architectures: Vec<String>,
    /// Its section, which is the source package's if it has none of its own.
    pub section: Option<String>,
}

impl Control {
    /// That of a commit; nothing is in it if there is none, which is dpkg-source's to say.
    pub fn of_commit(repo: &Path, commit: &CommitId) -> Result<Self, Failure> {
        let repo = gitrecord::open(repo)?;
        let tree = repo.find_commit(commit.into())?.tree()?;
        Self::of(&repo, &tree)
    }

    /// That of a tree. An error if it has what could not be published.
    pub fn of(repo: &Repository, tree: &Tree) -> Result<Self, Failure> {
        let refuse = |text: String| Failure::new(FailureKind::Tree, text);
        let Ok(entry) = tree.get_path(Path::new(NAME)) else { return Ok(Self::default()) };
        let Ok(blob) = tree::blob(repo, entry.id(), LARGEST) else { return Ok(Self::default()) };
        let Some(blob) = blob else { return Err(refuse(format!("{NAME} is larger than {} MiB", LARGEST >> 20))) };
        let text =
            std::str::from_utf8(blob.content()).map_err(|_| refuse(format!("{NAME} is not UTF-8: convert it")))?;
        stanza::check_control(text).map_err(|error| refuse(format!("{NAME} {error:#}")))?;
        let control = Self::parse(text);
        // It comes into a signed index, and becomes the name of a directory.
        let plain = |section: &&String| section.chars().all(|c| c.is_ascii_alphanumeric() || "+-._/".contains(c));
        let sections = control.section.iter().chain(control.binaries.iter().filter_map(|it| it.section.as_ref()));
        if let Some(odd) = sections.into_iter().find(|section| !plain(section)) {
            return Err(refuse(format!(
                "{NAME} has the section {}, which is no name of one",
                crate::text::quoted(odd)
            )));
        }
        Ok(control)
    }

    /// As dpkg reads it (deb-src-control(5)): names of fields in any case, values that go on in the next lines, comments.
    fn parse(text: &str) -> Self {
        let mut stanzas = stanzas(text).into_iter();
        let source = stanzas.next().unwrap_or_default();
        let section = field(&source, "Section").filter(|section| !section.is_empty());
        let binary = |stanza: Fields| {
            Some(Binary {
                name: field(&stanza, "Package")?,
                architectures: words(&field(&stanza, "Architecture").unwrap_or_default()),
                section: field(&stanza, "Section").filter(|own| !own.is_empty()).or_else(|| section.clone()),
            })
        };
        Self { binaries: stanzas.filter_map(binary).collect(), section }
    }

    /// The words that say for which architectures it is, each once.
    pub fn architectures(&self) -> Vec<&str> {
        let mut all: Vec<&str> =
            self.binaries.iter().flat_map(|binary| &binary.architectures).map(String::as_str).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

type Fields = Vec<(String, String)>;

fn stanzas(text: &str) -> Vec<Fields> {
    let mut all: Vec<Fields> = Vec::new();
    let mut open = false;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.trim().is_empty() {
            open = false;
            continue;
        }
        if !std::mem::replace(&mut open, true) {
            all.push(Fields::new());
        }
        let Some(stanza) = all.last_mut() else { continue };
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.last_mut() {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            stanza.push((name.trim_end().to_owned(), value.trim().to_owned()));
        }
    }
    all
}

fn field(stanza: &Fields, name: &str) -> Option<String> {
    stanza.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

fn words(value: &str) -> Vec<String> {
    value.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_file_is_read_as_dpkg_reads_it() {
        let text = "# a comment\n\nSource: x\nsection: contrib/net\nBuild-Depends: a,\n# in the middle\n b\n\n\n\
                    Package: x\nArchitecture: amd64\n  i386\nDescription: y\n Section: no\n\t\nPackage: y\nSection: libs\n\
                    Architecture:all\n";
        let control = Control::parse(text);
        assert_eq!(control.section.as_deref(), Some("contrib/net"));
        assert_eq!(control.architectures(), ["all", "amd64", "i386"]);
        let sections: Vec<_> =
            control.binaries.iter().map(|it| (it.name.as_str(), it.section.as_deref().unwrap_or(""))).collect();
        assert_eq!(sections, [("x", "contrib/net"), ("y", "libs")]);
        assert_eq!(Control::parse("").architectures(), [""; 0]);
    }
}
