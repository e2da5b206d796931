//! What the daemon has to do with: whether it runs, and what it found out.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::unistd::User;

use crate::readiness::check::{fine, note};
use invirtibuilder_api::readiness::Check;
use invirtibuilder_core::config::Config;
use invirtibuilder_store as store;

/// Checks where those who change the record stand in line. Without it changes are made, in no
/// order.
pub(super) fn line(config: &Config, user: &User) -> Check {
    let what = "line of writers";
    let path = store::line_of(&config.database());
    let shown = path.display();
    match fs::symlink_metadata(&path) {
        Ok(there) if there.is_file() && there.uid() == user.uid.as_raw() => {
            fine(what, shown.to_string())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            fine(what, "it is made with the first change")
        }
        _ => note(
            what,
            format!("{shown} is not a file of {}", user.name),
            format!("mv {shown} {shown}.old"),
        ),
    }
}

/// Looks whether the daemon hears the bell.
pub(super) fn daemon(config: &Config) -> Check {
    if invirtibuilder_system::wake::is_heard(&config.wake_socket()) {
        fine("daemon", "it runs")
    } else {
        note(
            "daemon",
            "it does not run: what is submitted waits",
            "systemctl start invirtibuilderd",
        )
    }
}

/// Checks what holds builds to their limits: only the daemon itself can find out, and has written
/// it down.
pub(super) fn limits(config: &Config) -> Check {
    let what = "limits of builds";
    match fs::read_to_string(config.limits_note()) {
        Ok(found) if found.starts_with("cgroup") => fine(what, found.trim_end()),
        Ok(found) => {
            let mend = "systemctl edit invirtibuilderd to set Delegate=memory pids, and systemctl restart invirtibuilderd";
            note(what, found.trim_end(), mend)
        }
        Err(_) => {
            note(what, "not known before the daemon has run", "systemctl start invirtibuilderd")
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::getuid;

    use crate::readiness::running::*;
    use invirtibuilder_api::readiness::Readiness;

    #[test]
    fn a_machine_without_a_daemon_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { state_dir: dir.path().to_owned(), ..Config::default() };
        let me = User::from_uid(getuid()).unwrap().unwrap();
        assert!(daemon(&config).mend.is_some());
        assert_eq!(line(&config, &me).verdict, Readiness::Fine);
        fs::create_dir(store::line_of(&config.database())).unwrap();
        assert!(
            line(&config, &me)
                .found
                .ends_with(&format!("invirtibuilder.line is not a file of {}", me.name))
        );
    }
}
