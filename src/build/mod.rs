//! Builds: sbuild(1) inside a sandbox of ours, with a testbed of ours.
//!
//! The whole of sbuild runs in a user namespace made from subordinate ids that no other running build has, with its own
//! mounts, processes, network, cgroups and host name: it sees `/usr` read-only, its inputs, and a file system in memory that
//! dies with it. The chroot is in the [`testbed`], a second set of namespaces within, of other ids again. Killing the first
//! process of the sandbox kills all of it, and that process dies with the daemon. There is no network while the package builds; while build
//! dependencies are installed there is a [`proxy`] that gives out files of the chroot's mirrors and of the suites of our own that
//! may satisfy them, and nothing else.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

pub mod attempt;
mod beneath;
pub mod bounds;
pub mod cgroup;
mod dependencies;
mod dev;
pub mod forwarder;
mod in_chroot;
mod in_machine;
mod large;
mod layers;
pub mod machine;
pub mod proxy;
mod ready;
mod reason;
mod remove;
mod results;
mod room;
mod roots;
pub mod sandbox;
mod sbuild;
pub mod schroot;
mod shares;
mod slot;
pub mod subids;
pub mod testbed;

use crate::architectures::{self, Binaries, Table};
use crate::archive::Archive;
use crate::chroot::{self, Chroot, Image, Manifest, Store};
use crate::config::{Config, Isolation, Limits};
use crate::error::{Failure, FailureKind};
use crate::filter::Programs;
use crate::names::{Architecture, Component, Distro, PackageName, PocketName, Suite, Version};
use crate::subprocess::{CancellationToken, Cmd, Ended, Finished};
use attempt::{Attempt, Lists, Stale};
use bounds::Bounds;
use cgroup::{Breach, Groups};
use large::Large;
use layers::Layers;
use proxy::{Cache, Ledger, Mirrors, Proxy, Suites};
pub use ready::Ready;
pub use remove::remove_tree;
use roots::Roots;
use sandbox::{Bind, Kind, Spec, Testbed};
use sbuild::Installing;
use shares::Shares;
use slot::Slot;
pub use slot::everybody as all_ids;

/// A suite of our own archive that may satisfy build dependencies.
#[derive(Debug, Clone)]
pub struct LocalSuite {
    /// The archive's root.
    pub root: PathBuf,
    /// The suite.
    pub suite: Suite,
    /// Its components.
    pub components: Vec<Component>,
    /// The public key that it is signed with.
    pub key: PathBuf,
}

/// What is to be built, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// The source package's `.dsc`.
    pub dsc: PathBuf,
    /// All of its files, the `.dsc` among them.
    pub source_files: Vec<PathBuf>,
    /// The source package.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// The distro to build in.
    pub distro: Distro,
    /// The pocket that it is for.
    pub pocket: PocketName,
    /// The architectures of the pocket: those of them are built that the source package names, and `all` with the first.
    pub architectures: Vec<Architecture>,
    /// Suites of our own that may satisfy build dependencies.
    pub local: Vec<LocalSuite>,
    /// Names of the binary packages in those, and what they provide: where one of these is among the build dependencies, they
    /// are installed anew. `None`: they are in any case.
    pub others: Option<HashSet<String>>,
    /// Which packages of those suites the build was given, once it has run.
    pub given: Ledger,
    /// What keeps the build from the host.
    pub isolation: Isolation,
    /// What the build may use.
    pub limits: Limits,
    /// An empty directory of the job's own.
    pub scratch: PathBuf,
    /// An empty directory, which then holds the binaries, the `.changes` and the source package.
    pub output: PathBuf,
    /// The log to append to.
    pub log: PathBuf,
}

/// What a build starts from.
#[derive(Debug)]
pub enum Base {
    /// A chroot.
    Chroot(Chroot),
    /// The image of a virtual machine.
    Image(Image),
}

impl Base {
    /// What it is, exactly.
    pub fn manifest(&self) -> &Manifest {
        match self {
            Self::Chroot(chroot) => &chroot.manifest,
            Self::Image(image) => &image.manifest,
        }
    }
}

/// Where a build works.
#[derive(Debug)]
pub struct Places {
    /// As in [`Request`].
    pub scratch: PathBuf,
    /// As in [`Request`].
    pub output: PathBuf,
    /// As in [`Request`].
    pub log: PathBuf,
}

