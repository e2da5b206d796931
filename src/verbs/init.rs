//! `init`: makes what the configuration names and is not there yet, and says what else the machine lacks. It can be run
//! again at any time; with `--check` it only looks.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::Path;

use anyhow::{Context, Result};
use nix::unistd::{User, getuid};

use super::chroot;
use crate::archive::Archive;
use crate::build::subids;
use crate::chroot::Store;
use crate::config::{Config, SigningKey};
use crate::error::{Error, Exit};
use crate::gitrecord::Installed;
use crate::identity::Caller;
use crate::names::Distro;
use crate::publish::{self, PublishLock};
use crate::readiness::{self, Check, Verdict};
use crate::record::Record;
use crate::session::Session;
use crate::{config, gitrecord, privilege, text};

/// The service's user on an installed system.
pub const USER: &str = "_invirtibuilder";

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The distro to make a first chroot of, unless it is there
    #[arg(long)]
    distro: Option<String>,
    /// Only look, and say what is missing and which command mends it
    #[arg(long, conflicts_with = "distro")]
    check: bool,
}

/// Runs the verb: as root it makes everything for the service's user, as any other user for that one.
/// With `--check` it changes nothing, and 69 says that something is missing.
pub fn run(path: Option<&Path>, args: &Args, as_json: bool) -> Result<Exit> {
    let distro: Option<Distro> = args.distro.as_deref().map(str::parse).transpose()?;
    let path = config::path(path);
    let config = config::load(&path).map_err(|problems| Error::config(problems[0].to_string()))?;
    if args.check {
        let checks = look(&config, &path)?;
        show(&checks, as_json)?;
        let works = checks.iter().all(|check| check.verdict != Verdict::Wrong);
        return Ok(if works { Exit::Ok } else { Exit::Unavailable });
    }
    let made = make_directories(&config)?;
    // Before root is given up, which alone may look everywhere.
    let user = service_user(&config)?;
    if let Some(user) = user.filter(|user| subids::builds(&user.name, user.uid.as_raw()).is_ok_and(|n| n == 0)) {
        say(&format!("subordinate ids {} for {}", now(subids::grant(&user.name))?, user.name))?;
    }
    privilege::become_owner_of(&config.state_dir)?;
    made.iter().try_for_each(|line| say(line))?;
    let record = Record::open(&config.database())?;
    if gitrecord::init_superproject(&config.git.superproject)? {
        say(&format!("superproject {}", config.git.superproject.display()))?;
    }
    // One repository that is broken keeps nothing else from being done.
    let mut broken = install_guards(&config, &path)?;
    let unmarked = mark_versions(&config, &record)?;
    broken.extend(
        unmarked.into_iter().filter(|text| !broken.iter().any(|known| text.ends_with(known))).collect::<Vec<_>>(),
    );
    // What every verb needs works now: the identity, and the record.
    Session::open(Some(&path), false, &Caller::Shell)?;
    Archive::try_keys(&config).map_err(|error| Error::config(format!("archive.signing_key: {error:#}")))?;
    Archive::open(&config)?.publish_key()?;
    if let Some(distro) = distro {
        make_chroot(&config, &distro)?;
    }
    let left: Vec<_> = look(&config, &path)?.into_iter().filter(|check| check.verdict != Verdict::Fine).collect();
    show(&left, false)?;
    if let Some(first) = broken.first() {
        let more = match broken.len() - 1 {
            0 => String::new(),
            more => format!("; and {more} more: 'init --check' names what mends each"),
        };
        return Err(Error::unavailable(format!("{first}{more}")).into());
    }
    writeln!(std::io::stdout(), "the service is set up; 'init --check' looks at everything again")?;
    Ok(Exit::Ok)
}

/// Runs something asynchronous to its end.
pub fn now<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn look(config: &Config, path: &Path) -> Result<Vec<Check>> {
    let user = match service_user(config)? {
        Some(user) => user,
        None => User::from_uid(getuid())?.context("our uid has no entry in passwd")?,
    };
    now(async { Ok(readiness::look(config, path, &user).await) })
}

/// One line for each thing, and below it the command that mends it.
fn show(checks: &[Check], as_json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if as_json {
        serde_json::to_writer(&mut out, checks).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    let width = checks.iter().map(|check| check.what.chars().count()).max().unwrap_or(0);
    for check in checks {
        let (what, found) = (text::one_line(&check.what), text::one_line(&check.found));
        writeln!(out, "{:5}  {what:width$}  {found}", check.verdict.word())?;
        if let Some(mend) = &check.mend {
            writeln!(out, "{:5}  {:width$}  -> {}", "", "", text::one_line(mend))?;
        }
    }
    Ok(())
}

fn say(what: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "made {}", crate::text::one_line(what))?)
}

/// The hook that keeps people's pushes from what is the service's, in every repository that there is; why it is not in some,
/// each a sentence.
fn install_guards(config: &Config, path: &Path) -> Result<Vec<String>> {
    let guard = gitrecord::Guard::new(config, path)?;
    let (mut hooks, mut settings, mut broken) = (0, 0, Vec::new());
    for repo in gitrecord::repositories(config)? {
        match guard.install(&repo) {
            Ok(Installed::Nothing) => {}
            Ok(Installed::Settings) => settings += 1,
            Ok(Installed::Hook) => hooks += 1,
            Err(error) => broken.push(format!("{error:#}")),
        }
    }
    match hooks {
        0 => {}
        1 => say("the update hook of 1 repository")?,
        _ => say(&format!("the update hooks of {hooks} repositories"))?,
    }
    match settings {
        0 => {}
        1 => say("the settings of 1 repository")?,
        _ => say(&format!("the settings of {settings} repositories"))?,
    }
    Ok(broken)
}

/// Says in every repository which versions were published, where nobody has said it yet; why not in some.
fn mark_versions(config: &Config, record: &Record) -> Result<Vec<String>> {
    let _lock = PublishLock::take(&config.state_dir)?;
    publish::mark_all(config, record)
}

fn make_chroot(config: &Config, distro: &Distro) -> Result<()> {
    let there = Store::new(config).list()?.iter().any(|chroot| chroot.distro == *distro);
    if !there {
        chroot::make(config, distro, None, chroot::Form::Chroot)?;
    }
    Ok(())
}

/// Directories and the signing key, owned by the service's user; what was made.
fn make_directories(config: &Config) -> Result<Vec<String>> {
    let owner = service_user(config)?;
    // Each is the service's own, what is above it need not be.
    let directories: [(&Path, u32); 4] = [
        (&config.state_dir, 0o750),
        (&config.git.packages, 0o755),
        (&config.git.superproject, 0o755),
        (&config.archive.root, 0o755),
    ];
    let mut made = Vec::new();
    for (dir, mode) in directories {
        if !dir.exists() {
            make_directory(dir, mode, owner.as_ref())?;
            made.push(format!("directory {}", dir.display()));
        }
    }
    for key in &config.archive.signing_key {
        let SigningKey::File(key) = key else { continue };
        if !key.exists() {
            make_key(config, key, owner.as_ref())?;
            made.push(format!("signing key {}", key.display()));
        }
    }
    Ok(made)
}

fn make_key(config: &Config, key: &Path, owner: Option<&User>) -> Result<()> {
    Archive::generate_key(key, &config.archive.origin)
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
