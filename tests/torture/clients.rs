//! Concurrent clients: developers who submit, promote, cancel and retry while the daemon dies.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::history::{History, Manner};
use crate::service::as_service;
use crate::wander::ROAM;
use invirtibuilder_core::failpoint::Point;

/// What a round is about, so that its failpoint is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Anything.
    Any,
    /// Jobs that fail.
    Failures,
    /// Jobs that are cancelled while they are built.
    Cancels,
}

/// Every pocket.
const POCKETS: [&str; 4] = ["prod", "dev", "lab", ROAM];

/// Where a request dies that takes a package out of a pocket.
const DEATHS: [Point; 11] = {
    use Point::*;
    [
        SuperprojectWritten,
        SuiteWritten,
        PublishPrepared,
        PublishUncommitted,
        PublishCommitted,
        MoveBranch,
        MovedBranch,
        MoveSuperproject,
        MoveSuite,
        SuiteFlipped,
        MovesUnrecorded,
    ]
};

/// What all clients know of each other.
pub struct Clients {
    histories: Mutex<Vec<History>>,
    told: Mutex<Told>,
    seed: u64,
    shifts: AtomicUsize,
}

/// What clients were told.
#[derive(Default)]
pub struct Told {
    /// Jobs that were accepted, and by which request.
    pub accepted: BTreeMap<i64, String>,
    /// Requests by exit code.
    pub answers: BTreeMap<i32, usize>,
    /// Refusals by their sentence, with names and numbers taken out.
    pub refusals: BTreeMap<String, usize>,
    /// What no client should ever be told.
    pub wrong: Vec<String>,
}

/// Clients at work; they stop when they are told to.
pub struct Shift {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Shift {
    /// Tells the clients to stop, and waits for the answers that they still get.
    pub fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client does not panic");
        }
    }
}

impl Clients {
    /// Makes the packages.
    pub fn new(seed: u64) -> Result<Self> {
        let mixed = ["anvil", "barrel", "candle", "libdrum"].map(|name| (name, Manner::Mixed));
        let all = mixed.into_iter().chain([("wreck", Manner::Broken), ("sloth", Manner::Slow)]);
        let histories =
            all.map(|(name, manner)| History::new(name, manner)).collect::<Result<_>>()?;
        Ok(Self {
            histories: Mutex::new(histories),
            told: Mutex::new(Told::default()),
            seed,
            shifts: AtomicUsize::new(0),
        })
    }

    /// What clients were told until now.
    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets three clients to work.
    pub fn shift(self: &Arc<Self>, work: Work) -> Shift {
        let stop = Arc::new(AtomicBool::new(false));
        let number = self.shifts.fetch_add(1, Ordering::Relaxed) as u64;
        let threads = (0..3)
            .map(|n| {
                let (clients, stop) = (self.clone(), stop.clone());
                let random = fastrand::Rng::with_seed(self.seed ^ (number << 8) ^ n);
                std::thread::spawn(move || clients.client(work, n == 0, random, &stop))
            })
            .collect();
        Shift { stop, threads }
    }

    fn client(&self, work: Work, leads: bool, mut random: fastrand::Rng, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            // A queue that grows for ever proves nothing.
            let done = if open_jobs() >= 8 {
                Ok(())
            } else {
                match work {
                    Work::Failures if leads => self.submit_next(Manner::Broken, &mut random),
                    Work::Cancels if leads => self.cancel_a_build(&mut random, stop),
                    _ => self.one(&mut random),
                }
            };
            if let Err(error) = done {
                self.told().wrong.push(format!("a client failed: {error:#}"));
                return;
            }
            let pause = Instant::now() + Duration::from_millis(random.u64(50..400));
            while Instant::now() < pause && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    fn one(&self, random: &mut fastrand::Rng) -> Result<()> {
        match random.u8(..26) {
            20 | 21 => self.push_a_tag(random),
            22 | 23 => {
                let pocket = POCKETS[random.usize(..POCKETS.len())];
                self.ask(&["rebuild", pocket, self.mixed(random), "--reason", "a test"], random)
            }
            24 | 25 => self.remove(random),
            0..=9 => self.submit_next(Manner::Mixed, random),
            10..=12 => {
                let package = self.mixed(random);
                self.promote(package, random)
            }
            13..=15 => self.submit_older(random),
            16 => self.both_rivals(random),
            17 => match some_job("state IN ('queued', 'preparing', 'building', 'publishing')") {
                Some(job) => self.ask(&["cancel", &job.to_string()], random),
                None => Ok(()),
            },
            _ => match some_job("state IN ('failed', 'cancelled') AND package <> 'wreck'") {
                Some(job) => self.ask(&["retry", &job.to_string()], random),
                None => Ok(()),
            },
        }
    }

    fn mixed(&self, random: &mut fastrand::Rng) -> &'static str {
        ["anvil", "barrel", "candle", "libdrum"][random.usize(..4)]
    }

