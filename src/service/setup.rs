//! Sets the service up: makes what the configuration names and is not there yet. It can be repeated
//! at any time.

use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::Path;

use anyhow::{Context, Result};
use nix::unistd::User;

use crate::chroots::create_first;
use crate::configuration;
use crate::progress::Progress;
use crate::readiness;
use crate::session::Session;
use crate::user::service_user;
use invirtibuilder_access::identity::Caller;
use invirtibuilder_api::progress::Done;
use invirtibuilder_api::readiness::{Readiness, SetUp};
use invirtibuilder_archive::Archive;
use invirtibuilder_core::config::{Config, SigningKey};
use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::Distro;
use invirtibuilder_git as git;
use invirtibuilder_git::Installed;
use invirtibuilder_publish as publish;
use invirtibuilder_publish::PublishLock;
use invirtibuilder_store::{Record, domains};
use invirtibuilder_system::runtime::block_on;
use invirtibuilder_system::{privilege, subids};

/// Makes what the configuration in a file names and is not there yet, with a first chroot of
/// `distro`, and looks what is left to do. Root makes everything for the service's user, any other
/// user for itself.
pub fn set_up_service(
    path: &Path,
    distro: Option<&Distro>,
    progress: &impl Progress,
) -> Result<SetUp> {
    let config = configuration::read(path)?;
    let say = |what: String| progress.tell(&Done::Made(what));
    let made = make_directories(&config)?;
    // Before root is given up, which alone may look everywhere.
    let user = service_user(&config)?;
    if let Some(user) =
        user.filter(|user| subids::builds(&user.name, user.uid.as_raw()).is_ok_and(|n| n == 0))
    {
        let range = block_on(subids::grant(&user.name))?;
        say(format!("subordinate ids {range} for {}", user.name))?;
    }
    privilege::become_owner_of(&config.state_dir)?;
    made.into_iter().try_for_each(say)?;
    let mut record = Record::open(&config.database())?;
    // A pocket that has to be moved needs the other domain's directory and key first.
    record.write(|tx| domains::place_all(tx, &config))?;
    if git::init_superproject(&config.git.superproject)? {
        say(format!("superproject {}", config.git.superproject.display()))?;
    }
    // One repository that is broken keeps nothing else from being done.
    let mut broken = install_guards(&config, path, say)?;
    let unmarked = mark_versions(&config, &record)?;
    broken.extend(
        unmarked
            .into_iter()
            .filter(|text| !broken.iter().any(|known| text.ends_with(known)))
            .collect::<Vec<_>>(),
    );
    // What every use case needs works now: the identity, and the record.
    Session::open(Some(path), &Caller::Shell)?;
    Archive::try_keys(&config).map_err(|(domain, error)| {
        Error::config(format!("{}: {error:#}", domain.setting("signing_key")))
    })?;
    for (domain, _) in config.domains() {
        Archive::open(&config, &domain)?.publish_key()?;
    }
    if let Some(distro) = distro {
        create_first(&config, distro, progress)?;
    }
    let mut left = readiness::look(&config, path)?;
    left.retain(|check| check.verdict != Readiness::Fine);
    Ok(SetUp { broken, left })
}

/// Installs the hook that keeps people's pushes from what is the service's, in every repository
/// that there is; why it is not in some, each a sentence.
fn install_guards(
    config: &Config,
    path: &Path,
    made: impl Fn(String) -> Result<()>,
) -> Result<Vec<String>> {
    let guard = git::Guard::new(config, path)?;
    let (mut hooks, mut settings, mut broken) = (0, 0, Vec::new());
    for repo in git::repositories(config)? {
        match guard.install(&repo) {
            Ok(Installed::Nothing) => {}
            Ok(Installed::Settings) => settings += 1,
            Ok(Installed::Hook) => hooks += 1,
            Err(error) => broken.push(format!("{error:#}")),
        }
    }
    match hooks {
        0 => {}
        1 => made("the update hook of 1 repository".to_owned())?,
        _ => made(format!("the update hooks of {hooks} repositories"))?,
    }
    match settings {
        0 => {}
        1 => made("the settings of 1 repository".to_owned())?,
        _ => made(format!("the settings of {settings} repositories"))?,
    }
    Ok(broken)
}

/// Says in every repository which versions were published, where nobody has said it yet; why not in
/// some.
fn mark_versions(config: &Config, record: &Record) -> Result<Vec<String>> {
    let _lock = PublishLock::take(&config.state_dir)?;
    publish::mark_all(config, record)
}

/// Directories and the signing key, owned by the service's user; what was made.
fn make_directories(config: &Config) -> Result<Vec<String>> {
    let owner = service_user(config)?;
    // Each is the service's own, what is above it need not be.
    let mut directories: Vec<(&Path, u32)> = vec![
        (&config.state_dir, 0o750),
        (&config.git.packages, 0o755),
        (&config.git.superproject, 0o755),
    ];
    directories.extend(config.domains().map(|(_, archive)| (&*archive.root, 0o755)));
    let mut made = Vec::new();
    for (dir, mode) in directories {
        if !dir.exists() {
            make_directory(dir, mode, owner.as_ref())?;
            made.push(format!("directory {}", dir.display()));
        }
    }
    for (_, archive) in config.domains() {
        for key in &archive.signing_key {
            let SigningKey::File(key) = key else { continue };
            if !key.exists() {
                make_key(&archive.origin, key, owner.as_ref())?;
                made.push(format!("signing key {}", key.display()));
            }
        }
    }
    Ok(made)
}

fn make_key(origin: &str, key: &Path, owner: Option<&User>) -> Result<()> {
    Archive::generate_key(key, origin)
        .with_context(|| format!("cannot make the signing key {}", key.display()))?;
    if let Some(owner) = owner {
        chown(key, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
    }
    Ok(())
}

fn make_directory(dir: &Path, mode: u32, owner: Option<&User>) -> Result<()> {
    if let Some(parent) = dir.parent().filter(|parent| !parent.exists()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    std::fs::DirBuilder::new()
        .mode(mode)
        .create(dir)
        .with_context(|| format!("cannot make {}", dir.display()))?;
    if let Some(owner) = owner {
        chown(dir, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
    }
    Ok(())
}
