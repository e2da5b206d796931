//! `isolation: schroot`: sbuild(1) on the host, as the service's own user, in a session of a chroot that schroot(1) knows.
//!
//! This isolates nothing. The maintainer scripts of build dependencies are root on the host, the build itself is the service's
//! user, and both have the host's network and see its processes: sbuild cannot take the network from a schroot, and the kernel
//! gives no namespaces to what chroot(2) has enclosed. It is for those who have such chroots and trust every package. What still
//! holds: limits, a log, what a build returns is looked at like any other, and a build that is ended leaves nothing.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

mod session;

use super::cgroup::{self, Breach, Groups};
use super::proxy::{Open, Suites};
use super::{Request, bounds, results, sandbox, sbuild};
use crate::architectures::Binaries;
use crate::config::{ByteSize, Limits};
use crate::error::{Failure, FailureKind};
use crate::names::{Architecture, Distro};
use crate::subprocess::{CancellationToken, Cmd, Ended, Finished, PATH};
pub use session::{SCHROOT, Session, end_all};

/// The daemon's first argument when it is to run sbuild in the build's control groups.
const JOIN: &str = "schroot-build";

/// The name under which sbuild finds our program before schroot's own.
const SHIM: &str = "schroot";

/// The variable that tells [`SHIM`] how a new session is to be named.
const SESSION: &str = "INVIRTIBUILDER_SESSION";

/// Where packages are built. Not below `/build`, which all sessions share in schroot's profile for sbuild.
const BUILD_PATH: &str = "/srv/build/package";

/// sbuild's configuration for schroots, before what all builds have.
const CONFIG: &str = r#"
$chroot_mode = 'schroot';
$external_commands = { 'chroot-setup-commands' => [
    q{echo 'Acquire::http::Proxy::127.0.0.1 "DIRECT";' >/etc/apt/apt.conf.d/zz-build},
    q{mkdir -p /etc/dpkg/dpkg.cfg.d && echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/zz-build},
] };
"#;

/// What sbuild-createchroot(8) calls the chroot of a distro.
pub fn name(distro: &Distro, architecture: &Architecture) -> String {
    format!("{distro}-{architecture}-sbuild")
}

/// Why a chroot is none to build in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// schroot does not know it.
    Missing,
    /// Sessions do not get one of their own: what a build does to it stays.
    Shared,
}

impl Unfit {
    /// What is wrong with the chroot of this name, and how that is mended.
    pub fn describe(self, chroot: &str) -> String {
        match self {
            Self::Missing => {
                format!("schroot has no chroot {chroot}: an administrator makes it with sbuild-createchroot")
            }
            Self::Shared => {
                format!("builds would write to the chroot {chroot}: it needs 'union-type=overlay' in schroot.conf(5)")
            }
        }
    }
}

/// Whether schroot has this chroot, and makes a new one of it for each session.
pub async fn look(chroot: &str) -> Result<(), Unfit> {
    match session::schroot(&["--info", "--chroot", &format!("chroot:{chroot}")]).await {
        Ok(told) if is_cloned(&String::from_utf8_lossy(&told)) => Ok(()),
        Ok(_) => Err(Unfit::Shared),
        Err(_) => Err(Unfit::Missing),
    }
}

fn is_cloned(told: &str) -> bool {
    told.lines().any(|line| {
        let mut words = line.split_whitespace();
        (words.next(), words.next(), words.next()) == (Some("Session"), Some("Cloned"), Some("true"))
    })
}

/// Does what the arguments ask for, if it is one of the things that are done here.
pub fn main(args: &[OsString]) -> Option<ExitCode> {
    let error = if Path::new(args.first()?).file_name()? == SHIM {
        begin_or_pass(&args[1..])
    } else if args.get(1)? == JOIN {
        join(&args[2..])
    } else {
        return None;
    };
    eprintln!("{}", crate::text::one_line(&format!("{error:#}")));
    Some(ExitCode::from(sandbox::BROKEN as u8))
}

/// schroot with the same arguments; a session that it begins gets our name.
fn begin_or_pass(args: &[OsString]) -> anyhow::Error {
    let mut command = Command::new(SCHROOT);
    if args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--begin-session") {
        let Some(name) = std::env::var_os(SESSION) else { return anyhow::anyhow!("{SESSION} is not set") };
        command.arg("--session-name").arg(name);
    }
    anyhow::Error::from(command.args(args).exec()).context("cannot run schroot")
}

/// Joins the groups whose doors come first, and becomes the command after `--`.
fn join(args: &[OsString]) -> anyhow::Error {
    let mut parts = args.splitn(2, |arg| arg == "--");
    let doors: Vec<PathBuf> = parts.next().into_iter().flatten().map(PathBuf::from).collect();
    let Some([program, args @ ..]) = parts.next() else { return anyhow::anyhow!("{JOIN} is for the daemon's own use") };
    match cgroup::join(&doors) {
        Ok(()) => anyhow::Error::from(Command::new(program).args(args).exec()).context("cannot run prlimit"),
        Err(error) => error,
    }
}

/// What a build in a schroot needs to know of the daemon.
pub struct Place<'a> {
    /// Our own program.
    pub program: &'a Path,
    /// The session that the build is to have.
    pub session: Session,
    /// The build's slot.
    pub slot: u32,
}

