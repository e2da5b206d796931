//! The crash harness: `script/torture --kills N --seed S`; for `--readers` see `readers.rs`.
//!
//! A real daemon works for real clients on real repositories and a real archive, and is killed with
//! SIGKILL, at every named failpoint in turn and at random instants. After each death the next
//! daemon recovers, and an oracle of its own compares database, Git and archive before anything
//! else happens. Nothing is simulated but the inside of sbuild.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

mod check;
mod clients;
mod history;
mod plan;
mod readers;
mod service;
mod wander;

use check::Findings;
use clients::{Clients, open_jobs, running_jobs};
use invirtibuilder_core::failpoint::Point;
use plan::{Death, Plan, Round};
use service::{Daemon, Start};
use wander::Wanderer;

/// How long a round waits for its death.
const REACH: Duration = Duration::from_secs(25);
/// Rounds between two quiescences.
const QUIET: usize = 10;
/// How long it may take until every accepted job has ended.
const DRAIN: Duration = Duration::from_secs(300);
/// What recovery has to do with.
const GOAL: Duration = Duration::from_secs(1);

struct Torture {
    plan: Plan,
    clients: Arc<Clients>,
    wanderer: Wanderer,
    kills: usize,
    random: usize,
    unreached: usize,
    points: BTreeMap<Point, usize>,
    faults: BTreeMap<Point, usize>,
    in_recovery: usize,
    recoveries: Vec<Duration>,
    checks: usize,
    violations: Vec<String>,
    labels: usize,
}

impl Torture {
    fn new(seed: u64) -> Result<Self> {
        service::set_up()?;
        let wanderer = Wanderer::new()?;
        // Before its first start is over there is nothing that readers could see.
        Daemon::ready("")?.0.stop()?;
        Ok(Self {
            plan: Plan::new(seed),
            clients: Arc::new(Clients::new(seed)?),
            wanderer,
            kills: 0,
            random: 0,
            unreached: 0,
            points: BTreeMap::new(),
            faults: BTreeMap::new(),
            in_recovery: 0,
            recoveries: Vec::new(),
            checks: 0,
            violations: Vec::new(),
            labels: 0,
        })
    }

    fn run(&mut self, kills: usize) -> Result<()> {
        let mut rounds = 0;
        let start = Instant::now();
        while self.kills < kills && self.violations.is_empty() {
            rounds += 1;
            let round = self.plan.next();
            self.round(&round).with_context(|| format!("round {rounds} ({round:?})"))?;
            if rounds % QUIET == 0 {
                self.quiesce().with_context(|| format!("after round {rounds}"))?;
                println!(
                    "{:5} kills  {:5} jobs  {:5.0} s",
                    self.kills,
                    self.clients.told().accepted.len(),
                    start.elapsed().as_secs_f64()
                );
            }
            if !self.violations.is_empty() {
                println!(
                    "violated in round {rounds}: {round:?}\nthe daemons said: {}",
                    service::log_tail()
                );
            }
        }
        if self.violations.is_empty() { self.quiesce() } else { Ok(()) }
    }

    fn round(&mut self, round: &Round) -> Result<()> {
        let missed = self.unreached;
        self.die_at_work(round)?;
        if let Some(point) = round.in_recovery {
            if round.relabel {
                self.labels += 1;
                service::label(self.labels)?;
            }
            self.die_in_recovery(round, point)?;
        }
        if self.unreached == missed {
            self.plan.reached(*round);
        }
        self.readers()?;
        self.recover()
    }

    fn died(&mut self, at: Option<Point>) {
        self.kills += 1;
        match at {
            Some(point) => *self.points.entry(point).or_default() += 1,
            None => self.random += 1,
        }
    }

    /// A daemon works until it dies.
    fn die_at_work(&mut self, round: &Round) -> Result<()> {
        let shift = self.clients.shift(round.work);
        let died = self.work_until_death(round);
        shift.end();
        died
    }

