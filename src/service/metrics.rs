//! Measures the service, for monitoring.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::Session;
use crate::desk::Desk;
use invirtibuilder_api::metrics::{ChrootDate, DiskRoom, KeyDates, Metrics, SuiteDates};
use invirtibuilder_archive::Archive;
use invirtibuilder_core::config::{Config, ConfiguredPocket};
use invirtibuilder_core::text::one_line;
use invirtibuilder_environment::Store;
use invirtibuilder_store::{browse, measures, moves};
use invirtibuilder_system::disk::{self, DiskUse};
use invirtibuilder_system::wake;

/// Measures everything. It takes the same time whatever the history; what cannot be looked at, such
/// as a key that cannot be read, is left out: `init --check` says why.
pub fn measure_service(session: &Session) -> Result<Metrics> {
    let (db, config) = (session.record.db(), &session.config);
    Ok(Metrics {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        daemon: wake::is_heard(&config.wake_socket()),
        places: config.daemon.jobs,
        open: measures::open(db)?,
        oldest: measures::oldest(db)?,
        ended: measures::ended(db)?,
        phases: measures::phase_times(db)?,
        owed_moves: moves::owed(db)?.len(),
        suites: suites(config),
        keys: keys(config),
        chroots: chroots(config),
        disks: disks(config),
    })
}

/// Tells what keeps the service from doing its work: one sentence for each thing. Nothing is wrong
/// if there is none.
pub fn list_ailments(desk: &Desk) -> Vec<String> {
    let mut ailments = Vec::new();
    match desk.record().and_then(|record| browse::pulse(record.db())) {
        Ok(_) => {}
        Err(error) => ailments.push(one_line(&format!("the record cannot be read: {error:#}"))),
    }
    match desk.config() {
        Ok(config) if !wake::is_heard(&config.wake_socket()) => {
            ailments.push("no daemon runs: nothing is built or published".to_owned());
        }
        Ok(config) => ailments.extend(
            disk::short_of_room(&config)
                .map(|dir| format!("the disk of {} is nearly full: no job starts", dir.display())),
        ),
        Err(error) => ailments.push(one_line(&format!("{error:#}"))),
    }
    ailments
}

fn suites(config: &Config) -> Vec<SuiteDates> {
    let dates = |pocket: ConfiguredPocket| {
        let suite = pocket.suite();
        let shown = Archive::open(config, &suite.domain).ok()?.dates(&suite)?;
        Some(SuiteDates {
            domain: suite.domain,
            suite: suite.suite,
            signed: shown.date * 1000,
            valid_until: shown.until.map(|until| until * 1000),
        })
    };
    config.pockets().filter_map(dates).collect()
}

fn keys(config: &Config) -> Vec<KeyDates> {
    let mut all = Vec::new();
    for (domain, _) in config.domains() {
        let Ok(keys) = Archive::open(config, &domain).and_then(|archive| archive.keys()) else {
            continue;
        };
        all.extend(keys.dates().map(|(fingerprint, created, expires)| KeyDates {
            domain: domain.clone(),
            fingerprint,
            created: milliseconds(created),
            expires: expires.map(milliseconds),
        }));
    }
    all
}

fn milliseconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

fn chroots(config: &Config) -> Vec<ChrootDate> {
    let all = Store::new(config).list().unwrap_or_default().into_iter();
    all.map(|manifest| ChrootDate {
        distro: manifest.distro,
        architecture: manifest.architecture,
        created: manifest.created,
    })
    .collect()
}

fn disks(config: &Config) -> Vec<DiskRoom> {
    let room = |(used_for, path): (DiskUse, &Path)| {
        let disk = disk::space(path).ok()?;
        let directory = match used_for {
            DiskUse::State => "state".to_owned(),
            DiskUse::Git => "git".to_owned(),
            DiskUse::Archive(domain) => domain.qualify("archive"),
        };
        Some(DiskRoom { directory, free: disk.free, size: disk.size })
    };
    disk::directories(config).into_iter().filter_map(room).collect()
}
