//! Writes tags, and moves refs.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use git2::{ErrorCode, ObjectType, Oid};

use crate::repository::{SYMBOLIC, open, started, value};
use crate::{Move, Stamp};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::names::CommitId;

/// The message of a move in the reflog.
const LOG: &str = "invirtibuilder: published";

/// The time for which we watch the lock of a ref that is older than this process before we break
/// it.
const PATIENCE: Duration = Duration::from_millis(100);

/// The age at which a lock is nobody's: Git holds one for the time of a rename.
const STALE: Duration = Duration::from_secs(60);

/// The state in which [`apply`] found the ref.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The ref was at the old value and is now at the new one.
    Moved,
    /// Somebody, probably we, had moved it before.
    Already,
}

/// A function that returns the armored signature of a text.
pub type Sign<'a> = &'a dyn Fn(&str) -> Result<String>;

/// Writes the annotated tag of this name, and no ref. Returns the tag's id. With `sign` the tag is
/// signed.
pub fn write_tag(
    repo: &Path,
    (name, commit): (&str, &CommitId),
    message: &str,
    stamp: &Stamp,
    sign: Option<Sign>,
) -> Result<Oid> {
    let opened = open(repo)?;
    let target = opened.find_object(commit.into(), Some(ObjectType::Commit))?;
    let me = stamp.signature()?;
    let written = match sign {
        None => opened.tag_annotation_create(name, &target, &me, message),
        Some(sign) => {
            let (who, email) = (
                String::from_utf8_lossy(me.name_bytes()),
                String::from_utf8_lossy(me.email_bytes()),
            );
            let tag = format!(
                "object {commit}\ntype commit\ntag {name}\ntagger {who} <{email}> {} +0000\n\n{}\n",
                stamp.time,
                message.trim_end()
            );
            // What is signed is all that precedes the signature (git-tag(1)).
            let signature = sign(&tag)?;
            opened
                .odb()?
                .write(ObjectType::Tag, format!("{tag}{}\n", signature.trim_end()).as_bytes())
        }
    };
    // libgit2 keeps the system's own words to itself.
    written.with_context(|| {
        format!("cannot write to {}: is there no room on its disk?", repo.display())
    })
}

/// Makes the move of a branch; to `None` it is the branch's deletion.
pub fn branch_move(
    repo: &Path,
    branch: &str,
    old: Option<&CommitId>,
    new: Option<&CommitId>,
) -> Move {
    Move {
        repo: repo.to_owned(),
        name: format!("refs/heads/{branch}"),
        old: old.map(Oid::from),
        new: new.map(Oid::from),
    }
}

/// Makes a move: compare-and-set, and safe to repeat. The caller holds the publish lock, so no
/// living process of the service holds the lock of the ref.
pub fn apply(mv: &Move) -> Result<Applied, Failure> {
    let repo = open(&mv.repo)?;
    let current = value(&repo, &mv.name)?;
    if current == mv.new {
        return Ok(Applied::Already);
    }
    if current != mv.old {
        return Err(elsewhere(mv, current));
    }
    let mut moved = set(&repo, mv);
    if moved.as_ref().is_err_and(|error| error.code() == ErrorCode::Locked) {
        break_lock(mv)?;
        moved = set(&repo, mv);
    }
    match moved {
        Ok(()) => Ok(Applied::Moved),
        // Somebody was faster: look where the ref is now.
        Err(error)
            if matches!(
                error.code(),
                ErrorCode::Modified | ErrorCode::Exists | ErrorCode::NotFound
            ) =>
        {
            let now = repo.find_reference(&mv.name).ok().and_then(|found| found.target());
            if now == mv.new { Ok(Applied::Already) } else { Err(elsewhere(mv, now)) }
        }
        Err(error) => Err(error.into()),
    }
}

fn set(repo: &git2::Repository, mv: &Move) -> Result<(), git2::Error> {
    match (mv.old, mv.new) {
        // The ref itself goes, not what it names.
        (Some(old), Some(new)) if old == SYMBOLIC => {
            set(repo, &Move { new: None, ..mv.clone() })?;
            repo.reference(&mv.name, new, false, LOG).map(drop)
        }
        (Some(old), Some(new)) => repo.reference_matching(&mv.name, new, true, old, LOG).map(drop),
        (None, Some(new)) => repo.reference(&mv.name, new, false, LOG).map(drop),
        // The deletion fails if the ref has moved since it was looked up.
        (_, None) => repo.find_reference(&mv.name).and_then(|mut found| {
            match found.target().or(Some(SYMBOLIC)) == mv.old {
                true => found.delete(),
                false => Err(git2::Error::new(
                    ErrorCode::Modified,
                    git2::ErrorClass::Reference,
                    "it has moved",
                )),
            }
        }),
    }
}

