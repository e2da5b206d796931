//! `package-setup`: what the Debian package needs done when it is configured. It can be repeated.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use nix::unistd::{User, getuid};

use crate::build::subids;
use crate::config::Config;
use crate::error::{Error, Exit};
use crate::publish::{self, PublishLock, Publisher};
use crate::record::{Record, upgrade};
use crate::{config, gitrecord, privilege, text};

/// Runs the verb, as root: the service's user gets subordinate ids if it has none, and a database that an older release
/// has written is copied and migrated. Repositories get the settings and the marks of published versions that this
/// release wants, and the archive what it has beside its pool. A configuration that is broken is no reason for the installation to fail.
pub fn run(path: Option<&Path>) -> Result<Exit> {
    if !getuid().is_root() {
        return Err(Error::denied("package-setup is run by the package's own scripts").into());
    }
    let mut out = std::io::stdout();
    if let Some(user) = User::from_name(super::init::USER)? {
        if subids::builds(&user.name, user.uid.as_raw())? == 0 {
            let range = super::init::now(subids::grant(&user.name))?;
            writeln!(out, "{} has the subordinate ids {range}", user.name)?;
        }
    }
    let path = config::path(path);
    let config = match config::load(&path) {
        Ok(config) => config,
        Err(problems) => {
            writeln!(out, "{}", text::one_line(&problems[0].to_string()))?;
            writeln!(out, "the database was not looked at: 'invirt-build check-config' shows what is to be mended")?;
            return Ok(Exit::Ok);
        }
    };
    if config.database().exists() {
        privilege::become_owner_of(&config.state_dir)?;
        if let Some(copy) = upgrade::upgrade(&config.database())? {
            writeln!(out, "the database was migrated; what it was is in {}", copy.display())?;
        }
        for done in [repositories(&config, &path), archive(&config)] {
            for trouble in done.unwrap_or_else(|error| vec![format!("{error:#}")]) {
                writeln!(out, "{}", text::one_line(&trouble))?;
            }
        }
    }
    Ok(Exit::Ok)
}

/// Gives the archive what this release publishes and an older one did not; what could not be done, each a sentence. The daemon does
/// the same when it starts.
fn archive(config: &Config) -> Result<Vec<String>> {
    Publisher::open(config)?.project(config)
}

/// Brings every repository to what this release expects of one; what could not be done, each a sentence.
fn repositories(config: &Config, path: &Path) -> Result<Vec<String>> {
    if !config.git.packages.exists() {
        return Ok(Vec::new());
    }
    let guard = gitrecord::Guard::new(config, path)?;
    let mut troubles = Vec::new();
    for repo in gitrecord::repositories(config)? {
        troubles.extend(guard.settle(&repo).err().map(|error| format!("{error:#}")));
    }
    match PublishLock::try_take(&config.state_dir)? {
        Some(_lock) => troubles.extend(publish::mark_all(config, &Record::open(&config.database())?)?),
        None => troubles.push("somebody publishes: the daemon marks published versions when it starts".to_owned()),
    }
    Ok(troubles)
}
