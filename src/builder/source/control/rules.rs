//! What dpkg-source, dpkg-gencontrol and dpkg-genchanges refuse in `debian/control` whatever
//! `debian/rules` does.

use std::sync::LazyLock;

use regex::bytes::Regex;

use crate::source::control::reader::{ControlProblem, ControlStanza, Field};
use invirtibuilder_core::names::PackageName;
use invirtibuilder_core::text::{one_line, quoted};

/// How the relations of a field are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joined {
    /// Alternatives may stand in them.
    WithChoices,
    /// One stands beside the other.
    Alone,
}

/// Fields of the source package that dpkg-source takes apart.
const BUILD: &[(&str, Joined)] = &[
    ("Build-Depends", Joined::WithChoices),
    ("Build-Depends-Arch", Joined::WithChoices),
    ("Build-Depends-Indep", Joined::WithChoices),
    ("Build-Conflicts", Joined::Alone),
    ("Build-Conflicts-Arch", Joined::Alone),
    ("Build-Conflicts-Indep", Joined::Alone),
];

/// Fields of binary packages that dpkg-gencontrol takes apart.
const BINARY: &[(&str, Joined)] = &[
    ("Pre-Depends", Joined::WithChoices),
    ("Depends", Joined::WithChoices),
    ("Recommends", Joined::WithChoices),
    ("Suggests", Joined::WithChoices),
    ("Breaks", Joined::Alone),
    ("Conflicts", Joined::Alone),
    ("Enhances", Joined::Alone),
    ("Provides", Joined::Alone),
    ("Replaces", Joined::Alone),
    ("Built-Using", Joined::Alone),
    ("Static-Built-Using", Joined::Alone),
];

/// Says why nothing can be made of a source package with these stanzas, if that is so.
pub fn check(stanzas: &[ControlStanza], package: &PackageName) -> Result<(), ControlProblem> {
    let Some((source, binaries)) = stanzas.split_first() else {
        return Err(ControlProblem { line: 1, reason: "has no stanza: it is empty".into() });
    };
    check_source(source, package)?;
    if binaries.is_empty() {
        return at(
            source.line,
            format!(
                "begins the only stanza of {}, and no binary package is in the file",
                quoted(package.as_str())
            ),
        );
    }
    binaries.iter().try_for_each(check_binary)
}

fn at(line: usize, reason: String) -> Result<(), ControlProblem> {
    Err(ControlProblem { line, reason })
}

fn check_source(stanza: &ControlStanza, package: &PackageName) -> Result<(), ControlProblem> {
    let Some(field) = stanza.field("Source") else {
        return at(stanza.line, "begins the first stanza, and that has no field Source".into());
    };
    if field.value.trim() != package.as_str() {
        let name = quoted(field.value.trim());
        return at(
            field.line,
            format!(
                "names the source package {name}, and debian/changelog {}: make them the same",
                quoted(package.as_str())
            ),
        );
    }
    if stanza.value("Maintainer").is_empty() {
        return at(
            stanza.line,
            "begins the stanza of the source package, which has no field Maintainer".into(),
        );
    }
    check_words(stanza)?;
    check_relations(stanza, BUILD)
}

fn check_binary(stanza: &ControlStanza) -> Result<(), ControlProblem> {
    let Some(name) = stanza.field("Package") else {
        return at(stanza.line, "begins a stanza that has no field Package".into());
    };
    if let Err(error) = name.value.trim().parse::<PackageName>() {
        return at(name.line, format!("names no binary package: {error}"));
    }
    let Some(field) = stanza.field("Architecture") else {
        let name = quoted(name.value.trim());
        return at(
            stanza.line,
            format!("begins the stanza of binary package {name}, which has no field Architecture"),
        );
    };
    let words: Vec<&str> = field.value.split_whitespace().collect();
    if words.is_empty() {
        return at(field.line, "names no architecture: write 'any' or 'all'".into());
    }
    for word in &words {
        let name = word.strip_prefix('!').unwrap_or(word);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if !(name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain)) {
            return at(
                field.line,
                format!("has {}, which is no name of an architecture", quoted(word)),
            );
        }
        if words.len() > 1 && matches!(*word, "any" | "all") {
            return at(
                field.line,
                format!("has '{word}' beside other architectures, and it can only stand alone"),
            );
        }
    }
    check_words(stanza)?;
    check_relations(stanza, BINARY)
}

/// dpkg-genchanges compares these with what dpkg-gencontrol has noted, which is `-` for an empty
/// one.
fn check_words(stanza: &ControlStanza) -> Result<(), ControlProblem> {
    for name in ["Section", "Priority"] {
        if let Some(field) = stanza.field(name).filter(|field| field.value.trim().is_empty()) {
            return at(
                field.line,
                format!("has the field {name} without a value: write one, or take the field out"),
            );
        }
    }
    Ok(())
}

fn check_relations(
    stanza: &ControlStanza,
    fields: &[(&str, Joined)],
) -> Result<(), ControlProblem> {
    for (name, joined) in fields {
        if let Some(field) = stanza.field(name) {
            let is_all = stanza.value("Architecture") == "all";
            check_field(field, *joined, is_all)
                .map_err(|reason| ControlProblem { line: field.line, reason })?;
        }
    }
    Ok(())
}

