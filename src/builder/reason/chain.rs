//! The chain of programs that failed: each says so after the one that it had started. The first of
//! them tells most.

use std::sync::LazyLock;

use regex::Regex;

static MAKE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^make(?:\[([0-9]+)\])?: (.*)$").expect("it is one"));
static SYNTAX: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^\S+:[0-9]+: \*\*\* .").expect("it is one"));
static PROGRAM: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(?:dh|dh_\S+|dpkg-\S+): error: .").expect("it is one"));

/// What programs say that start others, and say no more than that one failed.
const STARTERS: [&str; 3] = ["dpkg-buildpackage: error: ", "ninja: build stopped: ", "E: pybuild "];

/// A line that says that a program failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    /// make, this deep below another one.
    Make(u32),
    /// A file of make's that does not parse.
    Syntax,
    /// One of debhelper's or dpkg's programs.
    Program,
    /// A program that starts others.
    Starter,
}

fn failed(line: &str) -> Option<Failed> {
    if let Some(found) = MAKE.captures(line) {
        let is_end =
            found[2].starts_with("*** ") && !found[2].contains("Waiting for unfinished jobs");
        return is_end.then(|| Failed::Make(level(&found)));
    }
    if STARTERS.iter().any(|start| line.starts_with(start)) {
        return Some(Failed::Starter);
    }
    if SYNTAX.is_match(line) {
        return Some(Failed::Syntax);
    }
    PROGRAM.is_match(line).then_some(Failed::Program)
}

fn level(make: &regex::Captures) -> u32 {
    make.get(1).and_then(|level| level.as_str().parse().ok()).unwrap_or(0)
}

/// Finds the name of a program that says no more than that another one failed.
pub fn starter(line: &str) -> Option<&str> {
    let (name, _) = line.split_once(": ")?;
    match failed(line)? {
        Failed::Starter if name == "E" => Some("pybuild"),
        Failed::Starter => Some(name),
        Failed::Program if line.contains(" returned exit code ") => Some(name),
        Failed::Make(_) | Failed::Syntax | Failed::Program => None,
    }
}

/// Returns the first line of the chain that ends at `end`.
pub fn first(lines: &[&str], end: usize) -> usize {
    let mut at = end;
    while let Some(before) = before(lines, at) {
        at = before;
    }
    at
}

/// Finds the line in which the program said that it failed that the one of line `at` had started,
/// or that line's own program said so first.
fn before(lines: &[&str], at: usize) -> Option<usize> {
    let mut previous = at;
    loop {
        previous = previous.checked_sub(1)?;
        let line = lines[previous];
        if let Some(level) = leaving(line) {
            return of_make(lines, previous, level);
        }
        if !is_between(line) {
            break;
        }
    }
    let now = failed(lines[at]);
    match (failed(lines[previous])?, now) {
        // An earlier one that was not the reason: make goes on where it was told to.
        (Failed::Make(deeper), Some(Failed::Make(level))) if deeper <= level => None,
        (Failed::Make(_), Some(Failed::Program)) if !lines[at].contains(" returned exit code ") => {
            None
        }
        _ => Some(previous),
    }
}

/// Finds the line with which a make failed that says in line `end` that it leaves its directory:
/// the first one that it was not told to ignore, as it may have waited for other jobs, or gone on.
fn of_make(lines: &[&str], end: usize, level: u32) -> Option<usize> {
    let mut first = None;
    for at in (0..end).rev() {
        let Some(found) = MAKE.captures(lines[at]).filter(|found| self::level(found) == level)
        else {
            continue;
        };
        if found[2].starts_with("Entering directory ") {
            break;
        }
        if failed(lines[at]) == Some(Failed::Make(level)) {
            first = Some(at);
        }
    }
    first
}

/// Finds the level of a make that leaves its directory.
fn leaving(line: &str) -> Option<u32> {
    let found = MAKE.captures(line)?;
    found[2].starts_with("Leaving directory ").then(|| level(&found))
}

/// Tells whether a line may stand between a program's complaint and that of the one that had
/// started it: the rest of the first.
fn is_between(line: &str) -> bool {
    line.trim().is_empty()
        || line.starts_with([' ', '\t'])
        || line.starts_with("BEGIN failed--compilation aborted")
        || line.starts_with("Note: libraries are not searched")
        || line.starts_with("To help dpkg-shlibdeps find private libraries")
}
