//! Why a queued job waits, and about how long: what `status`, `--wait` and the JSON say of it.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::Result;
use rusqlite::Connection;
use serde::Serialize;

use crate::chroot::Store;
use crate::config::{Config, Isolation, Pocket};
use crate::fairness::{Hold, Load, Rules};
use crate::names::{Distro, JobId, PocketName};
use crate::record::forecast::Forecast;
use crate::record::jobs::{self, Job};
use crate::record::{now, queue};
use crate::session::span;
use crate::{disk, wake};

/// What a job waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "for", rename_all = "lowercase")]
pub enum Reason {
    /// No daemon runs.
    Daemon,
    /// The disk that jobs work on is nearly full.
    Disk {
        /// The directory.
        dir: String,
    },
    /// An earlier job of its package.
    Job {
        /// Which.
        job: JobId,
    },
    /// Its pocket is not in the configuration any more: it will fail.
    Pocket {
        /// Which.
        pocket: PocketName,
    },
    /// There is no chroot or image for its pocket: it will fail.
    Chroot {
        /// Of which distro.
        distro: String,
    },
    /// As many jobs of its pocket run as the pocket's `jobs` allows.
    Limit,
    /// Other pockets are before its own.
    Share,
    /// A place.
    Place,
}

/// What a job waits for, and how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// What for.
    #[serde(flatten)]
    pub reason: Reason,
    /// When it will start, if that can be told.
    pub start: Option<i64>,
    /// How long it will take then, in milliseconds.
    pub takes: Option<i64>,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Daemon => f.write_str("the daemon, which does not run: have an administrator start it")?,
            Reason::Disk { dir } => write!(f, "room on the disk of {dir}")?,
            Reason::Job { job } => write!(f, "job {job} of its package")?,
            Reason::Pocket { pocket } => {
                write!(
                    f,
                    "its turn, and then fails, as the configuration has no pocket {pocket} any more: cancel it, or have an administrator put the pocket back"
                )?;
            }
            Reason::Chroot { distro } => {
                write!(f, "its turn, and then fails unless an administrator makes a chroot or image for {distro}")?;
            }
            Reason::Limit => f.write_str("one of its pocket's jobs to end: no more may run at once")?,
            Reason::Share => f.write_str("its pocket's turn")?,
            Reason::Place => f.write_str("a place")?,
        }
        if let Some(start) = self.start {
            write!(f, ", about {}", span(start - now()))?;
        }
        Ok(())
    }
}

/// What is known of the queue at a moment.
pub struct Waiting<'a> {
    config: &'a Config,
    rules: Rules,
    loads: Vec<Load>,
    forecast: Forecast,
    /// What all jobs wait for.
    all: Option<Reason>,
    /// Pockets that have nothing to build in.
    without_chroot: BTreeSet<PocketName>,
}

impl<'a> Waiting<'a> {
    /// Looks at the queue, the disk, and whether a daemon runs.
    pub fn look(config: &'a Config, db: &Connection) -> Result<Self> {
        let rules = Rules::of(config);
        let all = if wake::is_heard(&config.wake_socket()) {
            disk::short_of_room(config).map(|dir| Reason::Disk { dir: dir.display().to_string() })
        } else {
            Some(Reason::Daemon)
        };
        // While nothing can start, the queue is not played through: it would be for nothing.
        let (loads, forecast) = match all {
            None => (queue::loads(db)?, Forecast::of(db, &rules, now())?),
            Some(_) => Default::default(),
        };
        Ok(Self { config, rules, loads, forecast, all, without_chroot: without_chroot(config) })
    }

    /// Why a job waits; `None`: it is not queued.
    pub fn of(&self, db: &Connection, job: &Job) -> Result<Option<Wait>> {
        if job.state != crate::record::State::Queued {
            return Ok(None);
        }
        let reason = match &self.all {
            // Whatever else it waits for, it waits in vain.
            _ if !self.config.build.pockets.contains_key(&job.pocket) => Reason::Pocket { pocket: job.pocket.clone() },
            Some(reason) => reason.clone(),
            None => match jobs::before(db, job)? {
                Some(job) => Reason::Job { job },
                None => self.reason(job),
            },
        };
        let start = if self.all.is_some() { None } else { self.forecast.start(job.id) };
        let takes = queue::expected(db, &job.pocket, &job.package)?;
        Ok(Some(Wait { reason, start, takes }))
    }

    /// Why a job waits that might run.
    fn reason(&self, job: &Job) -> Reason {
        if self.without_chroot.contains(&job.pocket) {
            return Reason::Chroot { distro: self.config.build.pockets[&job.pocket].distro.to_string() };
        }
        let Some(mine) = self.loads.iter().find(|load| load.pocket == job.pocket) else { return Reason::Place };
        match self.rules.may_start(mine, &self.loads) {
            Err(Hold::Limit) => return Reason::Limit,
            Err(Hold::Place) | Ok(_) => {}
        }
        let before = |other: &&Load| other.next.is_some() && (other.used, other.next) < (mine.used, mine.next);
        if self.loads.iter().filter(before).any(|other| other.pocket != mine.pocket) {
            Reason::Share
        } else {
            Reason::Place
        }
    }
}

/// Pockets that have no chroot and no image.
fn without_chroot(config: &Config) -> BTreeSet<PocketName> {
    let store = Store::new(config);
    // What cannot be read is for the daemon to say.
    let distros = |isolation| -> Option<BTreeSet<Distro>> {
        match isolation {
            Isolation::Unshare => Some(store.list().ok()?.into_iter().map(|it| it.distro).collect()),
            Isolation::Vm => Some(store.images().ok()?.into_iter().map(|it| it.manifest.distro).collect()),
            // It is the administrator's own.
            Isolation::Schroot => None,
        }
    };
    let has_none = |pocket: &Pocket| distros(pocket.isolation).is_some_and(|all| !all.contains(&pocket.distro));
    config.build.pockets.iter().filter(|(_, pocket)| has_none(pocket)).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::testing::Service;

    #[test]
    fn what_a_job_waits_for_is_said() {
        let mut service = Service::new();
        let commit = service.commit("hello", "1.0");
        let id = service.queued("prod", "hello", "1.0", &commit);
        let said = |service: &Service| {
            let db = service.record.db();
            let wait =
                Waiting::look(&service.config, db).unwrap().of(db, &jobs::get(db, id).unwrap()).unwrap().unwrap();
            (wait.to_string(), wait.start)
        };
        let (text, start) = said(&service);
        assert!(text.starts_with("the daemon, which does not run") && start.is_none(), "{text}");
        let _daemon = std::os::unix::net::UnixDatagram::bind(service.config.wake_socket()).unwrap();
        assert!(said(&service).1.is_some());
        service.config.build.pockets.remove(&"prod".parse().unwrap());
        let (text, _) = said(&service);
        assert!(text.contains("no pocket prod any more: cancel it"), "{text}");
    }
}
