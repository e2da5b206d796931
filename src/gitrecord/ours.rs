//! Refs below `refs/invirt/`: the service writes them, nobody can push them, and no client sees them.
//!
//! - `refs/invirt/published/TAG` marks each version that was published, so that the update hook, which cannot read the
//!   record, knows which tags are fixed. It points at our tag, or at the commit of a version that was not tagged.
//! - `refs/invirt/complete` says that every version of the record is marked.
//! - `refs/invirt/aside/TAG-N` keeps tags of other people that were in the way of one of ours.

use std::path::Path;

use anyhow::Result;
use git2::{ErrorCode, Oid, Repository};

use super::repository::{SYMBOLIC, leads_to, open, value};
use super::{Move, apply};
use crate::names::CommitId;

/// Everything that is the service's own.
pub const OURS: &str = "refs/invirt/";

/// Below it there is a ref for the tag of each published version.
pub const PUBLISHED: &str = "refs/invirt/published/";

/// It says that all published versions are marked.
const COMPLETE: &str = "refs/invirt/complete";

/// Below it are the tags that were in the way.
const ASIDE: &str = "refs/invirt/aside/";

/// The longest part of a tag's name that the name of the ref takes over that keeps it. A file name has 255 bytes.
const LONGEST: usize = 120;

/// What marks a version: our tag, else its commit, else, in a repository that has lost both, a note that names it.
pub fn mark(repo: &Repository, tag: Option<&str>, commit: &CommitId) -> Result<Oid> {
    let tag = tag.and_then(|tag| Oid::from_str(tag).ok());
    let there = [tag, Some(commit.into())].into_iter().flatten().find(|oid| repo.find_object(*oid, None).is_ok());
    match there {
        Some(oid) => Ok(oid),
        None => Ok(repo.blob(format!("{commit}\n").as_bytes())?),
    }
}

/// The move that marks a published version of this tag.
pub fn mark_move(path: &Path, repo: &Repository, tag: &str, new: Oid) -> Result<Move> {
    let name = format!("{PUBLISHED}{tag}");
    Ok(Move { repo: path.to_owned(), old: value(repo, &name)?, name, new: Some(new) })
}

/// What marks the version of this tag; `None`: it is not marked.
pub fn published(repo: &Repository, tag: &str) -> Result<Option<Oid>> {
    value(repo, &format!("{PUBLISHED}{tag}"))
}

/// The commit of the version of this tag, if it is marked.
pub fn published_commit(repo: &Repository, tag: &str) -> Result<Option<CommitId>> {
    Ok(published(repo, tag)?.and_then(|oid| leads_to(repo, oid)).map(CommitId::from))
}

/// Whether all published versions are marked.
pub fn is_complete(repo: &Repository) -> Result<bool> {
    Ok(value(repo, COMPLETE)?.is_some())
}

/// Marks these versions, each a tag's name, our tag and the commit, and says that these are all. `false`: it was said
/// before, so nothing was looked at.
pub fn complete<'a>(
    repo: &Path,
    versions: impl IntoIterator<Item = (String, Option<&'a str>, &'a CommitId)>,
) -> Result<bool> {
    let opened = open(repo)?;
    if is_complete(&opened)? {
        return Ok(false);
    }
    for (tag, ours, commit) in versions {
        apply(&mark_move(repo, &opened, &tag, mark(&opened, ours, commit)?)?)?;
    }
    let new = opened.blob(b"Every published version has its ref.\n")?;
    apply(&Move { repo: repo.to_owned(), name: COMPLETE.to_owned(), old: None, new: Some(new) })?;
    Ok(true)
}

