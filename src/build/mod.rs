//! Builds: sbuild(1) inside a sandbox of ours, with a testbed of ours.
//!
//! The whole of sbuild runs in a user namespace made from subordinate ids that no other running build has, with its own
//! mounts, processes, network, cgroups and host name: it sees `/usr` read-only, its inputs, and a file system in memory that
//! dies with it. The chroot is in the [`testbed`], a second set of namespaces within, of other ids again. Killing the first
//! process of the sandbox kills all of it, and that process dies with the daemon. There is no network while the package builds; while build
//! dependencies are installed there is a [`proxy`] that gives out files of the chroot's mirrors and of the suites of our own that
//! may satisfy them, and nothing else.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

pub mod bounds;
pub mod cgroup;
mod dev;
pub mod forwarder;
pub mod machine;
pub mod proxy;
mod remove;
pub mod sandbox;
mod sbuild;
mod slot;
pub mod subids;
pub mod testbed;

use crate::chroot::{Image, Store};
use crate::config::{Config, Isolation, Limits};
use crate::error::{Failure, FailureKind};
use crate::names::{Architecture, Component, Distro, PackageName, Suite, Version};
use crate::subprocess::{CancellationToken, Cmd, Ended, Finished};
use bounds::Bounds;
use cgroup::Groups;
use machine::{Accelerator, Machine, kvm};
use proxy::{Cache, Mirrors, Proxy, Suites};
pub use remove::remove_tree;
use sandbox::{Bind, Kind, Spec, Testbed};
use slot::Slot;
pub use slot::everybody as all_ids;
use testbed::Root;

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
    /// The architectures to build; `all` is built with the first.
    pub architectures: Vec<Architecture>,
    /// Suites of our own that may satisfy build dependencies.
    pub local: Vec<LocalSuite>,
    /// What keeps it from the host.
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
enum Base {
    /// The tarball of a chroot, and its `deb` lines.
    Tarball(PathBuf, Vec<String>),
    /// The image of a virtual machine.
    Image(Image),
}

/// Runs builds.
pub struct Builder {
    chroots: Store,
    slots: PathBuf,
    cache: PathBuf,
    program: PathBuf,
}

