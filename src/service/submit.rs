//! Brings a commit into a pocket: authorizes, validates, queues. Nothing is changed unless all
//! three succeed.

use std::sync::Arc;

use anyhow::Result;
use rusqlite::{Connection, Transaction};

use crate::Session;
use invirtibuilder_access::acl::Authorized;
use invirtibuilder_api::job::{Job, State};
use invirtibuilder_api::pocket::Held;
use invirtibuilder_api::submit::{
    Manner, PlannedSource, PlannedTarball, Preview, Promotion, QueueBefore, Rebuild, Submission,
    Submitted, Would,
};
use invirtibuilder_api::tokens::TokenVerb;
use invirtibuilder_builder::source::{self, SourcePlan};
use invirtibuilder_core::config::Config;
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::{DomainName, JobId, PackageName, PocketName, Principal, Version};
use invirtibuilder_core::version_rule;
use invirtibuilder_publish::validate::{self, Decision, JobRequest, Valid};
use invirtibuilder_store::jobs::{self, NewJob};
use invirtibuilder_store::{pockets, sources};
use invirtibuilder_system::wake;

/// Submits a commit to a pocket, for principals who may.
pub fn submit_commit(session: &mut Session, submission: &Submission) -> Result<Submitted> {
    Granted::to_submit(session, submission)?.submit(session)
}

/// Says what a submission would come to, and changes nothing.
pub fn preview_submission(session: &mut Session, submission: &Submission) -> Result<Preview> {
    Granted::to_submit(session, submission)?.preview(session)
}

/// Submits to one pocket the commit that another has now.
pub fn promote_package(session: &mut Session, promotion: &Promotion) -> Result<Submitted> {
    Granted::to_promote(session, promotion)?.submit(session)
}

/// Says what a promotion would come to, and changes nothing.
pub fn preview_promotion(session: &mut Session, promotion: &Promotion) -> Result<Preview> {
    Granted::to_promote(session, promotion)?.preview(session)
}

/// Builds what a pocket has once more, as a version of its own, for principals who may submit
/// there.
pub fn rebuild_package(session: &mut Session, rebuild: &Rebuild) -> Result<Submitted> {
    Granted::to_rebuild(session, rebuild)?.submit(session)
}

/// Says what a rebuild would come to, and changes nothing.
pub fn preview_rebuild(session: &mut Session, rebuild: &Rebuild) -> Result<Preview> {
    Granted::to_rebuild(session, rebuild)?.preview(session)
}

/// A wish of somebody who may submit to the pocket.
struct Granted {
    authorized: Authorized,
    package: PackageName,
    wanted: Wanted,
    manner: Manner,
}

/// What is to come into the pocket.
enum Wanted {
    /// The commit that this word names.
    Commit(String),
    /// The version that another pocket has.
    Held(Held),
    /// The next rebuild of the version that the pocket has, and the reason.
    RebuildOf(Held, String),
}

impl Granted {
    fn to_submit(session: &mut Session, submission: &Submission) -> Result<Self> {
        let Submission { pocket, package, commit, manner } = submission;
        let pocket = session.config.pocket(pocket)?.name().clone();
        session.demand(TokenVerb::Submit, Some(&pocket))?;
        let authorized = session.authorize(&pocket)?;
        let package = package.parse()?;
        let wanted = Wanted::Commit(commit.clone());
        Ok(Self { authorized, package, wanted, manner: *manner })
    }

    fn to_promote(session: &mut Session, promotion: &Promotion) -> Result<Self> {
        let Promotion { package, from, to, manner } = promotion;
        let to = session.config.pocket(to)?.name().clone();
        session.demand(TokenVerb::Promote, Some(&to))?;
        let authorized = session.authorize(&to)?;
        let from = session.config.pocket(from)?.name().clone();
        let package: PackageName = package.parse()?;
        let wanted = Wanted::Held(held(session, &from, &package)?);
        Ok(Self { authorized, package, wanted, manner: *manner })
    }

    fn to_rebuild(session: &mut Session, rebuild: &Rebuild) -> Result<Self> {
        let Rebuild { pocket, package, reason, manner } = rebuild;
        let pocket = session.config.pocket(pocket)?.name().clone();
        session.demand(TokenVerb::Rebuild, Some(&pocket))?;
        let authorized = session.authorize(&pocket)?;
        let package: PackageName = package.parse()?;
        let held = held(session, &pocket, &package)?;
        let wanted = Wanted::RebuildOf(held, checked_reason(reason)?);
        Ok(Self { authorized, package, wanted, manner: *manner })
    }

