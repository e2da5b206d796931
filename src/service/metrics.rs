//! Measures the service, for monitoring. For administrators on the server.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::session::AtServer;
use invirtibuilder_api::metrics::{ChrootDate, DiskRoom, KeyDates, Metrics, SuiteDates};
use invirtibuilder_archive::Archive;
use invirtibuilder_core::config::{Config, ConfiguredPocket};
use invirtibuilder_environment::Store;
use invirtibuilder_store::{measures, moves};
use invirtibuilder_system::disk::{self, DiskUse};
use invirtibuilder_system::wake;

/// Measures everything. It takes the same time whatever the history; what cannot be looked at, such
/// as a key that cannot be read, is left out: `init --check` says why.
pub fn measure_service(server: &AtServer) -> Result<Metrics> {
    let (db, config) = (server.record.db(), &server.config);
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
