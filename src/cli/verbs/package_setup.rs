//! `package-setup`: what the Debian package needs done when it is configured. It can be repeated.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::{User, getuid};

use invirtibuilder_core::config::{self, Config};
use invirtibuilder_core::error::{Error, Exit};
use invirtibuilder_core::text;
use invirtibuilder_git as git;
use invirtibuilder_publish as publish;
use invirtibuilder_publish::{PublishLock, Publisher};
use invirtibuilder_service::user::USER;
use invirtibuilder_store::{Record, upgrade};
use invirtibuilder_system::runtime::block_on;
use invirtibuilder_system::{privilege, subids};

/// The configuration that the package ships.
const SHIPPED: &str = include_str!("../../../debian/conf/config.yaml");

/// What a first installation adds to it. It is no conffile: an upgrade never brings it.
const FIRST: &str = include_str!("../../../debian/conf/first.yaml");

/// The name of the file that this is written to, below the configuration's conf.d.
const FIRST_NAME: &str = "10-dev.yaml";

/// The arguments of `package-setup`.
#[derive(Debug, clap::Args)]
pub struct PackageSetupArgs {
    /// The package was never configured on this machine
    #[arg(long)]
    first: bool,
}

/// Runs the verb, as root: the service's user gets subordinate ids if it has none, and a database
/// that an older release has written is copied and migrated. Repositories get the settings and the
/// marks of published versions that this release wants, and the archive what it has beside its
/// pool. A configuration that is broken is no reason for the installation to fail.
pub fn answer(path: Option<&Path>, args: &PackageSetupArgs) -> Result<Exit> {
    if !getuid().is_root() {
        return Err(Error::denied("package-setup is run by the package's own scripts").into());
    }
    let mut out = std::io::stdout();
    if let Some(user) = User::from_name(USER)? {
        if subids::builds(&user.name, user.uid.as_raw())? == 0 {
            let range = block_on(subids::grant(&user.name))?;
            writeln!(out, "{} has the subordinate ids {range}", user.name)?;
        }
    }
    let path = config::path(path);
    if args.first {
        if let Some(file) = place_dev(&path)? {
            writeln!(out, "dev has a domain of its own: {} says so", file.display())?;
        }
    }
    let config = match config::load(&path) {
        Ok(config) => config,
        Err(problems) => {
            writeln!(out, "{}", text::one_line(&problems[0].to_string()))?;
            writeln!(
                out,
                "the database was not looked at: 'invirt-build check-config' shows what is to be mended"
            )?;
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

/// Puts dev into a domain of its own, if nobody has said or recorded anything yet: the configuration
/// is the shipped one, and there is no record. Returns the file that says so now.
fn place_dev(path: &Path) -> Result<Option<PathBuf>> {
    let said = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    };
    let is_shipped = std::fs::read_to_string(path).is_ok_and(|text| said(&text) == said(SHIPPED));
    let Ok(config) = config::load(path) else { return Ok(None) };
    let is_divided = !config.archives.is_empty()
        || config.build.pockets.len() != 2
        || config.pockets().any(|pocket| pocket.settings().unreleased.is_some());
    if !is_shipped || is_divided || config.database().exists() {
        return Ok(None);
    }
    let dir = path.parent().context("a configuration is in a directory")?.join("conf.d");
    std::fs::create_dir_all(&dir)?;
    let file = dir.join(FIRST_NAME);
    let mut made = match OpenOptions::new().write(true).create_new(true).mode(0o644).open(&file) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
        made => made?,
    };
    made.write_all(FIRST.as_bytes())?;
    made.sync_all()?;
    Ok(Some(file))
}

/// Gives the archive what this release publishes and an older one did not; what could not be done,
/// each a sentence. The daemon does the same when it starts.
fn archive(config: &Config) -> Result<Vec<String>> {
    Publisher::open(config)?.project(config)
}

/// Brings every repository to what this release expects of one; what could not be done, each a
/// sentence.
fn repositories(config: &Config, path: &Path) -> Result<Vec<String>> {
    if !config.git.packages.exists() {
        return Ok(Vec::new());
    }
    let guard = git::Guard::new(config, path)?;
    let mut troubles = Vec::new();
    for repo in git::repositories(config)? {
        troubles.extend(guard.settle(&repo).err().map(|error| format!("{error:#}")));
    }
    match PublishLock::try_take(&config.state_dir)? {
        Some(_lock) => {
            troubles.extend(publish::mark_all(config, &Record::open(&config.database())?)?);
        }
        None => troubles.push(
            "somebody publishes: the daemon marks published versions when it starts".to_owned(),
        ),
    }
    Ok(troubles)
}
