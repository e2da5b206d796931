//! Whether apt takes what the suites say of themselves: their dates, as nothing else about them
//! changes by itself.

use std::collections::BTreeSet;

use crate::readiness::check::{fine, wrong};
use invirtibuilder_api::readiness::Check;
use invirtibuilder_archive::Archive;
use invirtibuilder_archive::dates::{self, Wrong};
use invirtibuilder_core::config::{Config, ConfiguredPocket};
use invirtibuilder_core::domain::SuiteId;

/// Looks at each suite that is there.
pub(super) fn look(config: &Config) -> Vec<Check> {
    let one = |suite: SuiteId| {
        let what = format!("suite {suite}");
        let shown = Archive::open(config, &suite.domain).ok()?.dates(&suite)?;
        Some(match shown.wrong(dates::clock()) {
            None => fine(&what, "apt takes its dates"),
            Some(off @ Wrong::Ahead(_)) => wrong(&what, off.describe(), "date --utc"),
            Some(off) => wrong(&what, off.describe(), "systemctl restart invirtibuilderd"),
        })
    };
    let names: BTreeSet<SuiteId> = config.pockets().map(ConfiguredPocket::suite).collect();
    names.into_iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::readiness::suites::*;
    use invirtibuilder_api::readiness::Readiness;

    #[test]
    fn suites_that_apt_refuses_by_their_dates_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.archive.root = dir.path().to_owned();
        config.build.pockets.insert("prod".parse().unwrap(), Default::default());
        assert!(look(&config).is_empty(), "there is none yet");
        let dists = dir.path().join("dists/prod");
        fs::create_dir_all(&dists).unwrap();
        fs::write(dists.join("InRelease"), "").unwrap();
        let dated = |date: i64, until: i64| {
            let (date, until) =
                (dates::write(dates::clock() + date), dates::write(dates::clock() + until));
            fs::write(
                dists.join("Release"),
                format!("Suite: prod\nDate: {date}\nValid-Until: {until}\n"),
            )
            .unwrap();
            let checks = look(&config);
            (checks[0].verdict, checks[0].found.clone())
        };
        assert_eq!(dated(-100, 100).0, Readiness::Fine);
        let (verdict, found) = dated(-100, -50);
        assert!(verdict == Readiness::Wrong && found.contains("was valid until"), "{found}");
        let (verdict, found) = dated(3600, 7200);
        assert!(verdict == Readiness::Wrong && found.contains("a time to come"), "{found}");
        assert_eq!(dated(365 * 86_400, 366 * 86_400).0, Readiness::Wrong);
    }
}
