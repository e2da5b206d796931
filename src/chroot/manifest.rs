//! What a chroot is, exactly: where its packages come from, which they are, and the digest of the whole.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result};
use deb822_fast::Deb822;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::names::{Architecture, ChrootDigest, Component, Distro, Suite};

/// Where a chroot has packages from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The archive's URL.
    pub uri: String,
    /// The suite.
    pub suite: Suite,
    /// Its components.
    pub components: Vec<Component>,
    /// The public key that signs it, ASCII-armoured, if it is not one of the distro's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What the host's apt believes of its dates, as options of sources.list(5).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Source {
    /// The line of sources.list(5), with the archive at this URL and its key in this file.
    pub fn line(&self, uri: &str, key: Option<&Path>) -> String {
        let components: Vec<&str> = self.components.iter().map(Component::as_str).collect();
        let key = key.map(|path| format!("signed-by={}", path.display()));
        let options: Vec<&str> = key.as_deref().into_iter().chain(self.options.iter().map(String::as_str)).collect();
        let options = if options.is_empty() { String::new() } else { format!("[{}] ", options.join(" ")) };
        format!("deb {options}{uri} {} {}", self.suite, components.join(" "))
    }
}

/// A package that a chroot has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
}

/// What is known of a chroot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// The distro.
    pub distro: Distro,
    /// The architecture.
    pub architecture: Architecture,
    /// When it was made; milliseconds since 1970-01-01 UTC.
    pub created: i64,
    /// Which it is.
    pub digest: ChrootDigest,
    /// Its apt sources.
    pub sources: Vec<Source>,
    /// The packages in it, by name.
    #[serde(default)]
    pub packages: Vec<Installed>,
    /// SHA-256 of what the configuration said of it besides its sources; `None`: an older release made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
}

impl Source {
    /// Without what may differ between mirrors of one archive.
    fn what_counts(self) -> (Option<(String, String)>, Suite, Vec<Component>) {
        let mut components = self.components;
        components.sort_unstable();
        (self.key.map(|key| (self.uri, key)), self.suite, components)
    }
}

impl Manifest {
    /// Reads one.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} does not parse", path.display()))
    }

    /// Whether both were made by one definition, at whatever time: with packages of the same archives, and the same finish. Where
    /// a mirror of the distro's own archive is does not matter, as the distro's keys vouch for it.
    pub fn has_definition_of(&self, other: &Self) -> bool {
        let sources = |manifest: &Self| {
            let mut all: Vec<_> = manifest.without_passwords().sources.into_iter().map(Source::what_counts).collect();
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

    /// The same without the passwords that URLs may hold: for whoever may read the record.
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

/// Reads a tarball once, to its end: its digest, and the packages that dpkg knows in it.
pub(super) fn examine(tarball: &Path) -> Result<(ChrootDigest, Vec<Installed>)> {
    let mut all = Hashing { from: File::open(tarball)?, hash: Sha256::new() };
    let mut packages = None;
    {
        let mut archive = tar::Archive::new(&mut all);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            if path.strip_prefix(".").unwrap_or(&path) == Path::new("var/lib/dpkg/status") {
                let mut text = String::new();
                entry.read_to_string(&mut text).context("the chroot's dpkg status is no text")?;
                packages = Some(installed(&text)?);
            }
        }
    }
    // What is after the archive's end is part of the file.
    io::copy(&mut all, &mut io::sink())?;
    let digest = crate::text::hex(&all.hash.finalize()).parse()?;
    Ok((digest, packages.context("the chroot has no dpkg status")?))
}

struct Hashing {
    from: File,
    hash: Sha256,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}

/// What is installed, by dpkg's status file (deb-src-control(5) has its syntax).
fn installed(status: &str) -> Result<Vec<Installed>> {
    let status: Deb822 = status.parse().context("the chroot's dpkg status does not parse")?;
    let mut all: Vec<_> = status
        .iter()
        .filter(|package| package.get("Status").is_some_and(|status| status.ends_with(" installed")))
        .filter_map(|package| {
            let field = |name| package.get(name).map(str::to_owned);
            Some(Installed {
                name: field("Package")?,
                version: field("Version")?,
                architecture: field("Architecture")?,
            })
        })
        .collect();
    all.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tarball_is_named_and_its_packages_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar");
        let mut tar = tar::Builder::new(File::create(&path).unwrap());
        let status = "Package: b\nStatus: install ok installed\nVersion: 1:2-3\nArchitecture: all\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n\n\
                      Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\nDescription: x\n y\n";
        let mut header = tar::Header::new_ustar();
        header.set_size(status.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "./var/lib/dpkg/status", status.as_bytes()).unwrap();
        tar.into_inner().unwrap();
        let (digest, packages) = examine(&path).unwrap();
        assert_eq!(digest.as_str(), crate::text::hex(&Sha256::digest(std::fs::read(&path).unwrap())));
        let names: Vec<_> = packages.iter().map(|package| format!("{} {}", package.name, package.version)).collect();
        assert_eq!(names, ["a 1", "b 1:2-3"]);
        std::fs::write(&path, [0; 1024]).unwrap();
        assert!(examine(&path).is_err(), "it is no chroot");
    }

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
            format!(r#"{{ "uri": "{uri}", "suite": "sid", "components": ["main", "contrib"]{more} }}"#)
        };
        let (a, b) = (source("http://a/debian", ""), source("http://u:p@b/debian", ""));
        let (mine, key) = (r#", "definition": "1""#, r#", "key": "K""#);
        let first = made(&a, mine);
        assert!(first.has_definition_of(&made(&b, mine)));
        assert!(first.has_definition_of(&made(&a, "")), "an older release said no more");
        assert!(!first.has_definition_of(&made(&a, r#", "definition": "2""#)));
        assert!(!first.has_definition_of(&made(&source("http://a/debian", key), mine)));
        assert!(!first.has_definition_of(&made(&format!("{a}, {}", source("http://c", key)), mine)));
        let theirs = made(&source("http://c", key), mine);
        assert!(
            !theirs.has_definition_of(&made(&source("http://d", key), mine)),
            "nobody's keys say that it is the same"
        );
    }

    #[test]
    fn lines_are_those_of_sources_list() {
        let source = Source {
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
