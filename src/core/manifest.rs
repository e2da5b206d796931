//! Describes a chroot exactly: where its packages come from, which they are, and the digest of the
//! whole.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::names::{Architecture, ChrootDigest, Component, Distro, Suite};

/// An archive that a chroot has packages from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AptSource {
    /// The archive's URL.
    pub uri: String,
    /// The suite.
    pub suite: Suite,
    /// The components of the suite.
    pub components: Vec<Component>,
    /// The public key that signs it, ASCII-armoured, if it is not one of the distro's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The options of sources.list(5) that say what the host's apt believes of its dates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl AptSource {
    /// Writes the line of sources.list(5), with the archive at this URL and its key in this file.
    pub fn line(&self, uri: &str, key: Option<&Path>) -> String {
        let components: Vec<&str> = self.components.iter().map(Component::as_str).collect();
        let key = key.map(|path| format!("signed-by={}", path.display()));
        let options: Vec<&str> =
            key.as_deref().into_iter().chain(self.options.iter().map(String::as_str)).collect();
        let options =
            if options.is_empty() { String::new() } else { format!("[{}] ", options.join(" ")) };
        format!("deb {options}{uri} {} {}", self.suite, components.join(" "))
    }
}

/// A package that a chroot has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledPackage {
    /// The name of the package.
    pub name: String,
    /// The version of the package.
    pub version: String,
    /// The architecture of the package.
    pub architecture: String,
}

/// The manifest of a chroot or an image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// The distro.
    pub distro: Distro,
    /// The architecture.
    pub architecture: Architecture,
    /// When the chroot was made, in milliseconds since 1970-01-01 UTC.
    pub created: i64,
    /// The digest of the tarball, which names the chroot.
    pub digest: ChrootDigest,
    /// The apt sources of the chroot.
    pub sources: Vec<AptSource>,
    /// The packages in it, by name.
    #[serde(default)]
    pub packages: Vec<InstalledPackage>,
    /// The SHA-256 of what the configuration said of it besides its sources; `None`: an older
    /// release made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
}

impl AptSource {
    /// Returns the source without what may differ between mirrors of one archive.
    fn what_counts(self) -> (Option<(String, String)>, Suite, Vec<Component>) {
        let mut components = self.components;
        components.sort_unstable();
        (self.key.map(|key| (self.uri, key)), self.suite, components)
    }
}

impl Manifest {
    /// Tells whether both were made by one definition, at whatever time: with packages of the same
    /// archives, and the same finish. Where a mirror of the distro's own archive is does not
    /// matter, as the distro's keys vouch for it.
    pub fn has_definition_of(&self, other: &Self) -> bool {
        let sources = |manifest: &Self| {
            let mut all: Vec<_> = manifest
                .without_passwords()
                .sources
                .into_iter()
                .map(AptSource::what_counts)
                .collect();
            all.sort_unstable();
            all
        };
        let said = match (&self.definition, &other.definition) {
            (Some(mine), Some(theirs)) => mine == theirs,
            // The sources are all that an older release wrote down.
            _ => true,
        };
        said && self.distro == other.distro && sources(self) == sources(other)
    }

    /// Returns the manifest without the passwords that URLs may hold: for people who may read the
    /// record.
    pub fn without_passwords(&self) -> Self {
        let mut manifest = self.clone();
        for source in &mut manifest.sources {
            if let Some((scheme, rest)) = source.uri.split_once("://") {
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                source.uri = format!("{scheme}://{host}/{path}");
            }
        }
        manifest
    }
}

#[cfg(test)]
mod tests {
    use crate::manifest::*;

    #[test]
    fn another_mirror_or_another_day_is_no_other_definition() {
        let made = |sources: &str, definition: &str| -> Manifest {
            let digest = "0".repeat(64);
            let text = format!(
                r#"{{ "distro": "sid", "architecture": "amd64", "created": 1, "digest": "{digest}", "sources": [{sources}]{definition} }}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let source = |uri: &str, more: &str| {
            format!(
                r#"{{ "uri": "{uri}", "suite": "sid", "components": ["main", "contrib"]{more} }}"#
            )
        };
        let (a, b) = (source("http://a/debian", ""), source("http://u:p@b/debian", ""));
        let (mine, key) = (r#", "definition": "1""#, r#", "key": "K""#);
        let first = made(&a, mine);
        assert!(first.has_definition_of(&made(&b, mine)));
        assert!(first.has_definition_of(&made(&a, "")), "an older release said no more");
        assert!(!first.has_definition_of(&made(&a, r#", "definition": "2""#)));
        assert!(!first.has_definition_of(&made(&source("http://a/debian", key), mine)));
        assert!(
            !first.has_definition_of(&made(&format!("{a}, {}", source("http://c", key)), mine))
        );
        let theirs = made(&source("http://c", key), mine);
        assert!(
            !theirs.has_definition_of(&made(&source("http://d", key), mine)),
            "nobody's keys say that it is the same"
        );
    }

    #[test]
    fn lines_are_those_of_sources_list() {
        let source = AptSource {
            uri: "https://u:p@a.example.org/debian".into(),
            suite: "trixie".parse().unwrap(),
            components: ["main", "contrib"].map(|name| name.parse().unwrap()).to_vec(),
            key: None,
            options: Vec::new(),
        };
        assert_eq!(source.line("http://x/", None), "deb http://x/ trixie main contrib");
        assert_eq!(
            source.line("http://x/", Some(Path::new("/k.asc"))),
            "deb [signed-by=/k.asc] http://x/ trixie main contrib"
        );
    }
}
