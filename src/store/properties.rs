//! Tests what holds for every queue: random pockets, weights, principals and jobs, in a time of
//! their own.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use anyhow::Result;
use proptest::prelude::*;
use rusqlite::{Transaction, params};

use crate::fairness::{Rules, Share};
use crate::forecast::Forecast;
use crate::jobs::{self, NewJob};
use crate::{Record, claim, queue, queue_check};
use invirtibuilder_api::job::State;
use invirtibuilder_core::names::{DomainName, JobId, Principal};

/// The longest that a job takes here, in milliseconds: shorter than its lease.
const LONGEST: i64 = 100_000;

/// A request of the test: pocket, package and principal by their numbers.
#[derive(Debug, Clone, Copy)]
struct Ask {
    pocket: usize,
    package: usize,
    principal: usize,
}

/// A service in its own time, in one transaction.
struct Service<'a> {
    tx: &'a Transaction<'a>,
    rules: Rules,
    pockets: Pockets,
    at: i64,
    commit: u32,
    running: BinaryHeap<Reverse<(i64, i64)>>,
    /// The start of each job, and how long it takes.
    started: HashMap<i64, (i64, i64)>,
}

/// Pockets with their settings, and the domain that each is in: one of three, by number.
#[derive(Debug, Clone)]
struct Pockets {
    shares: Vec<Share>,
    domains: Vec<usize>,
    /// The share of each domain.
    weights: [u32; 3],
}

impl Pockets {
    fn len(&self) -> usize {
        self.shares.len()
    }

    fn domain(&self, pocket: usize) -> usize {
        self.domains[pocket % self.domains.len()]
    }

    /// Computes the part of the time of all places that a pocket is to get while all have work.
    fn due(&self, pocket: usize) -> f64 {
        let domain = self.domain(pocket);
        let all = (0..self.len()).map(|n| (n, self.domain(n)));
        let used: BTreeSet<usize> = all.clone().map(|(_, domain)| domain).collect();
        let domains: u32 = used.iter().map(|domain| self.weights[*domain]).sum();
        let beside: u32 =
            all.filter(|(_, its)| *its == domain).map(|(n, _)| self.shares[n].share).sum();
        f64::from(self.weights[domain]) / f64::from(domains) * f64::from(self.shares[pocket].share)
            / f64::from(beside)
    }
}

impl<'a> Service<'a> {
    fn new(tx: &'a Transaction<'a>, places: u32, pockets: &Pockets) -> Self {
        let shares = pockets.shares.iter().enumerate();
        let rules = Rules {
            places,
            on_slurm: 0,
            pockets: shares.map(|(n, share)| (pocket(n).parse().unwrap(), *share)).collect(),
            domains: (0..3).map(|n| (domain(n), pockets.weights[n])).collect(),
        };
        Self {
            tx,
            rules,
            pockets: pockets.clone(),
            at: 1_000_000,
            commit: 0,
            running: BinaryHeap::new(),
            started: HashMap::new(),
        }
    }

    /// Queues a job of a commit of its own.
    fn submit(&mut self, ask: Ask) -> JobId {
        self.commit += 1;
        self.submit_commit(ask, self.commit)
    }

    /// Queues a job of this commit.
    fn submit_commit(&mut self, ask: Ask, commit: u32) -> JobId {
        let new = NewJob {
            pocket: pocket(ask.pocket).parse().unwrap(),
            domain: domain(self.pockets.domain(ask.pocket)),
            package: format!("pkg{}", ask.package).parse().unwrap(),
            commit: format!("{commit:040x}").parse().unwrap(),
            version: format!("1.{commit}").parse().unwrap(),
            written: format!("1.{commit}").parse().unwrap(),
            why: None,
            principal: Principal::from_authenticated(&format!("user{}@EXAMPLE.ORG", ask.principal))
                .unwrap(),
        };
        jobs::enqueue(self.tx, &new).unwrap()
    }

    /// Starts what may start; each takes as long as `takes` says.
    fn start(
        &mut self,
        mut takes: impl FnMut(&invirtibuilder_api::job::Job) -> i64,
    ) -> Vec<invirtibuilder_api::job::Job> {
        let mut started = Vec::new();
        while let Some(job) = claim::next_at(self.tx, &self.rules, self.at).unwrap() {
            let ms = takes(&job);
            self.started.insert(job.id.0, (self.at, ms));
            self.running.push(Reverse((self.at + ms, job.id.0)));
            started.push(job);
        }
        started
    }

