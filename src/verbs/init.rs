//! `init`: makes what the configuration names and is not there yet. It can be run again at any time.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::Path;

use anyhow::{Context, Result};
use nix::unistd::{User, getuid};

use super::chroot;
use crate::archive::Archive;
use crate::chroot::Store;
use crate::config::Config;
use crate::error::{Error, Exit};
use crate::identity::Caller;
use crate::names::Distro;
use crate::record::Record;
use crate::session::Session;
use crate::{config, gitrecord, privilege};

/// The service's user on an installed system.
const USER: &str = "_invirtibuilder";

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The distro to make a first chroot of, unless it is there
    #[arg(long)]
    distro: Option<String>,
}

/// Runs the verb: as root it makes everything for the service's user, as any other user for that one.
pub fn run(path: Option<&Path>, args: &Args) -> Result<Exit> {
    let distro: Option<Distro> = args.distro.as_deref().map(str::parse).transpose()?;
    let path = config::path(path);
    let config = config::load(&path).map_err(|problems| Error::config(problems[0].to_string()))?;
    let made = make_directories(&config)?;
    privilege::become_owner_of(&config.state_dir)?;
    made.iter().try_for_each(|line| say(line))?;
    Record::open(&config.database())?;
    if !config.git.superproject.exists() {
        gitrecord::init_superproject(&config.git.superproject)?;
        say(&format!("superproject {}", config.git.superproject.display()))?;
    }
    // What every verb needs works now: the identity, and the record.
    Session::open(Some(&path), false, &Caller::Shell)?;
    Archive::open(&config)?.publish_key()?;
    if let Some(distro) = distro {
        make_chroot(&config, &distro)?;
    }
    writeln!(std::io::stdout(), "the service is set up; start invirtibuilderd, then submit")?;
    Ok(Exit::Ok)
}

fn say(what: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "made {}", crate::text::one_line(what))?)
}

fn make_chroot(config: &Config, distro: &Distro) -> Result<()> {
    let there = Store::new(config).list()?.iter().any(|chroot| chroot.distro == *distro);
    if !there {
        chroot::make(config, distro)?;
    }
    Ok(())
}

/// Directories and the signing key, owned by the service's user; what was made.
fn make_directories(config: &Config) -> Result<Vec<String>> {
    let owner = service_user(config)?;
    let parent = config.git.superproject.parent().unwrap_or(Path::new("/"));
    let directories: [(&Path, u32); 4] =
        [(&config.state_dir, 0o750), (&config.git.packages, 0o755), (parent, 0o755), (&config.archive.root, 0o755)];
    let mut made = Vec::new();
    for (dir, mode) in directories {
        if !dir.exists() {
            make_directory(dir, mode, owner.as_ref())?;
            made.push(format!("directory {}", dir.display()));
        }
    }
    let key = &config.archive.signing_key;
    if !key.exists() {
        Archive::generate_key(key, &config.archive.origin)
            .with_context(|| format!("cannot make the signing key {}", key.display()))?;
        if let Some(owner) = &owner {
            chown(key, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
        }
        made.push(format!("signing key {}", key.display()));
    }
    Ok(made)
}

fn make_directory(dir: &Path, mode: u32, owner: Option<&User>) -> Result<()> {
    if let Some(parent) = dir.parent().filter(|parent| !parent.exists()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    std::fs::DirBuilder::new().mode(mode).create(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    if let Some(owner) = owner {
        chown(dir, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
    }
    Ok(())
}

/// Whom root makes everything for: whoever owns the state directory, else the service's user. `None` when we are
/// that user already.
fn service_user(config: &Config) -> Result<Option<User>> {
    if !getuid().is_root() {
        return Ok(None);
    }
    if let Some(there) = std::fs::metadata(&config.state_dir).ok().filter(|there| there.uid() != 0) {
        return Ok(User::from_uid(there.uid().into())?);
    }
    let user = User::from_name(USER)?;
    user.map(Some).ok_or_else(|| {
        Error::unavailable(format!(
            "there is no user {USER}: make it with 'adduser --system --group {USER}' and give it ranges in /etc/subuid \
             and /etc/subgid"
        ))
        .into()
    })
}
