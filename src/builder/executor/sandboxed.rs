//! What the executors share that build in a sandbox: its making, its proxy and its end.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::attempt::Scratch;
use crate::executor::BuildOutcome;
use crate::large::Large;
use crate::proxy::LocalSuite;
use crate::proxy::{Cache, Ledger, Lists, Mirrors, Proxy, Stale, Suites};
use crate::request::BuildRequest;
use crate::sbuild::{self, Installing};
use invirtibuilder_core::config::{Config, Limits};
use invirtibuilder_core::error::Failure;
use invirtibuilder_core::manifest::Manifest;
use invirtibuilder_core::names::Architecture;
use invirtibuilder_sandbox::bounds::Bounds;
use invirtibuilder_sandbox::{Bind, Spec, Testbed, TestbedKind, subcommand, testbed};
use invirtibuilder_system::architectures::Binaries;
use invirtibuilder_system::cgroup::Groups;
use invirtibuilder_system::filter::Programs;
use invirtibuilder_system::remove::remove_tree;
use invirtibuilder_system::shares::Shares;
use invirtibuilder_system::slot::Slot;
use invirtibuilder_system::subprocess::{CancellationToken, Cmd, helper};

/// Gives builds their way out by the network.
pub trait WayOut: Send + Sync {
    /// Listens on a new socket for a build, until what is returned is dropped.
    fn open(&self, socket: &Path, run: &Run<'_>) -> Result<Box<dyn Send>>;
}

/// The way out of builds on this machine: a proxy that reads its cache.
struct Proxies {
    cache: PathBuf,
}

impl WayOut for Proxies {
    fn open(&self, socket: &Path, run: &Run<'_>) -> Result<Box<dyn Send>> {
        let (mirrors, suites) =
            (Mirrors::of(&run.manifest.sources), Suites::of(run.local, run.given.clone()));
        let cache = Cache::open(&self.cache)?.giving(run.lists, run.stale.clone());
        Ok(Box::new(Proxy::start(socket, mirrors, suites, cache, run.limits.disk.0)?))
    }
}

/// Runs sandboxes.
pub struct Sandboxed {
    way_out: Box<dyn WayOut>,
    /// The packages that do not fit into memory.
    pub large: Large,
    in_memory: u64,
    program: PathBuf,
    client: PathBuf,
    shares: Shares,
}

/// What runs in a sandbox.
pub struct Run<'a> {
    /// What it starts from.
    pub manifest: &'a Manifest,
    /// The suites of our own that it may have.
    pub local: &'a [LocalSuite],
    /// What it is given of those.
    pub given: Ledger,
    /// What it may use.
    pub limits: &'a Limits,
    /// The lists of packages that it installs by.
    pub lists: Lists,
    /// Notes that those may be too old.
    pub stale: Stale,
    /// A directory of its own.
    pub scratch: &'a Path,
    /// The ids that it has.
    pub slot: &'a Slot,
}

impl<'a> Run<'a> {
    /// Returns what runs for no job, with mirrors alone.
    pub fn beforehand(
        manifest: &'a Manifest,
        limits: &'a Limits,
        slot: &'a Slot,
        scratch: &'a Path,
    ) -> Self {
        let (given, stale) = (Ledger::default(), Stale::default());
        Self { manifest, local: &[], given, limits, lists: Lists::Kept, stale, scratch, slot }
    }
}

impl Sandboxed {
    /// Prepares to run sandboxes with this configuration.
    pub fn new(config: &Config) -> Result<Self> {
        Self::with_way_out(config, Box::new(Proxies { cache: config.state_dir.join("cache") }))
    }

    /// Prepares to run sandboxes that have this way out.
    pub fn with_way_out(config: &Config, way_out: Box<dyn WayOut>) -> Result<Self> {
        Ok(Self {
            way_out,
            large: Large::new(config.state_dir.join("large")),
            in_memory: config.in_memory(),
            program: helper("build-sandbox")?,
            client: helper("testbed-run")?,
            shares: Shares::of(config.daemon.jobs)?,
        })
    }

    /// Says where a build writes at first.
    pub fn scratch(&self, request: &BuildRequest) -> Scratch {
        let size = request.limits.disk.0.min(self.in_memory);
        if size < request.limits.disk.0 && self.large.has(&request.package) {
            Scratch::Disk
        } else {
            Scratch::Memory(size)
        }
    }