impl Request {
    /// What a configured pocket says of a build. The source package is still to be named.
    pub fn new(
        config: &Config,
        pocket: &PocketName,
        (package, version): (&PackageName, &Version),
        architectures: Vec<Architecture>,
        places: Places,
    ) -> Self {
        let archive = &config.archive;
        let local = config.build_depends_from(pocket).into_iter().map(|from| LocalSuite {
            root: archive.root.clone(),
            suite: config.suite(&from),
            components: config.build.pockets[&from].components.clone(),
            key: Archive::public_key_path(config),
        });
        Self {
            dsc: PathBuf::new(),
            source_files: Vec::new(),
            package: package.clone(),
            version: version.clone(),
            pocket: pocket.clone(),
            distro: config.build.pockets[pocket].distro.clone(),
            architectures,
            local: local.collect(),
            others: None,
            given: Ledger::default(),
            isolation: config.build.pockets[pocket].isolation,
            limits: config.build.pockets[pocket].limits.clone(),
            scratch: places.scratch,
            output: places.output,
            log: places.log,
        }
    }

    /// Adds a line of ours to the log.
    pub fn say(&self, line: &str) -> anyhow::Result<()> {
        let mut log = File::options().append(true).create(true).open(&self.log)?;
        Ok(writeln!(log, "{line}")?)
    }

    /// What has to be built on these architectures, and in which order.
    fn to_build(&self, on: &[Architecture]) -> Result<Vec<(Architecture, Binaries)>, Failure> {
        let dsc = fs::read_to_string(&self.dsc)?;
        let field = dsc.lines().find_map(|line| line.strip_prefix("Architecture:")).unwrap_or_default();
        let words: Vec<&str> = field.split_whitespace().collect();
        let all = architectures::to_build(&Table::read()?, &words, on);
        if all.is_empty() {
            let text = architectures::nothing_for(&self.pocket, &words, on);
            return Err(Failure::new(FailureKind::Invalid, text));
        }
        Ok(all)
    }
}

/// Runs builds.
pub struct Builder {
    chroots: Store,
    state_dir: PathBuf,
    slots: PathBuf,
    cache: PathBuf,
    roots: Roots,
    layers: Layers,
    large: Large,
    in_memory: u64,
    scratch: PathBuf,
    program: PathBuf,
    client: PathBuf,
    shares: Shares,
}

