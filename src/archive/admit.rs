//! Checks what a build has made, and whether the pool can take it: it has to be what was asked for.
//!
//! We believe nothing that a build returns: we compare names, versions, architectures, sizes and
//! hashes with each other, with the request, and with the source package, which was made before the
//! build and without its help. A name in the pool stands for the same bytes for ever. We only
//! replace what no version has, because a process died before the commit.
//!
//! What a build returns costs the daemon a bounded amount of memory and work, and reading it
//! ([`read`]) needs nothing of the record: so it keeps no other publication waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use deb822_fast::Paragraph;
use rusqlite::Connection;

use crate::beside::{self, ChangesFile, Text};
use crate::control_tar;
use crate::deb;
use invirtibuilder_api::archive::PoolFile;
use invirtibuilder_core::domain::{Identity, SuiteId};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::names::{Architecture, Component, DomainName, PackageName, Version};
use invirtibuilder_core::stanza::{self, Stanza};
use invirtibuilder_store::beside::FileOrLink;
use invirtibuilder_store::contents::{Content, Part, PartKind};
use invirtibuilder_store::pool;
use invirtibuilder_store::released;
use invirtibuilder_system::files::{self, Sums};

/// The largest `.changes` or `.buildinfo`, in bytes. Those of Debian's largest packages are far
/// below 1 MiB.
const LARGEST_LIST: u64 = 4 << 20;

/// The request of a build, and the directory with what the build returned.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The directory that holds what the build returned, and nothing else.
    pub dir: PathBuf,
    /// The source package.
    pub source: PackageName,
    /// The version of the source package.
    pub version: Version,
    /// The components that the source package may belong to, the default one first.
    pub components: Vec<Component>,
    /// The architectures that its binaries may have besides `all`.
    pub architectures: Vec<Architecture>,
    /// The section of its source package, as debian/control has it; `None`: it has none.
    pub section: Option<String>,
    /// The suite that shall show it.
    pub suite: SuiteId,
    /// The source package's debian/changelog.
    pub changelog: Vec<u8>,
}