    fn work_until_death(&mut self, round: &Round) -> Result<()> {
        let point = match round.at_work {
            Death::At(point, _) => Some(point),
            Death::Random(_) | Death::AfterError(..) => None,
        };
        let errors_before = errors()?;
        let mut daemon = match Daemon::start(&round.at_work.failpoints())? {
            Start::Killed => {
                self.in_recovery += 1;
                self.died(point);
                return Ok(());
            }
            Start::Ready(daemon, _) => daemon,
        };
        let start = Instant::now();
        if let Death::Random(instant) = round.at_work {
            while running_jobs() == 0 && start.elapsed() < REACH {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(instant);
            daemon.kill()?;
            self.died(None);
            return Ok(());
        }
        if let Death::AfterError(point, _) = round.at_work {
            while errors()? == errors_before && !daemon.dead()? && start.elapsed() < REACH {
                std::thread::sleep(Duration::from_millis(30));
            }
            let reached = errors()? > errors_before;
            // What it does about it is part of the round.
            std::thread::sleep(Duration::from_millis(300));
            daemon.kill()?;
            if reached {
                *self.faults.entry(point).or_default() += 1;
                self.died(None);
            } else {
                self.unreached(round);
            }
            return Ok(());
        }
        while !daemon.dead()? {
            if start.elapsed() > REACH {
                daemon.kill()?;
                self.unreached(round);
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.died(point);
        Ok(())
    }

    /// A death that did not come by itself is one at a random instant.
    fn unreached(&mut self, round: &Round) {
        self.died(None);
        self.unreached += 1;
        println!("      not reached: {round:?}");
        if !self.plan.again(*round) {
            self.violations.push(format!("never reached: {round:?}"));
        }
    }

    fn die_in_recovery(&mut self, round: &Round, point: Point) -> Result<()> {
        match Daemon::start(&Death::At(point, 1).failpoints())? {
            Start::Killed => {
                self.in_recovery += 1;
                self.died(Some(point));
            }
            Start::Ready(daemon, took) => {
                self.recoveries.push(took);
                daemon.kill()?;
                self.unreached(round);
            }
        }
        Ok(())
    }

    /// Nothing of a dead daemon's work goes on beside this one.
    fn alone(&mut self, daemon: Option<u32>) -> Result<()> {
        let start = Instant::now();
        loop {
            let left = check::processes(daemon)?;
            if left.is_empty() {
                return Ok(());
            }
            // What was killed takes the kernel a moment.
            if start.elapsed() > Duration::from_secs(10) {
                self.violations.push(format!("processes outlive their daemon: {left:?}"));
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What readers see while no daemon runs.
    fn readers(&mut self) -> Result<()> {
        let mut found = Findings::default();
        check::apt(&mut found)?;
        self.take(found);
        Ok(())
    }

    /// The next daemon recovers, and everything agrees before it claims a job.
    fn recover(&mut self) -> Result<()> {
        let (daemon, took) = Daemon::ready(&format!("{}=pause", Point::JobUnclaimed.name()))?;
        self.recoveries.push(took);
        self.alone(Some(daemon.pid()))?;
        let mut found = Findings::default();
        check::agreement(&mut found)?;
        check::fsck(&mut found)?;
        check::verify(&mut found)?;
        self.take(found);
        self.checks += 1;
        daemon.kill()
    }

    fn take(&mut self, found: Findings) {
        self.violations.extend(found.0);
        self.violations.append(&mut self.clients.told().wrong);
    }

    /// A daemon works until nothing is left to do.
    fn quiesce(&mut self) -> Result<()> {
        let (daemon, _) = Daemon::ready("")?;
        let start = Instant::now();
        while open_jobs() > 0 || busy()? {
            if start.elapsed() > DRAIN {
                bail!(
                    "{} jobs have not ended, or left something, after {DRAIN:?}: {}",
                    open_jobs(),
                    service::log_tail()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon.stop()?;
        self.alone(None)?;
        let mut found = Findings::default();
        check::agreement(&mut found)?;
        check::apt(&mut found)?;
        check::fsck(&mut found)?;
        check::leftovers(&mut found)?;
        check::jobs(self.clients.told().accepted.keys().copied(), &mut found)?;
        self.take(found);
        self.checks += 1;
        if let Some(point) = self.wanderer.wander()? {
            self.died(Some(point));
        }
        Ok(())
    }

    fn report(&mut self) -> Result<bool> {
        let mut found = Findings::default();
        let jobs = check::jobs(self.clients.told().accepted.keys().copied(), &mut found)?;
        self.recoveries.sort();
        let last = self.recoveries.len().saturating_sub(1);
        let at = |part: f64| {
            self.recoveries.get((last as f64 * part) as usize).map_or(0, Duration::as_millis)
        };
        println!("\nkills by failpoint");
        for point in Point::ALL {
            println!("  {:26} {:4}", point.name(), self.points.get(point).copied().unwrap_or(0));
        }
        println!("  {:26} {:4}\n", "a random instant", self.random);
        println!(
            "disk errors      {} at {} points",
            self.faults.values().sum::<usize>(),
            self.faults.len()
        );
        let told = self.clients.told();
        let slow = self.recoveries.iter().filter(|took| **took > GOAL).count();
        println!(
            "kills            {} ({} of them before the daemon was ready)",
            self.kills, self.in_recovery
        );
        println!("points missed    {} times", self.unreached);
        println!(
            "moved pocket     {} times, and {} times refused",
            self.wanderer.moves, self.wanderer.refused
        );
        println!("requests         {:?} by exit code", told.answers);
        for (sentence, times) in &told.refusals {
            println!("refused          {times:5} {sentence}");
        }
        println!("jobs accepted    {} by clients", told.accepted.len());
        println!("jobs by state    {:?}", jobs.ended);
        for (sentence, times) in &jobs.failures {
            println!("failed           {times:>5} {sentence}");
        }
        println!("built again      {} (interrupted while building)", jobs.built_again);
        println!(
            "resumed          {} (interrupted while publishing, not built again)",
            jobs.resumed
        );
        println!("lost jobs        {}", jobs.lost);
        println!("doubled jobs     {}", jobs.doubled);
        println!("checks           {}, with {} differences", self.checks, self.violations.len());
        println!(
            "recovery         p50 {} ms, max {} ms, {slow} of {} over 1 s",
            at(0.5),
            at(1.0),
            self.recoveries.len()
        );
        if at(0.5) > GOAL.as_millis() {
            println!("VIOLATED: half of all recoveries take longer than {GOAL:?}");
            return Ok(false);
        }
        for violation in &self.violations {
            println!("VIOLATED: {violation}");
        }
        Ok(self.violations.is_empty())
    }
}

/// Whether hooks or moves are still owed, or workspaces of jobs that have ended are being removed:
/// nobody waits for that.
fn busy() -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM hook_event WHERE done IS NULL) OR EXISTS (SELECT 1 FROM owed_move)";
    let owed: bool = check::database()?.query_row(sql, [], |row| row.get(0))?;
    Ok(owed || std::fs::read_dir(format!("{}/work", service::STATE))?.next().is_some())
}

/// How many errors of the disk jobs and the daemons have told of.
fn errors() -> Result<usize> {
    let sql = "SELECT count(*) FROM audit WHERE detail LIKE '%(os error%'";
    let jobs: i64 = check::database()?.query_row(sql, [], |row| row.get(0))?;
    Ok(jobs as usize + service::log().matches("(os error").count())
}

struct Arguments {
    kills: usize,
    readers: usize,
    seed: u64,
}

fn arguments() -> Result<Arguments> {
    let mut arguments = Arguments { kills: 60, readers: 0, seed: 1 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--kills" => arguments.kills = value.parse().context("--kills takes a number")?,
            "--readers" => arguments.readers = value.parse().context("--readers takes a number")?,
            "--seed" => arguments.seed = value.parse().context("--seed takes a number")?,
            _ => bail!("{word} is not an option: use --kills N, --readers ROUNDS or --seed S"),
        }
    }
    Ok(arguments)
}

fn torture(arguments: &Arguments) -> Result<bool> {
    if arguments.readers > 0 {
        return readers::run_readers(arguments.readers, arguments.seed);
    }
    let mut torture = Torture::new(arguments.seed)?;
    let run = torture.run(arguments.kills);
    let clean = torture.report()?;
    run.map(|()| clean)
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("torture: {error:#}");
            return ExitCode::from(64);
        }
    };
    assert!(
        std::env::var_os("IB_WORLD").is_some(),
        "this replaces the service's state: run script/torture"
    );
    let seed = arguments.seed;
    let clean = torture(&arguments).unwrap_or_else(|error| {
        println!("VIOLATED: {error:#}");
        false
    });
    let verdict = if clean { "passed" } else { "FAILED" };
    let what = match arguments.readers {
        0 => format!("--kills {}", arguments.kills),
        rounds => format!("--readers {rounds}"),
    };
    println!("torture: {verdict} (seed {seed}; repeat with {what} --seed {seed})");
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
