//! Puts what a build has made into the pool, if it is what was asked for.
//!
//! Nothing that a build returns is believed: names, versions, architectures, sizes and hashes are compared with each other, with
//! the request, and with the source package, which was made before the build and without its help. A name in the pool stands
//! for the same bytes for ever; only what no version has, because somebody died before the commit, is replaced.
//!
//! What a build returns costs the daemon a bounded amount of memory and work, and reading it ([`read`]) needs nothing of the record: so it
//! keeps no other publication waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use deb822_fast::Paragraph;
use rusqlite::Connection;

use super::beside::{self, Listing, Text};
use super::deb;
use super::files::{self, Sums};
use crate::error::{Failure, FailureKind};
use crate::names::{Architecture, Component, PackageName, Suite, Version};
use crate::record::beside::What;
use crate::record::contents::{Content, Kind, Part};
use crate::record::pool::{self, PoolFile};
use crate::record::released;
use crate::stanza::{self, Stanza};

/// The largest `.changes` or `.buildinfo`, in bytes. Those of Debian's largest packages are far below 1 MiB.
const LARGEST_LIST: u64 = 4 << 20;

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
    /// The section of its source package, as debian/control has it; `None`: it has none.
    pub section: Option<String>,
    /// The suite that is to show it.
    pub suite: Suite,
    /// Its debian/changelog.
    pub changelog: Vec<u8>,
}

impl Admission {
    /// Whether a file is what a build names so: after one of the architectures, or after `all` if it made nothing else.
    fn is_named(&self, file: &str, suffix: &str) -> bool {
        let stem = format!("{}_{}_", self.source, self.version.without_epoch());
        let middle = file.strip_prefix(&stem).and_then(|rest| rest.strip_suffix(suffix)?.strip_suffix('.'));
        middle.is_some_and(|name| name == "all" || self.architectures.iter().any(|it| it.as_str() == name))
    }
}

fn wrong(text: String) -> Failure {
    Failure::new(FailureKind::Result, text)
}

/// A file with its sums.
struct Checked {
    path: PathBuf,
    sums: Sums,
}

/// A `.changes` that was checked.
struct Changes {
    name: String,
    text: String,
    /// The words of its field `Architecture` that are not for files which are left out.
    architectures: Vec<String>,
    /// What it lists and is published.
    files: BTreeSet<String>,
}

/// What a build has made, found to be what was asked for.
#[derive(Debug)]
pub struct Admitted {
    /// What the pool is to have of it.
    pub content: Content,
    /// Where each of its files is now, in the order of `content.files`.
    pub(super) built: Vec<PathBuf>,
    /// What is to be written beside the pool.
    pub(super) texts: Vec<Text>,
    /// Files that the build lists and that are no packages: each with its section. They are not published.
    pub left_out: Vec<String>,
}