/// What is in the way of a tag that is to be moved: what it points at now, and refs above and below it. Of a tag that is to
/// go only the former.
pub fn in_the_way(mv: &Move) -> Result<Vec<(String, Oid)>> {
    let repo = open(&mv.repo)?;
    let mut names = vec![mv.name.clone()];
    if mv.new.is_some() {
        let parts: Vec<&str> = mv.name.split('/').collect();
        // refs/tags/ itself is a directory.
        names.extend((3..parts.len()).map(|n| parts[..n].join("/")));
        let below = repo.references_glob(&format!("{}/*", mv.name))?;
        names.extend(below.filter_map(|found| Some(found.ok()?.name().ok()?.to_owned())));
    }
    let mut found = Vec::new();
    for name in names {
        found.extend(value(&repo, &name)?.filter(|oid| Some(*oid) != mv.new).map(|oid| (name, oid)));
    }
    Ok(found)
}

/// Keeps what a tag in the way points at as a ref of ours; the ref's name. It can be repeated: what is kept is not kept twice.
/// `None`: there is nothing to keep.
pub fn set_aside(repo: &Path, name: &str, oid: Oid) -> Result<Option<String>> {
    let opened = open(repo)?;
    let oid = match oid == SYMBOLIC {
        true => opened.find_reference(name)?.resolve().ok().and_then(|found| found.target()),
        false => Some(oid),
    };
    let Some(oid) = oid.filter(|oid| opened.find_object(*oid, None).is_ok()) else { return Ok(None) };
    let tag = name.strip_prefix("refs/tags/").unwrap_or(name).replace('/', "%2F");
    let short = tag.char_indices().take_while(|(at, c)| at + c.len_utf8() <= LONGEST);
    let tag: String = short.map(|(_, c)| c).collect();
    for n in 1.. {
        let aside = format!("{ASIDE}{tag}-{n}");
        match value(&opened, &aside)? {
            Some(there) if there == oid => return Ok(Some(aside)),
            Some(_) => {}
            None => {
                apply(&Move { repo: repo.to_owned(), name: aside.clone(), old: None, new: Some(oid) })?;
                return Ok(Some(aside));
            }
        }
    }
    Ok(None)
}

/// Takes a ref away that has this value; whether it was still there.
pub fn take_away(repo: &Path, name: &str, oid: Oid) -> Result<bool> {
    let mv = Move { repo: repo.to_owned(), name: name.to_owned(), old: Some(oid), new: None };
    match apply(&mv) {
        Ok(applied) => Ok(applied == super::Applied::Moved),
        // It was moved meanwhile: whoever looks again sees.
        Err(failure) if failure.kind == crate::error::FailureKind::Conflict => Ok(false),
        Err(failure) => Err(failure.into()),
    }
}

/// Whether a repository has refs of people's: one that has only ours is empty to them.
pub fn is_empty(repo: &Repository) -> bool {
    repo.references()
        .is_ok_and(|mut all| all.all(|found| found.is_ok_and(|it| it.name_bytes().starts_with(OURS.as_bytes()))))
}

