//! `debian/source/format`, and what it asks of a version (dpkg-source(1)).

use std::sync::LazyLock;

use regex::Regex;

use crate::source::links::Links;
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::names::Version;
use invirtibuilder_core::text::quoted;

/// Where it is.
const NAME: &str = "debian/source/format";

/// What to do about a format that is none.
const USE: &str = "write 3.0 (quilt), 3.0 (native) or 1.0 into the first line of debian/source/format, and nothing else";

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
    /// Reads the format of a tree.
    pub fn of(links: &Links) -> Result<Self, Failure> {
        match links.file(NAME, 64 << 10)? {
            Some(blob) => Self::read(blob.content()),
            None => Ok(Self::One),
        }
    }

    /// Reads it as dpkg-source does: only the first line counts, nothing may stand around it, and
    /// only the first number decides.
    fn read(content: &[u8]) -> Result<Self, Failure> {
        static FORMAT: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r"^([0-9]+)(?:\.[0-9]+)?(?:[ \t\r\x0b\x0c]+\(([a-z0-9]+)\))?$")
                .expect("it is a regular expression")
        });
        let line =
            String::from_utf8_lossy(content.split(|&c| c == b'\n').next().unwrap_or_default())
                .into_owned();
        let found = FORMAT
            .captures(&line)
            .map(|found| (found[1].to_owned(), found.get(2).map(|it| it.as_str().to_owned())));
        match found.as_ref().map(|(major, variant)| (&major[..], variant.as_deref())) {
            Some(("1", None)) => Ok(Self::One),
            Some(("3", Some("native"))) => Ok(Self::Native),
            Some(("3", Some("quilt"))) => Ok(Self::Quilt),
            Some(_) => {
                Err(fail(format!("source format {} is not supported: {USE}", quoted(&line))))
            }
            None if line.is_empty() => {
                Err(fail(format!("{NAME} has nothing in its first line: {USE}")))
            }
            None => {
                Err(fail(format!("{} is no source format for dpkg-source: {USE}", quoted(&line))))
            }
        }
    }

    /// Refuses a version that cannot have this format. `dpkg`: the version of the dpkg-source that
    /// is to make the package, if it is known; from 1.23 on it takes a native package with a
    /// revision.
    pub fn check(self, version: &Version, dpkg: Option<&str>) -> Result<(), Failure> {
        match self {
            Self::Native
                if version.has_revision() && dpkg.is_some_and(|dpkg| !is_lenient(dpkg)) =>
            {
                Err(fail(format!(
                    "a 3.0 (native) package has no revision, but version {version} has one: write 3.0 (quilt) into \
                 debian/source/format, or leave the revision out"
                )))
            }
            Self::Quilt if !version.has_revision() => Err(fail(format!(
                "a 3.0 (quilt) package has a revision, but version {version} has none: write 3.0 (native) into \
                 debian/source/format, or add a revision"
            ))),
            Self::One | Self::Native | Self::Quilt => Ok(()),
        }
    }
}

/// Tells whether this version of dpkg takes a native package with a revision.
fn is_lenient(dpkg: &str) -> bool {
    let of = |text: &str| text.parse::<Version>().ok();
    matches!((of("1.23"), of(dpkg)), (Some(first), Some(dpkg)) if !dpkg.precedes(&first))
}

fn fail(text: String) -> Failure {
    Failure::new(FailureKind::Format, text)
}

#[cfg(test)]
mod tests {
    use crate::source::format::*;

    #[test]
    fn a_format_is_read_as_dpkg_source_reads_it() {
        for (text, format) in [
            ("3.0 (native)\n# a comment\n", Format::Native),
            ("3.0 (quilt)", Format::Quilt),
            ("3 \t(quilt)\n\n", Format::Quilt),
            ("1.0\n", Format::One),
            ("1\n3.0 (quilt)\n", Format::One),
        ] {
            assert_eq!(
                Format::read(text.as_bytes()).map_err(|failure| failure.text),
                Ok(format),
                "{text:?}"
            );
        }
        for (text, word) in [
            ("", "nothing in its first line"),
            ("\n3.0 (native)\n", "nothing in its first line"),
            ("3.0 (native) \n", "'3.0 (native) ' is no source format"),
            (" 3.0 (native)\n", "is no source format"),
            ("3.0 (native)\r\n", "is no source format"),
            ("3.0(native)\n", "is no source format"),
            ("3.0 (Native)\n", "is no source format"),
            ("quilt\n", "is no source format"),
            ("3.0\n", "not supported"),
            ("2.0\n", "'2.0' is not supported"),
            ("1.0 (native)\n", "not supported"),
            ("3.0 (git)\n", "not supported"),
        ] {
            let failure = Format::read(text.as_bytes()).unwrap_err();
            assert!(failure.text.contains(word), "{text:?}: {failure}");
        }
    }

    #[test]
    fn versions_that_a_format_cannot_have() {
        let check = |format: Format, version: &str, dpkg: Option<&str>| {
            format.check(&version.parse().unwrap(), dpkg).map_err(|failure| failure.text)
        };
        assert!(
            check(Format::Native, "1.0-1", Some("1.21.22"))
                .unwrap_err()
                .contains("has no revision")
        );
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
