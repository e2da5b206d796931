//! Reads the manifest of a chroot, and the tarball itself.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result};
use deb822_fast::Deb822;
use sha2::{Digest, Sha256};

use invirtibuilder_core::manifest::{InstalledPackage, Manifest};
use invirtibuilder_core::names::ChrootDigest;

/// Reads the manifest of a chroot.
pub fn read(path: &Path) -> Result<Manifest> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} does not parse", path.display()))
}

/// Reads a tarball once, to its end. Returns its digest, and the packages that dpkg knows in it.
pub(super) fn examine(tarball: &Path) -> Result<(ChrootDigest, Vec<InstalledPackage>)> {
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
    let digest = invirtibuilder_core::text::hex(&all.hash.finalize()).parse()?;
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

/// Lists the packages that are installed, by dpkg's status file (deb-src-control(5) has its
/// syntax).
fn installed(status: &str) -> Result<Vec<InstalledPackage>> {
    let status: Deb822 = status.parse().context("the chroot's dpkg status does not parse")?;
    let mut all: Vec<_> = status
        .iter()
        .filter(|package| {
            package.get("Status").is_some_and(|status| status.ends_with(" installed"))
        })
        .filter_map(|package| {
            let field = |name| package.get(name).map(str::to_owned);
            Some(InstalledPackage {
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
    use crate::manifest::*;

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
        assert_eq!(
            digest.as_str(),
            invirtibuilder_core::text::hex(&Sha256::digest(std::fs::read(&path).unwrap()))
        );
        let names: Vec<_> = packages
            .iter()
            .map(|package| format!("{} {}", package.name, package.version))
            .collect();
        assert_eq!(names, ["a 1", "b 1:2-3"]);
        std::fs::write(&path, [0; 1024]).unwrap();
        assert!(examine(&path).is_err(), "it is no chroot");
    }
}