/// Removes the lock file that a process left which died while it made this move: git(1) and we
/// would wait for it for ever. A lock that was made while we lived may be of somebody who lives
/// too: it is left until it is old.
fn break_lock(mv: &Move) -> Result<()> {
    let path = mv.repo.join(format!("{}.lock", mv.name));
    let seen =
        |path: &Path| std::fs::metadata(path).ok().map(|meta| (meta.ino(), meta.modified().ok()));
    let Some((inode, Some(made))) = seen(&path) else { return Ok(()) };
    if made > started() && made.elapsed().is_ok_and(|age| age < STALE) {
        return Ok(());
    }
    std::thread::sleep(PATIENCE);
    if seen(&path) == Some((inode, Some(made))) {
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

fn elsewhere(mv: &Move, current: Option<Oid>) -> Failure {
    let at = |oid: Option<Oid>| match oid {
        None => "nowhere".to_owned(),
        Some(oid) if oid == SYMBOLIC => "another ref (it is symbolic)".to_owned(),
        Some(oid) => oid.to_string(),
    };
    Failure::new(
        FailureKind::Conflict,
        format!(
            "{} of {} is at {}, and cannot go from {} to {}: somebody else moved it",
            mv.name,
            mv.repo.display(),
            at(current),
            at(mv.old),
            at(mv.new)
        ),
    )
}

#[cfg(test)]
mod tests {
    use crate::moves::*;
    use crate::testing::commit;
    use crate::{branch_head, create_package_repo, is_ancestor, ref_value};

    fn stamp() -> Stamp {
        Stamp { name: "Build Server".into(), email: "b@example.org".into(), time: 1_700_000_000 }
    }

    #[test]
    fn a_move_is_made_once_and_never_over_somebody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("hello.git");
        create_package_repo(&repo).unwrap();
        let (a, b) = (commit(&repo, &[("f", "1")]), commit(&repo, &[("f", "2")]));
        let first = branch_move(&repo, "prod", None, Some(&a));
        assert_eq!(apply(&first).unwrap(), Applied::Moved);
        assert_eq!(apply(&first).unwrap(), Applied::Already);
        assert_eq!(apply(&branch_move(&repo, "prod", Some(&a), Some(&b))).unwrap(), Applied::Moved);
        assert_eq!(branch_head(&repo, "prod").unwrap(), Some(b.clone()));
        for lost in [first, branch_move(&repo, "prod", None, Some(&a))] {
            let failure = apply(&lost).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Conflict);
            assert!(failure.text.contains("somebody else"), "{}", failure.text);
        }
        apply(&branch_move(&repo, "prod", Some(&a), None)).unwrap_err();
        let last = branch_move(&repo, "prod", Some(&b), None);
        assert_eq!(
            (apply(&last).unwrap(), branch_head(&repo, "prod").unwrap()),
            (Applied::Moved, None)
        );
        assert_eq!(apply(&last).unwrap(), Applied::Already);
        let opened = open(&repo).unwrap();
        assert!(is_ancestor(&opened, &a, &b).unwrap() && !is_ancestor(&opened, &b, &a).unwrap());
        let nowhere = "0123456789012345678901234567890123456789".parse().unwrap();
        assert!(!is_ancestor(&opened, &nowhere, &b).unwrap());
    }

    #[test]
    fn a_dead_process_lock_is_broken() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("hello.git");
        create_package_repo(&repo).unwrap();
        let mv = branch_move(&repo, "prod", None, Some(&commit(&repo, &[("f", "1")])));
        let lock = std::fs::File::create(repo.join("refs/heads/prod.lock")).unwrap();
        let failure = apply(&mv).unwrap_err();
        assert_eq!(failure.kind, FailureKind::System, "whoever made it may be at work: {failure}");
        lock.set_modified(started() - Duration::from_secs(1)).unwrap();
        assert_eq!(apply(&mv).unwrap(), Applied::Moved);
    }

    #[test]
    fn a_symbolic_ref_is_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("hello.git");
        create_package_repo(&repo).unwrap();
        let (a, b) = (commit(&repo, &[("f", "1")]), commit(&repo, &[("f", "2")]));
        let opened = open(&repo).unwrap();
        opened.reference_symbolic("refs/heads/prod", "refs/heads/main", false, "").unwrap();
        let failure = apply(&branch_move(&repo, "prod", Some(&b), Some(&a))).unwrap_err();
        assert_eq!(ref_value(&repo, "refs/heads/prod").unwrap(), Some(SYMBOLIC));
        assert!(failure.text.contains("is at another ref (it is symbolic), and"), "{failure}");
        let mv = Move { old: Some(SYMBOLIC), ..branch_move(&repo, "prod", None, Some(&a)) };
        assert_eq!(apply(&mv).unwrap(), Applied::Moved);
        let heads = |branch| branch_head(&repo, branch).unwrap();
        assert_eq!((heads("prod"), heads("main")), (Some(a), Some(b)));
        opened.reference_symbolic("refs/tags/x", "refs/heads/main", false, "").unwrap();
        let mv =
            Move { repo: repo.clone(), name: "refs/tags/x".into(), old: Some(SYMBOLIC), new: None };
        assert_eq!(
            (apply(&mv).unwrap(), ref_value(&repo, "refs/tags/x").unwrap()),
            (Applied::Moved, None)
        );
        assert!(heads("main").is_some());
    }

    #[test]
    fn a_tag_is_what_git_makes_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("hello.git");
        create_package_repo(&repo).unwrap();
        let a = commit(&repo, &[("f", "1")]);
        let name = "debian/1%2.0_rc1-1";
        let sign = |text: &str| {
            assert!(text.ends_with("\n\nhello\n"), "{text}");
            Ok("-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n".to_owned())
        };
        let signed = write_tag(&repo, (name, &a), "hello\n", &stamp(), Some(&sign)).unwrap();
        let plain = write_tag(&repo, (name, &a), "hello\n", &stamp(), None).unwrap();
        let opened = open(&repo).unwrap();
        let text = |oid| {
            String::from_utf8(opened.odb().unwrap().read(oid).unwrap().data().to_vec()).unwrap()
        };
        assert_eq!(text(signed).split_once("-----BEGIN").unwrap().0, text(plain));
        assert!(text(plain).contains(
            "\ntag debian/1%2.0_rc1-1\ntagger Build Server <b@example.org> 1700000000 +0000\n"
        ));
        assert_eq!(opened.find_tag(signed).unwrap().target_id(), (&a).into());
    }
}
