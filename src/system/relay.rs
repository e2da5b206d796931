//! Hands a command from the process that remctld starts to one that is there already, and its exit
//! code back.
//!
//! A message has all of the command: who asks, its words, and the client's standard output and
//! error as file descriptors (unix(7), `SCM_RIGHTS`). So nothing is copied on the way back, and
//! whoever answers feels when the client has left. The answer is one byte.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::cmsg_space;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixAddr, accept4, bind, connect, getsockopt, listen, recvmsg, sendmsg, socket,
};
use nix::unistd::getuid;

use invirtibuilder_core::error::Exit;

/// The name of the socket in the directory of sockets.
pub const SOCKET: &str = "command";

/// The directory of sockets, unless the configuration or the environment names another.
pub const RUN_DIR: &str = "/run/invirtibuilder";

/// The program that answers every command.
const PROGRAM: &str = "invirt-build";

/// The longest message that is sent. Longer commands are for processes of their own.
const LONGEST: usize = 64 << 10;

/// The callers that may wait until they are heard.
const BACKLOG: i32 = 1024;

/// What the answerer says if the command is to be run by a process of its own. No exit code.
const ELSEWHERE: u8 = 255;

/// A command that somebody asks for.
#[derive(Debug)]
pub struct RelayedCommand {
    /// The value of `REMOTE_USER`.
    pub remote_user: OsString,
    /// The words, without the program's name.
    pub words: Vec<OsString>,
    /// The client's standard output.
    pub out: File,
    /// The client's standard error.
    pub err: File,
}

/// The answer to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relayed {
    /// It was run, and this is its exit code.
    Done(u8),
    /// It is to be run by a process of its own.
    Elsewhere,
}

/// Runs a command of remctld's (with the program's name first) and returns its exit code: by
/// whoever listens in the directory of sockets, else by becoming `invirt-build`.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = args.into_iter().skip(1).collect();
    if let Some(remote_user) = std::env::var_os("REMOTE_USER") {
        let dir = std::env::var_os("INVIRTIBUILDER_RUN_DIR").unwrap_or_else(|| RUN_DIR.into());
        match ask(&Path::new(&dir).join(SOCKET), &remote_user, &words) {
            Ok(Relayed::Done(code)) => return code.into(),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                eprintln!(
                    "invirt-build: the service was interrupted and may have done this already: 'status' tells; else try again"
                );
                return Exit::TryAgain.into();
            }
            Ok(Relayed::Elsewhere) | Err(_) => {}
        }
    }
    let program = program();
    // It is called as remctld calls programs, so that it has the same name everywhere.
    let error = Command::new(&program).arg0(PROGRAM).args(words).exec();
    eprintln!("invirt-build: {} cannot be run: {error}", program.display());
    Exit::Unavailable.into()
}

/// Finds the program that answers every command: beside this one, or where it is installed.
fn program() -> PathBuf {
    let beside = std::env::current_exe().map(|this| this.with_file_name(PROGRAM));
    beside.ok().filter(|path| path.is_file()).unwrap_or_else(|| Path::new("/usr/bin").join(PROGRAM))
}

/// Asks whoever listens at `path` to run a command for `remote_user`. An error of kind
/// `UnexpectedEof` means that it may have been run; after any other one it was not.
pub fn ask(path: &Path, remote_user: &OsStr, words: &[OsString]) -> io::Result<Relayed> {
    let mut message = remote_user.as_bytes().to_vec();
    for word in words {
        message.push(0);
        message.extend_from_slice(word.as_bytes());
    }
    if message.len() > LONGEST {
        return Ok(Relayed::Elsewhere);
    }
    let socket = seqpacket(SockFlag::SOCK_CLOEXEC)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let streams = [io::stdout().as_fd().as_raw_fd(), io::stderr().as_fd().as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&streams)];
    let parts = [IoSlice::new(&message)];
    sendmsg::<()>(socket.as_raw_fd(), &parts, &rights, MsgFlags::MSG_NOSIGNAL, None)?;
    let mut answer = [0];
    let interrupted = |error: io::Error| io::Error::new(ErrorKind::UnexpectedEof, error);
    match read(&socket, &mut answer).map_err(interrupted)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ if answer[0] == ELSEWHERE => Ok(Relayed::Elsewhere),
        _ => Ok(Relayed::Done(answer[0])),
    }
}

/// Hears commands at one socket.
#[derive(Debug)]
pub struct CommandListener {
    socket: OwnedFd,
}

/// A command that waits for its answer. If it is dropped without one, its client knows that it was
/// interrupted.
#[derive(Debug)]
pub struct HeardCommand {
    /// The command.
    pub command: RelayedCommand,
    socket: OwnedFd,
}

