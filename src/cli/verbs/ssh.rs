//! `ssh-command` and `authorized-keys`: what sshd runs, and nobody else.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;
use nix::unistd::User;

use invirtibuilder_access::identity::Caller;
use invirtibuilder_access::ssh::{self, SshKeys};
use invirtibuilder_core::config::{self, Config};
use invirtibuilder_core::error::{Error, Exit};

/// Arguments of `ssh-command`.
#[derive(Debug, clap::Args)]
pub struct Command {
    /// Who stands behind the key; without it sshd's 'ExposeAuthInfo yes' has to say
    #[arg(long, value_name = "PRINCIPAL")]
    principal: Option<String>,
}

/// Arguments of `authorized-keys`.
#[derive(Debug, clap::Args)]
pub struct AuthorizedKeys {
    /// Whom sshd asks about: only the service's user has keys
    user: Option<String>,
}

/// Finds out who asks, and the words of what they ask for.
pub fn command(path: &Path, args: &Command) -> Result<(Caller, Vec<std::ffi::OsString>)> {
    let principal = match &args.principal {
        Some(principal) => principal.clone(),
        None => {
            let keys = || keys(&load(Some(path))?);
            ssh::principal(std::env::var_os("SSH_USER_AUTH").as_deref(), keys)?
        }
    };
    let line = std::env::var_os("SSH_ORIGINAL_COMMAND").unwrap_or_default();
    Ok((Caller::Ssh(principal), ssh::split(line.as_bytes())?))
}

fn load(path: Option<&Path>) -> Result<Config, Error> {
    config::load(&config::path(path)).map_err(|problems| Error::config(problems[0].to_string()))
}

fn keys(config: &Config) -> Result<SshKeys, Error> {
    match &config.ssh.keys {
        Some(path) => SshKeys::read(path, config.realm.as_deref()),
        None => Ok(SshKeys::default()),
    }
}

/// Prints the lines that sshd's `AuthorizedKeysCommand` is to print.
pub fn authorized_keys(path: Option<&Path>, args: &AuthorizedKeys) -> Result<Exit> {
    let config = load(path)?;
    let owner = std::fs::metadata(&config.state_dir).map(|metadata| metadata.uid()).ok();
    if let Some(user) = &args.user {
        let asked = User::from_name(user)?.map(|user| user.uid.as_raw());
        if asked.is_none() || asked != owner {
            return Ok(Exit::Ok);
        }
    }
    let keys = keys(&config)?;
    for problem in &keys.problems {
        writeln!(
            std::io::stderr(),
            "invirt-build: {}",
            invirtibuilder_core::text::one_line(problem)
        )?;
    }
    let program = program(path)?;
    for (principal, key) in keys.iter() {
        writeln!(std::io::stdout(), "{}", ssh::line(&program, principal, key))?;
    }
    Ok(Exit::Ok)
}

/// Returns this program, as sshd is to call it.
fn program(config: Option<&Path>) -> Result<String> {
    let this = std::env::current_exe()?.display().to_string();
    let words = match config {
        Some(path) => format!("{this} --config {}", path.display()),
        None => this,
    };
    if words.bytes().all(|c| c.is_ascii_alphanumeric() || b"._/+- ".contains(&c)) {
        return Ok(words);
    }
    Err(Error::config(format!(
        "{} cannot stand in authorized_keys: use plain names",
        invirtibuilder_core::text::quoted(&words)
    ))
    .into())
}
