//! `submit`: authorize, validate, queue. Nothing is changed unless all three succeed.

use anyhow::Result;
use serde_json::json;

use super::follow;
use crate::acl::Authorized;
use crate::error::{Error, Exit};
use crate::log::Severity;
use crate::names::{JobId, PackageName};
use crate::record::jobs::{self, NewJob};
use crate::session::Session;
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
    /// Follow the job to its end; exit 1 if it fails
    #[arg(long)]
    wait: bool,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
pub fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let pocket = session.config.pocket(&args.pocket)?.0.clone();
    let authorized = session.authorize(&pocket)?;
    let package: PackageName = args.package.parse()?;
    submit(session, &authorized, package, &args.commit, args.wait, args.dry_run)
}

/// Submits on behalf of somebody who may: `promote` ends here too.
pub fn submit(
    session: &mut Session,
    authorized: &Authorized,
    package: PackageName,
    commit: &str,
    wait: bool,
    dry_run: bool,
) -> Result<Exit> {
    let request = Request::read(&session.config, authorized.pocket(), package, commit)?;
    let plan = validate::check(session.record.db(), &session.config, &request, None)?;
    if dry_run {
        return explain(session, &request, &plan);
    }
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
            Plan::Run(_) => Some(jobs::enqueue(tx, &new)?),
            Plan::UnderWay(_) | Plan::AlreadyThere(_) => None,
        };
        Ok((plan, id))
    })?;
    if let Some(id) = id {
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
            let place = if ahead == 0 { "next in line".to_owned() } else { format!("{ahead} ahead of it") };
            if session.json {
                session.print_json(&json!({ "job": id, "state": "queued", "ahead": ahead, "new": true }))?;
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

fn explain(session: &Session, request: &Request, plan: &Plan) -> Result<Exit> {
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
            "commit": request.commit, "would": word, "why": text,
        }))?;
    } else {
        session.line(format!("{what} {text}"))?;
    }
    Ok(Exit::Ok)
}
