//! The service works as its own user, and what it makes can be used by those it is for, and by
//! nobody else.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::world::{Remctld, STATE, Tiny, World, run};

/// remctld's line for the backend, with options.
fn build(options: &str) -> String {
    format!("build ALL /usr/bin/invirt-build help=help {options} ANYUSER\n")
}

/// Calls `see` with everything below a directory, itself included. What disappears meanwhile is
/// nothing.
fn walk(path: &Path, see: &mut impl FnMut(&Path, &Metadata)) {
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    // A chroot has owners and modes of its own.
    if metadata.is_dir() && path.ancestors().nth(2) == Some(&Path::new(STATE).join("roots")) {
        return;
    }
    see(path, &metadata);
    if metadata.is_dir() && path != Path::new(STATE).join("chroots") {
        fs::read_dir(path).unwrap().flatten().for_each(|entry| walk(&entry.path(), see));
    }
}

#[test]
fn what_the_service_makes_has_the_right_modes_whatever_the_umask() {
    for umask in ["000", "077"] {
        let world = World::new();
        // Whoever sets it up, pushes, asks and builds has this umask.
        for place in [STATE, "/srv/git", "/srv/apt"] {
            run(
                "sh",
                &["-c", &format!("find {place} -mindepth 1 -not -path '*/chroots*' -delete")],
            );
        }
        let _ = fs::remove_file("/etc/invirtibuilder/archive-key.asc");
        run("sh", &["-c", &format!("umask {umask}; invirt-build init")]);
        let remctld = Remctld::start("umask", &build("user=_invirtibuilder"), umask);
        let _daemon = world.daemon_with_umask(umask);
        remctld.ask("alice", &["build", "create-repo", "tiny"]).ok();
        let repo = crate::world::Repo::new("tiny");
        let commit = repo.version("1.0", Tiny::Works);
        remctld.ask("alice", &["build", "submit", "prod", "tiny", &commit, "--wait"]).ok();

        let service = fs::metadata(STATE).unwrap().uid();
        let mut wrong = Vec::new();
        for place in [STATE, "/srv/git", "/srv/apt"] {
            walk(Path::new(place), &mut |path, metadata| {
                let mode = metadata.permissions().mode() & 0o7777;
                // A socket is to be rung by its owner; a link has no mode.
                if metadata.is_symlink() {
                    return;
                }
                let open = mode & 0o002 != 0;
                // Files of Git objects are read-only; what is served has to be readable for whoever
                // serves it.
                let served = place != STATE && mode & 0o004 == 0
                    || place == "/srv/apt" && mode & 0o044 != 0o044;
                let theirs = place != "/srv/git" && metadata.uid() != service;
                if open || served || theirs {
                    wrong.push(format!("{} {mode:o} uid {}", path.display(), metadata.uid()));
                }
            });
        }
        assert!(wrong.is_empty(), "umask {umask}:\n{}", wrong.join("\n"));
        for (secret, limit) in [
            ("/etc/invirtibuilder/archive-key.asc".to_owned(), 0o600),
            (format!("{STATE}/invirtibuilder.db"), 0o640),
        ] {
            let mode = fs::metadata(&secret).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode & !limit, 0, "umask {umask}: {secret} {mode:o}");
        }
        let _ = fs::remove_dir_all(&repo.dir);
    }
}

/// Everybody is who they are under `user=` and under `sudo=`; where sudo hides who asks, nobody is
/// anybody.
#[test]
fn remctld_may_change_the_user_itself_or_by_sudo() {
    let _world = World::new();
    let sudoers = "/etc/sudoers.d/invirtibuilder";
    let by_user = Remctld::start("user", &build("user=_invirtibuilder"), "022");
    let by_sudo = Remctld::start("sudo", &build("sudo=_invirtibuilder"), "022");
    by_user.ask("alice", &["build", "whoami"]).ok().says(&["alice@EXAMPLE.ORG"]);
    fs::create_dir_all("/etc/sudoers.d").unwrap();
    for (text, sees) in
        [("Defaults!/usr/bin/invirt-build env_keep += \"REMOTE_USER\"\n", true), ("", false)]
    {
        fs::write(sudoers, text).unwrap();
        fs::set_permissions(sudoers, fs::Permissions::from_mode(0o440)).unwrap();
        let answer = by_sudo.ask("alice", &["build", "whoami"]);
        if sees {
            answer.ok().says(&["alice@EXAMPLE.ORG"]);
        } else {
            answer.refused(77, &["env_keep", "REMOTE_USER"]);
        }
    }
    let _ = fs::remove_file(sudoers);
}
