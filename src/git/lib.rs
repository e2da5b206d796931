//! Tells Git of a publication: first the service writes objects, which nobody sees, then it moves
//! refs, each by compare-and-set.

use std::path::PathBuf;

use git2::Oid;

mod guard;
mod moves;
mod ours;
mod repository;
pub mod resolve;
mod rules;
mod superproject;
mod unreadable;

pub use guard::{Guard, Installed, PRE_RECEIVE, config_of};
pub use moves::{Applied, Sign, apply, branch_move, write_tag};
pub use ours::{Marks, OURS, in_the_way, is_empty, is_mark, mark, set_aside, take_away};
pub use repository::{
    SYMBOLIC, branch_head, commits_of_prefix, count_commits, create_package_repo, head,
    init_superproject, is_abbreviation, is_ancestor, leads_to, open, package_repositories,
    ref_value, repositories, symbolic, symbolic_target, tag_target, value,
};
pub use rules::{Push, no_room, refusal, standing};
pub use superproject::{NewCommit, SubmoduleChange, packages_at, write_superproject};
pub use unreadable::{Unreadable, lacks_objects};

/// The move of a ref from one object to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The bare repository.
    pub repo: PathBuf,
    /// The ref's full name, `refs/…`.
    pub name: String,
    /// The object that the ref points at now; `None`: the ref does not exist.
    pub old: Option<Oid>,
    /// The object that the ref shall point at; `None`: the move deletes the ref.
    pub new: Option<Oid>,
}

/// The person or service that writes a tag or a commit, and the time.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// The name of the person or the service.
    pub name: String,
    /// The mail address.
    pub email: String,
    /// The time, in seconds since 1970-01-01 UTC.
    pub time: i64,
}

impl Stamp {
    fn signature(&self) -> Result<git2::Signature<'static>, git2::Error> {
        git2::Signature::new(&self.name, &self.email, &git2::Time::new(self.time, 0))
    }
}

#[cfg(any(test, feature = "testing"))]
pub mod testing {
    //! Small repositories for tests.

    use std::path::Path;

    use git2::{Repository, Signature, Time};

    use invirtibuilder_core::names::CommitId;

    /// Returns the commit that a branch points at.
    pub fn head(repo: &Path, branch: &str) -> Option<CommitId> {
        crate::branch_head(repo, branch).unwrap()
    }

    /// Commits these files to `refs/heads/main`, on top of what is there.
    pub fn commit(repo: &Path, files: &[(&str, &str)]) -> CommitId {
        commit_in(repo, "", files)
    }

    /// Does what [`commit`] does, with the files in a directory.
    pub fn commit_in(repo: &Path, dir: &str, files: &[(&str, &str)]) -> CommitId {
        let repo = Repository::open(repo).unwrap();
        let parent =
            repo.find_reference("refs/heads/main").ok().map(|main| main.peel_to_commit().unwrap());
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
        let me =
            Signature::new("A Developer", "a@example.org", &Time::new(1_700_000_000, 0)).unwrap();
        let parents: Vec<&git2::Commit> = parent.iter().collect();
        repo.commit(Some("refs/heads/main"), &me, &me, "a change", &tree, &parents).unwrap().into()
    }
}
