//! Carries out the build that a script is the right for.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hyper::body::Bytes;
use nix::unistd::{SysconfVar, sysconf};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client::{DaemonClient, SessionOver};
use crate::place::{HeldEnvironment, NodeDir};
use invirtibuilder_builder::slurm::protocol::{
    Assignment, Bootstrap, BuildEnd, OfferedFile, ReportedFailure, StartAnswer, StartRequest,
    is_plain_name,
};
use invirtibuilder_builder::{
    BuildRequest, Builder, Lists, LocalSuite, Ready, Run, Target, Unshare, WayOut,
};
use invirtibuilder_core::config::{ByteSize, Config, Limits};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::text::one_line;
use invirtibuilder_core::time::now;
use invirtibuilder_environment::dependencies::Dependencies;
use invirtibuilder_environment::{Chroot, Environment};
use invirtibuilder_system::files::digest;
use invirtibuilder_system::slot::Slot;
use invirtibuilder_system::subprocess::CancellationToken;

/// How often the node says that it lives.
const BEAT: Duration = Duration::from_secs(2);

/// How long the daemon may be away before the build is given up. It has given up the node by then.
const AWAY: Duration = Duration::from_secs(30);

/// How long a build waits for ids that another one has, which is about to end: Slurm may have
/// forgotten it, or begun to end it.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often the log is looked at.
const PACE: Duration = Duration::from_millis(50);

/// The job of Slurm's that this process is.
#[derive(Debug, Clone)]
pub struct SlurmEnvironment {
    /// Slurm's number.
    pub number: u64,
    /// How often it was started again.
    pub again: u32,
    /// The node.
    pub node: String,
}

impl SlurmEnvironment {
    /// Reads what Slurm says of it in the environment.
    pub fn read() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        let number = variable("SLURM_JOB_ID").and_then(|text| text.parse().ok());
        let again = variable("SLURM_RESTART_COUNT").map_or(Some(0), |text| text.parse().ok());
        Ok(Self {
            number: number.context("SLURM_JOB_ID is not set: Slurm starts this program")?,
            again: again.context("SLURM_RESTART_COUNT is no number")?,
            node: variable("SLURMD_NODENAME").context("SLURMD_NODENAME is not set")?,
        })
    }
}

/// Exchanges the right of a script for a session, and builds what the daemon says.
pub async fn run(
    node: &NodeDir,
    bootstrap: &Bootstrap,
    slurm: &SlurmEnvironment,
    cancel: &CancellationToken,
) -> Result<()> {
    let daemon = DaemonClient::new(bootstrap)?;
    let start = StartRequest {
        name: bootstrap.name.clone(),
        right: bootstrap.right.clone(),
        number: slurm.number,
        again: slurm.again,
        node: slurm.node.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: now(),
    };
    let answer: StartAnswer = daemon.exchange("/start", &start).await?;
    let daemon = daemon.in_session(answer.session);
    let heart = tokio::spawn(beat(daemon.clone(), cancel.clone()));
    let done = build(node, &daemon, &answer.build, (bootstrap, slurm), cancel).await;
    heart.abort();
    done
}

/// Says that the node lives, and ends the build when the daemon does not want it any more.
async fn beat(daemon: DaemonClient, cancel: CancellationToken) {
    let mut heard = Instant::now();
    loop {
        match daemon.beat().await {
            Ok(()) => heard = Instant::now(),
            Err(error) if error.is::<SessionOver>() || heard.elapsed() > AWAY => {
                cancel.cancel();
                return;
            }
            Err(_) => {}
        }
        tokio::time::sleep(BEAT).await;
    }
}

