//! Makes the results of builds that did not take place, for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::Archive;
use invirtibuilder_system::files;

/// Writes a signing key. It is always the same, for making one takes a second.
pub fn a_key(path: &Path) {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.asc");
        Archive::generate_key(&path, "Test").unwrap();
        fs::read(path).unwrap()
    });
    fs::write(path, key).unwrap();
}

/// A binary package to make: name, architecture, more control fields.
pub type Binary<'a> = (&'a str, &'a str, &'a str);

/// Makes what a build of this package would return, in a new directory below `dir`. No two have the
/// same bytes.
pub fn artifacts(dir: &Path, source: &str, version: &str, binaries: &[Binary]) -> PathBuf {
    let out = dir.join(format!("{source}-{version}-{}", number()));
    fs::create_dir(&out).unwrap();
    let mut built = Vec::new();
    for (name, architecture, more) in binaries {
        let root = dir.join(format!("root-{}", number()));
        fs::create_dir_all(root.join("DEBIAN")).unwrap();
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: A <a@example.org>\nNumber: {}\n{}{more}\
             Description: x\n first\n .\n  verbatim\n",
            number(),
            if *name == source { String::new() } else { format!("Source: {source}\n") },
        );
        fs::write(root.join("DEBIAN/control"), control).unwrap();
        let file = format!("{name}_{version}_{architecture}.deb");
        let made = Command::new("dpkg-deb")
            .args(["--build", "--root-owner-group"])
            .arg(&root)
            .arg(out.join(&file))
            .output();
        assert!(made.unwrap().status.success());
        built.push(file);
    }
    let tarball = format!("{source}_{version}.tar.xz");
    fs::write(out.join(&tarball), format!("{source} {version} {}", number())).unwrap();
    let sums = |names: &[String]| -> String {
        let line = |name: &String| {
            let (size, sha256) = files::digest(&out.join(name)).unwrap();
            format!(" {sha256} {size} {name}\n")
        };
        names.iter().map(line).collect()
    };
    let declared: Vec<&str> = binaries.iter().map(|(name, ..)| *name).collect();
    let md5 = files::sums(&out.join(&tarball)).unwrap();
    let dsc = format!(
        "Format: 3.0 (native)\nSource: {source}\nBinary: {}\nArchitecture: any\nVersion: {version}\n\
         Package-List:\n {source} deb misc optional arch=any\nFiles:\n {} {} {tarball}\n\
         Checksums-Sha256:\n{}",
        declared.join(",\n "),
        md5.md5,
        md5.size,
        sums(std::slice::from_ref(&tarball))
    );
    fs::write(out.join(format!("{source}_{version}.dsc")), dsc).unwrap();
    let changes =
        format!("Source: {source}\nVersion: {version}\nChecksums-Sha256:\n{}", sums(&built));
    fs::write(out.join(format!("{source}_{version}_amd64.changes")), changes).unwrap();
    out
}

fn number() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}
