//! Runs as the first process of a sandbox: makes its root, runs one command in it, brings the
//! results out.
//!
//! It runs as root of a user namespace in which the service's own user is root, as process 1 of a
//! process namespace: when it ends, however it ends, the kernel ends everything in there. It stays
//! root so that it keeps the signal that it gets when its parent dies; the command runs as
//! [`WORKER`].

use std::fs::{self, DirBuilder, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{Pid, chdir, pivot_root, sethostname};
use serde::{Deserialize, Serialize};

pub mod bounds;
pub mod dev;
pub mod forwarder;
pub mod machine;
pub mod program;
pub mod results;
pub mod schroot;
pub mod status;
pub mod subcommand;
pub mod testbed;

use crate::bounds::Bounds;
use crate::machine::{Accelerator, Machine, kvm};
use crate::status::Status;
use crate::subcommand::AGENT;
use crate::testbed::{Root, UnpackedRoot};
use invirtibuilder_system::cgroup;
use invirtibuilder_system::filter::{Filter, Programs};
use invirtibuilder_system::shares::Shares;

/// The id that the command runs as, within the sandbox.
pub const WORKER: u32 = 1000;

/// The first of the ids that the testbed has, within the sandbox, and their number.
pub const TESTBED: (u32, u32) = (65_536, 65_536);

/// A file or directory of the host that is seen within the sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub struct Bind {
    /// The path outside.
    pub from: PathBuf,
    /// The path within, below the root.
    pub to: PathBuf,
    /// Whether processes within can write it.
    pub writable: bool,
}

/// The testbed of a sandbox. Paths are those within the sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub struct Testbed {
    /// The path of our own program.
    pub program: PathBuf,
    /// The path of the socket that its agent listens at.
    pub socket: PathBuf,
    /// The kind of the testbed.
    pub kind: TestbedKind,
}

/// The kind of a testbed.
#[derive(Debug, Serialize, Deserialize)]
pub enum TestbedKind {
    /// A root of its own, in namespaces of its own.
    Root(Root),
    /// A virtual machine.
    Machine(Machine),
}

impl TestbedKind {
    /// Returns the directory that is the testbed's own.
    pub fn scratch(&self) -> &Path {
        match self {
            Self::Root(root) => &root.scratch,
            Self::Machine(machine) => &machine.scratch,
        }
    }
}

/// The specification of a sandbox, and of the command that runs there. Paths within are relative to
/// the root.
#[derive(Debug, Serialize, Deserialize)]
pub struct Spec {
    /// An empty directory, where the root gets mounted.
    pub root: PathBuf,
    /// The most bytes that may be written within.
    pub size: u64,
    /// The parts of the host that are seen within.
    pub binds: Vec<Bind>,
    /// The files of the host that the sandbox gets copies of, for all to read.
    pub copies: Vec<(PathBuf, PathBuf)>,
    /// The files that the sandbox gets, each with its path and its content.
    pub files: Vec<(String, String)>,
    /// A Unix socket, one of the binds, which is reached over the port [`forwarder::PORT`] of the
    /// loopback interface; all that there is of a network.
    pub proxy: PathBuf,
    /// The most that all processes together may use.
    pub bounds: Bounds,
    /// The programs that the filter of system calls is for.
    pub programs: Programs,
    /// The sandbox's share of what the kernel counts for all builds together.
    pub shares: Shares,
    /// The control groups of the host to join: their `cgroup.procs`.
    pub groups: Vec<PathBuf>,
    /// The testbed that the command may use.
    pub testbed: Testbed,
    /// The directory that results come from and the one that they go to: the sandbox copies plain
    /// files when the command has ended with status 0.
    pub results: (PathBuf, PathBuf),
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The whole environment of the command.
    pub environment: Vec<(String, String)>,
}

/// Runs what the specification in the file `path` says, and ends with the command's status.
pub fn main(path: &Path) -> ExitCode {
    match run(path) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            println!(
                "the sandbox does not work: {}",
                invirtibuilder_core::text::one_line(&format!("{error:#}"))
            );
            ExitCode::from(Status::Broken.code())
        }
    }
}

fn run(path: &Path) -> Result<u8> {
    if std::process::id() != 1 {
        bail!("a sandbox is for the daemon's own use");
    }
    close_inherited()?;
    join_new_keyring()?;
    let spec: Spec = serde_json::from_slice(&fs::read(path)?)?;
    // Before there is a thread or a process that it would not hold.
    Filter::of(spec.programs)?.install().context("cannot filter system calls")?;
    cgroup::join(&spec.groups)?;
    // Only now, so that what is outside of them cannot be seen.
    unshare(CloneFlags::CLONE_NEWCGROUP).context("cannot leave the host's cgroups")?;
    make_root(&spec)?;
    enter(&spec.root)?;
    spec.shares.write()?;
    sethostname("build")?;
    start_network(&spec)?;
    bounds::watch(spec.bounds.clone()).context("cannot watch the build")?;
    let testbed = start_testbed(&spec)?;
    match supervise(&spec, testbed)? {
        // It cannot start, and cannot go on, where it cannot write.
        Stopped::Testbed(code)
            if matches!(
                Status::of(code.into()),
                Some(Status::NotStarted | Status::NoKvm | Status::MachineEnded)
            ) && was_full(&spec.testbed.kind) =>
        {
            Ok(Status::Disk.code())
        }
        Stopped::Testbed(code) => Ok(code),
        Stopped::Command(0) => {
            bring_out(&spec).map(|fits| if fits { 0 } else { Status::Disk.code() })
        }
        Stopped::Command(_) if was_full(&spec.testbed.kind) => Ok(Status::Disk.code()),
        Stopped::Command(code) => Ok(Status::of_command(code.into())),
    }
}

