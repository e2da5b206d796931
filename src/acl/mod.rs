//! Who may do what: remctld's ACLs, evaluated as remctld(8) does.
//!
//! Entries are tried in order and the first decisive one wins: a match admits, a denial or an error refuses, and no
//! match at the end refuses too. Whatever cannot be evaluated is an error, so it refuses: this module fails closed.

use std::fmt;

mod entry;
mod file;

use crate::config::Config;
use crate::names::{PocketName, Principal};
pub use entry::{Outcome, Scheme};

/// Proof that a principal may submit to a pocket. Only this module makes one.
#[derive(Debug)]
pub struct Authorized {
    pocket: PocketName,
}

impl Authorized {
    /// The pocket.
    pub fn pocket(&self) -> &PocketName {
        &self.pocket
    }
}

/// Why somebody was not admitted.
#[derive(Debug)]
pub struct Refusal {
    /// For whoever asked: terse, as it must not tell how the ACL is made.
    pub sentence: String,
    /// For the system log and the audit trail.
    pub detail: String,
}

/// One entry that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Where it stands: `FILE:LINE`, or the entry of the configuration.
    pub place: String,
    /// The entry itself.
    pub text: String,
    /// What came of it.
    pub result: String,
}

/// A decision and how it came about.
#[derive(Debug)]
pub struct Explained {
    /// Whether the principal is admitted.
    pub admitted: bool,
    /// Every entry that was looked at, in order.
    pub steps: Vec<Step>,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.steps.iter().rev().find(|step| step.result != "no match") {
            Some(step) => write!(f, "{}: {}: {}", step.place, step.text, step.result),
            None => write!(f, "no entry of {} matches", self.steps.len()),
        }
    }
}

/// Whether `who` may submit to `pocket`, which is configured. Whoever sits at the server as root or as the service's
/// user owns all that the ACL protects, and is admitted.
pub fn authorize(config: &Config, pocket: &PocketName, who: &Principal) -> Result<Authorized, Refusal> {
    let explained = explain(config, pocket, who);
    if explained.admitted {
        return Ok(Authorized { pocket: pocket.clone() });
    }
    Err(Refusal { sentence: format!("{who} may not submit to {pocket}"), detail: explained.to_string() })
}

/// The decision of [`authorize`], with all that led to it.
pub fn explain(config: &Config, pocket: &PocketName, who: &Principal) -> Explained {
    let none = Vec::new();
    let entries = config.build.pockets.get(pocket).map_or(&none, |pocket| &pocket.acl);
    decide(&format!("acl of {pocket}"), entries, who)
}

/// Whether a list of entries admits `who`; the detail if it does not.
pub fn authorize_entries(entries: &[String], who: &Principal) -> Result<(), String> {
    let explained = decide("acl", entries, who);
    if explained.admitted { Ok(()) } else { Err(explained.to_string()) }
}

fn decide(name: &str, entries: &[String], who: &Principal) -> Explained {
    if who.is_local() {
        let result = "administrators on the server are admitted".to_owned();
        return Explained { admitted: true, steps: vec![Step { place: name.into(), text: who.to_string(), result }] };
    }
    let mut evaluation = entry::Evaluation::new(who);
    for (n, entry) in entries.iter().enumerate() {
        let place = format!("{name}, entry {}", n + 1);
        match evaluation.entry(&place, entry, Scheme::File) {
            Outcome::NoMatch => {}
            Outcome::Match => return Explained { admitted: true, steps: evaluation.into_steps() },
            Outcome::Deny | Outcome::Error(_) => break,
        }
    }
    Explained { admitted: false, steps: evaluation.into_steps() }
}
