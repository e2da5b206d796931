//! Puts what a build has made into the pool, if it is what was asked for.
//!
//! Nothing that a build returns is believed: names, versions, architectures, sizes and hashes are compared with each other, with
//! the request, and with the source package, which was made before the build and without its help. A name in the pool stands
//! for the same bytes for ever; only what no version has, because somebody died before the commit, is replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use deb822_fast::Paragraph;
use rusqlite::Connection;

use super::{deb, files};
use crate::error::{Failure, FailureKind};
use crate::failpoint::{Point, reach};
use crate::names::{Architecture, Component, PackageName, Version};
use crate::record::contents::{Content, Kind, Part};
use crate::record::pool::{self, PoolFile};

/// What a build was asked for, and where what it returned is.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The directory that holds it, and nothing else.
    pub dir: PathBuf,
    /// The source package.
    pub source: PackageName,
    /// Its version.
    pub version: Version,
    /// The components that it may belong to, the default one first.
    pub components: Vec<Component>,
    /// The architectures that its binaries may have besides `all`.
    pub architectures: Vec<Architecture>,
}

fn wrong(text: String) -> Failure {
    Failure::new(FailureKind::Result, text)
}

/// A file with its size and SHA-256.
struct Checked {
    path: PathBuf,
    size: u64,
    sha256: String,
}

/// What a build has made, found to be what was asked for.
#[derive(Debug)]
pub struct Admitted {
    /// What the pool is to have of it.
    pub content: Content,
    /// Where each of its files is now, in the order of `content.files`.
    built: Vec<PathBuf>,
}

/// Checks what a build has made; nothing is written.
pub fn examine(db: &Connection, admission: &Admission) -> Result<Admitted, Failure> {
    let returned = returned(&admission.dir)?;
    let dsc_name = format!("{}_{}.dsc", admission.source, admission.version.without_epoch());
    let changes: Vec<&String> = returned.keys().filter(|name| name.ends_with(".changes")).collect();
    let first = changes.first().ok_or_else(|| wrong("the build returned no .changes".to_owned()))?.to_string();

    let (dsc, dsc_text) = paragraph(&admission.dir, &dsc_name)?;
    same(admission, &dsc_name, &dsc, "Source")?;
    let source_files = listed(&dsc_name, &dsc)?;
    let mut known: BTreeSet<String> = source_files.iter().map(|(name, ..)| name.clone()).collect();
    known.insert(dsc_name.clone());
    check_listed(&returned, &source_files)?;
    let source: BTreeSet<String> = known.clone();
    for name in changes {
        let (control, _) = paragraph(&admission.dir, name)?;
        same(admission, name, &control, "Source")?;
        check_changes(admission, name, &control)?;
        let files = listed(name, &control)?;
        check_listed(&returned, &files)?;
        for (file, ..) in files {
            if !source.contains(&file) {
                check_kind(admission, name, &file)?;
            }
            known.insert(file);
        }
        known.insert(name.clone());
    }
    if let Some(stray) = returned.keys().find(|name| !known.contains(*name)) {
        return Err(wrong(format!("the build returned {stray}, which no .changes lists")));
    }

    let declared: BTreeSet<&str> = dsc.get("Binary").unwrap_or_default().split(',').map(str::trim).collect();
    let component = component_of(admission, section(&dsc))?;
    let directory = directory(&component, &admission.source);
    let mut parts = vec![source_part(&dsc, &dsc_text, &dsc_name, &returned, &component, &directory)];
    let mut homes: BTreeMap<String, String> = BTreeMap::new();
    for (name, file) in &returned {
        let kind = match name.rsplit_once('.') {
            Some((_, "deb")) => Kind::Deb,
            Some((_, "udeb")) => Kind::Udeb,
            _ => continue,
        };
        let part = binary_part(admission, &declared, kind, name, file)?;
        homes.insert(
            name.clone(),
            self::directory(&part.component.parse().map_err(anyhow::Error::from)?, &admission.source),
        );
        parts.push(part);
    }
    let (mut files, mut built) = (Vec::new(), Vec::new());
    for (name, file) in returned {
        let path = format!("{}/{name}", homes.get(&name).unwrap_or(&directory));
        let new = PoolFile { path, size: file.size, sha256: file.sha256 };
        if pool::file(db, &new.path)?.is_some_and(|known| known != new) {
            return Err(Failure::new(
                FailureKind::Conflict,
                format!("the pool has another {}: a file of a version never changes, so raise the version", new.path),
            ));
        }
        files.push(new);
        built.push(file.path);
    }
    let content = Content {
        source: admission.source.clone(),
        version: admission.version.clone(),
        changes: format!("{directory}/{first}"),
        parts,
        files,
    };
    Ok(Admitted { content, built })
}

