//! `executor: slurm`: builds on the nodes of a Slurm cluster. Slurm places, queues and starts again;
//! limits are the sandbox's as ever.
//!
//! For each architecture there is one job of Slurm's at a time, a *submission*, with a name of its
//! own. What became of it is looked up by that name, never by Slurm's number: a controller that was
//! killed can forget a number and give it out again. A submission that is lost, whose node is silent
//! or whose results do not come is over, and a new one is sent. So nothing waits for Slurm's own
//! timeouts, and nothing of an old submission counts (the module `desk` has the rules).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hyper::body::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

pub mod book;
pub mod commands;
mod desk;
mod log;
pub mod protocol;
mod queue;
mod tls;
mod words;

use crate::executor::Target;
use crate::executor::slurm::book::{BookedBuild, SlurmBook};
use crate::executor::slurm::commands::{QueuedJob, SlurmRequest};
use crate::executor::slurm::desk::{
    ExpectedBuild, NodeDesk, NodeEvent, NodeSession, digest_of, lock, new_secret,
};
use crate::executor::slurm::log::{ClusterLog, LogTurn};
use crate::executor::slurm::protocol::{
    Assignment, Bootstrap, OfferedFile, OfferedLimits, OfferedSuite,
};
use crate::executor::slurm::queue::SlurmQueue;
use crate::executor::slurm::words::words;
use crate::outcome::has_changes;
use crate::proxy::Ledger;
use crate::request::BuildRequest;
use invirtibuilder_core::config::{Config, Isolation, Limits, SlurmPlace, SlurmSettings};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::names::{Architecture, JobId, PocketName};
use invirtibuilder_core::text::{hex, one_line};
use invirtibuilder_environment::Environment;
use invirtibuilder_sandbox::machine::MORE_MEMORY;
use invirtibuilder_system::subprocess::CancellationToken;

/// How long a node may be silent. It says something every two seconds.
const SILENCE: Duration = Duration::from_secs(12);

/// How long a job may run, by Slurm, before its program asks for its session.
const STARTING: Duration = Duration::from_secs(20);

/// How long what has ended, by Slurm, may take to say so itself.
const ENDING: Duration = Duration::from_secs(5);

/// How long a submission that Slurm took may not be in its queue.
const SETTLING: Duration = Duration::from_secs(4);

/// How long a node's program may take to clear up once its build is over.
const LEAVING: Duration = Duration::from_secs(10);

/// How often the queue is looked at while something is about to change, and otherwise.
const PACES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(3));

/// How long a submission waits for other nodes than those that failed it.
const AVOIDING: Duration = Duration::from_secs(60);

/// How long after Slurm did not take a submission it is asked again.
const AGAIN: Duration = Duration::from_secs(3);

/// The submissions of a build that may be lost or fail without a fault of the package.
const MOST_SUBMISSIONS: u32 = 12;

/// The time that a node needs beside a build, in minutes: to fetch the environment, say.
const BESIDE_MINUTES: u64 = 30;

/// Builds on a cluster.
pub struct Cluster {
    settings: SlurmSettings,
    desk: Arc<NodeDesk>,
    book: Arc<dyn SlurmBook>,
    queue: SlurmQueue,
    prefix: String,
    ours: Submissions,
    /// What images have, by their first file: they never change, and are large.
    images: tokio::sync::Mutex<HashMap<PathBuf, Vec<OfferedFile>>>,
}

/// The names of submissions that count, or whose programs clear up.
#[derive(Clone, Default)]
struct Submissions(Arc<Mutex<HashSet<String>>>);

impl Submissions {
    /// Counts one until what is returned is dropped.
    fn count(&self, name: &str) -> CountedSubmission {
        lock(&self.0).insert(name.to_owned());
        CountedSubmission { all: self.clone(), name: name.to_owned() }
    }

    fn has(&self, name: &str) -> bool {
        lock(&self.0).contains(name)
    }
}

/// A submission that counts.
struct CountedSubmission {
    all: Submissions,
    name: String,
}

