//! From a commit to a source package.
//!
//! The source package comes from the commit alone. Nothing from the repository runs on the host: its files are written
//! out as the objects hold them (no filters, no attributes, no hooks), and dpkg-source and pristine-tar, which read them,
//! run in a sandbox with no network and no view of anything else. The same commit makes the same bytes.

use std::path::PathBuf;

use crate::error::{Failure, FailureKind};
use crate::gitrecord;
use crate::names::{CommitId, PackageName, Version};
use crate::subprocess::CancellationToken;

mod changelog;
mod package;
mod resolve;
mod sandbox;
mod tree;
mod upstream;

pub use changelog::{Changelog, changelog, first_entry};
pub use resolve::resolve;

/// What is to be made.
#[derive(Debug, Clone)]
pub struct Request {
    /// The package's bare repository.
    pub repo: PathBuf,
    /// The commit.
    pub commit: CommitId,
    /// The source package that it is.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// Upstream tarballs and signatures that the archive has for this version.
    pub upstream: Vec<PathBuf>,
    /// An empty directory to work in; the result stays there.
    pub work: PathBuf,
    /// The most bytes that may be in it at a time.
    pub room: u64,
    /// The log to append to.
    pub log: PathBuf,
}

/// A source package.
#[derive(Debug, Clone)]
pub struct SourcePackage {
    /// The `.dsc`.
    pub dsc: PathBuf,
    /// All of its files, the `.dsc` among them.
    pub files: Vec<PathBuf>,
    /// The architectures that it builds for, as its `.dsc` has them.
    pub architectures: Vec<String>,
}

/// Makes the source package of a commit.
pub async fn make(request: &Request, cancel: &CancellationToken) -> Result<SourcePackage, Failure> {
    let tree = format!("{}-{}", request.package, request.version.upstream());
    let exported = {
        let (request, dir) = (request.clone(), request.work.join(&tree));
        tokio::task::spawn_blocking(move || export(&request, &dir)).await.map_err(anyhow::Error::from)??
    };
    if exported.format.needs_upstream(&request.version) {
        upstream::fetch(request, cancel).await?;
    }
    package::build(request, &tree, exported.timestamp, cancel).await
}

/// What a commit says about its source package.
struct Exported {
    format: Format,
    timestamp: i64,
}

fn export(request: &Request, dir: &std::path::Path) -> Result<Exported, Failure> {
    let repo = gitrecord::open(&request.repo)?;
    let commit = repo.find_commit((&request.commit).into())?;
    let changelog = changelog(&request.repo, &request.commit)?;
    let format = Format::of(&commit.tree()?, &repo, &request.version)?;
    tree::export(&repo, &commit.tree()?, dir, changelog.timestamp, request.room)?;
    Ok(Exported { format, timestamp: changelog.timestamp })
}

/// `debian/source/format` (dpkg-source(1)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    One,
    Native,
    Quilt,
}

impl Format {
    fn of(tree: &git2::Tree, repo: &git2::Repository, version: &Version) -> Result<Self, Failure> {
        let fail = |text: String| Err(Failure::new(FailureKind::Format, text));
        let text = match tree.get_path(std::path::Path::new("debian/source/format")) {
            Ok(entry) => match tree::blob(repo, entry.id(), 100) {
                Ok(Some(blob)) => String::from_utf8_lossy(blob.content()).trim().to_owned(),
                _ => return fail("debian/source/format is not a small file".to_owned()),
            },
            Err(_) => "1.0".to_owned(),
        };
        match text.as_str() {
            "1.0" => Ok(Self::One),
            "3.0 (native)" if version.has_revision() => {
                fail(format!("a 3.0 (native) package has no revision, but version {version} has one"))
            }
            "3.0 (native)" => Ok(Self::Native),
            "3.0 (quilt)" if !version.has_revision() => {
                fail(format!("a 3.0 (quilt) package has a revision, but version {version} has none"))
            }
            "3.0 (quilt)" => Ok(Self::Quilt),
            other => fail(format!(
                "source format {} is not supported: use 3.0 (quilt), 3.0 (native) or 1.0",
                crate::text::quoted(other)
            )),
        }
    }

    fn needs_upstream(self, version: &Version) -> bool {
        match self {
            Self::Native => false,
            Self::Quilt => true,
            Self::One => version.has_revision(),
        }
    }
}

#[cfg(test)]
mod tests;
