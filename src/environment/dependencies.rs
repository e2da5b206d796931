//! Reads what a source package asks to have installed while it is built (Debian policy 7.7).

use std::fs;
use std::path::Path;

use deb822_fast::Deb822;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::FAKEROOT;
use invirtibuilder_core::manifest::Manifest;
use invirtibuilder_system::architectures::Binaries;

/// The packages that sbuild(1) wants in every chroot (`$core_depends` in sbuild.conf(5)).
const CORE: [&str; 2] = ["build-essential", FAKEROOT];

/// The longest build dependencies that are kept installed beforehand, in bytes.
const LONGEST: usize = 64 << 10;

/// Build dependencies that apt and sbuild certainly resolve to the same packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependencies {
    needs: String,
    conflicts: String,
}

impl Dependencies {
    /// Reads the build dependencies that a `.dsc` has for these binaries. `None` where apt might choose other packages than sbuild, which takes
    /// the first alternative only, and where it is sbuild that has to say what is wrong.
    pub fn of(dsc: &Path, binaries: Binaries) -> Option<Self> {
        Self::parse(&fs::read_to_string(dsc).ok()?, binaries)
    }

    fn parse(dsc: &str, binaries: Binaries) -> Option<Self> {
        let dsc: Deb822 = dsc.parse().ok()?;
        let source = dsc.iter().next()?;
        let fields = |what: &str| {
            let of_all = (binaries != Binaries::Own).then_some("-Indep");
            let names = ["", "-Arch"].into_iter().chain(of_all);
            let values = names.filter_map(|of| source.get(&format!("{what}{of}")));
            simple(&values.collect::<Vec<_>>().join(","))
        };
        let (needs, conflicts) = (fields("Build-Depends")?, fields("Build-Conflicts")?);
        (needs.len() + conflicts.len() <= LONGEST).then_some(Self { needs, conflicts })
    }

    /// Makes build dependencies from what a test says is needed.
    #[cfg(any(test, feature = "testing"))]
    pub fn for_tests(needs: &str) -> Self {
        Self { needs: needs.to_owned(), conflicts: String::new() }
    }

    /// Tells whether a chroot has everything that they ask for.
    pub fn are_in(&self, chroot: &Manifest) -> bool {
        self.needs.is_empty() && self.conflicts.is_empty() && has_core(chroot)
    }

    /// Returns the arguments of `apt-get satisfy` (apt-get(8)), with what sbuild asks for in every
    /// build.
    pub fn arguments(&self) -> Vec<String> {
        let core = CORE.map(|name| format!("{name}:native"));
        let needs = [&self.needs].into_iter().chain(&core).filter(|needs| !needs.is_empty());
        let needs = needs.map(String::as_str).collect::<Vec<_>>().join(", ");
        let conflicts =
            (!self.conflicts.is_empty()).then(|| format!("Conflicts: {}", self.conflicts));
        [needs].into_iter().chain(conflicts).collect()
    }

    /// Returns a name that no other build dependencies have.
    pub fn key(&self) -> String {
        let mut key = invirtibuilder_core::text::hex(&Sha256::digest(self.arguments().join("\n")));
        key.truncate(16);
        key
    }
}

/// Tells whether a chroot has the packages that sbuild wants in every one.
fn has_core(chroot: &Manifest) -> bool {
    CORE.iter().all(|name| chroot.packages.iter().any(|package| package.name == *name))
}

/// Writes relations in one line, with only the first alternative of each. `None` where it depends
/// on architectures or build profiles which alternative that is, or where the field is no text of
/// relations.
fn simple(field: &str) -> Option<String> {
    if field.contains(|c: char| !(c.is_ascii_graphic() || c.is_ascii_whitespace())) {
        return None;
    }
    let relations =
        field.split(',').map(|relation| relation.split_whitespace().collect::<Vec<_>>().join(" "));
    let relations: Option<Vec<String>> =
        relations.filter(|relation| !relation.is_empty()).map(first).collect();
    Some(relations?.join(", "))
}

fn first(relation: String) -> Option<String> {
    let mut alternatives = relation.split('|').map(str::trim);
    let first = alternatives.next().unwrap_or_default().to_owned();
    let mut rest = alternatives.peekable();
    if rest.peek().is_none() {
        return Some(first);
    }
    let name = |relation: &str| {
        relation.split([' ', '(', ':', '[', '<']).next().unwrap_or_default().to_owned()
    };
    let is_same = rest.any(|other| name(other) == name(&first));
    (!is_same && !relation.contains(['[', '<'])).then_some(first)
}

#[cfg(test)]
mod tests {
    use crate::dependencies::*;

    fn parse(fields: &str, binaries: Binaries) -> Option<String> {
        let dsc = format!("Format: 3.0 (quilt)\nSource: x\n{fields}");
        let found = Dependencies::parse(&dsc, binaries);
        found.map(|found| {
            found.arguments().join("; ").replace("build-essential:native, fakeroot:native", "CORE")
        })
    }

    #[test]
    fn what_is_asked_for() {
        assert_eq!(parse("", Binaries::Both).unwrap(), "CORE");
        let fields = "Build-Depends: debhelper-compat (= 13),\n a:native <!nocheck>,,\n  b [linux-any] \nBuild-Depends-Indep: c\n";
        assert_eq!(
            parse(fields, Binaries::Both).unwrap(),
            "debhelper-compat (= 13), a:native <!nocheck>, b [linux-any], c, CORE"
        );
        assert_eq!(
            parse(fields, Binaries::Own).unwrap(),
            "debhelper-compat (= 13), a:native <!nocheck>, b [linux-any], CORE"
        );
    }

    #[test]
    fn alternatives_are_sbuilds_or_nobodys() {
        assert_eq!(
            parse("Build-Depends: a (>= 1) | b | c\n", Binaries::Both).unwrap(),
            "a (>= 1), CORE"
        );
        assert_eq!(
            parse("Build-Depends: a\nBuild-Conflicts: b, c\n", Binaries::Both).unwrap(),
            "a, CORE; Conflicts: b, c"
        );
        assert_eq!(
            parse("Build-Depends: a [i386] | b\n", Binaries::Both),
            None,
            "on amd64 it is b"
        );
        assert_eq!(parse("Build-Depends: a <nocheck> | b\n", Binaries::Both), None);
        assert_eq!(
            parse("Build-Depends: a (<< 1) | a (>> 2)\n", Binaries::Both),
            None,
            "both count"
        );
    }

    #[test]
    fn too_much_and_nonsense_are_not_prepared() {
        assert_eq!(parse("Build-Depends: a (>= 1\0x)\n", Binaries::Both), None);
        let many: Vec<String> = (0..10_000).map(|n| format!("package-{n}")).collect();
        assert_eq!(parse(&format!("Build-Depends: {}\n", many.join(", ")), Binaries::Both), None);
    }

    #[test]
    fn a_key_tells_them_apart() {
        let key = |text: &str, all| {
            Dependencies::parse(&format!("Source: x\n{text}"), all).unwrap().key()
        };
        let (a, b) = ("Build-Depends: a\n", "Build-Depends: a\nBuild-Depends-Indep: b\n");
        assert_eq!(key(a, Binaries::Both), key(b, Binaries::Own));
        assert_ne!(key(a, Binaries::Both), key(b, Binaries::Both));
        assert_ne!(key(a, Binaries::Both), key("Build-Conflicts: a\n", Binaries::Both));
    }
}