impl Drop for CountedSubmission {
    fn drop(&mut self) {
        lock(&self.all.0).remove(&self.name);
    }
}

/// A build for a cluster.
pub struct ClusterBuild<'a> {
    /// What is built.
    pub request: &'a BuildRequest,
    /// What Slurm is asked for.
    pub place: &'a SlurmPlace,
    /// The job that it is for.
    pub job: JobId,
    /// Its attempt.
    pub attempt: i64,
    /// How many bytes it may write in memory.
    pub in_memory: u64,
    /// What a node keeps for later builds.
    pub keeping: KeepingOnNodes,
    /// A pocket that builds on this machine, if one does: nodes are other machines then.
    pub builds_here: Option<&'a PocketName>,
    /// Which of the builds of the attempt it is.
    pub which: WhichBuild<'a>,
}

/// What a node keeps for later builds.
#[derive(Debug, Clone, Copy)]
pub struct KeepingOnNodes {
    /// Whether it keeps chroots unpacked.
    pub unpacked: bool,
    /// How many sets of build dependencies it keeps installed above each.
    pub layers: usize,
}

/// Which build of an attempt it is.
#[derive(Debug, Clone, Copy)]
pub enum WhichBuild<'a> {
    /// The first.
    First,
    /// The second, for comparison: on other nodes than those, by architecture.
    Second(&'a BTreeMap<Architecture, String>),
}

/// The part of a build that is for one architecture.
#[derive(Clone, Copy)]
struct BuildPart<'a> {
    build: &'a ClusterBuild<'a>,
    target: &'a Target,
    log: &'a Arc<ClusterLog>,
}

impl BuildPart<'_> {
    /// The node that built it the first time, which may not do so a second time.
    fn never(&self) -> Option<&String> {
        match self.build.which {
            WhichBuild::First => None,
            WhichBuild::Second(nodes) => nodes.get(&self.target.architecture),
        }
    }
}

/// How a submission ended.
enum SubmissionEnd {
    /// The build is over, on this node.
    Done(String),
    /// It is sent again, for this reason, and not to this node either; `None`: to any.
    Again(String, Option<String>),
}

impl Cluster {
    /// Listens for nodes, if this configuration has a cluster.
    pub async fn open(config: &Config, book: Arc<dyn SlurmBook>) -> Result<Option<Self>> {
        let Some(settings) = config.slurm.clone() else { return Ok(None) };
        let desk =
            NodeDesk::open(settings.listen, config.state_dir.join("cache"), book.clone()).await?;
        let prefix = prefix(&config.state_dir);
        let (queue, images) = (SlurmQueue::default(), tokio::sync::Mutex::default());
        let ours = Submissions::default();
        Ok(Some(Self { settings, desk, book, queue, prefix, ours, images }))
    }

    /// Returns the settings by which it was opened.
    pub fn settings(&self) -> &SlurmSettings {
        &self.settings
    }

    /// Cancels what is left with Slurm and counts no more: what has a name of ours and is none of
    /// our submissions. An earlier daemon has sent it, or a controller that was killed has found it
    /// in an older state of its own.
    pub async fn cancel_left(&self) -> Result<()> {
        let all = commands::queue(&CancellationToken::new()).await?;
        let is_left = |name: &str, job: &QueuedJob| {
            name.starts_with(&self.prefix) && is_open(job) && !self.ours.has(name)
        };
        for (name, _) in all.iter().filter(|(name, job)| is_left(name, job)) {
            commands::cancel_named(name).await?;
        }
        Ok(())
    }

