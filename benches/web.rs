//! The pages and the API under load: `web fill JOBS PACKAGES` puts so many jobs and packages into
//! the record of an installed service; `web ask URL COOKIE PATH TIMES` gets a page and prints how
//! long it took; `web follow …` lets many browsers follow one log. `script/bench web` runs it in a
//! world.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use invirtibuilder_api::job::State;
use invirtibuilder_api::pocket::Held;
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::names::{
    CommitId, DomainName, PackageName, PocketName, Principal, Version,
};
use invirtibuilder_store::Record;
use invirtibuilder_store::jobs::{self, NewJob};
use invirtibuilder_store::pockets;

const DATABASE: &str = "/var/lib/invirtibuilder/invirtibuilder.db";

/// The pockets of the configuration that the benchmark has.
const POCKETS: [&str; 3] = ["prod", "test", "dev"];

/// Jobs that are written in one transaction.
const BATCH: usize = 1000;

fn main() -> Result<()> {
    // `cargo bench` adds an option of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fill", jobs, packages] => fill(jobs.parse()?, packages.parse()?),
        ["ask", address, cookie, path, times] => {
            ask(address.parse()?, cookie, path, times.parse()?)
        }
        ["follow", address, cookie, path, log, followers, seconds] => {
            let of = Followed { address: address.parse()?, cookie, path };
            follow(&of, Path::new(log), followers.parse()?, seconds.parse()?)
        }
        ["echo", followers, seconds] => echo(followers.parse()?, seconds.parse()?),
        _ => {
            println!(
                "usage: web fill JOBS PACKAGES | web ask … | web follow … | web echo …; script/bench web runs it"
            );
            Ok(())
        }
    }
}

/// Jobs as people leave them: one in ten has failed, the last ones wait.
fn fill(count: usize, packages: usize) -> Result<()> {
    let mut record = Record::open(Path::new(DATABASE))?;
    let waiting = 120;
    let numbers: Vec<usize> = (0..count).collect();
    for batch in numbers.chunks(BATCH) {
        record.write(|tx| {
            for n in batch {
                let pocket: PocketName = POCKETS[n % POCKETS.len()].parse()?;
                let package: PackageName =
                    format!("package{:05}", n / POCKETS.len() % packages).parse()?;
                let round = n / (POCKETS.len() * packages);
                let version: Version = format!("1.{round}-1").parse()?;
                let commit: CommitId = format!("{n:040x}").parse()?;
                let id = jobs::enqueue(
                    tx,
                    &NewJob {
                        pocket: pocket.clone(),
                        domain: DomainName::main(),
                        package: package.clone(),
                        commit: commit.clone(),
                        version: version.clone(),
                        written: version.clone(),
                        why: None,
                        principal: Principal::from_authenticated(&format!(
                            "user{}@EXAMPLE.ORG",
                            n % 40
                        ))?,
                    },
                )?;
                if *n >= count - waiting {
                    continue;
                }
                for (from, to) in
                    [(State::Queued, State::Preparing), (State::Preparing, State::Building)]
                {
                    jobs::advance(tx, id, from, to)?;
                }
                if n % 10 == 3 {
                    let failure = Failure::new(FailureKind::BuildFailed, "make: *** [all] Error 2");
                    jobs::fail(tx, id, State::Building, &failure)?;
                    continue;
                }
                for (from, to) in
                    [(State::Building, State::Publishing), (State::Publishing, State::Published)]
                {
                    jobs::advance(tx, id, from, to)?;
                }
                pockets::set_held(tx, &Held { pocket, package, commit, version, job: id })?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// A request, as a browser sends it.
fn request(cookie: &str, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: identity\r\nCookie: invirtibuilder-session={cookie}\r\n\r\n"
    )
}

/// Reads the head of an answer: its status, and the length of its body.
fn head(answer: &mut impl BufRead) -> Result<(u16, Option<usize>)> {
    let (mut status, mut length) = (0, None);
    for n in 0.. {
        let mut line = String::new();
        ensure!(answer.read_line(&mut line)? > 0, "the connection was closed");
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if n == 0 {
            status = line.split(' ').nth(1).context("no status")?.parse()?;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = Some(value.trim().parse()?);
        }
    }
    Ok((status, length))
}

/// Prints how long a page takes, and its size: `p50 p99 bytes`.
fn ask(address: SocketAddr, cookie: &str, path: &str, times: usize) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answer = BufReader::new(stream.try_clone()?);
    let (mut took, mut size) = (Vec::new(), 0);
    let mut body = Vec::new();
    for n in 0..times + 10 {
        let start = Instant::now();
        stream.write_all(request(cookie, path).as_bytes())?;
        let (status, length) = head(&mut answer)?;
        ensure!(status == 200, "{path}: {status}");
        size = length.context("an answer without a length")?;
        body.resize(size, 0);
        answer.read_exact(&mut body)?;
        // The first ones warm up what is kept.
        if n >= 10 {
            took.push(start.elapsed().as_secs_f64() * 1000.0);
        }
    }
    println!("{:.1} {:.1} {size}", part(&mut took, 0.5), part(&mut took, 0.99));
    Ok(())
}

/// Returns what this part of the values does not exceed.
fn part(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part).round() as usize]
}

/// What is followed.
struct Followed<'a> {
    address: SocketAddr,
    cookie: &'a str,
    path: &'a str,
}

