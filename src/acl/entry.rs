//! One entry of an ACL: its scheme, and what it says about a principal.

use std::path::{Path, PathBuf};

use super::{Step, file};
use crate::names::Principal;

/// The anonymous principal (RFC 8062 section 3), which `anyuser:auth` does not admit.
const ANONYMOUS: &str = "WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS";

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

/// What an entry without a scheme is: it depends on where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the configuration and after `include`.
    File,
    /// In an ACL file and after `deny:`.
    Princ,
}

/// One principal's way through an ACL.
pub struct Evaluation<'a> {
    who: &'a Principal,
    steps: Vec<Step>,
    /// The files that are being read, so that one that includes itself is found.
    pub(super) open: Vec<PathBuf>,
}

impl<'a> Evaluation<'a> {
    /// Nothing has been looked at yet.
    pub fn new(who: &'a Principal) -> Self {
        Self { who, steps: Vec::new(), open: Vec::new() }
    }

    /// Everything that was looked at.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    /// Evaluates an entry that stands at `place`.
    pub fn entry(&mut self, place: &str, entry: &str, default: Scheme) -> Outcome {
        let outcome = self.evaluate(entry, default);
        let result = match &outcome {
            Outcome::Match => "match".to_owned(),
            Outcome::NoMatch => "no match".to_owned(),
            Outcome::Deny => "deny".to_owned(),
            Outcome::Error(why) => format!("error: {why}"),
        };
        self.steps.push(Step { place: place.to_owned(), text: entry.to_owned(), result });
        outcome
    }

    fn evaluate(&mut self, entry: &str, default: Scheme) -> Outcome {
        // remctld knows this word from before there were schemes.
        if entry == "ANYUSER" {
            return self.anyuser("auth");
        }
        let (scheme, rest) = match (entry.split_once(':'), default) {
            (Some((scheme, rest)), _) => (scheme, rest),
            (None, Scheme::File) => ("file", entry),
            (None, Scheme::Princ) => ("princ", entry),
        };
        match scheme {
            "file" => file::evaluate(self, Path::new(rest)),
            "princ" if rest == self.who.as_str() => Outcome::Match,
            "princ" => Outcome::NoMatch,
            "anyuser" => self.anyuser(rest),
            "deny" => match self.evaluate(rest, Scheme::Princ) {
                Outcome::Match => Outcome::Deny,
                Outcome::NoMatch | Outcome::Deny => Outcome::NoMatch,
                error @ Outcome::Error(_) => error,
            },
            other => Outcome::Error(format!("the scheme {} is not supported", crate::text::quoted(other))),
        }
    }

    fn anyuser(&self, kind: &str) -> Outcome {
        match kind {
            "auth" if self.who.as_str() == ANONYMOUS => Outcome::NoMatch,
            "auth" | "anonymous" => Outcome::Match,
            other => Outcome::Error(format!("anyuser:{} is neither auth nor anonymous", crate::text::one_line(other))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(entry: &str, default: Scheme, who: &str) -> Outcome {
        let who = Principal::from_authenticated(who).unwrap();
        Evaluation::new(&who).entry("here", entry, default)
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
        for error in ["anyuser:x", "Princ:alice@R", "gput:x", "deny:nonsense:x", "file:/nonexistent", ":x"] {
            assert!(matches!(alice(error), Error(_)), "{error}");
        }
        assert!(matches!(outcome("/nonexistent", Scheme::File, "alice@R"), Error(_)));
        assert_eq!(alice("/nonexistent"), NoMatch);
    }
}
