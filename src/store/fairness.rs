//! Finds whose turn it is, by the rules by which pockets share the places that jobs run in.
//!
//! A domain is charged for the time that jobs of its pockets hold places, divided by its `share`;
//! the one that was charged least is next. So domains that always have work get places in the
//! proportion of their shares, whatever the length of their builds, and what one does not want is
//! for the others. Within a domain the same holds between pockets, and within a pocket between
//! principals, whose jobs run the oldest first: that part is `next_of` in `claim.rs`, in SQL. A
//! reserved place is apart: only its pocket may use it, and what runs there costs neither pocket
//! nor domain anything.

use std::collections::BTreeMap;

use invirtibuilder_core::config::Config;
use invirtibuilder_core::names::{DomainName, PocketName};

/// The settings of one pocket in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The pocket's weight.
    pub share: u32,
    /// The most of the pocket's jobs that run at once.
    pub jobs: Option<u32>,
    /// The places that only the pocket may use.
    pub reserve: u32,
    /// The places that its jobs run in.
    pub on: PlaceKind,
}

/// The kinds of places. No job of one kind takes a place of the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PlaceKind {
    /// This machine's.
    #[default]
    Here,
    /// Those of a cluster of Slurm's.
    Slurm,
}

impl Default for Share {
    fn default() -> Self {
        Self { share: 1, jobs: None, reserve: 0, on: PlaceKind::Here }
    }
}

/// The weights by which the pocket and the domain of a job are charged for its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// The share of the pocket; 0: the place costs it nothing.
    pub pocket: u32,
    /// The share of the domain; 0: the place costs it nothing.
    pub domain: u32,
}

impl Default for Weight {
    fn default() -> Self {
        Self { pocket: 1, domain: 1 }
    }
}

impl Weight {
    /// Tells whether the place is reserved for the pocket.
    pub fn is_reserved(self) -> bool {
        self.pocket == 0
    }
}

/// The rules of the configuration: the places, and the settings of all pockets and domains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// The number of jobs that run side by side on this machine.
    pub places: u32,
    /// The number of jobs that are with Slurm at one time.
    pub on_slurm: u32,
    /// The settings of the pockets. A pocket that is not among them has a [`Share::default`].
    pub pockets: BTreeMap<PocketName, Share>,
    /// The shares of the domains. One that is not among them has a share of 1.
    pub domains: BTreeMap<DomainName, u32>,
}

/// The load of a pocket: its charge, and its jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The pocket.
    pub pocket: PocketName,
    /// The domain of the pocket.
    pub domain: DomainName,
    /// The time that the domain was charged for, divided by its share.
    pub domain_used: i64,
    /// The time that the pocket was charged for, divided by its share.
    pub used: i64,
    /// The turn of the job that is next in the pocket; `None`: none is ready.
    pub next: Option<i64>,
    /// The number of its jobs in places that all may use.
    pub running: u32,
    /// The number of its jobs in places that are reserved for it.
    pub in_reserve: u32,
}

impl Load {
    /// Tells whether this pocket's turn comes before that of another one.
    pub fn is_before(&self, other: &Self) -> bool {
        if self.domain == other.domain {
            (self.used, self.next) < (other.used, other.next)
        } else {
            (self.domain_used, self.next) < (other.domain_used, other.next)
        }
    }
}

/// Why no job of a pocket can start at once, although some are ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// So many of its jobs run as its `jobs` allows.
    Limit,
    /// There is no place that it may use.
    Place,
}

impl Weight {
    /// What a job in a reserved place is charged by: nothing.
    pub(crate) const RESERVED: Self = Self { pocket: 0, domain: 0 };
}

impl Rules {
    /// Reads the rules of a configuration.
    pub fn of(config: &Config) -> Self {
        let pockets = config.build.pockets.iter().map(|(name, pocket)| {
            let on = if config.is_on_slurm(pocket) { PlaceKind::Slurm } else { PlaceKind::Here };
            let share = pocket.share.max(1);
            (name.clone(), Share { share, jobs: pocket.jobs, reserve: pocket.reserve, on })
        });
        let domains = config.domains().map(|(domain, archive)| (domain, archive.share.max(1)));
        Self {
            places: u32::try_from(config.daemon.jobs).unwrap_or(u32::MAX),
            on_slurm: config.slurm.as_ref().map_or(0, |slurm| slurm.jobs),
            pockets: pockets.collect(),
            domains: domains.collect(),
        }
    }

    /// Returns the share of a domain.
    pub fn domain_share(&self, domain: &DomainName) -> u32 {
        self.domains.get(domain).copied().unwrap_or(1)
    }

    /// Returns the weights by which a job is charged that starts for this pocket.
    pub(crate) fn weight(&self, load: &Load) -> Weight {
        Weight { pocket: self.share(&load.pocket).share, domain: self.domain_share(&load.domain) }
    }

    /// Returns the settings of a pocket.
    pub fn share(&self, pocket: &PocketName) -> Share {
        self.pockets.get(pocket).copied().unwrap_or_default()
    }

    /// Returns the number of places of a kind.
    fn places_on(&self, on: PlaceKind) -> u32 {
        match on {
            PlaceKind::Here => self.places,
            PlaceKind::Slurm => self.on_slurm,
        }
    }

    /// Returns the number of jobs that run at one time at most, wherever.
    pub fn all_places(&self) -> usize {
        self.places as usize + self.on_slurm as usize
    }

