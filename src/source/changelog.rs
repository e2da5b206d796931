//! The first entry of `debian/changelog` (Debian policy 4.4).

use std::path::Path;

use chrono::DateTime;
use debian_changelog::ChangeLog;
use git2::{Repository, Tree};

use crate::error::{Failure, FailureKind};
use crate::gitrecord;
use crate::names::{CommitId, PackageName, Version};

/// Larger ones are not changelogs.
const MAX_FILE: u64 = 64 << 20;

/// The first entry is the one that counts; it is not longer than this.
const MAX_ENTRY: usize = 1 << 20;

/// What the first entry says.
#[derive(Debug, Clone)]
pub struct Changelog {
    /// The source package.
    pub source: PackageName,
    /// Its version.
    pub version: Version,
    /// The distributions it is meant for, as written.
    pub distribution: String,
    /// Seconds since 1970-01-01 UTC.
    pub timestamp: i64,
}

/// Reads `debian/changelog` as a commit has it.
pub fn changelog(repo: &Path, commit: &CommitId) -> Result<Changelog, Failure> {
    let repo = gitrecord::open(repo)?;
    let tree = repo.find_commit(commit.into())?.tree()?;
    of_tree(&repo, &tree)
}

/// The same of a commit's tree.
pub fn of_tree(repo: &Repository, tree: &Tree) -> Result<Changelog, Failure> {
    let entry = tree
        .get_path(Path::new("debian/changelog"))
        .map_err(|_| fail("there is no debian/changelog: is this a Debian package's branch?"))?;
    if entry.kind() != Some(git2::ObjectType::Blob) || entry.filemode() == i32::from(git2::FileMode::Link) {
        return Err(fail("debian/changelog is not a file"));
    }
    let blob = super::tree::blob(repo, entry.id(), MAX_FILE)?;
    let blob = blob.ok_or_else(|| fail("debian/changelog is larger than 64 MiB"))?;
    first_entry(blob.content())
}

fn fail(text: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Changelog, text)
}

/// Parses the text up to the end of its first entry.
pub fn first_entry(bytes: &[u8]) -> Result<Changelog, Failure> {
    let mut end = 0;
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        end += line.len();
        if line.starts_with(b" -- ") || end > MAX_ENTRY {
            break;
        }
    }
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| fail("debian/changelog is not UTF-8"))?;
    if end > MAX_ENTRY {
        return Err(fail("the first entry of debian/changelog is longer than 1 MiB"));
    }
    let parsed = ChangeLog::parse(text);
    if let Some(error) = parsed.errors().first() {
        return Err(fail(format!("debian/changelog does not parse: {}", crate::text::one_line(error))));
    }
    let log = parsed.tree();
    let entry = log.iter().next().ok_or_else(|| fail("debian/changelog has no entry"))?;
    let missing = |what: &str| fail(format!("the first entry of debian/changelog has no {what}"));
    // The text as it stands, for the parser's version does not keep it.
    let header = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let version = header.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(version, _)| version);
    let source = entry.package().ok_or_else(|| missing("package name"))?;
    let timestamp = entry.timestamp().ok_or_else(|| missing("date"))?;
    let date = DateTime::parse_from_rfc2822(timestamp.trim());
    Ok(Changelog {
        source: source.parse().map_err(|error| fail(format!("debian/changelog: {error}")))?,
        version: version
            .ok_or_else(|| missing("version"))?
            .parse()
            .map_err(|error| fail(format!("debian/changelog: {error}")))?,
        distribution: entry.distributions().unwrap_or_default().join(" "),
        timestamp: date
            .map_err(|_| {
                let shown = crate::text::quoted(&timestamp);
                fail(format!("the date {shown} of debian/changelog is none that date -R prints"))
            })?
            .timestamp(),
    })
}
