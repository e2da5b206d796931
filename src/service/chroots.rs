//! What builds run in: chroots and images, made, listed and removed. For administrators on the
//! server.

use anyhow::Result;

use crate::progress::Progress;
use crate::session::AtServer;
use invirtibuilder_api::chroots::{ChrootRequest, Form, MadeChroot};
use invirtibuilder_api::progress::Done;
use invirtibuilder_core::config::Config;
use invirtibuilder_core::error::Error;
use invirtibuilder_core::manifest::Manifest;
use invirtibuilder_core::names::{Distro, PocketName};
use invirtibuilder_core::text;
use invirtibuilder_environment::Store;
use invirtibuilder_store::chroots;
use invirtibuilder_system::architectures;
use invirtibuilder_system::runtime::block_on;

/// Makes the chroot or the image of a distro from the host's own apt configuration.
pub fn create_chroot(
    session: &AtServer,
    request: &ChrootRequest,
    progress: &impl Progress,
) -> Result<MadeChroot> {
    make(&session.config, request, progress)
}

/// Makes the first chroot of a distro, unless there is one.
pub(crate) fn create_first(
    config: &Config,
    distro: &Distro,
    progress: &impl Progress,
) -> Result<()> {
    let there = Store::new(config).list()?.iter().any(|chroot| chroot.distro == *distro);
    if !there {
        let distro = distro.clone();
        let request = ChrootRequest { distro, architecture: None, form: Form::Chroot };
        make(config, &request, progress)?;
    }
    Ok(())
}

/// Makes the chroots and images of a distro, or all, anew; running builds keep the old ones.
pub fn update_chroots(
    session: &AtServer,
    distro: Option<&Distro>,
    progress: &impl Progress,
) -> Result<Vec<MadeChroot>> {
    let mut these = all(&Store::new(&session.config))?;
    these.retain(|made| distro.is_none_or(|distro| made.manifest.distro == *distro));
    if let Some(distro) = distro.filter(|_| these.is_empty()) {
        return Err(no_such(distro.as_str()));
    }
    let anew = |MadeChroot { form, manifest }| {
        let Manifest { distro, architecture, .. } = manifest;
        let request = ChrootRequest { distro, architecture: Some(architecture), form };
        make(&session.config, &request, progress)
    };
    these.into_iter().map(anew).collect()
}

/// Lists the chroots, then the images.
pub fn list_chroots(session: &AtServer) -> Result<Vec<MadeChroot>> {
    all(&Store::new(&session.config))
}

/// Finds the chroots and images of a distro, or a chroot that a job was built in, and what is in
/// them.
pub fn describe_chroots(session: &AtServer, name: &str) -> Result<Vec<Manifest>> {
    let mut found: Vec<Manifest> = all(&Store::new(&session.config))?
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
    Ok(found)
}

/// Removes the chroots and images of a distro; running builds keep them. Returns the pockets that
/// build in it, and whose jobs fail from now on.
pub fn remove_chroots(
    session: &AtServer,
    distro: &Distro,
    progress: &impl Progress,
) -> Result<Vec<PocketName>> {
    let store = Store::new(&session.config);
    let mut these = all(&store)?;
    these.retain(|made| made.manifest.distro == *distro);
    if these.is_empty() {
        return Err(no_such(distro.as_str()));
    }
    for made in these {
        let architecture = &made.manifest.architecture;
        match made.form {
            Form::Chroot => store.remove(distro, architecture)?,
            Form::Image => block_on(store.remove_image(distro, architecture))?,
        };
        progress.tell(&Done::Removed(made))?;
    }
    let pockets = session.config.build.pockets.iter();
    let affected = pockets.filter(|(_, pocket)| pocket.distro == *distro);
    Ok(affected.map(|(name, _)| name.clone()).collect())
}

fn all(store: &Store) -> Result<Vec<MadeChroot>> {
    let made = |form| move |manifest| MadeChroot { form, manifest };
    let images = store.images()?.into_iter().map(|image| image.manifest);
    Ok(store
        .list()?
        .into_iter()
        .map(made(Form::Chroot))
        .chain(images.map(made(Form::Image)))
        .collect())
}

fn no_such(chroot: &str) -> anyhow::Error {
    Error::invalid(format!(
        "there is no chroot {}: 'invirt-build chroot list' shows all",
        text::quoted(chroot)
    ))
    .into()
}

/// Makes one, while those who wait see what mmdebstrap says.
fn make(config: &Config, request: &ChrootRequest, progress: &impl Progress) -> Result<MadeChroot> {
    let ChrootRequest { distro, architecture, form } = request;
    let log = config.state_dir.join("logs").join(format!("{}-{distro}.log", form.word()));
    let store = Store::new(config);
    let made = progress.follow(&log, async |cancel| {
        let architecture = architecture.clone().unwrap_or_else(architectures::host);
        match form {
            Form::Chroot => store.create(distro, &architecture, &log, &cancel).await,
            Form::Image => store.create_image(distro, &architecture, &log, &cancel).await,
        }
    });
    let manifest = made.map_err(|error| {
        Error::unavailable(format!("{error:#}; {} has the details", log.display()))
    })?;
    let made = MadeChroot { form: *form, manifest };
    progress.tell(&Done::Ready(made.clone()))?;
    Ok(made)
}