    /// Builds each of these, all at the same time. Returns the nodes on which they were built.
    pub async fn build(
        &self,
        build: &ClusterBuild<'_>,
        targets: &[Target],
        cancel: &CancellationToken,
    ) -> Result<BTreeMap<Architecture, String>, Failure> {
        let request = build.request;
        let stop = cancel.child_token();
        let parts: Vec<Arc<ClusterLog>> = targets
            .iter()
            .enumerate()
            .map(|(n, target)| {
                let spool = request.scratch.join(format!("log-{}", target.architecture));
                let turn = if n == 0 { LogTurn::Mine } else { LogTurn::Waiting };
                Arc::new(ClusterLog::new(&request.log, spool, request.limits.log.0, turn))
            })
            .collect();
        let ended = Mutex::new(vec![false; targets.len()]);
        let one = |n: usize| {
            let (target, log, stop, ended, parts) = (&targets[n], &parts[n], &stop, &ended, &parts);
            async move {
                let done = self.build_one(BuildPart { build, target, log }, stop).await;
                if done.is_err() {
                    stop.cancel();
                }
                next_turn(ended, parts, n)?;
                done.map(|node| (target.architecture.clone(), node))
            }
        };
        let all = futures_util::future::join_all((0..targets.len()).map(one)).await;
        // The first that failed stopped the others: its reason is what counts.
        let (mut nodes, mut failure) = (BTreeMap::new(), None);
        for done in all {
            match done {
                Ok((architecture, node)) => drop(nodes.insert(architecture, node)),
                Err(error) if failure.is_none() || !was_stopped(&error) => failure = Some(error),
                Err(_) => {}
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        request.keep_source()?;
        Ok(nodes)
    }

    /// Builds for one architecture, on whatever node. Returns the node.
    async fn build_one(
        &self,
        part: BuildPart<'_>,
        cancel: &CancellationToken,
    ) -> Result<String, Failure> {
        let mut avoid = Vec::new();
        let mut why = String::new();
        for number in 1..=MOST_SUBMISSIONS {
            if cancel.is_cancelled() {
                return Err(stopped());
            }
            match self.submission(part, (number, avoid.clone()), cancel).await? {
                SubmissionEnd::Done(node) if part.never() == Some(&node) => {
                    let text = format!(
                        "Slurm has had node {node} build both times, against what it was asked"
                    );
                    return Err(Failure::new(FailureKind::System, text));
                }
                SubmissionEnd::Done(node) => return Ok(node),
                SubmissionEnd::Again(reason, node) => {
                    part.log
                        .say(&format!("\n{}: it is sent to Slurm again.", one_line(&reason)))?;
                    why = reason;
                    match node {
                        Some(node) => avoid.push(node),
                        None => avoid.clear(),
                    }
                }
            }
        }
        let text = format!(
            "Slurm's nodes have not built it in {MOST_SUBMISSIONS} submissions, the last of which ended so: {why}"
        );
        Err(Failure::new(FailureKind::System, text))
    }

    /// Sends a submission, and follows it to its end. Nothing of it is left with Slurm.
    async fn submission(
        &self,
        part: BuildPart<'_>,
        (number, avoid): (u32, Vec<String>),
        stop: &CancellationToken,
    ) -> Result<SubmissionEnd, Failure> {
        let BuildPart { build, target, .. } = part;
        let architecture = &target.architecture;
        let which = match build.which {
            WhichBuild::First => "",
            WhichBuild::Second(_) => "-again",
        };
        let of_attempt = format!("{}.{}-{architecture}{which}-{number}", build.job, build.attempt);
        let name = format!("{}{of_attempt}", self.prefix);
        let right = new_secret()?;
        let (events, heard) = mpsc::unbounded_channel();
        let environment = self.environment_of(target).await?;
        let expected = expected(part, &name, environment, digest_of(&right), events)?;
        let expected = Arc::new(expected);
        let script = Bootstrap {
            address: self.settings.address(),
            certificate: self.desk.digest().to_owned(),
            name: name.clone(),
            right,
        };
        let submission = SlurmRequest {
            name: name.clone(),
            script: script.script().map_err(anyhow::Error::from)?,
            place: options(build.place, architecture),
            never: part.never().cloned(),
            avoid,
            minutes: minutes(&build.request.limits),
            memory: memory(build.request, build.in_memory),
        };
        let booked = BookedBuild { job: build.job, attempt: build.attempt, architecture };
        let counted = self.ours.count(&name);
        self.book.sent(&name, &booked, &expected.bootstrap)?;
        self.desk.expect(expected.clone());
        let ended = self.follow(part, (&expected, submission), heard, stop).await;
        self.desk.forget(&name);
        if matches!(ended, Ok(SubmissionEnd::Done(_))) {
            // Its program ends by itself, and clears up before that.
            let (book, name) = (self.book.clone(), name.clone());
            tokio::spawn(async move {
                tokio::time::sleep(LEAVING).await;
                cancel(&*book, &name).await;
                drop(counted);
            });
        } else {
            cancel(&*self.book, &name).await;
        }
        self.book.ended(&name)?;
        ended
    }

    /// Finds what a build needs of its chroot or image.
    async fn environment_of<'a>(
        &self,
        target: &'a Target,
    ) -> Result<(&'a Environment, Vec<OfferedFile>), Failure> {
        let Some(environment) = &target.environment else {
            let text = "nodes have nothing of schroot(1): write isolation: unshare or vm, or executor: local";
            return Err(Failure::new(FailureKind::Chroot, text));
        };
        let files = files_of(environment);
        if let Environment::Chroot(chroot) = environment {
            let tarball = OfferedFile {
                name: protocol::ENVIRONMENT.0.to_owned(),
                size: fs::metadata(&chroot.tarball)?.len(),
                sha256: chroot.manifest.digest.to_string(),
            };
            return Ok((environment, vec![tarball]));
        }
        let mut known = self.images.lock().await;
        let image = files[0].1.clone();
        if let Some(offered) = known.get(&image) {
            return Ok((environment, offered.clone()));
        }
        let read = move || -> Result<Vec<OfferedFile>> {
            files.iter().map(|(name, path)| offered_file(name, path)).collect()
        };
        let offered = tokio::task::spawn_blocking(read).await.map_err(anyhow::Error::from)??;
        known.insert(image, offered.clone());
        Ok((environment, offered))
    }

    async fn follow(
        &self,
        part: BuildPart<'_>,
        (expected, submission): (&ExpectedBuild, SlurmRequest),
        mut heard: mpsc::UnboundedReceiver<NodeEvent>,
        cancel: &CancellationToken,
    ) -> Result<SubmissionEnd, Failure> {
        let name = &expected.name;
        let mut watch = SubmissionWatch::new(!submission.avoid.is_empty());
        let number = match self.send(submission, cancel).await? {
            SendOutcome::Taken(number) => number,
            SendOutcome::Unknown => {
                let why = "Slurm did not say whether it took the build".to_owned();
                return Ok(SubmissionEnd::Again(why, None));
            }
        };
        self.book.said(name, Some(number), None, "it was sent")?;
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(stopped()),
                event = heard.recv() => match event {
                    Some(NodeEvent::Started(session)) => {
                        let node = &session.start().node;
                        self.book.said(name, None, Some(node), "it runs")?;
                        part.log.say(&format!("Slurm's job {number} on node {}.", one_line(node)))?;
                        watch.started(session);
                    }
                    Some(NodeEvent::Ended { result, results, given, node }) => {
                        take(part.build.request, part.target, result, &results, &given)?;
                        self.book.said(name, None, Some(&node), "it has ended")?;
                        return Ok(SubmissionEnd::Done(node));
                    }
                    None => return Err(stopped()),
                },
                () = tokio::time::sleep(watch.pace()) => {}
            }
            if let Some(end) = watch.silence() {
                return Ok(end);
            }
            if !watch.is_due() {
                continue;
            }
            // That the controller is away is no news of the build.
            let Ok(queue) = self.queue.look(watch.pace(), cancel).await else { continue };
            let entry = queue.get(name);
            if let Some(said) = watch.news(entry) {
                self.book.said(name, None, entry.and_then(|it| it.node.as_deref()), &said)?;
            }
            match watch.judge(entry, &mut lock(&expected.running))? {
                Some(SubmissionEnd::Again(why, node)) => {
                    let refused = lock(&expected.refused).take();
                    let more = refused.map_or_else(String::new, |said| format!(" ({said})"));
                    return Ok(SubmissionEnd::Again(why + &more, node));
                }
                Some(end) => return Ok(end),
                None => {}
            }
        }
    }

    /// Has Slurm take a submission, however long that needs.
    async fn send(
        &self,
        mut it: SlurmRequest,
        cancel: &CancellationToken,
    ) -> Result<SendOutcome, Failure> {
        let mut said = String::new();
        loop {
            let error = match commands::submit(&it, cancel).await {
                Ok(number) => return Ok(SendOutcome::Taken(number)),
                Err(_) if cancel.is_cancelled() => return Err(stopped()),
                Err(error) => one_line(&format!("{error:#}")),
            };
            // It may have been taken, and only the answer is lost.
            match commands::queue(cancel).await {
                // Slurm 22.05 shows what it has refused as a job that has failed.
                Ok(queue) if queue.get(&it.name).is_some_and(is_open) => {
                    return Ok(SendOutcome::Unknown);
                }
                Ok(_) if error.contains("not available") && !it.avoid.is_empty() => {
                    it.avoid.clear();
                    continue;
                }
                _ => {}
            }
            if error != said {
                self.book.said(
                    &it.name,
                    None,
                    None,
                    &format!("Slurm does not take it: {error}"),
                )?;
                said = error;
            }
            tokio::select! {
                () = cancel.cancelled() => return Err(stopped()),
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }
}

/// What became of a submission's sending.
enum SendOutcome {
    /// Slurm has it, by this number.
    Taken(u64),
    /// Slurm may have it.
    Unknown,
}

/// What is known of a submission while it is followed.
struct SubmissionWatch {
    session: Option<Arc<NodeSession>>,
    said: Option<String>,
    looked: Instant,
    /// Since when it has not been in the queue, or has ended there.
    absent: Option<Instant>,
    ended: Option<Instant>,
    running: Option<(String, Instant)>,
    waits: Instant,
    avoids: bool,
}

impl SubmissionWatch {
    fn new(avoids: bool) -> Self {
        Self {
            session: None,
            said: None,
            looked: Instant::now(),
            absent: None,
            ended: None,
            running: None,
            waits: Instant::now(),
            avoids,
        }
    }

    fn started(&mut self, session: Arc<NodeSession>) {
        self.said = Some("it runs".to_owned());
        self.session = Some(session);
        self.running = None;
    }

    /// How often it is looked at.
    fn pace(&self) -> Duration {
        let is_quiet = self.session.is_some()
            || self.running.is_none() && self.absent.is_none() && self.waits.elapsed() > SILENCE;
        if is_quiet { PACES.1 } else { PACES.0 }
    }

    fn is_due(&mut self) -> bool {
        let is_due = self.looked.elapsed() >= self.pace();
        if is_due {
            self.looked = Instant::now();
        }
        is_due
    }

    /// Gives up a node that is silent, whatever Slurm thinks of it.
    fn silence(&self) -> Option<SubmissionEnd> {
        let session = self.session.as_ref()?;
        let node = &session.start().node;
        (session.silent_for() > SILENCE).then(|| {
            let why = format!("node {node} has said nothing for {} s", SILENCE.as_secs());
            SubmissionEnd::Again(why, Some(node.clone()))
        })
    }

    /// Returns what is to be said of it, if that is new.
    fn news(&mut self, entry: Option<&QueuedJob>) -> Option<String> {
        let said = words(entry?);
        if self.session.is_some() || self.said.as_ref() == Some(&said) {
            return None;
        }
        self.said = Some(said.clone());
        Some(said)
    }

    /// Decides what Slurm's word of it means.
    fn judge(
        &mut self,
        entry: Option<&QueuedJob>,
        running: &mut Option<(u32, Instant)>,
    ) -> Result<Option<SubmissionEnd>, Failure> {
        let since = |at: &mut Option<Instant>| at.get_or_insert_with(Instant::now).elapsed();
        let again = |why: String, node| Ok(Some(SubmissionEnd::Again(why, node)));
        let Some(job) = entry else {
            // A node that builds goes on without its controller.
            let is_lost = self.session.is_none() && since(&mut self.absent) > SETTLING;
            return if is_lost {
                again("Slurm has lost the build".to_owned(), None)
            } else {
                Ok(None)
            };
        };
        self.absent = None;
        let node = || job.node.clone();
        let on = |node: &Option<String>| {
            node.as_ref().map_or_else(String::new, |node| format!(" on node {node}"))
        };
        match job.state.as_str() {
            "RUNNING" | "CONFIGURING" if self.session.is_none() => {
                let name = node().unwrap_or_default();
                match &self.running {
                    Some((before, at)) if *before == name => {
                        running.get_or_insert((0, *at));
                        if at.elapsed() > STARTING {
                            let why = format!("node {name} does not begin the build");
                            return again(why, node());
                        }
                    }
                    _ => self.running = Some((name, Instant::now())),
                }
            }
            "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "SPECIAL_EXIT" | "SUSPENDED" => {
                if self.running.take().is_some() {
                    self.waits = Instant::now();
                }
                if self.avoids && self.waits.elapsed() > AVOIDING {
                    return again("no other node is free".to_owned(), None);
                }
            }
            "CANCELLED" => {
                let text = format!(
                    "somebody cancelled job {} of Slurm, which built it (scancel): 'retry' builds it again",
                    job.number
                );
                return Err(Failure::new(FailureKind::System, text));
            }
            "TIMEOUT" | "DEADLINE" => {
                let text = format!(
                    "Slurm ended its job {}: the partition allows less time than limits.time",
                    job.number
                );
                return Err(Failure::new(FailureKind::BuildTimeout, text));
            }
            "OUT_OF_MEMORY" => {
                let text = format!(
                    "Slurm ended its job {}: it took more memory than limits.memory and its files in memory",
                    job.number
                );
                return Err(Failure::new(FailureKind::BuildMemory, text));
            }
            "PREEMPTED" => return again("another job took its place".to_owned(), None),
            "NODE_FAIL" | "BOOT_FAIL" => {
                return again(format!("the build failed{}", on(&node())), node());
            }
            "COMPLETED" | "FAILED" if since(&mut self.ended) > ENDING => {
                return again(format!("the build ended{} without a word", on(&node())), node());
            }
            _ => {}
        }
        Ok(None)
    }
}