fn micros() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros())
}

/// Starts a browser that follows, and tells how old each line is when it comes.
fn browser(of: &Followed, ages: Sender<f64>) -> Result<()> {
    let mut stream = TcpStream::connect(of.address)?;
    stream.write_all(request(of.cookie, of.path).as_bytes())?;
    let mut answer = BufReader::with_capacity(4096, stream);
    let (status, _) = head(&mut answer)?;
    ensure!(status == 200, "{}: {status}", of.path);
    let read = move || {
        let mut line = Vec::new();
        while answer.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let now = micros();
            let text = String::from_utf8_lossy(&line);
            for stamp in text.split("stamp ").skip(1) {
                let digits: String = stamp.chars().take_while(char::is_ascii_digit).collect();
                if let Ok(written) = digits.parse::<u128>() {
                    let _ = ages.send(now.saturating_sub(written) as f64 / 1000.0);
                }
            }
            line.clear();
        }
    };
    // The stack is small: there are many.
    thread::Builder::new().stack_size(128 << 10).spawn(read)?;
    Ok(())
}

/// Writes ten lines a second to a log that so many browsers follow, and prints how old the lines
/// are when they come: `lines p50 p95 max`.
fn follow(of: &Followed, log: &Path, followers: usize, seconds: u64) -> Result<()> {
    let mut file = OpenOptions::new().append(true).open(log)?;
    let write = move |line: &str| Ok(file.write_all(line.as_bytes())?);
    measure(of, followers, seconds, write)
}

fn measure(
    of: &Followed,
    followers: usize,
    seconds: u64,
    mut write: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let (sender, ages) = channel();
    for _ in 0..followers {
        browser(of, sender.clone())?;
    }
    thread::sleep(Duration::from_secs(1));
    // Who measures from outside begins here.
    println!("begin");
    for _ in 0..seconds * 10 {
        write(&format!("stamp {} and the rest of a line of a log\n", micros()))?;
        thread::sleep(Duration::from_millis(100));
    }
    thread::sleep(Duration::from_millis(500));
    println!("end");
    let mut ages: Vec<f64> = ages.try_iter().collect();
    let wanted = followers as u64 * seconds * 10;
    if (ages.len() as u64) != wanted {
        bail!("{} lines came, and not {wanted}", ages.len());
    }
    let max = part(&mut ages, 1.0);
    println!("{} {:.1} {:.1} {max:.1}", ages.len(), part(&mut ages, 0.5), part(&mut ages, 0.95));
    Ok(())
}

/// The same for a server that does nothing but send each line to all, as soon as it is told of it.
fn echo(followers: usize, seconds: u64) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (clients, came) = channel::<TcpStream>();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = stream.set_nodelay(true);
            let mut head = BufReader::new(&stream);
            let mut line = String::new();
            while head.read_line(&mut line).is_ok_and(|count| count > 2) {
                line.clear();
            }
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            if (&stream).write_all(answer.as_bytes()).is_ok() {
                let _ = clients.send(stream);
            }
        }
    });
    let mut streams: Vec<TcpStream> = Vec::new();
    let write = move |line: &str| {
        streams.extend(came.try_iter());
        let event = format!("event: log\ndata: {{\"text\":\"{}\"}}\n\n", line.trim_end());
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        streams.iter_mut().try_for_each(|stream| Ok(stream.write_all(chunk.as_bytes())?))
    };
    let of = Followed { address, cookie: "", path: "/" };
    measure(&of, followers, seconds, write)
}
