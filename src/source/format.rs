//! `debian/source/format`, and what it asks of a version (dpkg-source(1)).

use std::path::Path;

use git2::{Repository, Tree};

use super::tree;
use crate::error::{Failure, FailureKind};
use crate::names::Version;

/// A format of source packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `1.0`, which is also what no file says.
    One,
    /// `3.0 (native)`.
    Native,
    /// `3.0 (quilt)`.
    Quilt,
}

impl Format {
    /// Reads the format of a tree. Only the first line counts, as for dpkg-source.
    pub fn of(repo: &Repository, tree: &Tree) -> Result<Self, Failure> {
        let Ok(entry) = tree.get_path(Path::new("debian/source/format")) else { return Ok(Self::One) };
        tree::refuse_link(&entry, "debian/source/format")?;
        let Ok(Some(blob)) = tree::blob(repo, entry.id(), 4096) else {
            return Err(fail("debian/source/format is not a small file".to_owned()));
        };
        let text = String::from_utf8_lossy(blob.content()).into_owned();
        let words: Vec<&str> = text.lines().next().unwrap_or_default().split_whitespace().collect();
        match &words.join(" ")[..] {
            "1.0" => Ok(Self::One),
            "3.0 (native)" => Ok(Self::Native),
            "3.0 (quilt)" => Ok(Self::Quilt),
            other => Err(fail(format!(
                "source format {} is not supported: use 3.0 (quilt), 3.0 (native) or 1.0",
                crate::text::quoted(other)
            ))),
        }
    }

    /// Refuses a version that cannot have this format. `dpkg`: the version of the dpkg-source that is to make the package, if
    /// it is known; from 1.23 on it takes a native package with a revision.
    pub fn check(self, version: &Version, dpkg: Option<&str>) -> Result<(), Failure> {
        match self {
            Self::Native if version.has_revision() && dpkg.is_some_and(|dpkg| !is_lenient(dpkg)) => Err(fail(format!(
                "a 3.0 (native) package has no revision, but version {version} has one: write 3.0 (quilt) into \
                 debian/source/format, or leave the revision out"
            ))),
            Self::Quilt if !version.has_revision() => Err(fail(format!(
                "a 3.0 (quilt) package has a revision, but version {version} has none: write 3.0 (native) into \
                 debian/source/format, or add a revision"
            ))),
            Self::One | Self::Native | Self::Quilt => Ok(()),
        }
    }
}

/// Whether this version of dpkg takes a native package with a revision.
fn is_lenient(dpkg: &str) -> bool {
    let of = |text: &str| text.parse::<Version>().ok();
    matches!((of("1.23"), of(dpkg)), (Some(first), Some(dpkg)) if !dpkg.precedes(&first))
}

fn fail(text: String) -> Failure {
    Failure::new(FailureKind::Format, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_a_format_cannot_have() {
        let check = |format: Format, version: &str, dpkg: Option<&str>| {
            format.check(&version.parse().unwrap(), dpkg).map_err(|failure| failure.text)
        };
        assert!(check(Format::Native, "1.0-1", Some("1.21.22")).unwrap_err().contains("has no revision"));
        assert!(check(Format::Quilt, "1.0", Some("1.23.3")).unwrap_err().contains("has none"));
        for (format, version, dpkg) in [
            (Format::Native, "1.0-1", Some("1.23.3")),
            (Format::Native, "1.0-1", None),
            (Format::Native, "1.0", Some("1.21.22")),
            (Format::Quilt, "1.0-1", Some("1.21.22")),
            (Format::One, "1.0", None),
            (Format::One, "1.0-1", None),
        ] {
            assert_eq!(check(format, version, dpkg), Ok(()), "{format:?} {version}");
        }
    }
}