/// Ends what Slurm has of this name. What it forgets to end is fenced.
async fn cancel(book: &dyn SlurmBook, name: &str) {
    if let Err(error) = commands::cancel_named(name).await {
        book.refused(name, "scancel", &one_line(&format!("{error:#}")));
    }
}

/// Tells whether a job may still do something.
fn is_open(job: &QueuedJob) -> bool {
    let over = [
        "COMPLETED",
        "CANCELLED",
        "FAILED",
        "TIMEOUT",
        "NODE_FAIL",
        "BOOT_FAIL",
        "PREEMPTED",
        "DEADLINE",
        "OUT_OF_MEMORY",
    ];
    !over.contains(&&job.state[..])
}

/// Returns what the names of all jobs of this service begin with, on whatever cluster.
fn prefix(state_dir: &Path) -> String {
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(machine.trim());
    hash.update([0]);
    hash.update(state_dir.as_os_str().as_encoded_bytes());
    format!("ib-{}-", &hex(&hash.finalize())[..12])
}

/// Returns what a build that was told to stop ends with.
fn stopped() -> Failure {
    Failure::new(FailureKind::System, "the build was told to stop")
}

fn was_stopped(failure: &Failure) -> bool {
    *failure == stopped()
}

/// Lets the next part of the log have its turn that is still written.
fn next_turn(ended: &Mutex<Vec<bool>>, parts: &[Arc<ClusterLog>], n: usize) -> Result<(), Failure> {
    let mut ended = lock(ended);
    ended[n] = true;
    for (part, ended) in parts.iter().zip(ended.iter()) {
        part.take_turn()?;
        if !ended {
            break;
        }
    }
    Ok(())
}

