//! The service's refs, below `refs/invirt/`: only the service writes them, nobody can push them,
//! and no client sees them.
//!
//! - `refs/invirt/published/TAG` marks each version that was published, so that the update hook,
//!   which cannot read the record, knows which tags are fixed. It points at our tag, or at the
//!   commit of a version that was not tagged.
//! - `refs/invirt/complete` says that every version of the record is marked.
//! - Domains other than main have both below `refs/invirt/domain/NAME/`.
//! - `refs/invirt/aside/TAG-N` keeps tags of other people that were in our tag's way.

use std::path::Path;

use anyhow::Result;
use git2::{ErrorCode, Oid, Repository};

use crate::repository::{SYMBOLIC, leads_to, open, value};
use crate::{Move, apply};
use invirtibuilder_core::names::{CommitId, DomainName};

/// The directory of all refs of the service.
pub const OURS: &str = "refs/invirt/";

/// The directory of the refs of domains other than main.
const DOMAINS: &str = "refs/invirt/domain/";

/// The directory that has a ref for the tag of each published version, below that of its domain.
const PUBLISHED: &str = "published/";

/// The ref that says that all published versions of a domain are marked, below the same.
const COMPLETE: &str = "complete";

/// The directory of the tags that were in the way.
const ASIDE: &str = "refs/invirt/aside/";

/// The longest part of a tag's name that we take into the name of the ref that keeps it, in bytes.
/// A file name has 255 bytes.
const LONGEST: usize = 120;

/// Finds the object that marks a version: our tag, else its commit. In a repository that has lost
/// both it writes a note that names the commit.
pub fn mark(repo: &Repository, tag: Option<&str>, commit: &CommitId) -> Result<Oid> {
    let tag = tag.and_then(|tag| Oid::from_str(tag).ok());
    let there = [tag, Some(commit.into())]
        .into_iter()
        .flatten()
        .find(|oid| repo.find_object(*oid, None).is_ok());
    match there {
        Some(oid) => Ok(oid),
        None => Ok(repo.blob(format!("{commit}\n").as_bytes())?),
    }
}

/// Tells whether a ref of this name marks a version.
pub fn is_mark(name: &str) -> bool {
    let main = name.strip_prefix(OURS).is_some_and(|rest| rest.starts_with(PUBLISHED));
    let other = name.strip_prefix(DOMAINS).and_then(|rest| rest.split_once('/'));
    main || other.is_some_and(|(_, rest)| rest.starts_with(PUBLISHED))
}

/// The refs by which a repository knows the published versions of one domain.
#[derive(Debug, Clone)]
pub struct Marks {
    /// The directory that they are in.
    dir: String,
}

impl Marks {
    /// Returns the marks of a domain.
    pub fn of(domain: &DomainName) -> Self {
        let dir = if domain.is_main() { OURS.to_owned() } else { format!("{DOMAINS}{domain}/") };
        Self { dir }
    }

    /// Names the ref that marks the version of this tag.
    pub fn name(&self, tag: &str) -> String {
        format!("{}{PUBLISHED}{tag}", self.dir)
    }

    fn complete_name(&self) -> String {
        format!("{}{COMPLETE}", self.dir)
    }

    /// Makes the move that marks the published version of this tag.
    pub fn mark_move(&self, path: &Path, repo: &Repository, tag: &str, new: Oid) -> Result<Move> {
        let name = self.name(tag);
        Ok(Move { repo: path.to_owned(), old: value(repo, &name)?, name, new: Some(new) })
    }

    /// Reads the mark of the version of this tag; `None`: the version is not marked.
    pub fn published(&self, repo: &Repository, tag: &str) -> Result<Option<Oid>> {
        value(repo, &self.name(tag))
    }

    /// Finds the commit of the version of this tag, if the version is marked.
    pub fn published_commit(&self, repo: &Repository, tag: &str) -> Result<Option<CommitId>> {
        let marked = self.published(repo, tag)?;
        Ok(marked.and_then(|oid| leads_to(repo, oid)).map(CommitId::from))
    }

    /// Tells whether all published versions of the domain are marked.
    pub fn is_complete(&self, repo: &Repository) -> Result<bool> {
        Ok(value(repo, &self.complete_name())?.is_some())
    }

