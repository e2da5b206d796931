//! Carries one claimed job to its end. Every job ends here, in [`run`], in one of four ways: published, failed,
//! cancelled, or given back to the queue because the daemon stops.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::shared::Shared;
use crate::build::machine::kvm;
use crate::build::{self, Base, Builder, Places};
use crate::chroot::programs;
use crate::config::{Config, Isolation, Pocket};
use crate::error::{Failure, FailureKind};
use crate::failpoint::{Point, reach};
use crate::log::Severity;
use crate::names::JobId;
use crate::publish::Item;
use crate::rebuild::{self, Compared, Original};
use crate::record::State;
use crate::record::audit::Entry;
use crate::record::chroots::Reproduced;
use crate::record::jobs::{self, Job};
use crate::record::sources::{self, Conditions};
use crate::record::{builds, chroots, contents, pockets, pool};
use crate::source::{Branch, Layout, Proof, SourcePackage};
use crate::subprocess::CancellationToken;
use crate::validate::{self, Plan, Request, Valid};
use crate::{acl, copies, source};

/// Carries the job out.
pub async fn run(shared: Arc<Shared>, config: Arc<Config>, job: Job, cancel: CancellationToken) {
    let mut task =
        Task { workspace: Workspace::new(&config, job.id), state: State::Preparing, shared, config, job, cancel };
    task.say("started", &[]);
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
    tokio::spawn(async move {
        let kept = task.shared.read(|db| sources::pinned(db, &package));
        if let Err(error) = kept.and_then(|kept| source::unpin(&config.git.package(&package), &kept)) {
            task.shared.complain("what a job kept from being collected cannot be let go", &error);
        }
        let removed = match workspace {
            Ok(workspace) => workspace.remove().await,
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            task.shared.complain("a job's workspace cannot be removed", &error);
        }
    });
}

/// How long after an end could not be recorded that is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Where what is built a second time is put, in a job's directory.
const AGAIN_DIR: &str = "again";

/// What the name of a directory begins with that is being removed.
const GONE: &str = "gone-";

/// The directory in which a job works. What is in it does not outlive the job.
pub struct Workspace {
    dir: PathBuf,
}

impl Workspace {
    fn new(config: &Config, job: JobId) -> Self {
        Self { dir: config.scratch().join(format!("job-{job}")) }
    }

    /// Where the build puts what it makes.
    fn output(&self) -> PathBuf {
        self.dir.join("output")
    }

    /// Where the output is once the build is complete.
    fn built(&self) -> PathBuf {
        self.dir.join("built")
    }

    async fn fresh(&self) -> Result<()> {
        self.remove().await?;
        for dir in [self.dir.clone(), self.output(), self.dir.join("source"), self.dir.join("build")] {
            std::fs::create_dir_all(dir)?;
        }
        Ok(())
    }

    /// Makes what was built durable in its place: the record may say from now on that it is there.
    fn keep(&self) -> Result<()> {
        let sync = |path: &Path| std::fs::File::open(path)?.sync_all();
        for entry in std::fs::read_dir(self.output())? {
            sync(&entry?.path())?;
        }
        sync(&self.output())?;
        std::fs::rename(self.output(), self.built())?;
        sync(&self.dir)?;
        Ok(sync(self.dir.parent().unwrap_or(&self.dir))?)
    }

    async fn remove(&self) -> Result<()> {
        build::remove_tree(&self.dir).await
    }

    /// The same under a name that no job has.
    fn gone(&self) -> Result<Self> {
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        let gone = Self { dir: self.dir.with_file_name(format!("{GONE}{name}")) };
        match std::fs::rename(&self.dir, &gone.dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(gone),
        }
    }

