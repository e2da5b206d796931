//! The entry that the service prepends to `debian/changelog` where it builds another version than
//! the one that is written there. The same commit, version and reason make the same bytes.

use std::fmt::Write as _;
use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use chrono::DateTime;
use git2::{ObjectType, Oid, Repository};

use crate::source::changelog::{Changelog, NAME, fail, of_tree, whole};
use crate::source::links::Links;
use crate::source::{Subject, object};
use invirtibuilder_core::error::Failure;

/// The longest line of an entry, as debchange(1) wraps them.
const WIDTH: usize = 79;

/// An entry to prepend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltEntry {
    /// Its text, with the empty line that follows it.
    text: String,
    /// Its date, in seconds since 1970-01-01 UTC: that of the commit or of the entry below,
    /// whichever is later.
    pub timestamp: i64,
}

impl BuiltEntry {
    /// Makes the entry of a subject; `None` if what is written is built. `changelog` is the
    /// commit's.
    pub fn of(
        repo: &Repository,
        subject: &Subject,
        changelog: &Changelog,
    ) -> Result<Option<Self>, Failure> {
        if subject.version == subject.written {
            return Ok(None);
        }
        let commit = repo.find_commit((&subject.commit).into())?;
        let tree = commit.tree()?;
        let entry = tree.get_path(Path::new(NAME));
        if entry.is_ok_and(|entry| entry.filemode() == object::LINK) {
            return Err(fail(format!(
                "{NAME} is a symbolic link, and the service adds an entry for version {}: commit the file itself",
                subject.version
            )));
        }
        let timestamp = commit.time().seconds().max(changelog.timestamp);
        let date = DateTime::from_timestamp(timestamp, 0)
            .with_context(|| format!("{timestamp} is no time that a changelog can have"))?
            .format("%a, %d %b %Y %H:%M:%S +0000");
        let urgency = changelog.urgency.as_deref().unwrap_or("medium");
        let (name, mail) = &changelog.by;
        let mut text = format!(
            "{} ({}) {}; urgency={urgency}\n\n",
            subject.package, subject.version, subject.distro
        );
        for line in subject.changes() {
            text += &wrapped(&line);
        }
        let _ = write!(text, "\n -- {name} <{mail}>  {date}\n\n");
        Ok(Some(Self { text, timestamp }))
    }

    /// Puts the entry before what the file has below the directory `dir`.
    pub fn prepend(&self, dir: &Path) -> Result<(), Failure> {
        let path = dir.join(NAME);
        let cannot = || format!("cannot write {}", path.display());
        let mut whole = self.text.clone().into_bytes();
        whole.extend(fs::read(&path).with_context(cannot)?);
        fs::write(&path, whole).with_context(cannot)?;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(self.timestamp.max(0) as u64);
        let file = File::options().write(true).open(&path).with_context(cannot)?;
        file.set_times(FileTimes::new().set_modified(time).set_accessed(time))
            .with_context(cannot)?;
        Ok(())
    }

    /// Returns the object that the file is with the entry before it, and its size.
    pub fn object(&self, repo: &Repository, file: Oid) -> Result<(Oid, u64), Failure> {
        let whole = [self.text.as_bytes(), repo.find_blob(file)?.content()].concat();
        Ok((Oid::hash_object(ObjectType::Blob, &whole)?, whole.len() as u64))
    }
}

impl Subject {
    /// Says what the entry is for, a change a line.
    fn changes(&self) -> Vec<String> {
        let build =
            format!("Build of {} for {}, from commit {}.", self.written, self.distro, self.commit);
        let rebuild = self.why.as_ref().map(|why| format!("Rebuild without changes: {why}"));
        rebuild.into_iter().chain([build]).collect()
    }
}

/// Writes a change as an entry has it, in lines of at most [`WIDTH`] characters where words allow.
fn wrapped(change: &str) -> String {
    let (mut text, mut line) = (String::new(), "  *".to_owned());
    for word in change.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH && line.trim_start() != "*" {
            text += &line;
            text.push('\n');
            line = "   ".to_owned();
        }
        line.push(' ');
        line += word;
    }
    text + &line + "\n"
}

/// Reads the whole changelog that the source package of a subject has.
pub fn built_changelog(repo: &Repository, subject: &Subject) -> Result<Vec<u8>, Failure> {
    let tree = repo.find_commit((&subject.commit).into())?.tree()?;
    let written = whole(repo, &tree)?;
    let changelog = of_tree(&tree, &Links::new(repo, &tree))?;
    Ok(match BuiltEntry::of(repo, subject, &changelog)? {
        Some(entry) => [entry.text.as_bytes(), &written].concat(),
        None => written,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_changes_are_wrapped_between_words() {
        assert_eq!(wrapped("a b"), "  * a b\n");
        let long = "word ".repeat(40);
        let text = wrapped(&long);
        assert!(
            text.lines().count() == 3 && text.lines().all(|line| line.len() <= WIDTH),
            "{text}"
        );
        assert!(text.lines().skip(1).all(|line| line.starts_with("    word")), "{text}");
        assert_eq!(wrapped(&"x".repeat(100)), format!("  * {}\n", "x".repeat(100)));
    }
}
