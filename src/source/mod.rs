//! From a commit to a source package.
//!
//! The source package comes from the commit alone, and that is proven each time. [`plan()`] decides from the commit, the branch
//! pristine-tar and the pool what it is made of. [`make`] writes the files out as the objects hold them (no filters, no attributes,
//! no hooks), and has the distro's own dpkg-source make the package. [`prove`] unpacks it again and compares every path with the
//! commit. Nothing from the repository runs on the host: dpkg-source and pristine-tar, which read it, run in a sandbox with no network
//! and no view of anything else. The same commit makes the same bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chroot::programs::Programs;
use crate::error::Failure;
use crate::gitrecord;
use crate::names::{CommitId, PackageName, Version};
use crate::subprocess::CancellationToken;

mod binary;
mod binding;
mod changelog;
mod control;
mod delta;
mod format;
mod layout;
mod links;
mod listing;
mod notes;
mod options;
mod package;
mod patches;
mod plan;
mod proof;
mod resolve;
mod sandbox;
mod tarballs;
mod tree;
mod unpacked;
mod upstream;

pub use binding::{Bound, SUMS};
pub use changelog::{Changelog, changelog, first_entry, whole as whole_changelog};
pub use control::{Binary, Control};
pub use format::Format;
pub use layout::Layout;
pub use plan::{Plan, Wanted, pin, plan, unpin};
pub use proof::{Proof, prove};
pub use resolve::resolve;
pub use tarballs::{Branch, Origin, Pooled, Tarball, pooled};
pub use upstream::NAME as LOOK;

/// A commit that is to become a source package.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The package's bare repository.
    pub repo: PathBuf,
    /// The commit.
    pub commit: CommitId,
    /// The source package that it is.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
}

/// What is to be made.
#[derive(Debug, Clone)]
pub struct Request {
    /// The commit that it is made of.
    pub subject: Subject,
    /// What else it is made of.
    pub plan: Plan,
    /// The dpkg-source that makes it, and what that calls.
    pub programs: Arc<Programs>,
    /// An empty directory to work in; the result stays there.
    pub work: PathBuf,
    /// The most bytes that may be in it at a time.
    pub room: u64,
    /// The log to append to.
    pub log: PathBuf,
}

impl Request {
    /// A plan that this machine's own programs carry out in a directory, which gets the log as well.
    pub fn on_host(subject: Subject, plan: Plan, dir: &Path, room: u64) -> anyhow::Result<Self> {
        let work = dir.join("job/source");
        std::fs::create_dir_all(&work)?;
        Ok(Self { subject, plan, programs: Arc::new(Programs::of_host()), work, room, log: dir.join("log") })
    }

    /// The directory that the commit's files are written to, as dpkg-source wants it named.
    fn tree(&self) -> String {
        format!("{}-{}", self.subject.package, self.subject.version.upstream())
    }
}

/// A source package.
#[derive(Debug, Clone, Default)]
pub struct SourcePackage {
    /// The `.dsc`.
    pub dsc: PathBuf,
    /// All of its files, the `.dsc` among them.
    pub files: Vec<PathBuf>,
    /// The architectures that it builds for, as its `.dsc` has them.
    pub architectures: Vec<String>,
    /// The SHA-256 of each upstream tarball, by name.
    pub tarballs: Vec<(String, String)>,
    /// What has to be said of it; each a sentence.
    pub notes: Vec<String>,
}

/// Makes the source package of a commit.
pub async fn make(request: &Request, cancel: &CancellationToken) -> Result<SourcePackage, Failure> {
    let (export, dir) = (request.clone(), request.work.join(request.tree()));
    tokio::task::spawn_blocking(move || export.export(&dir)).await.map_err(anyhow::Error::from)??;
    let fetched = upstream::fetch(request, cancel).await?;
    let made = package::build(request, cancel).await?;
    Ok(SourcePackage { tarballs: fetched.sums, notes: fetched.notes, ..made })
}

impl Request {
    fn export(&self, dir: &Path) -> Result<(), Failure> {
        let repo = gitrecord::open(&self.subject.repo)?;
        let tree = repo.find_commit((&self.subject.commit).into())?.tree()?;
        tree::export(&repo, &tree, dir, self.plan.timestamp, self.room)?;
        package::date_generated_patch(self, dir)
    }
}

#[cfg(test)]
mod tests;
