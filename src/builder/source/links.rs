//! Follows symbolic links inside of a tree, as the kernel does where the tree is written out, and
//! nowhere else.

use std::cell::Cell;
use std::collections::VecDeque;

use git2::{Blob, ObjectType, Oid, Repository, Tree};

use crate::source::object;
use crate::source::object::{LINK, Path};
use invirtibuilder_core::error::{Failure, FailureKind};

/// How many links lead on to others before the kernel gives up (path_resolution(7)).
const MOST: usize = 40;

/// How many names are looked up for all links of a tree together: a small repository can have many
/// long ones.
const STEPS: u32 = 200_000;

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Led {
    /// To a file.
    File(Oid),
    /// To a directory.
    Directory,
    /// There is nothing.
    Nothing,
    /// By a link to nothing in the tree.
    Nowhere,
    /// Out of the tree.
    Outside,
    /// To itself, or from link to link without end.
    Round,
}

/// A tree in which paths are followed.
pub struct Links<'a> {
    repo: &'a Repository,
    root: &'a Tree<'a>,
    steps: Cell<u32>,
}

impl<'a> Links<'a> {
    /// Follows in this tree.
    pub fn new(repo: &'a Repository, root: &'a Tree<'a>) -> Self {
        Self { repo, root, steps: Cell::new(STEPS) }
    }

    /// Follows a path from the directory `from`, which is given from the top. Behind a name that is
    /// not there nothing is found any more; it is only told whether the rest would lead out.
    pub fn follow(&self, from: &Path, path: &Path) -> Result<Led, Failure> {
        let (mut dirs, mut beyond, mut links) = (Vec::new(), 0_usize, 0_usize);
        // Whether the name that is missing is one of the path itself, and none of a link's.
        let mut missing: Option<bool> = None;
        let mut left = VecDeque::new();
        push(&mut left, path);
        let mut own = left.len();
        push(&mut left, from);
        while let Some(name) = left.pop_front() {
            self.step()?;
            let is_own = left.len() < own;
            own = own.min(left.len());
            if &name[..] == b".." {
                if beyond > 0 {
                    beyond -= 1;
                } else if dirs.pop().is_none() {
                    return Ok(Led::Outside);
                }
                continue;
            }
            if beyond > 0 {
                beyond += 1;
                continue;
            }
            let entry = dirs.last().unwrap_or(self.root).get_name_bytes(&name);
            let found = entry.map(|entry| (entry.kind(), entry.filemode(), entry.id()));
            match found {
                Some((Some(ObjectType::Tree), _, id)) => dirs.push(self.repo.find_tree(id)?),
                Some((Some(ObjectType::Blob), LINK, id)) => {
                    links += 1;
                    let blob = object::blob(self.repo, id, object::MAX_LINK)?;
                    match blob.as_ref().map(Blob::content) {
                        _ if links > MOST => return Ok(Led::Round),
                        Some(target) if target.starts_with(b"/") => return Ok(Led::Outside),
                        Some(target) => push(&mut left, target),
                        None => (beyond, missing) = (1, missing.or(Some(false))),
                    }
                }
                Some((Some(ObjectType::Blob), _, id)) if left.is_empty() && missing.is_none() => {
                    return Ok(Led::File(id));
                }
                _ => (beyond, missing) = (1, missing.or(Some(is_own))),
            }
        }
        Ok(match missing {
            None => Led::Directory,
            Some(true) => Led::Nothing,
            Some(false) => Led::Nowhere,
        })
    }

    fn step(&self) -> Result<(), Failure> {
        let Some(steps) = self.steps.get().checked_sub(1) else {
            let text = "too many symbolic links of the tree lead through others: remove some";
            return Err(Failure::new(FailureKind::Tree, text));
        };
        self.steps.set(steps);
        Ok(())
    }