impl Builder {
    /// A builder that works with this configuration.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let program = crate::subprocess::daemon()?;
        Ok(Self {
            chroots: Store::new(config),
            state_dir: config.state_dir.clone(),
            slots: config.state_dir.join("slots"),
            cache: config.state_dir.join("cache"),
            roots: Roots::new(config.state_dir.join("roots")),
            layers: Layers::new(&config.state_dir, config.chroots.layers),
            large: Large::new(config.state_dir.join("large")),
            in_memory: config.in_memory(),
            scratch: config.scratch(),
            program,
            client: crate::subprocess::testbed_run()?,
            shares: Shares::of(config.daemon.jobs)?,
        })
    }

    /// What a build starts from, for each architecture that has to be built; none of ours if schroot has it.
    pub fn bases(&self, request: &Request) -> Result<Vec<Base>, Failure> {
        if request.isolation == Isolation::Schroot {
            return Ok(Vec::new());
        }
        request
            .to_build(&request.architectures)?
            .iter()
            .map(|(architecture, _)| self.base(request, architecture))
            .collect()
    }

    fn base(&self, request: &Request, architecture: &Architecture) -> Result<Base, Failure> {
        let distro = &request.distro;
        let is_image = request.isolation == Isolation::Vm;
        let found = if is_image {
            self.chroots.image(distro, architecture)?.map(Base::Image)
        } else {
            self.chroots.find(distro, architecture)?.map(Base::Chroot)
        };
        found.ok_or_else(|| chroot::missing(distro, architecture, is_image))
    }

    /// Builds in each of these, one after the other.
    pub async fn build(&self, request: &Request, bases: &[Base], cancel: &CancellationToken) -> Result<(), Failure> {
        let slot = Slot::take(&self.slots)?;
        if request.isolation == Isolation::Schroot {
            for (architecture, binaries) in &request.to_build(&request.architectures)? {
                self.build_in_schroot(request, architecture, *binaries, &slot, cancel).await?;
            }
        }
        let on: Vec<Architecture> = bases.iter().map(|base| base.manifest().architecture.clone()).collect();
        let wanted = if bases.is_empty() { Vec::new() } else { request.to_build(&on)? };
        for base in bases {
            let architecture = &base.manifest().architecture;
            let Some((_, binaries)) = wanted.iter().find(|(other, _)| other == architecture) else { continue };
            let binaries = *binaries;
            let mut attempt = self.first_attempt(request);
            let (ended, breach) = loop {
                let (ended, breach) = self.build_in(request, base, binaries, &slot, &attempt, cancel).await?;
                match self.next_attempt(request, base, &attempt, &ended)? {
                    Some(next) => attempt = next,
                    None => break (ended, breach),
                }
            };
            self.judge(request, (architecture, binaries), ended, breach)?;
        }
        for file in &request.source_files {
            let name = file.file_name().context("a source file has a name")?;
            fs::copy(file, request.output.join(name))?;
        }
        Ok(())
    }

    /// Builds in this, once: how that ended, and which limit of the kernel's it has met.
    async fn build_in(
        &self,
        request: &Request,
        base: &Base,
        binaries: Binaries,
        slot: &Slot,
        attempt: &Attempt,
        cancel: &CancellationToken,
    ) -> Result<(Finished, Option<Breach>), Failure> {
        match base {
            Base::Chroot(chroot) => self.in_chroot(request, chroot, binaries, slot, attempt, cancel).await,
            Base::Image(image) => self.in_machine(request, image, binaries, slot, attempt, cancel).await,
        }
    }

    /// Runs a sandbox to its end: how it ended, and which limit of the kernel's it has met.
    async fn sandboxed(
        &self,
        run: Run<'_>,
        mut spec: Spec,
        slot: &Slot,
        output: impl FnOnce(Cmd) -> Cmd,
        cancel: &CancellationToken,
    ) -> Result<(Finished, Option<Breach>), Failure> {
        let socket = run.scratch.join("proxy");
        let _ = fs::remove_file(&socket);
        let (mirrors, suites) = (Mirrors::of(&run.manifest.sources), Suites::of(run.local, run.given));
        let cache = Cache::open(&self.cache)?.giving(run.lists, run.stale);
        let proxy = Proxy::start(&socket, mirrors, suites, cache, run.limits.disk.0)?;
        spec.binds.push(Bind { from: socket, to: spec.proxy.clone(), writable: true });
        let groups = Groups::create(slot.number(), run.limits).await?;
        spec.groups = groups.doors();
        let path = run.scratch.join("sandbox.json");
        fs::write(&path, serde_json::to_vec(&spec).map_err(anyhow::Error::from)?)?;
        let cmd = Cmd::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "unshare", "--user", "--map-root-user"])
            .args(slot.mapping())
            .args(["--mount", "--pid", "--ipc", "--uts", "--net", "--fork", "--kill-child=KILL", "--"])
            .arg(&self.program)
            .arg(sandbox::ARGUMENT)
            .arg(&path)
            .total(run.limits.time)
            .silence(run.limits.silence);
        let stop = cancel.child_token();
        let ended = groups.watch(output(cmd).run(&stop), &stop).await?;
        drop(proxy);
        Ok((ended, groups.end().await))
    }

    async fn build_in_schroot(
        &self,
        request: &Request,
        architecture: &Architecture,
        binaries: Binaries,
        slot: &Slot,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let session = schroot::Session::of(&self.state_dir, slot.number());
        let place = schroot::Place { program: &self.program, session, slot: slot.number() };
        let (ended, breach) = schroot::build(request, architecture, binaries, &place, cancel).await?;
        self.judge(request, (architecture, binaries), ended, breach)
    }

    /// sbuild says 0 for what it skipped too: only a `.changes` is a success.
    fn judge(
        &self,
        request: &Request,
        (architecture, binaries): (&Architecture, Binaries),
        ended: Finished,
        breach: Option<Breach>,
    ) -> Result<(), Failure> {
        let named = if binaries == Binaries::All { "all" } else { architecture.as_str() };
        let suffix = format!("_{named}.changes");
        let changes = fs::read_dir(&request.output)?
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().ends_with(&suffix));
        let fail = |kind, text: String| Err(Failure::new(kind, text));
        let log = String::from_utf8_lossy(&ended.stderr).into_owned();
        let limits = &request.limits;
        let how = if breach == Some(Breach::Processes) { Ended::Exit(bounds::PROCESSES) } else { ended.ended };
        match how {
            Ended::Exit(bounds::MEMORY) => fail(
                FailureKind::BuildMemory,
                format!("the build used more than {} MiB of memory (limits.memory)", limits.memory.0 >> 20),
            ),
            // Without one of its processes it may even believe that it succeeded.
            _ if breach == Some(Breach::Memory) => fail(
                FailureKind::BuildMemory,
                "the build used all the memory that it may (limits.memory and limits.disk)".to_owned(),
            ),
            Ended::Exit(bounds::PROCESSES) => fail(
                FailureKind::BuildProcesses,
                format!("the build had more than {} processes and threads (limits.processes)", limits.processes),
            ),
            Ended::Exit(bounds::DISK) => fail(
                FailureKind::BuildDisk,
                format!("the build used all {} MiB of disk space that it may (limits.disk)", limits.disk.0 >> 20),
            ),
            Ended::Exit(0) if changes => Ok(()),
            Ended::TimedOut => {
                fail(FailureKind::BuildTimeout, format!("the build took longer than {}", span(request.limits.time)))
            }
            Ended::Silent => {
                fail(FailureKind::BuildSilence, format!("the build said nothing for {}", span(request.limits.silence)))
            }
            Ended::TooMuchOutput => {
                let most = limits.log.0 >> 10;
                fail(FailureKind::BuildLog, format!("the build log is longer than {most} KiB (limits.log)"))
            }
            Ended::Cancelled => fail(FailureKind::System, "the build was told to stop".to_owned()),
            Ended::Exit(machine::NOT_STARTED | machine::NO_KVM) => fail(
                FailureKind::Chroot,
                "the virtual machine does not start: the log has what its console said".to_owned(),
            ),
            Ended::Exit(machine::ENDED) => {
                fail(FailureKind::BuildFailed, "the virtual machine ended before the build did".to_owned())
            }
            Ended::Exit(sandbox::BROKEN) => fail(FailureKind::System, ended.describe()),
            Ended::Exit(_) | Ended::Signal(_) => Err(reason::why(&log)),
        }
    }

    /// A sandbox with this testbed, and with no command yet.
    fn bare_spec(&self, scratch: &Path, limits: &Limits, kind: Kind) -> Result<Spec, Failure> {
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
            testbed: Testbed { program: sbuild::PROGRAM.into(), socket: sbuild::SOCKET.into(), kind },
            results: ("result".into(), "output".into()),
            command: Vec::new(),
            environment: sbuild::environment(),
        })
    }
}