    fn histories(&self) -> MutexGuard<'_, Vec<History>> {
        self.histories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit_next(&self, manner: Manner, random: &mut fastrand::Rng) -> Result<()> {
        let name = self.mixed(random);
        let (package, release) = {
            let mut histories = self.histories();
            let wanted = |h: &&mut History| {
                h.manner == manner && (manner != Manner::Mixed || h.package == name)
            };
            let history = histories.iter_mut().find(wanted).expect("there is one of each");
            (history.package, history.take(random)?)
        };
        let pocket = if random.bool() && manner == Manner::Mixed { "prod" } else { "dev" };
        let mut request = vec!["submit", pocket, package, &release.commit];
        request.extend((pocket == "prod" && random.u8(..3) == 0).then_some("--priority"));
        self.ask(&request, random)
    }

    /// A commit that somebody has submitted before, to any pocket: a copy, a way back, or nothing
    /// to do.
    fn submit_older(&self, random: &mut fastrand::Rng) -> Result<()> {
        let name = self.mixed(random);
        let commit = {
            let histories = self.histories();
            let history = histories.iter().find(|h| h.package == name).expect("it was made");
            if history.next == 0 {
                return Ok(());
            }
            history.releases[random.usize(history.next.saturating_sub(5)..history.next)]
                .commit
                .clone()
        };
        self.ask(&["submit", POCKETS[random.usize(..POCKETS.len())], name, &commit], random)
    }

    /// A tag of a version that may be on its way, of its own commit: somebody who is faster or
    /// slower than the service.
    fn push_a_tag(&self, random: &mut fastrand::Rng) -> Result<()> {
        let name = self.mixed(random);
        let (n, commit) = {
            let histories = self.histories();
            let history = histories.iter().find(|h| h.package == name).expect("it was made");
            let n = random.usize(history.next.saturating_sub(5)..history.next.max(1));
            match history.releases.get(n).filter(|release| release.rival.is_none()) {
                Some(release) => (n, release.commit.clone()),
                None => return Ok(()),
            }
        };
        let repo = format!("/srv/git/packages/{name}.git");
        let from = if random.bool() { commit } else { String::new() };
        let refspec = format!("+{from}:refs/tags/1.{n}");
        // Whether it is refused depends on who is faster.
        as_service("git")
            .args(["-C", &repo, "push", "-q", &repo, &refspec])
            .stdin(Stdio::null())
            .output()?;
        Ok(())
    }

    /// Two commits of one version, at the same time: one of them may come in, and never the other.
    fn both_rivals(&self, random: &mut fastrand::Rng) -> Result<()> {
        let name = self.mixed(random);
        let release = {
            let mut histories = self.histories();
            let history = histories.iter_mut().find(|h| h.package == name).expect("it was made");
            loop {
                let release = history.take(random)?;
                if release.rival.is_some() {
                    break release;
                }
            }
        };
        let rival = release.rival.unwrap_or_default();
        let mut other = random.fork();
        std::thread::scope(|scope| {
            let second =
                scope.spawn(move || self.ask(&["submit", "dev", name, &rival], &mut other));
            let first = self.ask(&["submit", "prod", name, &release.commit], random);
            first.and(second.join().expect("a client does not panic"))
        })
    }

