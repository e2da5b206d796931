//! What a server has to have before the service works on it: each thing is looked at, and the command that mends it is
//! named. Nothing is changed.

use std::fs::{self, Metadata};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use nix::sys::statvfs::statvfs;
use nix::unistd::{User, getuid};
use serde::Serialize;

use crate::archive::Archive;
use crate::build::subids;
use crate::chroot::{self, Store};
use crate::config::{Config, Isolation, SigningKey};
use crate::gitrecord::{self, Guard, Unreadable};
use crate::identity;
use crate::names::{Architecture, Distro};
use crate::record;
use crate::subprocess::{CancellationToken, Cmd, PATH};

mod machines;
mod schroot;
mod suites;

/// Programs that we run, and Debian's packages of them.
const PROGRAMS: [(&str, &str); 13] = [
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

/// remctld's port (remctld(8)).
const REMCTL_PORT: u16 = 4373;

/// With less than this free, a build may fail.
const LITTLE: u64 = 5 << 30;

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// It may be meant so, and the service works without it.
    Note,
    /// The service does not work like this.
    Wrong,
}

impl Verdict {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Note => "note",
            Self::Wrong => "WRONG",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What was looked at.
    pub what: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

fn fine(what: &str, found: impl Into<String>) -> Check {
    Check { what: what.to_owned(), verdict: Verdict::Fine, found: found.into(), mend: None }
}

fn note(what: &str, found: impl Into<String>, mend: impl Into<String>) -> Check {
    Check { what: what.to_owned(), verdict: Verdict::Note, found: found.into(), mend: Some(mend.into()) }
}

fn wrong(what: &str, found: impl Into<String>, mend: impl Into<String>) -> Check {
    Check { verdict: Verdict::Wrong, ..note(what, found, mend) }
}

/// Looks at everything. `path` is the configuration's file; `user` is the service's own.
pub async fn look(config: &Config, path: &Path, user: &User) -> Vec<Check> {
    let mut checks = vec![programs("programs", &PROGRAMS), subordinate_ids(config, user), namespaces(user).await];
    checks.extend(machines::look(config, user).await);
    checks.extend(schroot::look(config, path, user).await);
    checks.extend(directories(config, user));
    checks.extend(signing_keys(config, user));
    checks.extend(suites::look(config));
    checks.extend(hooks(config, path));
    checks.extend(chroots(config).await);
    checks.extend(access_lists(config));
    checks.push(realm(config));
    checks.extend(remctl());
    checks.extend(disk(config));
    checks.push(line(config, user));
    checks.push(daemon(config));
    checks.push(limits(config));
    checks
}

/// Whether these programs are there; each with Debian's package of it.
fn programs(what: &str, all: &[(&str, &str)]) -> Check {
    let missing: Vec<_> = all.iter().filter(|(program, _)| !in_path(program)).collect();
    if missing.is_empty() {
        return fine(what, format!("all {} are there", all.len()));
    }
    let list = |n: usize| missing.iter().map(|pair| if n == 0 { pair.0 } else { pair.1 }).collect::<Vec<_>>().join(" ");
    wrong(what, format!("missing: {}", list(0)), format!("apt-get install {}", list(1)))
}

fn in_path(program: &str) -> bool {
    PATH.split(':').any(|dir| Path::new(dir).join(program).is_file())
}

fn subordinate_ids(config: &Config, user: &User) -> Check {
    let what = "subordinate ids";
    let (builds, jobs) = (subids::builds(&user.name, user.uid.as_raw()).unwrap_or(0) as usize, config.daemon.jobs);
    if builds == 0 {
        wrong(what, format!("/etc/subuid and /etc/subgid give {} none", user.name), "invirt-build init")
    } else if builds < jobs {
        let found = format!("enough for {builds} builds at a time; daemon.jobs is {jobs}");
        wrong(what, found, format!("usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST {}", user.name))
    } else {
        fine(what, format!("enough for {builds} builds at a time"))
    }
}

/// A command that the service's user runs; `--` and its words are to follow.
fn as_user(user: &User) -> Cmd {
    let cmd = Cmd::new("setpriv");
    if !getuid().is_root() {
        return cmd;
    }
    cmd.args(["--reuid", &user.name, "--regid", &user.gid.to_string(), "--init-groups"])
}

async fn namespaces(user: &User) -> Check {
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

fn directories(config: &Config, user: &User) -> Vec<Check> {
    let all: [(&str, &Path); 4] = [
        ("state_dir", &config.state_dir),
        ("git.packages", &config.git.packages),
        ("git.superproject", &config.git.superproject),
        ("archive.root", &config.archive.root),
    ];
    let one = |(what, path): (&str, &Path)| match fs::metadata(path) {
        Ok(there) if there.is_dir() && there.uid() == user.uid.as_raw() => fine(what, path.display().to_string()),
        Ok(_) => {
            let found = format!("{} is not a directory of {}", path.display(), user.name);
            wrong(what, found, format!("chown -R {}: {}", user.name, path.display()))
        }
        Err(error) => wrong(what, format!("{}: {error}", path.display()), "invirt-build init"),
    };
    all.into_iter().map(one).collect()
}

/// Each key by itself, and whether all of them together can sign for every client.
fn signing_keys(config: &Config, user: &User) -> Vec<Check> {
    let mut checks: Vec<Check> = config.archive.signing_key.iter().map(|key| signing_key(key, user)).collect();
    if checks.iter().all(|check| check.verdict == Verdict::Fine) {
        let unfit = Archive::check_keys(config).err();
        checks.extend(unfit.map(|error| wrong("signing key", format!("{error:#}"), "invirt-build check-config")));
    }
    checks
}

fn signing_key(key: &SigningKey, user: &User) -> Check {
    let what = "signing key";
    let path = match key {
        SigningKey::File(path) => path,
        // A command keeps its secret to itself.
        SigningKey::Command(elsewhere) if elsewhere.certificate.exists() => {
            return fine(what, elsewhere.certificate.display().to_string());
        }
        SigningKey::Command(elsewhere) => {
            let certificate = elsewhere.certificate.display();
            return wrong(
                what,
                format!("{certificate} is not there"),
                format!("export the certificate to {certificate}"),
            );
        }
    };
    let shared = |there: &Metadata| there.permissions().mode() & 0o077 != 0;
    match fs::metadata(path) {
        Ok(there) if shared(&there) => {
            wrong(what, format!("others may read {}", path.display()), format!("chmod 600 {}", path.display()))
        }
        Ok(there) if there.uid() != user.uid.as_raw() => {
            let found = format!("{} does not belong to {}", path.display(), user.name);
            wrong(what, found, format!("chown {}: {}", user.name, path.display()))
        }
        Ok(_) => fine(what, path.display().to_string()),
        Err(error) => wrong(what, format!("{}: {error}", path.display()), "invirt-build init"),
    }
}

fn hooks(config: &Config, path: &Path) -> Vec<Check> {
    let what = "update hooks";
    let mut checks = Vec::new();
    let mut look = || -> Result<(usize, usize)> {
        let guard = Guard::new(config, path)?;
        let (mut all, mut bad) = (0, 0);
        for repo in gitrecord::repositories(config)? {
            if let Err(error) = gitrecord::open(&repo) {
                // 'init' cannot mend this one.
                let name = repo.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let unreadable = error.downcast::<Unreadable>()?;
                checks.push(wrong(&format!("repository {name}"), unreadable.why, unreadable.mend));
                continue;
            }
            all += 1;
            bad += usize::from(!guard.is_installed(&repo).unwrap_or(false));
        }
        Ok((bad, all))
    };
    let found = match look() {
        Ok((0, all)) => fine(what, format!("pushes to {all} repositories are checked")),
        Ok((bad, all)) => {
            wrong(what, format!("pushes to {bad} of {all} repositories are not checked"), "invirt-build init")
        }
        Err(error) => wrong(what, format!("{error:#}"), "invirt-build init"),
    };
    checks.insert(0, found);
    checks
}

async fn chroots(config: &Config) -> Vec<Check> {
    let host = chroot::host_architecture().await.ok();
    let store = Store::new(config);
    let of = |kind| wanted(config, host.as_ref(), |isolation| isolation == kind);
    let chroots = of(Isolation::Unshare).into_iter().map(|(distro, architecture)| (false, distro, architecture));
    let images = of(Isolation::Vm).into_iter().map(|(distro, architecture)| (true, distro, architecture));
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
        if host.as_ref() != Some(&architecture) {
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

/// What the pockets of some kinds of isolation build in.
fn wanted(
    config: &Config,
    host: Option<&Architecture>,
    kind: impl Fn(Isolation) -> bool,
) -> Vec<(Distro, Architecture)> {
    let mut wanted = Vec::new();
    for pocket in config.build.pockets.values().filter(|pocket| kind(pocket.isolation)) {
        let named = pocket.architectures.iter().chain(host.filter(|_| pocket.architectures.is_empty()));
        wanted.extend(named.map(|architecture| (pocket.distro.clone(), architecture.clone())));
    }
    wanted.sort();
    wanted.dedup();
    wanted
}

/// The files that ACLs name. What they say is `acl check`'s affair.
fn access_lists(config: &Config) -> Vec<Check> {
    let pockets = config.build.pockets.iter().map(|(name, pocket)| (format!("ACL of {name}"), &pocket.acl));
    let all = pockets.chain([("ACL create_repo".to_owned(), &config.acl.create_repo)]);
    all.map(|(what, entries)| {
        let entries: Vec<&str> = entries.iter().map(|entry| entry.text.as_str()).collect();
        let files: Vec<&str> = entries
            .iter()
            .filter_map(|entry| entry.strip_prefix("file:").or(entry.starts_with('/').then_some(*entry)))
            .collect();
        if entries.is_empty() {
            return note(
                &what,
                "it is empty: nobody is admitted",
                format!("editor {}", crate::config::path(None).display()),
            );
        }
        for path in &files {
            match fs::read_to_string(path) {
                Err(_) if Path::new(path).is_dir() => {}
                Err(error) => return wrong(&what, format!("{path}: {error}"), format!("editor {path}")),
                Ok(_) if fs::metadata(path).is_ok_and(|there| there.permissions().mode() & 0o002 != 0) => {
                    return wrong(&what, format!("others may write {path}"), format!("chmod o-w {path}"));
                }
                Ok(text) if text.lines().all(|line| line.trim().is_empty() || line.starts_with('#')) => {
                    return note(&what, format!("{path} admits nobody yet"), format!("editor {path}"));
                }
                Ok(_) => {}
            }
        }
        fine(&what, entries.join(", "))
    })
    .collect()
}

fn realm(config: &Config) -> Check {
    let what = "Kerberos realm";
    match (&config.realm, identity::default_realm()) {
        (Some(realm), _) => fine(what, format!("{realm}, from the configuration")),
        (None, Ok(realm)) => fine(what, format!("{realm}, from krb5.conf")),
        (None, Err(error)) => wrong(what, error.to_string(), "dpkg-reconfigure krb5-config"),
    }
}

/// Only where remctld is to bring requests.
fn remctl() -> Vec<Check> {
    let hook_up = Path::new("/etc/remctl/conf.d/invirtibuilder");
    if !hook_up.exists() {
        let found = format!("{} is missing: no requests over remctl", hook_up.display());
        return vec![note("remctl", found, "apt-get install invirtibuilder-remctl")];
    }
    let keytab = std::env::var_os("KRB5_KTNAME").map_or(PathBuf::from("/etc/krb5.keytab"), PathBuf::from);
    let key = match fs::File::open(&keytab) {
        Ok(_) => fine("keytab", keytab.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => note(
            "keytab",
            format!("{} is there; only root can look into it", keytab.display()),
            "invirt-build init --check",
        ),
        Err(error) => {
            let host = nix::unistd::gethostname().map_or("HOST".into(), |name| name.to_string_lossy().into_owned());
            wrong("keytab", format!("{}: {error}", keytab.display()), format!("kadmin -q 'ktadd host/{host}'"))
        }
    };
    let address = SocketAddr::from(([127, 0, 0, 1], REMCTL_PORT));
    let answers = match TcpStream::connect_timeout(&address, Duration::from_secs(2)) {
        Ok(_) => fine("remctld", format!("port {REMCTL_PORT} answers")),
        Err(error) => {
            let found = format!("nothing answers on port {REMCTL_PORT} of this machine: {error}");
            note("remctld", found, "systemctl enable --now remctld.socket")
        }
    };
    vec![key, answers]
}

fn disk(config: &Config) -> Vec<Check> {
    let places: [(&str, &Path); 3] = [
        ("space for builds", &config.state_dir),
        ("space for Git", &config.git.packages),
        ("space for the archive", &config.archive.root),
    ];
    let one = |(what, path): (&str, &Path)| {
        let room = statvfs(path).ok()?;
        let free = room.blocks_available() as u64 * room.fragment_size() as u64;
        let found = format!("{:.1} GiB free in {}", free as f64 / f64::from(1 << 30), path.display());
        Some(if free < LITTLE {
            note(what, found, format!("du -x -d1 -h {}", path.display()))
        } else {
            fine(what, found)
        })
    };
    places.into_iter().filter_map(one).collect()
}

/// Where those who change the record stand in line. Without it changes are made, in no order.
fn line(config: &Config, user: &User) -> Check {
    let what = "line of writers";
    let path = record::line_of(&config.database());
    let shown = path.display();
    match fs::symlink_metadata(&path) {
        Ok(there) if there.is_file() && there.uid() == user.uid.as_raw() => fine(what, shown.to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => fine(what, "it is made with the first change"),
        _ => note(what, format!("{shown} is not a file of {}", user.name), format!("mv {shown} {shown}.old")),
    }
}

fn daemon(config: &Config) -> Check {
    if crate::wake::is_heard(&config.wake_socket()) {
        fine("daemon", "it runs")
    } else {
        note("daemon", "it does not run: what is submitted waits", "systemctl start invirtibuilderd")
    }
}

/// What holds builds to their limits: only the daemon itself can find out, and has written it down.
fn limits(config: &Config) -> Check {
    let what = "limits of builds";
    match fs::read_to_string(config.limits_note()) {
        Ok(found) if found.starts_with("cgroup") => fine(what, found.trim_end()),
        Ok(found) => {
            let mend =
                "systemctl edit invirtibuilderd to set Delegate=memory pids, and systemctl restart invirtibuilderd";
            note(what, found.trim_end(), mend)
        }
        Err(_) => note(what, "not known before the daemon has run", "systemctl start invirtibuilderd"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_machine_is_told_what_it_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { state_dir: dir.path().join("state"), ..Config::default() };
        let path = dir.path().join("key");
        let key = SigningKey::File(path.clone());
        let acl = dir.path().join("acl");
        fs::write(&acl, "# nobody\n").unwrap();
        config.acl.create_repo = vec![format!("file:{}", acl.display()).into()];
        let me = User::from_uid(getuid()).unwrap().unwrap();

        let state = &directories(&config, &me)[0];
        assert_eq!((state.verdict, state.mend.as_deref()), (Verdict::Wrong, Some("invirt-build init")));
        assert_eq!(signing_key(&key, &me).verdict, Verdict::Wrong);
        let lists = access_lists(&config);
        assert_eq!(lists.last().unwrap().verdict, Verdict::Note);

        fs::create_dir(&config.state_dir).unwrap();
        assert_eq!(directories(&config, &me)[0].verdict, Verdict::Fine);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(signing_key(&key, &me).found.contains("others may read"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(signing_key(&key, &me).verdict, Verdict::Fine);
        fs::set_permissions(&acl, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(access_lists(&config).last().unwrap().found.contains("others may write"));
        assert!(daemon(&config).mend.is_some());

        assert_eq!(line(&config, &me).verdict, Verdict::Fine);
        fs::create_dir(record::line_of(&config.database())).unwrap();
        assert!(line(&config, &me).found.ends_with(&format!("invirtibuilder.line is not a file of {}", me.name)));
    }
}
