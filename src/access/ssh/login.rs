//! Finds the principal behind a login, from what sshd writes to the file that `$SSH_USER_AUTH`
//! names, with `ExposeAuthInfo yes` (sshd_config(5)).

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::ssh::keys::SshKeys;
use invirtibuilder_core::error::Error;

/// The longest such file, in bytes: sshd writes a line for each method, so at most some keys.
const MAX_INFO: u64 = 64 << 10;

/// Finds the principal of a login. `file` is the value of `$SSH_USER_AUTH`, `keys` are those of
/// `ssh.keys`.
pub fn principal(
    file: Option<&OsStr>,
    keys: impl FnOnce() -> Result<SshKeys, Error>,
) -> Result<String, Error> {
    let file = file.ok_or_else(|| {
        Error::denied(
            "sshd does not say who logged in: set 'ExposeAuthInfo yes' or give --principal",
        )
    })?;
    of_info(
        &read(Path::new(file))
            .map_err(|why| Error::denied(format!("$SSH_USER_AUTH cannot be used: {why}")))?,
        keys,
    )
}

/// Reads the file's text. A client that could choose the variable must not be able to choose the
/// file: it is ours, and nobody else can look at it, as sshd makes it.
fn read(path: &Path) -> Result<String, String> {
    let file = File::options()
        .read(true)
        .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits() | nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    let ours = metadata.uid() == nix::unistd::geteuid().as_raw();
    if !metadata.is_file() || !ours || metadata.mode() & 0o077 != 0 {
        return Err("it is not a file that sshd made".to_owned());
    }
    let mut text = String::new();
    file.take(MAX_INFO).read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

/// Finds the principal in the file's text: a ticket names it, and a key is looked up. With several
/// methods the ticket counts.
fn of_info(text: &str, keys: impl FnOnce() -> Result<SshKeys, Error>) -> Result<String, Error> {
    let of =
        |method: &str| text.lines().find_map(|line| line.strip_prefix(method)?.strip_prefix(' '));
    if let Some(name) = of("gssapi-with-mic") {
        return Ok(name.to_owned());
    }
    let key = of("publickey")
        .ok_or_else(|| Error::denied("this login is neither by Kerberos nor by a key"))?;
    let found = keys()?.owner(key).map(str::to_owned);
    found.ok_or_else(|| {
        Error::denied("no principal has this ssh key: 'ssh.keys' of the configuration lists them")
    })
}

#[cfg(test)]
mod tests {
    use crate::ssh::login::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    fn keys() -> Result<SshKeys, Error> {
        Ok(SshKeys::parse_yaml(&format!("alice@R: [ '{KEY} laptop' ]\n"), None).unwrap())
    }

    #[test]
    fn the_ticket_or_the_key_says_who_it_is() {
        let of = |text: &str| of_info(text, keys).map_err(|error| error.to_string());
        assert_eq!(of("gssapi-with-mic bob@R\n").unwrap(), "bob@R");
        assert_eq!(of(&format!("publickey {KEY}\n")).unwrap(), "alice@R");
        assert_eq!(of(&format!("publickey {KEY}\ngssapi-with-mic bob@R\n")).unwrap(), "bob@R");
        assert!(
            of("publickey ssh-ed25519 AAAA\n")
                .unwrap_err()
                .contains("no principal has this ssh key")
        );
        for other in ["", "password\n", "gssapi-with-mic\n", "keyboard-interactive\n"] {
            assert!(of(other).unwrap_err().contains("neither"), "{other:?}");
        }
    }

    #[test]
    fn only_a_file_that_sshd_made_is_believed() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sshauth");
        std::fs::write(&path, "gssapi-with-mic bob@R\n").unwrap();
        let chmod =
            |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        chmod(0o600);
        assert_eq!(principal(Some(path.as_os_str()), keys).unwrap(), "bob@R");
        chmod(0o644);
        assert!(principal(Some(path.as_os_str()), keys).is_err());
        chmod(0o600);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(principal(Some(link.as_os_str()), keys).is_err());
        assert!(principal(None, keys).unwrap_err().to_string().contains("ExposeAuthInfo"));
        assert!(principal(Some(OsStr::new("/nonexistent")), keys).is_err());
    }
}