    /// Removes what dead workers left, but for the complete builds of these jobs. What cannot be removed is returned, and
    /// is no reason not to work.
    pub async fn sweep(config: &Config, keep: &[JobId]) -> Result<Vec<anyhow::Error>> {
        let mut left = Vec::new();
        for entry in std::fs::read_dir(config.scratch())?.flatten() {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(GONE)) {
                left.extend(build::remove_tree(&entry.path()).await.err());
                continue;
            }
            if name.to_str().is_some_and(|name| name.starts_with(source::LOOK)) && is_old(&entry) {
                left.extend(build::remove_tree(&entry.path()).await.err());
                continue;
            }
            let id = name.to_str().and_then(|name| name.strip_prefix("job-")).and_then(|id| id.parse().ok());
            let Some(id) = id.filter(|id| !keep.contains(id)) else { continue };
            reach(Point::SweepWorkspace)?;
            left.extend(Self::new(config, id).remove().await.err());
        }
        Ok(left)
    }
}

/// Says in a build's log what its source package is made of.
fn say_plan(build: &build::Request, source: &source::Request, from: &programs::From) -> Result<()> {
    let by = match from.manifest() {
        Some(manifest) => format!("{} ({})", manifest.distro, manifest.digest.short()),
        None => "this machine".to_owned(),
    };
    build.say(&format!("Source package of commit {}, by dpkg-source of {by}.", source.subject.commit))?;
    say_each(build, source.plan.tarballs.iter().map(|tarball| format!("{} from {}", tarball.name, tarball.from())))?;
    say_each(build, &source.plan.notes)
}

/// Says in a build's log what was proven of its source package.
fn say_proof(build: &build::Request, proof: &Proof) -> Result<()> {
    build.say("")?;
    let layout = proof.layout.map_or("unknown", Layout::as_str);
    build.say(&format!("The source package is the commit, path by path (layout: {layout})."))?;
    say_each(build, &proof.notes)?;
    say_each(build, proof.bound.iter().map(|(name, bound)| format!("{name} is bound by the commit ({bound})")))?;
    say_each(build, proof.extra.iter().take(NAMED).map(|path| format!("only in a tarball: {path}")))?;
    let more = proof.extra.len().saturating_sub(NAMED);
    say_each(build, (more > 0).then(|| format!("and {more} more: 'explain' has them")))
}

/// Says details in a build's log, each on one line.
fn say_each(build: &build::Request, details: impl IntoIterator<Item = impl AsRef<str>>) -> Result<()> {
    details.into_iter().try_for_each(|detail| build.say(&format!("  {}", crate::text::one_line(detail.as_ref()))))
}

/// How many paths of tarballs a log names.
const NAMED: usize = 1000;

/// Whether nobody can be at work in a directory any more that submissions look into tarballs in.
fn is_old(entry: &std::fs::DirEntry) -> bool {
    const LONG: Duration = Duration::from_secs(600);
    let modified = entry.metadata().and_then(|about| about.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > LONG))
}

struct Task {
    shared: Arc<Shared>,
    config: Arc<Config>,
    job: Job,
    cancel: CancellationToken,
    state: State,
    workspace: Workspace,
}

impl Task {
    fn say(&self, event: &str, more: &[(&str, &str)]) {
        let id = self.job.id.to_string();
        let mut fields = vec![
            ("job", &id[..]),
            ("pocket", self.job.pocket.as_str()),
            ("package", self.job.package.as_str()),
            ("version", self.job.version.as_str()),
            ("commit", self.job.commit.as_str()),
            ("principal", self.job.principal.as_str()),
        ];
        fields.extend(more);
        self.shared.log.event(Severity::Info, event, &fields);
    }

    async fn carry_out(&mut self) -> Result<(), Failure> {
        let valid = self.check_again()?;
        reach(Point::JobChecked)?;
        let built = match valid {
            Valid::Copy { from } => {
                if let Some(from) = &from {
                    self.shared.write_for_job(|tx| jobs::set_copied_from(tx, self.job.id, from))?;
                }
                self.prove_source_of_copy().await?;
                self.prove_copy().await?;
                None
            }
            // A daemon that died while it published has left it: it is not built again.
            Valid::Build if self.was_built()? => Some(self.workspace.built()),
            Valid::Build => Some(self.build().await?),
        };
        self.advance(State::Publishing)?;
        reach(Point::JobPublishing)?;
        self.publish(built).await
    }