    /// Runs a sandbox to its end.
    pub async fn run(
        &self,
        run: Run<'_>,
        mut spec: Spec,
        output: impl FnOnce(Cmd) -> Cmd,
        cancel: &CancellationToken,
    ) -> Result<BuildOutcome, Failure> {
        let socket = run.scratch.join("proxy");
        let _ = fs::remove_file(&socket);
        let proxy = self.way_out.open(&socket, &run)?;
        spec.binds.push(Bind { from: socket, to: spec.proxy.clone(), writable: true });
        let groups = Groups::create(run.slot.number(), run.limits).await?;
        spec.groups = groups.doors();
        let path = run.scratch.join("sandbox.json");
        fs::write(&path, serde_json::to_vec(&spec).map_err(anyhow::Error::from)?)?;
        let cmd = Cmd::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "unshare", "--user", "--map-root-user"])
            .args(run.slot.mapping())
            .args([
                "--mount",
                "--pid",
                "--ipc",
                "--uts",
                "--net",
                "--fork",
                "--kill-child=KILL",
                "--",
            ])
            .arg(&self.program)
            .arg(subcommand::SANDBOX)
            .arg(&path)
            .total(run.limits.time)
            .silence(run.limits.silence);
        let stop = cancel.child_token();
        let ended = groups.watch(output(cmd).run(&stop), &stop).await?;
        drop(proxy);
        Ok(BuildOutcome { finished: ended, breach: groups.end().await })
    }

    /// Returns a sandbox with this testbed, and with no command yet.
    pub fn bare_spec(
        &self,
        scratch: &Path,
        limits: &Limits,
        kind: TestbedKind,
    ) -> Result<Spec, Failure> {
        let root = scratch.join("root");
        fs::create_dir_all(&root)?;
        Ok(Spec {
            root,
            size: limits.disk.0,
            binds: vec![
                Bind { from: "/usr".into(), to: "usr".into(), writable: false },
                Bind { from: self.program.clone(), to: inside(sbuild::PROGRAM), writable: false },
                Bind { from: self.client.clone(), to: inside(testbed::CLIENT), writable: false },
            ],
            copies: Vec::new(),
            files: sbuild::files(),
            proxy: "proxy".into(),
            bounds: Bounds { memory: limits.memory.0, processes: limits.processes, written: None },
            programs: Programs::Native,
            shares: self.shares.clone(),
            groups: Vec::new(),
            testbed: Testbed {
                program: sbuild::PROGRAM.into(),
                socket: sbuild::SOCKET.into(),
                kind,
            },
            results: ("result".into(), "output".into()),
            command: Vec::new(),
            environment: sbuild::environment(),
        })
    }

    /// Has the testbed of a sandbox write in this directory, which is emptied, so many bytes.
    pub async fn write_on_disk(
        &self,
        spec: &mut Spec,
        dir: &Path,
        most: u64,
    ) -> Result<(), Failure> {
        let scratch = spec.testbed.kind.scratch().to_owned();
        remove_tree(dir).await?;
        fs::create_dir_all(dir)?;
        spec.size = self.in_memory;
        spec.binds.push(Bind {
            from: dir.to_owned(),
            to: inside(&scratch.to_string_lossy()),
            writable: true,
        });
        spec.bounds.written = Some((scratch, most));
        Ok(())
    }
}

/// Gives a sandbox what is to be built, and the command that builds it.
pub fn fill(
    spec: &mut Spec,
    request: &BuildRequest,
    architecture: &Architecture,
    binaries: Binaries,
    installing: Installing,
) -> Result<(), Failure> {
    spec.binds.push(Bind { from: request.output.clone(), to: "output".into(), writable: true });
    for file in &request.source_files {
        let name = file.file_name().context("a source file has a name")?;
        spec.copies.push((file.clone(), PathBuf::from("input").join(name)));
    }
    for (key, name) in sbuild::keys(request) {
        spec.copies.push((key.to_owned(), PathBuf::from("input").join(name)));
    }
    let dsc = request.dsc.file_name().context("a .dsc has a name")?.to_string_lossy().into_owned();
    spec.command = sbuild::command(request, architecture, binaries, installing, &dsc);
    Ok(())
}

/// Names a path of the sandbox, below its root.
pub fn inside(path: &str) -> PathBuf {
    path.trim_start_matches('/').into()
}
