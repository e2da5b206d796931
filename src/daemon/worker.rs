//! Carries one claimed job to its end. Every job ends here, in [`carry_out_job`], in one of four
//! ways:
//! published, failed, cancelled, or given back to the queue because the daemon stops.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tracing::{Instrument, Span};

use crate::build_log::{say_each, say_plan, say_proof};
use crate::shared::Shared;
use crate::workspace::Workspace;
use invirtibuilder_access::acl::{self, Authorized};
use invirtibuilder_api::builds::{ComparedPackage, Reproduced};
use invirtibuilder_api::job::Job;
use invirtibuilder_api::job::State;
use invirtibuilder_archive::Archive;
use invirtibuilder_builder as builder;
use invirtibuilder_builder::slurm::{Cluster, ClusterBuild, KeepingOnNodes, WhichBuild};
use invirtibuilder_builder::source::{self, Branch};
use invirtibuilder_builder::{BuildPaths, Builder, Target};
use invirtibuilder_core::config::{Config, ConfiguredPocket, ExecutorSetting, Isolation};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::facts;
use invirtibuilder_core::facts::SourcePackage;
use invirtibuilder_core::failpoint::{Point, reach};
use invirtibuilder_core::names::{Architecture, Principal};
use invirtibuilder_environment::{Environment, programs};
use invirtibuilder_publish::validate::{self, Decision, JobRequest, Valid};
use invirtibuilder_publish::{Item, copies};
use invirtibuilder_sandbox::machine::kvm;
use invirtibuilder_service::reproduction::{self, Original};
use invirtibuilder_store::audit::AuditEntry;
use invirtibuilder_store::chroots;
use invirtibuilder_store::jobs;
use invirtibuilder_store::sources::{self, Conditions};
use invirtibuilder_store::{builds, contents, pockets, pool};
use invirtibuilder_system::architectures;
use invirtibuilder_system::subprocess::CancellationToken;