    /// Marks these versions, each a tag's name, our tag and the commit, and says that these are
    /// all. Returns `false` if that was said before: then it has looked at nothing.
    pub fn complete<'a>(
        &self,
        repo: &Path,
        versions: impl IntoIterator<Item = (String, Option<&'a str>, &'a CommitId)>,
    ) -> Result<bool> {
        let opened = open(repo)?;
        if self.is_complete(&opened)? {
            return Ok(false);
        }
        for (tag, ours, commit) in versions {
            apply(&self.mark_move(repo, &opened, &tag, mark(&opened, ours, commit)?)?)?;
        }
        let new = Some(opened.blob(b"Every published version has its ref.\n")?);
        let name = self.complete_name();
        apply(&Move { repo: repo.to_owned(), name, old: None, new })?;
        Ok(true)
    }

    /// Lists every mark there is: a tag's name, and the object that the mark points at.
    pub fn all(&self, repo: &Repository) -> Result<Vec<(String, Oid)>> {
        let dir = self.name("");
        let mut found = Vec::new();
        for reference in repo.references_glob(&format!("{dir}*"))? {
            match reference {
                Ok(it) => {
                    found.extend(it.name().ok().and_then(|name| {
                        Some((name.strip_prefix(&dir)?.to_owned(), it.target()?))
                    }));
                }
                Err(error) if error.code() == ErrorCode::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }
}

/// Lists the refs in the way of a tag that a move makes: the tag as it is now, and refs above and
/// below it. If the move deletes the tag, only the tag itself.
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
        found
            .extend(value(&repo, &name)?.filter(|oid| Some(*oid) != mv.new).map(|oid| (name, oid)));
    }
    Ok(found)
}

/// Keeps what a tag in the way points at as a ref of the service. Returns the ref's name; `None`:
/// there is nothing to keep. It can be repeated: what is kept is not kept twice.
pub fn set_aside(repo: &Path, name: &str, oid: Oid) -> Result<Option<String>> {
    let opened = open(repo)?;
    let oid = match oid == SYMBOLIC {
        true => opened.find_reference(name)?.resolve().ok().and_then(|found| found.target()),
        false => Some(oid),
    };
    let Some(oid) = oid.filter(|oid| opened.find_object(*oid, None).is_ok()) else {
        return Ok(None);
    };
    let tag = name.strip_prefix("refs/tags/").unwrap_or(name).replace('/', "%2F");
    let short = tag.char_indices().take_while(|(at, c)| at + c.len_utf8() <= LONGEST);
    let tag: String = short.map(|(_, c)| c).collect();
    for n in 1.. {
        let aside = format!("{ASIDE}{tag}-{n}");
        match value(&opened, &aside)? {
            Some(there) if there == oid => return Ok(Some(aside)),
            Some(_) => {}
            None => {
                apply(&Move {
                    repo: repo.to_owned(),
                    name: aside.clone(),
                    old: None,
                    new: Some(oid),
                })?;
                return Ok(Some(aside));
            }
        }
    }
    Ok(None)
}

/// Deletes a ref that has this value. Returns whether the ref was still there.
pub fn take_away(repo: &Path, name: &str, oid: Oid) -> Result<bool> {
    let mv = Move { repo: repo.to_owned(), name: name.to_owned(), old: Some(oid), new: None };
    match apply(&mv) {
        Ok(applied) => Ok(applied == super::Applied::Moved),
        // It was moved meanwhile: whoever looks again sees.
        Err(failure) if failure.kind == invirtibuilder_core::error::FailureKind::Conflict => {
            Ok(false)
        }
        Err(failure) => Err(failure.into()),
    }
}

/// Tells whether a repository has no refs of people's: one that has only ours is empty to them.
pub fn is_empty(repo: &Repository) -> bool {
    repo.references().is_ok_and(|mut all| {
        all.all(|found| found.is_ok_and(|it| it.name_bytes().starts_with(OURS.as_bytes())))
    })
}

#[cfg(test)]
mod tests {
    use crate::ours::*;
    use crate::testing::commit;
    use crate::{create_package_repo, ref_value};

    fn put(repo: &Path, name: &str, oid: Oid) {
        open(repo).unwrap().reference(name, oid, true, "").unwrap();
    }

