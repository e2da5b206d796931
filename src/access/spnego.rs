//! Accepts Kerberos tickets as HTTP carries them: `Authorization: Negotiate` (RFC 4559), with the
//! key of `HTTP/<host>` from a keytab.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libgssapi::context::{SecurityContext, ServerCtx};
use libgssapi::credential::{Cred, CredUsage};
use libgssapi::oid::{GSS_MECH_KRB5, GSS_MECH_SPNEGO, OidSet};

use crate::acl::ANONYMOUS;
use crate::identity::qualified;
use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::Principal;
use invirtibuilder_core::text::one_line;

/// The longest token that is looked at, in characters. A ticket with the memberships of somebody
/// in many groups of Active Directory has less.
const LONGEST: usize = 96 << 10;

/// Has this process's GSS-API accept tickets by the keys of a keytab.
#[allow(unsafe_code, reason = "the environment is changed before there are threads")]
pub fn use_keytab(keytab: &Path) {
    let mut name = std::ffi::OsString::from("FILE:");
    name.push(keytab);
    // SAFETY: the caller is `main`, which has started no thread yet.
    unsafe { std::env::set_var("KRB5_KTNAME", name) };
}

/// Accepts tickets.
#[derive(Debug)]
pub struct Acceptor {
    key: Cred,
}

/// A ticket that was accepted.
#[derive(Debug)]
pub struct AcceptedTicket {
    /// Whose it is.
    pub principal: Principal,
    /// For how long it is valid.
    pub lifetime: Duration,
    /// What the client is to be told, for the header `WWW-Authenticate`, if it is to be told
    /// something.
    pub reply: Option<String>,
}

impl Acceptor {
    /// Opens the keytab of this process ([`use_keytab`]). It is an error if it has no key.
    pub fn open() -> Result<Self, Error> {
        let fail = |error: libgssapi::error::Error| {
            Error::unavailable(format!(
                "no ticket can be accepted: {}: have an administrator look at http.keytab, which needs the key of HTTP/<host> and to be readable by the service's user",
                one_line(&error.to_string())
            ))
        };
        let mut mechanisms = OidSet::new();
        mechanisms.add(GSS_MECH_SPNEGO).map_err(fail)?;
        mechanisms.add(GSS_MECH_KRB5).map_err(fail)?;
        let key = Cred::acquire(None, None, CredUsage::Accept, Some(&mechanisms)).map_err(fail)?;
        Ok(Self { key })
    }

    /// Accepts a token, in Base64. Each is accepted once: MIT Kerberos remembers them.
    pub fn accept(&self, token: &str, realm: Option<&str>) -> Result<AcceptedTicket, Error> {
        let refuse = |why: &str| Error::denied(format!("this ticket is not accepted: {why}"));
        if token.len() > LONGEST {
            return Err(refuse("it is too long"));
        }
        let token = STANDARD.decode(token).map_err(|_| refuse("it is not Base64"))?;
        let failed = |error: libgssapi::error::Error| refuse(&one_line(&error.to_string()));
        let mut context = ServerCtx::new(Some(self.key.clone()));
        let reply = context.step(&token, None).map_err(failed)?;
        if !context.is_complete() {
            return Err(refuse("it asks for another round: use Kerberos, not NTLM"));
        }
        if context.mechanism().map_err(failed)? != GSS_MECH_KRB5 {
            return Err(refuse("it is not of Kerberos"));
        }
        let name = context.source_name().and_then(|name| name.display_name()).map_err(failed)?;
        let name = std::str::from_utf8(&name).map_err(|_| refuse("its name is not UTF-8"))?;
        if name == ANONYMOUS {
            return Err(refuse("it is anonymous"));
        }
        Ok(AcceptedTicket {
            principal: qualified(name, realm)?,
            lifetime: context.lifetime().map_err(failed)?,
            reply: reply.map(|reply| STANDARD.encode(&reply[..])),
        })
    }
}