fn directory(component: &Component, source: &PackageName) -> String {
    format!("pool/{component}/{}/{source}", files::prefix(source.as_str()))
}

/// Every file that the build returned, by name.
fn returned(dir: &Path) -> Result<BTreeMap<String, Checked>, Failure> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || "+-.~_:".contains(c);
        if !entry.file_type()?.is_file() || name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            let shown = crate::text::quoted(&entry.file_name().to_string_lossy());
            return Err(wrong(format!("the build returned {shown}, which is not a plain file with a plain name")));
        }
        let (size, sha256) = files::digest(&entry.path())?;
        all.insert(name, Checked { path: entry.path(), size, sha256 });
    }
    Ok(all)
}

fn paragraph(dir: &Path, name: &str) -> Result<(Paragraph, String), Failure> {
    let path = dir.join(name);
    if fs::metadata(&path).map_err(|_| wrong(format!("the build returned no {name}")))?.len() > 64 << 20 {
        return Err(wrong(format!("{name} is larger than 64 MiB")));
    }
    let text = fs::read_to_string(&path).map_err(|error| wrong(format!("{name} cannot be read: {error}")))?;
    let parsed = text.parse().map_err(|error| wrong(format!("{name} does not parse: {error}")))?;
    Ok((parsed, text))
}

/// Source package and version must be those that were asked for.
fn same(admission: &Admission, name: &str, control: &Paragraph, field: &str) -> Result<(), Failure> {
    let source = control.get(field).unwrap_or_default().split_whitespace().next().unwrap_or_default();
    let version = control.get("Version").unwrap_or_default();
    if source != admission.source.as_str() || version != admission.version.as_str() {
        return Err(wrong(format!(
            "{name} is of {} {}, not of {} {}",
            crate::text::quoted(source),
            crate::text::quoted(version),
            admission.source,
            admission.version
        )));
    }
    Ok(())
}

/// The name and the architectures of a `.changes`, and that each of its lists has the same files.
fn check_changes(admission: &Admission, name: &str, control: &Paragraph) -> Result<(), Failure> {
    if !admission.architectures.iter().any(|architecture| name == file_name(admission, architecture, "changes")) {
        return Err(wrong(format!("the build returned {name}, which is no .changes that was asked for")));
    }
    let architectures = control.get("Architecture").unwrap_or_default();
    let asked =
        |word: &str| ["all", "source"].contains(&word) || admission.architectures.iter().any(|a| a.as_str() == word);
    if let Some(word) = architectures.split_whitespace().find(|word| !asked(word)) {
        return Err(wrong(format!("{name} is for {}, which was not asked for", crate::text::quoted(word))));
    }
    let names = |field: &str| -> BTreeSet<&str> {
        let lines = control.get(field).unwrap_or_default().lines();
        lines.filter_map(|line| line.split_whitespace().last()).collect()
    };
    let hashed = names("Checksums-Sha256");
    for field in ["Checksums-Sha1", "Files"] {
        if control.get(field).is_some() && names(field) != hashed {
            return Err(wrong(format!("{name} lists other files in {field} than in Checksums-Sha256")));
        }
    }
    Ok(())
}

fn file_name(admission: &Admission, architecture: &Architecture, suffix: &str) -> String {
    format!("{}_{}_{architecture}.{suffix}", admission.source, admission.version.without_epoch())
}

/// A build makes binary packages, which are looked at by themselves, and says with what.
fn check_kind(admission: &Admission, changes: &str, file: &str) -> Result<(), Failure> {
    if file.ends_with(".deb") || file.ends_with(".udeb") {
        return Ok(());
    }
    if !admission.architectures.iter().any(|architecture| file == file_name(admission, architecture, "buildinfo")) {
        let shown = crate::text::quoted(file);
        return Err(wrong(format!("{changes} lists {shown}, which is neither a binary package nor the .buildinfo")));
    }
    let (control, _) = paragraph(&admission.dir, file)?;
    same(admission, file, &control, "Source")
}

