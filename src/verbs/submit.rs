//! `submit`: authorize, validate, queue. Nothing is changed unless all three succeed.

use anyhow::Result;
use serde_json::json;

use super::follow;
use crate::acl::Authorized;
use crate::error::{Error, Exit};
use crate::log::Severity;
use crate::names::{JobId, PackageName};
use crate::record::jobs::{self, NewJob};
use crate::record::{State, sources};
use crate::session::Session;
use crate::source::{Layout, Plan as SourcePlan};
use crate::validate::{self, Plan, Request, Valid};

/// Arguments of `submit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it goes
    pocket: String,
    /// The source package
    package: String,
    /// A commit id, an abbreviated one, a branch or a tag
    commit: String,
    #[command(flatten)]
    how: How,
}

/// How something is submitted.
#[derive(Debug, clap::Args)]
pub struct How {
    /// Follow the job to its end; exit 1 if it fails
    #[arg(long)]
    wait: bool,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Go before the pocket's other jobs; for those whom the pocket's list "priority" admits
    #[arg(long)]
    priority: bool,
}

/// Runs the verb.
pub fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let pocket = session.config.pocket(&args.pocket)?.0.clone();
    let authorized = session.authorize(&pocket)?;
    let package: PackageName = args.package.parse()?;
    submit(session, &authorized, package, &args.commit, &args.how)
}

/// Submits on behalf of somebody who may: `promote` ends here too.
pub fn submit(
    session: &mut Session,
    authorized: &Authorized,
    package: PackageName,
    commit: &str,
    how: &How,
) -> Result<Exit> {
    let How { wait, dry_run, priority } = *how;
    if priority {
        session.authorize_priority(authorized.pocket())?;
    }
    // Before anything is changed.
    let _place = if wait && !dry_run { Some(session.place()?) } else { None };
    let request = Request::read(&session.config, authorized.pocket(), package, commit)?;
    let plan = validate::check(session.record.db(), &session.config, &request, None)?;
    let source = match &plan {
        Plan::Run(Valid::Build) => Some(validate::plan_submission(session.record.db(), &session.config, &request)?),
        Plan::Run(Valid::Copy { .. }) | Plan::UnderWay(_) | Plan::AlreadyThere(_) => None,
    };
    if dry_run {
        return explain(session, &request, &plan, source.as_ref());
    }
    let pin = |session: &Session| -> Result<()> {
        let repo = session.config.git.package(&request.package);
        source.as_ref().map_or(Ok(()), |source| crate::source::pin(&repo, source))
    };
    pin(session)?;
    let new = NewJob {
        pocket: request.pocket.clone(),
        package: request.package.clone(),
        commit: request.commit.clone(),
        version: request.version.clone(),
        principal: session.who.clone(),
    };
    let config = session.config.clone();
    let (plan, id) = session.write(|tx| {
        let plan = validate::check_record(tx, &config, &request, None)?;
        let id = match &plan {
            Plan::Run(_) => {
                validate::check_open_jobs(tx, &config, &new.principal)?;
                let id = jobs::enqueue(tx, &new)?;
                source.as_ref().map_or(Ok(()), |source| sources::fix(tx, id, source))?;
                Some(id)
            }
            Plan::UnderWay(_) | Plan::AlreadyThere(_) => None,
        };
        let urgent = match &plan {
            Plan::UnderWay(job) if job.state == State::Queued && !job.priority => Some(job.id),
            _ => id,
        };
        urgent.filter(|_| priority).map_or(Ok(()), |id| jobs::hurry(tx, id, &new.principal))?;
        Ok((plan, id))
    })?;
    if let Some(id) = id {
        // A job that ended meanwhile may have let go of what this one needs, too.
        pin(session)?;
        session.ring();
        let (id, who) = (id.to_string(), session.who.as_str());
        let (pocket, package) = (request.pocket.as_str(), request.package.as_str());
        let (commit, version) = (request.commit.as_str(), request.version.as_str());
        let fields = [
            ("job", &id[..]),
            ("principal", who),
            ("pocket", pocket),
            ("package", package),
            ("commit", commit),
            ("version", version),
        ];
        session.log.event(Severity::Info, "submitted", &fields);
    }
    let what = describe(&request);
    match (&plan, id) {
        (Plan::Run(_), Some(id)) => {
            let ahead = jobs::ahead(session.record.db(), id)?;
            let place = if ahead.0 == 0 { "next in line".to_owned() } else { format!("{ahead} ahead of it") };
            let daemon = crate::wake::is_heard(&session.config.wake_socket());
            let place = if daemon { place } else { format!("{place}; no daemon runs, it starts when one does") };
            if session.json {
                session.print_json(
                    &json!({ "job": id, "state": "queued", "ahead": ahead, "new": true, "daemon": daemon }),
                )?;
            } else {
                session.line(format!("job {id}: {what}: queued, {place}"))?;
            }
            wait_for(session, id, wait)
        }
        (Plan::UnderWay(job), _) => {
            if session.json {
                session.print_json(&json!({ "job": job.id, "state": job.state, "new": false }))?;
            } else {
                session.line(format!("job {}: {what}: already {}", job.id, job.state))?;
            }
            wait_for(session, job.id, wait)
        }
        (Plan::AlreadyThere(job), _) => {
            if session.json {
                session.print_json(&json!({ "job": job, "state": "published", "new": false }))?;
            } else {
                session.line(format!("job {job}: {what}: already there"))?;
            }
            Ok(Exit::Ok)
        }
        (Plan::Run(_), None) => Err(Error::bug("a valid request was not queued").into()),
    }
}