/// A relation as Dpkg::Deps reads it; the groups are the list of architectures and the qualifier of
/// the name.
static RELATION: LazyLock<Regex> = LazyLock::new(|| {
    let text = r"(?x-u)^\s* [a-zA-Z0-9][a-zA-Z0-9+.-]* (?::(?P<of>[a-zA-Z0-9][a-zA-Z0-9-]*))?
        (?:\s* \( \s*(?:<<|<=|=|>=|>>|[<>]) \s*[^)\s]+ \s*\))? (?:\s* \[ \s*(?P<list>[^\]]+) \s*\])? (?:\s* < \s*[^>]+ \s*>)* \s*$";
    Regex::new(text).expect("it is a regular expression")
});

/// Relations that have a variable are known in the build only.
fn check_field(field: &Field, joined: Joined, is_all: bool) -> Result<(), String> {
    let is_build = field.name.to_ascii_lowercase().starts_with("build-");
    for relation in field
        .value
        .split(',')
        .filter(|relation| !relation.trim().is_empty() && !relation.contains("${"))
    {
        let fail = |why: &str| {
            Err(format!("has {} in {}, {why}", quoted(&one_line(relation.trim())), field.name))
        };
        let choices: Vec<&str> = relation.trim_end().trim_end_matches('|').split('|').collect();
        if joined == Joined::Alone && choices.len() > 1 {
            return fail("where no alternatives can stand");
        }
        for choice in choices {
            let Some(found) = RELATION.captures(choice.as_bytes()) else {
                return fail(
                    "which dpkg cannot read: a relation is 'NAME (>= VERSION) [ARCHITECTURES]'",
                );
            };
            if found.name("of").is_some_and(|of| of.as_bytes() == b"native") && !is_build {
                return fail("and ':native' is for build dependencies only");
            }
            if found.name("list").is_some() && is_all {
                return fail("and a package for all architectures can have no list of them");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::source::control::reader::stanzas;
    use crate::source::control::rules::*;

    const GOOD: &str = "Source: xx\nMaintainer: A <a@example.org>\nSection: misc\nPriority: optional\nBuild-Depends: debhelper-compat (= 13),\n a:native [!i386 linux-any] <!nocheck> <x y> | b(<<2),,\n\
                        Build-Conflicts: c [amd64], d (> 1)\n\nPackage: xx\nArchitecture: any\nDepends: ${misc:Depends}, y (= ${binary:Version}), z:any (>= 1:2~x) | w,\n\
                        Recommends:\nDescription: y\n\nPackage: yy\nArchitecture: linux-any !i386\nProvides: p (= 1)\n\nPackage: z+1.0\nSection: libs\nArchitecture: all\n";

    fn said(text: &str) -> String {
        let read = stanzas(text).and_then(|all| check(&all, &"xx".parse().unwrap()));
        read.map_or_else(
            |problem| format!("{} {}", problem.line, problem.reason),
            |()| String::new(),
        )
    }

    #[test]
    fn what_dpkg_takes_is_taken() {
        assert_eq!(said(GOOD), "");
    }

    #[test]
    fn what_no_build_can_mend_is_refused() {
        for (from, to, word) in [
            (GOOD, "", "1 has no stanza"),
            (&GOOD[GOOD.find("\n\nPackage").unwrap()..], "\n", "no binary package"),
            ("Source: xx\n", "", "no field Source"),
            ("Source: xx\n", "Source: other\n", "1 names the source package 'other'"),
            ("Section: misc", "Section:", "3 has the field Section without"),
            ("Priority: optional", "Priority: \t", "4 has the field Priority without"),
            ("Section: libs", "Section:", "the field Section without"),
            ("b(<<2)", "b (= 2 3", "dpkg cannot read"),
            ("b(<<2)", "| b", "dpkg cannot read"),
            ("d (> 1)", "d | e", "no alternatives"),
            ("debhelper-compat", "${x}, {y}", "dpkg cannot read"),
            ("z:any", "z:native", ":native"),
            ("Provides: p", "Provides: p [amd64] | q", "no alternatives"),
            ("Package: xx\n", "", "9 begins a stanza that has no field Package"),
            ("Package: xx\n", "Package: Bad_Name\n", "9 names no binary package"),
            ("Maintainer: A <a@example.org>\n", "", "has no field Maintainer"),
            ("Architecture: any\n", "", "no field Architecture"),
            ("Architecture: any\n", "Architecture:\n", "names no architecture"),
            ("Architecture: any\n", "Architecture: amd64 all\n", "can only stand alone"),
            ("Architecture: any\n", "Architecture: foo!bar\n", "'foo!bar'"),
            ("Architecture: all\n", "Architecture: all\nSuggests: q [amd64]\n", "no list of them"),
        ] {
            let said = said(&GOOD.replacen(from, to, 1));
            assert!(said.contains(word), "{from:?} -> {to:?}: {said}");
        }
    }
}
