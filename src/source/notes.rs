//! Sentences about paths that submission, log and proof say in the same words.

use super::layout::named;
use super::options::Options;
use super::tree::Path;

/// Why dpkg-source leaves a file out whatever the package asks.
pub const ALWAYS: &str = "left out, as dpkg-source always does";

/// Why a file of version control is left out.
pub const NEVER_HAD: &str = "left out, as the tarball never had it";

/// Why the package itself has a file left out, by one of its options.
pub fn asked_out(option: &str) -> String {
    format!("left out, as debian/source/options asks ({option})")
}

/// Why a file that differs stays as upstream has it.
pub fn asked_as_is(options: &Options) -> String {
    format!("left as in the tarball, as debian/source/options asks ({})", options.diff_ignore_option())
}

/// Adds a reason and the paths that it is for, if there are any.
pub fn add(notes: &mut Vec<String>, why: &str, paths: &[&Path]) {
    if !paths.is_empty() {
        notes.push(format!("{why}: {}", named(paths)));
    }
}
