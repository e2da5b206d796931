//! What the machine gives every build: programs, namespaces, subordinate ids, and room.

use std::path::Path;

use nix::unistd::{User, getuid};

use crate::readiness::check::{fine, note, wrong};
use invirtibuilder_api::readiness::Check;
use invirtibuilder_core::config::Config;
use invirtibuilder_system::architectures;
use invirtibuilder_system::disk::{self, DiskUse};
use invirtibuilder_system::subids;
use invirtibuilder_system::subprocess::{CancellationToken, Cmd, PATH};

/// Programs that we run, and Debian's packages of them.
pub(super) const PROGRAMS: [(&str, &str); 13] = [
    ("apt-get", "apt"),
    ("bwrap", "bubblewrap"),
    ("dpkg-source", "dpkg-dev"),
    ("git", "git"),
    ("ip", "iproute2"),
    ("mmdebstrap", "mmdebstrap"),
    ("newuidmap", "uidmap"),
    ("pristine-tar", "pristine-tar"),
    ("prlimit", "util-linux"),
    ("sbuild", "sbuild"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("xz", "xz-utils"),
];

/// With less than this free, a build may fail.
const LITTLE: u64 = 5 << 30;

/// Checks whether these programs are there; each with Debian's package of it.
pub(super) fn programs(what: &str, all: &[(&str, &str)]) -> Check {
    let missing: Vec<_> = all.iter().filter(|(program, _)| !in_path(program)).collect();
    if missing.is_empty() {
        return fine(what, format!("all {} are there", all.len()));
    }
    let list = |n: usize| {
        missing
            .iter()
            .map(|pair| if n == 0 { pair.0 } else { pair.1 })
            .collect::<Vec<_>>()
            .join(" ")
    };
    wrong(what, format!("missing: {}", list(0)), format!("apt-get install {}", list(1)))
}

/// Complains if dpkg installs packages of another architecture than that of these programs.
pub(super) async fn architecture() -> Option<Check> {
    let (ours, dpkgs) = (architectures::host(), architectures::dpkgs_own().await.ok()?);
    (ours != dpkgs).then(|| {
        let found = format!(
            "these programs are for {ours}, and so are pockets without architectures; dpkg's packages are for {dpkgs}"
        );
        wrong("architecture", found, format!("apt-get install invirtibuilder:{dpkgs}"))
    })
}

fn in_path(program: &str) -> bool {
    PATH.split(':').any(|dir| Path::new(dir).join(program).is_file())
}

/// Looks whether the user has ids for as many builds as run at a time.
pub(super) fn subordinate_ids(config: &Config, user: &User) -> Check {
    let what = "subordinate ids";
    let (builds, jobs) =
        (subids::builds(&user.name, user.uid.as_raw()).unwrap_or(0) as usize, config.daemon.jobs);
    if builds == 0 {
        wrong(
            what,
            format!("/etc/subuid and /etc/subgid give {} none", user.name),
            "invirt-build init",
        )
    } else if builds < jobs {
        let found = format!("enough for {builds} builds at a time; daemon.jobs is {jobs}");
        wrong(
            what,
            found,
            format!("usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST {}", user.name),
        )
    } else {
        fine(what, format!("enough for {builds} builds at a time"))
    }
}

/// Returns a command that the service's user runs; `--` and its words are to follow.
pub(super) fn as_user(user: &User) -> Cmd {
    let cmd = Cmd::new("setpriv");
    if !getuid().is_root() {
        return cmd;
    }
    cmd.args(["--reuid", &user.name, "--regid", &user.gid.to_string(), "--init-groups"])
}

/// Looks whether the user may make namespaces.
pub(super) async fn namespaces(user: &User) -> Check {
    let what = "user namespaces";
    let done = as_user(user)
        .args(["--", "unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "true"])
        .run(&CancellationToken::new())
        .await;
    match done {
        Ok(done) if done.ok() => fine(what, format!("{} may make them", user.name)),
        Ok(done) => wrong(what, done.describe(), "sysctl -w kernel.unprivileged_userns_clone=1"),
        Err(error) => wrong(what, format!("{error:#}"), "apt-get install util-linux"),
    }
}

/// Looks whether there is room where builds, Git and the archive are.
pub(super) fn disks(config: &Config) -> Vec<Check> {
    let one = |(used_for, path): (DiskUse, &Path)| {
        let what = match used_for {
            DiskUse::State => "space for builds",
            DiskUse::Git => "space for Git",
            DiskUse::Archive(_) => "space for the archive",
        };
        let free = disk::space(path).ok()?.free;
        let found =
            format!("{:.1} GiB free in {}", free as f64 / f64::from(1 << 30), path.display());
        Some(if free < LITTLE {
            note(what, found, format!("du -x -d1 -h {}", path.display()))
        } else {
            fine(what, found)
        })
    };
    disk::directories(config).into_iter().filter_map(one).collect()
}
