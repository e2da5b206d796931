//! `archive snapshots|rollback|gc|release|vouch`: what suites were, back to it, what need not be kept, what is let go, and who
//! answers for a build.

use std::io::Write;

use anyhow::Result;
use rusqlite::Transaction;

use crate::error::{Error, Exit};
use crate::log::Severity;
use crate::names::{PackageName, PocketName, Principal, Suite, Version};
use crate::publish::Publisher;
use crate::record::audit::Entry;
use crate::record::builds::Build;
use crate::record::{builds, contents, snapshots};
use crate::session::{Session, table, time};
use crate::text;

/// What can be done with the archive.
#[derive(Debug, clap::Subcommand)]
pub enum Archive {
    /// List the published states of a suite, the newest first
    Snapshots {
        /// The suite, such as stable
        suite: String,
    },
    /// Take a suite, its pocket's branches and the superproject back to a snapshot
    Rollback {
        /// The suite
        suite: String,
        /// The snapshot's number
        number: i64,
    },
    /// Forget the snapshots that archive.keep does not keep, and remove what nothing needs
    Gc,
    /// Let a version go that no suite shows and only pockets with allow_backtracking ever had
    ///
    /// Its number may then be used again, for another commit. What was published under it never is again. Snapshots that had it
    /// cannot be rolled back to.
    Release {
        /// The source package
        package: String,
        /// Its version
        version: String,
        /// Why, for the audit trail
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Answer for a build that another pocket could not have made itself, so that it may be copied there
    ///
    /// Look at it by 'explain JOB' first. What is said holds until it is taken back, or the
    /// archive no longer has the build.
    Vouch {
        /// The source package
        package: String,
        /// Its version
        version: String,
        /// The pocket that may have it; every pocket, if none is named
        #[arg(long)]
        pocket: Option<String>,
        /// Take back what was said before, for the pocket or altogether. Pockets keep what they
        /// have already
        #[arg(long)]
        revoke: bool,
        /// Why, for the audit trail
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// The longest reason.
const LONGEST_REASON: usize = 1000;

/// Runs the verb.
pub fn run(session: &mut Session, verb: &Archive) -> Result<Exit> {
    session.local_only("archive")?;
    match verb {
        Archive::Snapshots { suite } => list(session, &suite.parse()?),
        Archive::Rollback { suite, number } => rollback(session, &suite.parse()?, *number),
        Archive::Gc => collect(session),
        Archive::Release { package, version, reason } => {
            release(session, &package.parse()?, &version.parse()?, one_line(reason)?)
        }
        Archive::Vouch { package, version, pocket, revoke, reason } => {
            let config = session.config.clone();
            let pocket = pocket.as_deref().map(|pocket| config.pocket(pocket).map(|(name, _)| name.clone()));
            let word = Word {
                package: package.parse()?,
                version: version.parse()?,
                pocket: pocket.transpose()?,
                reason: one_line(reason)?,
            };
            if *revoke { word.revoke(session) } else { word.give(session) }
        }
    }
}

fn list(session: &Session, suite: &Suite) -> Result<Exit> {
    let db = session.record.db();
    if contents::suite(db, suite)?.is_none() {
        return Err(Error::invalid(format!("there is no suite {suite}: 'pockets' lists them")).into());
    }
    let all = snapshots::of_suite(db, suite)?;
    if session.json {
        session.print_json(&all)?;
        return Ok(Exit::Ok);
    }
    let row = |s: &snapshots::Snapshot| [s.number.to_string(), time(s.at), s.packages.to_string(), s.note.clone()];
    table(["SNAPSHOT", "SINCE", "PACKAGES", "MADE BY"], &all.iter().map(row).collect::<Vec<_>>())?;
    Ok(Exit::Ok)
}

fn rollback(session: &mut Session, suite: &Suite, number: i64) -> Result<Exit> {
    let publisher = Publisher::open(&session.config)?;
    let (done, troubles) = publisher.rollback(&session.config, suite, number, &session.who)?;
    session.log.event(
        Severity::Warning,
        "rollback",
        &[("suite", suite.as_str()), ("to", &number.to_string()), ("by", session.who.as_str())],
    );
    report(&troubles)?;
    if session.json {
        session.print_json(&done)?;
        return Ok(Exit::Ok);
    }
    for (package, from, to) in &done.changed {
        let word =
            |version: &Option<crate::names::Version>| version.as_ref().map_or("nothing".into(), |v| v.to_string());
        session.line(format!("{package}: {} -> {}", word(from), word(to)))?;
    }
    session.line(format!("{suite} has again what snapshot {number} had; it is snapshot {} now", done.now))?;
    Ok(Exit::Ok)
}

fn collect(session: &mut Session) -> Result<Exit> {
    let done = Publisher::open(&session.config)?.collect(&session.config, &session.who)?;
    if session.json {
        session.print_json(&done)?;
    } else {
        session.line(format!(
            "removed {} snapshots and {} versions: {} files, {} MiB; and {} files that no version had",
            done.snapshots.len(),
            done.versions.len(),
            done.files,
            done.bytes >> 20,
            done.strays.len()
        ))?;
    }
    Ok(Exit::Ok)
}

/// A reason that a person gave.
fn one_line(reason: &str) -> Result<&str, Error> {
    let reason = reason.trim();
    if reason.is_empty() || reason.len() > LONGEST_REASON || reason.contains(char::is_control) {
        let text = format!("--reason is a line of text that says why, of at most {LONGEST_REASON} bytes");
        return Err(Error::usage(text));
    }
    Ok(reason)
}

/// What an administrator says of a build, and why.
struct Word<'a> {
    package: PackageName,
    version: Version,
    /// For whom; `None`: every pocket.
    pocket: Option<PocketName>,
    reason: &'a str,
}

impl Word<'_> {
    fn whose(&self) -> &str {
        self.pocket.as_ref().map_or("every pocket", PocketName::as_str)
    }

    /// Answers for the build.
    fn give(&self, session: &mut Session) -> Result<Exit> {
        let Self { package, version, pocket, reason } = self;
        let by = session.who.clone();
        let build = session.write(|tx| {
            let build = self.build(tx)?;
            builds::vouch(tx, package, version, pocket.as_ref(), &by, reason)?;
            self.entry("archive.vouch", &build, &by).append(tx)?;
            Ok(build)
        })?;
        self.log(session, "vouch", &build);
        if session.json {
            session.print_json(&build)?;
            return Ok(Exit::Ok);
        }
        let (job, whose) = (build.job, self.whose());
        session.line(format!("{whose} may have {package} {version} as job {job} has built it for {}", build.pocket))?;
        Ok(Exit::Ok)
    }

    /// Takes back what was said.
    fn revoke(&self, session: &mut Session) -> Result<Exit> {
        let Self { package, version, pocket, .. } = self;
        let by = session.who.clone();
        let (build, left) = session.write(|tx| {
            let build = self.build(tx)?;
            let taken = builds::take_back(tx, package, version, pocket.as_ref())?;
            let left = match pocket {
                Some(pocket) => builds::vouched(tx, package, version, pocket)?.is_some(),
                None => false,
            };
            if taken == 0 {
                let text = match left {
                    true => format!(
                        "what is said of {package} {version} is for every pocket: take it back without --pocket"
                    ),
                    false => format!("nobody answers for {package} {version} for {}", self.whose()),
                };
                return Err(Error::invalid(text).into());
            }
            self.entry("archive.vouch-revoked", &build, &by).append(tx)?;
            Ok((build, left))
        })?;
        self.log(session, "vouch-revoked", &build);
        if session.json {
            session.print_json(&build)?;
            return Ok(Exit::Ok);
        }
        let but = if left { "; what was said for every pocket holds still" } else { "" };
        session.line(format!("nobody answers for {package} {version} for {} any more{but}", self.whose()))?;
        Ok(Exit::Ok)
    }

    fn build(&self, tx: &Transaction) -> Result<Build> {
        let Self { package, version, .. } = self;
        let build = builds::of_version(tx, package, version)?;
        let text = format!("the archive has no {package} {version}: 'history {package}' shows what it had");
        Ok(build.ok_or_else(|| Error::invalid(text))?)
    }

    fn entry(&self, event: &'static str, build: &Build, by: &Principal) -> Entry {
        Entry::new(event)
            .job(build.job)
            .with("by", by.as_str())
            .with("package", self.package.as_str())
            .with("version", self.version.as_str())
            .with("pocket", self.whose())
            .with("reason", self.reason)
    }

    fn log(&self, session: &Session, event: &str, build: &Build) {
        let fields = [
            ("package", self.package.as_str()),
            ("version", self.version.as_str()),
            ("job", &build.job.to_string()),
            ("pocket", self.whose()),
            ("by", session.who.as_str()),
            ("reason", self.reason),
        ];
        session.log.event(Severity::Warning, event, &fields);
    }
}

fn release(session: &mut Session, package: &PackageName, version: &Version, reason: &str) -> Result<Exit> {
    let publisher = Publisher::open(&session.config)?;
    let (done, troubles) = publisher.release(&session.config, package, version, reason, &session.who)?;
    session.log.event(
        Severity::Warning,
        "release",
        &[
            ("package", package.as_str()),
            ("version", version.as_str()),
            ("commit", done.commit.as_str()),
            ("by", session.who.as_str()),
            ("reason", reason),
        ],
    );
    report(&troubles)?;
    if session.json {
        session.print_json(&done)?;
        return Ok(Exit::Ok);
    }
    session.line(format!(
        "{package} {version} no longer names commit {}, and {} files are gone: another commit may have the version",
        done.commit.short(),
        done.files
    ))?;
    Ok(Exit::Ok)
}

/// Says what could not be done after it was committed; the daemon goes on trying.
fn report(troubles: &[String]) -> Result<()> {
    for trouble in troubles {
        writeln!(std::io::stderr(), "not complete yet: {}", text::one_line(trouble))?;
    }
    Ok(())
}