    /// Lets time pass until the next job is published; `None`: none runs.
    fn end(&mut self) -> Option<JobId> {
        let Reverse((at, id)) = self.running.pop()?;
        self.at = at;
        let id = JobId(id);
        jobs::advance_at(self.tx, id, State::Preparing, State::Publishing, at).unwrap();
        jobs::advance_at(self.tx, id, State::Publishing, State::Published, at).unwrap();
        Some(id)
    }
}

fn pocket(n: usize) -> String {
    format!("pocket{n}")
}

fn domain(n: usize) -> DomainName {
    ["main", "dev", "lab"][n].parse().unwrap()
}

/// Does something with a record of its own.
fn with_service<T>(places: u32, pockets: &Pockets, work: impl FnOnce(&mut Service) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let mut record = Record::open(&dir.path().join("db")).unwrap();
    let done = |tx: &Transaction| -> Result<T> { Ok(work(&mut Service::new(tx, places, pockets))) };
    record.write(done).unwrap()
}

/// Compares what the record keeps of the queue with what follows from the jobs: ready jobs by what
/// ready means, with everything that is kept about them.
fn kept_is_what_follows(tx: &Transaction) {
    let column = |sql: &str| -> BTreeSet<String> {
        let mut statement = tx.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let same =
        |what: &str, kept: &str, follows: &str| assert_eq!(column(kept), column(follows), "{what}");
    same(
        "ready",
        "SELECT id || '' FROM job WHERE ready = 1",
        "SELECT id || '' FROM job AS mine WHERE state = 'queued' AND NOT EXISTS (
             SELECT 1 FROM job AS other WHERE other.state IN ('queued', 'preparing', 'building', 'publishing')
               AND other.package = mine.package
               AND (other.pocket = mine.pocket OR other.domain = mine.domain AND other.commit_id = mine.commit_id)
               AND (other.state <> 'queued' OR other.turn < mine.turn) AND other.id <> mine.id)",
    );
    same(
        "pockets",
        "SELECT pocket || ' ' || ready FROM pocket_use WHERE ready > 0",
        "SELECT pocket || ' ' || sum(ready) FROM job WHERE ready = 1 GROUP BY pocket",
    );
    same(
        "principals",
        "SELECT pocket || principal || ' ' || ready || ' ' || oldest FROM principal_use WHERE ready > 0",
        "SELECT pocket || principal || ' ' || sum(ready) || ' ' || min(turn) FROM job WHERE ready = 1
         GROUP BY pocket, principal",
    );
    same(
        "charges",
        "SELECT job || '' FROM charge",
        "SELECT id || '' FROM job WHERE state IN ('preparing', 'building', 'publishing')",
    );
    // `verify` is of the same opinion.
    assert_eq!(queue_check::differences(tx).unwrap(), [""; 0]);
}

/// Puts pockets into domains.
fn in_domains(shares: impl Strategy<Value = Vec<Share>>) -> impl Strategy<Value = Pockets> {
    let domains = prop::collection::vec(0usize..3, 4);
    (shares, domains, [1u32..=4, 1u32..=4, 1u32..=4])
        .prop_map(|(shares, domains, weights)| Pockets { shares, domains, weights })
}

fn shares() -> impl Strategy<Value = Pockets> {
    let share = (1u32..=4).prop_map(|share| Share { share, ..Share::default() });
    in_domains(prop::collection::vec(share, 2..=4))
}

/// Makes pockets with limits and reserved places, and enough places for all.
fn limited() -> impl Strategy<Value = (u32, Pockets)> {
    let one = (1u32..=5, prop::option::of(1u32..=3), 0u32..=1)
        .prop_map(|(share, jobs, reserve)| Share { share, jobs, reserve, ..Share::default() });
    (in_domains(prop::collection::vec(one, 1..=4)), 1u32..=3).prop_map(|(pockets, more)| {
        let reserved: u32 = pockets.shares.iter().map(|share| share.reserve).sum();
        (reserved + more, pockets)
    })
}

