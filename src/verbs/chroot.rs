//! `chroot create|update|list|remove`: what builds run in.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::chroot::{self, Manifest, Store};
use crate::config::Config;
use crate::error::{Error, Exit};
use crate::names::Distro;
use crate::session::{Session, table, time};
use crate::subprocess::CancellationToken;
use crate::text;

/// What can be done with chroots.
#[derive(Debug, clap::Subcommand)]
pub enum Chroot {
    /// Make the chroot of a distro from the host's own apt configuration
    Create {
        /// The distro, such as trixie
        distro: String,
        /// Make the image of its virtual machines, for pockets with isolation: vm
        #[arg(long)]
        vm: bool,
    },
    /// Make the chroot and the image of a distro, or all, anew; running builds keep the old ones
    Update {
        /// The distro; all that there are if it is left out
        distro: Option<String>,
    },
    /// List the chroots and images
    List,
    /// Remove the chroot and the image of a distro; running builds keep them
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
        Chroot::Create { distro, vm } => {
            make(&session.config, &distro.parse()?, if *vm { Form::Image } else { Form::Tarball })
        }
        Chroot::Update { distro } => update(session, distro.as_deref().map(str::parse).transpose()?.as_ref()),
        Chroot::List => list(session, &all(&store)?),
        Chroot::Remove { distro } => remove(session, &store, &distro.parse()?),
    }
}

/// What is made of a distro.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A chroot's tarball.
    #[serde(rename = "chroot")]
    Tarball,
    /// An image of virtual machines.
    #[serde(rename = "image")]
    Image,
}

impl Form {
    fn word(self) -> &'static str {
        match self {
            Self::Tarball => "chroot",
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
    Ok(store.list()?.into_iter().map(made(Form::Tarball)).chain(images.map(made(Form::Image))).collect())
}

/// What there is of a distro is made anew, or of all; of a distro that there is nothing of, the chroot is made.
fn update(session: &Session, distro: Option<&Distro>) -> Result<Exit> {
    let mut all = all(&Store::new(&session.config))?;
    all.retain(|made| distro.is_none_or(|distro| made.manifest.distro == *distro));
    if let (Some(distro), []) = (distro, &all[..]) {
        return make(&session.config, distro, Form::Tarball);
    }
    all.iter().try_for_each(|made| make(&session.config, &made.manifest.distro, made.form).map(drop))?;
    Ok(Exit::Ok)
}

fn remove(session: &Session, store: &Store, distro: &Distro) -> Result<Exit> {
    let mut these = all(store)?;
    these.retain(|made| made.manifest.distro == *distro);
    if these.is_empty() {
        return Err(Error::invalid(format!("there is no chroot {distro}: 'invirt-build chroot list' shows all")).into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for made in these {
        let architecture = &made.manifest.architecture;
        match made.form {
            Form::Tarball => store.remove(distro, architecture)?,
            Form::Image => runtime.block_on(store.remove_image(distro, architecture))?,
        };
        writeln!(std::io::stdout(), "{} {distro} {architecture} is removed", made.form.word())?;
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
    let row = |made: &Made| {
        let manifest = &made.manifest;
        let words = [manifest.distro.as_str(), manifest.architecture.as_str(), made.form.word()].map(str::to_owned);
        let [distro, architecture, form] = words;
        [distro, architecture, form, time(manifest.created)]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    table(["DISTRO", "ARCHITECTURE", "FORM", "CREATED"], &rows)?;
    Ok(Exit::Ok)
}

/// Makes the chroot or the image of a distro for this machine's architecture, showing what mmdebstrap says.
pub fn make(config: &Config, distro: &Distro, form: Form) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let log = config.state_dir.join("logs").join(format!("{}-{distro}.log", form.word()));
    std::fs::create_dir_all(log.parent().context("a log has a directory")?)?;
    let _ = std::fs::remove_file(&log);
    let store = Store::new(config);
    let made = runtime.block_on(async {
        let architecture = chroot::host_architecture().await?;
        let cancel = CancellationToken::new();
        let interrupted = async {
            let _ = tokio::signal::ctrl_c().await;
            cancel.cancel();
            std::future::pending::<()>().await;
        };
        let make = async {
            match form {
                Form::Tarball => store.create(distro, &architecture, &log, &cancel).await,
                Form::Image => store.create_image(distro, &architecture, &log, &cancel).await,
            }
        };
        tokio::select! {
            made = make => made,
            () = show(log.clone()) => unreachable!("it shows the log for ever"),
            () = interrupted => unreachable!("it waits for ever"),
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

/// Copies what a log gains to standard error, until it is dropped.
async fn show(log: PathBuf) {
    let mut at = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if let Ok(more) = read_from(&log, at) {
            at += more.len() as u64;
            let _ = std::io::stderr().write_all(text::for_terminal(&more).as_bytes());
        }
    }
}

fn read_from(log: &Path, at: u64) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(log)?;
    file.seek(SeekFrom::Start(at))?;
    let mut more = Vec::new();
    file.read_to_end(&mut more)?;
    Ok(more)
}
