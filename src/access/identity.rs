//! Finds out who asks, and by which way.
//!
//! Over remctl that is `REMOTE_USER`, which remctld sets from the authenticated GSS-API context,
//! and nothing else. Over ssh it is what `ssh-command` was given. With neither, root and the owner
//! of the state directory are `local:<user>`; anybody else has no identity.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;

use libgssapi::name::Name;
use libgssapi::oid::{GSS_MECH_KRB5, GSS_NT_USER_NAME};
use nix::unistd::{User, getuid};

use crate::grant::Grant;
use invirtibuilder_core::config::Config;
use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::Principal;

/// The name of callers by HTTP that have not said who they are. It has no realm, so it is no
/// principal's.
pub const NOBODY: &str = "nobody";

/// The way by which a request came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// By remctld: the value of `REMOTE_USER`.
    Remctl(OsString),
    /// By sshd: the principal that stands behind the key or the ticket.
    Ssh(String),
    /// By HTTP: who stands behind the ticket, the session or the token, and what of their rights
    /// the request has; `None`: nobody has said who they are.
    Http(Option<Principal>, Grant),
    /// From a shell on this server.
    Shell,
}

impl Caller {
    /// Finds the way by which this process was started.
    pub fn of_this_process() -> Self {
        std::env::var_os("REMOTE_USER").map_or(Caller::Shell, Caller::Remctl)
    }

    /// Returns the way in one word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Caller::Remctl(_) => "remctl",
            Caller::Ssh(_) => "ssh",
            Caller::Http(..) => "http",
            Caller::Shell => "shell",
        }
    }

    /// Tells whether the request comes from elsewhere: then it may name no files of this server.
    pub fn is_remote(&self) -> bool {
        match self {
            Caller::Remctl(_) | Caller::Ssh(_) | Caller::Http(..) => true,
            Caller::Shell => false,
        }
    }

    /// Returns the rights that the request has of the caller's.
    pub fn grant(&self) -> &Grant {
        match self {
            Caller::Http(_, grant) => grant,
            Caller::Remctl(_) | Caller::Ssh(_) | Caller::Shell => &Grant::Whole,
        }
    }
}

/// Finds the principal that asks.
pub fn who(config: &Config, caller: &Caller) -> Result<Principal, Error> {
    let realm = config.realm.as_deref();
    match caller {
        Caller::Remctl(name) => {
            let name = name.to_str().ok_or_else(|| {
                Error::denied("REMOTE_USER is not UTF-8: nobody is admitted by it")
            })?;
            qualified(name, realm)
        }
        Caller::Ssh(name) => qualified(name, realm),
        Caller::Http(Some(principal), _) => Ok(principal.clone()),
        Caller::Http(None, _) => Principal::from_authenticated(NOBODY),
        Caller::Shell => local(config),
    }
}

/// Reads a Kerberos name, and adds the realm that it stands for when it has none.
pub fn qualified(name: &str, realm: Option<&str>) -> Result<Principal, Error> {
    // A Kerberos name cannot be taken for somebody in a shell on the server.
    if name.is_empty() || name.starts_with("local:") {
        return Err(Error::denied(format!(
            "the principal is {}: nobody is admitted by it",
            invirtibuilder_core::text::quoted(name)
        )));
    }
    if has_realm(name) {
        return Principal::from_authenticated(name);
    }
    match realm {
        Some(realm) => Principal::from_authenticated(&format!("{name}@{realm}")),
        None => Principal::from_authenticated(&canonical(name)?),
    }
}

/// Tells whether a name has an `@` that no backslash takes its meaning from (krb5_parse_name(3)).
pub fn has_realm(name: &str) -> bool {
    let mut escaped = false;
    name.chars().any(|c| {
        let at = c == '@' && !escaped;
        escaped = c == '\\' && !escaped;
        at
    })
}

/// Finds krb5.conf's default realm.
pub fn default_realm() -> Result<String, Error> {
    let name = canonical("x")?;
    Ok(name.split_once('@').map_or(name.clone(), |(_, realm)| realm.to_owned()))
}

/// Writes a name with krb5.conf's default realm.
fn canonical(name: &str) -> Result<String, Error> {
    let fail = |error: libgssapi::error::Error| {
        Error::denied(format!(
            "{} cannot be made a principal: {error}",
            invirtibuilder_core::text::quoted(name)
        ))
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
    // remctld's 'sudo=' ends here as well, and by default sudo takes REMOTE_USER away.
    if std::env::var_os("SUDO_UID").is_some() && !uid.is_root() && !std::io::stdin().is_terminal() {
        return Err(Error::denied(
            "sudo has taken away who asks: with remctld's 'sudo=' let sudoers say env_keep += \"REMOTE_USER\", and in a \
             script run this as root, without sudo",
        ));
    }
    let name = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    Principal::local(&name)
}

#[cfg(test)]
mod tests {
    use crate::identity::*;

    fn name(text: &str, realm: Option<&str>) -> Result<String, String> {
        qualified(text, realm).map(String::from).map_err(|error| error.to_string())
    }

    #[test]
    fn a_realm_is_added_only_where_there_is_none() {
        assert_eq!(name("alice", Some("EXAMPLE.ORG")).unwrap(), "alice@EXAMPLE.ORG");
        assert_eq!(name("alice@OTHER", Some("EXAMPLE.ORG")).unwrap(), "alice@OTHER");
        assert_eq!(name("a\\@b", Some("R")).unwrap(), "a\\@b@R");
        assert_eq!(name("dave smith@R", Some("R")).unwrap(), "dave smith@R");
    }

    #[test]
    fn what_is_no_principal_admits_nobody() {
        for bad in ["", "local:root", "a\t@R", "a\n@R", "a\u{1b}@R", "a\u{2028}@R"] {
            assert!(name(bad, Some("R")).is_err(), "{bad:?}");
        }
        assert!(name(&"x".repeat(2000), Some("R")).is_err());
    }
}
