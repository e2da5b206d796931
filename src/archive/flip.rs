//! Shows a generation of a suite, and removes those that nobody needs any more.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rayon::prelude::*;
use rusqlite::Connection;

use crate::states::{self, Readable};
use crate::{Archive, generation, site};
use invirtibuilder_core::domain::SuiteId;
use invirtibuilder_core::failpoint::{Point, reach};
use invirtibuilder_core::names::Suite;
use invirtibuilder_store::{contents, snapshots};
use invirtibuilder_system::files;

impl Archive {
    /// Finds the generation that a suite shows now.
    pub fn current(&self, suite: &SuiteId) -> Result<Option<i64>> {
        let link = self.dists().join(suite.suite.as_str());
        match fs::read_link(&link) {
            Ok(target) => {
                let number = target
                    .file_name()
                    .and_then(|name| name.to_str())
                    .and_then(|name| name.parse().ok());
                Ok(Some(
                    number.with_context(|| format!("{} is not a link of ours", link.display()))?,
                ))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error)
                .with_context(|| format!("{} is in the way: move it aside", link.display())),
        }
    }

    /// Shows a generation, and the state that it is; fine if the suite already shows it, or a later
    /// one.
    pub fn flip(&self, suite: &SuiteId, generation: i64) -> Result<()> {
        // Whoever showed it may have died before that was on the disk.
        let mut changed = vec![self.dists()];
        changed.extend(states::show(&self.root, &suite.suite, generation)?);
        reach(Point::SuiteStateNamed)?;
        if self.current(suite)?.is_none_or(|shown| shown < generation) {
            self.link(suite, generation)?;
        }
        // The file for sources.list.d goes with the suite.
        let (link, target) =
            (self.root.join(site::sources_name(&suite.suite)), sources_of(&suite.suite));
        if fs::read_link(&link).ok().as_ref() != Some(&target) {
            let _ = fs::remove_file(&link);
            symlink(&target, &link)?;
            changed.push(self.root.clone());
        }
        changed.par_iter().try_for_each(|dir| files::sync_dir(dir))
    }

    fn link(&self, suite: &SuiteId, generation: i64) -> Result<()> {
        let (dists, name) = (self.dists(), suite.suite.as_str());
        let new = dists.join(format!(".{name}.new"));
        let _ = fs::remove_file(&new);
        symlink(Path::new(generation::DIRECTORY).join(name).join(generation.to_string()), &new)?;
        reach(Point::SuiteLinked)?;
        fs::rename(&new, dists.join(name))?;
        Ok(reach(Point::SuiteFlipped)?)
    }

    /// Takes a suite with all of its generations and states out of the archive; fine if it is not
    /// there. What the pool has stays.
    pub fn remove_suite(&self, suite: &SuiteId) -> Result<()> {
        let (dists, name) = (self.dists(), suite.suite.as_str());
        // What is no link of ours is somebody's, and stays.
        if self.current(suite)?.is_some() {
            fs::remove_file(dists.join(name))?;
            reach(Point::SuiteUnlinked)?;
            files::sync_dir(&dists)?;
        }
        let link = self.root.join(site::sources_name(&suite.suite));
        if fs::read_link(&link).ok() == Some(sources_of(&suite.suite)) {
            fs::remove_file(link)?;
        }
        states::forget(&self.root, &suite.suite)?;
        match fs::remove_dir_all(dists.join(generation::DIRECTORY).join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Signs the states of these suites again, if their keys have changed.
    pub fn sign_states(&self, suites: &[SuiteId]) -> Result<()> {
        let keys = self.keys()?;
        suites.iter().try_for_each(|suite| states::sign_again(&self.root, &suite.suite, &keys))
    }

    /// Removes generations that are neither recorded nor shown, nor the one that was shown before,
    /// nor of a state that has a URL.
    pub fn sweep(&self, db: &Connection, suites: &[SuiteId]) -> Result<()> {
        let mut readable = BTreeMap::new();
        for suite in contents::suites(db)?.into_iter().filter(|it| it.domain == self.domain) {
            let newest = snapshots::newest(db, &suite, self.states)?;
            let whole = snapshots::newest(db, &suite, u32::MAX)?;
            readable.insert(suite.suite, Readable { newest, whole });
        }
        let states = states::retain(&self.root, &readable)?;
        let is_state =
            |suite: &SuiteId, n| states.get(&suite.suite).is_some_and(|it| it.contains(&n));
        for suite in suites {
            let recorded = contents::suite(db, suite)?.map_or(0, |state| state.generation);
            let shown = self.current(suite)?.unwrap_or(0);
            let dir = self.dists().join(generation::DIRECTORY).join(suite.suite.as_str());
            let Ok(entries) = fs::read_dir(&dir) else { continue };
            for entry in entries {
                let entry = entry?;
                let number = entry.file_name().to_str().and_then(|name| name.parse::<i64>().ok());
                let keep = number.is_some_and(|n| {
                    n == recorded || n == shown || n == shown - 1 || is_state(suite, n)
                });
                if !keep {
                    reach(Point::SweepGeneration)?;
                    fs::remove_dir_all(entry.path())?;
                }
            }
        }
        Ok(())
    }
}

/// Returns the target of the link to the file for sources.list.d of a suite.
fn sources_of(suite: &Suite) -> PathBuf {
    Path::new("dists").join(suite.as_str()).join(site::sources_name(suite))
}