/// Returns the options that say where a build may run.
fn options(place: &SlurmPlace, architecture: &Architecture) -> Vec<String> {
    let values = [
        ("partition", place.partition.as_deref()),
        ("account", place.account.as_deref()),
        ("qos", place.qos.as_deref()),
        ("constraint", place.constraint(architecture)),
    ];
    let given = values.into_iter().filter_map(|(name, value)| Some((name, value?)));
    given.map(|(name, value)| format!("--{name}={value}")).collect()
}

/// Returns the most minutes that Slurm gives a job: a build may be run twice, and the sandbox ends
/// it before that.
fn minutes(limits: &Limits) -> u64 {
    limits.time.as_secs().div_ceil(60) * 2 + BESIDE_MINUTES
}

/// Returns the memory that Slurm reserves, in MiB: what the build may have, and its files.
fn memory(request: &BuildRequest, in_memory: u64) -> u64 {
    /// What the programs around a build take, in bytes.
    const OURS: u64 = 256 << 20;
    let limits = &request.limits;
    let around = if request.isolation == Isolation::Vm { MORE_MEMORY } else { 0 };
    (limits.memory.0 + limits.disk.0.min(in_memory) + around + OURS).div_ceil(1 << 20)
}

/// Takes what a build has made, as if it had been built here.
fn take(
    request: &BuildRequest,
    target: &Target,
    result: Result<(), Failure>,
    results: &Path,
    given: &Ledger,
) -> Result<(), Failure> {
    request.given.take_over(given);
    result?;
    for entry in fs::read_dir(results)? {
        let entry = entry?;
        let to = request.output.join(entry.file_name());
        if to.exists() {
            let text = format!(
                "builds for two architectures have both made {}",
                one_line(&entry.file_name().to_string_lossy())
            );
            return Err(Failure::new(FailureKind::Result, text));
        }
        fs::rename(entry.path(), to)?;
    }
    if has_changes(request, target)? {
        return Ok(());
    }
    let text = "the node says that it built the package, and sent no .changes";
    Err(Failure::new(FailureKind::Result, text))
}

