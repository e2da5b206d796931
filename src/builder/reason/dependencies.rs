//! Why build dependencies cannot be installed: what is not to be had, or what apt and dpkg say.

use invirtibuilder_core::text::one_line;
use invirtibuilder_environment::cause;

/// Headings of the parts of sbuild's log in which apt speaks.
const PARTS: [&str; 3] = [
    "| Update chroot",
    "| Install main build dependencies",
    "| Install package build dependencies",
];

/// How apt calls the package that needs what is to be installed.
const DUMMY: &str = " sbuild-build-depends-main-dummy : ";

/// The most relations that are named.
const SHOWN: usize = 4;

/// Says why, if a line says it.
pub fn why(lines: &[&str]) -> Option<String> {
    let start =
        lines.iter().rposition(|line| PARTS.iter().any(|part| line.starts_with(part))).unwrap_or(0);
    let end = lines[start..]
        .iter()
        .position(|line| line.starts_with("| Cleanup"))
        .map_or(lines.len(), |at| start + at);
    let lines = &lines[start..end];
    let last =
        || lines.iter().rfind(|line| line.starts_with("E: ")).map(|line| one_line(line.trim()));
    unmet(lines).or_else(|| cause::find_cause(lines)).or_else(last)
}

/// Returns what apt lists below "The following packages have unmet dependencies".
fn unmet(lines: &[&str]) -> Option<String> {
    let at = lines.iter().rposition(|line| line.ends_with("packages have unmet dependencies:"))?;
    let list = lines[at + 1..].iter().take_while(|line| line.starts_with(' '));
    let all: Vec<String> =
        list.map(|line| one_line(line.strip_prefix(DUMMY).unwrap_or(line).trim())).collect();
    let shown = all[..all.len().min(SHOWN)].join("; ");
    (!all.is_empty()).then(|| if all.len() > SHOWN { format!("{shown}; …") } else { shown })
}
