//! The directory in which a job works.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use invirtibuilder_builder::source;
use invirtibuilder_core::config::Config;
use invirtibuilder_core::failpoint::{Point, reach};
use invirtibuilder_core::names::JobId;
use invirtibuilder_system::remove::remove_tree;

/// What the name of a directory begins with that is being removed.
const GONE: &str = "gone-";

/// The directory in which a job works. What is in it does not outlive the job.
pub struct Workspace {
    dir: PathBuf,
}

impl Workspace {
    /// Names the workspace of a job.
    pub(crate) fn new(config: &Config, job: JobId) -> Self {
        Self { dir: config.scratch().join(format!("job-{job}")) }
    }

    /// Names the directory that the build puts into what it makes.
    pub(crate) fn output(&self) -> PathBuf {
        self.dir.join("output")
    }

    /// Names the directory that has the output once the build is complete.
    pub(crate) fn built(&self) -> PathBuf {
        self.dir.join("built")
    }

    /// Names the directory in which the source package is made.
    pub(crate) fn source(&self) -> PathBuf {
        self.dir.join("source")
    }

    /// Names the directory that the build works in.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.dir.join("build")
    }

    /// Names the directory that has what was built a second time.
    pub(crate) fn again(&self) -> PathBuf {
        self.dir.join("again")
    }

    /// Empties it, and makes the directories of a job.
    pub(crate) async fn fresh(&self) -> Result<()> {
        self.remove().await?;
        for dir in [self.dir.clone(), self.output(), self.source(), self.scratch()] {
            std::fs::create_dir_all(dir)?;
        }
        Ok(())
    }

    /// Makes what was built durable in its place: the record may say from now on that it is there.
    pub(crate) fn keep(&self) -> Result<()> {
        let sync = |path: &Path| std::fs::File::open(path)?.sync_all();
        for entry in std::fs::read_dir(self.output())? {
            sync(&entry?.path())?;
        }
        sync(&self.output())?;
        std::fs::rename(self.output(), self.built())?;
        sync(&self.dir)?;
        Ok(sync(self.dir.parent().unwrap_or(&self.dir))?)
    }

    /// Removes it with all that is in it.
    pub(crate) async fn remove(&self) -> Result<()> {
        remove_tree(&self.dir).await
    }

    /// Gives it a name that no job has.
    pub(crate) fn gone(&self) -> Result<Self> {
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        let gone = Self { dir: self.dir.with_file_name(format!("{GONE}{name}")) };
        match std::fs::rename(&self.dir, &gone.dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(gone),
        }
    }

    /// Removes what dead workers left, but for the complete builds of these jobs. What cannot be
    /// removed is returned, and is no reason not to work.
    pub async fn sweep(config: &Config, keep: &[JobId]) -> Result<Vec<anyhow::Error>> {
        let mut left = Vec::new();
        for entry in std::fs::read_dir(config.scratch())?.flatten() {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(GONE)) {
                left.extend(remove_tree(&entry.path()).await.err());
                continue;
            }
            if name.to_str().is_some_and(|name| name.starts_with(source::LOOK)) && is_old(&entry) {
                left.extend(remove_tree(&entry.path()).await.err());
                continue;
            }
            let id = name
                .to_str()
                .and_then(|name| name.strip_prefix("job-"))
                .and_then(|id| id.parse().ok());
            let Some(id) = id.filter(|id| !keep.contains(id)) else { continue };
            reach(Point::SweepWorkspace)?;
            left.extend(Self::new(config, id).remove().await.err());
        }
        Ok(left)
    }
}

/// Tells whether nobody can be at work in a directory any more that submissions look into tarballs in.
fn is_old(entry: &std::fs::DirEntry) -> bool {
    const LONG: Duration = Duration::from_secs(600);
    let modified = entry.metadata().and_then(|about| about.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > LONG))
}