impl Admission {
    /// Tells whether a file has the name that a build gives it: after one of the architectures, or
    /// after `all` if it made nothing else.
    fn is_named(&self, file: &str, suffix: &str) -> bool {
        let stem = format!("{}_{}_", self.source, self.version.without_epoch());
        let middle =
            file.strip_prefix(&stem).and_then(|rest| rest.strip_suffix(suffix)?.strip_suffix('.'));
        middle.is_some_and(|name| {
            name == "all" || self.architectures.iter().any(|it| it.as_str() == name)
        })
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

/// A `.changes` that we have checked.
struct Changes {
    name: String,
    text: String,
    /// The words of its field `Architecture` that are not for files which are left out.
    architectures: Vec<String>,
    /// The files that it lists and that the suite publishes.
    files: BTreeSet<String>,
}

/// The files of a build, found to be what was asked for.
#[derive(Debug)]
pub struct Admitted {
    /// The content that the pool gets from them.
    pub content: Content,
    /// The path that each of its files has now, in the order of `content.files`.
    pub(super) built: Vec<PathBuf>,
    /// The texts to write beside the pool.
    pub(super) texts: Vec<Text>,
    /// The files that the build lists and that are no packages, each with its section. The suite
    /// does not publish them.
    pub left_out: Vec<String>,
}

/// Checks what a build has made by itself. It writes nothing.
pub fn read(admission: &Admission) -> Result<Admitted, Failure> {
    let returned = returned(admission)?;
    let dsc_name = format!("{}_{}.dsc", admission.source, admission.version.without_epoch());
    let names: Vec<&String> = returned.keys().filter(|name| name.ends_with(".changes")).collect();
    let first =
        (*names.first().ok_or_else(|| wrong("the build returned no .changes".to_owned()))?).clone();

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

    let declared: BTreeSet<&str> =
        dsc.get("Binary").unwrap_or_default().split(',').map(str::trim).collect();
    let component = component_of_source(admission, &dsc)?;
    let directory = directory(&component, &admission.source);
    let mut parts =
        vec![source_part(admission, (&dsc, &dsc_text), &returned, &component, &directory)?];
    let mut room = control_tar::MAX_TOGETHER;
    let mut homes: BTreeMap<String, String> = BTreeMap::new();
    for (name, file) in &returned {
        let Some(kind) = kind_of(name) else { continue };
        let part = binary_part(admission, &declared, (kind, name), file, &mut room)?;
        let is_same = |it: &Part| {
            (it.kind, &it.name, &it.architecture) == (part.kind, &part.name, &part.architecture)
        };
        if parts.iter().any(is_same) {
            return Err(wrong(format!("{name} is a second file of binary package {}", part.name)));
        }
        homes.insert(
            name.clone(),
            self::directory(
                &part.component.parse().map_err(anyhow::Error::from)?,
                &admission.source,
            ),
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
        id: Identity {
            domain: admission.suite.domain.clone(),
            package: admission.source.clone(),
            version: admission.version.clone(),
        },
        changes: beside::changes_path(
            &admission.suite.suite,
            &admission.source,
            &admission.version,
            &first,
        ),
        parts,
        files,
        beside: Vec::new(),
    };
    let composed = changes.iter().map(|one| (one.name.clone(), one.compose(&returned))).collect();
    let mut texts = beside::add_changes(&mut content, &admission.suite.suite, composed);
    texts.extend(beside::add_changelog(&mut content, &admission.changelog));
    let left_out =
        left_out.into_iter().map(|(file, section)| format!("{file} ({section})")).collect();
    Ok(Admitted { content, built, texts, left_out })
}

impl Changes {
    fn compose(&self, returned: &BTreeMap<String, Checked>) -> String {
        let files = self.files.iter().map(|file| (&file[..], &returned[file].sums)).collect();
        let architectures = self.architectures.iter().map(String::as_str).collect();
        ChangesFile { text: &self.text, files, architectures }.compose()
    }
}

/// Finds the kind of a file by its name, if it is a binary package. Ubuntu's debug symbols are in
/// `.ddeb`s.
fn kind_of(name: &str) -> Option<PartKind> {
    match name.rsplit_once('.')?.1 {
        "deb" | "ddeb" => Some(PartKind::Deb),
        "udeb" => Some(PartKind::Udeb),
        _ => None,
    }
}

/// Checks that the pool of its domain can take what was admitted.
pub fn fits(db: &Connection, admitted: &mut Admitted) -> Result<(), Failure> {
    rename_buildinfo(db, &mut admitted.content)?;
    let content = &admitted.content;
    content.files.iter().try_for_each(|file| fits_pool(db, &content.id.domain, file))
}

/// Checks that a domain's pool can take a file: it has no other one of that name, never had, and
/// has not let go of these bytes.
pub fn fits_pool(db: &Connection, domain: &DomainName, new: &PoolFile) -> Result<(), Failure> {
    let known = pool::file(db, domain, &new.path)?;
    if known.as_ref().is_some_and(|known| known != new) {
        let of = match pool::owner(db, domain, &new.path)? {
            Some(owner) => format!(", which {} {} has brought", owner.package, owner.version),
            None => String::new(),
        };
        let raise = match new.path.ends_with("deb") {
            true => "the version of that binary package",
            false => "the version",
        };
        let text = format!(
            "the pool has another {}{of}: a file never changes there, so raise {raise}",
            new.path
        );
        return Err(Failure::new(FailureKind::Conflict, text));
    }
    if known.is_none() {
        released::demand_new(db, domain, &new.path, &new.sha256)?;
        if pool::was_another(db, domain, new)? {
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
    Ok(())
}

/// Gives the `.buildinfo` of a build a name of its own where the pool had that of another build of
/// the version, which is gone.
fn rename_buildinfo(db: &Connection, content: &mut Content) -> Result<(), Failure> {
    let domain = &content.id.domain;
    for file in content.files.iter_mut().filter(|file| file.path.ends_with(".buildinfo")) {
        let old = file.path.clone();
        let stem = old.strip_suffix(".buildinfo").unwrap_or(&old);
        let mut number = 1;
        while pool::file(db, domain, &file.path)?.is_none() && pool::was_another(db, domain, file)?
        {
            number += 1;
            file.path = format!("{stem}.{number}.buildinfo");
        }
        for beside in &mut content.beside {
            match &mut beside.what {
                FileOrLink::Link(target) if target.ends_with(&format!("/{old}")) => {
                    *target = target.replace(&old, &file.path);
                }
                FileOrLink::Link(_) | FileOrLink::File { .. } => {}
            }
        }
    }
    Ok(())
}

/// Refuses a version that brings too much into the index of one architecture.
fn check_together(admission: &Admission, parts: &[Part]) -> Result<(), Failure> {
    for architecture in &admission.architectures {
        let mine = parts.iter().filter(|part| {
            part.architecture == "all" || part.architecture == architecture.as_str()
        });
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

/// Refuses too many packages, by their names: before it reads any of them.
fn check_number<'a>(
    admission: &Admission,
    names: impl Iterator<Item = &'a String>,
) -> Result<(), Failure> {
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        if kind_of(name).is_none() {
            continue;
        }
        let stem = name.rsplit_once('.').map_or("", |(stem, _)| stem);
        *numbers
            .entry(stem.rsplit_once('_').map_or("", |(_, architecture)| architecture))
            .or_default() += 1;
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
    format!("pool/{component}/{}/{source}", source.pool_prefix())
}

/// Reads every file that the build returned, by name.
fn returned(admission: &Admission) -> Result<BTreeMap<String, Checked>, Failure> {
    let dir = &admission.dir;
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap_or_default();
        // What dpkg-distaddfile(1) takes.
        let plain = |c: char| c.is_ascii_alphanumeric() || "+-.~_:,".contains(c);
        if !entry.file_type()?.is_file()
            || name.is_empty()
            || name.starts_with('.')
            || !name.chars().all(plain)
        {
            let shown = invirtibuilder_core::text::quoted(&entry.file_name().to_string_lossy());
            return Err(wrong(format!(
                "the build returned {shown}, which is not a plain file with a plain name"
            )));
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
    if fs::metadata(&path).map_err(|_| wrong(format!("the build returned no {name}")))?.len()
        > largest
    {
        return Err(wrong(format!("{name} is larger than {} KiB", largest >> 10)));
    }
    let text = fs::read_to_string(&path)
        .map_err(|error| wrong(format!("{name} cannot be read: {error}")))?;
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

/// Refuses a file whose source package and version are not those that were asked for.
fn same(
    admission: &Admission,
    name: &str,
    control: &Paragraph,
    field: &str,
) -> Result<(), Failure> {
    let source =
        control.get(field).unwrap_or_default().split_whitespace().next().unwrap_or_default();
    let version = control.get("Version").unwrap_or_default();
    if source != admission.source.as_str() || version != admission.version.as_str() {
        return Err(wrong(format!(
            "{name} is of {} {}, not of {} {}",
            invirtibuilder_core::text::quoted(source),
            invirtibuilder_core::text::quoted(version),
            admission.source,
            admission.version
        )));
    }
    Ok(())
}

/// Checks the name of a `.changes`, and that each of its lists has the same files.
fn check_lists(
    admission: &Admission,
    name: &str,
    control: &Paragraph,
    files: &[(String, u64, String)],
) -> Result<(), Failure> {
    if !admission.is_named(name, "changes") {
        return Err(wrong(format!(
            "the build returned {name}, which is no .changes that was asked for"
        )));
    }
    let hashed: BTreeSet<&str> = files.iter().map(|(file, ..)| file.as_str()).collect();
    for field in ["Checksums-Sha1", "Files"] {
        let Some(list) = control.get(field) else { continue };
        // One after the other: it may have far more lines than there are files.
        let mut names = list.lines().filter_map(|line| line.split_whitespace().last());
        let mut seen = BTreeSet::new();
        if names.any(|file| !hashed.contains(file) || !seen.insert(file))
            || seen.len() != hashed.len()
        {
            return Err(wrong(format!(
                "{name} lists other files in {field} than in Checksums-Sha256"
            )));
        }
    }
    Ok(())
}

/// Tells whether the suite publishes a file. A build makes binary packages, which are looked at by
/// themselves, and a `.buildinfo` says with what. Whatever else a package lists by
/// dpkg-distaddfile(1) is not published.
fn source_or_package(
    admission: &Admission,
    file: &str,
    source: &BTreeSet<String>,
) -> Result<bool, Failure> {
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

/// Lists the words of `Architecture` of a `.changes` that are not for files which are left out:
/// dpkg-genchanges takes what stands there in the name of any file for one.
fn architectures<'a>(
    admission: &Admission,
    name: &str,
    control: &Paragraph,
    left_out: impl Iterator<Item = &'a String>,
) -> Result<Vec<String>, Failure> {
    let third = |file: &'a String| Some(file.splitn(3, '_').nth(2)?.split_once('.')?.0);
    let theirs: BTreeSet<&str> = left_out.filter_map(third).collect();
    let asked = |word: &str| {
        ["all", "source"].contains(&word)
            || admission.architectures.iter().any(|a| a.as_str() == word)
    };
    let mut words = Vec::new();
    for word in control.get("Architecture").unwrap_or_default().split_whitespace() {
        if asked(word) {
            words.push(word.to_owned());
        } else if !theirs.contains(word) {
            return Err(wrong(format!(
                "{name} is for {}, which was not asked for",
                invirtibuilder_core::text::quoted(word)
            )));
        }
    }
    Ok(words)
}

/// Reads the section that a `.changes` has for a file, as text that may be shown.
fn section_of(control: &Paragraph, file: &str) -> String {
    let mut lines =
        control.get("Files").unwrap_or_default().lines().map(|line| line.split_whitespace());
    let words = lines.find(|words| words.clone().last() == Some(file));
    let section = words.and_then(|mut words| words.nth(2)).filter(|section| *section != file);
    invirtibuilder_core::text::one_line(section.unwrap_or("no section"))
}

/// Reads `Checksums-Sha256`: name, size and hash of each file, of which there are `most`.
fn listed(
    of: &str,
    control: &Paragraph,
    most: usize,
) -> Result<Vec<(String, u64, String)>, Failure> {
    let field = control
        .get("Checksums-Sha256")
        .ok_or_else(|| wrong(format!("{of} has no Checksums-Sha256")))?;
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

fn check_listed(
    returned: &BTreeMap<String, Checked>,
    listed: &[(String, u64, String)],
) -> Result<(), Failure> {
    for (name, size, sha256) in listed {
        match returned.get(name) {
            Some(file) if file.sums.size == *size && file.sums.sha256 == *sha256 => {}
            Some(_) => {
                return Err(wrong(format!(
                    "{name} is not what the build says it is: size or hash differs"
                )));
            }
            None => {
                return Err(wrong(format!(
                    "the build says that it made {}, but it did not",
                    invirtibuilder_core::text::quoted(name)
                )));
            }
        }
    }
    Ok(())
}

/// Reads a word of the first binary package that the source package lists: its name, type, section,
/// priority.
fn of_first(dsc: &Paragraph, word: usize) -> &str {
    let list = dsc.get("Package-List").unwrap_or_default();
    let first = list.lines().find(|line| !line.trim().is_empty());
    first.and_then(|line| line.split_whitespace().nth(word)).unwrap_or_default()
}

/// Finds the component of a source package: it is that of its section (Debian policy 5.6.5).
/// Without one it is where all of its binary packages are, or else the default.
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

/// Finds the component of a section: `contrib/net` belongs to contrib, `net` to the default
/// component.
fn component_of(admission: &Admission, section: &str) -> Result<Component, Failure> {
    let default = admission
        .components
        .first()
        .ok_or_else(|| wrong("the suite has no component".to_owned()))?;
    let Some((name, _)) = section.split_once('/') else { return Ok(default.clone()) };
    admission.components.iter().find(|component| component.as_str() == name).cloned().ok_or_else(|| {
        wrong(format!(
            "section {} belongs to a component that the suite does not have: add it to the pocket's components",
            invirtibuilder_core::text::quoted(section)
        ))
    })
}

fn source_part(
    admission: &Admission,
    (dsc, dsc_text): (&Paragraph, &str),
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
    let files: String = listed(dsc_name, dsc, returned.len())?
        .iter()
        .map(|(name, ..)| md5(name, &returned[name].sums))
        .collect();
    let sums = dsc
        .get("Checksums-Sha256")
        .unwrap_or_default()
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let sums: String = sums.map(|line| format!(" {line}\n")).collect();
    let line = |field: &str, value: &str| {
        if value.is_empty() { String::new() } else { format!("{field}: {value}\n") }
    };
    let stanza = format!(
        "Package: {name}\n{kept}Directory: {directory}\n{}{}Files:\n{files}{}Checksums-Sha256:\n{sums} {} {} {dsc_name}\n",
        line("Priority", of_first(dsc, 3)),
        line("Section", admission.section.as_deref().unwrap_or_else(|| of_first(dsc, 2))),
        md5(dsc_name, own),
        own.sha256,
        own.size
    );
    Ok(Part {
        kind: PartKind::Dsc,
        name,
        architecture: String::new(),
        component: component.to_string(),
        stanza,
    })
}

fn binary_part(
    admission: &Admission,
    declared: &BTreeSet<&str>,
    (kind, file_name): (PartKind, &str),
    file: &Checked,
    room: &mut u64,
) -> Result<Part, Failure> {
    let (control, text) = deb::control(&file.path, room)
        .map_err(|error| wrong(format!("{file_name} cannot be read: {error:#}")))?;
    let field = |name: &str| control.get(name).unwrap_or_default();
    let package: PackageName =
        field("Package").parse().map_err(|error| wrong(format!("{file_name}: {error}")))?;
    let version: Version =
        field("Version").parse().map_err(|error| wrong(format!("{file_name}: {error}")))?;
    let architecture = field("Architecture");
    if architecture != "all" && !admission.architectures.iter().any(|a| a.as_str() == architecture)
    {
        let shown = invirtibuilder_core::text::quoted(architecture);
        return Err(wrong(format!("{file_name} is for {shown}, which was not asked for")));
    }
    let stem = format!("{package}_{}_{architecture}", version.without_epoch());
    if file_name.rsplit_once('.').is_none_or(|(name, _)| name != stem) {
        let expected = format!("{stem}.{kind}");
        return Err(wrong(format!("{file_name} is a {expected} inside")));
    }
    // "Source: name (version)"; without a version it is the binary's, without a name the binary's
    // too.
    let source = control.get("Source").unwrap_or(package.as_str());
    let (name, source_version) = match source.split_once('(') {
        Some((name, version)) => (name.trim(), version.trim_end_matches(')').trim()),
        None => (source.trim(), version.as_str()),
    };
    if name != admission.source.as_str() || source_version != admission.version.as_str() {
        return Err(wrong(format!(
            "{file_name} says that it is of source package {}",
            invirtibuilder_core::text::quoted(source)
        )));
    }
    // Debug symbols are split off by debhelper (dh_strip(1)); all else is in debian/control.
    let debug = (field("Auto-Built-Package") == "debug-symbols")
        .then(|| package.as_str().strip_suffix("-dbgsym"))
        .flatten();
    if !declared.contains(debug.unwrap_or(package.as_str())) {
        return Err(wrong(format!(
            "{file_name} is a binary package that debian/control does not have"
        )));
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
