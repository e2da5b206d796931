//! Whether people are let in: ACLs, the realm, remctl.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::readiness::check::{fine, note, wrong};
use invirtibuilder_access::identity;
use invirtibuilder_api::readiness::Check;
use invirtibuilder_core::config::{self, Config};

/// remctld's port (remctld(8)).
const REMCTL_PORT: u16 = 4373;

/// Checks the files that ACLs name. What they say is `acl check`'s affair.
pub(super) fn access_lists(config: &Config) -> Vec<Check> {
    let pockets =
        config.build.pockets.iter().map(|(name, pocket)| (format!("ACL of {name}"), &pocket.acl));
    let all = pockets.chain([("ACL create_repo".to_owned(), &config.acl.create_repo)]);
    all.map(|(what, entries)| {
        let entries: Vec<&str> = entries.iter().map(|entry| entry.text.as_str()).collect();
        let files: Vec<&str> = entries
            .iter()
            .filter_map(|entry| {
                entry.strip_prefix("file:").or(entry.starts_with('/').then_some(*entry))
            })
            .collect();
        if entries.is_empty() {
            return note(
                &what,
                "it is empty: nobody is admitted",
                format!("editor {}", config::path(None).display()),
            );
        }
        for path in &files {
            match fs::read_to_string(path) {
                Err(_) if Path::new(path).is_dir() => {}
                Err(error) => {
                    return wrong(&what, format!("{path}: {error}"), format!("editor {path}"));
                }
                Ok(_)
                    if fs::metadata(path)
                        .is_ok_and(|there| there.permissions().mode() & 0o002 != 0) =>
                {
                    return wrong(
                        &what,
                        format!("others may write {path}"),
                        format!("chmod o-w {path}"),
                    );
                }
                Ok(text)
                    if text.lines().all(|line| line.trim().is_empty() || line.starts_with('#')) =>
                {
                    return note(
                        &what,
                        format!("{path} admits nobody yet"),
                        format!("editor {path}"),
                    );
                }
                Ok(_) => {}
            }
        }
        fine(&what, entries.join(", "))
    })
    .collect()
}

/// Looks whether names without a realm get one.
pub(super) fn realm(config: &Config) -> Check {
    let what = "Kerberos realm";
    match (&config.realm, identity::default_realm()) {
        (Some(realm), _) => fine(what, format!("{realm}, from the configuration")),
        (None, Ok(realm)) => fine(what, format!("{realm}, from krb5.conf")),
        (None, Err(error)) => wrong(what, error.to_string(), "dpkg-reconfigure krb5-config"),
    }
}

/// Only where remctld is to bring requests.
pub(super) fn remctl() -> Vec<Check> {
    let hook_up = Path::new("/etc/remctl/conf.d/invirtibuilder");
    if !hook_up.exists() {
        let found = format!("{} is missing: no requests over remctl", hook_up.display());
        return vec![note("remctl", found, "apt-get install invirtibuilder-remctl")];
    }
    let keytab =
        std::env::var_os("KRB5_KTNAME").map_or(PathBuf::from("/etc/krb5.keytab"), PathBuf::from);
    let key = match fs::File::open(&keytab) {
        Ok(_) => fine("keytab", keytab.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => note(
            "keytab",
            format!("{} is there; only root can look into it", keytab.display()),
            "invirt-build init --check",
        ),
        Err(error) => {
            let host = nix::unistd::gethostname()
                .map_or("HOST".into(), |name| name.to_string_lossy().into_owned());
            wrong(
                "keytab",
                format!("{}: {error}", keytab.display()),
                format!("kadmin -q 'ktadd host/{host}'"),
            )
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

#[cfg(test)]
mod tests {
    use invirtibuilder_api::readiness::Readiness;

    use crate::readiness::access::*;

    #[test]
    fn lists_that_admit_nobody_or_that_others_may_write_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let acl = dir.path().join("acl");
        fs::write(&acl, "# nobody\n").unwrap();
        let mut config = Config::default();
        config.acl.create_repo = vec![format!("file:{}", acl.display()).into()];
        assert_eq!(access_lists(&config).last().unwrap().verdict, Readiness::Note);
        fs::set_permissions(&acl, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(access_lists(&config).last().unwrap().found.contains("others may write"));
    }
}
