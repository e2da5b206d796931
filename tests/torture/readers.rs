//! Readers beside a writer: `script/torture --readers ROUNDS`.
//!
//! The daemon publishes as fast as it can, while apt of two Debian releases reads the archive as
//! files and over HTTP, by the files that the archive gives out for that, and Git fetches: none of
//! them may ever see a hash mismatch or miss a file, in what is shown now or in a state of the past,
//! and in the end each sees the last state.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::check::{self, Findings};
use crate::clients::open_jobs;
use crate::history::{History, Manner};
use crate::service::{self, Daemon, STATE, as_service, run};

const SUITES: [&str; 2] = ["stable", "unstable"];
const PACKAGES: [&str; 3] = ["anvil", "barrel", "candle"];
/// Versions of each package that dev goes through, back and forth.
const VERSIONS: usize = 4;
/// A state of the past is read each so many rounds.
const STATES: usize = 5;
const TRIXIE: &str = "/run/world/trixie";

/// Runs it; whether no reader saw anything wrong.
pub fn run_readers(rounds: usize, seed: u64) -> Result<bool> {
    service::set_up()?;
    // At this pace the last eight would be gone while somebody reads one.
    fs::write("/etc/invirtibuilder/conf.d/states.yaml", "archive: { states: 500 }\n")?;
    make_trixie()?;
    let server = Server::start()?;
    let mut random = fastrand::Rng::with_seed(seed);
    let (daemon, _) = Daemon::ready("")?;
    let mut histories = Vec::new();
    for package in PACKAGES {
        let mut history = History::new(package, Manner::Good)?;
        for _ in 0..VERSIONS {
            submit("dev", package, &history.take(&mut random)?.commit)?;
        }
        histories.push(history);
    }
    idle()?;
    let readers = [
        Apt::new("bookworm file", None, "file:/srv/apt".to_owned())?,
        Apt::new("bookworm http", None, server.uri())?,
        Apt::new("trixie file", Some(TRIXIE), "file:/srv/apt".to_owned())?,
        Apt::new("trixie http", Some(TRIXIE), server.uri())?,
    ];
    let (before, start) = (generations()?, Instant::now());
    let trouble = work(&readers, rounds, histories, random)?;
    let (published, took) = (generations()? - before, start.elapsed().as_secs_f64());
    idle()?;
    let mut wrong = trouble;
    for reader in &readers {
        let read = || {
            reader.take_sources("")?;
            reader.update()?;
            reader.is_current()
        };
        if let Err(error) = read() {
            wrong.push(format!("{}, in the end: {error:#}", reader.name));
        }
    }
    daemon.stop()?;
    let mut found = Findings::default();
    check::agreement(&mut found)?;
    check::fsck(&mut found)?;
    wrong.append(&mut found.0);
    println!("rounds           {rounds} of each of 4 apts, while Git fetched");
    println!(
        "publications     {published} in {took:.0} s, {:.1} a second",
        published as f64 / took
    );
    for line in &wrong {
        println!("VIOLATED: {line}");
    }
    println!("reader failures  {}", wrong.len());
    Ok(wrong.is_empty())
}

