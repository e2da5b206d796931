//! Sentences about paths that submission, log and proof say in the same words.

use crate::source::object::{self, Path};
use crate::source::options::Options;

/// How many paths a message names.
const NAMED: usize = 5;

/// Why dpkg-source leaves a file out whatever the package asks.
pub const ALWAYS: &str = "left out, as dpkg-source always does";

/// Why a file of version control is left out.
pub const NEVER_HAD: &str = "left out, as the tarball never had it";

/// Says why the package itself has a file left out, by one of its options.
pub fn asked_out(option: &str) -> String {
    format!("left out, as debian/source/options asks ({option})")
}

/// Says why a file that differs stays as upstream has it.
pub fn asked_as_is(options: &Options) -> String {
    format!(
        "left as in the tarball, as debian/source/options asks ({})",
        options.diff_ignore_option()
    )
}

/// Adds a reason and the paths that it is for, if there are any.
pub fn add(notes: &mut Vec<String>, why: &str, paths: &[&Path]) {
    if !paths.is_empty() {
        notes.push(format!("{why}: {}", named(paths)));
    }
}

/// Returns the first of these paths, and how many more there are.
pub fn named(paths: &[&Path]) -> String {
    let first: Vec<String> = paths
        .iter()
        .take(NAMED)
        .map(|path| invirtibuilder_core::text::one_line(&object::shown(path)))
        .collect();
    match paths.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
