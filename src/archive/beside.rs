//! Makes what the archive has of a version beside its pool.
//!
//! - `changes/<suite>/<source>_<version>/` holds the `.changes` of each build, which names the
//!   suite, and links to all files that it lists: dget(1), debdiff(1) and reprepro(1) look for them
//!   beside it, and the pool has them by component.
//! - `changelogs/<component>/…/<source>_<version>_changelog` is debian/changelog where `apt
//!   changelog` looks for it: `Changelogs` in Release says where that is.
//!
//! The service writes each once, with the first publication of a version in a suite.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::names::{PackageName, Suite, Version};
use invirtibuilder_core::text::hex;
use invirtibuilder_store::beside::{Beside, FileOrLink};
use invirtibuilder_store::contents::{Content, PartKind};
use invirtibuilder_system::files::Sums;

/// The directories of the archive beside its pool.
pub const DIRECTORIES: [&str; 2] = ["changes", "changelogs"];

/// A text to write beside the pool.
#[derive(Debug)]
pub struct Text {
    /// The path below the archive's root.
    pub path: String,
    /// The bytes of the text.
    pub bytes: Vec<u8>,
}

/// A `.changes` as dpkg-genchanges wrote it, and the files of it that the suite publishes.
pub struct ChangesFile<'a> {
    /// The text of the `.changes`.
    pub text: &'a str,
    /// The files that ours lists, with their sums.
    pub files: BTreeMap<&'a str, &'a Sums>,
    /// The words of its field `Architecture` that stay.
    pub architectures: Vec<&'a str>,
}

/// Returns the directory of a version in a suite.
fn directory(suite: &Suite, source: &PackageName, version: &Version) -> String {
    format!("changes/{suite}/{source}_{}", version.without_epoch())
}

/// Returns the path that a `.changes` has in a suite.
pub fn changes_path(suite: &Suite, source: &PackageName, version: &Version, name: &str) -> String {
    format!("{}/{name}", directory(suite, source, version))
}

/// Adds to `content` what the archive has of it beside the pool when a suite shows it, from these
/// `.changes` by name. Returns the texts to write.
pub fn add_changes(
    content: &mut Content,
    suite: &Suite,
    changes: Vec<(String, String)>,
) -> Vec<Text> {
    let directory = directory(suite, &content.id.package, &content.id.version);
    let mut texts = Vec::new();
    if content.beside.iter().any(|it| it.path.starts_with(&format!("{directory}/"))) {
        return texts;
    }
    for (name, text) in changes {
        let listed = listed(&text);
        for file in content.files.iter().filter(|file| listed.contains(base(&file.path))) {
            let (path, target) =
                (format!("{directory}/{}", base(&file.path)), format!("../../../{}", file.path));
            add_link(&mut content.beside, path, target);
        }
        let bytes = for_suite(&text, suite).into_bytes();
        texts.push(add_text(&mut content.beside, format!("{directory}/{name}"), bytes));
    }
    texts
}

/// Adds debian/changelog to `content`, for each component that a part of it is in. Returns the text
/// to write.
pub fn add_changelog(content: &mut Content, changelog: &[u8]) -> Option<Text> {
    let source = content.parts.iter().find(|part| part.kind == PartKind::Dsc)?.component.clone();
    if content.beside.iter().any(|it| it.path.starts_with("changelogs/")) {
        return None;
    }
    let package = &content.id.package;
    let name = format!("{package}_{}_changelog", content.id.version.without_epoch());
    let place = format!("{}/{package}/{name}", package.pool_prefix());
    let components: BTreeSet<&String> = content.parts.iter().map(|part| &part.component).collect();
    for component in components.into_iter().filter(|component| **component != source) {
        let (path, target) =
            (format!("changelogs/{component}/{place}"), format!("../../../{source}/{place}"));
        add_link(&mut content.beside, path, target);
    }
    Some(add_text(&mut content.beside, format!("changelogs/{source}/{place}"), changelog.to_vec()))
}

/// Reads the `.changes` of a version that is published already, by name: those of the suite that
/// had it first, or those that an older release left in the pool.
pub fn published_changes(root: &Path, content: &Content) -> Result<Vec<(String, String)>, Failure> {
    let mut found: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    let beside = content.beside.iter().filter_map(|it| match &it.what {
        FileOrLink::File { sha256, .. } => Some((&it.path[..], &sha256[..])),
        FileOrLink::Link(_) => None,
    });
    for (path, sha256) in
        content.files.iter().map(|file| (&file.path[..], &file.sha256[..])).chain(beside)
    {
        if path.ends_with(".changes") {
            found.entry(base(path)).or_insert((path, sha256));
        }
    }
    let mut all = Vec::new();
    for (name, (path, sha256)) in found {
        let text = fs::read_to_string(root.join(path))
            .with_context(|| format!("cannot read {path} of the archive"))?;
        if sum(text.as_bytes()) != sha256 {
            let text = format!(
                "{path} of the archive is not what was published: restore it from a backup"
            );
            return Err(Failure::new(FailureKind::Conflict, text));
        }
        all.push((name.to_owned(), text));
    }
    Ok(all)
}

