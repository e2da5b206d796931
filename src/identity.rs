//! Who asks.
//!
//! Over remctl that is `REMOTE_USER`, which remctld sets from the authenticated GSS-API context, and nothing else. With
//! no `REMOTE_USER`, root and the owner of the state directory are `local:<user>`; anybody else has no identity.

use std::os::unix::fs::MetadataExt;

use libgssapi::name::Name;
use libgssapi::oid::{GSS_MECH_KRB5, GSS_NT_USER_NAME};
use nix::unistd::{User, getuid};

use crate::config::Config;
use crate::error::Error;
use crate::names::Principal;

/// The principal of whoever runs this process.
pub fn who(config: &Config) -> Result<Principal, Error> {
    match std::env::var_os("REMOTE_USER") {
        Some(name) => {
            let name =
                name.to_str().ok_or_else(|| Error::denied("REMOTE_USER is not UTF-8: nobody is admitted by it"))?;
            remote(name, config.realm.as_deref())
        }
        None => local(config),
    }
}

/// A name as remctld gives it, with the realm it stands for when it has none.
fn remote(name: &str, realm: Option<&str>) -> Result<Principal, Error> {
    // A Kerberos name cannot be taken for somebody in a shell on the server.
    if name.is_empty() || name.starts_with("local:") {
        return Err(Error::denied(format!("REMOTE_USER is {}: nobody is admitted by it", crate::text::quoted(name))));
    }
    if has_realm(name) {
        return Principal::from_authenticated(name);
    }
    match realm {
        Some(realm) => Principal::from_authenticated(&format!("{name}@{realm}")),
        None => Principal::from_authenticated(&canonical(name)?),
    }
}

/// Whether there is an `@` that no backslash takes its meaning from (krb5_parse_name(3)).
fn has_realm(name: &str) -> bool {
    let mut escaped = false;
    name.chars().any(|c| {
        let at = c == '@' && !escaped;
        escaped = c == '\\' && !escaped;
        at
    })
}

/// krb5.conf's default realm.
pub fn default_realm() -> Result<String, Error> {
    let name = canonical("x")?;
    Ok(name.split_once('@').map_or(name.clone(), |(_, realm)| realm.to_owned()))
}

/// The name in krb5.conf's default realm.
fn canonical(name: &str) -> Result<String, Error> {
    let fail = |error: libgssapi::error::Error| {
        Error::denied(format!("{} cannot be made a principal: {error}", crate::text::quoted(name)))
    };
    let name = Name::new(name.as_bytes(), Some(GSS_NT_USER_NAME))
        .and_then(|name| name.canonicalize(Some(GSS_MECH_KRB5)))
        .and_then(|name| name.display_name())
        .map_err(fail)?;
    String::from_utf8(name.to_vec()).map_err(|_| Error::denied("the principal's name is not UTF-8"))
}

fn local(config: &Config) -> Result<Principal, Error> {
    let uid = getuid();
    let owner = std::fs::metadata(&config.state_dir).map(|m| m.uid()).ok();
    if !uid.is_root() && owner != Some(uid.as_raw()) {
        return Err(Error::denied(
            "nobody has authenticated you (REMOTE_USER is not set): use remctl, or be root or the service's own user",
        ));
    }
    let name = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    Principal::local(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str, realm: Option<&str>) -> Result<String, String> {
        remote(text, realm).map(String::from).map_err(|error| error.to_string())
    }

    #[test]
    fn a_realm_is_added_only_where_there_is_none() {
        assert_eq!(name("alice", Some("EXAMPLE.ORG")).unwrap(), "alice@EXAMPLE.ORG");
        assert_eq!(name("alice@OTHER", Some("EXAMPLE.ORG")).unwrap(), "alice@OTHER");
        assert_eq!(name("a\\@b", Some("R")).unwrap(), "a\\@b@R");
    }

    #[test]
    fn what_is_no_principal_admits_nobody() {
        for bad in ["", "local:root", "a b@R", "a\n@R", "a\u{1b}@R"] {
            assert!(name(bad, Some("R")).is_err(), "{bad:?}");
        }
        assert!(name(&"x".repeat(2000), Some("R")).is_err());
    }
}
