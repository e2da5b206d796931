//! Builds: sbuild(1) in unshare mode, inside a sandbox of ours.
//!
//! sbuild's own chroot is no boundary against a hostile package, so the whole of sbuild runs in a user namespace made
//! from subordinate ids that no other running build has, with its own mounts, processes and host name: it sees `/usr`
//! read-only, its inputs, and a file system in memory that dies with it. Killing the first process of the sandbox kills
//! all of it, and that process dies with the daemon. There is no network while the package builds; while build
//! dependencies are installed there is that of the host.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

mod remove;
pub mod sandbox;
mod sbuild;
mod slot;
pub mod subids;

use crate::chroot::Store;
use crate::config::{Config, Limits};
use crate::error::{Failure, FailureKind};
use crate::names::{Architecture, Component, Distro, PackageName, Suite, Version};
use crate::subprocess::{CancellationToken, Cmd, Ended, Finished};
pub use remove::remove_tree;
use sandbox::{Bind, Spec};
use slot::Slot;

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
    /// What the build may use.
    pub limits: Limits,
    /// An empty directory of the job's own.
    pub scratch: PathBuf,
    /// An empty directory, which then holds the binaries, the `.changes` and the source package.
    pub output: PathBuf,
    /// The log to append to.
    pub log: PathBuf,
}

/// Runs builds.
pub struct Builder {
    chroots: Store,
    slots: PathBuf,
    program: PathBuf,
}

impl Builder {
    /// A builder that works with this configuration.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let program = crate::subprocess::program()?;
        Ok(Self { chroots: Store::new(config), slots: config.state_dir.join("slots"), program })
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
        let chroot = self.chroots.find(&request.distro, architecture).ok_or_else(|| {
            let distro = &request.distro;
            let text = format!(
                "there is no chroot {distro} {architecture}: an administrator makes it with 'invirt-build chroot create \
                 {distro}'"
            );
            Failure::new(FailureKind::Chroot, text)
        })?;
        let spec = self.spec(request, architecture, all, chroot)?;
        let path = request.scratch.join("sandbox.json");
        fs::write(&path, serde_json::to_vec(&spec).map_err(anyhow::Error::from)?)?;
        let ended = Cmd::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "unshare", "--user", "--map-root-user"])
            .args(slot.mapping())
            .args(["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child=KILL", "--"])
            .arg(&self.program)
            .arg(sandbox::ARGUMENT)
            .arg(&path)
            .total(request.limits.time)
            .silence(request.limits.silence)
            .log(&request.log, request.limits.log.0)
            .run(cancel)
            .await?;
        self.judge(request, architecture, ended)
    }

    /// sbuild says 0 for what it skipped too: only a `.changes` is a success.
    fn judge(&self, request: &Request, architecture: &Architecture, ended: Finished) -> Result<(), Failure> {
        let suffix = format!("_{architecture}.changes");
        let changes = fs::read_dir(&request.output)?
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().ends_with(&suffix));
        let fail = |kind, text: String| Err(Failure::new(kind, text));
        let log = String::from_utf8_lossy(&ended.stderr).into_owned();
        match ended.ended {
            Ended::Exit(0) if changes => Ok(()),
            Ended::TimedOut => {
                fail(FailureKind::BuildTimeout, format!("the build took longer than {}", span(request.limits.time)))
            }
            Ended::Silent => {
                fail(FailureKind::BuildSilence, format!("the build said nothing for {}", span(request.limits.silence)))
            }
            Ended::TooMuchOutput => {
                let most = request.limits.log.0 >> 20;
                fail(FailureKind::BuildFailed, format!("the build log is longer than {most} MiB"))
            }
            Ended::Cancelled => fail(FailureKind::System, "the build was told to stop".to_owned()),
            Ended::Exit(sandbox::BROKEN) => fail(FailureKind::System, ended.describe()),
            Ended::Exit(_) | Ended::Signal(_) => Err(sbuild::why(&log)),
        }
    }

    fn spec(
        &self,
        request: &Request,
        architecture: &Architecture,
        all: bool,
        chroot: PathBuf,
    ) -> Result<Spec, Failure> {
        let root = request.scratch.join("root");
        fs::create_dir_all(&root)?;
        let mut binds = vec![
            Bind { from: "/usr".into(), to: "usr".into(), writable: false },
            Bind { from: chroot, to: "chroot.tar".into(), writable: false },
            Bind { from: request.output.clone(), to: "output".into(), writable: true },
        ];
        let mut copies = Vec::new();
        for file in &request.source_files {
            let name = file.file_name().context("a source file has a name")?;
            copies.push((file.clone(), PathBuf::from("input").join(name)));
        }
        // Every local suite is one of our one archive.
        if let Some(local) = request.local.first() {
            binds.push(Bind { from: local.root.clone(), to: "archive".into(), writable: false });
            copies.push((local.key.clone(), "input/archive-key.asc".into()));
        }
        let dsc = request.dsc.file_name().context("a .dsc has a name")?.to_string_lossy().into_owned();
        Ok(Spec {
            root,
            size: request.limits.disk.0,
            binds,
            copies,
            files: sbuild::files(),
            results: ("result".into(), "output".into()),
            command: sbuild::command(request, architecture, all, &dsc),
            environment: sbuild::environment(),
        })
    }
}

fn span(limit: Duration) -> String {
    crate::session::span(limit.as_millis() as i64)
}