/// The process that ended first, and its status.
enum Stopped {
    /// The command.
    Command(u8),
    /// A machine that says why the build cannot go on. A testbed of another kind is the package's
    /// own affair.
    Testbed(u8),
}

/// Tells whether the build's file system was ever full.
fn was_full(kind: &TestbedKind) -> bool {
    bounds::was_full()
        || matches!(kind, TestbedKind::Machine(it) if it.scratch.join(machine::FULL).exists())
}

/// Closes the files that the daemon inherited from the program that started it: nothing of that is
/// a package's affair.
fn close_inherited() -> Result<()> {
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        // One of them was the directory's own, and is closed already.
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}

/// Leaves the session keyring that came down from the program that started the daemon (keyctl(2)):
/// no namespace hides it.
fn join_new_keyring() -> Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    let nameless: *const libc::c_char = std::ptr::null();
    // SAFETY: this operation takes a name or none, and keeps no pointer.
    #[allow(unsafe_code)]
    let done = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, nameless) };
    match Errno::result(done) {
        // A kernel without keys has none to hide.
        Ok(_) | Err(Errno::ENOSYS) => Ok(()),
        Err(error) => Err(error).context("cannot leave the session keyring"),
    }
}

/// Starts the loopback interface, and the way to the proxy.
fn start_network(spec: &Spec) -> Result<()> {
    let status = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .env_clear()
        .env("PATH", invirtibuilder_system::subprocess::PATH)
        .status();
    if !status.context("cannot run ip")?.success() {
        bail!("cannot start the loopback interface");
    }
    forwarder::start(&Path::new("/").join(&spec.proxy))
}

/// The processes that the kernel allows beyond those that [`bounds`] notices as too many: the
/// kernel only makes fork(2) fail, and [`bounds`] then ends the build.
const SPARE: u64 = 32;

const NONE: Option<&str> = None;

fn make_root(spec: &Spec) -> Result<()> {
    let root = &spec.root;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .context("cannot make mounts private")?;
    let options = format!("mode=0755,size={}", spec.size);
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("build"), root, Some("tmpfs"), flags, Some(options.as_str()))
        .context("cannot mount the root")?;
    for dir in
        ["etc", "root", "dev", "dev/pts", "proc", "sys", "usr", "run", "var", "input", ".old"]
    {
        DirBuilder::new().mode(0o755).create(root.join(dir))?;
    }
    for dir in ["tmp", "var/tmp", "dev/shm"] {
        fs::create_dir(root.join(dir))?;
        fs::set_permissions(root.join(dir), fs::Permissions::from_mode(0o1777))?;
    }
    for dir in ["work", "result"] {
        fs::create_dir(root.join(dir))?;
        chown(root.join(dir), Some(WORKER), Some(WORKER))?;
    }
    let scratch = spec.testbed.kind.scratch();
    let scratch = root.join(scratch.strip_prefix("/").unwrap_or(scratch));
    DirBuilder::new().mode(0o755).create(&scratch)?;
    for (link, target) in
        [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")]
    {
        symlink(target, root.join(link))?;
    }
    for bind in &spec.binds {
        bind_one(&bind.from, &root.join(&bind.to), bind.writable)?;
    }
    chown(&scratch, Some(TESTBED.0), Some(TESTBED.0))?;
    if let TestbedKind::Root(Root { unpacked: Some(UnpackedRoot::Itself(path)), .. }) =
        &spec.testbed.kind
    {
        chown(root.join(path.strip_prefix("/").unwrap_or(path)), Some(TESTBED.0), Some(TESTBED.0))?;
    }
    devices(root)?;
    let kind = &spec.testbed.kind;
    if matches!(kind, TestbedKind::Machine(it) if it.accelerator == Accelerator::Kvm) {
        bind_one(Path::new(kvm::DEVICE), &root.join("dev/kvm"), true)?;
    }
    mount(Some("proc"), &root.join("proc"), Some("proc"), MsFlags::empty(), NONE)
        .context("cannot mount /proc")?;
    for (from, to) in &spec.copies {
        let to = root.join(to);
        fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o644))?;
    }
    for (path, text) in &spec.files {
        fs::write(root.join(path), text)?;
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

fn devices(root: &Path) -> Result<()> {
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        bind_one(&Path::new("/dev").join(name), &root.join("dev").join(name), true)?;
    }
    // The testbed wants one.
    bind_one(Path::new("/dev/null"), &root.join("dev/console"), true)?;
    dev::complete(&root.join("dev"), "newinstance,ptmxmode=0666,mode=0620")
}