/// Checks what a build has made by itself; nothing is written.
pub fn read(admission: &Admission) -> Result<Admitted, Failure> {
    let returned = returned(admission)?;
    let dsc_name = format!("{}_{}.dsc", admission.source, admission.version.without_epoch());
    let names: Vec<&String> = returned.keys().filter(|name| name.ends_with(".changes")).collect();
    let first = names.first().ok_or_else(|| wrong("the build returned no .changes".to_owned()))?.to_string();

    let (dsc, dsc_text) = paragraph(&admission.dir, &dsc_name, stanza::LARGEST_SOURCE)?;
    same(admission, &dsc_name, &dsc, "Source")?;
    let source_files = listed(&dsc_name, &dsc, returned.len())?;
    let mut known: BTreeSet<String> = source_files.iter().map(|(name, ..)| name.clone()).collect();
    known.insert(dsc_name.clone());
    check_listed(&returned, &source_files)?;
    let mut published = known.clone();
    let (mut changes, mut left_out) = (Vec::new(), BTreeMap::new());
    for name in names {
        let (control, text) = paragraph(&admission.dir, name, LARGEST_LIST)?;
        same(admission, name, &control, "Source")?;
        let files = listed(name, &control, returned.len())?;
        check_lists(admission, name, &control, &files)?;
        check_listed(&returned, &files)?;
        let all: BTreeSet<String> = files.into_iter().map(|(file, ..)| file).collect();
        let mut mine = BTreeSet::new();
        for file in &all {
            if source_or_package(admission, file, &known)? {
                mine.insert(file.clone());
            } else {
                left_out.insert(file.clone(), section_of(&control, file));
            }
        }
        let architectures = architectures(admission, name, &control, all.difference(&mine))?;
        published.extend(mine.iter().cloned());
        changes.push(Changes { name: name.clone(), text, architectures, files: mine });
    }
    known.extend(published.iter().chain(left_out.keys()).cloned());
    known.extend(changes.iter().map(|one| one.name.clone()));
    if let Some(stray) = returned.keys().find(|name| !known.contains(*name)) {
        return Err(wrong(format!("the build returned {stray}, which no .changes lists")));
    }

    let declared: BTreeSet<&str> = dsc.get("Binary").unwrap_or_default().split(',').map(str::trim).collect();
    let component = component_of_source(admission, &dsc)?;
    let directory = directory(&component, &admission.source);
    let mut parts = vec![source_part(admission, &dsc, &dsc_text, &returned, &component, &directory)?];
    let mut room = deb::MAX_TOGETHER;
    let mut homes: BTreeMap<String, String> = BTreeMap::new();
    for (name, file) in &returned {
        let Some(kind) = kind_of(name) else { continue };
        let part = binary_part(admission, &declared, kind, name, file, &mut room)?;
        let is_same = |it: &Part| (it.kind, &it.name, &it.architecture) == (part.kind, &part.name, &part.architecture);
        if parts.iter().any(is_same) {
            return Err(wrong(format!("{name} is a second file of binary package {}", part.name)));
        }
        homes.insert(
            name.clone(),
            self::directory(&part.component.parse().map_err(anyhow::Error::from)?, &admission.source),
        );
        parts.push(part);
    }
    check_together(admission, &parts)?;
    let (mut files, mut built) = (Vec::new(), Vec::new());
    for (name, file) in returned.iter().filter(|(name, _)| published.contains(*name)) {
        let path = format!("{}/{name}", homes.get(name).unwrap_or(&directory));
        files.push(PoolFile { path, size: file.sums.size, sha256: file.sums.sha256.clone() });
        built.push(file.path.clone());
    }
    let mut content = Content {
        source: admission.source.clone(),
        version: admission.version.clone(),
        changes: beside::changes_path(&admission.suite, &admission.source, &admission.version, &first),
        parts,
        files,
        beside: Vec::new(),
    };
    let composed = changes.iter().map(|one| (one.name.clone(), one.compose(&returned))).collect();
    let mut texts = beside::add_changes(&mut content, &admission.suite, composed);
    texts.extend(beside::add_changelog(&mut content, &admission.changelog));
    let left_out = left_out.into_iter().map(|(file, section)| format!("{file} ({section})")).collect();
    Ok(Admitted { content, built, texts, left_out })
}

impl Changes {
    fn compose(&self, returned: &BTreeMap<String, Checked>) -> String {
        let files = self.files.iter().map(|file| (&file[..], &returned[file].sums)).collect();
        let architectures = self.architectures.iter().map(String::as_str).collect();
        Listing { text: &self.text, files, architectures }.compose()
    }
}

/// What a file is, by its name, if it is a binary package. Ubuntu's debug symbols are in `.ddeb`s.
fn kind_of(name: &str) -> Option<Kind> {
    match name.rsplit_once('.')?.1 {
        "deb" | "ddeb" => Some(Kind::Deb),
        "udeb" => Some(Kind::Udeb),
        _ => None,
    }
}