    /// Looks the wish up, checks every rule, and plans the source package if there will be a build.
    fn check(self, session: &Session) -> Result<Candidate> {
        let (db, config) = (session.record.db(), &session.config);
        let commit = match &self.wanted {
            Wanted::Commit(word) => word.as_str(),
            Wanted::Held(held) | Wanted::RebuildOf(held, _) => held.commit.as_str(),
        };
        let pocket = self.authorized.pocket();
        let (mut request, repo) = JobRequest::read(db, config, pocket, self.package, commit)?;
        match &self.wanted {
            Wanted::Commit(_) => {}
            Wanted::Held(held) => {
                if version_rule::is_rebuild(&held.version, &request.version) {
                    request.version = held.version.clone();
                    request.why = jobs::get(db, held.job)?.why;
                }
            }
            Wanted::RebuildOf(held, reason) => {
                request.version = next_rebuild(db, &request, held)?;
                request.why = Some(reason.clone());
            }
        }
        let mut candidate = Candidate::check(db, config, &repo, request)?;
        if let Wanted::Held(held) = &self.wanted {
            let from = config.domain(&held.pocket);
            candidate.from =
                (from != candidate.request.domain).then(|| (held.pocket.clone(), from));
        }
        if let Decision::Run(Valid::Build) = candidate.decision {
            let source = validate::plan_submission(db, config, &repo, &candidate.request)?;
            candidate.source = Some(source);
        }
        Ok(candidate)
    }

    fn submit(self, session: &mut Session) -> Result<Submitted> {
        let Manner { priority, follow } = self.manner;
        if priority {
            session.authorize_priority(self.authorized.pocket())?;
        }
        if follow {
            // Before anything is changed.
            session.take_place()?;
        }
        let candidate = Arc::new(self.check(session)?);
        let (config, who) = (session.config.clone(), session.who.clone());
        candidate.pin(&config)?;
        let (wish, settings) = (candidate.clone(), config.clone());
        let queued = session.write_together(move |tx| {
            let queued = wish.queue(tx, &settings, &who, OpenJobs::Limited)?;
            let urgent = queued.can_hurry().filter(|_| priority);
            urgent.map_or(Ok(()), |id| jobs::hurry(tx, id, &who))?;
            Ok(queued)
        })?;
        if let Queued::New(id) = queued {
            // A job that ended meanwhile may have let go of what this one needs, too.
            candidate.pin(&config)?;
            session.ring();
            log_submission(session, &candidate.request, id);
        }
        answer(session, &candidate.request, &queued)
    }

    fn preview(self, session: &mut Session) -> Result<Preview> {
        if self.manner.priority {
            session.authorize_priority(self.authorized.pocket())?;
        }
        Ok(preview(self.check(session)?))
    }
}

/// Finds what a pocket has of a package.
pub(crate) fn held(session: &Session, pocket: &PocketName, package: &PackageName) -> Result<Held> {
    let held = pockets::held(session.record.db(), pocket, package)?;
    Ok(held.ok_or_else(|| {
        Error::invalid(format!("{pocket} has no {package}: 'packages {pocket}' lists what it has"))
    })?)
}

/// The longest reason of a rebuild or a removal, in characters.
const LONGEST_REASON: usize = 200;

/// Refuses a reason that a changelog or a commit message cannot tell.
pub(crate) fn checked_reason(reason: &str) -> Result<String, Error> {
    let reason = reason.trim();
    if reason.is_empty()
        || reason.chars().any(char::is_control)
        || reason.chars().count() > LONGEST_REASON
    {
        return Err(Error::invalid(format!(
            "--reason: write in one line of up to {LONGEST_REASON} characters why: others will read it"
        )));
    }
    Ok(reason.to_owned())
}

/// Finds the version of the next rebuild of what a pocket has: a number that no pocket of its domain
/// used.
fn next_rebuild(db: &Connection, request: &JobRequest, held: &Held) -> Result<Version> {
    let mut id = Identity { version: version_rule::rebuild(&held.version)?, ..request.identity() };
    while pockets::known(db, &id)?.is_some() {
        id.version = version_rule::rebuild(&id.version)?;
    }
    Ok(id.version)
}

/// A request that is valid, and what the service would do about it.
pub(crate) struct Candidate {
    request: JobRequest,
    /// The pocket that has it and its domain, if that is another one.
    from: Option<(PocketName, DomainName)>,
    decision: Decision,
    source: Option<SourcePlan>,
}

/// Whether `build.open_jobs` limits a submitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenJobs {
    /// It does.
    Limited,
    /// It does not: an administrator mends something.
    Unlimited,
}

/// What came of a candidate.
#[derive(Debug)]
pub(crate) enum Queued {
    /// There is a new job.
    New(JobId),
    /// There was a job already, and it has not ended.
    UnderWay(Box<Job>),
    /// The pocket has the commit already, by this job.
    AlreadyThere(JobId),
}

impl Candidate {
    /// Looks a request up and checks every rule, but for what the source package is made of.
    pub fn read(
        db: &Connection,
        config: &Config,
        pocket: &PocketName,
        package: PackageName,
        commit: &str,
    ) -> Result<Self> {
        let (request, repo) = JobRequest::read(db, config, pocket, package, commit)?;
        Self::check(db, config, &repo, request)
    }

