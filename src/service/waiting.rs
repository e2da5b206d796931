//! Why a queued job waits, and about how long: what `status`, `--wait` and the JSON say of it.

use std::collections::BTreeMap;

use anyhow::Result;
use rusqlite::Connection;

use invirtibuilder_api::job::Job;
use invirtibuilder_api::wait::{Wait, WaitReason};
use invirtibuilder_core::config::{Config, Isolation, Pocket};
use invirtibuilder_core::names::{Distro, PocketName};
use invirtibuilder_core::time::now;
use invirtibuilder_environment::Store;
use invirtibuilder_store::fairness::{Hold, Load, Rules};
use invirtibuilder_store::forecast::Forecast;
use invirtibuilder_store::jobs;
use invirtibuilder_store::queue;
use invirtibuilder_system::{disk, wake};

/// What is known of the queue at a moment.
pub struct Waiting<'a> {
    config: &'a Config,
    rules: Rules,
    loads: Vec<Load>,
    forecast: Forecast,
    /// What all jobs wait for.
    all: Option<WaitReason>,
    /// Pockets that have nothing to build in, each with the distro that lacks it.
    without_chroot: BTreeMap<PocketName, Distro>,
}

impl<'a> Waiting<'a> {
    /// Looks at the queue, the disk, and whether a daemon runs.
    pub fn look(config: &'a Config, db: &Connection) -> Result<Self> {
        let rules = Rules::of(config);
        let all = if wake::is_heard(&config.wake_socket()) {
            disk::short_of_room(config)
                .map(|dir| WaitReason::Disk { dir: dir.display().to_string() })
        } else {
            Some(WaitReason::Daemon)
        };
        // While nothing can start, the queue is not played through: it would be for nothing.
        let (loads, forecast) = match all {
            None => (queue::loads(db)?, Forecast::of(db, &rules, now())?),
            Some(_) => Default::default(),
        };
        Ok(Self { config, rules, loads, forecast, all, without_chroot: without_chroot(config) })
    }

    /// Says why a job waits; `None`: it is not queued.
    pub fn of(&self, db: &Connection, job: &Job) -> Result<Option<Wait>> {
        if job.state != invirtibuilder_api::job::State::Queued {
            return Ok(None);
        }
        let reason = match &self.all {
            // Whatever else it waits for, it waits in vain.
            _ if self.config.find_pocket(&job.pocket).is_none() => {
                WaitReason::Pocket { pocket: job.pocket.clone() }
            }
            Some(reason) => reason.clone(),
            None => match jobs::before(db, job)? {
                Some(job) => WaitReason::Job { job },
                None => self.reason(job),
            },
        };
        let start = if self.all.is_some() { None } else { self.forecast.start(job.id) };
        let takes = queue::expected(db, &job.pocket, &job.package)?;
        Ok(Some(Wait { reason, start, takes }))
    }

    /// Says why a job waits that might run.
    fn reason(&self, job: &Job) -> WaitReason {
        if let Some(distro) = self.without_chroot.get(&job.pocket) {
            return WaitReason::Chroot { distro: distro.to_string() };
        }
        let Some(mine) = self.loads.iter().find(|load| load.pocket == job.pocket) else {
            return WaitReason::Place;
        };
        match self.rules.may_start(mine, &self.loads) {
            Err(Hold::Limit) => return WaitReason::Limit,
            Err(Hold::Place) | Ok(_) => {}
        }
        let before = |other: &&Load| other.next.is_some() && other.is_before(mine);
        if self.loads.iter().filter(before).any(|other| other.pocket != mine.pocket) {
            WaitReason::Share
        } else {
            WaitReason::Place
        }
    }
}

/// Lists the pockets that have no chroot and no image, each with its distro.
fn without_chroot(config: &Config) -> BTreeMap<PocketName, Distro> {
    let store = Store::new(config);
    // What cannot be read is for the daemon to say.
    let has_none = |pocket: &Pocket| match pocket.isolation {
        Isolation::Unshare => store.has(&pocket.distro).is_ok_and(|has| !has),
        Isolation::Vm => store
            .images()
            .is_ok_and(|all| all.iter().all(|image| image.manifest.distro != pocket.distro)),
        // It is the administrator's own.
        Isolation::Schroot => false,
    };
    config
        .build
        .pockets
        .iter()
        .filter(|(_, pocket)| has_none(pocket))
        .map(|(name, pocket)| (name.clone(), pocket.distro.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::waiting::*;
    use invirtibuilder_publish::testing::TestService;

    #[test]
    fn what_a_job_waits_for_is_said() {
        let mut service = TestService::new();
        let commit = service.commit("hello", "1.0");
        let id = service.queued("prod", "hello", "1.0", &commit);
        let said = |service: &TestService| {
            let db = service.record.db();
            let wait = Waiting::look(&service.config, db)
                .unwrap()
                .of(db, &jobs::get(db, id).unwrap())
                .unwrap()
                .unwrap();
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