/// Every mark there is: a tag's name, and what the mark points at.
pub fn marks(repo: &Repository) -> Result<Vec<(String, Oid)>> {
    let mut found = Vec::new();
    for reference in repo.references_glob(&format!("{PUBLISHED}*"))? {
        match reference {
            Ok(it) => found
                .extend(it.name().ok().and_then(|name| Some((name.strip_prefix(PUBLISHED)?.to_owned(), it.target()?)))),
            Err(error) if error.code() == ErrorCode::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::{create_package_repo, ref_value, testing::commit};
    use super::*;

    fn put(repo: &Path, name: &str, oid: Oid) {
        open(repo).unwrap().reference(name, oid, true, "").unwrap();
    }

    #[test]
    fn every_version_is_marked_once() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("hello.git");
        create_package_repo(&repo).unwrap();
        let opened = open(&repo).unwrap();
        assert!(is_empty(&opened) && !is_complete(&opened).unwrap());
        assert!(complete(&repo, []).unwrap() && is_empty(&opened), "what is ours is not a push");
        opened.find_reference(COMPLETE).unwrap().delete().unwrap();

        let a = commit(&repo, &[("f", "1")]);
        let object = opened.find_object((&a).into(), None).unwrap();
        let me = git2::Signature::new("B", "b@example.org", &git2::Time::new(1, 0)).unwrap();
        let tag = opened.tag_annotation_create("1.0", &object, &me, "x").unwrap().to_string();
        let lost: CommitId = "1234567890123456789012345678901234567890".parse().unwrap();
        let gone = "1".repeat(40);
        let all = [
            ("1.0".to_owned(), Some(&*tag), &a),
            ("2.0".to_owned(), None, &a),
            ("3.0".to_owned(), Some(&*gone), &a),
            ("4.0".to_owned(), None, &lost),
        ];
        // One of them is there and wrong, as it may be after a crash.
        put(&repo, "refs/invirt/published/2.0", opened.blob(b"x").unwrap());
        assert!(complete(&repo, all.clone()).unwrap() && !complete(&repo, all).unwrap());
        let says = |tag: &str| published(&opened, tag).unwrap().map(|oid| oid.to_string());
        assert_eq!(says("1.0"), Some(tag));
        assert_eq!((says("2.0"), says("3.0")), (Some(a.to_string()), Some(a.to_string())));
        let note = opened.find_blob(says("4.0").unwrap().parse().unwrap()).unwrap();
        assert!(String::from_utf8_lossy(note.content()).contains(lost.as_str()));
        assert_eq!(published_commit(&opened, "4.0").unwrap(), None);
        assert_eq!(published_commit(&opened, "1.0").unwrap(), Some(a));
        assert_eq!((marks(&opened).unwrap().len(), says("5.0")), (4, None));
    }

    #[test]
    fn what_is_in_the_way_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("hello.git");
        create_package_repo(&repo).unwrap();
        let a: Oid = (&commit(&repo, &[("f", "1")])).into();
        let blob = open(&repo).unwrap().blob(b"junk").unwrap();
        let long = "x".repeat(200);
        for name in [
            "refs/tags/1.0/x/y",
            "refs/tags/1.0/x/z",
            &format!("refs/tags/1.0/{long}"),
            "refs/tags/debian",
            "refs/tags/1.00",
        ] {
            put(&repo, name, blob);
        }
        let mv = |name: &str| Move { repo: repo.clone(), name: name.into(), old: None, new: Some(a) };
        assert_eq!(in_the_way(&mv("refs/tags/debian/1.0")).unwrap(), [("refs/tags/debian".to_owned(), blob)]);
        let found = in_the_way(&mv("refs/tags/1.0")).unwrap();
        assert_eq!(found.len(), 3, "{found:?}");
        let mut kept = Vec::new();
        for (name, oid) in &found {
            let aside = set_aside(&repo, name, *oid).unwrap().unwrap();
            assert_eq!(set_aside(&repo, name, *oid).unwrap(), Some(aside.clone()), "once");
            assert_eq!(ref_value(&repo, &aside).unwrap(), Some(blob));
            assert!(aside.starts_with("refs/invirt/aside/1.0%2Fx") && aside.ends_with("-1") && aside.len() < 200);
            assert!(take_away(&repo, name, *oid).unwrap() && !take_away(&repo, name, *oid).unwrap());
            kept.push(aside);
        }
        kept.dedup();
        assert_eq!(kept.len(), 3);
        assert_eq!(apply(&mv("refs/tags/1.0")).unwrap(), super::super::Applied::Moved);
        assert_eq!(in_the_way(&mv("refs/tags/1.0")).unwrap(), []);
        // Of the next one of this name there is another.
        put(&repo, "refs/tags/1.0", blob);
        assert_eq!(set_aside(&repo, "refs/tags/1.0", blob).unwrap().as_deref(), Some("refs/invirt/aside/1.0-1"));
        assert_eq!(set_aside(&repo, "refs/tags/1.0", a).unwrap().as_deref(), Some("refs/invirt/aside/1.0-2"));
        let gone = "1".repeat(40).parse().unwrap();
        assert_eq!(set_aside(&repo, "refs/tags/1.0", gone).unwrap(), None);
        assert!(!take_away(&repo, "refs/tags/1.0", a).unwrap(), "it has moved");
    }
}
