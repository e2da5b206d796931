//! Serves many requests in one process: what one of them has opened the next one uses.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use crate::Session;
use crate::session::load;
use invirtibuilder_access::grant::Grant;
use invirtibuilder_access::identity::{self, Caller};
use invirtibuilder_core::config::{self, Config};
use invirtibuilder_core::names::JobId;
use invirtibuilder_store::browse;
use invirtibuilder_store::kept_open::{LentRecord, OpenRecords};

/// What the requests of one process share: the configuration, and open records.
pub struct Desk {
    path: PathBuf,
    loaded: Mutex<Option<Loaded>>,
}

/// The configuration as it was read from its files.
#[derive(Clone)]
struct Loaded {
    files: Vec<FileState>,
    config: Arc<Config>,
    records: Arc<OpenRecords>,
}

/// What tells whether a file is still the one that was read: its path, device and number, length,
/// and the times of its last changes.
type FileState = (PathBuf, Option<(u64, u64, u64, i64, i64, i64, i64)>);

impl Desk {
    /// Opens a desk for the service with this configuration. Nothing is read yet.
    pub fn of(path: PathBuf) -> Self {
        Self { path, loaded: Mutex::default() }
    }

    /// Returns the configuration as its files have it now; it is read again when they change.
    pub fn config(&self) -> Result<Arc<Config>> {
        Ok(self.loaded()?.config)
    }

    /// Opens the session of a caller.
    pub fn session(&self, caller: &Caller) -> Result<Session> {
        let Loaded { config, records, .. } = self.loaded()?;
        let who = identity::who(&config, caller)?;
        Ok(Session::new(config, self.path.clone(), who, records.lend()?, caller))
    }

    /// Returns a caller that may read, for work that goes on for one who was known when it began.
    pub fn reader(&self) -> Caller {
        Caller::Http(None, Grant::Reading)
    }

    /// Opens what tells whether the record has changed.
    pub fn pulse(&self) -> Result<Pulse> {
        Ok(Pulse { record: self.record()? })
    }

    /// Lends a record.
    pub(crate) fn record(&self) -> Result<LentRecord> {
        self.loaded()?.records.lend()
    }

    fn loaded(&self) -> Result<Loaded> {
        // Before the files are read: what changes meanwhile is read again.
        let files = states(&self.path);
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = loaded.as_ref().filter(|loaded| loaded.files == files) {
            return Ok(loaded.clone());
        }
        let config = Arc::new(load(&self.path)?);
        let records = OpenRecords::of(config.database());
        Ok(loaded.insert(Loaded { files, config, records }).clone())
    }
}

/// Tells whether the record has changed.
pub struct Pulse {
    record: LentRecord,
}

impl Pulse {
    /// Returns a number that is another one after every change by somebody else.
    pub fn feel(&self) -> Result<i64> {
        browse::pulse(self.record.db())
    }

    /// Finds the job that was changed last, and the number of that change, if there was one after
    /// this number.
    pub fn changed_after(&self, change: i64) -> Result<Option<(i64, JobId)>> {
        browse::changed_after(self.record.db(), change)
    }
}

fn states(path: &Path) -> Vec<FileState> {
    let state = |path: PathBuf| {
        let about = std::fs::metadata(&path).ok().map(|about| {
            let (changed, modified) = (about.ctime(), about.mtime());
            let (dev, ino, size) = (about.dev(), about.ino(), about.size());
            (dev, ino, size, changed, about.ctime_nsec(), modified, about.mtime_nsec())
        });
        (path, about)
    };
    config::files(path).into_iter().map(state).collect()
}

#[cfg(test)]
mod tests {
    use crate::desk::*;

    #[test]
    fn the_configuration_is_read_again_when_a_file_of_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        std::fs::write(&path, "realm: A\n").unwrap();
        let desk = Desk::of(path.clone());
        let first = desk.config().unwrap();
        assert!(Arc::ptr_eq(&first, &desk.config().unwrap()), "it is read once");
        std::fs::create_dir(dir.path().join("conf.d")).unwrap();
        std::fs::write(dir.path().join("conf.d/b.yaml"), "realm: B\n").unwrap();
        assert_eq!(desk.config().unwrap().realm.as_deref(), Some("B"));
        std::fs::write(&path, "realm: [\n").unwrap();
        assert!(desk.config().is_err(), "a bad one serves nobody, as in any other command");
        std::fs::write(&path, "realm: C\n").unwrap();
        std::fs::remove_file(dir.path().join("conf.d/b.yaml")).unwrap();
        assert_eq!(desk.config().unwrap().realm.as_deref(), Some("C"));
    }
}
