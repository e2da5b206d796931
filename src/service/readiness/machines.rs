//! What pockets with `isolation: vm` need beside the rest.

use nix::unistd::User;

use crate::readiness::check::{fine, note};
use crate::readiness::host::{as_user, programs};
use invirtibuilder_api::readiness::Check;
use invirtibuilder_core::config::{Config, Isolation};
use invirtibuilder_sandbox::machine::kvm::DEVICE;
use invirtibuilder_system::subprocess::CancellationToken;

/// Programs that machines and their images are made with, and Debian's packages of them.
const PROGRAMS: [(&str, &str); 4] = [
    ("debugfs", "e2fsprogs"),
    ("mke2fs", "e2fsprogs"),
    ("qemu-img", "qemu-utils"),
    ("qemu-system-x86_64", "qemu-system-x86"),
];

/// Looks at it, where a pocket builds in machines.
pub(super) async fn look(config: &Config, user: &User) -> Vec<Check> {
    if config.build.pockets.values().all(|pocket| pocket.isolation != Isolation::Vm) {
        return Vec::new();
    }
    vec![programs("programs of machines", &PROGRAMS), kvm(config, user).await]
}

/// Without it builds work too, and take several times as long.
async fn kvm(config: &Config, user: &User) -> Check {
    let what = "KVM";
    if let Ok(why) = std::fs::read_to_string(config.kvm_note()) {
        let found = format!("machines are emulated, and slow: {}", why.trim_end());
        return note(what, found, "systemctl restart invirtibuilderd, once it works");
    }
    if !std::path::Path::new(DEVICE).exists() {
        return note(
            what,
            format!("there is no {DEVICE}: machines are emulated, and slow"),
            "modprobe kvm",
        );
    }
    let opened = as_user(user)
        .args(["--", "test", "-r", DEVICE, "-a", "-w", DEVICE])
        .run(&CancellationToken::new())
        .await;
    if opened.is_ok_and(|done| done.ok()) {
        return fine(what, format!("{DEVICE} may be opened"));
    }
    let found = format!("{} may not open {DEVICE}: machines are emulated, and slow", user.name);
    note(what, found, format!("usermod --append --groups kvm {}", user.name))
}

#[cfg(test)]
mod tests {
    use nix::unistd::getuid;

    use crate::readiness::machines::*;
    use invirtibuilder_api::readiness::Readiness;

    #[tokio::test]
    async fn only_who_builds_in_machines_is_told_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { state_dir: dir.path().to_owned(), ..Config::default() };
        let me = User::from_uid(getuid()).unwrap().unwrap();
        assert!(look(&config, &me).await.is_empty());
        let pocket =
            invirtibuilder_core::config::Pocket { isolation: Isolation::Vm, ..Default::default() };
        config.build.pockets.insert("prod".parse().unwrap(), pocket);
        std::fs::write(config.kvm_note(), "a machine did not start with KVM\n").unwrap();
        let checks = look(&config, &me).await;
        let kvm = checks.iter().find(|check| check.what == "KVM").unwrap();
        assert_eq!(kvm.verdict, Readiness::Note);
        assert!(kvm.found.contains("did not start"), "{}", kvm.found);
    }
}
