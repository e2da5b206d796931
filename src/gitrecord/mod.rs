//! What Git is told about a publication: objects first, which nobody sees, then refs, each by compare-and-set.

use std::path::PathBuf;

use git2::Oid;

mod guard;
mod moves;
mod ours;
mod repository;
mod rules;
mod superproject;
mod unreadable;

pub use guard::{Guard, Installed, ROOM, config_of};
pub use moves::{Applied, Sign, apply, branch_move, write_tag};
pub use ours::{
    OURS, PUBLISHED, complete, in_the_way, is_complete, is_empty, mark, mark_move, marks, published_commit, set_aside,
    take_away,
};
pub use repository::{
    SYMBOLIC, branch_head, commits_of_prefix, create_package_repo, head, init_superproject, is_abbreviation,
    is_ancestor, leads_to, open, package_repositories, ref_value, repositories, symbolic, tag_target, value,
};
pub use rules::{Push, no_room, refusal, standing};
pub use superproject::{Change, packages_at, write_superproject};
pub use unreadable::{Unreadable, lacks_objects};

/// A ref that is to go from one object to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The bare repository.
    pub repo: PathBuf,
    /// The ref's full name, `refs/…`.
    pub name: String,
    /// What it points at now; `None`: it does not exist.
    pub old: Option<Oid>,
    /// What it is to point at; `None`: it is to be deleted.
    pub new: Option<Oid>,
}

/// Who tags and commits, and when.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// The name.
    pub name: String,
    /// The mail address.
    pub email: String,
    /// Seconds since 1970-01-01 UTC.
    pub time: i64,
}

impl Stamp {
    fn signature(&self) -> Result<git2::Signature<'static>, git2::Error> {
        git2::Signature::new(&self.name, &self.email, &git2::Time::new(self.time, 0))
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Small repositories for tests.

    use std::path::Path;

    use git2::{Repository, Signature, Time};

    use crate::names::CommitId;

    /// Where a branch is.
    pub fn head(repo: &Path, branch: &str) -> Option<CommitId> {
        super::branch_head(repo, branch).unwrap()
    }

    /// A commit on `refs/heads/main` with these files, on top of what is there.
    pub fn commit(repo: &Path, files: &[(&str, &str)]) -> CommitId {
        commit_in(repo, "", files)
    }

    /// The same with the files in a directory.
    pub fn commit_in(repo: &Path, dir: &str, files: &[(&str, &str)]) -> CommitId {
        let repo = Repository::open(repo).unwrap();
        let parent = repo.find_reference("refs/heads/main").ok().map(|main| main.peel_to_commit().unwrap());
        let mut index = git2::Index::new().unwrap();
        for (path, text) in files {
            let entry = git2::IndexEntry {
                ctime: git2::IndexTime::new(0, 0),
                mtime: git2::IndexTime::new(0, 0),
                dev: 0,
                ino: 0,
                mode: 0o100644,
                uid: 0,
                gid: 0,
                file_size: 0,
                id: repo.blob(text.as_bytes()).unwrap(),
                flags: 0,
                flags_extended: 0,
                path: Path::new(dir).join(path).into_os_string().into_encoded_bytes(),
            };
            index.add(&entry).unwrap();
        }
        let tree = repo.find_tree(index.write_tree_to(&repo).unwrap()).unwrap();
        let me = Signature::new("A Developer", "a@example.org", &Time::new(1_700_000_000, 0)).unwrap();
        let parents: Vec<&git2::Commit> = parent.iter().collect();
        repo.commit(Some("refs/heads/main"), &me, &me, "a change", &tree, &parents).unwrap().into()
    }
}