/// Makes what a node may begin with this right.
fn expected(
    part: BuildPart<'_>,
    name: &str,
    environment: (&Environment, Vec<OfferedFile>),
    bootstrap: [u8; 32],
    events: mpsc::UnboundedSender<NodeEvent>,
) -> Result<ExpectedBuild, Failure> {
    let BuildPart { build, target, log } = part;
    let request = build.request;
    let mut sources = vec![request.dsc.clone()];
    sources.extend(request.source_files.iter().filter(|file| **file != request.dsc).cloned());
    let scratch = request.scratch.join(name);
    fs::create_dir_all(&scratch)?;
    let others = request.others.as_ref().map(serde_json::to_vec).transpose();
    let others = others.map_err(anyhow::Error::from)?;
    Ok(ExpectedBuild {
        name: name.to_owned(),
        bootstrap,
        environment: files_of(environment.0),
        manifest: environment.0.manifest().clone(),
        assignment: assignment(build, target, environment, &sources)?,
        sources,
        local: request.local.clone(),
        others: others.map(Bytes::from),
        builds_here: build.builds_here.cloned(),
        log: log.clone(),
        scratch,
        events,
        running: Mutex::new(None),
        refused: Mutex::new(None),
    })
}

/// Says what a node is told of a build.
fn assignment(
    build: &ClusterBuild<'_>,
    target: &Target,
    (environment, files): (&Environment, Vec<OfferedFile>),
    sources: &[PathBuf],
) -> Result<Assignment> {
    let request = build.request;
    let offered = |path: &PathBuf| {
        let name = path.file_name().context("a source file has a name")?.to_string_lossy();
        offered_file(&name, path)
    };
    let local = request.local.iter().map(|local| {
        let key = fs::read_to_string(&local.key)
            .with_context(|| format!("cannot read {}", local.key.display()))?;
        Ok(OfferedSuite { suite: local.suite.clone(), components: local.components.clone(), key })
    });
    Ok(Assignment {
        package: request.package.clone(),
        version: request.version.clone(),
        distro: request.distro.clone(),
        pocket: request.pocket.clone(),
        architecture: target.architecture.clone(),
        binaries: target.binaries,
        sources: sources.iter().map(offered).collect::<Result<_>>()?,
        local: local.collect::<Result<_>>()?,
        manifest: environment.manifest().without_passwords(),
        isolation: request.isolation,
        environment: files,
        limits: OfferedLimits::from(&request.limits),
        in_memory: build.in_memory,
        unpacked: build.keeping.unpacked,
        layers: build.keeping.layers,
        has_others: request.others.is_some(),
    })
}

