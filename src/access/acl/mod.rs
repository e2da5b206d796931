//! Decides who may do what: remctld's ACLs, evaluated as remctld(8) does.
//!
//! It tries entries in order and the first decisive one wins: a match admits, a denial or an error
//! refuses, and no match at the end refuses too. Whatever cannot be evaluated is an error, so it
//! refuses: this module fails closed.

use std::fmt;

mod evaluate;
mod file;
mod lint;
mod localgroup;
mod pattern;
mod program;
mod show;
mod syntax;
mod trust;

use evaluate::{EntryOutcome, Evaluation};
use invirtibuilder_api::acl::{Access, Effect, EvaluationStep};
use invirtibuilder_core::config::{AclEntry, Config};
use invirtibuilder_core::names::{PocketName, Principal};
pub use lint::lint;
use program::EntryPrograms;
pub use syntax::ANONYMOUS;
use syntax::Scheme;
pub use trust::untrusted;

/// The proof that a principal may submit to a pocket. Only this module makes one.
#[derive(Debug)]
pub struct Authorized {
    pocket: PocketName,
    why: String,
}

impl Authorized {
    /// Returns the pocket.
    pub fn pocket(&self) -> &PocketName {
        &self.pocket
    }

    /// Returns the entries that admitted, for the system log and the audit trail.
    pub fn why(&self) -> &str {
        &self.why
    }
}

/// Why an ACL did not admit a principal.
#[derive(Debug)]
pub struct Refusal {
    /// The reason for the principal: terse, as it must not tell how the ACL is made.
    pub sentence: String,
    /// The reason for the system log and the audit trail.
    pub detail: String,
}

/// A decision and how the ACL came to it.
#[derive(Debug)]
pub struct Explained {
    /// Whether the ACL admits the principal.
    pub admitted: bool,
    /// The entries of the list that the evaluation looked at, in order; below the decisive one,
    /// those inside it that counted.
    pub steps: Vec<EvaluationStep>,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(decisive) = self.steps.iter().position(|step| step.result != "no match") else {
            let tried = self.steps.iter().filter(|step| step.depth == 0).count();
            return write!(f, "no entry of {tried} matches");
        };
        for (n, step) in self.steps[decisive..].iter().enumerate() {
            write!(f, "{}{}: {}", if n == 0 { "" } else { " > " }, step.place, step.text)?;
        }
        write!(f, ": {}", self.steps[decisive].result)
    }
}

/// Decides whether `who` may submit to `pocket`, which is configured. A user that sits at the
/// server as root or as the service's user owns all that the ACL protects, and is admitted.
///
/// It may run programs, so it can take as long as `acl.timeout` for each.
pub fn authorize(
    config: &Config,
    pocket: &PocketName,
    who: &Principal,
) -> Result<Authorized, Refusal> {
    let explained = explain(config, pocket, who);
    let detail = explained.to_string();
    if explained.admitted {
        return Ok(Authorized { pocket: pocket.clone(), why: detail });
    }
    Err(Refusal { sentence: format!("{who} may not submit to {pocket}"), detail })
}

/// Makes the decision of [`authorize`], with all that led to it.
pub fn explain(config: &Config, pocket: &PocketName, who: &Principal) -> Explained {
    decide(config, pocket.as_str(), entries(config, pocket), who)
}

/// Decides whether a list of entries admits `who`, and says why. `subject` is the argument that
/// `exec:` programs in the list get.
pub fn explain_entries(
    config: &Config,
    subject: &str,
    entries: &[AclEntry],
    who: &Principal,
) -> Explained {
    decide(config, subject, entries, who)
}

/// Lists all that can be known of who may submit to `pocket`, in the order in which the ACL
/// decides.
pub fn show(config: &Config, pocket: &PocketName) -> Vec<Access> {
    let programs = EntryPrograms::new(config, pocket.as_str());
    let mut listing = show::AccessListing::new(&programs);
    for entry in entries(config, pocket) {
        listing.entry(&entry.place(), entry.text.as_bytes(), Scheme::File, Effect::Allow);
    }
    listing.into_found()
}