/// Checks that the pool can take it.
pub fn fits(db: &Connection, admitted: &mut Admitted) -> Result<(), Failure> {
    rename_buildinfo(db, &mut admitted.content)?;
    for new in &admitted.content.files {
        if pool::file(db, &new.path)?.is_some_and(|known| known != *new) {
            let of = match pool::owner(db, &new.path)? {
                Some((source, version)) => format!(", which {source} {version} has brought"),
                None => String::new(),
            };
            let raise = match new.path.ends_with("deb") {
                true => "the version of that binary package",
                false => "the version",
            };
            let text = format!("the pool has another {}{of}: a file never changes there, so raise {raise}", new.path);
            return Err(Failure::new(FailureKind::Conflict, text));
        }
        if pool::file(db, &new.path)?.is_none() {
            released::demand_new(db, &new.path, &new.sha256)?;
            if pool::was_another(db, new)? {
                return Err(Failure::new(
                    FailureKind::Conflict,
                    format!(
                        "{} would not be the file that 'archive gc' removed: a file of a version never changes, so raise the \
                         version in debian/changelog",
                        new.path
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// Gives what describes a build a name of its own where the pool had that of another build of the version, which is gone.
fn rename_buildinfo(db: &Connection, content: &mut Content) -> Result<(), Failure> {
    for file in content.files.iter_mut().filter(|file| file.path.ends_with(".buildinfo")) {
        let old = file.path.clone();
        let stem = old.strip_suffix(".buildinfo").unwrap_or(&old);
        let mut number = 1;
        while pool::file(db, &file.path)?.is_none() && pool::was_another(db, file)? {
            number += 1;
            file.path = format!("{stem}.{number}.buildinfo");
        }
        for beside in &mut content.beside {
            match &mut beside.what {
                What::Link(target) if target.ends_with(&format!("/{old}")) => {
                    *target = target.replace(&old, &file.path)
                }
                What::Link(_) | What::File { .. } => {}
            }
        }
    }
    Ok(())
}

/// How much one version may bring into the index of one architecture.
fn check_together(admission: &Admission, parts: &[Part]) -> Result<(), Failure> {
    for architecture in &admission.architectures {
        let mine = parts.iter().filter(|part| part.architecture == "all" || part.architecture == architecture.as_str());
        let bytes: u64 = mine.map(|part| part.stanza.len() as u64).sum();
        if bytes > stanza::LARGEST_TOGETHER {
            return Err(wrong(format!(
                "the binary packages for {architecture} have {} KiB in Packages, and {} KiB, four times what Debian's largest \
                 source package has there, are the most",
                bytes >> 10,
                stanza::LARGEST_TOGETHER >> 10
            )));
        }
    }
    Ok(())
}

/// The number of packages, by their names: before any of them is read.
fn check_number<'a>(admission: &Admission, names: impl Iterator<Item = &'a String>) -> Result<(), Failure> {
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        if kind_of(name).is_none() {
            continue;
        }
        let stem = name.rsplit_once('.').map_or("", |(stem, _)| stem);
        *numbers.entry(stem.rsplit_once('_').map_or("", |(_, architecture)| architecture)).or_default() += 1;
    }
    let of = |architecture: &str| numbers.get(architecture).copied().unwrap_or_default();
    for architecture in &admission.architectures {
        let number = of("all") + of(architecture.as_str());
        if number > stanza::MOST_PACKAGES {
            return Err(wrong(format!(
                "the build returned {number} binary packages for {architecture}, and {}, four times what Debian's largest source \
                 package has, are the most",
                stanza::MOST_PACKAGES
            )));
        }
    }
    Ok(())
}

fn directory(component: &Component, source: &PackageName) -> String {
    format!("pool/{component}/{}/{source}", files::prefix(source.as_str()))
}

/// Every file that the build returned, by name.
fn returned(admission: &Admission) -> Result<BTreeMap<String, Checked>, Failure> {
    let dir = &admission.dir;
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap_or_default();
        // What dpkg-distaddfile(1) takes.
        let plain = |c: char| c.is_ascii_alphanumeric() || "+-.~_:,".contains(c);
        if !entry.file_type()?.is_file() || name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            let shown = crate::text::quoted(&entry.file_name().to_string_lossy());
            return Err(wrong(format!("the build returned {shown}, which is not a plain file with a plain name")));
        }
        found.insert(name, entry.path());
    }
    check_number(admission, found.keys())?;
    let mut all = BTreeMap::new();
    for (name, path) in found {
        let sums = files::sums(&path)?;
        all.insert(name, Checked { path, sums });
    }
    Ok(all)
}

fn paragraph(dir: &Path, name: &str, largest: u64) -> Result<(Paragraph, String), Failure> {
    let path = dir.join(name);
    if fs::metadata(&path).map_err(|_| wrong(format!("the build returned no {name}")))?.len() > largest {
        return Err(wrong(format!("{name} is larger than {} KiB", largest >> 10)));
    }
    let text = fs::read_to_string(&path).map_err(|error| wrong(format!("{name} cannot be read: {error}")))?;
    // Each field costs more memory than a line that goes on.
    let fields = text.lines().filter(|line| !line.starts_with([' ', '\t'])).count();
    if fields > stanza::MOST_FIELDS {
        return Err(wrong(format!(
            "{name} has {fields} lines that are fields, and {} are the most",
            stanza::MOST_FIELDS
        )));
    }
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

/// The name of a `.changes`, and that each of its lists has the same files.
fn check_lists(
    admission: &Admission,
    name: &str,
    control: &Paragraph,
    files: &[(String, u64, String)],
) -> Result<(), Failure> {
    if !admission.is_named(name, "changes") {
        return Err(wrong(format!("the build returned {name}, which is no .changes that was asked for")));
    }
    let hashed: BTreeSet<&str> = files.iter().map(|(file, ..)| file.as_str()).collect();
    for field in ["Checksums-Sha1", "Files"] {
        let Some(list) = control.get(field) else { continue };
        // One after the other: it may have far more lines than there are files.
        let mut names = list.lines().filter_map(|line| line.split_whitespace().last());
        let mut seen = BTreeSet::new();
        if names.any(|file| !hashed.contains(file) || !seen.insert(file)) || seen.len() != hashed.len() {
            return Err(wrong(format!("{name} lists other files in {field} than in Checksums-Sha256")));
        }
    }
    Ok(())
}

/// Whether a file is published: a build makes binary packages, which are looked at by themselves, and says with what. Whatever else a
/// package lists by dpkg-distaddfile(1) is not.
fn source_or_package(admission: &Admission, file: &str, source: &BTreeSet<String>) -> Result<bool, Failure> {
    if source.contains(file) || kind_of(file).is_some() {
        return Ok(true);
    }
    if !admission.is_named(file, "buildinfo") {
        return Ok(false);
    }
    let (control, _) = paragraph(&admission.dir, file, LARGEST_LIST)?;
    same(admission, file, &control, "Source")?;
    Ok(true)
}

/// The words of `Architecture` of a `.changes` that are not for files which are left out: dpkg-genchanges takes what stands
/// there in the name of any file for one.
fn architectures<'a>(
    admission: &Admission,
    name: &str,
    control: &Paragraph,
    left_out: impl Iterator<Item = &'a String>,
) -> Result<Vec<String>, Failure> {
    let third = |file: &'a String| Some(file.splitn(3, '_').nth(2)?.split_once('.')?.0);
    let theirs: BTreeSet<&str> = left_out.filter_map(third).collect();
    let asked =
        |word: &str| ["all", "source"].contains(&word) || admission.architectures.iter().any(|a| a.as_str() == word);
    let mut words = Vec::new();
    for word in control.get("Architecture").unwrap_or_default().split_whitespace() {
        if asked(word) {
            words.push(word.to_owned());
        } else if !theirs.contains(word) {
            return Err(wrong(format!("{name} is for {}, which was not asked for", crate::text::quoted(word))));
        }
    }
    Ok(words)
}

/// The section that a `.changes` has for a file, as text that may be shown.
fn section_of(control: &Paragraph, file: &str) -> String {
    let mut lines = control.get("Files").unwrap_or_default().lines().map(|line| line.split_whitespace());
    let words = lines.find(|words| words.clone().last() == Some(file));
    let section = words.and_then(|mut words| words.nth(2)).filter(|section| *section != file);
    crate::text::one_line(section.unwrap_or("no section"))
}

/// `Checksums-Sha256`: name, size and hash of each file, of which there are `most`.
fn listed(of: &str, control: &Paragraph, most: usize) -> Result<Vec<(String, u64, String)>, Failure> {
    let field = control.get("Checksums-Sha256").ok_or_else(|| wrong(format!("{of} has no Checksums-Sha256")))?;
    let mut found = Vec::new();
    for line in field.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let (Some(hash), Some(Ok(size)), Some(name), None) =
            (words.next(), words.next().map(str::parse), words.next(), words.next())
        else {
            return Err(wrong(format!("{of} has a line in Checksums-Sha256 that does not parse")));
        };
        if found.len() == most {
            return Err(wrong(format!("{of} lists more files in Checksums-Sha256 than there are")));
        }
        found.push((name.to_owned(), size, hash.to_owned()));
    }
    Ok(found)
}

fn check_listed(returned: &BTreeMap<String, Checked>, listed: &[(String, u64, String)]) -> Result<(), Failure> {
    for (name, size, sha256) in listed {
        match returned.get(name) {
            Some(file) if file.sums.size == *size && file.sums.sha256 == *sha256 => {}
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

/// A word of the first binary package that the source package lists: its name, type, section, priority.
fn of_first(dsc: &Paragraph, word: usize) -> &str {
    let list = dsc.get("Package-List").unwrap_or_default();
    let first = list.lines().find(|line| !line.trim().is_empty());
    first.and_then(|line| line.split_whitespace().nth(word)).unwrap_or_default()
}

/// The component of a source package is that of its section (Debian policy 5.6.5). Without one it is where all of its binary packages
/// are, or else the default.
fn component_of_source(admission: &Admission, dsc: &Paragraph) -> Result<Component, Failure> {
    if let Some(section) = &admission.section {
        return component_of(admission, section);
    }
    let list = dsc.get("Package-List").unwrap_or_default();
    let sections = list.lines().filter_map(|line| line.split_whitespace().nth(2));
    let all: BTreeSet<Component> =
        sections.map(|section| component_of(admission, section)).collect::<Result<_, _>>()?;
    match all.first() {
        Some(only) if all.len() == 1 => Ok(only.clone()),
        _ => component_of(admission, ""),
    }
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
    admission: &Admission,
    dsc: &Paragraph,
    dsc_text: &str,
    returned: &BTreeMap<String, Checked>,
    component: &Component,
    directory: &str,
) -> Result<Part, Failure> {
    let name = dsc.get("Source").unwrap_or_default().to_owned();
    let dsc_name = &format!("{}_{}.dsc", admission.source, admission.version.without_epoch());
    let kept = Stanza::read(dsc_text)
        .and_then(|stanza| stanza.of_source())
        .map_err(|error| wrong(format!("{dsc_name} {error:#}")))?;
    let own = &returned[dsc_name].sums;
    let md5 = |name: &str, sums: &Sums| format!(" {} {} {name}\n", sums.md5, sums.size);
    let files: String =
        listed(dsc_name, dsc, returned.len())?.iter().map(|(name, ..)| md5(name, &returned[name].sums)).collect();
    let sums = dsc.get("Checksums-Sha256").unwrap_or_default().lines().map(str::trim).filter(|line| !line.is_empty());
    let sums: String = sums.map(|line| format!(" {line}\n")).collect();
    let line = |field: &str, value: &str| if value.is_empty() { String::new() } else { format!("{field}: {value}\n") };
    let stanza = format!(
        "Package: {name}\n{kept}Directory: {directory}\n{}{}Files:\n{files}{}Checksums-Sha256:\n{sums} {} {} {dsc_name}\n",
        line("Priority", of_first(dsc, 3)),
        line("Section", admission.section.as_deref().unwrap_or_else(|| of_first(dsc, 2))),
        md5(dsc_name, own),
        own.sha256,
        own.size
    );
    Ok(Part { kind: Kind::Dsc, name, architecture: String::new(), component: component.to_string(), stanza })
}

fn binary_part(
    admission: &Admission,
    declared: &BTreeSet<&str>,
    kind: Kind,
    file_name: &str,
    file: &Checked,
    room: &mut u64,
) -> Result<Part, Failure> {
    let (control, text) =
        deb::control(&file.path, room).map_err(|error| wrong(format!("{file_name} cannot be read: {error:#}")))?;
    let field = |name: &str| control.get(name).unwrap_or_default();
    let package: PackageName = field("Package").parse().map_err(|error| wrong(format!("{file_name}: {error}")))?;
    let version: Version = field("Version").parse().map_err(|error| wrong(format!("{file_name}: {error}")))?;
    let architecture = field("Architecture");
    if architecture != "all" && !admission.architectures.iter().any(|a| a.as_str() == architecture) {
        let shown = crate::text::quoted(architecture);
        return Err(wrong(format!("{file_name} is for {shown}, which was not asked for")));
    }
    let stem = format!("{package}_{}_{architecture}", version.without_epoch());
    if file_name.rsplit_once('.').is_none_or(|(name, _)| name != stem) {
        let expected = format!("{stem}.{kind}");
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
    let component = component_of(admission, field("Section"))
        .map_err(|failure| Failure { text: format!("{file_name}: {}", failure.text), ..failure })?;
    let kept = Stanza::read(&text)
        .and_then(|stanza| stanza.of_binary())
        .map_err(|error| wrong(format!("the control file of {file_name} {error:#}")))?;
    // Written as others read it, however the package spells it.
    let source = match (package.as_str() == name, version.as_str() == source_version) {
        (true, true) => String::new(),
        (false, true) => format!("Source: {name}\n"),
        (_, false) => format!("Source: {name} ({source_version})\n"),
    };
    let stanza = format!(
        "Package: {package}\n{source}{kept}Filename: {}/{file_name}\nSize: {}\nSHA256: {}\n",
        directory(&component, &admission.source),
        file.sums.size,
        file.sums.sha256
    );
    Ok(Part {
        kind,
        name: package.to_string(),
        architecture: architecture.to_owned(),
        component: component.to_string(),
        stanza,
    })
}
