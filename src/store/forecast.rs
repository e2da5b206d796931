//! Forecasts when jobs that wait will start: it plays the queue through in memory, with each job
//! taking as long as those of its package took lately. The record keeps what a user was told first,
//! and how far off it was.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::fairness::{Load, Rules, Weight};
use crate::queue::{self, LEAST_MS, UNKNOWN_MS};
use invirtibuilder_api::wait::{Accuracy, Told};
use invirtibuilder_core::names::{CommitId, DomainName, JobId, PackageName, PocketName, Principal};

/// The most jobs that a forecast looks at, the oldest first: those behind them are told nothing.
const MOST: usize = 5000;

/// The number of the last jobs by which we say how far off forecasts are.
const LATELY: usize = 50;

/// The forecast of when each job that waits will start.
#[derive(Debug, Default)]
pub struct Forecast {
    starts: HashMap<JobId, i64>,
}

impl Forecast {
    /// Plays the queue through, from `at` on.
    pub fn of(db: &Connection, rules: &Rules, at: i64) -> Result<Self> {
        Ok(Self { starts: Play::read(db, at)?.run(rules, at) })
    }

    /// Returns when a job will start, in milliseconds since 1970-01-01 UTC.
    pub fn start(&self, id: JobId) -> Option<i64> {
        self.starts.get(&id).copied()
    }

    /// Lists the jobs of which nobody was told yet, each with its start.
    pub fn untold(&self, db: &Connection) -> Result<Vec<(JobId, i64)>> {
        let mut known = db.prepare_cached("SELECT 1 FROM forecast WHERE job = ?")?;
        let mut untold = Vec::new();
        for (id, start) in &self.starts {
            if !known.exists([id])? {
                untold.push((*id, *start));
            }
        }
        Ok(untold)
    }
}

/// Writes down what users were told of jobs, once for each.
pub fn keep(tx: &Transaction, told: &[(JobId, i64)], at: i64) -> Result<()> {
    for (id, start) in told {
        tx.prepare_cached(
            "INSERT OR IGNORE INTO forecast (job, at, start) SELECT id, ?2, ?3 FROM job WHERE id = ?1 AND state = 'queued'",
        )?
        .execute(params![id, at, start])?;
    }
    Ok(())
}

/// Reads the forecast that users were told of a job.
pub fn told(db: &Connection, id: JobId) -> Result<Option<Told>> {
    let told = |row: &Row| Ok(Told { at: row.get(0)?, start: row.get(1)?, started: row.get(2)? });
    Ok(db
        .prepare_cached("SELECT at, start, started FROM forecast WHERE job = ?")?
        .query_row([id], told)
        .optional()?)
}

