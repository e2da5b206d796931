//! Whether what the service owns is its own: directories and signing keys.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use nix::unistd::User;

use crate::readiness::check::{fine, wrong};
use invirtibuilder_api::readiness::{Check, Readiness};
use invirtibuilder_archive::Archive;
use invirtibuilder_core::config::{Config, SigningKey};
use invirtibuilder_store::domains;

/// Looks whether each directory is there and is the service's own.
pub(super) fn directories(config: &Config, user: &User) -> Vec<Check> {
    let all = [
        ("state_dir".to_owned(), &config.state_dir),
        ("git.packages".to_owned(), &config.git.packages),
        ("git.superproject".to_owned(), &config.git.superproject),
    ];
    let archives = config.domains().map(|(domain, it)| (domain.setting("root"), &it.root));
    let one = |(what, path): (String, &PathBuf)| match fs::metadata(path) {
        Ok(there) if there.is_dir() && there.uid() == user.uid.as_raw() => {
            fine(&what, path.display().to_string())
        }
        Ok(_) => {
            let found = format!("{} is not a directory of {}", path.display(), user.name);
            wrong(&what, found, format!("chown -R {}: {}", user.name, path.display()))
        }
        Err(error) => wrong(&what, format!("{}: {error}", path.display()), "invirt-build init"),
    };
    all.into_iter().chain(archives).map(one).collect()
}

/// Looks whether each pocket is in the domain that the configuration puts it into.
pub(super) fn domains(config: &Config) -> Vec<Check> {
    let all = domains::differences_in(&config.database(), config).into_iter();
    all.map(|(pocket, error)| {
        let mend = format!("invirt-build archive move {pocket} {}", config.domain(&pocket));
        wrong(&format!("domain of {pocket}"), error.to_string(), mend)
    })
    .collect()
}

/// Checks each key by itself, and whether all of them together can sign for every client.
pub(super) fn signing_keys(config: &Config, user: &User) -> Vec<Check> {
    let keys = config.domains().flat_map(|(_, archive)| &archive.signing_key);
    let mut checks: Vec<Check> = keys.map(|key| signing_key(key, user)).collect();
    if checks.iter().all(|check| check.verdict == Readiness::Fine) {
        let unfit = Archive::check_keys(config).err();
        checks.extend(unfit.map(|(_, error)| {
            wrong("signing key", format!("{error:#}"), "invirt-build check-config")
        }));
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
        Ok(there) if shared(&there) => wrong(
            what,
            format!("others may read {}", path.display()),
            format!("chmod 600 {}", path.display()),
        ),
        Ok(there) if there.uid() != user.uid.as_raw() => {
            let found = format!("{} does not belong to {}", path.display(), user.name);
            wrong(what, found, format!("chown {}: {}", user.name, path.display()))
        }
        Ok(_) => fine(what, path.display().to_string()),
        Err(error) => wrong(what, format!("{}: {error}", path.display()), "invirt-build init"),
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::getuid;

    use crate::readiness::files::*;

    #[test]
    fn what_is_not_the_services_own_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { state_dir: dir.path().join("state"), ..Config::default() };
        let path = dir.path().join("key");
        let key = SigningKey::File(path.clone());
        let me = User::from_uid(getuid()).unwrap().unwrap();

        let state = &directories(&config, &me)[0];
        assert_eq!(
            (state.verdict, state.mend.as_deref()),
            (Readiness::Wrong, Some("invirt-build init"))
        );
        assert_eq!(signing_key(&key, &me).verdict, Readiness::Wrong);

        fs::create_dir(&config.state_dir).unwrap();
        assert_eq!(directories(&config, &me)[0].verdict, Readiness::Fine);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(signing_key(&key, &me).found.contains("others may read"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(signing_key(&key, &me).verdict, Readiness::Fine);
    }
}
