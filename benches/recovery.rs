//! How long a daemon takes from its start to being ready: `recovery fill JOBS` puts so many
//! finished jobs into the record of an installed service, `recovery start TIMES` starts the daemon,
//! kills it as soon as it is ready, and prints each time in milliseconds. `script/bench recovery`
//! runs it in a world.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rusqlite::{Connection, params};

const DATABASE: &str = "/var/lib/invirtibuilder/invirtibuilder.db";
const NOTIFY: &str = "/run/world/notify";

/// Versions of a package.
const VERSIONS: usize = 10;

fn main() -> Result<()> {
    // `cargo bench` adds an option of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fill", jobs] => fill(jobs.parse()?),
        ["start", times] => (0..times.parse()?).try_for_each(|_| start()),
        _ => {
            println!(
                "usage: recovery fill JOBS | recovery start TIMES; script/bench recovery runs it"
            );
            Ok(())
        }
    }
}

/// Rows such as real jobs leave: each with its steps in the audit trail, its hooks, and its
/// version.
fn fill(jobs: usize) -> Result<()> {
    let mut db = Connection::open(DATABASE)?;
    let tx = db.transaction()?;
    let first: i64 =
        tx.query_row("SELECT coalesce(max(id), 0) FROM audit", [], |row| row.get(0))?;
    let mut audit = first;
    for n in 1..=jobs {
        let (package, version) = (format!("pkg{:05}", n / VERSIONS), format!("1.{}", n % VERSIONS));
        let (commit, at) = (format!("{n:040x}"), 1_700_000_000_000 + n as i64 * 1000);
        let state = if n % 10 == 3 { "failed" } else { "published" };
        let failure = (state == "failed").then_some("build.failed");
        tx.prepare_cached(
            "INSERT INTO job (id, pocket, package, commit_id, version, principal, state, failure, turn, attempt, submitted,
             started, finished) VALUES (?1, 'dev', ?2, ?3, ?4, 'alice@EXAMPLE.ORG', ?5, ?6, ?1, 1, ?7, ?7, ?7)",
        )?
        .execute(params![n as i64, package, commit, version, state, failure, at])?;
        for step in ["queued", "preparing", "building", "publishing", state] {
            audit += 1;
            let detail = format!("{{\"state\":\"{step}\"}}");
            tx.prepare_cached(
                "INSERT INTO audit (id, at, event, job, detail, hash) VALUES (?, ?, 'job.state', ?, ?, ?)",
            )?
            .execute(params![audit, at, n as i64, detail, [0u8; 32]])?;
        }
        for event in ["submitted", "started", state] {
            tx.prepare_cached(
                "INSERT INTO hook_event (job, event, at, done) VALUES (?1, ?2, ?3, ?3)",
            )?
            .execute(params![n as i64, event, at])?;
            tx.prepare_cached(
                "INSERT INTO hook_run (hook_event, name, started, finished, outcome) VALUES (?1, 'mail', ?2, ?2, 'ok')",
            )?
            .execute(params![tx.last_insert_rowid(), at])?;
        }
        if state == "published" {
            tx.prepare_cached(
                "INSERT INTO version (package, version, commit_id, distro, job) VALUES (?, ?, ?, 'bookworm', ?)",
            )?
            .execute(params![package, version, commit, n as i64])?;
        }
    }
    Ok(tx.commit()?)
}

fn start() -> Result<()> {
    let _ = std::fs::remove_file(NOTIFY);
    let notify = UnixDatagram::bind(NOTIFY)?;
    std::fs::set_permissions(NOTIFY, std::fs::Permissions::from_mode(0o666))?;
    notify.set_read_timeout(Some(Duration::from_secs(60)))?;
    let start = Instant::now();
    let mut daemon = Command::new("setpriv")
        .args([
            "--reuid=_invirtibuilder",
            "--regid=_invirtibuilder",
            "--init-groups",
            "--",
            "invirtibuilderd",
        ])
        .env("NOTIFY_SOCKET", NOTIFY)
        .stdin(Stdio::null())
        .spawn()?;
    let mut text = [0; 256];
    let heard = notify.recv(&mut text);
    let took = start.elapsed();
    daemon.kill()?;
    daemon.wait()?;
    ensure!(text[..heard?].starts_with(b"READY=1"), "the daemon is not ready");
    println!("{:.1}", took.as_secs_f64() * 1000.0);
    Ok(())
}