/// `Checksums-Sha256`: name, size and hash of each file.
fn listed(of: &str, control: &Paragraph) -> Result<Vec<(String, u64, String)>, Failure> {
    let field = control.get("Checksums-Sha256").ok_or_else(|| wrong(format!("{of} has no Checksums-Sha256")))?;
    field
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [hash, size, name] if size.parse::<u64>().is_ok() => {
                Ok((name.to_owned(), size.parse().unwrap_or(0), hash.to_owned()))
            }
            _ => Err(wrong(format!("{of} has a line in Checksums-Sha256 that does not parse"))),
        })
        .collect()
}

fn check_listed(returned: &BTreeMap<String, Checked>, listed: &[(String, u64, String)]) -> Result<(), Failure> {
    for (name, size, sha256) in listed {
        match returned.get(name) {
            Some(file) if file.size == *size && file.sha256 == *sha256 => {}
            Some(_) => return Err(wrong(format!("{name} is not what the build says it is: size or hash differs"))),
            None => {
                return Err(wrong(format!(
                    "the build says that it made {}, but it did not",
                    crate::text::quoted(name)
                )));
            }
        }
    }
    Ok(())
}

/// The section of a source package is that of the first binary that it lists.
fn section(dsc: &Paragraph) -> &str {
    let list = dsc.get("Package-List").unwrap_or_default();
    list.lines()
        .find(|line| !line.trim().is_empty())
        .and_then(|line| line.split_whitespace().nth(2))
        .unwrap_or_default()
}

/// `contrib/net` belongs to contrib, `net` to the default component.
fn component_of(admission: &Admission, section: &str) -> Result<Component, Failure> {
    let default = admission.components.first().ok_or_else(|| wrong("the suite has no component".to_owned()))?;
    let Some((name, _)) = section.split_once('/') else { return Ok(default.clone()) };
    admission.components.iter().find(|component| component.as_str() == name).cloned().ok_or_else(|| {
        wrong(format!(
            "section {} belongs to a component that the suite does not have: add it to the pocket's components",
            crate::text::quoted(section)
        ))
    })
}

fn source_part(
    dsc: &Paragraph,
    dsc_text: &str,
    dsc_name: &str,
    returned: &BTreeMap<String, Checked>,
    component: &Component,
    directory: &str,
) -> Part {
    let name = dsc.get("Source").unwrap_or_default().to_owned();
    let kept =
        deb::fields(dsc_text, &["Package", "Source", "Files", "Checksums-Sha1", "Checksums-Sha256", "Directory"]);
    let own = &returned[dsc_name];
    let sums = dsc.get("Checksums-Sha256").unwrap_or_default().lines().map(str::trim).filter(|line| !line.is_empty());
    let sums: String = sums.map(|line| format!(" {line}\n")).collect();
    let stanza = format!(
        "Package: {name}\n{kept}Directory: {directory}\nChecksums-Sha256:\n{sums} {} {} {dsc_name}\n",
        own.sha256, own.size
    );
    Part { kind: Kind::Dsc, name, architecture: String::new(), component: component.to_string(), stanza }
}