    fn check(
        db: &Connection,
        config: &Config,
        repo: &git2::Repository,
        request: JobRequest,
    ) -> Result<Self> {
        let decision = validate::check_in(db, config, repo, &request, None)?;
        Ok(Self { request, from: None, decision, source: None })
    }

    /// Queues a job for it, unless there is one; the record is asked again, for others may have
    /// written to it since.
    pub fn queue(
        &self,
        tx: &Transaction,
        config: &Config,
        by: &Principal,
        open_jobs: OpenJobs,
    ) -> Result<Queued> {
        match validate::check_record(tx, config, &self.request, None)? {
            Decision::Run(_) => {}
            Decision::UnderWay(job) => return Ok(Queued::UnderWay(job)),
            Decision::AlreadyThere(job) => return Ok(Queued::AlreadyThere(job)),
        }
        if open_jobs == OpenJobs::Limited {
            validate::check_open_jobs(tx, config, by)?;
        }
        let JobRequest { pocket, domain, package, commit, version, written, why } =
            self.request.clone();
        let principal = by.clone();
        let new = NewJob { pocket, domain, package, commit, version, written, why, principal };
        let id = jobs::enqueue(tx, &new)?;
        if let Some(source) = &self.source {
            sources::fix(tx, id, &validate::planned(source))?;
        }
        Ok(Queued::New(id))
    }

    /// Keeps what the plan of the source package needs from `git gc`.
    fn pin(&self, config: &Config) -> Result<()> {
        let repo = config.git.package(&self.request.package);
        self.source.as_ref().map_or(Ok(()), |source| source::pin(&repo, source))
    }
}

impl Queued {
    /// Returns the job.
    pub fn job(&self) -> JobId {
        match self {
            Queued::New(id) | Queued::AlreadyThere(id) => *id,
            Queued::UnderWay(job) => job.id,
        }
    }

    /// Returns the job, if it can go before the other jobs of its pocket and does not yet.
    fn can_hurry(&self) -> Option<JobId> {
        match self {
            Queued::New(id) => Some(*id),
            Queued::UnderWay(job) if job.state == State::Queued && !job.priority => Some(job.id),
            Queued::UnderWay(_) | Queued::AlreadyThere(_) => None,
        }
    }
}

fn log_submission(session: &Session, request: &JobRequest, job: JobId) {
    tracing::info!(
        %job,
        principal = session.who.as_str(),
        pocket = %request.pocket,
        package = %request.package,
        commit = %request.commit,
        version = %request.version,
        "submitted"
    );
}

fn answer(session: &Session, request: &JobRequest, queued: &Queued) -> Result<Submitted> {
    let (queue, state) = match queued {
        Queued::New(id) => {
            let ahead = jobs::ahead(session.record.db(), *id)?;
            let daemon = wake::is_heard(&session.config.wake_socket());
            (Some(QueueBefore { ahead, daemon }), State::Queued)
        }
        Queued::UnderWay(job) => (None, job.state),
        Queued::AlreadyThere(_) => (None, State::Published),
    };
    let JobRequest { pocket, package, commit, version, written, .. } = request.clone();
    let (job, new) = (queued.job(), queue.is_some());
    Ok(Submitted { queue, job, new, state, pocket, package, version, written, commit })
}

fn preview(candidate: Candidate) -> Preview {
    let Candidate { request, from, decision, source } = candidate;
    let archive = match &request.domain {
        domain if domain.is_main() => "the archive".to_owned(),
        domain => format!("domain {domain}"),
    };
    let (would, why) = match decision {
        Decision::Run(Valid::Build) => {
            let why = match from {
                Some((pocket, domain)) => format!(
                    "would be built, for {pocket} is in domain {domain}, and nothing is copied from one domain into another"
                ),
                None => format!("would be built, for this version is new to {archive}"),
            };
            (Would::Build, why)
        }
        Decision::Run(Valid::Copy { from: Some(from) }) => {
            (Would::Copy, format!("would be copied from {from}, not built again"))
        }
        Decision::Run(Valid::Copy { from: None }) => {
            (Would::Copy, "would be taken from the pool, for it was built before".to_owned())
        }
        Decision::UnderWay(job) => (Would::Nothing, format!("is {} as job {}", job.state, job.id)),
        Decision::AlreadyThere(job) => (Would::Nothing, format!("is already there, by job {job}")),
    };
    let JobRequest { pocket, package, commit, version, written, .. } = request;
    let source = source.map(describe_plan);
    Preview { commit, package, pocket, source, version, why, would, written }
}

fn describe_plan(plan: SourcePlan) -> PlannedSource {
    let tarball = |tarball: source::Tarball| PlannedTarball {
        origin: tarball.from().to_owned(),
        name: tarball.name,
        sha256: tarball.sha256,
    };
    PlannedSource {
        extra: plan.extra,
        layout: plan.layout,
        notes: plan.notes,
        tarballs: plan.tarballs.into_iter().map(tarball).collect(),
    }
}
