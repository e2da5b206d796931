//! Whom everything belongs to.

use std::os::unix::fs::MetadataExt;

use anyhow::Result;
use nix::unistd::{User, getuid};

use invirtibuilder_core::config::Config;
use invirtibuilder_core::error::Error;

/// The service's user on an installed system.
pub const USER: &str = "_invirtibuilder";

/// Finds the user whom root makes everything for: whoever owns the state directory, else the
/// service's user. `None` when we are that user already.
pub(crate) fn service_user(config: &Config) -> Result<Option<User>> {
    if !getuid().is_root() {
        return Ok(None);
    }
    if let Some(there) = std::fs::metadata(&config.state_dir).ok().filter(|there| there.uid() != 0)
    {
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
