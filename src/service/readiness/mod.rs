//! What a server has to have before the service works on it: each thing is looked at, and the
//! command that mends it is named. Nothing is changed.

use std::path::Path;

use anyhow::{Context, Result};
use nix::unistd::{User, getuid};

mod access;
mod check;
mod chroots;
mod cluster;
mod files;
mod host;
mod machines;
mod repositories;
mod running;
mod schroot;
mod suites;

use crate::configuration;
use crate::user::service_user;
use invirtibuilder_api::readiness::Check;
use invirtibuilder_core::config::Config;
use invirtibuilder_system::runtime::block_on;

/// Looks at everything that the configuration in a file needs. Root looks for the service's user,
/// any other user for itself.
pub fn check_readiness(path: &Path) -> Result<Vec<Check>> {
    look(&configuration::read(path)?, path)
}

/// Looks at everything. `path` is the configuration's file.
pub(crate) fn look(config: &Config, path: &Path) -> Result<Vec<Check>> {
    let user = match service_user(config)? {
        Some(user) => user,
        None => User::from_uid(getuid())?.context("our uid has no entry in passwd")?,
    };
    block_on(async { Ok(look_for(config, path, &user).await) })
}

async fn look_for(config: &Config, path: &Path, user: &User) -> Vec<Check> {
    let mut checks = vec![
        host::programs("programs", &host::PROGRAMS),
        host::subordinate_ids(config, user),
        host::namespaces(user).await,
    ];
    checks.extend(host::architecture().await);
    checks.extend(machines::look(config, user).await);
    checks.extend(schroot::look(config, path, user).await);
    checks.extend(cluster::look(config, user).await);
    checks.extend(files::directories(config, user));
    checks.extend(files::signing_keys(config, user));
    checks.extend(files::domains(config));
    checks.extend(suites::look(config));
    checks.extend(repositories::hooks(config, path));
    checks.extend(chroots::chroots(config));
    checks.extend(access::access_lists(config));
    checks.push(access::realm(config));
    checks.extend(access::remctl());
    checks.extend(host::disks(config));
    checks.push(running::line(config, user));
    checks.push(running::daemon(config));
    checks.push(running::limits(config));
    checks
}
