//! `package-setup`: what the Debian package needs done when it is configured. It can be repeated.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use nix::unistd::{User, getuid};

use crate::build::subids;
use crate::error::{Error, Exit};
use crate::record::upgrade;
use crate::{config, privilege, text};

/// Runs the verb, as root: the service's user gets subordinate ids if it has none, and a database that an older release
/// has written is copied and migrated. A configuration that is broken is no reason for the installation to fail.
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
    let config = match config::load(&config::path(path)) {
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
    }
    Ok(Exit::Ok)
}