/// Computes how far off the last forecasts were; `None`: no job has waited yet.
pub fn accuracy(db: &Connection) -> Result<Option<Accuracy>> {
    let mut statement = db.prepare_cached(
        "SELECT abs(started - start), start - at FROM forecast WHERE started IS NOT NULL ORDER BY job DESC LIMIT ?",
    )?;
    let rows = statement.query_map([LATELY as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (mut off, mut told): (Vec<i64>, Vec<i64>) =
        rows.collect::<Result<Vec<(i64, i64)>, _>>()?.into_iter().unzip();
    off.sort_unstable();
    told.sort_unstable();
    let middle = |all: &[i64]| all.get(all.len() / 2).copied();
    Ok(middle(&off).zip(middle(&told)).map(|(median_ms, told_ms)| Accuracy {
        jobs: off.len(),
        median_ms,
        told_ms,
    }))
}

/// One open job of the queue that is played through.
struct ForecastJob {
    id: JobId,
    pocket: usize,
    package: PackageName,
    commit: CommitId,
    principal: Principal,
    turn: i64,
    priority: bool,
    started: Option<i64>,
    charge: Option<(i64, Weight)>,
    expected: i64,
}

/// The principals of a pocket, with what each was charged and its jobs.
#[derive(Default)]
struct WaitingPocket {
    clock: i64,
    principals: BTreeMap<Principal, (i64, BTreeSet<(i64, usize)>)>,
    running: BTreeMap<Principal, usize>,
    urgent: BTreeSet<(i64, usize)>,
}

impl WaitingPocket {
    /// Finds the principal that was charged least, and the turn of its oldest job.
    fn next(&self) -> Option<(&Principal, i64, (i64, usize))> {
        let with_work = self
            .principals
            .iter()
            .filter_map(|(who, (used, jobs))| Some((who, *used, *jobs.first()?)));
        with_work.min_by_key(|(_, used, first)| (*used, first.0))
    }
}

/// What a domain was charged, and how much of that the pocket of it had that was served last.
#[derive(Default)]
struct PlayedDomain {
    used: i64,
    clock: i64,
}

/// Names the row of jobs that bring one commit into the pockets of one domain.
fn commit_of(job: &ForecastJob, loads: &[Load]) -> (DomainName, PackageName, CommitId) {
    (loads[job.pocket].domain.clone(), job.package.clone(), job.commit.clone())
}

struct Play {
    jobs: Vec<ForecastJob>,
    loads: Vec<Load>,
    waiting: Vec<WaitingPocket>,
    domains: BTreeMap<DomainName, PlayedDomain>,
    clock: i64,
    in_pocket: HashMap<(usize, PackageName), VecDeque<usize>>,
    of_commit: HashMap<(DomainName, PackageName, CommitId), VecDeque<usize>>,
    /// The ends of the jobs that run.
    ends: BinaryHeap<Reverse<(i64, usize)>>,
}

impl Play {
    fn read(db: &Connection, at: i64) -> Result<Self> {
        let loads: Vec<Load> = queue::loads(db)?;
        let pockets: HashMap<PocketName, usize> =
            loads.iter().enumerate().map(|(n, load)| (load.pocket.clone(), n)).collect();
        let mut statement = db.prepare_cached(
            "SELECT id, pocket, package, commit_id, principal, turn, priority, started, ms, share, domain_share FROM (
                 SELECT * FROM job WHERE state IN ('preparing', 'building', 'publishing')
                 UNION ALL SELECT * FROM (SELECT * FROM job WHERE state = 'queued'
                     AND state IN ('queued', 'preparing', 'building', 'publishing') ORDER BY turn LIMIT ?)) AS open
             LEFT JOIN charge ON charge.job = open.id ORDER BY turn",
        )?;
        let mut rows = statement.query([MOST as i64])?;
        let mut jobs = Vec::new();
        while let Some(row) = rows.next()? {
            let (pocket, package): (PocketName, PackageName) = (row.get(1)?, row.get(2)?);
            let Some(number) = pockets.get(&pocket) else { continue };
            let share: Option<u32> = row.get(9)?;
            jobs.push(ForecastJob {
                id: row.get(0)?,
                pocket: *number,
                expected: queue::expected(db, &pocket, &package)?
                    .unwrap_or(UNKNOWN_MS)
                    .max(LEAST_MS),
                package,
                commit: row.get(3)?,
                principal: row.get(4)?,
                turn: row.get(5)?,
                priority: row.get(6)?,
                started: if share.is_some() { row.get(7)? } else { None },
                charge: share
                    .map(|pocket| {
                        let weight = Weight { pocket, domain: row.get(10)? };
                        Ok::<_, rusqlite::Error>((row.get(8)?, weight))
                    })
                    .transpose()?,
            });
        }
        let mut play = Self {
            waiting: loads.iter().map(|_| WaitingPocket::default()).collect(),
            jobs,
            loads,
            domains: BTreeMap::new(),
            clock: db.query_row("SELECT clock FROM queue_clock", [], |row| row.get(0))?,
            in_pocket: HashMap::new(),
            of_commit: HashMap::new(),
            ends: BinaryHeap::new(),
        };
        play.seat(db, at)?;
        Ok(play)
    }

    /// Puts every job into its rows, those that run to their ends, and the first of each row among
    /// those that may start.
    fn seat(&mut self, db: &Connection, at: i64) -> Result<()> {
        for (n, load) in self.loads.iter().enumerate() {
            let mut clock = db.prepare_cached("SELECT clock FROM pocket_use WHERE pocket = ?")?;
            self.waiting[n].clock = clock.query_row([&load.pocket], |row| row.get(0))?;
            let mut clock = db.prepare_cached("SELECT clock FROM domain_use WHERE domain = ?")?;
            let clock = clock.query_row([&load.domain], |row| row.get(0))?;
            let played = PlayedDomain { used: load.domain_used, clock };
            self.domains.insert(load.domain.clone(), played);
        }
        for (n, job) in self.jobs.iter().enumerate() {
            self.in_pocket.entry((job.pocket, job.package.clone())).or_default().push_back(n);
            self.of_commit.entry(commit_of(job, &self.loads)).or_default().push_back(n);
            let waiting = &mut self.waiting[job.pocket];
            if !waiting.principals.contains_key(&job.principal) {
                let mut used = db.prepare_cached(
                    "SELECT used FROM principal_use WHERE pocket = ? AND principal = ?",
                )?;
                let pocket = &self.loads[job.pocket].pocket;
                let used =
                    used.query_row(params![pocket, job.principal], |row| row.get(0)).optional()?;
                waiting.principals.insert(
                    job.principal.clone(),
                    (used.unwrap_or(waiting.clock), BTreeSet::new()),
                );
            }
            if let Some(started) = job.started {
                let elapsed = at - started;
                // Who knows how long one takes that takes longer than ever?
                let more =
                    if elapsed < job.expected { job.expected - elapsed } else { elapsed / 4 };
                self.ends.push(Reverse((at + more, n)));
                *waiting.running.entry(job.principal.clone()).or_default() += 1;
            }
        }
        for n in 0..self.jobs.len() {
            if self.jobs[n].started.is_none() && self.is_first(n) {
                self.add(n);
            }
        }
        Ok(())
    }

    fn is_first(&self, n: usize) -> bool {
        let job = &self.jobs[n];
        self.in_pocket[&(job.pocket, job.package.clone())].front() == Some(&n)
            && self.of_commit[&commit_of(job, &self.loads)].front() == Some(&n)
    }

    /// Tells whether nothing of a domain runs or may start.
    fn is_idle(&self, domain: &DomainName) -> bool {
        let mut mine =
            self.loads.iter().zip(&self.waiting).filter(|(load, _)| load.domain == *domain);
        mine.all(|(load, waiting)| load.running + load.in_reserve == 0 && waiting.next().is_none())
    }

    /// Adds a job that may start from now on.
    fn add(&mut self, n: usize) {
        let job = &self.jobs[n];
        let is_idle = self.is_idle(&self.loads[job.pocket].domain);
        let (waiting, load) = (&mut self.waiting[job.pocket], &mut self.loads[job.pocket]);
        let domain = self.domains.entry(load.domain.clone()).or_default();
        if is_idle {
            domain.used = domain.used.max(self.clock);
        }
        if waiting.next().is_none() && load.running + load.in_reserve == 0 {
            load.used = load.used.max(domain.clock);
        }
        let idle = waiting.running.get(&job.principal).is_none_or(|running| *running == 0);
        let clock = waiting.clock;
        let (used, jobs) = waiting.principals.get_mut(&job.principal).expect("it was read");
        if jobs.is_empty() && idle {
            *used = clock.max(*used);
        }
        jobs.insert((job.turn, n));
        if job.priority {
            waiting.urgent.insert((job.turn, n));
        }
    }

    /// Starts and ends jobs until nothing is left to start.
    fn run(mut self, rules: &Rules, mut at: i64) -> HashMap<JobId, i64> {
        let mut starts = HashMap::new();
        loop {
            for (load, waiting) in self.loads.iter_mut().zip(&self.waiting) {
                load.next = waiting.next().map(|(_, _, first)| first.0);
                load.domain_used = self.domains[&load.domain].used;
            }
            if let Some((load, reserved)) = rules.next(&self.loads) {
                let pocket = self
                    .loads
                    .iter()
                    .position(|it| it.pocket == load.pocket)
                    .expect("it is one of them");
                let n = self.start(rules, pocket, reserved);
                starts.insert(self.jobs[n].id, at);
                self.ends.push(Reverse((at + self.jobs[n].expected, n)));
            } else if let Some(Reverse((end, n))) = self.ends.pop() {
                at = at.max(end);
                self.end(n, at);
            } else {
                return starts;
            }
        }
    }

    fn start(&mut self, rules: &Rules, pocket: usize, reserved: bool) -> usize {
        let (waiting, load) = (&mut self.waiting[pocket], &mut self.loads[pocket]);
        let (_, used, (_, oldest)) = waiting.next().expect("one is ready");
        let n = match waiting.urgent.pop_first() {
            Some((_, n)) => n,
            None => {
                waiting.clock = waiting.clock.max(used);
                oldest
            }
        };
        let job = &mut self.jobs[n];
        let weight = if reserved { Weight::RESERVED } else { rules.weight(load) };
        job.charge = Some((job.expected, weight));
        let (used, jobs) = waiting.principals.get_mut(&job.principal).expect("it was read");
        jobs.remove(&(job.turn, n));
        *used += job.expected;
        *waiting.running.entry(job.principal.clone()).or_default() += 1;
        if reserved {
            load.in_reserve += 1;
        } else {
            let domain = self.domains.entry(load.domain.clone()).or_default();
            self.clock = self.clock.max(domain.used);
            domain.clock = domain.clock.max(load.used);
            domain.used += job.expected * 1000 / i64::from(weight.domain);
            load.used += job.expected * 1000 / i64::from(weight.pocket);
            load.running += 1;
        }
        n
    }

    fn end(&mut self, n: usize, at: i64) {
        let job = &self.jobs[n];
        let (waiting, load) = (&mut self.waiting[job.pocket], &mut self.loads[job.pocket]);
        let (charged, weight) = job.charge.unwrap_or_default();
        let more = job.started.map_or(0, |started| at - started - charged);
        if let Some((used, _)) = waiting.principals.get_mut(&job.principal) {
            *used += more;
        }
        if let Some(running) = waiting.running.get_mut(&job.principal) {
            *running -= 1;
        }
        if weight.is_reserved() {
            load.in_reserve = load.in_reserve.saturating_sub(1);
        } else {
            let domain = self.domains.entry(load.domain.clone()).or_default();
            domain.used += more * 1000 / i64::from(weight.domain.max(1));
            load.used += more * 1000 / i64::from(weight.pocket);
            load.running = load.running.saturating_sub(1);
        }
        let rows = [
            self.in_pocket.get_mut(&(job.pocket, job.package.clone())),
            self.of_commit.get_mut(&commit_of(job, &self.loads)),
        ];
        let firsts: BTreeSet<usize> = rows
            .into_iter()
            .flatten()
            .filter_map(|row| {
                if row.front() == Some(&n) {
                    row.pop_front();
                } else {
                    row.retain(|other| *other != n);
                }
                row.front().copied()
            })
            .collect();
        for first in firsts {
            if self.jobs[first].started.is_none()
                && self.jobs[first].charge.is_none()
                && self.is_first(first)
            {
                self.add(first);
            }
        }
    }
}
