//! A service that an earlier release has left behind, laid into the world.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{World, run};

const ETC: &str = "/etc/invirtibuilder";

impl World {
    /// Waits for its turn, and unpacks what `tests/upgrade/<release>.tar.xz` holds in place of an
    /// empty service, for the owners that it names. The daemon does not run, and nothing of an
    /// upgrade is done yet.
    pub fn of_release(release: &str) -> Self {
        let mut world = Self::bare();
        world.etc = Some(Etc::save());
        let packed =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("upgrade/{release}.tar.xz"));
        run("tar", &["-C", "/", "--same-owner", "-xpf", packed.to_str().unwrap()]);
        world
    }
}

/// The world's own configuration, ACLs and signing key; put back when dropped, as later stories
/// begin with them.
pub struct Etc(TempDir);

impl Etc {
    fn save() -> Self {
        let saved = Self(tempfile::tempdir().unwrap());
        run("cp", &["-a", &format!("{ETC}/."), saved.0.path().to_str().unwrap()]);
        saved
    }
}

impl Drop for Etc {
    fn drop(&mut self) {
        let put_back = Command::new("cp").arg("-a").arg(self.0.path().join(".")).arg(ETC).status();
        if !put_back.is_ok_and(|status| status.success()) {
            eprintln!("{ETC} is not as it was");
        }
    }
}