/// Writes an entry of Sources with `Files`, which this `.dsc` has for all but itself.
pub fn with_sums(stanza: &str, dsc: &str, own: &Sums) -> Result<String> {
    let all = fields(dsc);
    let (_, files) = all
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("Files"))
        .context("its .dsc has no Files")?;
    let sums: BTreeMap<&str, &str> =
        files.lines().filter_map(|line| Some((*words(line).get(2)?, words(line)[0]))).collect();
    let mut lines = String::new();
    let mut last = "";
    let at = stanza.find("Checksums-Sha256:\n").context("it has no Checksums-Sha256")?;
    for line in stanza[at..].lines().skip(1).take_while(|line| line.starts_with(' ')) {
        let [_, size, name] = words(line)[..] else {
            bail!("a line of its Checksums-Sha256 does not parse")
        };
        let md5 = if name.ends_with(".dsc") {
            &own.md5[..]
        } else {
            sums.get(name).context("its .dsc has another list")?
        };
        ensure!(
            md5.len() == 32 && md5.bytes().all(|b| b.is_ascii_hexdigit()),
            "its .dsc has what is no sum"
        );
        lines.push_str(&format!(" {md5} {size} {name}\n"));
        last = name;
    }
    ensure!(last.ends_with(".dsc"), "its Checksums-Sha256 does not end with the .dsc");
    Ok(format!("{}Files:\n{lines}{}", &stanza[..at], &stanza[at..]))
}

fn add_link(beside: &mut Vec<Beside>, path: String, target: String) {
    if beside.iter().all(|it| it.path != path) {
        beside.push(Beside { path, what: FileOrLink::Link(target) });
    }
}

fn add_text(beside: &mut Vec<Beside>, path: String, bytes: Vec<u8>) -> Text {
    let what = FileOrLink::File { size: bytes.len() as u64, sha256: sum(&bytes) };
    beside.push(Beside { path: path.clone(), what });
    Text { path, bytes }
}

fn sum(bytes: &[u8]) -> String {
    hex(&<sha2::Sha256 as sha2::Digest>::digest(bytes))
}

fn base(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

impl ChangesFile<'_> {
    /// Writes what the `.changes` says of the files that are published, and nothing of others. All
    /// sums are ours.
    pub fn compose(&self) -> String {
        let mut text = String::new();
        for (name, whole) in fields(self.text) {
            match &name.to_ascii_lowercase()[..] {
                "files" => {}
                "architecture" => {
                    text.push_str(&format!("Architecture: {}\n", self.architectures.join(" ")));
                }
                name if name.starts_with("checksums-") => {}
                _ => text.push_str(whole),
            }
        }
        let sections = self.sections();
        let list = |line: &dyn Fn(&str, &Sums) -> String| {
            self.files
                .iter()
                .map(|(name, sums)| format!(" {}\n", line(name, sums)))
                .collect::<String>()
        };
        let unknown = ("-", "-");
        text.push_str("Checksums-Sha1:\n");
        text.push_str(&list(&|name, sums| format!("{} {} {name}", sums.sha1, sums.size)));
        text.push_str("Checksums-Sha256:\n");
        text.push_str(&list(&|name, sums| format!("{} {} {name}", sums.sha256, sums.size)));
        text.push_str("Files:\n");
        text.push_str(&list(&|name, sums| {
            let (section, priority) = sections.get(name).unwrap_or(&unknown);
            format!("{} {} {section} {priority} {name}", sums.md5, sums.size)
        }));
        text
    }

    /// Reads the section and the priority of each file.
    fn sections(&self) -> BTreeMap<&str, (&str, &str)> {
        let all = fields(self.text);
        let files = all
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("Files"))
            .map_or("", |(_, whole)| whole);
        let section = |line| match words(line)[..] {
            [_, _, section, priority, name] => Some((name, (section, priority))),
            _ => None,
        };
        files.lines().filter_map(section).collect()
    }
}