    /// Returns the number of places of a kind that all may use.
    fn common(&self, on: PlaceKind) -> u32 {
        let beside = self.pockets.values().filter(|share| share.on == on);
        self.places_on(on).saturating_sub(beside.map(|share| share.reserve).sum())
    }

    /// Says why no job of this pocket can start now; `Ok(true)`: one can, in a reserved place.
    pub fn may_start(&self, load: &Load, all: &[Load]) -> Result<bool, Hold> {
        let share = self.share(&load.pocket);
        if share.jobs.is_some_and(|most| load.running + load.in_reserve >= most) {
            return Err(Hold::Limit);
        }
        let beside = || all.iter().filter(|load| self.share(&load.pocket).on == share.on);
        let running: u32 = beside().map(|load| load.running + load.in_reserve).sum();
        if running >= self.places_on(share.on) {
            return Err(Hold::Place);
        }
        if load.in_reserve < share.reserve {
            return Ok(true);
        }
        let in_common: u32 = beside().map(|load| load.running).sum();
        let common = self.common(share.on);
        // One that is configured no more may be left without any: its jobs are to fail, and not to
        // wait for ever.
        let has_none = share.reserve == 0 && common == 0;
        if in_common < common || has_none { Ok(false) } else { Err(Hold::Place) }
    }

    /// Finds the pocket whose turn it is, and whether its job takes a reserved place.
    pub fn next<'a>(&self, all: &'a [Load]) -> Option<(&'a Load, bool)> {
        let may = all.iter().filter(|load| load.next.is_some());
        let may: Vec<(&Load, bool)> =
            may.filter_map(|load| Some((load, self.may_start(load, all).ok()?))).collect();
        // Nobody else can use a reserved place: what it is reserved for need not wait.
        let reserved = may.iter().filter(|(_, reserved)| *reserved);
        if let Some(found) = reserved.min_by_key(|(load, _)| (load.used, load.next)) {
            return Some(*found);
        }
        let (first, _) = may.iter().min_by_key(|(load, _)| (load.domain_used, load.next))?;
        let mine = may.iter().filter(|(load, _)| load.domain == first.domain);
        mine.min_by_key(|(load, _)| (load.used, load.next)).copied()
    }
}

#[cfg(test)]
mod tests {
    use crate::fairness::*;

    fn load(pocket: &str, used: i64, next: Option<i64>, running: u32, in_reserve: u32) -> Load {
        let (pocket, domain) = (pocket.parse().unwrap(), DomainName::main());
        Load { pocket, domain, domain_used: 0, used, next, running, in_reserve }
    }

    fn rules(places: u32, pockets: &[(&str, Share)]) -> Rules {
        Rules {
            places,
            pockets: pockets.iter().map(|(name, share)| (name.parse().unwrap(), *share)).collect(),
            ..Rules::default()
        }
    }

    fn next<'a>(rules: &Rules, all: &'a [Load]) -> Option<(&'a str, bool)> {
        rules.next(all).map(|(load, reserved)| (load.pocket.as_str(), reserved))
    }

    #[test]
    fn jobs_of_slurm_and_of_this_machine_take_no_place_from_each_other() {
        let slurm = Share { on: PlaceKind::Slurm, ..Share::default() };
        let mut rules = rules(1, &[("far", slurm)]);
        rules.on_slurm = 2;
        assert_eq!(rules.all_places(), 3);
        let mut all = [load("far", 0, Some(1), 1, 0), load("near", 9, Some(2), 1, 0)];
        assert_eq!(next(&rules, &all), Some(("far", false)));
        all[0].running = 2;
        assert_eq!(next(&rules, &all), None);
        assert_eq!(rules.may_start(&all[0], &all), Err(Hold::Place));
        all[1].running = 0;
        assert_eq!(next(&rules, &all), Some(("near", false)));
    }

    #[test]
    fn the_pocket_that_was_charged_least_is_next_and_then_the_one_that_waits_longest() {
        let rules = rules(2, &[]);
        let mut all = [
            load("dev", 5, Some(1), 1, 0),
            load("prod", 4, Some(9), 0, 0),
            load("idle", 0, None, 0, 0),
        ];
        assert_eq!(next(&rules, &all), Some(("prod", false)));
        all[0].used = 4;
        assert_eq!(next(&rules, &all), Some(("dev", false)));
        all[1].running = 1;
        assert_eq!(next(&rules, &all), None);
        assert_eq!(rules.may_start(&all[0], &all), Err(Hold::Place));
    }

    #[test]
    fn domains_take_turns_before_their_pockets_do() {
        let rules = rules(2, &[]);
        let of = |domain: &str, domain_used, load: Load| Load {
            domain: domain.parse().unwrap(),
            domain_used,
            ..load
        };
        let mut all = [
            of("main", 9, load("prod", 1, Some(1), 0, 0)),
            of("dev", 8, load("dev", 50, Some(7), 0, 0)),
            of("dev", 8, load("test", 40, Some(8), 0, 0)),
        ];
        assert_eq!(
            next(&rules, &all),
            Some(("test", false)),
            "dev was charged less, and test in it"
        );
        assert!(all[2].is_before(&all[0]) && all[2].is_before(&all[1]));
        all[0].domain_used = 8;
        assert_eq!(next(&rules, &all), Some(("prod", false)), "of two domains the oldest job");
        assert!(all[0].is_before(&all[1]));
        all[0].next = None;
        assert_eq!(next(&rules, &all), Some(("test", false)));
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
