//! One entry of an ACL: its scheme, and what it says about a principal.
//!
//! Entries are bytes, as in remctld: what is no UTF-8 names nobody, but it is no mistake either.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::program::Programs;
use super::{Step, file, localgroup, pattern};
use crate::names::Principal;

/// The anonymous principal (RFC 8062 section 3), which `anyuser:auth` does not admit.
pub const ANONYMOUS: &str = "WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS";

/// Entries that one decision may look at: files that are included over and over end here.
pub(super) const MAX_ENTRIES: usize = 200_000;

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Admitted.
    Match,
    /// It says nothing about this principal.
    NoMatch,
    /// Refused, whatever comes later.
    Deny,
    /// It cannot be evaluated: refused, and this is why.
    Error(String),
}

impl Outcome {
    /// The outcome in words.
    fn words(&self) -> String {
        match self {
            Outcome::Match => "match".to_owned(),
            Outcome::NoMatch => "no match".to_owned(),
            Outcome::Deny => "deny".to_owned(),
            Outcome::Error(why) => format!("error: {why}"),
        }
    }
}

/// What an entry says, and the entries inside it that made it say so: none if it says nothing.
#[derive(Debug)]
pub struct Verdict {
    /// What it says.
    pub outcome: Outcome,
    /// The entries that counted, the outer before the inner.
    pub chain: Vec<Step>,
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, chain: Vec::new() }
    }
}

impl Verdict {
    /// An error with nothing below it.
    pub fn error(why: impl Into<String>) -> Self {
        Outcome::Error(why.into()).into()
    }
}

/// What an entry without a scheme is: it depends on where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the configuration and after `include`.
    File,
    /// In an ACL file and after `deny:`.
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
        /// Whether the anonymous principal is admitted too.
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

/// Bytes of an entry, for a message.
pub fn shown(bytes: &[u8]) -> String {
    crate::text::quoted(&String::from_utf8_lossy(bytes))
}

/// One principal's way through an ACL.
pub struct Evaluation<'a> {
    who: &'a Principal,
    programs: &'a Programs<'a>,
    looked_at: usize,
    /// The files that are being read, so that one that includes itself is found.
    pub(super) open: Vec<PathBuf>,
}

impl<'a> Evaluation<'a> {
    /// Nothing has been looked at yet.
    pub fn new(who: &'a Principal, programs: &'a Programs<'a>) -> Self {
        Self { who, programs, looked_at: 0, open: Vec::new() }
    }

    /// Evaluates an entry that stands at `place`.
    pub fn entry(&mut self, place: &str, entry: &[u8], default: Scheme) -> Verdict {
        let depth = self.open.len();
        self.looked_at += 1;
        let inner = if self.looked_at > MAX_ENTRIES {
            Verdict::error(format!("more than {MAX_ENTRIES} entries are in the way"))
        } else {
            self.evaluate(entry, default)
        };
        let include = if default == Scheme::File && depth > 0 { "include " } else { "" };
        let text = format!("{include}{}", String::from_utf8_lossy(entry));
        let mut chain = vec![Step { place: place.to_owned(), text, result: inner.outcome.words(), depth }];
        if inner.outcome != Outcome::NoMatch {
            chain.extend(inner.chain);
        }
        Verdict { outcome: inner.outcome, chain }
    }

    fn evaluate(&mut self, entry: &[u8], default: Scheme) -> Verdict {
        let parsed = match parse(entry, default) {
            Ok(parsed) => parsed,
            Err(why) => return Verdict::error(why),
        };
        match parsed {
            Parsed::File(path) => file::evaluate(self, path),
            Parsed::Princ(name) => when(name == self.who.as_str().as_bytes()).into(),
            Parsed::AnyUser { anonymous } => when(anonymous || self.who.as_str() != ANONYMOUS).into(),
            Parsed::Deny(inner) => {
                let mut verdict = self.evaluate(inner, Scheme::Princ);
                verdict.outcome = match verdict.outcome {
                    Outcome::Match => Outcome::Deny,
                    Outcome::NoMatch | Outcome::Deny => Outcome::NoMatch,
                    error @ Outcome::Error(_) => error,
                };
                verdict
            }
            Parsed::Regex(text) => decided(pattern::posix(text, self.who.as_str())),
            Parsed::Pcre(text) => decided(pattern::pcre(text, self.who.as_str())),
            Parsed::LocalGroup(group) => decided(localgroup::holds(group, self.who)),
            // The files are remctld's, which knows neither: what it refuses there, we refuse.
            Parsed::Exec(_) | Parsed::Other(_) if !self.open.is_empty() => Verdict::error(match parsed {
                Parsed::Exec(_) => "exec: is for the configuration, not for ACL files".to_owned(),
                _ => format!("the scheme of {} is not known", shown(entry)),
            }),
            Parsed::Exec(program) => decided(self.programs.exec(program).map(|list| list.contains(self.who))),
            Parsed::Other(_) => decided(self.programs.locator(entry).map(|list| list.contains(self.who))),
        }
    }
}

fn when(matches: bool) -> Outcome {
    if matches { Outcome::Match } else { Outcome::NoMatch }
}

fn decided(result: Result<bool, String>) -> Verdict {
    match result {
        Ok(matches) => when(matches).into(),
        Err(why) => Verdict::error(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn outcome(entry: &str, default: Scheme, who: &str) -> Outcome {
        let who = Principal::from_authenticated(who).unwrap();
        let config = Config::default();
        let programs = Programs::new(&config, "prod");
        Evaluation::new(&who, &programs).entry("here", entry.as_bytes(), default).outcome
    }

    #[test]
    fn schemes_are_as_in_remctld() {
        use Outcome::*;
        let alice = |entry| outcome(entry, Scheme::Princ, "alice@R");
        assert_eq!(alice("alice@R"), Match);
        assert_eq!(alice("princ:alice@R"), Match);
        assert_eq!(alice("princ:alice"), NoMatch);
        assert_eq!(alice("ANYUSER"), Match);
        assert_eq!(alice("anyuser:auth"), Match);
        assert_eq!(outcome("anyuser:auth", Scheme::Princ, ANONYMOUS), NoMatch);
        assert_eq!(outcome("anyuser:anonymous", Scheme::Princ, ANONYMOUS), Match);
        assert_eq!(alice("deny:alice@R"), Deny);
        assert_eq!(alice("deny:princ:bob@R"), NoMatch);
        assert_eq!(alice("deny:deny:alice@R"), NoMatch);
        assert_eq!(alice("regex:^alice@"), Match);
        assert_eq!(alice("deny:regex:^alice@"), Deny);
        assert_eq!(alice("pcre:^(?!alice)"), NoMatch);
        assert_eq!(alice("localgroup:no-such-group"), NoMatch);
        for error in ["anyuser:x", "Princ:alice@R", "gput:x", "deny:nonsense:x", "file:/nonexistent", ":x", "regex:["] {
            assert!(matches!(alice(error), Error(_)), "{error}");
        }
        assert!(matches!(outcome("/nonexistent", Scheme::File, "alice@R"), Error(_)));
        assert_eq!(alice("/nonexistent"), NoMatch);
    }
}