fn asks(most: usize) -> impl Strategy<Value = Vec<Ask>> {
    let ask = (0usize..4, 0usize..12, 0usize..4).prop_map(|(pocket, package, principal)| Ask {
        pocket,
        package,
        principal,
    });
    prop::collection::vec(ask, 1..most)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// Domains that always have work get the time of places by their shares, pockets that of their
    /// domain, and principals of a pocket the same each.
    #[test]
    fn shares_are_kept(places in 1u32..=4, pockets in shares(), seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let least = (0..pockets.len()).map(|n| pockets.due(n)).fold(1.0, f64::min);
        with_service(places, &pockets, |service| {
            let mut package = 0;
            // Nobody knows how long one takes, and those of one pocket take longer than those of
            // another.
            let longest: Vec<i64> = pockets.shares.iter().map(|_| random.i64(LONGEST / 3..LONGEST)).collect();
            let mut add = |service: &mut Service, n: usize, principal| {
                package += 1;
                service.submit(Ask { pocket: n, package, principal });
            };
            for n in 0..pockets.len() {
                (0..8).for_each(|k| add(service, n, k % 2));
            }
            let mut held: BTreeMap<(usize, String), i64> = BTreeMap::new();
            let begin = service.at;
            // Long enough for the smallest share to have many jobs.
            while service.at - begin < (60.0 / least) as i64 * LONGEST / i64::from(places) {
                let started = service.start(|job| {
                    let n: usize = job.pocket.as_str()[6..].parse().unwrap();
                    random.i64(longest[n] / 2..=longest[n])
                });
                for job in started {
                    let n: usize = job.pocket.as_str()[6..].parse().unwrap();
                    *held.entry((n, job.principal.to_string())).or_default() += service.started[&job.id.0].1;
                    add(service, n, usize::from(job.principal.as_str().starts_with("user1")));
                }
                service.end();
            }
            for Reverse((end, id)) in service.running.drain() {
                let job = jobs::get(service.tx, JobId(id)).unwrap();
                let n: usize = job.pocket.as_str()[6..].parse().unwrap();
                *held.entry((n, job.principal.to_string())).or_default() -= end - service.at;
            }
            let all: i64 = held.values().sum();
            for n in 0..pockets.len() {
                let its: Vec<i64> = held.range((n, String::new())..(n + 1, String::new())).map(|(_, ms)| *ms).collect();
                let (got, due) = (its.iter().sum::<i64>() as f64 / all as f64, pockets.due(n));
                assert!((got - due).abs() <= 0.1 * due, "pocket {n} of {pockets:?}: {got:.3} of the time, {due:.3} is due");
                assert_eq!(its.len(), 2);
                let part = its[0] as f64 / (its[0] + its[1]) as f64;
                assert!((part - 0.5).abs() <= 0.05, "principals of pocket {n}: {part:.3} of its time for one of two");
            }
        });
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// The test does whatever can happen to jobs: what is kept is what follows, a package's jobs
    /// start in order, limits and reserves hold.
    #[test]
    fn what_is_kept_is_what_follows((places, pockets) in limited(), asks in asks(60), seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let by = Principal::from_authenticated("alice@EXAMPLE.ORG").unwrap();
        with_service(places, &pockets, |service| {
            let mut last: HashMap<(String, String), i64> = HashMap::new();
            for ask in asks {
                let ask = Ask { pocket: ask.pocket % pockets.len(), ..ask };
                // A commit that another pocket has queued, too, or one of its own.
                let known = random.u32(..=service.commit);
                let named = format!("{known:040x}").parse().unwrap();
                let (its, package) = (pocket(ask.pocket).parse().unwrap(), format!("pkg{}", ask.package).parse().unwrap());
                let is_there = jobs::live(service.tx, &its, &package, &named).unwrap().is_some();
                let id = if random.bool() || is_there || known == 0 {
                    service.submit(ask)
                } else {
                    service.submit_commit(ask, known)
                };
                if random.u8(..5) == 0 {
                    jobs::hurry(service.tx, id, &by).unwrap();
                }
                let job = jobs::get(service.tx, JobId(random.i64(1..=id.0))).unwrap();
                match job.state {
                    State::Queued if random.bool() => jobs::cancelled(service.tx, job.id, job.state, &by).unwrap(),
                    State::Cancelled if random.bool()
                        && jobs::live(service.tx, &job.pocket, &job.package, &job.commit).unwrap().is_none() => jobs::retry(service.tx, job.id, job.state, &by).unwrap(),
                    State::Preparing if random.bool() => {
                        jobs::give_back(service.tx, job.id, job.state, "it is so").unwrap();
                        service.running = service.running.drain().filter(|it| it.0.1 != job.id.0).collect();
                        last.remove(&(job.pocket.to_string(), job.package.to_string()));
                    }
                    _ => {}
                }
                kept_is_what_follows(service.tx);
                if random.bool() {
                    for job in service.start(|_| random.i64(1_000..LONGEST)) {
                        let turn: i64 =
                            service.tx.query_row("SELECT turn FROM job WHERE id = ?", [job.id], |row| row.get(0)).unwrap();
                        let before = last.insert((job.pocket.to_string(), job.package.to_string()), turn);
                        assert!(before.is_none_or(|before| before < turn), "{job:?} overtook one of its package");
                    }
                    kept_is_what_follows(service.tx);
                }
                let loads = queue::loads(service.tx).unwrap();
                let common: u32 = loads.iter().map(|load| load.running).sum();
                let reserved: u32 = pockets.shares.iter().map(|share| share.reserve).sum();
                assert!(common <= places - reserved, "{loads:?}");
                for load in &loads {
                    let share = service.rules.share(&load.pocket);
                    assert!(load.in_reserve <= share.reserve && share.jobs.is_none_or(|most| load.running + load.in_reserve <= most));
                }
                if random.bool() {
                    service.end();
                    kept_is_what_follows(service.tx);
                }
            }
        });
    }

    /// Everybody's turn comes: every job starts, and one whose pocket had nothing does so soon,
    /// however much others have.
    #[test]
    fn nobody_starves((places, pockets) in limited(), asks in asks(40), seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        with_service(places, &pockets, |service| {
            let ids: Vec<JobId> = asks
                .iter()
                .map(|ask| service.submit(Ask { pocket: ask.pocket % pockets.len(), ..*ask }))
                .collect();
            // Others come for ever.
            let (mut package, most) = (1000, 2000);
            for _ in 0..most {
                service.start(|_| random.i64(1_000..LONGEST));
                if ids.iter().all(|id| service.started.contains_key(&id.0)) {
                    break;
                }
                service.end().expect("something runs");
                for pocket in 0..pockets.len() {
                    package += 1;
                    service.submit(Ask { pocket, package, principal: random.usize(..6) });
                }
            }
            let left = ids.iter().filter(|id| !service.started.contains_key(&id.0)).count();
            assert_eq!(left, 0, "of {} jobs {left} did not start while {most} others did", ids.len());
        });
    }

    /// When every job takes as long as those of its package took, each starts when it was foretold.
    #[test]
    fn forecasts_are_right_when_nothing_surprises((places, pockets) in limited(), asks in asks(60), more in asks(20)) {
        with_service(places, &pockets, |service| {
            for package in 0..12i64 {
                for n in 0..pockets.len() {
                    let sql = "INSERT INTO pace (pocket, package, ms) VALUES (?, ?, ?)";
                    let ms = 1_000 + (package * 7_919 + n as i64 * 3_000) % 90_000;
                    service.tx.execute(sql, params![pocket(n), format!("pkg{package}"), ms]).unwrap();
                }
            }
            let expected = |service: &Service, job: &invirtibuilder_api::job::Job| {
                queue::expected(service.tx, &job.pocket, &job.package).unwrap().unwrap()
            };
            let submit = |service: &mut Service, asks: &[Ask]| -> Vec<JobId> {
                asks.iter().map(|ask| service.submit(Ask { pocket: ask.pocket % pockets.len(), ..*ask })).collect()
            };
            let play = |service: &mut Service| {
                let db = service.tx;
                service.start(|job| queue::expected(db, &job.pocket, &job.package).unwrap().unwrap());
            };
            // Some run, some have run, and principals and pockets have a past.
            submit(service, &more);
            play(service);
            service.end();
            submit(service, &asks);
            let forecast = Forecast::of(service.tx, &service.rules, service.at).unwrap();
            let waiting: Vec<invirtibuilder_api::job::Job> =
                jobs::open(service.tx).unwrap().into_iter().filter(|job| job.state == State::Queued).collect();
            loop {
                play(service);
                if service.end().is_none() {
                    break;
                }
            }
            for job in waiting {
                let (start, took) = service.started[&job.id.0];
                assert_eq!(took, expected(service, &job));
                assert_eq!(forecast.start(job.id), Some(start), "{job:?}");
            }
        });
    }
}
