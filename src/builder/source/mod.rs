//! From a commit to a source package.
//!
//! The source package comes from the commit alone, and that is proven each time. [`plan()`] decides
//! from the commit, the branch pristine-tar and the pool what it is made of. [`make`] writes the
//! files out as the objects hold them (no filters, no attributes, no hooks), and has the distro's
//! own dpkg-source make the package. [`prove`] unpacks it again and compares every path with the
//! commit. Nothing from the repository runs on the host: dpkg-source and pristine-tar, which read
//! it, run in a sandbox with no network and no view of anything else. The same commit makes the
//! same bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

mod binary;
mod binding;
mod changelog;
mod control;
mod delta;
mod format;
mod from_tree;
mod layout;
mod links;
mod listing;
mod notes;
mod object;
mod options;
mod package;
mod patches;
mod plan;
mod proof;
mod sandbox;
mod tarballs;
mod tree;
mod unpacked;
mod upstream;
mod upstream_tag;

pub use binding::SUMS;
pub use changelog::{Changelog, built_changelog, changelog, first_entry, whole as whole_changelog};
pub use control::{BinaryPackage, Control};
pub use format::Format;
pub use from_tree::{TreeOf, UpstreamTree};
use invirtibuilder_core::error::Failure;
use invirtibuilder_core::facts::SourcePackage;
use invirtibuilder_core::names::{CommitId, Distro, PackageName, Version};
use invirtibuilder_environment::programs::SandboxPrograms;
use invirtibuilder_git as git;
use invirtibuilder_system::subprocess::CancellationToken;
pub use plan::{PlanInputs, SourcePlan, pin, plan, unpin, upstream_files};
pub use proof::prove;
pub use tarballs::{Branch, Origin, Pooled, Tarball};
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
    /// The version that it is to have.
    pub version: Version,
    /// The version that `debian/changelog` has there. Where it is another one, the service adds an
    /// entry.
    pub written: Version,
    /// The distribution that the entry names.
    pub distro: Distro,
    /// The reason, if this is a rebuild without changes.
    pub why: Option<String>,
}

impl Subject {
    /// Tells whether the commit's own files outside of `debian/` are the upstream version: then its
    /// tarball is made of them.
    pub fn has_own_upstream(&self) -> bool {
        self.written.has_revision() && self.version.upstream() != self.written.upstream()
    }
}

/// What is to be made.
#[derive(Debug, Clone)]
pub struct SourceRequest {
    /// The commit that it is made of.
    pub subject: Subject,
    /// What else it is made of.
    pub plan: SourcePlan,
    /// The dpkg-source that makes it, and what that calls.
    pub programs: Arc<SandboxPrograms>,
    /// An empty directory to work in; the result stays there.
    pub work: PathBuf,
    /// The most bytes that may be in it at a time.
    pub room: u64,
    /// The log to append to.
    pub log: PathBuf,
}

impl SourceRequest {
    /// Makes a plan that this machine's own programs carry out in a directory, which gets the log
    /// as well.
    pub fn on_host(
        subject: Subject,
        plan: SourcePlan,
        dir: &Path,
        room: u64,
    ) -> anyhow::Result<Self> {
        let work = dir.join("job/source");
        std::fs::create_dir_all(&work)?;
        Ok(Self {
            subject,
            plan,
            programs: Arc::new(SandboxPrograms::of_host()),
            work,
            room,
            log: dir.join("log"),
        })
    }

    /// Returns the directory that the commit's files are written to, as dpkg-source wants it named.
    fn tree(&self) -> String {
        format!("{}-{}", self.subject.package, self.subject.version.upstream())
    }
}

/// Makes the source package of a commit.
pub async fn make(
    request: &SourceRequest,
    cancel: &CancellationToken,
) -> Result<SourcePackage, Failure> {
    let (export, dir) = (request.clone(), request.work.join(request.tree()));
    tokio::task::spawn_blocking(move || export.export(&dir))
        .await
        .map_err(anyhow::Error::from)??;
    let fetched = upstream::fetch(request, cancel).await?;
    let made = package::build(request, cancel).await?;
    Ok(SourcePackage { tarballs: fetched.sums, notes: fetched.notes, ..made })
}

impl SourceRequest {
    fn export(&self, dir: &Path) -> Result<(), Failure> {
        let repo = git::open(&self.subject.repo)?;
        let tree = repo.find_commit((&self.subject.commit).into())?.tree()?;
        tree::export(&repo, &tree, dir, self.plan.timestamp, self.room)?;
        if let Some(entry) = &self.plan.entry {
            entry.prepend(dir)?;
        }
        package::date_generated_patch(self, dir)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod version_tests;
