//! What the program that failed first had said itself, just before somebody else said that it
//! failed.

use std::sync::LazyLock;

use regex::Regex;

use crate::reason::chain::starter;

static COMPILER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[^\s:]+:(?:[0-9]+:){1,2} (?:fatal error|error|Error): |: undefined reference to |ld: cannot find ")
        .expect("it is one")
});
/// What belongs to a complaint of a compiler's.
static OF_COMPILER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^(?:\s|[^\s:]+:(?:[0-9]+:){1,2} |[^\s:]+: In |In file included from |\S*ld: |\S+:\(\.|collect2: |cc1\w*: |compilation terminated)",
    )
    .expect("it is one")
});
static MESON: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^\S*meson\.build:[0-9]+:[0-9]+: ERROR: ").expect("it is one"));

static MESON_TEST: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^ *[0-9]+/[0-9]+ .* (?:FAIL|ERROR|TIMEOUT|UNEXPECTEDPASS) ").expect("it is one")
});

/// What programs say by their name. Anything else may be what a test says of itself.
static COMPLAINT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\S+: \S").expect("it is one"));

/// The most lines that are looked at.
const MOST: usize = 5000;

/// Returns what tells more than line `at`, which says that a program failed.
pub fn find_detail(lines: &[&str], at: usize) -> Option<String> {
    let line = lines[at];
    if line.ends_with(':') {
        return lines
            .get(at + 1)
            .filter(|next| next.starts_with(' '))
            .map(|next| next.trim().to_owned());
    }
    let is_starter = starter(line).is_some();
    let is_about_others = is_starter || !line.contains(": error: ");
    if !is_about_others && !line.contains("abort") && !line.contains("cannot continue") {
        return None;
    }
    if line.contains("*** No rule to make target") || line.contains(".  Stop.") {
        return None;
    }
    let block = block(lines, at);
    if !is_about_others {
        return of_program(block, line);
    }
    let line = match line.starts_with("dh_auto_configure: ") {
        true => of_configure(block),
        false => of_tests(block).or_else(|| of_compiler(block)),
    };
    line.or_else(|| last(block).filter(|last| is_starter || COMPLAINT.is_match(last)))
}

/// Lists what was said since the program began: after debhelper's or make's word that something
/// starts, before copies of files that debhelper shows.
fn block<'a>(lines: &'a [&'a str], at: usize) -> &'a [&'a str] {
    let begins = |line: &str| {
        line.starts_with("make")
            && (line.contains(": Entering directory")
                || line.contains(": Leaving directory")
                || line.contains(": *** "))
            || line.starts_with("   dh_")
            || line.starts_with("   debian/rules ")
            || line.starts_with(" debian/rules ")
            || line.starts_with(" dpkg-")
    };
    let first = at.saturating_sub(MOST);
    let start = (first..at).rev().find(|&at| begins(lines[at])).map_or(first, |at| at + 1);
    let block = &lines[start..at];
    let copies =
        block.iter().position(|line| line.starts_with('\t') && line.contains("tail -v -n "));
    &block[..copies.unwrap_or(block.len())]
}

/// Finds the first complaint of a program that gives up because of several.
fn of_program(block: &[&str], line: &str) -> Option<String> {
    let name = line.split(": ").next()?;
    let own = block.iter().rev().take_while(|line| {
        line.starts_with(name) || line.trim().is_empty() || line.starts_with([' ', '\t'])
    });
    let start = format!("{name}: warning: ");
    let first = own.filter_map(|line| line.strip_prefix(&start)).last();
    first.map(|text| text.trim().to_owned()).or_else(|| last(block))
}

/// Returns what configure, CMake and Meson say is missing.
fn of_configure(block: &[&str]) -> Option<String> {
    let at = block
        .iter()
        .rposition(|line| line.starts_with("configure: error: ") || MESON.is_match(line));
    let at = at.or_else(|| block.iter().position(|line| line.starts_with("CMake Error")))?;
    // Some say more in the next line.
    let more = if block[at].trim_end().ends_with(':') {
        block[at..].iter().skip(1).find(|line| !line.trim().is_empty())
    } else {
        None
    };
    Some(more.map_or_else(
        || block[at].to_owned(),
        |more| format!("{} {}", block[at].trim_end(), more.trim()),
    ))
}

/// Finds the first test that failed, where what runs them says that at the end.
fn of_tests(block: &[&str]) -> Option<String> {
    let last = block.iter().rev().find(|line| !line.trim().is_empty())?;
    let after = |start: &str| {
        let at = block.iter().rposition(|line| line.contains(start))?;
        block[at + 1..].iter().find(|line| !line.trim().is_empty()).copied()
    };
    let is_rule = last.starts_with("===") && last.ends_with("===");
    let found = if is_rule {
        after("== short test summary info ==").or_else(|| of_automake(block))
    } else if *last == "Errors while running CTest" {
        after("The following tests FAILED:")
    } else if *last == "FAIL" {
        // go test
        block
            .iter()
            .find(|line| ["--- FAIL: ", "FAIL\t"].iter().any(|start| line.starts_with(start)))
            .copied()
    } else if last.starts_with("Full log written to ") {
        block.iter().find(|line| MESON_TEST.is_match(line)).copied()
    } else {
        None
    };
    found.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn of_automake<'a>(block: &[&'a str]) -> Option<&'a str> {
    block
        .iter()
        .find(|line| ["FAIL: ", "ERROR: ", "XPASS: "].iter().any(|start| line.starts_with(start)))
        .copied()
}

/// Finds the first complaint of the compiler or linker that spoke last. ninja shows what others say
/// after the one that failed.
fn of_compiler(block: &[&str]) -> Option<String> {
    let ninjas = block.iter().position(|line| line.starts_with("FAILED: "));
    let own = match ninjas {
        Some(at) => &block[at + 1..],
        None => {
            let rest = block.iter().rev().take_while(|line| OF_COMPILER.is_match(line)).count();
            &block[block.len() - rest..]
        }
    };
    let found = own.iter().find(|line| COMPILER.is_match(line)).map(|line| line.trim().to_owned());
    found.or_else(|| ninjas.map(|at| block[at].trim().to_owned()))
}

/// Finds the last thing that was said.
fn last(block: &[&str]) -> Option<String> {
    let says = |line: &&&str| line.chars().any(char::is_alphanumeric);
    let last = block.iter().rev().find(says)?;
    // What is run is no word of what it says, and make repeats it above what fails.
    Some(last.trim().trim_matches('=').trim().to_owned())
}
