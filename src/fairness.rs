//! Whose turn it is: the rules by which pockets share the places that jobs run in.
//!
//! A pocket is charged for the time that its jobs hold places, divided by its `share`; the one that was charged least is
//! next. So pockets that always have work get places in the proportion of their shares, whatever the length of their
//! builds, and what one does not want is for the others. A reserved place is apart: only its pocket may use it, and what
//! runs there costs the pocket nothing. Within a pocket the same holds between principals, and a principal's jobs run
//! the oldest first.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::names::PocketName;

/// What the configuration says about one pocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Its weight.
    pub share: u32,
    /// The most of its jobs that run at once.
    pub jobs: Option<u32>,
    /// Places that only it may use.
    pub reserve: u32,
}

impl Default for Share {
    fn default() -> Self {
        Self { share: 1, jobs: None, reserve: 0 }
    }
}

/// What the configuration says about all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Jobs that run side by side.
    pub places: u32,
    /// The pockets. One that is not among them has a [`Share::default`].
    pub pockets: BTreeMap<PocketName, Share>,
}

/// How a pocket stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// Which.
    pub pocket: PocketName,
    /// What it was charged.
    pub used: i64,
    /// The turn of the job that is next in it; `None`: none is ready.
    pub next: Option<i64>,
    /// Its jobs in places that all may use.
    pub running: u32,
    /// Its jobs in places that are reserved for it.
    pub in_reserve: u32,
}

/// Why no job of a pocket can start at once, although some are ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// As many of its jobs run as its `jobs` allows.
    Limit,
    /// There is no place that it may use.
    Place,
}

impl Rules {
    /// What a configuration says.
    pub fn of(config: &Config) -> Self {
        let pockets = config.build.pockets.iter().map(|(name, pocket)| {
            (name.clone(), Share { share: pocket.share.max(1), jobs: pocket.jobs, reserve: pocket.reserve })
        });
        Self { places: u32::try_from(config.daemon.jobs).unwrap_or(u32::MAX), pockets: pockets.collect() }
    }

    /// What holds for a pocket.
    pub fn share(&self, pocket: &PocketName) -> Share {
        self.pockets.get(pocket).copied().unwrap_or_default()
    }

    /// Places that all may use.
    fn common(&self) -> u32 {
        self.places.saturating_sub(self.pockets.values().map(|share| share.reserve).sum())
    }

    /// Why no job of this pocket can start now; `Ok(true)`: it can, in a reserved place.
    pub fn may_start(&self, load: &Load, all: &[Load]) -> Result<bool, Hold> {
        let share = self.share(&load.pocket);
        if share.jobs.is_some_and(|most| load.running + load.in_reserve >= most) {
            return Err(Hold::Limit);
        }
        let running: u32 = all.iter().map(|load| load.running + load.in_reserve).sum();
        if running >= self.places {
            return Err(Hold::Place);
        }
        if load.in_reserve < share.reserve {
            return Ok(true);
        }
        let in_common: u32 = all.iter().map(|load| load.running).sum();
        // One that is configured no more may be left without any: its jobs are to fail, and not to wait for ever.
        let has_none = share.reserve == 0 && self.common() == 0;
        if in_common < self.common() || has_none { Ok(false) } else { Err(Hold::Place) }
    }

    /// The pocket whose turn it is, and whether its job takes a reserved place.
    pub fn next<'a>(&self, all: &'a [Load]) -> Option<(&'a Load, bool)> {
        let may = all.iter().filter(|load| load.next.is_some());
        let may = may.filter_map(|load| Some((load, self.may_start(load, all).ok()?)));
        // Nobody else can use a reserved place: what it is reserved for need not wait.
        may.min_by_key(|(load, reserved)| (!reserved, load.used, load.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(pocket: &str, used: i64, next: Option<i64>, running: u32, in_reserve: u32) -> Load {
        Load { pocket: pocket.parse().unwrap(), used, next, running, in_reserve }
    }

    fn rules(places: u32, pockets: &[(&str, Share)]) -> Rules {
        Rules { places, pockets: pockets.iter().map(|(name, share)| (name.parse().unwrap(), *share)).collect() }
    }

    fn next<'a>(rules: &Rules, all: &'a [Load]) -> Option<(&'a str, bool)> {
        rules.next(all).map(|(load, reserved)| (load.pocket.as_str(), reserved))
    }

    #[test]
    fn the_pocket_that_was_charged_least_is_next_and_then_the_one_that_waits_longest() {
        let rules = rules(2, &[]);
        let mut all = [load("dev", 5, Some(1), 1, 0), load("prod", 4, Some(9), 0, 0), load("idle", 0, None, 0, 0)];
        assert_eq!(next(&rules, &all), Some(("prod", false)));
        all[0].used = 4;
        assert_eq!(next(&rules, &all), Some(("dev", false)));
        all[1].running = 1;
        assert_eq!(next(&rules, &all), None);
        assert_eq!(rules.may_start(&all[0], &all), Err(Hold::Place));
    }

    #[test]
    fn a_reserved_place_is_its_pockets_only() {
        let rules = rules(2, &[("prod", Share { reserve: 1, ..Share::default() })]);
        let mut all = [load("dev", 0, Some(1), 0, 0), load("prod", 9, Some(2), 0, 0)];
        assert_eq!(next(&rules, &all), Some(("prod", true)));
        all[1].in_reserve = 1;
        assert_eq!(next(&rules, &all), Some(("dev", false)));
        all[0].running = 1;
        all[1].in_reserve = 0;
        all[1].next = None;
        assert_eq!(next(&rules, &all), None, "one place is free, and it is prod's");
    }

    #[test]
    fn jobs_of_a_pocket_that_is_configured_no_more_do_not_wait_for_ever() {
        let reserve = |reserve| Share { reserve, ..Share::default() };
        let rules = rules(2, &[("dev", reserve(1)), ("prod", reserve(1))]);
        let mut all = [load("gone", 0, Some(1), 0, 0), load("prod", 9, Some(2), 0, 0)];
        assert_eq!(next(&rules, &all), Some(("prod", true)));
        all[1].in_reserve = 1;
        assert_eq!(next(&rules, &all), Some(("gone", false)));
        all[0].running = 1;
        assert_eq!(next(&rules, &all), None);
    }

    #[test]
    fn no_more_of_a_pocket_run_than_it_may() {
        let rules = rules(9, &[("dev", Share { jobs: Some(1), ..Share::default() })]);
        let mut all = [load("dev", 0, Some(1), 0, 0), load("prod", 9, Some(2), 5, 0)];
        assert_eq!(next(&rules, &all), Some(("dev", false)));
        all[0].running = 1;
        assert_eq!(next(&rules, &all), Some(("prod", false)));
        assert_eq!(rules.may_start(&all[0], &all), Err(Hold::Limit));
    }
}
