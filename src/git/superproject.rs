//! Writes and reads the superproject: it has one branch for each pocket, and every package is a
//! submodule at the commit that the pocket has.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use git2::{FileMode, Oid, Repository, Tree};

use crate::repository::open;
use crate::{Move, Stamp};
use invirtibuilder_core::failpoint::{Point, reach};
use invirtibuilder_core::names::{CommitId, PackageName};

/// The change of one submodule to another commit.
#[derive(Debug, Clone)]
pub struct SubmoduleChange {
    /// The package, which is the submodule's path.
    pub package: PackageName,
    /// The commit; `None`: the pocket no longer has the package.
    pub commit: Option<CommitId>,
}

/// The next commit of a superproject's branch.
#[derive(Debug, Clone, Copy)]
pub struct NewCommit<'a> {
    /// The branch.
    pub branch: &'a str,
    /// The commit that it is on top of; `None`: it is the first.
    pub parent: Option<&'a CommitId>,
    /// What changes in it.
    pub changes: &'a [SubmoduleChange],
    /// The URL of each submodule, with `%s` for the package's name.
    pub submodule_url: &'a str,
    /// Its message.
    pub message: &'a str,
}

/// Writes the next commit of a branch. Returns the move that makes it visible.
pub fn write_superproject(repo: &Path, new: &NewCommit, stamp: &Stamp) -> Result<Move> {
    let NewCommit { branch, parent, changes, submodule_url, message } = *new;
    let opened = open(repo)?;
    let parent = match parent {
        Some(id) => {
            Some(opened.find_commit(id.into()).context("the superproject's last commit is gone")?)
        }
        None => None,
    };
    let before = parent.as_ref().map(git2::Commit::tree).transpose()?;
    let tree = opened.find_tree(write_tree(&opened, before.as_ref(), changes, submodule_url)?)?;
    let me = stamp.signature()?;
    let parents: Vec<_> = parent.iter().collect();
    let new = opened.commit(None, &me, &me, message, &tree, &parents)?;
    reach(Point::SuperprojectWritten)?;
    let old = parent.as_ref().map(git2::Commit::id);
    Ok(Move { repo: repo.to_owned(), name: format!("refs/heads/{branch}"), old, new: Some(new) })
}

fn write_tree(
    repo: &Repository,
    before: Option<&Tree>,
    changes: &[SubmoduleChange],
    url: &str,
) -> Result<Oid> {
    let mut builder = repo.treebuilder(before)?;
    for change in changes {
        match &change.commit {
            Some(commit) => drop(builder.insert(
                change.package.as_str(),
                commit.into(),
                FileMode::Commit.into(),
            )?),
            None if builder.get(change.package.as_str())?.is_some() => {
                builder.remove(change.package.as_str())?;
            }
            None => {}
        }
    }
    let links = repo.find_tree(builder.write()?)?;
    let modules: String = gitlinks(&links)
        .keys()
        .map(|name| {
            format!(
                "[submodule \"{name}\"]\n\tpath = {name}\n\turl = {}\n",
                url.replace("{package}", name)
            )
        })
        .collect();
    builder.insert(".gitmodules", repo.blob(modules.as_bytes())?, FileMode::Blob.into())?;
    Ok(builder.write()?)
}

/// Lists the submodules of a tree, each with its commit.
fn gitlinks(tree: &Tree) -> BTreeMap<String, CommitId> {
    tree.iter()
        .filter(|entry| entry.kind() == Some(git2::ObjectType::Commit))
        .filter_map(|entry| entry.name().ok().map(|name| (name.to_owned(), entry.id().into())))
        .collect()
}

/// Lists the packages that a superproject commit has, each with its commit; `None`: there is no
/// such commit.
pub fn packages_at(repo: &Path, commit: &CommitId) -> Result<Option<BTreeMap<String, CommitId>>> {
    match open(repo)?.find_commit(commit.into()) {
        Ok(commit) => Ok(Some(gitlinks(&commit.tree()?))),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use crate::superproject::*;
    use crate::testing::commit;
    use crate::{apply, branch_move, create_package_repo, init_superproject};

    fn git(args: &[&str], dir: &Path) -> String {
        let out = Command::new("git")
            .args(args)
            .current_dir(dir)
            .env_clear()
            .env("PATH", invirtibuilder_system::subprocess::PATH)
            .env("HOME", dir)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    #[test]
    fn git_clones_it_with_its_submodules() {
        let dir = tempfile::tempdir().unwrap();
        let (packages, superproject) =
            (dir.path().join("packages"), dir.path().join("packages.git"));
        std::fs::create_dir(&packages).unwrap();
        assert!(
            init_superproject(&superproject).unwrap() && !init_superproject(&superproject).unwrap()
        );
        let stamp = Stamp {
            name: "Build Server".into(),
            email: "b@example.org".into(),
            time: 1_700_000_000,
        };
        let mut parent = None;
        for name in ["hello", "libc++-x"] {
            let repo = packages.join(format!("{name}.git"));
            create_package_repo(&repo).unwrap();
            let id = commit(&repo, &[("file", name)]);
            apply(&branch_move(&repo, "prod", None, Some(&id))).unwrap();
            let change = [SubmoduleChange { package: name.parse().unwrap(), commit: Some(id) }];
            let url = "./packages/{package}.git";
            let mv = write_superproject(
                &superproject,
                &NewCommit {
                    branch: "prod",
                    parent: parent.as_ref(),
                    changes: &change,
                    submodule_url: url,
                    message: name,
                },
                &stamp,
            )
            .unwrap();
            apply(&mv).unwrap();
            parent = mv.new.map(CommitId::from);
        }
        git(&["fsck", "--strict"], &superproject);
        let from = superproject.to_str().unwrap();
        let clone = [
            "-c",
            "protocol.file.allow=always",
            "clone",
            "-q",
            "--recurse-submodules",
            "-b",
            "prod",
            from,
            "work",
        ];
        // The superproject's own directory is the base of the relative URL, as in the shipped
        // default.
        std::fs::rename(&packages, superproject.join("packages")).unwrap();
        git(&clone, dir.path());
        for name in ["hello", "libc++-x"] {
            assert_eq!(
                std::fs::read_to_string(dir.path().join("work").join(name).join("file")).unwrap(),
                name
            );
        }
        assert_eq!(git(&["log", "--format=%s"], &dir.path().join("work")), "libc++-x\nhello\n");
    }
}