fn bind_one(from: &Path, to: &Path, writable: bool) -> Result<()> {
    if fs::metadata(from).with_context(|| format!("cannot find {}", from.display()))?.is_dir() {
        fs::create_dir_all(to)?;
    } else {
        File::create(to)?;
    }
    mount(Some(from), to, NONE, MsFlags::MS_BIND, NONE)
        .with_context(|| format!("cannot bind {}", from.display()))?;
    // The flags that the mount came with are locked: they have to be named again.
    let have = statvfs(to)?.flags();
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID;
    if !writable {
        flags |= MsFlags::MS_RDONLY;
    }
    for (is, flag) in [
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        if have.contains(is) {
            flags |= flag;
        }
    }
    mount(NONE, to, NONE, flags, NONE).with_context(|| format!("cannot restrict {}", to.display()))
}

/// Leaves the host's file system for good.
fn enter(root: &Path) -> Result<()> {
    pivot_root(root, &root.join(".old")).context("cannot change the root")?;
    chdir("/")?;
    umount2("/.old", MntFlags::MNT_DETACH).context("cannot leave the host's file system")?;
    fs::remove_dir("/.old")?;
    Ok(())
}

/// Makes a command with the limits of the sandbox, and with no environment.
fn limited(spec: &Spec) -> Command {
    let mut command = Command::new("/usr/bin/prlimit");
    command
        .arg(format!("--nproc={0}:{0}", spec.bounds.processes + SPARE))
        .arg("--core=0")
        .env_clear()
        .stdin(Stdio::null());
    command
}

/// Starts the testbed's agent: that of a root in namespaces of its own, where root is none of the
/// ids that are in use here; that of a machine as the user that owns its scratch directory, with no
/// rights.
fn start_testbed(spec: &Spec) -> Result<Pid> {
    let testbed = &spec.testbed;
    let listener = UnixListener::bind(&testbed.socket).context("cannot listen for the testbed")?;
    fs::set_permissions(&testbed.socket, fs::Permissions::from_mode(0o666))?;
    let (first, count) = TESTBED;
    let mut command = limited(spec);
    match &testbed.kind {
        TestbedKind::Root(root) => command
            .args(spec.shares.before())
            .args([
                "--",
                "/usr/bin/unshare",
                "--user",
                "--mount",
                "--pid",
                "--ipc",
                "--uts",
                "--fork",
                "--kill-child=KILL",
            ])
            .args([
                format!("--map-users={first},0,{count}"),
                format!("--map-groups={first},0,{count}"),
            ])
            .args(["--setuid=0", "--setgid=0", "--", "/usr/bin/prlimit"])
            .arg(spec.shares.within())
            .args(["--", "/usr/bin/setpriv", "--clear-groups", "--no-new-privs", "--"])
            .arg(&testbed.program)
            .arg(AGENT)
            .arg(serde_json::to_string(root)?),
        TestbedKind::Machine(machine) => command
            .args(["--", "/usr/bin/setpriv"])
            .args([format!("--reuid={first}"), format!("--regid={first}")])
            // The device may be open to a group only.
            .arg(if machine.accelerator == Accelerator::Kvm {
                "--keep-groups"
            } else {
                "--clear-groups"
            })
            .args(["--no-new-privs", "--inh-caps=-all", "--"])
            .arg(&testbed.program)
            .arg(subcommand::MACHINE)
            .arg(serde_json::to_string(machine)?),
    };
    let child = command
        .env("PATH", invirtibuilder_system::subprocess::PATH)
        .env("LC_ALL", "C.UTF-8")
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .spawn()
        .context("cannot start the testbed")?;
    Ok(Pid::from_raw(child.id() as i32))
}

/// Runs the command as [`WORKER`], which has no rights but its own, and waits for it, and for every
/// orphan that it leaves here.
fn supervise(spec: &Spec, testbed: Pid) -> Result<Stopped> {
    let child = limited(spec)
        .args(["--", "/usr/bin/setpriv"])
        .args([format!("--reuid={WORKER}"), format!("--regid={WORKER}")])
        .args(["--clear-groups", "--no-new-privs", "--inh-caps=-all", "--"])
        .args(&spec.command)
        .envs(spec.environment.iter().map(|(key, value)| (key, value)))
        .current_dir(Path::new("/").join(&spec.results.0))
        .spawn()
        .context("cannot run prlimit")?;
    let child = Pid::from_raw(child.id() as i32);
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => {
                return Ok(Stopped::Command(code as u8));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Ok(Stopped::Command(128 + signal as u8));
            }
            Ok(WaitStatus::Exited(pid, code))
                if pid == testbed && matches!(spec.testbed.kind, TestbedKind::Machine(_)) =>
            {
                return Ok(Stopped::Testbed(code as u8));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Copies plain files out. Returns whether there was room.
fn bring_out(spec: &Spec) -> Result<bool> {
    // Whoever is left over could exchange them meanwhile.
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    results::bring_out(
        &Path::new("/").join(&spec.results.0),
        &Path::new("/").join(&spec.results.1),
        spec.size,
    )
}
