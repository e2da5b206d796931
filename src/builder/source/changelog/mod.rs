//! `debian/changelog`, read as dpkg reads it (deb-changelog(5), Debian policy 4.4).
//!
//! Only the newest entry counts. What dpkg reads of it, this reads as well, and where dpkg warns,
//! this has a note. What dpkg makes no source package of (an entry without a name, a version, a
//! distribution or a date) is refused, by line and reason. Two things are refused beyond that:
//! names and versions that are not Debian's, and lines that are not UTF-8.

use git2::{Blob, Repository, Tree};

mod built;
mod date;
mod reader;
#[cfg(test)]
mod tests;

use crate::source::links::Links;
use crate::source::object;
pub use built::{BuiltEntry, built_changelog};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::names::{CommitId, PackageName, Version};
use invirtibuilder_core::text::{one_line, quoted};
use invirtibuilder_core::version_rule::EntryState;
use reader::{ChangelogEntry, ChangelogProblem, Read};

/// Where it is.
const NAME: &str = "debian/changelog";

/// Larger ones are not changelogs.
const MAX_FILE: u64 = 64 << 20;

/// The first entry is the one that counts; it is not longer than this.
const MAX_ENTRY: usize = 1 << 20;

/// How many lines that dpkg warns of are named.
const NAMED: usize = 10;

/// What is written in place of a distribution in an entry that is not finished (dch(1)).
const UNRELEASED: &str = "UNRELEASED";

/// What the first entry says.
#[derive(Debug, Clone)]
pub struct Changelog {
    /// The source package.
    pub source: PackageName,
    /// Its version.
    pub version: Version,
    /// The distributions it is meant for, as written.
    pub distribution: String,
    /// Whether it is finished.
    pub state: EntryState,
    /// Its urgency, if it has one.
    pub urgency: Option<String>,
    /// The name and mail address at its end.
    pub by: (String, String),
    /// Seconds since 1970-01-01 UTC.
    pub timestamp: i64,
    /// What dpkg warns of, and what else has to be said; each a sentence.
    pub notes: Vec<String>,
}

/// Reads `debian/changelog` as a commit has it.
pub fn changelog(repo: &Repository, commit: &CommitId) -> Result<Changelog, Failure> {
    let tree = repo.find_commit(commit.into())?.tree()?;
    of_tree(&tree, &Links::new(repo, &tree))
}

/// Returns the same of a commit's tree.
pub fn of_tree(tree: &Tree, links: &Links) -> Result<Changelog, Failure> {
    first_entry(blob(tree, links)?.content())
}

/// Returns all of it, as a commit's tree has it.
pub fn whole(repo: &Repository, tree: &Tree) -> Result<Vec<u8>, Failure> {
    Ok(blob(tree, &Links::new(repo, tree))?.content().to_vec())
}

fn blob<'a>(tree: &Tree, links: &Links<'a>) -> Result<Blob<'a>, Failure> {
    if tree.get_name("debian").is_some_and(|entry| entry.filemode() == object::LINK) {
        return Err(fail(
            "debian is a symbolic link, and has to be a directory: commit the directory itself",
        ));
    }
    links
        .file(NAME, MAX_FILE)?
        .ok_or_else(|| fail("there is no debian/changelog: is this a Debian package's branch?"))
}

fn fail(text: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Changelog, text)
}

fn fail_at(line: usize, reason: &str) -> Failure {
    fail(format!("{NAME} line {line} {reason}"))
}

/// Reads the first entry of a changelog.
pub fn first_entry(bytes: &[u8]) -> Result<Changelog, Failure> {
    if let Some(format) = reader::format(bytes) {
        let shown = quoted(&String::from_utf8_lossy(format));
        return Err(fail(format!(
            "{NAME} says changelog-format: {shown}, and dpkg knows the format 'debian' only: remove that"
        )));
    }
    let read = Read::first(bytes, MAX_ENTRY);
    if read.is_too_long {
        return Err(fail("the first entry of debian/changelog is longer than 1 MiB"));
    }
    if let Some(line) = read.not_utf8 {
        return Err(fail_at(line, "is not UTF-8: convert it with iconv(1)"));
    }
    let Some(entry) = &read.entry else { return Err(no_entry(&read)) };
    let Some(heading) = &entry.heading else { return Err(no_heading(&read)) };
    let at = |reason: &str| fail_at(heading.line, reason);
    if let Some(why) = &heading.fault {
        return Err(at(why));
    }
    let source =
        heading.source.parse().map_err(|error| at(&format!("names no source package: {error}")))?;
    let version =
        heading.version.parse().map_err(|error| at(&format!("has no version: {error}")))?;
    let timestamp = entry.timestamp.ok_or_else(|| no_date(&read, entry, heading.line))?;
    if timestamp == 0 {
        return Err(fail_at(
            entry.trailer.unwrap_or(heading.line),
            "has a date that stands for none: write the day of the change",
        ));
    }
    let is_open = heading.distributions.iter().any(|name| name == UNRELEASED);
    Ok(Changelog {
        source,
        version,
        distribution: heading.distributions.join(" "),
        state: if is_open { EntryState::Unreleased } else { EntryState::Released },
        urgency: heading.urgency.clone(),
        by: entry.by.clone().unwrap_or_default(),
        timestamp,
        notes: warnings(&read),
    })
}

fn warnings(read: &Read) -> Vec<String> {
    let mut notes: Vec<String> = read
        .problems
        .iter()
        .take(NAMED)
        .map(|problem| format!("{NAME} line {}", words(problem)))
        .collect();
    if read.count > NAMED {
        notes.push(format!("dpkg warns of {} more places in {NAME}", read.count - NAMED));
    }
    notes
}

fn words(problem: &ChangelogProblem) -> String {
    one_line(&format!("{} {}", problem.line, problem.reason))
}

/// Says why dpkg finds no entry at all: it takes a line for the end of what it can read, or finds
/// no heading.
fn no_entry(read: &Read) -> Failure {
    match (&read.tail, read.problems.iter().find(|problem| problem.is_heading)) {
        (_, Some(problem)) => fail(format!("{NAME} line {}", words(problem))),
        (Some(tail), None) => fail_at(tail.line, &tail.reason),
        (None, None) => fail("debian/changelog has no entry: write one with 'dch --create'"),
    }
}

/// Says why dpkg takes for the first entry what has no heading.
fn no_heading(read: &Read) -> Failure {
    let first = read
        .problems
        .iter()
        .find(|problem| problem.is_heading)
        .or_else(|| read.problems.iter().find(|it| !it.is_blank));
    match first {
        Some(problem) => fail(format!("{NAME} line {}", words(problem))),
        None => fail("debian/changelog has no heading"),
    }
}

/// Says why dpkg has no date of an entry.
fn no_date(read: &Read, entry: &ChangelogEntry, heading: usize) -> Failure {
    if let Some(problem) = read.problems.iter().find(|problem| problem.is_date) {
        return fail(format!("{NAME} line {}", words(problem)));
    }
    let begins = match (&read.tail, entry.next) {
        (Some(tail), _) => format!(", and dpkg reads nothing from line {} on", tail.line),
        (None, Some(next)) => format!(", and the next entry begins in line {next}"),
        (None, None) => String::new(),
    };
    fail_at(heading, &format!("begins an entry that has no end ' -- NAME <EMAIL>  DATE'{begins}"))
}
