//! What pockets with `isolation: schroot` need of the machine, and what they do to it.

use std::path::Path;

use nix::unistd::{Group, User};

use crate::readiness::check::{fine, note, wrong};
use crate::readiness::chroots::wanted;
use invirtibuilder_api::readiness::Check;
use invirtibuilder_builder::schroot::{self, UnfitChroot};
use invirtibuilder_core::config::{Config, Isolation};

/// The group whose members may use chroots that sbuild-createchroot(8) made.
const GROUP: &str = "sbuild";

/// Looks, if a pocket has such builds.
pub(super) async fn look(config: &Config, path: &Path, user: &User) -> Vec<Check> {
    let unsafe_ =
        config.build.pockets.iter().filter(|(_, pocket)| pocket.isolation == Isolation::Schroot);
    let mut checks: Vec<Check> = unsafe_
        .filter_map(|(name, pocket)| {
            Some(note(
                &format!("isolation of {name}"),
                pocket.caveat()?,
                format!("editor {}", path.display()),
            ))
        })
        .collect();
    if checks.is_empty() {
        return checks;
    }
    if !Path::new(schroot::SCHROOT).is_file() {
        checks.push(wrong(
            "schroot",
            format!("{} is missing", schroot::SCHROOT),
            "apt-get install schroot",
        ));
        return checks;
    }
    checks.push(membership(user));
    for (distro, architecture) in wanted(config, |isolation| isolation == Isolation::Schroot) {
        let name = schroot::name(&distro, &architecture);
        let what = format!("schroot {distro}");
        checks.push(match schroot::look(&name).await {
            Ok(()) => fine(&what, name),
            Err(unfit) => {
                let mend = match unfit {
                    UnfitChroot::Missing => format!(
                        "sbuild-createchroot --arch={architecture} {distro} /srv/chroot/{name}"
                    ),
                    UnfitChroot::Shared => format!("grep -rl '{name}' /etc/schroot/chroot.d"),
                };
                wrong(&what, unfit.describe(&name), mend)
            }
        });
    }
    checks
}

fn membership(user: &User) -> Check {
    let what = "group sbuild";
    let is_member = |group: &Group| group.gid == user.gid || group.mem.contains(&user.name);
    if Group::from_name(GROUP).ok().flatten().is_some_and(|group| is_member(&group)) {
        fine(what, format!("{} is in it", user.name))
    } else {
        let found = format!("{} is not in it, and so may not use the chroots", user.name);
        wrong(what, found, format!("usermod --append --groups {GROUP} {}", user.name))
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::Uid;

    use crate::readiness::schroot::*;
    use invirtibuilder_api::readiness::Readiness;

    #[tokio::test]
    async fn only_pockets_that_build_in_schroots_are_looked_at() {
        let me = User::from_uid(Uid::from_raw(0)).unwrap().unwrap();
        let mut config = Config::default();
        config.build.pockets.insert("prod".parse().unwrap(), Default::default());
        assert!(look(&config, Path::new("/x.yaml"), &me).await.is_empty());
        config.build.pockets.values_mut().for_each(|pocket| pocket.isolation = Isolation::Schroot);
        let checks = look(&config, Path::new("/x.yaml"), &me).await;
        assert_eq!(
            (checks[0].verdict, checks[0].mend.as_deref()),
            (Readiness::Note, Some("editor /x.yaml"))
        );
        assert!(checks[0].found.contains("root on this machine"), "{}", checks[0].found);
        // No machine has a chroot for this one by that name, or schroot is not there at all.
        assert!(checks[1..].iter().any(|check| check.verdict == Readiness::Wrong), "{checks:?}");
    }
}