/// Builds one architecture. How sbuild ended, as the sandbox would say it, and which limit of the kernel's it has met.
pub async fn build(
    request: &Request,
    architecture: &Architecture,
    binaries: Binaries,
    place: &Place<'_>,
    cancel: &CancellationToken,
) -> Result<(Finished, Option<Breach>), Failure> {
    let chroot = name(&request.distro, architecture);
    look(&chroot).await.map_err(|unfit| Failure::new(FailureKind::Chroot, unfit.describe(&chroot)))?;
    // A build that was killed may have left it.
    place.session.end().await?;
    let room = Room::make(request, place.program)?;
    let archive = if request.local.is_empty() {
        None
    } else {
        Some(Open::start(Suites::of(&request.local, request.given.clone())).await?)
    };
    room.configure(request, archive.as_ref())?;
    // Only the sandbox keeps files in memory.
    let groups = Groups::create(place.slot, &Limits { disk: ByteSize(0), ..request.limits.clone() }).await?;
    let stop = cancel.child_token();
    let run = room.command(request, architecture, binaries, &chroot, place, &groups).run(&stop);
    let ended = groups.watch(run, &stop).await;
    groups.kill();
    place.session.end().await?;
    let breach = groups.end().await;
    drop(archive);
    let mut ended = ended?;
    ended.ended = match ended.ended {
        Ended::Exit(0) if !results::bring_out(&room.result, &request.output, request.limits.disk.0)? => {
            Ended::Exit(bounds::DISK)
        }
        // What is above is ours to say.
        Ended::Exit(code) => Ended::Exit(code.min(sandbox::MOST.into())),
        other => other,
    };
    Ok((ended, breach))
}

/// The directories of one build on the host.
struct Room {
    input: PathBuf,
    result: PathBuf,
    bin: PathBuf,
    config: PathBuf,
}

impl Room {
    fn make(request: &Request, program: &Path) -> Result<Self> {
        let dir = request.scratch.join("schroot");
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        let room = Self {
            input: dir.join("input"),
            result: dir.join("result"),
            bin: dir.join("bin"),
            config: dir.join("sbuild.conf"),
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

    /// The address of the archive is in a file that others cannot read, and not on a command line.
    fn configure(&self, request: &Request, archive: Option<&Open>) -> Result<()> {
        let mut text = CONFIG.to_owned();
        for (local, archive) in request.local.iter().zip(std::iter::repeat(archive).flatten()) {
            // Names hold nothing that means something to perl.
            let line = sbuild::line(local, archive.url());
            text += &format!("push @{{$extra_repositories}}, '{line}';\n");
        }
        text += sbuild::CONFIG;
        let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&self.config)?;
        Ok(std::io::Write::write_all(&mut file, text.as_bytes())?)
    }

    fn command(
        &self,
        request: &Request,
        architecture: &Architecture,
        binaries: Binaries,
        chroot: &str,
        place: &Place,
        groups: &Groups,
    ) -> Cmd {
        let (limits, doors) = (&request.limits, groups.doors());
        let mut cmd = Cmd::new("setpriv").args(["--pdeathsig", "KILL", "--"]).arg(place.program).arg(JOIN).args(&doors);
        cmd = cmd.args(["--", "/usr/bin/prlimit", "--core=0"]).arg(format!("--fsize={0}:{0}", limits.disk.0));
        if doors.is_empty() {
            cmd = cmd.arg(format!("--data={0}:{0}", limits.memory.0)).arg(format!("--nproc={0}:{0}", limits.processes));
        }
        cmd = cmd.args(["--", "/usr/bin/sbuild", "--apt-update"]).arg(format!("--build-path={BUILD_PATH}"));
        cmd = cmd.arg(format!("--chroot={chroot}")).args(sbuild::options(request, architecture, binaries));
        // Every local suite is one of our one archive.
        if let Some(local) = request.local.first() {
            cmd = cmd.arg("--extra-repository-key").arg(&local.key);
        }
        cmd.arg(self.input.join(request.dsc.file_name().unwrap_or_default()))
            .env("PATH", format!("{}:{PATH}", self.bin.display()))
            .env("HOME", &self.input)
            .env("SBUILD_CONFIG", &self.config)
            .env(SESSION, place.session.name())
            .dir(&self.result)
            .total(limits.time)
            .silence(limits.silence)
            .log(&request.log, limits.log.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chroot_that_builds_would_write_is_known() {
        let told = "  ─── Chroot ───\n  Name                                 bookworm-amd64-sbuild\n  \
                    Session Managed                      true\n  Session Cloned                       true\n  \
                    Session Purged                       false\n";
        assert!(is_cloned(told));
        assert!(!is_cloned(&told.replace("Cloned                       true", "Cloned                       false")));
        assert!(!is_cloned("  Type   plain\n"));
    }

    #[test]
    fn only_what_is_for_here_is_done_here() {
        let args = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        for words in [&[] as &[&str], &["invirtibuilderd"], &["/usr/sbin/invirtibuilderd", "--config", "schroot"]] {
            assert!(main(&args(words)).is_none(), "{words:?}");
        }
        assert!(main(&args(&["invirtibuilderd", JOIN])).is_some());
    }
}
