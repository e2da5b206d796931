//! From what somebody typed to one commit.

use std::path::Path;

use git2::{ErrorCode, ObjectType, Oid, Repository};

use crate::error::Error;
use crate::gitrecord;
use crate::names::CommitId;
use crate::text::quoted;

/// The commit that an id, an abbreviated one, a branch or a tag stands for. Nothing else of gitrevisions(7) is taken:
/// `HEAD@{1}` or `a^{tree}` would mean something else tomorrow, or no commit at all.
pub fn resolve(repo: &Path, commit: &str) -> Result<CommitId, Error> {
    let opened = gitrecord::open(repo).map_err(|error| Error::unavailable(format!("{error:#}")))?;
    let name = || repo.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if !is_plain(commit) {
        return Err(Error::invalid(format!("{} is not a commit: use an id, a branch or a tag", quoted(commit))));
    }
    if let Some(oid) = Oid::from_str(commit).ok().filter(|_| commit.len() == 40) {
        return commit_of(&opened, oid, commit, &name());
    }
    let found: Vec<Oid> = ["refs/heads/", "refs/tags/"]
        .iter()
        .filter_map(|kind| opened.find_reference(&format!("{kind}{commit}")).ok()?.target())
        .collect();
    match found[..] {
        [] => abbreviated(&opened, commit, &name()),
        [one] => commit_of(&opened, one, commit, &name()),
        _ => Err(Error::invalid(format!("{commit} is a branch and a tag of {}: use the commit's id", name()))),
    }
}

fn is_plain(text: &str) -> bool {
    text.len() <= 200 && !text.starts_with('-') && git2::Reference::is_valid_name(&format!("refs/heads/{text}"))
}

fn commit_of(repo: &Repository, oid: Oid, text: &str, name: &str) -> Result<CommitId, Error> {
    let object = repo.find_object(oid, None).map_err(|_| unknown(repo, text, name))?;
    match object.peel(ObjectType::Commit) {
        Ok(commit) => Ok(commit.id().into()),
        Err(_) => {
            Err(Error::invalid(format!("{text} of {name} is not a commit: use a commit's id, a branch or a tag")))
        }
    }
}

fn abbreviated(repo: &Repository, text: &str, name: &str) -> Result<CommitId, Error> {
    if text.len() < 4 || text.len() > 40 || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Err(unknown(repo, text, name));
    }
    match repo.find_object_by_prefix(text, None) {
        Ok(object) => commit_of(repo, object.id(), text, name),
        Err(error) if error.code() == ErrorCode::Ambiguous => {
            Err(Error::invalid(format!("{text} stands for several objects of {name}: give more digits")))
        }
        Err(_) => Err(unknown(repo, text, name)),
    }
}

fn unknown(repo: &Repository, text: &str, name: &str) -> Error {
    if repo.references().is_ok_and(|mut all| all.next().is_none()) {
        return Error::invalid(format!("the repository of {name} is empty: push a commit to it first"));
    }
    Error::invalid(format!("there is no commit, branch or tag {} in {name}: push it first", quoted(text)))
}
