//! `explain`: the chain from a principal to published bytes, with every sum that it takes to check it elsewhere.

use anyhow::Result;
use rusqlite::Connection;
use serde::Serialize;

use crate::build::proxy::Given;
use crate::error::Exit;
use crate::names::{JobId, PocketName, Principal, Suite};
use crate::record::audit::{self, Recorded};
use crate::record::builds::{self, Vouched};
use crate::record::chroots::{self, BuiltIn, Reproduced};
use crate::record::jobs::Job;
use crate::record::pool::{self, PoolFile};
use crate::record::sources::{self, Source};
use crate::record::{State, pockets};
use crate::session::{Session, time};
use crate::source::{Layout, SUMS};

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The number that submit printed
    #[arg(allow_negative_numbers = true)]
    job: String,
}

/// A job, and everything that its result follows from.
#[derive(Debug, Serialize)]
struct Explained {
    job: Job,
    /// The job that built it, if this one copied.
    built_by: Option<Built>,
    /// What the source package was made of.
    source: Option<Source>,
    /// The `.dsc`, whole: the sums of all other files of the source package are in it.
    dsc: Option<String>,
    /// What the binaries were built in.
    chroots: Vec<BuiltIn>,
    /// The packages of suites of our own that the build was given.
    given: Vec<Given>,
    /// Who answers for a build that the pocket's own rules would not have allowed, if somebody had to.
    vouched: Option<Vouched>,
    /// The second build that gave the same packages, if there was one.
    reproduced: Option<Reproduced>,
    /// What came out: the pool's files, with their SHA-256.
    files: Vec<PoolFile>,
    /// The object that the version's tag points at.
    tag: Option<String>,
    /// The suite that shows it.
    suite: Option<Suite>,
    /// The entries of the audit trail that are about it, each with its hash.
    audit: Vec<Recorded>,
}

/// Who built what another job copied.
#[derive(Debug, Serialize)]
struct Built {
    job: JobId,
    pocket: PocketName,
    principal: Principal,
}

impl Explained {
    fn read(session: &Session, job: &Job, db: &Connection) -> Result<Self> {
        // A version that was let go may be another commit's.
        let known = pockets::known(db, &job.package, &job.version)?.filter(|known| known.commit == job.commit);
        let is_published = job.state == State::Published && known.is_some();
        let (package, version) = (&job.package, &job.version);
        let other = builds::of_version(db, package, version)?.filter(|build| is_published && build.job != job.id);
        let by = other.as_ref().map_or(job.id, |other| other.job);
        let source = sources::of(db, by)?;
        let files = if is_published { pool::of_version(db, &job.package, &job.version)? } else { Vec::new() };
        Ok(Self {
            job: job.clone(),
            vouched: if other.is_some() { builds::vouched(db, package, version, &job.pocket)? } else { None },
            reproduced: if is_published { chroots::reproduced(db, package, version)? } else { None },
            given: builds::given(db, by)?,
            built_by: other.map(|other| Built { job: other.job, pocket: other.pocket, principal: other.principal }),
            dsc: source.as_ref().and_then(|source| source.dsc.clone()),
            source,
            chroots: chroots::of(db, by)?,
            files,
            tag: known.filter(|_| is_published).and_then(|known| known.tag),
            suite: is_published.then(|| session.config.suite(&job.pocket)),
            audit: audit::of_job(db, job.id)?,
        })
    }
}

/// Runs the verb.
pub fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let job = session.job(&args.job)?;
    let explained = Explained::read(session, &job, session.record.db())?;
    if session.json {
        session.print_json(&explained)?;
        return Ok(Exit::Ok);
    }
    print(session, &explained)?;
    Ok(Exit::Ok)
}

fn print(session: &Session, explained: &Explained) -> Result<()> {
    let line = |key: &str, value: &str| session.line(format!("{key:<11} {value}"));
    let job = &explained.job;
    line("job", &format!("{}: {} {} for {}, {}", job.id, job.package, job.version, job.pocket, job.state))?;
    line("principal", job.principal.as_str())?;
    line("commit", job.commit.as_str())?;
    if let Some(built) = &explained.built_by {
        line("built by", &format!("job {} for {}, submitted by {}", built.job, built.pocket, built.principal))?;
    }
    match &explained.source {
        Some(source) => of_source(&line, source)?,
        None => line("source", "nothing is recorded: it was not made yet, or by an older release")?,
    }
    for chroot in &explained.chroots {
        line("built in", &format!("{} {}", chroot.architecture, chroot.digest.as_str()))?;
    }
    for given in &explained.given {
        line("given", &format!("{} {} {} from {}", given.package, given.version, given.architecture, given.suite))?;
        line("", &format!("SHA-256 {}", given.sha256))?;
    }
    if let Some(proof) = &explained.reproduced {
        let isolation = proof.isolation.map_or("isolation that is not recorded", |isolation| isolation.as_str());
        line("built again", &format!("with the same result, {} ({isolation})", time(proof.at)))?;
    }
    if let Some(word) = &explained.vouched {
        line("vouched", &format!("by {}: {}", word.by, word.reason))?;
    }
    for file in &explained.files {
        line("file", &file.path)?;
        line("", &format!("SHA-256 {}", file.sha256))?;
    }
    if let Some(tag) = &explained.tag {
        line("tag", &format!("{} -> {tag}", job.version.tag()))?;
    }
    if let Some(suite) = &explained.suite {
        line("suite", suite.as_str())?;
    }
    for entry in &explained.audit {
        line("audit", &format!("{} {} {}", entry.id, entry.event, entry.hash))?;
    }
    Ok(())
}

fn of_source(line: &dyn Fn(&str, &str) -> std::io::Result<()>, source: &Source) -> Result<()> {
    line("layout", source.layout.map_or("not known yet", Layout::as_str))?;
    for tarball in &source.tarballs {
        line("tarball", &tarball.name)?;
        line("", &format!("SHA-256 {}", tarball.sha256.as_deref().unwrap_or("not known yet")))?;
        let from = match (&tarball.brought_by, &tarball.delta, &tarball.tree, &source.branch) {
            (Some(job), ..) => format!("from the pool, where job {job} brought it"),
            (None, Some(delta), Some(tree), Some(branch)) => {
                line("", &format!("from pristine-tar at {branch}"))?;
                line("", &format!("by the delta {delta}"))?;
                format!("and the tree {tree}")
            }
            _ => format!("from {}", tarball.origin),
        };
        line("", &from)?;
        let bound = match tarball.bound.map(|bound| bound.as_str()) {
            Some("sha256sums") => format!("the commit binds it by its sum in {SUMS}"),
            Some(how) => format!("the commit binds it by upstream's {how}"),
            None if source.proven => "the commit has all that is in it".to_owned(),
            None => "it was not compared with the commit".to_owned(),
        };
        line("", &bound)?;
    }
    for path in &source.extra {
        line("only there", path)?;
    }
    for note in &source.notes {
        line("note", note)?;
    }
    if let Some(sum) = &source.dsc_sha256 {
        line(".dsc", &format!("SHA-256 {sum}"))?;
        let by = source.programs.as_ref().map_or("this machine's dpkg-source", |digest| digest.as_str());
        line("made by", by)?;
    }
    if let Some(isolation) = &source.isolation {
        line("isolation", isolation.as_str())?;
        let suites: Vec<&str> = source.suites.iter().map(Suite::as_str).collect();
        line("suites", &format!("build dependencies might also come from {}", suites.join(", ")))?;
    }
    Ok(())
}