    /// Takes a package out of a pocket. The request publishes that itself, so it dies over it, too.
    fn remove(&self, random: &mut fastrand::Rng) -> Result<()> {
        let pocket = POCKETS[random.usize(..POCKETS.len())];
        let args = ["remove", pocket, self.mixed(random), "--reason", "a test"];
        if random.bool() {
            return self.ask(&args, random);
        }
        let point = DEATHS[random.usize(..DEATHS.len())];
        let done = as_service("invirt-build")
            .env("REMOTE_USER", "alice@EXAMPLE.ORG")
            .env("FAILPOINTS", format!("{}=return(kill)", point.name()))
            .args(args)
            .stdin(Stdio::null())
            .output()?;
        // Killed, or refused before it came there.
        if let Some(code) = done.status.code().filter(|code| ![0, 65, 75].contains(code)) {
            let said = String::from_utf8_lossy(&done.stderr);
            self.told().wrong.push(format!("{args:?} that was to die got exit {code}: {said}"));
        }
        Ok(())
    }

    fn promote(&self, package: &str, random: &mut fastrand::Rng) -> Result<()> {
        let (from, to) = [("dev", "prod"), ("dev", "lab"), ("lab", "prod")][random.usize(..3)];
        self.ask(&["promote", package, from, to], random)
    }

    fn cancel_a_build(&self, random: &mut fastrand::Rng, stop: &AtomicBool) -> Result<()> {
        self.submit_next(Manner::Slow, random)?;
        while !stop.load(Ordering::Relaxed) {
            if let Some(job) =
                some_job("state = 'building' AND package = 'sloth' AND cancel_by IS NULL")
            {
                return self.ask(&["cancel", &job.to_string()], random);
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        Ok(())
    }

    /// One request, through remctl or as remctld would run the backend.
    fn ask(&self, args: &[&str], random: &mut fastrand::Rng) -> Result<()> {
        let who = ["alice", "carol"][random.usize(..2)];
        let mut command = if random.bool() {
            let mut command = Command::new("as");
            command.args([who, "build"]);
            command
        } else {
            let mut command = as_service("invirt-build");
            command.env("REMOTE_USER", format!("{who}@EXAMPLE.ORG"));
            command
        };
        let done = command.arg("--json").args(args).stdin(Stdio::null()).output()?;
        let code = done.status.code().unwrap_or(-1);
        let said = String::from_utf8_lossy(&done.stdout);
        let request = format!("{args:?} of {who}");
        let mut told = self.told();
        *told.answers.entry(code).or_default() += 1;
        if code == 65 {
            *told.refusals.entry(plain(&String::from_utf8_lossy(&done.stderr))).or_default() += 1;
        }
        // 65: a rule of validation, or nothing to cancel or retry any more; 75: the record is busy.
        if ![0, 65, 75].contains(&code) {
            let complaint = String::from_utf8_lossy(&done.stderr);
            told.wrong.push(format!("{request} got exit {code}: {said}{complaint}"));
        }
        if code == 0 && ["submit", "promote", "rebuild"].contains(&args[0]) {
            let answer: serde_json::Value = serde_json::from_str(&said)?;
            let job = answer["job"].as_i64().unwrap_or(-1);
            if answer["new"] == true {
                if let Some(before) = told.accepted.insert(job, request.clone()) {
                    told.wrong.push(format!("job {job} was given to {before} and to {request}"));
                }
            } else if !answer["state"].is_string() {
                told.wrong.push(format!("{request} was told {said}"));
            }
        }
        Ok(())
    }
}

/// A sentence without what differs from one time to the next: versions, job numbers, and commits.
fn plain(sentence: &str) -> String {
    let word = |word: &str| {
        if word.contains(|c: char| c.is_ascii_digit()) { "#".to_owned() } else { word.to_owned() }
    };
    sentence.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// Jobs that are not at an end.
pub fn open_jobs() -> usize {
    count(
        "SELECT count(*) FROM job WHERE state IN ('queued', 'preparing', 'building', 'publishing')",
    )
}

/// Jobs that a worker has.
pub fn running_jobs() -> usize {
    count("SELECT count(*) FROM job WHERE state IN ('preparing', 'building', 'publishing')")
}

fn count(sql: &str) -> usize {
    let count = crate::check::database()
        .and_then(|db| Ok(db.query_row(sql, [], |row| row.get::<_, i64>(0))?));
    count.map_or(0, |n| n as usize)
}

/// The newest job of which this holds.
fn some_job(condition: &str) -> Option<i64> {
    let sql = format!("SELECT id FROM job WHERE {condition} ORDER BY id DESC LIMIT 1");
    crate::check::database().and_then(|db| Ok(db.query_row(&sql, [], |row| row.get(0))?)).ok()
}