/// Readers and writers at work, until every reader has had its rounds.
fn work(
    readers: &[Apt],
    rounds: usize,
    histories: Vec<History>,
    random: fastrand::Rng,
) -> Result<Vec<String>> {
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut trouble = Vec::new();
    std::thread::scope(|scope| {
        let (stop, done) = (&stop, &done);
        let (old, mut new) = (
            histories.iter().map(|h| h.releases[..VERSIONS].to_vec()).collect::<Vec<_>>(),
            histories,
        );
        let (mut mine, mut others) = (random.clone(), random);
        let writers = [
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let n = mine.usize(..PACKAGES.len());
                    if open_jobs() < 6 {
                        submit("dev", PACKAGES[n], &old[n][mine.usize(..VERSIONS)].commit)?;
                    }
                }
                Ok(())
            }),
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let n = others.usize(..PACKAGES.len());
                    let release = new[n].take(&mut others)?;
                    submit("prod", PACKAGES[n], &release.commit)?;
                    std::thread::sleep(Duration::from_millis(1500));
                }
                Ok(())
            }),
            scope.spawn(move || fetch(stop)),
        ];
        let reading: Vec<_> = readers
            .iter()
            .map(|reader| {
                scope.spawn(move || {
                    let mut wrong = Vec::new();
                    for round in 1..=rounds {
                        let read = || {
                            reader.take_sources("")?;
                            reader.update()?;
                            reader.download()?;
                            if round % STATES == 0 { reader.read_a_state() } else { Ok(()) }
                        };
                        if let Err(error) = read() {
                            wrong.push(format!("{}, round {round}: {error:#}", reader.name));
                        }
                        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                        if done % 100 == 0 {
                            println!("{done:5} rounds in all");
                        }
                    }
                    wrong
                })
            })
            .collect();
        for reader in reading {
            trouble.extend(reader.join().expect("a reader does not panic"));
        }
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            let done: Result<()> = writer.join().expect("a writer does not panic");
            done?;
        }
        Ok(trouble)
    })
}

