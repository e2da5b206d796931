//! Checks fields whose values dpkg and apt take apart: those that name other packages
//! (deb-control(5), "Depends"), and those that have a few words.
//!
//! apt reads no package of any list any more when one of them has a relation that it cannot read.
//! dpkg-gencontrol never writes such a one; a package that was made without it may have any.

use anyhow::{Context, Result, bail, ensure};

use crate::names::Version;

/// The fields that name other packages, and whether alternatives may stand in them.
const RELATIONS: &[(&str, bool)] = &[
    ("Breaks", false),
    ("Conflicts", false),
    ("Depends", true),
    ("Enhances", true),
    ("Obsoletes", false),
    ("Pre-Depends", true),
    ("Provides", false),
    ("Recommends", true),
    ("Replaces", false),
    ("Suggests", true),
];

/// The fields with few values.
const WORDS: &[(&str, &[&str])] = &[
    ("Essential", &["yes", "no"]),
    ("Important", &["yes", "no"]),
    ("Multi-Arch", &["same", "foreign", "allowed", "no"]),
    ("Protected", &["yes", "no"]),
];

/// The other names of fields, which dpkg still knows and nobody else does.
const OBSOLETE: &[&str] = &["Class", "Optional", "Package-Revision", "Recommended", "Revision"];

/// Refuses a field of a binary package that not all read in the same way. The error is the end of a
/// sentence that says why.
pub fn check(name: &str, value: &str) -> Result<()> {
    let is = |other: &&str| other.eq_ignore_ascii_case(name);
    if let Some(obsolete) = OBSOLETE.iter().find(|other| is(other)) {
        bail!("has the field {obsolete}, which only dpkg knows, by another name: take it out");
    }
    let value = value.trim();
    if let Some((_, words)) = WORDS.iter().find(|(other, _)| is(other)) {
        ensure!(
            words.contains(&value),
            "has the field {name} with the value {}: write {}",
            crate::text::quoted(value),
            words.join(" or ")
        );
    }
    if let Some((field, alternatives)) = RELATIONS.iter().find(|(other, _)| is(other)) {
        // Empty ones are passed over.
        for relation in value.split(',').filter(|_| !value.is_empty()) {
            let mut choices = relation.split('|').map(str::trim);
            let only_one = *alternatives || relation.split('|').count() == 1;
            let only_equal = *field == "Provides";
            let read = choices.try_for_each(|choice| one(choice, only_equal)).and_then(|()| {
                ensure!(only_one, "there can be no alternatives in it");
                Ok(())
            });
            read.with_context(|| {
                format!("has {} in the field {name}", crate::text::quoted(relation.trim()))
            })?;
        }
    }
    Ok(())
}

/// Checks one package: a name, perhaps an architecture, perhaps a version.
fn one(text: &str, only_equal: bool) -> Result<()> {
    let end = text.find(|c: char| c.is_whitespace() || c == '(').unwrap_or(text.len());
    let (package, version) = text.split_at(end);
    let (name, architecture) = package.split_once(':').unwrap_or((package, "any"));
    let plain = |word: &str, more: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        word.starts_with(|c: char| c.is_ascii_alphanumeric()) && word.chars().all(fits)
    };
    ensure!(plain(name, "+-._") && plain(architecture, "-"), "that is not the name of a package");
    let version = version.trim_start();
    if version.is_empty() {
        return Ok(());
    }
    let inner = version
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
        .context("its version has no ( and )")?;
    let inner = inner.trim();
    let operators = if only_equal { &["="][..] } else { &["<<", "<=", ">=", ">>", "="] };
    let number = operators.iter().find_map(|operator| inner.strip_prefix(operator));
    let number = number.with_context(|| format!("the operators are {}", operators.join(" ")))?;
    number.trim().parse::<Version>().map(drop).context("its version is none")
}

/// Lists the names in a field `Provides` (Debian policy 7.5).
pub fn provided(field: &str) -> impl Iterator<Item = String> {
    let names = field
        .split(',')
        .map(|one| one.trim().split([' ', '(', ':', '\n']).next().unwrap_or_default().to_owned());
    names.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use crate::relations::*;

    fn said(name: &str, value: &str) -> String {
        check(name, value).map_or_else(|error| format!("{error:#}"), |()| String::new())
    }

    #[test]
    fn relations_are_those_that_everybody_reads() {
        for (name, value) in [
            ("Depends", "a, b (>= 1.0-1~x) | c:any, d(<< 2)"),
            ("Depends", " libc6 (>= 2.34),\n libstdc++6 (>= 1:5.2)"),
            ("Provides", "perlapi-5.36.0, z:amd64 (= 1:2)"),
            ("breaks", "a (<< 1+b1)"),
            ("Recommends", ""),
            ("Built-Using", "anything ( at all"),
            ("Multi-Arch", "same"),
            ("Essential", " yes"),
        ] {
            assert_eq!(said(name, value), "", "{name}: {value}");
        }
        for (name, value, word) in [
            ("Depends", "a (>> ", "no ( and )"),
            ("Depends", "foo (= 1) b", "no ( and )"),
            ("Depends", "foo [amd64]", "no ( and )"),
            ("pre-depends", ",", "not the name"),
            ("Depends", "a, ", "not the name"),
            ("Depends", "a || b", "not the name"),
            ("Depends", "(x)", "not the name"),
            ("Depends", "a:b:c", "not the name"),
            ("Depends", "a:", "not the name"),
            ("Depends", "é", "not the name"),
            ("Suggests", "${misc:Depends}", "not the name"),
            ("Depends", "a (!= 1)", "operators"),
            ("Depends", "a (> 1)", "operators"),
            ("Depends", "a (1)", "operators"),
            ("Depends", "a (== 1)", "version is none"),
            ("Depends", "a (= 1 2)", "version is none"),
            ("Depends", "a (= )", "version is none"),
            ("Provides", "a (>= 1)", "the operators are ="),
            ("Provides", "a | b", "no alternatives"),
            ("Conflicts", "a | b", "no alternatives"),
            ("Essential", "maybe", "'maybe': write yes or no"),
            ("multi-arch", "Foreign", "same or foreign"),
            ("Revision", "1", "only dpkg knows"),
        ] {
            let said = said(name, value);
            assert!(said.contains(word), "{name}: {value}: {said}");
        }
    }
}