fn offered_file(name: &str, path: &Path) -> Result<OfferedFile> {
    let (size, sha256) = invirtibuilder_system::files::digest(path)?;
    Ok(OfferedFile { name: name.to_owned(), size, sha256 })
}

/// Names the files of a chroot or image.
fn files_of(environment: &Environment) -> Vec<(&'static str, PathBuf)> {
    let (tarball, image) = protocol::ENVIRONMENT;
    match environment {
        Environment::Chroot(chroot) => vec![(tarball, chroot.tarball.clone())],
        Environment::Image(it) => {
            image.into_iter().zip([it.kernel(), it.initrd(), it.root()]).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: &str, node: Option<&str>) -> QueuedJob {
        let (node, reason) = (node.map(str::to_owned), "None".to_owned());
        QueuedJob { number: 7, state: state.to_owned(), node, reason }
    }

    #[test]
    fn what_slurm_says_of_a_submission_ends_it_or_goes_on() {
        let judged = |state: &str| {
            SubmissionWatch::new(false).judge(Some(&job(state, Some("n1"))), &mut None)
        };
        for state in ["PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "COMPLETED", "NEW"] {
            assert!(judged(state).unwrap().is_none(), "{state}");
        }
        for state in ["NODE_FAIL", "BOOT_FAIL", "PREEMPTED"] {
            assert!(matches!(judged(state), Ok(Some(SubmissionEnd::Again(..)))), "{state}");
        }
        let kind = |state: &str| judged(state).err().unwrap().kind;
        assert_eq!(kind("CANCELLED"), FailureKind::System);
        assert_eq!(kind("TIMEOUT"), FailureKind::BuildTimeout);
        assert_eq!(kind("OUT_OF_MEMORY"), FailureKind::BuildMemory);
    }

    #[test]
    fn a_submission_that_is_nowhere_is_lost_after_a_while() {
        let mut watch = SubmissionWatch::new(false);
        assert!(watch.judge(None, &mut None).unwrap().is_none());
        watch.absent = Instant::now().checked_sub(SETTLING * 2);
        assert!(matches!(watch.judge(None, &mut None), Ok(Some(SubmissionEnd::Again(_, None)))));
        watch.judge(Some(&job("PENDING", None)), &mut None).unwrap();
        assert!(watch.absent.is_none(), "it was found again");
    }

    #[test]
    fn a_node_that_does_not_begin_is_given_up() {
        let (mut watch, mut running) = (SubmissionWatch::new(false), None);
        let on_n1 = job("RUNNING", Some("n1"));
        assert!(watch.judge(Some(&on_n1), &mut running).unwrap().is_none());
        watch.running = Instant::now().checked_sub(STARTING * 2).map(|at| ("n1".to_owned(), at));
        let Ok(Some(SubmissionEnd::Again(why, node))) = watch.judge(Some(&on_n1), &mut running)
        else {
            panic!()
        };
        assert_eq!((why.contains("n1"), node.as_deref()), (true, Some("n1")));
        assert!(running.is_some(), "the right's time runs");
    }

    #[test]
    fn slurm_is_asked_for_what_the_limits_say() {
        let limits = Limits::default();
        assert_eq!(minutes(&limits), 270);
        let place = SlurmPlace { qos: Some("low".to_owned()), ..SlurmPlace::default() };
        assert_eq!(options(&place, &"amd64".parse().unwrap()), ["--qos=low"]);
        assert!(
            prefix(Path::new("/a")).len() == 16
                && prefix(Path::new("/a")) != prefix(Path::new("/b"))
        );
    }
}