/// Splits a stanza that was parsed before into its fields: each with its name and all of its lines.
fn fields(text: &str) -> Vec<(&str, &str)> {
    let (mut all, mut at): (Vec<(&str, &str)>, usize) = (Vec::new(), 0);
    for line in text.split_inclusive('\n') {
        match all.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
            Some((_, whole)) => *whole = &text[at - whole.len()..at + line.len()],
            None => all.push((line.split_once(':').map_or("", |(name, _)| name), line)),
        }
        at += line.len();
    }
    all.retain(|(name, _)| !name.is_empty() && !name.starts_with('#'));
    all
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// Writes a `.changes` that names this suite.
fn for_suite(text: &str, suite: &Suite) -> String {
    let line = format!("Distribution: {suite}\n");
    let mut all: Vec<&str> = Vec::new();
    for (name, whole) in fields(text) {
        all.push(if name.eq_ignore_ascii_case("Distribution") { &line } else { whole });
    }
    if !all.contains(&&line[..]) {
        all.insert(0, &line);
    }
    all.concat()
}

/// Lists the names of the files that a `.changes` of the service lists.
fn listed(text: &str) -> BTreeSet<&str> {
    let all = fields(text);
    let files = all.iter().find(|(name, _)| name.eq_ignore_ascii_case("Checksums-Sha256"));
    files
        .map_or("", |(_, whole)| whole)
        .lines()
        .skip(1)
        .filter_map(|line| words(line).last().copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::beside::*;

    const CHANGES: &str = "Format: 1.8\nSource: x\nArchitecture: all images\nVersion: 1\nDistribution: trixie\nChanges:\n x (1) unstable\n .\n   * Y.\n\
                           Checksums-Sha1:\n a 1 x_1_all.deb\n b 1 x_1_images.tar.gz\nChecksums-Sha256:\n a 1 x_1_all.deb\n b 1 x_1_images.tar.gz\n\
                           Files:\n a 1 misc optional x_1_all.deb\n b 1 raw-images - x_1_images.tar.gz\n";

    #[test]
    fn what_is_left_out_is_in_no_list() {
        let sums = Sums { size: 7, md5: "m".into(), sha1: "s".into(), sha256: "t".into() };
        let files = BTreeMap::from([("x_1_all.deb", &sums)]);
        let listing = ChangesFile { text: CHANGES, files, architectures: vec!["all"] };
        let text = listing.compose();
        assert_eq!(
            text,
            "Format: 1.8\nSource: x\nArchitecture: all\nVersion: 1\nDistribution: trixie\nChanges:\n x (1) unstable\n .\n   * Y.\n\
             Checksums-Sha1:\n s 7 x_1_all.deb\nChecksums-Sha256:\n t 7 x_1_all.deb\nFiles:\n m 7 misc optional x_1_all.deb\n"
        );
        assert_eq!(listed(&text), BTreeSet::from(["x_1_all.deb"]));
    }

    #[test]
    fn an_older_entry_of_sources_gets_the_sums_of_its_dsc() {
        let own = Sums { size: 9, md5: "d".repeat(32), sha1: String::new(), sha256: String::new() };
        let old = "Package: x\nDirectory: pool/main/x/x\nSection: misc\nChecksums-Sha256:\n aa 7 x_1.tar.xz\n bb 9 x_1.dsc\n";
        let dsc = format!(
            "Source: x\nChecksums-Sha1:\n 1 7 x_1.tar.xz\nFiles:\n {} 7 x_1.tar.xz\n",
            "e".repeat(32)
        );
        let new = with_sums(old, &dsc, &own).unwrap();
        let files =
            format!("Files:\n {} 7 x_1.tar.xz\n {} 9 x_1.dsc\n", "e".repeat(32), "d".repeat(32));
        assert_eq!(new, old.replace("Checksums", &format!("{files}Checksums")));
        for dsc in ["Source: x\n", "Files:\n x 7 x_1.tar.xz\n", &dsc.replace("tar.xz", "tar.gz")] {
            assert!(with_sums(old, dsc, &own).is_err(), "{dsc}");
        }
    }

    #[test]
    fn a_changes_names_its_suite_and_no_other() {
        let suite: Suite = "stable".parse().unwrap();
        assert_eq!(for_suite(CHANGES, &suite), CHANGES.replace("trixie", "stable"));
        let none = CHANGES.replace("Distribution: trixie\n", "");
        assert_eq!(for_suite(&none, &suite), format!("Distribution: stable\n{none}"));
        let lower = CHANGES.replace("Distribution: trixie\n", "distribution:\n a\n b\n");
        assert_eq!(for_suite(&lower, &suite), CHANGES.replace("trixie", "stable"));
    }
}
