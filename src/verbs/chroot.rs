//! `chroot create|update|list|remove`: what builds run in.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

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
        /// Make the image of its virtual machines, for pockets with isolation: vm
        #[arg(long)]
        vm: bool,
    },
    /// Make the chroots and images of a distro, or all, anew; running builds keep the old ones
    Update {
        /// The distro; all that there are if it is left out
        distro: Option<String>,
    },
    /// List the chroots and images
    List,
    /// Show where the packages of a chroot or image come from, and which they are
    Show {
        /// The distro, or a chroot as 'status JOB' names it
        chroot: String,
    },
    /// Remove the chroots and images of a distro; running builds keep them
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
        Chroot::Create { distro, arch, vm } => {
            let architecture = arch.as_deref().map(str::parse).transpose()?;
            let form = if *vm { Form::Image } else { Form::Chroot };
            make(&session.config, &distro.parse()?, architecture.as_ref(), form)
        }
        Chroot::Update { distro } => update(session, &store, distro.as_deref().map(str::parse).transpose()?.as_ref()),
        Chroot::List => list(session, &all(&store)?),
        Chroot::Show { chroot } => show_one(session, &store, chroot),
        Chroot::Remove { distro } => remove(session, &store, &distro.parse()?),
    }
}

/// What is made of a distro.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A chroot.
    Chroot,
    /// An image of virtual machines.
    Image,
}

impl Form {
    fn word(self) -> &'static str {
        match self {
            Self::Chroot => "chroot",
            Self::Image => "image",
        }
    }
}

/// Something that was made.
#[derive(Serialize)]
struct Made {
    form: Form,
    #[serde(flatten)]
    manifest: Manifest,
}

fn all(store: &Store) -> Result<Vec<Made>> {
    let made = |form| move |manifest| Made { form, manifest };
    let images = store.images()?.into_iter().map(|image| image.manifest);
    Ok(store.list()?.into_iter().map(made(Form::Chroot)).chain(images.map(made(Form::Image))).collect())
}

fn update(session: &Session, store: &Store, distro: Option<&Distro>) -> Result<Exit> {
    let mut these = all(store)?;
    these.retain(|made| distro.is_none_or(|distro| made.manifest.distro == *distro));
    if let Some(distro) = distro.filter(|_| these.is_empty()) {
        return Err(no_such(distro.as_str()));
    }
    for Made { form, manifest } in these {
        make(&session.config, &manifest.distro, Some(&manifest.architecture), form)?;
    }
    Ok(Exit::Ok)
}

fn no_such(chroot: &str) -> anyhow::Error {
    Error::invalid(format!("there is no chroot {}: 'invirt-build chroot list' shows all", text::quoted(chroot))).into()
}

/// A chroot that there is, or one that a job was built in.
fn show_one(session: &Session, store: &Store, name: &str) -> Result<Exit> {
    let mut found: Vec<Manifest> = all(store)?
        .into_iter()
        .filter(|made| made.manifest.distro.as_str() == name)
        .map(|made| made.manifest.without_passwords())
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
    let mut these = all(store)?;
    these.retain(|made| made.manifest.distro == *distro);
    if these.is_empty() {
        return Err(no_such(distro.as_str()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for Made { form, manifest } in these {
        let architecture = &manifest.architecture;
        match form {
            Form::Chroot => store.remove(distro, architecture)?,
            Form::Image => runtime.block_on(store.remove_image(distro, architecture))?,
        };
        writeln!(std::io::stdout(), "{} {distro} {architecture} is removed", form.word())?;
    }
    for (name, _) in session.config.build.pockets.iter().filter(|(_, pocket)| pocket.distro == *distro) {
        writeln!(
            std::io::stderr(),
            "{name} builds in {distro}: until 'invirt-build chroot create {distro}', its jobs fail"
        )?;
    }
    Ok(Exit::Ok)
}

fn list(session: &Session, all: &[Made]) -> Result<Exit> {
    if session.json {
        session.print_json(&all)?;
        return Ok(Exit::Ok);
    }
    let row = |Made { form, manifest }: &Made| {
        let (distro, architecture) = (manifest.distro.to_string(), manifest.architecture.to_string());
        let [form, digest] = [form.word(), manifest.digest.short()].map(str::to_owned);
        [distro, architecture, form, time(manifest.created), digest]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    table(["DISTRO", "ARCHITECTURE", "FORM", "CREATED", "CHROOT"], &rows)?;
    Ok(Exit::Ok)
}

/// Makes the chroot or the image of a distro, for this machine's architecture if none is named, showing what mmdebstrap says.
pub fn make(config: &Config, distro: &Distro, architecture: Option<&Architecture>, form: Form) -> Result<Exit> {
    let log = config.state_dir.join("logs").join(format!("{}-{distro}.log", form.word()));
    let store = Store::new(config);
    let made = progress::with_log(&log, async |cancel| {
        let architecture = match architecture {
            Some(architecture) => architecture.clone(),
            None => chroot::host_architecture().await?,
        };
        match form {
            Form::Chroot => store.create(distro, &architecture, &log, &cancel).await,
            Form::Image => store.create_image(distro, &architecture, &log, &cancel).await,
        }
    });
    match made {
        Ok(manifest) => {
            let word = form.word();
            writeln!(std::io::stdout(), "{word} {} {} is ready", manifest.distro, manifest.architecture)?;
            Ok(Exit::Ok)
        }
        Err(error) => Err(Error::unavailable(format!("{error:#}; {} has the details", log.display())).into()),
    }
}
