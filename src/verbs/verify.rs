//! `verify`: whether database, Git and archive agree, and what to do where they do not.

use anyhow::Result;
use serde_json::json;

use crate::error::Exit;
use crate::publish::Publisher;
use crate::session::Session;
use crate::verify::{self, Deep, Report};

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Apply the record again where something is not as it says
    #[arg(long)]
    repair: bool,
    /// With --repair: take branches, superproject and tags as they are, if they pass validation
    #[arg(long, requires = "repair")]
    adopt: bool,
    /// Read and hash every file of the pool
    #[arg(long)]
    deep: bool,
    /// Build again what this job has published, in the same chroots, and compare the packages bit by bit
    #[arg(long, value_name = "JOB", allow_negative_numbers = true, conflicts_with_all = ["repair", "deep"])]
    rebuild: Option<String>,
    /// Make every source package that pockets have again, and name those that would be refused now
    #[arg(long, conflicts_with_all = ["repair", "deep", "rebuild"])]
    sources: bool,
}

/// Runs the verb: exit 0 if everything agrees (now), 1 if not.
pub fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    session.local_only("verify")?;
    if let Some(job) = &args.rebuild {
        return super::rebuild::run(session, job);
    }
    if args.sources {
        return super::sources::run(session);
    }
    let publisher = Publisher::open(&session.config)?;
    if args.repair {
        return repair(session, &publisher, args);
    }
    // What is published meanwhile is no difference: what is found is looked at again with nobody publishing.
    let config = session.config.clone();
    let deep = if args.deep { Deep::All } else { Deep::none() };
    let mut report = verify::check(&config, &publisher, &mut session.record, &deep)?;
    if !report.differences.is_empty() {
        let again = Deep::These(report.differences.into_iter().map(|difference| difference.place).collect());
        let mut record = publisher.exclusive(&config)?;
        report = verify::check(&config, &publisher, &mut record, if args.deep { &again } else { &deep })?;
    }
    show(session, &report)
}

fn repair(session: &mut Session, publisher: &Publisher, args: &Args) -> Result<Exit> {
    let (mended, after) = verify::mend(&session.config, publisher, args.adopt, &session.who)?;
    session.ring();
    if session.json {
        let done: Vec<_> = mended
            .iter()
            .map(|one| {
                let (done, failed) = match &one.done {
                    Ok(done) => (Some(done.clone()), None),
                    Err(error) => (None, Some(format!("{error:#}"))),
                };
                json!({ "place": one.difference.place, "text": one.difference.text, "done": done, "failed": failed })
            })
            .collect();
        session.print_json(&json!({ "mended": done, "left": after }))?;
        return Ok(exit(&after));
    }
    for one in &mended {
        let (place, text) = (&one.difference.place, &one.difference.text);
        match &one.done {
            Ok(done) => session.line(format!("{place}: {text}: {done}"))?,
            Err(error) => session.line(format!("{place}: {text}: not mended: {error:#}"))?,
        }
    }
    show(session, &after)
}

fn show(session: &Session, report: &Report) -> Result<Exit> {
    if session.json {
        session.print_json(report)?;
        return Ok(exit(report));
    }
    for difference in &report.differences {
        session.line(format!("{}: {}", difference.place, difference.text))?;
    }
    for warning in &report.warnings {
        session.line(format!("warning: {}: {}", warning.place, warning.text))?;
    }
    let Report { packages, suites, files, differences, .. } = report;
    let compared = format!("{packages} packages, {suites} suites, {files} files of the pool");
    match differences.len() {
        0 => session.line(format!("database, Git and archive agree: {compared}"))?,
        1 => session.line(format!("1 difference: {compared}"))?,
        n => session.line(format!("{n} differences: {compared}"))?,
    }
    Ok(exit(report))
}

fn exit(report: &Report) -> Exit {
    if report.differences.is_empty() { Exit::Ok } else { Exit::JobFailed }
}
