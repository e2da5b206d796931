//! Runs one command in the testbed: with processes and mounts of its own, so that nothing which it
//! leaves running outlives it, and, if it is the package's own, with a network that leads nowhere.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::wait::{WaitStatus, wait, waitpid};
use nix::unistd::{
    ForkResult, Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, execvp, fork, setsid,
};

use crate::testbed::prefix::Prefixed;
use crate::testbed::wire::{NOT_STARTED, Streams, answer};

/// Runs the command and answers when it has ended, in a process of its own: it returns at once. The
/// caller is a process of one thread.
pub fn run_command(mut to: UnixStream, words: &[Vec<u8>], streams: &Streams) -> Result<()> {
    if split()?.is_some() {
        return Ok(());
    }
    let done = supervise(words, streams);
    let (status, trouble) = match &done {
        Ok(status) => (*status, String::new()),
        Err(error) => (NOT_STARTED, format!("{error:#}")),
    };
    let _ = answer(&mut to, status, &trouble);
    std::process::exit(0)
}

/// Forks (fork(2)). Returns the child's id in the parent, `None` in the child.
fn split() -> Result<Option<Pid>> {
    // SAFETY: this process has one thread, so there are no locks that a thread could hold which the
    // child does not have.
    #[allow(unsafe_code)]
    match unsafe { fork() }.context("cannot start a process")? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Makes the namespaces, and waits for their first process.
fn supervise(words: &[Vec<u8>], streams: &Streams) -> Result<u8> {
    let mut own = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC;
    let code = CodeOf::command(words);
    if code == CodeOf::Package {
        own |= CloneFlags::CLONE_NEWNET;
    }
    unshare(own).context("cannot make the namespaces of a command")?;
    match split()? {
        Some(child) => Ok(status(waitpid(child, None)?)),
        None => {
            std::process::exit(i32::from(first(words, streams, code).unwrap_or_else(|error| {
                eprintln!("a command cannot be run: {error:#}");
                NOT_STARTED
            })))
        }
    }
}

/// Runs as the first process of the namespaces: when it ends, the kernel ends what is left there.
fn first(words: &[Vec<u8>], streams: &Streams, code: CodeOf) -> Result<u8> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        NO_DATA,
    )
    .context("cannot mount /proc")?;
    if code == CodeOf::Package {
        start_loopback().context("cannot start the loopback interface")?;
    }
    let Some(command) = split()? else {
        let Err(error) = become_it(words, streams);
        eprintln!("{error:#}");
        // As env(1) and a shell have it.
        let is_missing = matches!(error.downcast_ref(), Some(Errno::ENOENT | Errno::ENOTDIR));
        std::process::exit(if is_missing { 127 } else { 126 })
    };
    loop {
        match wait() {
            Ok(ended) if ended.pid() == Some(command) => return Ok(status(ended)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

const NO_DATA: Option<&str> = None;

fn become_it(words: &[Vec<u8>], streams: &Streams) -> Result<Infallible> {
    setsid()?;
    // SAFETY: no handler is installed. Rust ignores this signal, and what is run would inherit
    // that.
    #[allow(unsafe_code)]
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }?;
    dup2_stdin(&streams[0])?;
    dup2_stdout(&streams[1])?;
    dup2_stderr(&streams[2])?;
    let words = match Prefixed::parse(words) {
        Some(prefixed) if chdir(prefixed.dir).is_ok() => {
            for (name, value) in prefixed.changes() {
                // SAFETY: this process has one thread.
                #[allow(unsafe_code)]
                unsafe {
                    std::env::set_var(name, value);
                }
            }
            prefixed.command
        }
        _ => words,
    };
    let words: Vec<CString> =
        words.iter().map(|word| CString::new(word.as_slice())).collect::<Result<_, _>>()?;
    let program = words.first().context("there is no command")?;
    execvp(program, &words).with_context(|| format!("cannot run {}", program.to_string_lossy()))
}

/// Returns the status of an ended process as a shell has it.
fn status(ended: WaitStatus) -> u8 {
    match ended {
        WaitStatus::Exited(_, code) => code as u8,
        WaitStatus::Signaled(_, signal, _) => 128 + signal as u8,
        _ => NOT_STARTED,
    }
}

/// Whose code a command of sbuild runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeOf {
    /// apt and dpkg, as root: they need a network.
    Tools,
    /// The package's own, as another user: it has a network of its own.
    Package,
}

impl CodeOf {
    /// Tells whose code a command runs.
    pub fn command(words: &[Vec<u8>]) -> Self {
        let mut words = words
            .iter()
            .map(Vec::as_slice)
            .skip_while(|word| *word == b"env" || word.contains(&b'='));
        match words.next() {
            Some(b"/sbin/runuser") => {
                let as_root = words.next() == Some(b"-u") && words.next() == Some(b"root");
                if as_root { Self::Tools } else { Self::Package }
            }
            _ => Self::Tools,
        }
    }
}

/// Starts the loopback interface: tests of packages talk to themselves.
fn start_loopback() -> Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: an all-zero request is a valid one, and the kernel writes to nothing else
    // (netdevice(7)).
    #[allow(unsafe_code)]
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testbed::command::*;

    #[test]
    fn only_what_root_runs_has_a_network() {
        let is = |line: &str| {
            let words: Vec<_> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
            CodeOf::command(&words) == CodeOf::Package
        };
        assert!(is(
            "env PATH=/usr/bin A=b /sbin/runuser -u builder -- sh -c x exec dpkg-buildpackage"
        ));
        assert!(is("env /sbin/runuser -l builder"));
        assert!(is("/sbin/runuser"));
        assert!(!is("env A=/sbin/runuser apt-get update"));
        assert!(!is("env A=b /sbin/runuser -u root -- apt-get update"));
        assert!(!is("env"));
    }
}
