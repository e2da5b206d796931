//! Whether pockets have something to build in.

use crate::readiness::check::{fine, note, wrong};
use invirtibuilder_api::readiness::Check;
use invirtibuilder_core::config::{Config, Isolation};
use invirtibuilder_core::names::{Architecture, Distro};
use invirtibuilder_environment::Store;
use invirtibuilder_system::architectures;

/// Looks whether each pocket's chroots and images are there.
pub(super) fn chroots(config: &Config) -> Vec<Check> {
    let host = architectures::host();
    let store = Store::new(config);
    let of = |kind| wanted(config, |isolation| isolation == kind);
    let chroots = of(Isolation::Unshare)
        .into_iter()
        .map(|(distro, architecture)| (false, distro, architecture));
    let images =
        of(Isolation::Vm).into_iter().map(|(distro, architecture)| (true, distro, architecture));
    let one = |(is_vm, distro, architecture): (bool, Distro, Architecture)| {
        let what = format!("{} {distro}", if is_vm { "image" } else { "chroot" });
        let found = if is_vm {
            store.image(&distro, &architecture).map(|found| found.map(|image| image.root()))
        } else {
            store.find(&distro, &architecture).map(|found| found.map(|chroot| chroot.tarball))
        };
        let mut mend = format!("invirt-build chroot create {distro}");
        if is_vm {
            mend += " --vm";
        }
        if host != architecture {
            mend += &format!(" --arch {architecture}");
        }
        match found {
            Ok(Some(path)) => fine(&what, path.display().to_string()),
            Ok(None) => wrong(&what, format!("none for {architecture}"), mend),
            Err(error) => wrong(&what, format!("{error:#}"), mend),
        }
    };
    let schroots = of(Isolation::Schroot).into_iter().map(|(distro, architecture)| {
        let what = format!("dpkg-source of {distro}");
        match store.find(&distro, &architecture) {
            Ok(Some(chroot)) => fine(&what, chroot.tarball.display().to_string()),
            // schroot's own chroots are root's.
            _ => note(
                &what,
                "there is no chroot to take it from: this machine's own makes source packages",
                format!("invirt-build chroot create {distro}"),
            ),
        }
    });
    chroots.chain(images).map(one).chain(schroots).collect()
}

/// Returns what the pockets of some kinds of isolation build in.
pub(super) fn wanted(
    config: &Config,
    kind: impl Fn(Isolation) -> bool,
) -> Vec<(Distro, Architecture)> {
    let mut wanted = Vec::new();
    for pocket in config.build.pockets.values().filter(|pocket| kind(pocket.isolation)) {
        let architectures = architectures::of_pocket(pocket).into_iter();
        wanted.extend(architectures.map(|architecture| (pocket.distro.clone(), architecture)));
    }
    wanted.sort();
    wanted.dedup();
    wanted
}
