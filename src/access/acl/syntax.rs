//! Reads one entry of an ACL: a scheme, and what it is about.
//!
//! Entries are bytes, as in remctld: an entry that is no UTF-8 names nobody, but it is no mistake
//! either.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The anonymous principal (RFC 8062 section 3), which `anyuser:auth` does not admit.
pub const ANONYMOUS: &str = "WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS";

/// The scheme of an entry that names none: it depends on where the entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `file`: in the configuration and after `include`.
    File,
    /// `princ`: in an ACL file and after `deny:`.
    Princ,
}

/// An entry taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// `file:PATH`
    File(&'a Path),
    /// `princ:NAME`
    Princ(&'a [u8]),
    /// `anyuser:auth` (also `ANYUSER`) and `anyuser:anonymous`
    AnyUser {
        /// Whether it admits the anonymous principal too.
        anonymous: bool,
    },
    /// `deny:ENTRY`
    Deny(&'a [u8]),
    /// `regex:PATTERN`
    Regex(&'a [u8]),
    /// `pcre:PATTERN`
    Pcre(&'a [u8]),
    /// `localgroup:GROUP`
    LocalGroup(&'a [u8]),
    /// `exec:PROGRAM`
    Exec(&'a Path),
    /// A scheme that remctld does not know: in the configuration it may be a locator.
    Other(&'a [u8]),
}

/// Takes an entry apart, or says why it cannot be evaluated.
pub fn parse(entry: &[u8], default: Scheme) -> Result<Parsed<'_>, String> {
    // remctld knows this word from before there were schemes.
    if entry == b"ANYUSER" {
        return Ok(Parsed::AnyUser { anonymous: false });
    }
    let (scheme, rest) = match (entry.iter().position(|&c| c == b':'), default) {
        (Some(colon), _) => (&entry[..colon], &entry[colon + 1..]),
        (None, Scheme::File) => (&b"file"[..], entry),
        (None, Scheme::Princ) => (&b"princ"[..], entry),
    };
    let path = Path::new(OsStr::from_bytes(rest));
    match scheme {
        b"file" => Ok(Parsed::File(path)),
        b"princ" => Ok(Parsed::Princ(rest)),
        b"anyuser" => match rest {
            b"auth" => Ok(Parsed::AnyUser { anonymous: false }),
            b"anonymous" => Ok(Parsed::AnyUser { anonymous: true }),
            other => Err(format!("{} is neither auth nor anonymous", shown(other))),
        },
        b"deny" => Ok(Parsed::Deny(rest)),
        b"regex" => Ok(Parsed::Regex(rest)),
        b"pcre" => Ok(Parsed::Pcre(rest)),
        b"localgroup" => Ok(Parsed::LocalGroup(rest)),
        b"exec" => Ok(Parsed::Exec(path)),
        b"gput" => Err("the scheme gput is not supported, here as in Debian's remctld".to_owned()),
        _ => Ok(Parsed::Other(scheme)),
    }
}

/// Writes bytes of an entry for a message.
pub fn shown(bytes: &[u8]) -> String {
    invirtibuilder_core::text::quoted(&String::from_utf8_lossy(bytes))
}