fn entries<'a>(config: &'a Config, pocket: &PocketName) -> &'a [AclEntry] {
    config.build.pockets.get(pocket).map_or(&[], |pocket| &pocket.acl)
}

fn decide(config: &Config, subject: &str, entries: &[AclEntry], who: &Principal) -> Explained {
    if who.is_local() {
        let result = "administrators on the server are admitted".to_owned();
        let step = EvaluationStep {
            place: format!("acl of {subject}"),
            text: who.to_string(),
            result,
            depth: 0,
        };
        return Explained { admitted: true, steps: vec![step] };
    }
    let programs = EntryPrograms::new(config, subject);
    let mut evaluation = Evaluation::new(who, &programs);
    let mut steps = Vec::new();
    for entry in entries {
        let verdict = evaluation.entry(&entry.place(), entry.text.as_bytes(), Scheme::File);
        steps.extend(verdict.chain);
        match verdict.outcome {
            EntryOutcome::NoMatch => {}
            EntryOutcome::Match => return Explained { admitted: true, steps },
            EntryOutcome::Deny | EntryOutcome::Error(_) => break,
        }
    }
    Explained { admitted: false, steps }
}

#[cfg(test)]
mod tests {
    use crate::acl::*;

    fn config(entries: &[&str]) -> Config {
        let mut config = Config::default();
        let entries = entries.iter().map(|text| AclEntry::from((*text).to_owned()));
        config.build.pockets.entry("prod".parse().unwrap()).or_default().acl = entries.collect();
        config
    }

    fn ask(config: &Config, who: &str) -> Explained {
        explain(config, &"prod".parse().unwrap(), &Principal::from_authenticated(who).unwrap())
    }

    #[test]
    fn the_first_decisive_entry_wins_and_no_entry_denies() {
        for (entries, admitted) in [
            (&["princ:alice@R"][..], true),
            (&[], false),
            (&["princ:bob@R"], false),
            (&["princ:bob@R", "princ:alice@R"], true),
            (&["deny:princ:alice@R", "princ:alice@R"], false),
            (&["princ:alice@R", "deny:princ:alice@R"], true),
            (&["nonsense:x", "princ:alice@R"], false),
            (&["princ:alice@R", "nonsense:x"], true),
            (&["deny:deny:alice@R", "princ:alice@R"], true),
            (&["exec:/nonexistent", "princ:alice@R"], false),
        ] {
            assert_eq!(ask(&config(entries), "alice@R").admitted, admitted, "{entries:?}");
        }
        assert!(ask(&config(&[]), "local:root").admitted);
    }

    #[test]
    fn the_chain_names_every_entry_that_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(path("inner"), "bob@R\nalice@R\n").unwrap();
        std::fs::write(path("outer"), format!("# us\nprinc:carol@R\ninclude {}\n", path("inner")))
            .unwrap();
        let config = config(&["princ:bob@R", &format!("file:{}", path("outer"))]);
        let explained = ask(&config, "alice@R");
        let steps: Vec<(String, usize, &str)> = explained
            .steps
            .iter()
            .map(|step| (step.place.replace(&path(""), ""), step.depth, step.result.as_str()))
            .collect();
        assert_eq!(
            steps,
            [
                ("configuration".to_owned(), 0, "no match"),
                ("configuration".to_owned(), 0, "match"),
                ("outer:3".to_owned(), 1, "match"),
                ("inner:2".to_owned(), 2, "match"),
            ]
        );
        let text = explained.to_string().replace(&path(""), "");
        assert_eq!(
            text,
            "configuration: file:outer > outer:3: include inner > inner:2: alice@R: match"
        );
        assert_eq!(ask(&config, "mallory@R").to_string(), "no entry of 2 matches");
    }
}