async fn build(
    node: &NodeDir,
    daemon: &DaemonClient,
    assigned: &Assignment,
    (bootstrap, slurm): (&Bootstrap, &SlurmEnvironment),
    cancel: &CancellationToken,
) -> Result<()> {
    let name = format!("{}-{}-{}", bootstrap.name, slurm.number, slurm.again);
    anyhow::ensure!(is_plain_name(&name), "the name of the job is no plain name");
    let dir = node.begin(&name).await?;
    let log = dir.path.join("log");
    fs::write(&log, "")?;
    let (sender, receiver) = mpsc::channel(64);
    let (ended, follower) = (CancellationToken::new(), daemon.clone());
    let sending = tokio::spawn(async move { follower.send_log(receiver).await });
    let following = tokio::spawn(follow(log.clone(), sender, ended.clone()));
    let done = async {
        let prepared = prepare(node, daemon, assigned, &dir.path, log.clone()).await?;
        let result = build_prepared(node, daemon, &prepared, cancel).await;
        Ok::<_, anyhow::Error>((result, prepared))
    }
    .await;
    if let Err(error) = &done {
        let why = one_line(&format!("{error:#}"));
        let text = format!("\nNode {} cannot build: {why}\n", slurm.node);
        let mut file = fs::File::options().append(true).open(&log)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
    }
    // All of the log is there before the build is said to be over.
    ended.cancel();
    following.await??;
    sending.await??;
    let (result, prepared) = done?;
    anyhow::ensure!(!cancel.is_cancelled(), "the build was told to stop");
    let sent = match result {
        Ok(()) => send_results(daemon, &prepared.request.output).await,
        Err(failure) => Err(failure.into()),
    };
    let end = match sent {
        Ok(results) => BuildEnd { failure: None, results },
        Err(error) => {
            // Only what the package has done is the build's end.
            let Failure { kind, text } = error.downcast()?;
            let failure = ReportedFailure { kind: kind.as_str().to_owned(), text };
            BuildEnd { failure: Some(failure), results: Vec::new() }
        }
    };
    drop(prepared);
    daemon.send_json("/end", &end).await?;
    dir.remove().await
}

/// Sends a log as it is written.
async fn follow(log: PathBuf, to: mpsc::Sender<Bytes>, ended: CancellationToken) -> Result<()> {
    let mut file = fs::File::open(&log)?;
    let mut at = 0;
    loop {
        // What is written after this is looked at once more.
        let is_last = ended.is_cancelled();
        file.seek(SeekFrom::Start(at))?;
        let mut buffer = Vec::with_capacity(64 << 10);
        Read::by_ref(&mut file).take(64 << 10).read_to_end(&mut buffer)?;
        if buffer.is_empty() {
            if is_last {
                return Ok(());
            }
            tokio::select! {
                () = ended.cancelled() => {}
                () = tokio::time::sleep(PACE) => {}
            }
            continue;
        }
        at += buffer.len() as u64;
        to.send(buffer.into()).await.context("the daemon takes no more of the log")?;
    }
}

/// What a build needs, on this node.
struct PreparedBuild {
    request: BuildRequest,
    target: Target,
    config: Config,
    slot: Slot,
    _environment: HeldEnvironment,
}

async fn prepare(
    node: &NodeDir,
    daemon: &DaemonClient,
    assigned: &Assignment,
    dir: &Path,
    log: PathBuf,
) -> Result<PreparedBuild> {
    let sub = |name: &str| -> Result<PathBuf> {
        let path = dir.join(name);
        fs::create_dir(&path)?;
        Ok(path)
    };
    let (source, keys) = (sub("source")?, sub("keys")?);
    let mut source_files = Vec::new();
    for (n, file) in assigned.sources.iter().enumerate() {
        anyhow::ensure!(is_plain_name(&file.name), "the source package has a file of a bad name");
        let to = source.join(&file.name);
        daemon.fetch(&format!("/source/{n}"), &to, file.size, &file.sha256).await?;
        source_files.push(to);
    }
    let offered = (&assigned.manifest, &assigned.environment[..]);
    let environment = node.environment(daemon, offered).await?;
    let others = if assigned.has_others { Some(daemon.others().await?) } else { None };
    let local = assigned.local.iter().enumerate().map(|(n, offered)| {
        let key = keys.join(format!("{n}.asc"));
        fs::write(&key, &offered.key)?;
        Ok(LocalSuite {
            root: PathBuf::new(),
            suite: offered.suite.clone(),
            components: offered.components.clone(),
            key,
        })
    });
    let request = BuildRequest {
        dsc: source_files.first().context("there is no source package")?.clone(),
        source_files,
        package: assigned.package.clone(),
        version: assigned.version.clone(),
        distro: assigned.distro.clone(),
        pocket: assigned.pocket.clone(),
        architectures: vec![assigned.architecture.clone()],
        local: local.collect::<Result<_>>()?,
        others,
        given: Default::default(),
        isolation: assigned.isolation,
        limits: Limits::from(&assigned.limits),
        scratch: sub("scratch")?,
        output: sub("output")?,
        log,
    };
    let target = Target {
        architecture: assigned.architecture.clone(),
        binaries: assigned.binaries,
        environment: Some(environment.environment.clone()),
    };
    let mut config = Config { state_dir: node.path().to_owned(), ..Config::default() };
    config.chroots.in_memory = Some(ByteSize(assigned.in_memory));
    config.chroots.unpacked = assigned.unpacked;
    config.chroots.layers = assigned.layers;
    // Builds on this node share what the kernel counts by user.
    config.daemon.jobs =
        sysconf(SysconfVar::_NPROCESSORS_CONF)?.map_or(1, |count| count.max(1) as usize);
    let slot = take_slot(&node.path().join("slots")).await?;
    Ok(PreparedBuild { request, target, config, slot, _environment: environment })
}