impl Builder {
    /// A builder that works with this configuration.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let program = crate::subprocess::program()?;
        Ok(Self {
            chroots: Store::new(config),
            slots: config.state_dir.join("slots"),
            cache: config.state_dir.join("cache"),
            program,
        })
    }

    /// Builds every architecture, one after the other.
    pub async fn build(&self, request: &Request, cancel: &CancellationToken) -> Result<(), Failure> {
        let slot = Slot::take(&self.slots)?;
        let dsc = fs::read_to_string(&request.dsc)?;
        let only_all = dsc.lines().any(|line| line.trim_end() == "Architecture: all");
        for (n, architecture) in request.architectures.iter().enumerate() {
            if n == 0 || !only_all {
                self.build_one(request, architecture, n == 0, &slot, cancel).await?;
            }
        }
        for file in &request.source_files {
            let name = file.file_name().context("a source file has a name")?;
            fs::copy(file, request.output.join(name))?;
        }
        Ok(())
    }

    async fn build_one(
        &self,
        request: &Request,
        architecture: &Architecture,
        all: bool,
        slot: &Slot,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let base = self.base(request, architecture)?;
        let first = self.run(request, architecture, all, slot, &base, cancel).await?;
        let (ended, starved) = if first.0.ended == Ended::Exit(machine::NO_KVM) {
            kvm::has_failed();
            self.run(request, architecture, all, slot, &base, cancel).await?
        } else {
            first
        };
        self.judge(request, architecture, ended, starved)
    }

    fn base(&self, request: &Request, architecture: &Architecture) -> Result<Base, Failure> {
        let distro = &request.distro;
        let missing = |what: &str, option: &str| {
            let text = format!(
                "there is no {what} {distro} {architecture}: an administrator makes it with 'invirt-build chroot create \
                 {distro}{option}'"
            );
            Failure::new(FailureKind::Chroot, text)
        };
        if request.isolation == Isolation::Vm {
            let image = self.chroots.image(distro, architecture)?.ok_or_else(|| missing("image", " --vm"))?;
            let (length, disk) = (fs::metadata(image.root())?.len() >> 20, request.limits.disk.0 >> 20);
            if length > disk {
                let text = format!("the image alone has {length} MiB, and limits.disk is {disk} MiB");
                return Err(Failure::new(FailureKind::BuildDisk, text));
            }
            return Ok(Base::Image(image));
        }
        let tarball = self.chroots.find(distro, architecture).ok_or_else(|| missing("chroot", ""))?;
        Ok(Base::Tarball(tarball, self.chroots.manifest(distro, architecture)?.sources))
    }

    /// Runs it once: how the sandbox ended, and whether the kernel ended something in it for want of memory.
    async fn run(
        &self,
        request: &Request,
        architecture: &Architecture,
        all: bool,
        slot: &Slot,
        base: &Base,
        cancel: &CancellationToken,
    ) -> Result<(Finished, bool), Failure> {
        let socket = request.scratch.join("proxy");
        let _ = fs::remove_file(&socket);
        let sources = match base {
            Base::Tarball(_, sources) => sources,
            Base::Image(image) => &image.manifest.sources,
        };
        let (mirrors, suites) = (Mirrors::of(sources), Suites::of(&request.local));
        let proxy = Proxy::start(&socket, mirrors, suites, Cache::open(&self.cache)?)?;
        let files = sbuild::chroot_files(sources);
        let (mut spec, limits) = self.spec(request, architecture, all, base, files)?;
        spec.binds.push(Bind { from: socket, to: spec.proxy.clone(), writable: true });
        let groups = Groups::create(slot.number(), &limits)?;
        spec.groups = groups.doors();
        let path = request.scratch.join("sandbox.json");
        fs::write(&path, serde_json::to_vec(&spec).map_err(anyhow::Error::from)?)?;
        let ended = Cmd::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "unshare", "--user", "--map-root-user"])
            .args(slot.mapping())
            .args(["--mount", "--pid", "--ipc", "--uts", "--net", "--fork", "--kill-child=KILL", "--"])
            .arg(&self.program)
            .arg(sandbox::ARGUMENT)
            .arg(&path)
            .total(request.limits.time)
            .silence(request.limits.silence)
            .log(&request.log, request.limits.log.0)
            .run(cancel)
            .await?;
        drop(proxy);
        let starved = groups.ran_out_of_memory();
        Ok((ended, starved))
    }

    /// sbuild says 0 for what it skipped too: only a `.changes` is a success.
    fn judge(
        &self,
        request: &Request,
        architecture: &Architecture,
        ended: Finished,
        starved: bool,
    ) -> Result<(), Failure> {
        let suffix = format!("_{architecture}.changes");
        let changes = fs::read_dir(&request.output)?
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().ends_with(&suffix));
        let fail = |kind, text: String| Err(Failure::new(kind, text));
        let log = String::from_utf8_lossy(&ended.stderr).into_owned();
        let limits = &request.limits;
        match ended.ended {
            Ended::Exit(bounds::MEMORY) => fail(
                FailureKind::BuildMemory,
                format!("the build used more than {} MiB of memory (limits.memory)", limits.memory.0 >> 20),
            ),
            // Without one of its processes it may even believe that it succeeded.
            _ if starved => fail(
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
            Ended::Exit(_) | Ended::Signal(_) => Err(sbuild::why(&log)),
        }
    }

    /// What the sandbox is to be like, and what all in it may use.
    fn spec(
        &self,
        request: &Request,
        architecture: &Architecture,
        all: bool,
        base: &Base,
        files: Vec<(String, String)>,
    ) -> Result<(Spec, Limits), Failure> {
        let root = request.scratch.join("root");
        fs::create_dir_all(&root)?;
        let seen = |from: PathBuf, to: &str| Bind { from, to: inside(to), writable: false };
        let mut binds = vec![
            seen("/usr".into(), "usr"),
            seen(self.program.clone(), sbuild::PROGRAM),
            Bind { from: request.output.clone(), to: "output".into(), writable: true },
        ];
        let (kind, limits) = match base {
            Base::Tarball(tarball, _) => {
                let root = Root { room: "/testbed".into(), tarball: "/chroot.tar".into(), files };
                binds.push(seen(tarball.clone(), "/chroot.tar"));
                (Kind::Root(root), request.limits.clone())
            }
            Base::Image(image) => {
                let machine = Machine::new("/machine", &request.limits, announced(request)?, files);
                binds.push(seen(image.kernel(), "/kernel"));
                binds.push(seen(image.initrd(), "/initrd"));
                binds.push(seen(image.root(), "/image"));
                let outer = machine.outer(&request.limits);
                (Kind::Machine(machine), outer)
            }
        };
        let mut copies = Vec::new();
        for file in &request.source_files {
            let name = file.file_name().context("a source file has a name")?;
            copies.push((file.clone(), PathBuf::from("input").join(name)));
        }
        // Every local suite is one of our one archive.
        if let Some(local) = request.local.first() {
            copies.push((local.key.clone(), "input/archive-key.asc".into()));
        }
        let dsc = request.dsc.file_name().context("a .dsc has a name")?.to_string_lossy().into_owned();
        let spec = Spec {
            root,
            size: limits.disk.0,
            binds,
            copies,
            files: sbuild::files(),
            proxy: "proxy".into(),
            bounds: Bounds { memory: limits.memory.0, processes: limits.processes },
            groups: Vec::new(),
            testbed: Testbed { program: sbuild::PROGRAM.into(), socket: sbuild::SOCKET.into(), kind },
            results: ("result".into(), "output".into()),
            command: sbuild::command(request, architecture, all, &dsc),
            environment: sbuild::environment(),
        };
        Ok((spec, limits))
    }
}

/// What a machine is to be carried out by; if it has to be emulated, the log says why.
fn announced(request: &Request) -> Result<Accelerator, Failure> {
    if let Some(why) = kvm::trouble() {
        let mut log = File::options().append(true).create(true).open(&request.log)?;
        writeln!(log, "This virtual machine is emulated, and slow: {why}")?;
    }
    Ok(kvm::choose())
}

/// A path of the sandbox, below its root.
fn inside(path: &str) -> PathBuf {
    path.trim_start_matches('/').into()
}

fn span(limit: Duration) -> String {
    crate::session::span(limit.as_millis() as i64)
}
