//! `isolation: schroot`: sbuild(1) on the host, as the service's own user, in a session of a chroot
//! that schroot(1) knows.
//!
//! This isolates nothing. The maintainer scripts of build dependencies are root on the host, the
//! build itself is the service's user, and both have the host's network and see its processes:
//! sbuild cannot take the network from a schroot, and the kernel gives no namespaces to what
//! chroot(2) has enclosed. It is for those who have such chroots and trust every package. What
//! still holds: limits, a log, what a build returns is looked at like any other, and a build that
//! is ended leaves nothing.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use futures_util::future::BoxFuture;

mod session;

use crate::executor::{BuildOutcome, BuildPlan, Executor};
use crate::proxy::{OpenArchive, Suites};
use crate::request::BuildRequest;
use crate::sbuild;
use invirtibuilder_core::config::{ByteSize, Config, Limits};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::names::{Architecture, Distro};
use invirtibuilder_environment::Environment;
use invirtibuilder_sandbox::results;
pub use invirtibuilder_sandbox::schroot::SCHROOT;
use invirtibuilder_sandbox::schroot::{SESSION, SHIM};
use invirtibuilder_sandbox::status::Status;
use invirtibuilder_sandbox::subcommand::JOIN;
use invirtibuilder_system::cgroup::Groups;
use invirtibuilder_system::subprocess::{CancellationToken, Cmd, Ended, PATH, helper};
pub use session::{SchrootSession, end_all};

/// Where packages are built. Not below `/build`, which all sessions share in schroot's profile for
/// sbuild.
const BUILD_PATH: &str = "/srv/build/package";

/// sbuild's configuration for schroots, before what all builds have.
const CONFIG: &str = r#"
$chroot_mode = 'schroot';
$external_commands = { 'chroot-setup-commands' => [
    q{echo 'Acquire::http::Proxy::127.0.0.1 "DIRECT";' >/etc/apt/apt.conf.d/zz-build},
    q{mkdir -p /etc/dpkg/dpkg.cfg.d && echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/zz-build},
] };
"#;

/// Returns what sbuild-createchroot(8) calls the chroot of a distro.
pub fn name(distro: &Distro, architecture: &Architecture) -> String {
    format!("{distro}-{architecture}-sbuild")
}

/// Why a chroot is none to build in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnfitChroot {
    /// schroot does not know it.
    Missing,
    /// Sessions do not get one of their own: what a build does to it stays.
    Shared,
}

impl UnfitChroot {
    /// Says what is wrong with the chroot of this name, and how that is mended.
    pub fn describe(self, chroot: &str) -> String {
        match self {
            Self::Missing => {
                format!(
                    "schroot has no chroot {chroot}: an administrator makes it with sbuild-createchroot"
                )
            }
            Self::Shared => {
                format!(
                    "builds would write to the chroot {chroot}: it needs 'union-type=overlay' in schroot.conf(5)"
                )
            }
        }
    }
}

/// Checks that schroot has this chroot, and makes a new one of it for each session.
pub async fn look(chroot: &str) -> Result<(), UnfitChroot> {
    match session::schroot(&["--info", "--chroot", &format!("chroot:{chroot}")]).await {
        Ok(told) if is_cloned(&String::from_utf8_lossy(&told)) => Ok(()),
        Ok(_) => Err(UnfitChroot::Shared),
        Err(_) => Err(UnfitChroot::Missing),
    }
}

fn is_cloned(told: &str) -> bool {
    told.lines().any(|line| {
        let mut words = line.split_whitespace();
        (words.next(), words.next(), words.next())
            == (Some("Session"), Some("Cloned"), Some("true"))
    })
}

/// Builds in schroots.
pub struct Schroot {
    state_dir: PathBuf,
    program: PathBuf,
}

impl Executor for Schroot {
    fn environment(
        &self,
        _: &BuildRequest,
        _: &Architecture,
    ) -> Result<Option<Environment>, Failure> {
        Ok(None)
    }

    fn run<'a>(
        &'a self,
        plan: BuildPlan<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<BuildOutcome, Failure>> {
        Box::pin(self.build(plan, cancel))
    }
}

impl Schroot {
    /// Prepares to build in schroots with this configuration.
    pub fn new(config: &Config) -> Result<Self> {
        Ok(Self { state_dir: config.state_dir.clone(), program: helper("build-sandbox")? })
    }