/// Carries the job out.
pub async fn carry_out_job(
    (shared, config, cluster): (Arc<Shared>, Arc<Config>, Option<Arc<Cluster>>),
    job: Job,
    cancel: CancellationToken,
) {
    let mut task = Task {
        workspace: Workspace::new(&config, job.id),
        state: State::Preparing,
        shared,
        config,
        cluster,
        job,
        cancel,
    };
    task.say("started", None, None);
    let done = task.carry_out().await;
    let mut complained = false;
    // A full disk has room again some time; until then the job stays ours.
    while let Err(error) = task.end(&done) {
        if !complained {
            task.shared.complain("a job's end cannot be recorded", &error);
            complained = true;
        }
        if error.is::<jobs::LostRace>() || task.cancel.is_cancelled() {
            // The next daemon takes it back.
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
    // A disk can need long for it: nobody waits.
    let workspace = task.workspace.gone();
    let (config, package) = (task.config.clone(), task.job.package.clone());
    let rest = async move {
        let kept = task.shared.read(|db| sources::pinned(db, &package));
        if let Err(error) =
            kept.and_then(|kept| source::unpin(&config.git.package(&package), &kept))
        {
            task.shared.complain("what a job kept from being collected cannot be let go", &error);
        }
        let removed = match workspace {
            Ok(workspace) => workspace.remove().await,
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            task.shared.complain("a job's workspace cannot be removed", &error);
        }
    };
    tokio::spawn(rest.in_current_span());
}

/// The attempts of a job whose logs are kept: its last ones.
const KEPT_LOGS: i64 = 5;

/// How long after an end could not be recorded that is tried again.
const AGAIN: Duration = Duration::from_secs(2);

struct Task {
    shared: Arc<Shared>,
    config: Arc<Config>,
    cluster: Option<Arc<Cluster>>,
    job: Job,
    cancel: CancellationToken,
    state: State,
    workspace: Workspace,
}

impl Task {
    /// Tells the system log of a step of the job, and of how it failed or who ended it.
    fn say(&self, event: &str, failure: Option<&Failure>, by: Option<&Principal>) {
        tracing::info!(
            pocket = %self.job.pocket,
            package = %self.job.package,
            version = %self.job.version,
            commit = %self.job.commit,
            principal = self.job.principal.as_str(),
            failure = failure.map(|failure| failure.kind.as_str()),
            why = failure.map(|failure| &failure.text[..]),
            by = by.map(Principal::as_str),
            "{event}"
        );
    }

    async fn carry_out(&mut self) -> Result<(), Failure> {
        let config = self.config.clone();
        let pocket = config.pocket_of_job(&self.job.pocket)?;
        let valid = self.check_again(pocket)?;
        reach(Point::JobChecked)?;
        let built = match valid {
            Valid::Copy { from } => {
                if let Some(from) = &from {
                    self.shared.write_for_job(|tx| jobs::set_copied_from(tx, self.job.id, from))?;
                }
                self.prove_source_of_copy(pocket).await?;
                self.prove_copy(pocket).await?;
                None
            }
            // A daemon that died while it published has left it: it is not built again.
            Valid::Build if self.was_built(pocket)? => Some(self.workspace.built()),
            Valid::Build => Some(self.build(pocket).await?),
        };
        self.advance(State::Publishing)?;
        reach(Point::JobPublishing)?;
        self.publish(built).await
    }

    fn was_built(&self, pocket: ConfiguredPocket<'_>) -> Result<bool> {
        if !self.workspace.built().exists()
            || self.shared.read(|db| jobs::publications(db, self.job.id))? == 0
        {
            return Ok(false);
        }
        // The configuration may be another one now, and an older release wrote down less.
        let id = self.job.id;
        if !self.shared.read(|db| copies::is_as_now(db, &self.config, pocket, id))? {
            return Ok(false);
        }
        // It was built twice if it had to be.
        Ok(!pocket.settings().require_reproducible || self.workspace.again().exists())
    }

    fn advance(&mut self, to: State) -> Result<(), Failure> {
        if self.cancel.is_cancelled() {
            return Err(Failure::new(FailureKind::System, "it was told to stop"));
        }
        self.shared.write_for_job(|tx| jobs::advance(tx, self.job.id, self.state, to))?;
        self.state = to;
        Ok(())
    }

    /// Checks what was true at submission and may not be now: who may submit, and every rule of
    /// validation.
    fn check_again(&self, pocket: ConfiguredPocket<'_>) -> Result<Valid, Failure> {
        let job = &self.job;
        let invalid = |text: String| Failure::new(FailureKind::Invalid, text);
        if let Some(why) = pocket.settings().contradiction() {
            return Err(invalid(format!("pocket {pocket}: {why}")));
        }
        self.authorize_again()?;
        let request = JobRequest::read_again(&self.config, job)
            .map_err(|error| invalid(error.to_string()))?;
        let decision =
            self.shared.read(|db| validate::check(db, &self.config, &request, Some(job.id)));
        match decision {
            Ok(Decision::Run(valid)) => Ok(valid),
            Ok(Decision::UnderWay(other)) => {
                Err(invalid(format!("job {} is {} for the same commit", other.id, other.state)))
            }
            Ok(Decision::AlreadyThere(by)) => {
                Err(invalid(format!("{} has this commit already, by job {by}", job.pocket)))
            }
            Err(error) if error.is::<invirtibuilder_core::error::Error>() => {
                Err(invalid(error.to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Checks that the principal who submitted it may submit still. The decision is written down
    /// like the first one.
    fn authorize_again(&self) -> Result<(), Failure> {
        let job = &self.job;
        // The ACL may run programs.
        let decision = tokio::task::block_in_place(|| {
            acl::authorize(&self.config, &job.pocket, &job.principal)
        });
        let why = decision.as_ref().map(Authorized::why).map_err(|refusal| &refusal.detail[..]);
        let request = format!("submit to {}", job.pocket);
        let entry =
            invirtibuilder_service::decision(why, &job.principal, &request, "daemon").job(job.id);
        self.shared.write_for_job(|tx| entry.append(tx))?;
        decision.map(drop).map_err(|refusal| Failure::new(FailureKind::Denied, refusal.sentence))
    }

    /// Source package, then binaries; where they are. That the source package is the commit is
    /// proven meanwhile.
    async fn build(&mut self, pocket: ConfiguredPocket<'_>) -> Result<PathBuf, Failure> {
        let log = self.begin().await?;
        let mut request = self.build_request(pocket, &log);
        let (asked, from) = self.source_request(pocket, &request).await?;
        let is_away = self.config.is_on_slurm(pocket.settings());
        let turn = if is_away { self.shared.sources.acquire().await.ok() } else { None };
        let source = source::make(&asked, &self.cancel).await?;
        drop(turn);
        self.keep_source(&from, &source, &request)?;
        reach(Point::SourceMade)?;
        self.advance(State::Building)?;
        reach(Point::JobBuilding)?;
        request.dsc = source.dsc.clone();
        request.source_files = source.files.clone();
        let builder = Builder::new(&self.config)?;
        let (unshare, layers) = (builder.unshare(), self.config.chroots.layers);
        // A node says itself whether it can keep any.
        let has_layers = if is_away { layers > 0 } else { unshare.are_layers_kept() };
        if has_layers && request.isolation == Isolation::Unshare {
            let suites: Vec<_> = request.local.iter().map(|local| local.suite.clone()).collect();
            match self.shared.read(|db| contents::names(db, &suites)) {
                Ok(names) => request.others = Some(names),
                Err(error) => self.shared.complain("the names in suites cannot be read", &error),
            }
        }
        let targets = builder.targets(&request)?;
        let environments = targets.iter().filter_map(|target| target.environment.as_ref());
        let manifests: Vec<_> = environments.map(|it| it.manifest().clone()).collect();
        let left_out = Vec::from_iter(request.left_out()?);
        self.shared.write_for_job(|tx| {
            sources::add_notes(tx, self.job.id, &left_out)?;
            chroots::set(tx, self.job.id, &manifests)
        })?;
        say_each(&request, &left_out)?;
        let stop = self.cancel.child_token();
        let proof = async {
            let _turn = if is_away { self.shared.sources.acquire().await.ok() } else { None };
            let proof = source::prove(&asked, &source, &stop).await;
            if proof.is_err() {
                stop.cancel();
            }
            proof
        };
        let built = async {
            let (with, what) = ((pocket, &builder), (&request, &targets[..]));
            let nodes = self.build_once(with, what, None, &stop).await?;
            if pocket.settings().require_reproducible {
                self.build_second(with, what, &nodes, &stop).await?;
            }
            Ok::<_, Failure>(())
        };
        let (proof, built) = tokio::join!(proof, built);
        self.say_how_it_was_carried_out(pocket);
        self.keep_given(&request)?;
        let proof = proof?;
        self.shared.write_for_job(|tx| sources::proven(tx, self.job.id, &proof))?;
        // The log of a build that failed may be full.
        built?;
        say_proof(&request, &proof)?;
        reach(Point::BuildMade)?;
        self.workspace.keep()?;
        reach(Point::BuildKept)?;
        Ok(self.workspace.built())
    }

    /// Builds where the pocket says. Returns the nodes of a cluster that did it; a second build is on
    /// other nodes than the first.
    async fn build_once(
        &self,
        (pocket, builder): (ConfiguredPocket<'_>, &Builder),
        (request, targets): (&builder::BuildRequest, &[Target]),
        first: Option<&BTreeMap<Architecture, String>>,
        cancel: &CancellationToken,
    ) -> Result<BTreeMap<Architecture, String>, Failure> {
        let ExecutorSetting::Slurm(place) = self.config.executor_of(pocket.settings()) else {
            builder.build(request, targets, cancel).await?;
            return Ok(BTreeMap::new());
        };
        let cluster = self.cluster.as_ref().context("the daemon does not listen for nodes")?;
        let chroots = &self.config.chroots;
        let build = ClusterBuild {
            request,
            place,
            job: self.job.id,
            attempt: self.job.attempt,
            in_memory: self.config.in_memory_of_nodes(),
            keeping: KeepingOnNodes { unpacked: chroots.unpacked, layers: chroots.layers },
            builds_here: self.config.builds_here(),
            which: first.map_or(WhichBuild::First, WhichBuild::Second),
        };
        cluster.build(&build, targets, cancel).await
    }

    /// Builds a second time, and demands the same packages.
    async fn build_second(
        &self,
        with: (ConfiguredPocket<'_>, &Builder),
        (request, targets): (&builder::BuildRequest, &[Target]),
        nodes: &BTreeMap<Architecture, String>,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let first = reproduction::packages_in(&request.output)?;
        let again = self.again(request)?;
        self.build_once(with, (&again, targets), Some(nodes), cancel).await?;
        let compared = reproduction::compare(&first, &reproduction::packages_in(&again.output)?);
        self.proven(&compared, &first, request.isolation, &reproduction::environments(targets))
    }

    /// Machines that are emulated are slow: the administrator may not know that they are.
    fn say_how_it_was_carried_out(&self, pocket: ConfiguredPocket<'_>) {
        let settings = pocket.settings();
        let is_here = settings.isolation == Isolation::Vm && !self.config.is_on_slurm(settings);
        let Some(why) = kvm::trouble().filter(|_| is_here) else {
            return;
        };
        tracing::warn!(why, "machine-emulated");
        // For whoever checks the installation; builds do not need it.
        if kvm::failed()
            && let Err(error) = std::fs::write(self.config.kvm_note(), format!("{why}\n"))
        {
            self.shared.complain("that KVM does not work cannot be written down", &error.into());
        }
    }

    /// Makes an empty workspace, and a link to the log of this attempt. Returns where that log is to
    /// be.
    async fn begin(&self) -> Result<PathBuf> {
        self.workspace.fresh().await?;
        let (config, job) = (&self.config, &self.job);
        std::fs::create_dir_all(config.job_logs(job.id))?;
        let log = config.attempt_log(job.id, job.attempt);
        let _ = std::fs::remove_file(&log);
        let _ = std::fs::remove_file(config.attempt_log(job.id, job.attempt - KEPT_LOGS));
        let link = config.build_log(job.id);
        let new = link.with_extension("new");
        let _ = std::fs::remove_file(&new);
        std::os::unix::fs::symlink(log.file_name().context("a log has a name")?, &new)?;
        std::fs::rename(&new, &link)?;
        Ok(log)
    }

    /// Compares what an older release has built with its commit, which that release did not: before
    /// another pocket gets it.
    async fn prove_source_of_copy(&mut self, pocket: ConfiguredPocket<'_>) -> Result<(), Failure> {
        let (job, config) = (self.job.clone(), self.config.clone());
        let id = &job.identity();
        let Some(known) = self.shared.read(|db| pockets::known(db, id))? else {
            return Ok(());
        };
        if self.shared.read(|db| sources::is_proven(db, known.job))? {
            return Ok(());
        }
        self.workspace.fresh().await?;
        let work = self.workspace.source();
        let mut made = SourcePackage::default();
        let archive = Archive::open(&config, &id.domain)?;
        for file in self.shared.read(|db| pool::of_version(db, id))? {
            let from = archive.root().join(&file.path);
            let name =
                from.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if !facts::is_source(&name) {
                continue;
            }
            std::fs::copy(&from, work.join(&name))?;
            if name.ends_with(".dsc") {
                made.dsc = work.join(&name);
            }
            made.files.push(work.join(&name));
            made.tarballs.push((name, file.sha256));
        }
        let pooled = self.shared.read(|db| validate::pooled(&config, db, id))?;
        // The package is there already: what the branch has says nothing of it.
        let plan = tokio::task::block_in_place(|| {
            validate::plan_source(
                &config,
                &JobRequest::of(&job),
                &pooled,
                Branch::Fixed(None),
                None,
            )
        })?;
        let (request, _) = self.request_of(pocket, plan, &config.build_log(job.id)).await?;
        let proof = source::prove(&request, &made, &self.cancel).await?;
        Ok(self.shared.write_for_job(|tx| {
            sources::fix(tx, known.job, &validate::planned(&request.plan))?;
            sources::proven(tx, known.job, &proof)
        })?)
    }

    /// Builds what another pocket has built once more, if this one demands that and nobody has done
    /// it under its conditions.
    async fn prove_copy(&mut self, pocket: ConfiguredPocket<'_>) -> Result<(), Failure> {
        let id = &self.job.identity();
        if !pocket.settings().require_reproducible {
            return Ok(());
        }
        let config = &self.config;
        if let Some(proof) = self.shared.read(|db| chroots::reproduced(db, id))?
            && self.shared.read(|db| copies::counts(db, config, pocket, id, &proof))?
        {
            return Ok(());
        }
        let original =
            self.shared.read(|db| Original::of(&self.config, db, &self.job)).map_err(|error| {
                Failure::new(
                    FailureKind::Unreproducible,
                    format!("it cannot be built a second time: {error:#}"),
                )
            })?;
        let as_before = Reproduced {
            at: 0,
            isolation: Some(reproduction::isolation(&original.environments)),
            chroots: reproduction::built_in(&original.environments),
        };
        let as_before = self.shared.read(|db| copies::is_alike(db, config, pocket, &as_before))?;
        let log = self.begin().await?;
        self.advance(State::Building)?;
        let builder = Builder::new(&self.config)?;
        let request = self.again(&self.build_request(pocket, &log))?;
        let own = if as_before {
            Vec::new()
        } else {
            reproduction::environments(&builder.targets(&original.request(request.clone())?)?)
        };
        let environments = if as_before { &original.environments } else { &own };
        let compared = original.build_again(&builder, request, environments, &self.cancel).await;
        self.say_how_it_was_carried_out(pocket);
        self.proven(
            &compared?,
            &original.packages,
            reproduction::isolation(environments),
            environments,
        )
    }

    /// Copies the request, for the second build.
    fn again(&self, request: &builder::BuildRequest) -> Result<builder::BuildRequest> {
        let output = self.workspace.again();
        std::fs::create_dir(&output)?;
        request.say(
            "\nThe second build, whose packages have to be the same (require_reproducible):",
        )?;
        // Dependencies are installed anew: what is compared does not depend on how they came there.
        Ok(builder::BuildRequest { output, others: None, ..request.clone() })
    }

    fn proven(
        &self,
        compared: &[ComparedPackage],
        packages: &BTreeMap<String, String>,
        isolation: Isolation,
        environments: &[Environment],
    ) -> Result<(), Failure> {
        reproduction::demand_same(compared)?;
        let (id, built_in) = (self.job.identity(), reproduction::built_in(environments));
        Ok(self
            .shared
            .write_for_job(|tx| chroots::set_reproduced(tx, &id, isolation, &built_in, packages))?)
    }

    /// Returns what the source package is made of: as it was fixed at submission or, where an older
    /// release has not done that, as it is now.
    async fn source_request(
        &self,
        pocket: ConfiguredPocket<'_>,
        build: &builder::BuildRequest,
    ) -> Result<(source::SourceRequest, programs::From), Failure> {
        let (job, config) = (&self.job, &self.config);
        let repo = config.git.package(&job.package);
        let fixed = self.shared.read(|db| sources::source_of_job(db, job.id))?;
        let layout = fixed.as_ref().and_then(|source| source.layout);
        let branch =
            fixed.as_ref().map_or(Branch::Now, |source| Branch::Fixed(source.branch.as_ref()));
        let pool = self.shared.read(|db| validate::pooled(config, db, &job.identity()))?;
        let plan = tokio::task::block_in_place(|| {
            let mut plan =
                validate::plan_source(config, &JobRequest::of(job), &pool, branch, None)?;
            // Whoever submitted it may have looked into the tarballs.
            plan.layout = plan.layout.or(layout);
            source::pin(&repo, &plan)?;
            Ok::<_, Failure>(plan)
        })?;
        self.shared.write_for_job(|tx| sources::fix(tx, job.id, &validate::planned(&plan)))?;
        let (request, from) = self.request_of(pocket, plan, &build.log).await?;
        say_plan(build, &request, &from)?;
        Ok((request, from))
    }

    /// Returns a plan with the programs that carry it out, and where those come from.
    async fn request_of(
        &self,
        pocket: ConfiguredPocket<'_>,
        plan: source::SourcePlan,
        log: &Path,
    ) -> Result<(source::SourceRequest, programs::From), Failure> {
        let config = &self.config;
        let settings = pocket.settings();
        let from = programs::From::of(config, settings)?;
        let programs = programs::UnpackedPrograms::new(config).get(&from, &self.cancel).await?;
        let request = source::SourceRequest {
            subject: JobRequest::of(&self.job).subject(config, &settings.distro),
            plan,
            programs: Arc::new(programs),
            work: self.workspace.source(),
            room: settings.limits.disk.0,
            log: log.to_owned(),
        };
        Ok((request, from))
    }

    /// Writes down what was made, unless the version has another source package already.
    fn keep_source(
        &self,
        from: &programs::From,
        made: &SourcePackage,
        build: &builder::BuildRequest,
    ) -> Result<(), Failure> {
        let job = &self.job;
        let dsc = std::fs::read_to_string(&made.dsc)?;
        let suites: Vec<_> = build.local.iter().map(|local| local.suite.clone()).collect();
        let conditions = Conditions {
            isolation: build.isolation,
            suites: &suites,
            programs: from.manifest().map(|manifest| &manifest.digest),
        };
        let sha256 = self.shared.write_for_job(|tx| {
            let sha256 = sources::made(tx, job.id, made, &dsc, &conditions)?;
            let entry = AuditEntry::new("source").job(job.id).with("dsc", &sha256[..]);
            made.tarballs
                .iter()
                .fold(entry, |entry, (name, sum)| entry.with(name, sum.as_str()))
                .append(tx)?;
            Ok(sha256)
        })?;
        self.shared.read(|db| Ok(sources::demand_same(db, &job.identity(), &sha256)))??;
        say_each(
            build,
            made.tarballs.iter().map(|(name, sum)| format!("{name} has SHA-256 {sum}")),
        )?;
        Ok(say_each(build, &made.notes)?)
    }

    /// Writes down which packages of our own the build was given, in the record and in the log.
    fn keep_given(&self, build: &builder::BuildRequest) -> Result<()> {
        let given = build.given.all();
        self.shared.write_for_job(|tx| builds::set_given(tx, self.job.id, &given))?;
        for one in &given {
            let line = format!(
                "Given from suite {}: {} {} {}",
                one.suite, one.package, one.version, one.architecture
            );
            build.say(&invirtibuilder_core::text::one_line(&line))?;
        }
        Ok(())
    }

    /// Returns what is to be built, but for its source package.
    fn build_request(&self, pocket: ConfiguredPocket<'_>, log: &Path) -> builder::BuildRequest {
        let (job, workspace) = (&self.job, &self.workspace);
        let places = BuildPaths {
            scratch: workspace.scratch(),
            output: workspace.output(),
            log: log.to_owned(),
        };
        let architectures = architectures::of_pocket(pocket.settings());
        let version = (&job.package, &job.version);
        builder::BuildRequest::new(&self.config, pocket, version, architectures, places)
    }

    /// From here on the job is not cancelled any more.
    async fn publish(&mut self, built: Option<PathBuf>) -> Result<(), Failure> {
        let (publisher, config) = (self.shared.publisher.clone(), self.config.clone());
        let mut job = self.job.clone();
        job.state = State::Publishing;
        let items = [Item { job, built }];
        let span = Span::current();
        let publish = move || span.in_scope(|| publisher.publish(&config, &items));
        let published = tokio::task::spawn_blocking(publish).await;
        let troubles = published.map_err(anyhow::Error::from)??;
        self.state = State::Published;
        self.shared.report(&troubles);
        Ok(())
    }

    /// Records how the job ended.
    fn end(&self, done: &Result<(), Failure>) -> Result<()> {
        let (id, state) = (self.job.id, self.state);
        match done {
            Ok(()) => {
                self.say("published", None, None);
                reach(Point::JobPublished)?;
            }
            Err(_) if self.cancel.is_cancelled() && state != State::Publishing => {
                reach(Point::JobCancelling)?;
                let by = self.shared.read(|db| jobs::get(db, id))?.cancel_by;
                self.shared.write_for_job(|tx| match &by {
                    Some(by) => jobs::cancelled(tx, id, state, by),
                    None => jobs::give_back(tx, id, state, "the daemon is stopping"),
                })?;
                let event = if by.is_some() { "cancelled" } else { "given-back" };
                self.say(event, None, by.as_ref());
            }
            Err(failure) => {
                reach(Point::JobFailing)?;
                self.shared.write_for_job(|tx| jobs::fail(tx, id, state, failure))?;
                reach(Point::JobFailed)?;
                self.say("failed", Some(failure), None);
            }
        }
        Ok(())
    }
}