fn binary_part(
    admission: &Admission,
    declared: &BTreeSet<&str>,
    kind: Kind,
    file_name: &str,
    file: &Checked,
) -> Result<Part, Failure> {
    let (control, text) =
        deb::control(&file.path).map_err(|error| wrong(format!("{file_name} cannot be read: {error:#}")))?;
    let field = |name: &str| control.get(name).unwrap_or_default();
    let package: PackageName = field("Package").parse().map_err(|error| wrong(format!("{file_name}: {error}")))?;
    let version: Version = field("Version").parse().map_err(|error| wrong(format!("{file_name}: {error}")))?;
    let architecture = field("Architecture");
    if architecture != "all" && !admission.architectures.iter().any(|a| a.as_str() == architecture) {
        let shown = crate::text::quoted(architecture);
        return Err(wrong(format!("{file_name} is for {shown}, which was not asked for")));
    }
    let expected = format!("{package}_{}_{architecture}.{kind}", version.without_epoch());
    if file_name != expected {
        return Err(wrong(format!("{file_name} is a {expected} inside")));
    }
    // "Source: name (version)"; without a version it is the binary's, without a name the binary's too.
    let source = control.get("Source").unwrap_or(package.as_str());
    let (name, source_version) = match source.split_once('(') {
        Some((name, version)) => (name.trim(), version.trim_end_matches(')').trim()),
        None => (source.trim(), version.as_str()),
    };
    if name != admission.source.as_str() || source_version != admission.version.as_str() {
        return Err(wrong(format!("{file_name} says that it is of source package {}", crate::text::quoted(source))));
    }
    // Debug symbols are split off by debhelper (dh_strip(1)); all else is in debian/control.
    let debug =
        (field("Auto-Built-Package") == "debug-symbols").then(|| package.as_str().strip_suffix("-dbgsym")).flatten();
    if !declared.contains(debug.unwrap_or(package.as_str())) {
        return Err(wrong(format!("{file_name} is a binary package that debian/control does not have")));
    }
    let component = component_of(admission, field("Section"))?;
    let left_out = ["Package", "Source", "Filename", "Size", "MD5sum", "SHA1", "SHA256", "SHA512"];
    // Written as others read it, however the package spells it.
    let source = match (package.as_str() == name, version.as_str() == source_version) {
        (true, true) => String::new(),
        (false, true) => format!("Source: {name}\n"),
        (_, false) => format!("Source: {name} ({source_version})\n"),
    };
    let stanza = format!(
        "Package: {package}\n{source}{}Filename: {}/{file_name}\nSize: {}\nSHA256: {}\n",
        deb::fields(&text, &left_out),
        directory(&component, &admission.source),
        file.size,
        file.sha256
    );
    Ok(Part {
        kind,
        name: package.to_string(),
        architecture: architecture.to_owned(),
        component: component.to_string(),
        stanza,
    })
}

/// Puts everything into the pool, durably. The caller has written down that it is about to ([`pool::intend`]).
pub fn store(root: &Path, admitted: &Admitted) -> Result<(), Failure> {
    let mut dirs = BTreeSet::new();
    for (file, from) in admitted.content.files.iter().zip(&admitted.built) {
        let target = root.join(&file.path);
        let dir = target.parent().context("a file has a directory")?;
        files::make_dirs(dir)?;
        put(file, from, &target)?;
        dirs.insert(dir.to_owned());
    }
    dirs.iter().try_for_each(|dir| files::sync_dir(dir))?;
    Ok(reach(Point::PoolFilled)?)
}

fn put(file: &PoolFile, from: &Path, target: &Path) -> Result<(), Failure> {
    // A file that a version has may be there; one that none has may be anything.
    if target.exists() && files::digest(target)? == (file.size, file.sha256.clone()) {
        return Ok(());
    }
    let name = target.file_name().context("a file has a name")?.to_string_lossy();
    let new = target.with_file_name(format!(".{name}.new"));
    fs::copy(from, &new).with_context(|| format!("cannot write {}", new.display()))?;
    fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    fs::File::open(&new)?.sync_all()?;
    reach(Point::PoolFileWritten)?;
    fs::rename(&new, target)?;
    Ok(reach(Point::PoolFileNamed)?)
}

/// Removes what was on its way into the pool, or out of it, and what no version has now.
pub fn sweep(root: &Path, db: &Connection) -> Result<(), Failure> {
    let mut dirs = BTreeSet::new();
    for (path, wanted) in pool::intents(db)? {
        reach(Point::SweepPool)?;
        let target = root.join(&path);
        let name = target.file_name().context("a file has a name")?.to_string_lossy();
        let new = target.with_file_name(format!(".{name}.new"));
        let dir = target.parent().context("a file has a directory")?.to_owned();
        for gone in [Some(new), (!wanted).then(|| target.clone())].into_iter().flatten() {
            match fs::remove_file(&gone) {
                Ok(()) => drop(dirs.insert(dir.clone())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => Err(error).with_context(|| format!("cannot remove {}", gone.display()))?,
            }
        }
    }
    for dir in dirs {
        files::sync_dir(&dir)?;
        // Only an empty one goes.
        let _ = fs::remove_dir(&dir);
    }
    Ok(())
}
