//! How long it takes to find the next job: `claim HISTORY QUEUED` fills a database as an earlier
//! release kept it with so many finished jobs, asks it as that release did, migrates it, and
//! claims. `script/bench claim` runs it. Three cases: QUEUED jobs of as many packages; 200 commits
//! of one package with a long history behind one that runs; 10,000 jobs behind running ones.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, OptionalExtension, params};

use invirtibuilder_api::job::State;
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_store::fairness::Rules;
use invirtibuilder_store::{Record, claim, jobs};

/// The schema before the queue had tables of its own.
const BEFORE: [&str; 5] = [
    include_str!("../src/store/schema/0001-jobs.sql"),
    include_str!("../src/store/schema/0002-archive.sql"),
    include_str!("../src/store/schema/0003-chroots.sql"),
    include_str!("../src/store/schema/0004-sources.sql"),
    include_str!("../src/store/schema/0005-released.sql"),
];

/// How the next job was found.
const ASKED: &str = "SELECT id FROM job AS mine WHERE state = 'queued' AND NOT EXISTS (
        SELECT 1 FROM job AS other
        WHERE other.state IN ('queued', 'preparing', 'building', 'publishing')
          AND other.package = mine.package
          AND (other.pocket = mine.pocket OR other.commit_id = mine.commit_id)
          AND (other.state <> 'queued' OR other.turn < mine.turn))
    ORDER BY turn LIMIT 1";

/// Jobs of the package that has a long history.
const BUSY: usize = 20_000;

/// Claims that are measured.
const TIMES: usize = 200;

fn main() -> Result<()> {
    // `cargo bench` adds an option of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [history, queued] => run(history.parse()?, queued.parse()?),
        _ => {
            println!("usage: claim HISTORY QUEUED; script/bench claim runs it");
            Ok(())
        }
    }
}

fn run(history: usize, queued: usize) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let base = dir.path().join("base");
    fill(&base, history)?;
    // Name, jobs that run, jobs that wait for each of them, and those that wait for nothing.
    let cases =
        [("free", 1, 0, queued), ("one-package", 1, 200, 0), ("behind-running", 10, 1000, 0)];
    for (name, running, behind, free) in cases {
        let path = dir.path().join(name);
        std::fs::copy(&base, &path)?;
        let before = open_jobs(&path, running, behind, free)?;
        let start = Instant::now();
        let mut record = Record::open(&path)?;
        let migrated = start.elapsed();
        let (idle, busy) = claims(&mut record, running + free.min(TIMES))?;
        println!(
            "{name} before_ms={:.3} claim_ms={:.3} p95_ms={:.3} none_ms={:.3} migration_s={:.1}",
            ms(before),
            ms(busy[busy.len() / 2]),
            ms(busy[busy.len() * 95 / 100]),
            ms(idle),
            migrated.as_secs_f64()
        );
        drop(record);
        std::fs::remove_file(&path)?;
    }
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A database with finished jobs only.
fn fill(path: &Path, history: usize) -> Result<()> {
    let mut db = Connection::open(path)?;
    db.pragma_update(None, "synchronous", "off")?;
    let tx = db.transaction()?;
    BEFORE.iter().try_for_each(|sql| tx.execute_batch(sql))?;
    tx.pragma_update(None, "user_version", BEFORE.len() as i64)?;
    tx.execute(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
         INSERT INTO job (id, pocket, package, commit_id, version, principal, state, turn, attempt, submitted, started, finished)
         SELECT n, iif(n % 2, 'dev', 'prod'), iif(n <= ?2, 'busy', 'pkg' || (n / 10)), printf('%040x', n), '1.' || n,
                'alice@EXAMPLE.ORG', 'published', n, 1, n * 1000, n * 1000, n * 1000 + 60000 FROM n",
        params![history as i64, BUSY as i64],
    )?;
    tx.commit()?;
    Ok(())
}

/// Adds open jobs; how long the old query took over them.
fn open_jobs(path: &Path, running: usize, behind: usize, free: usize) -> Result<Duration> {
    let mut db = Connection::open(path)?;
    db.pragma_update(None, "synchronous", "off")?;
    let tx = db.transaction()?;
    let mut turn: i64 = tx.query_row("SELECT max(turn) FROM job", [], |row| row.get(0))?;
    {
        let mut add = tx.prepare(
            "INSERT INTO job (pocket, package, commit_id, version, principal, state, turn, submitted, started, lease_until)
             VALUES ('dev', ?1, printf('%040x', ?2), '9.' || ?2, 'u' || (?2 % 50) || '@EXAMPLE.ORG', ?3, ?2, ?2,
                     iif(?3 = 'queued', NULL, ?2), iif(?3 = 'queued', NULL, ?2))",
        )?;
        let mut add = |package: &str, state: &str| {
            turn += 1;
            add.execute(params![package, turn, state])
        };
        for n in 0..running {
            let package = if n == 0 { "busy".to_owned() } else { format!("slow{n}") };
            add(&package, "building")?;
            for _ in 0..behind {
                add(&package, "queued")?;
            }
        }
        for n in 0..free {
            add(&format!("free{n}"), "queued")?;
        }
    }
    tx.commit()?;
    let mut query = db.prepare(ASKED)?;
    // What waits for nothing is found at once; all that wait for something are looked at until
    // there is one.
    let start = Instant::now();
    let found: Option<i64> = query.query_row([], |row| row.get(0)).optional()?;
    let took = start.elapsed();
    ensure!(found.is_some() == (free > 0), "the old query found {found:?}");
    Ok(took)
}

/// A claim when there is nothing to be claimed (where nothing is), and claims each of which follows
/// the end of a job.
fn claims(record: &mut Record, running: usize) -> Result<(Duration, Vec<Duration>)> {
    let rules = Rules { places: u32::MAX, ..Rules::default() };
    let start = Instant::now();
    record.write(|tx| {
        let claimed = claim::next(tx, &Rules { places: 0, ..Rules::default() })?;
        ensure!(claimed.is_none(), "there is no place");
        Ok(())
    })?;
    let idle = start.elapsed();
    let mut took = Vec::new();
    for _ in 0..TIMES.min(running * 50) {
        let next = jobs::running(record.db())?
            .first()
            .map(|job| (job.id, job.state))
            .context("a job runs")?;
        record.write(|tx| {
            jobs::fail(tx, next.0, next.1, &Failure::new(FailureKind::BuildFailed, "no"))?;
            let start = Instant::now();
            let claimed = claim::next(tx, &rules)?;
            took.push(start.elapsed());
            ensure!(
                claimed.is_some_and(|job| job.state == State::Preparing),
                "there is one that waits"
            );
            Ok(())
        })?;
    }
    took.sort();
    Ok((idle, took))
}