fn submit(pocket: &str, package: &str, commit: &str) -> Result<()> {
    let mut command = as_service("invirt-build");
    command.env("REMOTE_USER", "alice@EXAMPLE.ORG").args(["submit", pocket, package, commit]);
    let done = command.stdin(Stdio::null()).output()?;
    // What dev has already is no error, and what prod refuses is no matter here.
    let code = done.status.code();
    ensure!(
        [Some(0), Some(65)].contains(&code),
        "submit: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(())
}

/// Waits until no job is open and no move owed.
fn idle() -> Result<()> {
    let start = Instant::now();
    while open_jobs() > 0 || crate::busy()? {
        ensure!(
            start.elapsed() < Duration::from_secs(120),
            "jobs do not end: {}",
            service::log_tail()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let failed: i64 = check::database()?.query_row(
        "SELECT count(*) FROM job WHERE state = 'failed' AND failure <> 'prepare.invalid'",
        [],
        |row| row.get(0),
    )?;
    ensure!(failed == 0, "{failed} jobs have failed: {}", service::log_tail());
    Ok(())
}

fn generations() -> Result<i64> {
    Ok(check::database()?.query_row("SELECT sum(generation) FROM suite", [], |row| row.get(0))?)
}

/// Fetches package and superproject again and again: every fetch works, and brings what the
/// superproject names.
fn fetch(stop: &AtomicBool) -> Result<()> {
    let dir = Path::new("/run/world/fetch");
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir)?;
    let git = |repo: &Path, args: &[&str]| run(Command::new("git").arg("-C").arg(repo).args(args));
    let clone = |from: &str, name: &str| -> Result<PathBuf> {
        git(dir, &["clone", "--quiet", "--bare", "--no-local", from, name])?;
        Ok(dir.join(name))
    };
    let superproject = clone("/srv/git/packages.git", "packages.git")?;
    let packages = PACKAGES.map(|package| {
        Ok((
            package,
            clone(&format!("/srv/git/packages/{package}.git"), &format!("{package}.git"))?,
        ))
    });
    let packages = packages.into_iter().collect::<Result<Vec<_>>>()?;
    while !stop.load(Ordering::Relaxed) {
        // What the superproject names was in the packages before.
        git(&superproject, &["fetch", "--quiet", "--prune", "origin", "+refs/*:refs/*"])?;
        for (package, repo) in &packages {
            // A tag of people's that is put aside, `1.5/x` for instance, goes before ours comes: a
            // mirror prunes.
            git(repo, &["fetch", "--quiet", "--prune", "origin", "+refs/*:refs/*"])?;
            let link = git(&superproject, &["rev-parse", &format!("dev:{package}")])?;
            git(repo, &["cat-file", "-e", &format!("{}^{{commit}}", link.trim())])?;
        }
    }
    for (_, repo) in packages {
        git(&repo, &["fsck", "--strict"])?;
    }
    Ok(())
}

/// A root of the next Debian release, from the host's own mirrors; its tarball is kept as a build
/// chroot.
fn make_trixie() -> Result<()> {
    let tarball = format!("{STATE}/chroots/trixie-amd64.tar");
    // The harness has chroots of its own in its configuration; this one is to be kept with the
    // others.
    if !Path::new(&tarball).exists() {
        let settings = "/run/world/trixie.yaml";
        fs::write(settings, fs::read("/etc/invirtibuilder/config.yaml")?)?;
        run(
            Command::new("invirt-build").args(["--config", settings, "chroot", "create", "trixie"])
        )?;
    }
    fs::create_dir_all(TRIXIE)?;
    run(Command::new("tar").args(["-C", TRIXIE, "-xf", &tarball]))?;
    for dir in ["/srv/apt", "/dev", "/proc"] {
        let inside = format!("{TRIXIE}{dir}");
        fs::create_dir_all(&inside)?;
        run(Command::new("mount").args(["--bind", dir, &inside]))?;
    }
    Ok(())
}

/// nginx, which serves the archive on a port of the loopback address.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Result<Self> {
        let dir = Path::new("/run/world/nginx");
        fs::create_dir_all(dir)?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = format!(
            "daemon off; user root; worker_processes 1; pid {0}/pid; error_log {0}/error;\nevents {{ }}\nhttp {{\n\
             access_log {0}/access; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy;\n\
             fastcgi_temp_path {0}/fastcgi; uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;\n\
             server {{ listen 127.0.0.1:{port}; root /srv/apt; }}\n}}\n",
            dir.display()
        );
        fs::write(dir.join("conf"), config)?;
        let child =
            Command::new("nginx").arg("-p").arg(dir).arg("-c").arg(dir.join("conf")).spawn();
        let server = Self { child: child.context("cannot run nginx")?, port };
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if start.elapsed() > Duration::from_secs(20) {
                bail!("nginx does not listen");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn uri(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Fetches a file of the archive as a reader would.
fn fetch_file(uri: &str, path: &str) -> Result<String> {
    if let Some(dir) = uri.strip_prefix("file:") {
        return Ok(fs::read_to_string(format!("{dir}/{path}"))?);
    }
    let address = uri.strip_prefix("http://").context("a reader reads files or over HTTP")?;
    let mut stream = std::net::TcpStream::connect(address)?;
    write!(stream, "GET /{path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    let (_, body) = answer.split_once("\r\n\r\n").context("there is no body")?;
    Ok(body.to_owned())
}

/// apt of some root, with directories of its own.
struct Apt {
    name: &'static str,
    root: Option<&'static str>,
    dir: String,
    uri: String,
}

impl Apt {
    fn new(name: &'static str, root: Option<&'static str>, uri: String) -> Result<Self> {
        let dir = format!("/var/lib/readers/{}", name.replace(' ', "-"));
        let outside = PathBuf::from(format!("{}{dir}", root.unwrap_or_default()));
        for sub in
            ["lists/partial", "cache/archives/partial", "etc/preferences.d", "etc/sources.list.d"]
        {
            fs::create_dir_all(outside.join(sub))?;
        }
        fs::write(outside.join("status"), "")?;
        let apt = Self { name, root, dir, uri };
        apt.take_sources("")?;
        Ok(apt)
    }

    /// Takes the files for sources.list.d from the archive, for suites below this path of it, and
    /// looks at its page.
    fn take_sources(&self, below: &str) -> Result<()> {
        for suite in SUITES {
            let name = format!("{suite}.sources");
            let text = fetch_file(&self.uri, &name)?;
            let whole = text.ends_with(" -----END PGP PUBLIC KEY BLOCK-----\n");
            ensure!(whole && text.contains(&format!("Suites: {suite}\n")), "{name}: {text}");
            let there = format!("URIs: {}{below}\n", self.uri);
            let text = text.replacen("URIs: file:/srv/apt\n", &there, 1);
            ensure!(text.contains(&there), "{name}: {text}");
            let parts = format!("{}{}/etc/sources.list.d", self.root.unwrap_or_default(), self.dir);
            fs::write(format!("{parts}/{name}"), text)?;
        }
        let page = fetch_file(&self.uri, "index.html")?;
        let shown = SUITES.iter().all(|suite| page.contains(&format!("<h2>{suite}</h2>")));
        ensure!(page.starts_with("<!DOCTYPE html>") && shown, "index.html: {page}");
        Ok(())
    }

    /// Reads a state of the past, whole.
    fn read_a_state(&self) -> Result<()> {
        let mut all: Vec<String> = fs::read_dir("/srv/apt/snapshot")?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        all.sort();
        // The last one may be of a publication that is not over.
        let id = all.iter().rev().nth(2).context("there are states")?;
        self.take_sources(&format!("/snapshot/{id}"))?;
        self.update()?;
        self.download().with_context(|| format!("state {id}"))
    }

    fn apt(&self, program: &str, args: &[&str]) -> Result<String> {
        let mut command = match self.root {
            Some(root) => {
                let mut command = Command::new("chroot");
                command.args([root, program]);
                command
            }
            None => Command::new(program),
        };
        let dir = &self.dir;
        let options = [
            format!("Dir::Etc={dir}/etc"),
            "Dir::Etc::parts=none".into(),
            format!("Dir::State::lists={dir}/lists"),
            format!("Dir::State::status={dir}/status"),
            format!("Dir::Cache={dir}/cache"),
            "APT::Sandbox::User=root".into(),
            "Acquire::Languages=none".into(),
            "Acquire::http::Proxy=DIRECT".into(),
            "Acquire::Retries=0".into(),
        ];
        command
            .args(options.iter().flat_map(|option| ["-o", option]))
            .args(args)
            .stdin(Stdio::null());
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        let done = command.output()?;
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
        let bad = ["W:", "E:", "Err:", "Ign:"]
            .iter()
            .any(|start| said.lines().any(|line| line.starts_with(start)));
        ensure!(done.status.success() && !bad, "{program} {args:?}: {}", said.replace('\n', " | "));
        Ok(said)
    }

    fn update(&self) -> Result<()> {
        self.apt("apt-get", &["update"]).map(drop)
    }

    /// Downloads both suites' versions of every package anew.
    fn download(&self) -> Result<()> {
        let cache = format!("{}{}/cache/archives", self.root.unwrap_or_default(), self.dir);
        for entry in fs::read_dir(&cache)?.flatten() {
            if entry.path().extension().is_some_and(|suffix| suffix == "deb") {
                fs::remove_file(entry.path())?;
            }
        }
        let debs: Vec<String> =
            PACKAGES.iter().map(|package| format!("{package}/unstable")).collect();
        let mut args = vec!["--download-only", "--yes", "install"];
        args.extend(debs.iter().map(String::as_str));
        self.apt("apt-get", &args).map(drop)
    }

    /// What apt knows of dev is what dev has.
    fn is_current(&self) -> Result<()> {
        let db = check::database()?;
        for package in PACKAGES {
            let sql = "SELECT version FROM pocket_package WHERE pocket = 'dev' AND package = ?";
            let version: String = db.query_row(sql, [package], |row| row.get(0))?;
            let said = self.apt("apt-cache", &["madison", package])?;
            let row =
                |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
            let there =
                said.lines().map(row).any(|row| row[1] == version && row[2].contains("unstable/"));
            ensure!(
                there,
                "dev has {package} {version}, but apt knows {}",
                said.replace('\n', " | ")
            );
        }
        Ok(())
    }
}