    #[test]
    fn every_version_is_marked_once() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("hello.git");
        create_package_repo(&repo).unwrap();
        let opened = open(&repo).unwrap();
        let marks = Marks::of(&DomainName::main());
        assert!(is_empty(&opened) && !marks.is_complete(&opened).unwrap());
        assert!(
            marks.complete(&repo, []).unwrap() && is_empty(&opened),
            "what is ours is not a push"
        );
        opened.find_reference("refs/invirt/complete").unwrap().delete().unwrap();

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
        assert!(marks.complete(&repo, all.clone()).unwrap());
        assert!(!marks.complete(&repo, all).unwrap());
        let says = |tag: &str| marks.published(&opened, tag).unwrap().map(|oid| oid.to_string());
        assert_eq!(says("1.0"), Some(tag));
        assert_eq!((says("2.0"), says("3.0")), (Some(a.to_string()), Some(a.to_string())));
        let note = opened.find_blob(says("4.0").unwrap().parse().unwrap()).unwrap();
        assert!(String::from_utf8_lossy(note.content()).contains(lost.as_str()));
        assert_eq!(marks.published_commit(&opened, "4.0").unwrap(), None);
        assert_eq!(marks.published_commit(&opened, "1.0").unwrap(), Some(a));
        assert_eq!((marks.all(&opened).unwrap().len(), says("5.0")), (4, None));
    }

    #[test]
    fn each_domain_has_marks_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("hello.git");
        create_package_repo(&repo).unwrap();
        let opened = open(&repo).unwrap();
        let a = commit(&repo, &[("f", "1")]);
        let (main, dev) = (Marks::of(&DomainName::main()), Marks::of(&"dev".parse().unwrap()));
        assert!(dev.complete(&repo, [("dev/1.0".to_owned(), None, &a)]).unwrap());
        assert_eq!(dev.name("dev/1.0"), "refs/invirt/domain/dev/published/dev/1.0");
        assert_eq!(dev.published_commit(&opened, "dev/1.0").unwrap(), Some(a));
        assert_eq!(main.published(&opened, "dev/1.0").unwrap(), None);
        assert!(!main.is_complete(&opened).unwrap());
        assert_eq!((main.all(&opened).unwrap().len(), dev.all(&opened).unwrap().len()), (0, 1));
        for name in [main.name("1.0"), dev.name("dev/1.0")] {
            assert!(is_mark(&name), "{name}");
        }
        for name in ["refs/invirt/complete", "refs/invirt/domain/dev/complete", "refs/tags/1.0"] {
            assert!(!is_mark(name), "{name}");
        }
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
        let mv =
            |name: &str| Move { repo: repo.clone(), name: name.into(), old: None, new: Some(a) };
        assert_eq!(
            in_the_way(&mv("refs/tags/debian/1.0")).unwrap(),
            [("refs/tags/debian".to_owned(), blob)]
        );
        let found = in_the_way(&mv("refs/tags/1.0")).unwrap();
        assert_eq!(found.len(), 3, "{found:?}");
        let mut kept = Vec::new();
        for (name, oid) in &found {
            let aside = set_aside(&repo, name, *oid).unwrap().unwrap();
            assert_eq!(set_aside(&repo, name, *oid).unwrap(), Some(aside.clone()), "once");
            assert_eq!(ref_value(&repo, &aside).unwrap(), Some(blob));
            assert!(
                aside.starts_with("refs/invirt/aside/1.0%2Fx")
                    && aside.ends_with("-1")
                    && aside.len() < 200
            );
            assert!(
                take_away(&repo, name, *oid).unwrap() && !take_away(&repo, name, *oid).unwrap()
            );
            kept.push(aside);
        }
        kept.dedup();
        assert_eq!(kept.len(), 3);
        assert_eq!(apply(&mv("refs/tags/1.0")).unwrap(), super::super::Applied::Moved);
        assert_eq!(in_the_way(&mv("refs/tags/1.0")).unwrap(), []);
        // Of the next one of this name there is another.
        put(&repo, "refs/tags/1.0", blob);
        assert_eq!(
            set_aside(&repo, "refs/tags/1.0", blob).unwrap().as_deref(),
            Some("refs/invirt/aside/1.0-1")
        );
        assert_eq!(
            set_aside(&repo, "refs/tags/1.0", a).unwrap().as_deref(),
            Some("refs/invirt/aside/1.0-2")
        );
        let gone = "1".repeat(40).parse().unwrap();
        assert_eq!(set_aside(&repo, "refs/tags/1.0", gone).unwrap(), None);
        assert!(!take_away(&repo, "refs/tags/1.0", a).unwrap(), "it has moved");
    }
}