/// Takes subordinate ids, when some are free. Where none are, it is the node that cannot build.
async fn take_slot(slots: &Path) -> Result<Slot> {
    let start = Instant::now();
    loop {
        match Slot::take(slots) {
            Err(_) if start.elapsed() < PATIENCE => tokio::time::sleep(PACE).await,
            taken => return Ok(taken?),
        }
    }
}

async fn build_prepared(
    node: &NodeDir,
    daemon: &DaemonClient,
    prepared: &PreparedBuild,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let PreparedBuild { request, target, config, slot, .. } = prepared;
    let builder = Builder::with_way_out(config, Box::new(Tunnels(daemon.clone())))?;
    if config.chroots.unpacked
        && let Some(Environment::Chroot(chroot)) = &target.environment
    {
        get_ready(node, builder.unshare(), (prepared, chroot), cancel).await?;
    }
    node.recall_kvm();
    let done = builder.build_binaries(request, std::slice::from_ref(target), slot, cancel).await;
    node.note_kvm()?;
    done
}

/// Unpacks the chroot, and installs above it what the build asks for and an earlier one has: both
/// stay for later builds. Without them the build does it for itself.
async fn get_ready(
    node: &NodeDir,
    unshare: &Unshare,
    (prepared, chroot): (&PreparedBuild, &Chroot),
    cancel: &CancellationToken,
) -> Result<()> {
    let PreparedBuild { request, target, slot, .. } = prepared;
    let kept = node.chroots()?;
    unshare.forget(u32::MAX, &kept, &unshare.wanted(&kept)?).await?;
    match unshare.get_slot_ready(slot, chroot, cancel).await {
        Ok(false) => {}
        Ok(true) => request.say("\nThe chroot is unpacked on this node, and stays so.")?,
        Err(error) => {
            let why = one_line(&format!("{error:#}"));
            return request.say(&format!("\nThe chroot is unpacked for this build only: {why}."));
        }
    }
    let Some(asked) = Dependencies::of(&request.dsc, target.binaries) else { return Ok(()) };
    let why = match unshare.install_for(slot, chroot, &asked, cancel).await {
        Ok(None) => return Ok(()),
        Ok(Some(Ready { why: None, .. })) => {
            let text = "\nThe build dependencies are installed on this node, and stay so.";
            return request.say(text);
        }
        Ok(Some(Ready { why: Some(why), .. })) => why,
        Err(error) => format!("{error:#}"),
    };
    let why = one_line(&why);
    request.say(&format!("\nThe build dependencies do not stay on this node: {why}."))
}

/// Sends all that the build has made, or nothing: a build that returns what no build may has
/// failed.
async fn send_results(daemon: &DaemonClient, output: &Path) -> Result<Vec<OfferedFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(output)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // A link would lead to this machine's own files.
        if !is_plain_name(&name) || !entry.file_type()?.is_file() {
            let text =
                format!("the build returned {name:?}, which is not a plain file with a plain name");
            return Err(Failure::new(FailureKind::Result, text).into());
        }
        files.push((name, entry.path()));
    }
    let mut results = Vec::new();
    for (name, path) in files {
        let (size, sha256) = digest(&path)?;
        daemon.send_file(&format!("/result/{name}"), &path).await?;
        results.push(OfferedFile { name, size, sha256 });
    }
    Ok(results)
}

/// The way out of builds on a node: each connection is passed to the daemon's proxy.
struct Tunnels(DaemonClient);

/// What listens for a build; ends when dropped.
struct Tunnel(JoinHandle<()>);

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl WayOut for Tunnels {
    fn open(&self, socket: &Path, run: &Run<'_>) -> Result<Box<dyn Send>> {
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("cannot listen on {}", socket.display()))?;
        // The daemon's lists may be older than the mirrors'.
        run.stale.note();
        let lists = if run.lists == Lists::Kept { "kept" } else { "anew" };
        let daemon = Arc::new(self.0.clone());
        Ok(Box::new(Tunnel(tokio::spawn(async move {
            // Connections end with this task.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                while connections.try_join_next().is_some() {}
                let Ok((mut stream, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let daemon = daemon.clone();
                connections.spawn(async move {
                    // A connection that breaks is apt's to try again.
                    if let Ok(mut proxy) = daemon.proxy(lists).await {
                        let _ = tokio::io::copy_bidirectional(&mut stream, &mut proxy).await;
                    }
                });
            }
        }))))
    }
}