fn wait_for(session: &mut Session, id: JobId, wait: bool) -> Result<Exit> {
    if wait { follow::job(session, id) } else { Ok(Exit::Ok) }
}

fn describe(request: &Request) -> String {
    format!("{} {} ({}) for {}", request.package, request.version, request.commit.short(), request.pocket)
}

fn explain(session: &Session, request: &Request, plan: &Plan, source: Option<&SourcePlan>) -> Result<Exit> {
    let what = describe(request);
    let (word, text) = match plan {
        Plan::Run(Valid::Build) => ("build", "would be built, for this version is new to the archive".to_owned()),
        Plan::Run(Valid::Copy { from: Some(from) }) => {
            ("copy", format!("would be copied from {from}, not built again"))
        }
        Plan::Run(Valid::Copy { from: None }) => {
            ("copy", "would be taken from the pool, for it was built before".to_owned())
        }
        Plan::UnderWay(job) => ("none", format!("is {} as job {}", job.state, job.id)),
        Plan::AlreadyThere(job) => ("none", format!("is already there, by job {job}")),
    };
    if session.json {
        session.print_json(&json!({
            "pocket": request.pocket, "package": request.package, "version": request.version,
            "commit": request.commit, "would": word, "why": text, "source": source.map(described),
        }))?;
        return Ok(Exit::Ok);
    }
    session.line(format!("{what} {text}"))?;
    let Some(source) = source else { return Ok(Exit::Ok) };
    let layout = source.layout.map_or("found out when the source package is made", Layout::as_str);
    session.line(format!("  layout: {layout}"))?;
    for tarball in &source.tarballs {
        session.line(format!("  {} from {}", tarball.name, tarball.from()))?;
    }
    for note in &source.notes {
        session.line(format!("  {note}"))?;
    }
    for path in &source.extra {
        session.line(format!("  only in a tarball: {path}"))?;
    }
    Ok(Exit::Ok)
}

fn described(source: &SourcePlan) -> serde_json::Value {
    let tarballs = source
        .tarballs
        .iter()
        .map(|tarball| json!({ "name": tarball.name, "origin": tarball.from(), "sha256": tarball.sha256 }));
    json!({
        "layout": source.layout, "tarballs": tarballs.collect::<Vec<_>>(), "notes": source.notes, "extra": source.extra,
    })
}
