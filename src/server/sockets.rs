//! The sockets at which we answer: systemd's (sd_listen_fds(3)), else our own.

use std::fs::{DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context, Result};
use nix::unistd::Group;

use invirtibuilder_core::config::Config;
use invirtibuilder_system::relay::{self, CommandListener};

/// The name of the socket for HTTP in the directory of sockets.
const HTTP: &str = "http";

/// The group whose members may speak HTTP with us.
const WEB: &str = "_invirtibuilder-web";

/// Who has made the sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// systemd, which keeps them when we end and starts us again when somebody connects.
    Systemd,
    /// We have.
    Ourselves,
}

/// The sockets at which we answer.
pub struct Sockets {
    /// The one for commands.
    pub command: CommandListener,
    /// The one for HTTP.
    pub http: Option<UnixListener>,
    /// Who has made them.
    pub maker: Maker,
}

impl Sockets {
    /// Takes the sockets that systemd has made. `None`: it has made none.
    pub fn given() -> Result<Option<Self>> {
        let (mut command, mut http) = (None, None);
        for (fd, name) in sd_notify::listen_fds_with_names()? {
            match &name[..] {
                relay::SOCKET => command = Some(CommandListener::of(taken(fd))),
                HTTP => http = Some(UnixListener::from(taken(fd))),
                _ => {}
            }
        }
        Ok(command.map(|command| Self { command, http, maker: Maker::Systemd }))
    }

    /// Makes the sockets in `run_dir`: that for HTTP if the configuration has `http:`.
    pub fn make(config: &Config) -> Result<Self> {
        let dir = &config.run_dir;
        let command = make(dir, relay::SOCKET, CommandListener::bind)?;
        let http = config.http.as_ref().map(|_| make(dir, HTTP, bind_http)).transpose()?;
        Ok(Self { command, http, maker: Maker::Ourselves })
    }
}

/// Makes a socket in the directory of sockets, and the directory if it is missing.
fn make<T>(dir: &Path, name: &str, bind: fn(&Path) -> io::Result<T>) -> Result<T> {
    let made = DirBuilder::new().mode(0o755).create(dir);
    made.or_else(|error| match error.kind() {
        ErrorKind::AlreadyExists => Ok(()),
        _ => Err(error),
    })
    .with_context(|| format!("cannot make {}", dir.display()))?;
    let path = dir.join(name);
    bind(&path).with_context(|| format!("cannot listen at {}", path.display()))
}

/// Makes the socket for HTTP, for this user and the group of `invirtibuilder-web` only.
fn bind_http(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o660))?;
    if let Some(group) = Group::from_name(WEB)? {
        chown(path, None, Some(group.gid.as_raw()))?;
    }
    Ok(socket)
}

/// Takes a descriptor that systemd has passed.
#[allow(unsafe_code, reason = "systemd has passed it to us, and it is taken once")]
fn taken(fd: i32) -> OwnedFd {
    // SAFETY: sd_listen_fds(3): these descriptors are open and this process's own.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