/// Gives a sandbox what is to be built, and the command that builds it.
fn fill(
    spec: &mut Spec,
    request: &Request,
    architecture: &Architecture,
    binaries: Binaries,
    installing: Installing,
) -> Result<(), Failure> {
    spec.binds.push(Bind { from: request.output.clone(), to: "output".into(), writable: true });
    for file in &request.source_files {
        let name = file.file_name().context("a source file has a name")?;
        spec.copies.push((file.clone(), PathBuf::from("input").join(name)));
    }
    // Every local suite is one of our one archive.
    if let Some(local) = request.local.first() {
        spec.copies.push((local.key.clone(), "input/archive-key.asc".into()));
    }
    let dsc = request.dsc.file_name().context("a .dsc has a name")?.to_string_lossy().into_owned();
    spec.command = sbuild::command(request, architecture, binaries, installing, &dsc);
    Ok(())
}

/// What runs in a sandbox.
struct Run<'a> {
    manifest: &'a Manifest,
    local: &'a [LocalSuite],
    given: Ledger,
    limits: &'a Limits,
    lists: Lists,
    stale: Stale,
    scratch: &'a Path,
}

impl<'a> Run<'a> {
    /// What runs for no job, with mirrors alone.
    fn beforehand(manifest: &'a Manifest, limits: &'a Limits, scratch: &'a Path) -> Self {
        let (given, stale) = (Ledger::default(), Stale::default());
        Self { manifest, local: &[], given, limits, lists: Lists::Kept, stale, scratch }
    }
}

/// A path of the sandbox, below its root.
fn inside(path: &str) -> PathBuf {
    path.trim_start_matches('/').into()
}

fn span(limit: Duration) -> String {
    crate::session::span(limit.as_millis() as i64)
}