    fn was_built(&self) -> Result<bool> {
        if !self.workspace.built().exists() || self.shared.read(|db| jobs::publications(db, self.job.id))? == 0 {
            return Ok(false);
        }
        // The configuration may be another one now, and an older release wrote down less.
        if !self.shared.read(|db| copies::is_as_now(db, &self.config, &self.job))? {
            return Ok(false);
        }
        // It was built twice if it had to be.
        Ok(!self.pocket().require_reproducible || self.workspace.dir.join(AGAIN_DIR).exists())
    }

    fn advance(&mut self, to: State) -> Result<(), Failure> {
        if self.cancel.is_cancelled() {
            return Err(Failure::new(FailureKind::System, "it was told to stop"));
        }
        self.shared.write_for_job(|tx| jobs::advance(tx, self.job.id, self.state, to))?;
        self.state = to;
        Ok(())
    }

    /// What was true at submission may not be now: who may submit, and every rule of validation.
    fn check_again(&self) -> Result<Valid, Failure> {
        let job = &self.job;
        let invalid = |text: String| Failure::new(FailureKind::Invalid, text);
        let (_, pocket) = self.config.pocket(job.pocket.as_str()).map_err(|error| invalid(error.to_string()))?;
        if let Some(why) = pocket.contradiction() {
            return Err(invalid(format!("pocket {}: {why}", job.pocket)));
        }
        self.authorize_again()?;
        let request = Request::read(&self.config, &job.pocket, job.package.clone(), job.commit.as_str())
            .map_err(|error| invalid(error.to_string()))?;
        let plan = self.shared.read(|db| validate::check(db, &self.config, &request, Some(job.id)));
        match plan {
            Ok(Plan::Run(valid)) => Ok(valid),
            Ok(Plan::UnderWay(other)) => {
                Err(invalid(format!("job {} is {} for the same commit", other.id, other.state)))
            }
            Ok(Plan::AlreadyThere(by)) => Err(invalid(format!("{} has this commit already, by job {by}", job.pocket))),
            Err(error) if error.is::<crate::error::Error>() => Err(invalid(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// Whoever submitted it may submit still. The decision is written down like the first one.
    fn authorize_again(&self) -> Result<(), Failure> {
        let job = &self.job;
        // The ACL may run programs.
        let decision = tokio::task::block_in_place(|| acl::authorize(&self.config, &job.pocket, &job.principal));
        let (event, severity, why) = match &decision {
            Ok(authorized) => ("allowed", Severity::Info, authorized.why()),
            Err(refusal) => ("denied", Severity::Warning, &refusal.detail[..]),
        };
        let (id, request) = (job.id.to_string(), format!("submit to {}", job.pocket));
        let fields = [("principal", job.principal.as_str()), ("request", &request), ("via", "daemon"), ("why", why)];
        self.shared.log.event(severity, event, &[&fields[..], &[("job", &id)]].concat());
        let entry = fields.iter().fold(Entry::new(event).job(job.id), |entry, (key, value)| entry.with(key, *value));
        self.shared.write_for_job(|tx| entry.append(tx))?;
        decision.map(drop).map_err(|refusal| Failure::new(FailureKind::Denied, refusal.sentence))
    }

    /// Source package, then binaries; where they are. That the source package is the commit is proven meanwhile.
    async fn build(&mut self) -> Result<PathBuf, Failure> {
        let log = self.begin().await?;
        let mut request = self.build_request(&log);
        let (asked, from) = self.source_request(&request).await?;
        let source = source::make(&asked, &self.cancel).await?;
        self.keep_source(&from, &source, &request)?;
        reach(Point::SourceMade)?;
        self.advance(State::Building)?;
        reach(Point::JobBuilding)?;
        request.dsc = source.dsc.clone();
        request.source_files = source.files.clone();
        let builder = Builder::new(&self.config)?;
        if builder.may_use_layers(&request) {
            let suites: Vec<_> = request.local.iter().map(|local| local.suite.clone()).collect();
            match self.shared.read(|db| contents::names(db, &suites)) {
                Ok(names) => request.others = Some(names),
                Err(error) => self.shared.complain("the names in suites cannot be read", &error),
            }
        }
        let bases = builder.bases(&request)?;
        let manifests: Vec<_> = bases.iter().map(|base| base.manifest().clone()).collect();
        self.shared.write_for_job(|tx| chroots::set(tx, self.job.id, &manifests))?;
        let stop = self.cancel.child_token();
        let proof = async {
            let proof = source::prove(&asked, &source, &stop).await;
            if proof.is_err() {
                stop.cancel();
            }
            proof
        };
        let (proof, built) = tokio::join!(proof, self.build_in(&builder, &request, &bases, &stop));
        self.say_how_it_was_carried_out();
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

    /// Once, or twice where the pocket demands that.
    async fn build_in(
        &self,
        builder: &Builder,
        request: &build::Request,
        bases: &[Base],
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        builder.build(request, bases, cancel).await?;
        if self.pocket().require_reproducible {
            let first = rebuild::packages_in(&request.output)?;
            let again = self.again(request)?;
            builder.build(&again, bases, cancel).await?;
            let compared = rebuild::compare(&first, &rebuild::packages_in(&again.output)?);
            self.proven(&compared, &first, request.isolation, bases)?;
        }
        Ok(())
    }

    /// Machines that are emulated are slow: the administrator may not know that they are.
    fn say_how_it_was_carried_out(&self) {
        let Some(why) = kvm::trouble().filter(|_| self.pocket().isolation == Isolation::Vm) else { return };
        let job = self.job.id.to_string();
        self.shared.log.event(Severity::Warning, "machine-emulated", &[("job", &job), ("why", &why)]);
        // For whoever checks the installation; builds do not need it.
        if kvm::failed()
            && let Err(error) = std::fs::write(self.config.kvm_note(), format!("{why}\n"))
        {
            self.shared.complain("that KVM does not work cannot be written down", &error.into());
        }
    }

    /// An empty workspace and no log; where that is to be.
    async fn begin(&self) -> Result<PathBuf> {
        self.workspace.fresh().await?;
        std::fs::create_dir_all(self.config.job_logs(self.job.id))?;
        let log = self.config.build_log(self.job.id);
        let _ = std::fs::remove_file(&log);
        Ok(log)
    }

    /// What an older release has built was never compared with its commit: that is done before another pocket gets it.
    async fn prove_source_of_copy(&mut self) -> Result<(), Failure> {
        let (job, config) = (self.job.clone(), self.config.clone());
        let (package, version) = (&job.package, &job.version);
        let Some(known) = self.shared.read(|db| pockets::known(db, package, version))? else { return Ok(()) };
        if self.shared.read(|db| sources::is_proven(db, known.job))? {
            return Ok(());
        }
        self.workspace.fresh().await?;
        let work = self.workspace.dir.join("source");
        let mut made = SourcePackage::default();
        for file in self.shared.read(|db| pool::of_version(db, package, version))? {
            let from = config.archive.root.join(&file.path);
            let name = from.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if !rebuild::is_source(&name) {
                continue;
            }
            std::fs::copy(&from, work.join(&name))?;
            if name.ends_with(".dsc") {
                made.dsc = work.join(&name);
            }
            made.files.push(work.join(&name));
            made.tarballs.push((name, file.sha256));
        }
        let pooled = self.shared.read(|db| source::pooled(&config, db, package, version))?;
        // The package is there already: what the branch has says nothing of it.
        let plan = tokio::task::block_in_place(|| {
            validate::plan_source(&config, &Request::of(&job), &pooled, Branch::Fixed(None), None)
        })?;
        let (request, _) = self.request_of(plan, &config.build_log(job.id)).await?;
        let proof = source::prove(&request, &made, &self.cancel).await?;
        Ok(self.shared.write_for_job(|tx| {
            sources::fix(tx, known.job, &request.plan)?;
            sources::proven(tx, known.job, &proof)
        })?)
    }

    /// What another pocket has built is built once more, if this one demands that and nobody has done it under its conditions.
    async fn prove_copy(&mut self) -> Result<(), Failure> {
        let (pocket, package, version) = (&self.job.pocket, &self.job.package, &self.job.version);
        if !self.pocket().require_reproducible {
            return Ok(());
        }
        let config = &self.config;
        if let Some(proof) = self.shared.read(|db| chroots::reproduced(db, package, version))?
            && self.shared.read(|db| copies::counts(db, config, pocket, (package, version), &proof))?
        {
            return Ok(());
        }
        let original = self.shared.read(|db| Original::of(&self.config, db, &self.job)).map_err(|error| {
            Failure::new(FailureKind::Unreproducible, format!("it cannot be built a second time: {error:#}"))
        })?;
        let as_before = Reproduced {
            at: 0,
            isolation: Some(rebuild::isolation(&original.bases)),
            chroots: rebuild::built_in(&original.bases),
        };
        let as_before = self.shared.read(|db| copies::is_alike(db, config, pocket, &as_before))?;
        let log = self.begin().await?;
        self.advance(State::Building)?;
        let builder = Builder::new(&self.config)?;
        let request = self.again(&self.build_request(&log))?;
        let own = if as_before { Vec::new() } else { builder.bases(&original.request(request.clone())?)? };
        let bases = if as_before { &original.bases } else { &own };
        let compared = original.build_again(&builder, request, bases, &self.cancel).await;
        self.say_how_it_was_carried_out();
        self.proven(&compared?, &original.packages, rebuild::isolation(bases), bases)
    }

    /// The same request, once more.
    fn again(&self, request: &build::Request) -> Result<build::Request> {
        let output = self.workspace.dir.join(AGAIN_DIR);
        std::fs::create_dir(&output)?;
        request.say("\nThe second build, whose packages have to be the same (require_reproducible):")?;
        // Dependencies are installed anew: what is compared does not depend on how they came there.
        Ok(build::Request { output, others: None, ..request.clone() })
    }

    fn proven(
        &self,
        compared: &[Compared],
        packages: &BTreeMap<String, String>,
        isolation: Isolation,
        bases: &[Base],
    ) -> Result<(), Failure> {
        rebuild::demand_same(compared)?;
        let (package, version, built_in) = (&self.job.package, &self.job.version, rebuild::built_in(bases));
        Ok(self
            .shared
            .write_for_job(|tx| chroots::set_reproduced(tx, package, version, isolation, &built_in, packages))?)
    }

    fn pocket(&self) -> &Pocket {
        &self.config.build.pockets[&self.job.pocket]
    }

    /// What the source package is made of: as it was fixed at submission or, where an older release has not done that, as it is now.
    async fn source_request(&self, build: &build::Request) -> Result<(source::Request, programs::From), Failure> {
        let (job, config) = (&self.job, &self.config);
        let repo = config.git.package(&job.package);
        let fixed = self.shared.read(|db| sources::of(db, job.id))?;
        let layout = fixed.as_ref().and_then(|source| source.layout);
        let branch = fixed.as_ref().map_or(Branch::Now, |source| Branch::Fixed(source.branch.as_ref()));
        let pool = self.shared.read(|db| source::pooled(config, db, &job.package, &job.version))?;
        let plan = tokio::task::block_in_place(|| {
            let mut plan = validate::plan_source(config, &Request::of(job), &pool, branch, None)?;
            // Whoever submitted it may have looked into the tarballs.
            plan.layout = plan.layout.or(layout);
            source::pin(&repo, &plan)?;
            Ok::<_, Failure>(plan)
        })?;
        self.shared.write_for_job(|tx| sources::fix(tx, job.id, &plan))?;
        let (request, from) = self.request_of(plan, &build.log).await?;
        say_plan(build, &request, &from)?;
        Ok((request, from))
    }

    /// A plan with the programs that carry it out, and where those come from.
    async fn request_of(&self, plan: source::Plan, log: &Path) -> Result<(source::Request, programs::From), Failure> {
        let config = &self.config;
        let from = programs::From::of(config, self.pocket(), self.shared.publisher.host())?;
        let programs = programs::Unpacked::new(config).get(&from, &self.cancel).await?;
        let request = source::Request {
            subject: Request::of(&self.job).subject(config),
            plan,
            programs: Arc::new(programs),
            work: self.workspace.dir.join("source"),
            room: self.pocket().limits.disk.0,
            log: log.to_owned(),
        };
        Ok((request, from))
    }

    /// Writes down what was made, unless the version has another source package already.
    fn keep_source(&self, from: &programs::From, made: &SourcePackage, build: &build::Request) -> Result<(), Failure> {
        let job = &self.job;
        let dsc = std::fs::read_to_string(&made.dsc)?;
        let suites: Vec<_> = build.local.iter().map(|local| local.suite.clone()).collect();
        let conditions = Conditions {
            isolation: self.pocket().isolation,
            suites: &suites,
            programs: from.manifest().map(|manifest| &manifest.digest),
        };
        let sha256 = self.shared.write_for_job(|tx| {
            let sha256 = sources::made(tx, job.id, made, &dsc, &conditions)?;
            let entry = Entry::new("source").job(job.id).with("dsc", &sha256[..]);
            made.tarballs.iter().fold(entry, |entry, (name, sum)| entry.with(name, sum.as_str())).append(tx)?;
            Ok(sha256)
        })?;
        self.shared.read(|db| Ok(sources::demand_same(db, &job.package, &job.version, &sha256)))??;
        say_each(build, made.tarballs.iter().map(|(name, sum)| format!("{name} has SHA-256 {sum}")))?;
        Ok(say_each(build, &made.notes)?)
    }

    /// Writes down which packages of our own the build was given, in the record and in the log.
    fn keep_given(&self, build: &build::Request) -> Result<()> {
        let given = build.given.all();
        self.shared.write_for_job(|tx| builds::set_given(tx, self.job.id, &given))?;
        for one in &given {
            let line = format!("Given from suite {}: {} {} {}", one.suite, one.package, one.version, one.architecture);
            build.say(&crate::text::one_line(&line))?;
        }
        Ok(())
    }

    /// What is to be built, but for its source package.
    fn build_request(&self, log: &Path) -> build::Request {
        let (job, workspace) = (&self.job, &self.workspace);
        let places = Places { scratch: workspace.dir.join("build"), output: workspace.output(), log: log.to_owned() };
        let architectures = self.shared.publisher.architectures(&self.config, &job.pocket);
        build::Request::new(&self.config, &job.pocket, (&job.package, &job.version), architectures, places)
    }

    /// From here on the job is not cancelled any more.
    async fn publish(&mut self, built: Option<PathBuf>) -> Result<(), Failure> {
        let (publisher, config) = (self.shared.publisher.clone(), self.config.clone());
        let mut job = self.job.clone();
        job.state = State::Publishing;
        let items = [Item { job, built }];
        let published = tokio::task::spawn_blocking(move || publisher.publish(&config, &items)).await;
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
                self.say("published", &[]);
                reach(Point::JobPublished)?;
            }
            Err(_) if self.cancel.is_cancelled() && state != State::Publishing => {
                reach(Point::JobCancelling)?;
                let by = self.shared.read(|db| jobs::get(db, id))?.cancel_by;
                self.shared.write_for_job(|tx| match &by {
                    Some(by) => jobs::cancelled(tx, id, state, by),
                    None => jobs::give_back(tx, id, state, "the daemon is stopping"),
                })?;
                let by = by.as_ref().map_or("", |by| by.as_str());
                self.say(if by.is_empty() { "given-back" } else { "cancelled" }, &[("by", by)]);
            }
            Err(failure) => {
                reach(Point::JobFailing)?;
                self.shared.write_for_job(|tx| jobs::fail(tx, id, state, failure))?;
                reach(Point::JobFailed)?;
                self.say("failed", &[("failure", failure.kind.as_str()), ("why", &failure.text)]);
            }
        }
        Ok(())
    }
}