    async fn build(
        &self,
        plan: BuildPlan<'_>,
        cancel: &CancellationToken,
    ) -> Result<BuildOutcome, Failure> {
        let BuildPlan { request, target, slot, .. } = plan;
        let session = SchrootSession::of(&self.state_dir, slot.number());
        let chroot = name(&request.distro, &target.architecture);
        look(&chroot)
            .await
            .map_err(|unfit| Failure::new(FailureKind::Chroot, unfit.describe(&chroot)))?;
        // A build that was killed may have left it.
        session.end().await?;
        let room = Rooms::make(request, &self.program)?;
        let archive = if request.local.is_empty() {
            None
        } else {
            Some(OpenArchive::start(Suites::of(&request.local, request.given.clone())).await?)
        };
        room.configure(request, archive.as_ref())?;
        // Only the sandbox keeps files in memory.
        let groups =
            Groups::create(slot.number(), &Limits { disk: ByteSize(0), ..request.limits.clone() })
                .await?;
        let stop = cancel.child_token();
        let run = room.command(plan, &chroot, &session, &groups).run(&stop);
        let ended = groups.watch(run, &stop).await;
        groups.kill();
        session.end().await?;
        let breach = groups.end().await;
        drop(archive);
        let mut ended = ended?;
        ended.ended = match ended.ended {
            Ended::Exit(0)
                if !results::bring_out(&room.result, &request.output, request.limits.disk.0)? =>
            {
                Ended::Exit(Status::Disk.code().into())
            }
            // What is above is ours to say.
            Ended::Exit(code) => Ended::Exit(Status::of_command(code).into()),
            other => other,
        };
        Ok(BuildOutcome { finished: ended, breach })
    }
}

/// The directories of one build on the host.
struct Rooms {
    input: PathBuf,
    result: PathBuf,
    bin: PathBuf,
    config: PathBuf,
    program: PathBuf,
}

impl Rooms {
    fn make(request: &BuildRequest, program: &Path) -> Result<Self> {
        let dir = request.scratch.join("schroot");
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        let room = Self {
            input: dir.join("input"),
            result: dir.join("result"),
            bin: dir.join("bin"),
            config: dir.join("sbuild.conf"),
            program: program.to_owned(),
        };
        for dir in [&room.input, &room.result, &room.bin] {
            fs::create_dir_all(dir)?;
        }
        symlink(program, room.bin.join(SHIM))?;
        for file in &request.source_files {
            fs::copy(file, room.input.join(file.file_name().context("a source file has a name")?))?;
        }
        Ok(room)
    }

    /// Writes sbuild's configuration. The address of the archive is in a file that others cannot
    /// read, and not on a command line.
    fn configure(&self, request: &BuildRequest, archive: Option<&OpenArchive>) -> Result<()> {
        let mut text = CONFIG.to_owned();
        for (local, archive) in request.local.iter().zip(std::iter::repeat(archive).flatten()) {
            // Names hold nothing that means something to perl.
            let line = sbuild::line(local, archive.url());
            text += &format!("push @{{$extra_repositories}}, '{line}';\n");
        }
        text += sbuild::CONFIG;
        let mut file =
            fs::File::options().write(true).create_new(true).mode(0o600).open(&self.config)?;
        Ok(std::io::Write::write_all(&mut file, text.as_bytes())?)
    }

    fn command(
        &self,
        plan: BuildPlan,
        chroot: &str,
        session: &SchrootSession,
        groups: &Groups,
    ) -> Cmd {
        let BuildPlan { request, target, .. } = plan;
        let (limits, doors) = (&request.limits, groups.doors());
        let mut cmd = Cmd::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.program)
            .arg(JOIN)
            .args(&doors);
        cmd = cmd
            .args(["--", "/usr/bin/prlimit", "--core=0"])
            .arg(format!("--fsize={0}:{0}", limits.disk.0));
        if doors.is_empty() {
            cmd = cmd
                .arg(format!("--data={0}:{0}", limits.memory.0))
                .arg(format!("--nproc={0}:{0}", limits.processes));
        }
        cmd = cmd
            .args(["--", "/usr/bin/sbuild", "--apt-update"])
            .arg(format!("--build-path={BUILD_PATH}"));
        cmd = cmd.arg(format!("--chroot={chroot}")).args(sbuild::options(
            request,
            &target.architecture,
            target.binaries,
        ));
        for (key, _) in sbuild::keys(request) {
            cmd = cmd.arg("--extra-repository-key").arg(key);
        }
        cmd.arg(self.input.join(request.dsc.file_name().unwrap_or_default()))
            .env("PATH", format!("{}:{PATH}", self.bin.display()))
            .env("HOME", &self.input)
            .env("SBUILD_CONFIG", &self.config)
            .env(SESSION, session.name())
            .dir(&self.result)
            .total(limits.time)
            .silence(limits.silence)
            .log(&request.log, limits.log.0)
    }
}

#[cfg(test)]
mod tests {
    use crate::executor::schroot::*;

    #[test]
    fn a_chroot_that_builds_would_write_is_known() {
        let told = "  ─── Chroot ───\n  Name                                 bookworm-amd64-sbuild\n  \
                    Session Managed                      true\n  Session Cloned                       true\n  \
                    Session Purged                       false\n";
        assert!(is_cloned(told));
        assert!(!is_cloned(
            &told
                .replace("Cloned                       true", "Cloned                       false")
        ));
        assert!(!is_cloned("  Type   plain\n"));
    }
}
