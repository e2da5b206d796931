//! Many writers at once: `line CLIENTS ROUNDS BUSY` starts so many processes, each of which queues
//! ROUNDS jobs one after the other, while BUSY threads keep processors busy; once in line, and once
//! by SQLite's own sleeping and trying, in turn. It prints how long one change took. `script/bench
//! line` runs it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rusqlite::{Connection, TransactionBehavior};

use invirtibuilder_core::names::{DomainName, Principal};
use invirtibuilder_store::Record;
use invirtibuilder_store::jobs::{self, NewJob};

static DONE: AtomicBool = AtomicBool::new(false);

fn main() -> Result<()> {
    // `cargo bench` adds an option of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["client", how, path, n, rounds] => {
            client(how, Path::new(path), n.parse()?, rounds.parse()?)
        }
        [clients, rounds, busy] => run(clients.parse()?, rounds.parse()?, busy.parse()?),
        _ => {
            println!("usage: line CLIENTS ROUNDS BUSY; script/bench line runs it");
            Ok(())
        }
    }
}

fn run(clients: usize, rounds: usize, busy: usize) -> Result<()> {
    for _ in 0..busy {
        std::thread::spawn(|| {
            while !DONE.load(Ordering::Relaxed) {
                std::hint::spin_loop()
            }
        });
    }
    for how in ["sqlite", "line"] {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("db");
        // As the daemon has it open.
        let _record = Record::open(&path)?;
        let start = Instant::now();
        let children: Vec<_> = (0..clients)
            .map(|n| {
                Command::new(std::env::current_exe()?)
                    .args(["client", how])
                    .arg(&path)
                    .args([n.to_string(), rounds.to_string()])
                    .stdout(Stdio::piped())
                    .spawn()
                    .map_err(anyhow::Error::from)
            })
            .collect::<Result<_>>()?;
        let (mut times, mut failures) = (Vec::new(), 0);
        for child in children {
            let said = String::from_utf8(child.wait_with_output()?.stdout)?;
            for line in said.lines() {
                match line.parse::<f64>() {
                    Ok(time) => times.push(time),
                    Err(_) => failures += 1,
                }
            }
        }
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!(
            "{how} clients={clients} rounds={rounds} failures={failures} p50_ms={:.1} p95_ms={:.1} max_ms={:.1} all_s={:.1}",
            at(0.5),
            at(0.95),
            at(1.0),
            start.elapsed().as_secs_f64()
        );
    }
    DONE.store(true, Ordering::Relaxed);
    Ok(())
}

/// Queues jobs, and prints how long each took, or a word if it failed.
fn client(how: &str, path: &Path, n: usize, rounds: usize) -> Result<()> {
    let mut out = std::io::stdout();
    for round in 0..rounds {
        let new = NewJob {
            pocket: "prod".parse()?,
            domain: DomainName::main(),
            package: format!("pkg{n}").parse()?,
            commit: format!("{round:040x}").parse()?,
            version: format!("1.{round}").parse()?,
            written: format!("1.{round}").parse()?,
            why: None,
            principal: Principal::from_authenticated("alice@EXAMPLE.ORG").context("a principal")?,
        };
        let start = Instant::now();
        let done = match how {
            "line" => {
                Record::open(path).and_then(|mut record| record.write(|tx| jobs::enqueue(tx, &new)))
            }
            _ => alone(path, &new),
        };
        match done {
            Ok(_) => writeln!(out, "{:.3}", start.elapsed().as_secs_f64() * 1000.0)?,
            Err(_) => writeln!(out, "failed")?,
        }
    }
    Ok(())
}

/// As the record was changed before there was a line.
fn alone(path: &Path, new: &NewJob) -> Result<invirtibuilder_core::names::JobId> {
    let mut db = Connection::open(path)?;
    db.busy_timeout(Duration::from_secs(20))?;
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let id = jobs::enqueue(&tx, new)?;
    tx.commit()?;
    Ok(id)
}
