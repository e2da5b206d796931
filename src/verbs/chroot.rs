//! `chroot create|update|list|remove`: what builds run in.

use std::io::Write;

use anyhow::Result;

use super::progress;

use crate::chroot::{self, Manifest, Store};
use crate::config::Config;
use crate::error::{Error, Exit};
use crate::names::{Architecture, Distro};
use crate::record::chroots;
use crate::session::{Session, table, time};
use crate::text;

/// What can be done with chroots.
#[derive(Debug, clap::Subcommand)]
pub enum Chroot {
    /// Make the chroot of a distro from the host's own apt configuration
    Create {
        /// The distro, such as trixie
        distro: String,
        /// The architecture [default: this machine's]
        #[arg(long, value_name = "ARCHITECTURE")]
        arch: Option<String>,
    },
    /// Make the chroots of a distro, or all, anew; running builds keep the old ones
    Update {
        /// The distro; all that there are if it is left out
        distro: Option<String>,
    },
    /// List the chroots
    List,
    /// Show where a chroot's packages come from, and which they are
    Show {
        /// The distro, or a chroot as 'status JOB' names it
        chroot: String,
    },
    /// Remove the chroots of a distro; running builds keep them
    Remove {
        /// The distro
        distro: String,
    },
}

/// Runs the verb.
pub fn run(session: &mut Session, verb: &Chroot) -> Result<Exit> {
    session.local_only("chroot")?;
    let store = Store::new(&session.config);
    match verb {
        Chroot::Create { distro, arch } => {
            let architecture = arch.as_deref().map(str::parse).transpose()?;
            make(&session.config, &distro.parse()?, architecture.as_ref())
        }
        Chroot::Update { distro } => update(session, &store, distro.as_deref().map(str::parse).transpose()?.as_ref()),
        Chroot::List => list(session, &store.list()?),
        Chroot::Show { chroot } => show_one(session, &store, chroot),
        Chroot::Remove { distro } => remove(session, &store, &distro.parse()?),
    }
}

fn update(session: &Session, store: &Store, distro: Option<&Distro>) -> Result<Exit> {
    let all = store.list()?;
    let these: Vec<_> = all.iter().filter(|chroot| distro.is_none_or(|distro| chroot.distro == *distro)).collect();
    if let Some(distro) = distro.filter(|_| these.is_empty()) {
        return Err(no_such(distro.as_str()));
    }
    for chroot in these {
        make(&session.config, &chroot.distro, Some(&chroot.architecture))?;
    }
    Ok(Exit::Ok)
}

fn no_such(chroot: &str) -> anyhow::Error {
    Error::invalid(format!("there is no chroot {}: 'invirt-build chroot list' shows all", text::quoted(chroot))).into()
}

/// A chroot that there is, or one that a job was built in.
fn show_one(session: &Session, store: &Store, name: &str) -> Result<Exit> {
    let mut found: Vec<Manifest> = store
        .list()?
        .into_iter()
        .filter(|chroot| chroot.distro.as_str() == name)
        .map(|it| it.without_passwords())
        .collect();
    if found.is_empty() {
        found.extend(chroots::manifest(session.record.db(), name)?);
    }
    if found.is_empty() {
        return Err(no_such(name));
    }
    if session.json {
        session.print_json(&found)?;
        return Ok(Exit::Ok);
    }
    for chroot in &found {
        let line = |key: &str, value: &str| session.line(format!("{key:<12} {value}"));
        line("chroot", &format!("{} {}", chroot.distro, chroot.architecture))?;
        line("sha256", chroot.digest.as_str())?;
        line("created", &time(chroot.created))?;
        for source in &chroot.sources {
            line("source", &source.line(&source.uri, None))?;
        }
        for package in &chroot.packages {
            line("package", &format!("{} {} {}", package.name, package.version, package.architecture))?;
        }
    }
    Ok(Exit::Ok)
}

fn remove(session: &Session, store: &Store, distro: &Distro) -> Result<Exit> {
    let all = store.list()?;
    let these: Vec<_> = all.iter().filter(|chroot| chroot.distro == *distro).collect();
    if these.is_empty() {
        return Err(no_such(distro.as_str()));
    }
    for chroot in these {
        store.remove(distro, &chroot.architecture)?;
        writeln!(std::io::stdout(), "chroot {distro} {} is removed", chroot.architecture)?;
    }
    for (name, _) in session.config.build.pockets.iter().filter(|(_, pocket)| pocket.distro == *distro) {
        writeln!(
            std::io::stderr(),
            "{name} builds in {distro}: until 'invirt-build chroot create {distro}', its jobs fail"
        )?;
    }
    Ok(Exit::Ok)
}

fn list(session: &Session, chroots: &[Manifest]) -> Result<Exit> {
    if session.json {
        session.print_json(&chroots)?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<_> = chroots
        .iter()
        .map(|chroot| {
            let (distro, architecture) = (chroot.distro.to_string(), chroot.architecture.to_string());
            [distro, architecture, time(chroot.created), chroot.digest.short().to_owned()]
        })
        .collect();
    table(["DISTRO", "ARCHITECTURE", "CREATED", "CHROOT"], &rows)?;
    Ok(Exit::Ok)
}

/// Makes the chroot of a distro, for this machine's architecture if none is named, showing what mmdebstrap says.
pub fn make(config: &Config, distro: &Distro, architecture: Option<&Architecture>) -> Result<Exit> {
    let log = config.state_dir.join("logs").join(format!("chroot-{distro}.log"));
    let store = Store::new(config);
    let made = progress::with_log(&log, async |cancel| {
        let architecture = match architecture {
            Some(architecture) => architecture.clone(),
            None => chroot::host_architecture().await?,
        };
        store.create(distro, &architecture, &log, &cancel).await
    });
    match made {
        Ok(manifest) => {
            writeln!(std::io::stdout(), "chroot {} {} is ready", manifest.distro, manifest.architecture)?;
            Ok(Exit::Ok)
        }
        Err(error) => Err(Error::unavailable(format!("{error:#}; {} has the details", log.display())).into()),
    }
}