    /// Finds a blob, unless it is larger than so many bytes.
    pub fn blob(&self, id: Oid, most: u64) -> Result<Option<Blob<'a>>, Failure> {
        Ok(object::blob(self.repo, id, most)?)
    }

    /// Finds a file of at most so many bytes at a path from the top, through links that stay in the
    /// tree; `None`: nothing is there.
    pub fn file(&self, path: &str, most: u64) -> Result<Option<Blob<'a>>, Failure> {
        let why = match self.follow(b"", path.as_bytes())? {
            Led::Nothing => return Ok(None),
            Led::File(id) => match object::blob(self.repo, id, most)? {
                Some(blob) => return Ok(Some(blob)),
                None if most >= 1 << 20 => format!("is larger than {} MiB", most >> 20),
                None => format!("is larger than {most} bytes"),
            },
            Led::Directory => "is a directory, and has to be a file".to_owned(),
            Led::Nowhere => {
                "is a symbolic link that leads to nothing in the tree: commit the file itself"
                    .to_owned()
            }
            Led::Outside => object::OUTSIDE.to_owned(),
            Led::Round => {
                "is a symbolic link that leads round in a circle: commit the file itself".to_owned()
            }
        };
        Err(object::refuse(path, &why))
    }
}

/// Puts the names of a path before those that are left to follow.
fn push(left: &mut VecDeque<Vec<u8>>, path: &Path) {
    let names: Vec<&Path> =
        path.split(|&c| c == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
    names.into_iter().rev().for_each(|name| left.push_front(name.to_vec()));
}

#[cfg(test)]
mod tests {
    use git2::{FileMode, TreeBuilder};

    use crate::source::links::*;

    fn with(repo: &Repository, fill: impl Fn(&mut TreeBuilder)) -> Oid {
        let mut builder = repo.treebuilder(None).unwrap();
        fill(&mut builder);
        builder.write().unwrap()
    }

    #[test]
    fn links_are_followed_in_the_tree_and_never_out_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(dir.path()).unwrap();
        let blob = |text: &str| repo.blob(text.as_bytes()).unwrap();
        let link = |to: &mut TreeBuilder, name: &str, target: &str| {
            to.insert(name, blob(target), FileMode::Link.into()).unwrap();
        };
        let inner = with(&repo, |tree| {
            drop(tree.insert("file", blob("text"), FileMode::Blob.into()).unwrap());
            link(tree, "up", "../a/./file");
            link(tree, "here", ".");
        });
        let root = with(&repo, |tree| {
            drop(tree.insert("a", inner, FileMode::Tree.into()).unwrap());
            for (name, target) in [
                ("b", "a"),
                ("dots", "a/../b/up"),
                ("out", "a/../../etc"),
                ("abs", "/etc/passwd"),
                ("via", "b/../abs"),
                ("round", "back"),
                ("back", "round"),
                ("none", "a/none"),
                ("deep", "none/../../a/file"),
            ] {
                link(tree, name, target);
            }
        });
        let root = repo.find_tree(root).unwrap();
        let links = Links::new(&repo, &root);
        let led = |path: &str| links.follow(b"", path.as_bytes()).unwrap();
        let file = Led::File(blob("text"));
        for (path, to) in [
            ("a/file", &file),
            ("b/file", &file),
            ("dots", &file),
            ("a/here/here/up", &file),
            ("b/here", &Led::Directory),
            ("out", &Led::Outside),
            ("via", &Led::Outside),
            ("a/here/../..", &Led::Outside),
            ("round", &Led::Round),
            ("none", &Led::Nowhere),
            ("deep", &Led::Nowhere),
            ("a/nothing", &Led::Nothing),
            ("a/file/more", &Led::Nothing),
            ("b/nothing", &Led::Nothing),
            ("b/here/nothing/more", &Led::Nothing),
            ("nothing/../a/file", &Led::Nothing),
            ("nothing/../../a/file", &Led::Outside),
        ] {
            assert_eq!(led(path), *to, "{path}");
        }
        assert_eq!(links.follow(b"a", b"../b/file").unwrap(), file);
        assert_eq!(links.file("dots", 4).unwrap().unwrap().content(), b"text");
        assert!(links.file("nothing", 4).unwrap().is_none());
        for (path, word) in [
            ("dots", "larger than 3 bytes"),
            ("a", "is a directory"),
            ("none", "link that leads to nothing"),
            ("out", "link that points outside"),
            ("round", "link that leads round"),
        ] {
            let failure = links.file(path, 3).unwrap_err();
            assert!(failure.text.contains(word) && failure.text.contains(path), "{failure}");
        }
        links.steps.set(2);
        assert!(links.follow(b"", b"a/here/here").is_err());
    }
}
