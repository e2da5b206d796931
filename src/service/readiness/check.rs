//! One thing that was looked at, and how it is.

use invirtibuilder_api::readiness::{Check, Readiness};

/// Makes a check of what is as it should be.
pub(super) fn fine(what: &str, found: impl Into<String>) -> Check {
    Check { what: what.to_owned(), verdict: Readiness::Fine, found: found.into(), mend: None }
}

/// Makes a check of what may be meant so; `mend` changes it.
pub(super) fn note(what: &str, found: impl Into<String>, mend: impl Into<String>) -> Check {
    Check {
        what: what.to_owned(),
        verdict: Readiness::Note,
        found: found.into(),
        mend: Some(mend.into()),
    }
}

/// Makes a check of what the service does not work with; `mend` is the command that mends it.
pub(super) fn wrong(what: &str, found: impl Into<String>, mend: impl Into<String>) -> Check {
    Check { verdict: Readiness::Wrong, ..note(what, found, mend) }
}