impl CommandListener {
    /// Makes the socket at `path`, for this user and root only. One that is there is replaced.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = seqpacket(SockFlag::SOCK_CLOEXEC)?;
        bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        listen(&socket, Backlog::new(BACKLOG)?)?;
        Ok(Self { socket })
    }

    /// Takes the socket that systemd has made (sd_listen_fds(3)).
    pub fn of(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Waits for the next command of this user or root. Others, and what is no command, are let go
    /// without an answer.
    pub fn hear(&self) -> io::Result<HeardCommand> {
        loop {
            let socket = match accept4(self.socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
                Ok(socket) => owned(socket),
                Err(nix::Error::EINTR | nix::Error::ECONNABORTED) => continue,
                Err(error) => return Err(error.into()),
            };
            if let Ok(command) = receive(&socket) {
                return Ok(HeardCommand { command, socket });
            }
        }
    }
}

impl HeardCommand {
    /// Splits it into the command and what answers it.
    pub fn split(self) -> (RelayedCommand, CommandAnswer) {
        (self.command, CommandAnswer { socket: self.socket })
    }
}

/// Answers one command.
#[derive(Debug)]
pub struct CommandAnswer {
    socket: OwnedFd,
}

impl CommandAnswer {
    /// Answers. A client that has left is not told.
    pub fn send(self, answer: Relayed) {
        let byte = match answer {
            Relayed::Done(code) => code,
            Relayed::Elsewhere => ELSEWHERE,
        };
        let parts = [IoSlice::new(std::slice::from_ref(&byte))];
        let _ = sendmsg::<()>(self.socket.as_raw_fd(), &parts, &[], MsgFlags::MSG_NOSIGNAL, None);
    }
}

fn seqpacket(flags: SockFlag) -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?)
}

/// Takes a descriptor that nobody else has.
#[allow(unsafe_code, reason = "the kernel has just made it for us, so nobody else closes it")]
fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: accept4(2) and recvmsg(2) return descriptors that are open and belong to the caller.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn read(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match nix::unistd::read(socket, buffer) {
            Err(nix::Error::EINTR) => {}
            read => return Ok(read?),
        }
    }
}

fn receive(socket: &OwnedFd) -> io::Result<RelayedCommand> {
    let peer = getsockopt(socket, PeerCredentials)?;
    if peer.uid() != 0 && peer.uid() != getuid().as_raw() {
        return Err(ErrorKind::PermissionDenied.into());
    }
    // Whoever connects and says nothing keeps nobody waiting.
    nix::sys::socket::setsockopt(
        socket,
        nix::sys::socket::sockopt::ReceiveTimeout,
        &nix::sys::time::TimeVal::new(1, 0),
    )?;
    let mut message = vec![0; LONGEST];
    let mut space = cmsg_space!([RawFd; 2]);
    let (length, streams) = {
        let mut parts = [IoSliceMut::new(&mut message)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let got = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        let mut streams = Vec::new();
        for control in got.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = control {
                streams.extend(fds.into_iter().map(owned));
            }
        }
        if got.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
            return Err(ErrorKind::InvalidData.into());
        }
        (got.bytes, streams)
    };
    let Ok([out, err]) = <[OwnedFd; 2]>::try_from(streams) else {
        return Err(ErrorKind::InvalidData.into());
    };
    let mut words = message[..length].split(|byte| *byte == 0).map(<[u8]>::to_vec);
    let remote_user = OsString::from_vec(words.next().unwrap_or_default());
    let words = words.map(OsString::from_vec).collect();
    Ok(RelayedCommand { remote_user, words, out: out.into(), err: err.into() })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use crate::relay::*;

    #[test]
    fn a_command_arrives_whole_and_its_exit_code_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SOCKET);
        let listener = CommandListener::bind(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let answers = std::thread::spawn(move || {
            let (command, answer) = listener.hear().unwrap().split();
            assert_eq!(command.remote_user, "alice@EXAMPLE.ORG");
            assert_eq!(command.words, ["submit", "", "a b\n"]);
            (&command.out).write_all(b"").unwrap();
            answer.send(Relayed::Done(65));
            let (_, answer) = listener.hear().unwrap().split();
            answer.send(Relayed::Elsewhere);
            drop(listener.hear().unwrap());
        });
        let words = ["submit", "", "a b\n"].map(OsString::from);
        let ask = || ask(&path, OsStr::new("alice@EXAMPLE.ORG"), &words);
        assert_eq!(ask().unwrap(), Relayed::Done(65));
        assert_eq!(ask().unwrap(), Relayed::Elsewhere);
        assert_eq!(ask().unwrap_err().kind(), ErrorKind::UnexpectedEof);
        answers.join().unwrap();
        assert_ne!(ask().unwrap_err().kind(), ErrorKind::UnexpectedEof, "nobody has heard it");
    }

    #[test]
    fn a_command_that_is_too_long_is_for_a_process_of_its_own() {
        let words = [OsString::from("x".repeat(LONGEST))];
        let asked = ask(Path::new("/nonexistent"), OsStr::new("a@R"), &words).unwrap();
        assert_eq!(asked, Relayed::Elsewhere);
    }
}
