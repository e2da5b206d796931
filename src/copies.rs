//! Which builds a pocket may take as they are from another one.
//!
//! A copy brings into a pocket what was built under another one's rules. It may come where the pocket's own build could have
//! had all that this one had: kept from the host at least as well, in a chroot of the same definition, with packages of our
//! own only from suites that the pocket builds with. Tested bits are shipped bits wherever that holds. An administrator may
//! answer for a single build ('archive vouch') or, in the configuration, for all of another pocket's (`copies_from`).
//!
//! Nobody's word makes a suite show what it has no place for: a copy comes with all its components and architectures, and
//! for all architectures that the pocket has.

use std::collections::BTreeSet;

use anyhow::Result;
use rusqlite::Connection;

use crate::architectures::{self, Table};
use crate::build::proxy::Given;
use crate::chroot::{self, Store};
use crate::config::{Config, Isolation, Pocket};
use crate::error::Error;
use crate::names::{Architecture, PackageName, PocketName, Version};
use crate::record::builds::{self, Build, Facts};
use crate::record::chroots;
use crate::record::chroots::Reproduced;
use crate::record::contents::{self, Kind, Part};

/// Refuses to copy the build that the pool has of a version into a pocket, if it does not fit there: one sentence says all that
/// does not, and the ways out.
pub fn check(
    db: &Connection,
    config: &Config,
    pocket: &PocketName,
    package: &PackageName,
    version: &Version,
) -> Result<()> {
    let Some(build) = builds::of_version(db, package, version)? else { return Ok(()) };
    let target = &config.build.pockets[pocket];
    let (parts, architectures) = (contents::outline(db, package, version)?, architectures::of_pocket(target)?);
    let lost = match hidden(pocket, target, &architectures, &parts) {
        Some(why) => Some(why),
        None => not_built(&Table::read()?, pocket, &architectures, &parts, &build),
    };
    if let Some(why) = lost {
        return Err(refusal(package, version, &build, pocket, &[why], "raise the version in debian/changelog").into());
    }
    if build.pocket == *pocket
        || target.copies_from.contains(&build.pocket)
        || builds::vouched(db, package, version, pocket)?.is_some()
    {
        return Ok(());
    }
    let unfit = match &build.facts {
        Some(facts) => unfit(db, config, pocket, facts)?,
        None => unknown(config, pocket, &build.pocket).into_iter().collect(),
    };
    if unfit.is_empty() {
        return Ok(());
    }
    let ways = format!(
        "or raise the version in debian/changelog, or have an administrator answer for it by 'archive vouch {package} {version} \
         --pocket {pocket}'"
    );
    Err(refusal(package, version, &build, pocket, &unfit, &ways).into())
}

fn refusal(
    package: &PackageName,
    version: &Version,
    build: &Build,
    pocket: &PocketName,
    why: &[String],
    ways: &str,
) -> Error {
    Error::invalid(format!(
        "{package} {version} was built by job {} for {}, and {pocket} cannot have that build: {}: {ways}",
        build.job,
        build.pocket,
        why.join("; ")
    ))
}

/// What a build had and this pocket's own could not have had, each a sentence's part.
fn unfit(db: &Connection, config: &Config, pocket: &PocketName, facts: &Facts) -> Result<Vec<String>> {
    let target = &config.build.pockets[pocket];
    let mut found = Vec::new();
    if facts.isolation < target.isolation {
        let text = format!("it was built with isolation {}, and {pocket} wants {}", facts.isolation, target.isolation);
        found.push(text);
    }
    found.extend(other_definitions(db, config, target, facts)?);
    let mut wanting: BTreeSet<String> = BTreeSet::new();
    for given in &facts.given {
        wanting.extend(missing(db, config, pocket, given)?);
    }
    found.extend(wanting);
    Ok(found)
}

/// Chroots of the build whose definition is not that of the pocket's own.
fn other_definitions(db: &Connection, config: &Config, target: &Pocket, facts: &Facts) -> Result<Vec<String>> {
    if facts.isolation == Isolation::Schroot || target.isolation == Isolation::Schroot {
        // What is in a schroot is the administrator's own affair, and nothing is written down of it.
        return Ok(Vec::new());
    }
    let store = Store::new(config);
    let mut found = Vec::new();
    for built_in in &facts.chroots {
        let (distro, architecture) = (&target.distro, &built_in.architecture);
        let is_image = target.isolation == Isolation::Vm;
        let own = if is_image {
            store.image(distro, architecture)?.map(|image| image.manifest)
        } else {
            store.find(distro, architecture)?.map(|chroot| chroot.manifest)
        };
        let Some(own) = own else {
            found.push(chroot::missing(distro, architecture, is_image).text);
            continue;
        };
        let then = chroots::manifest(db, built_in.digest.as_str())?;
        if !then.is_some_and(|then| then.has_definition_of(&own)) {
            found.push(format!(
                "it was built in the chroot {} of {architecture}, which was defined otherwise than that of {distro} is now \
                 (chroots.distros)",
                built_in.digest.short()
            ));
        }
    }
    Ok(found)
}

/// Why a package that a build was given could not have been given to one of this pocket.
fn missing(db: &Connection, config: &Config, pocket: &PocketName, given: &Given) -> Result<Option<String>> {
    let allowed = config.build_depends_from(pocket);
    let source = builds::source_of(db, given)?;
    if let Some((source, version)) = &source {
        for from in &allowed {
            if builds::has_had(db, &config.suite(from), source, version)? {
                return Ok(None);
            }
        }
    }
    let suites: Vec<String> = allowed.iter().map(|from| config.suite(from).to_string()).collect();
    let why = match &suites[..] {
        [] => format!("and {pocket} builds with no suite of ours"),
        suites => format!("which {} has not", suites.join(" or ")),
    };
    let first = match (source, &allowed[..]) {
        (Some((source, version)), [into, ..]) => format!(" (submit {source} {version} to {into} first)"),
        _ => String::new(),
    };
    let Given { package, version, suite, .. } = given;
    Ok(Some(format!("it was given {package} {version} of suite {suite}, {why}{first}")))
}

/// Why a build that an older release has made, and of which it wrote nothing down, does not fit: today's configuration of the
/// two pockets is all that is known.
fn unknown(config: &Config, pocket: &PocketName, from: &PocketName) -> Option<String> {
    let target = &config.build.pockets[pocket];
    let Some(source) = config.build.pockets.get(from) else {
        return Some(format!("nothing is known of that build, and there is no pocket {from} any more"));
    };
    let differs = [
        ("isolation", source.isolation < target.isolation),
        ("build_depends_from", source.build_depends_from != target.build_depends_from),
        ("distro", source.distro != target.distro),
    ];
    let differs: Vec<&str> = differs.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect();
    (!differs.is_empty()).then(|| {
        format!(
            "an older release built it and wrote nothing down of that build, and the two pockets differ in {}",
            differs.join(" and ")
        )
    })
}

/// What of a version the pocket's suite has no place for.
pub fn hidden(pocket: &PocketName, target: &Pocket, architectures: &[Architecture], parts: &[Part]) -> Option<String> {
    for part in parts {
        if !target.components.iter().any(|component| component.as_str() == part.component) {
            return Some(format!("{} is in component {}, which {pocket} has not", part.name, part.component));
        }
        let everywhere = part.architecture.is_empty() || part.architecture == "all";
        if !everywhere && !architectures.iter().any(|it| it.as_str() == part.architecture) {
            return Some(format!("{} is for {}, which {pocket} has not", part.name, part.architecture));
        }
    }
    None
}

/// An architecture of the pocket that the build has left out, though the source package is for it.
pub fn not_built(
    table: &Table,
    pocket: &PocketName,
    architectures: &[Architecture],
    parts: &[Part],
    build: &Build,
) -> Option<String> {
    let named = parts.iter().find(|part| part.kind == Kind::Dsc).map_or("", |dsc| field(&dsc.stanza, "Architecture"));
    let built_in = build.facts.iter().flat_map(|facts| &facts.chroots).map(|it| it.architecture.as_str());
    let built: BTreeSet<&str> = built_in.chain(parts.iter().map(|part| part.architecture.as_str())).collect();
    let wanting =
        architectures.iter().find(|it| table.covers(named.split_whitespace(), it) && !built.contains(it.as_str()));
    wanting.map(|architecture| format!("it was not built for {architecture}, which {pocket} has"))
}

/// A field of an entry of an index, in one line.
fn field<'a>(stanza: &'a str, name: &str) -> &'a str {
    let value = stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map_or("", str::trim)
}

/// Whether a second build that gave the same packages was made under this pocket's conditions.
pub fn counts(db: &Connection, config: &Config, pocket: &PocketName, proof: &Reproduced) -> Result<bool> {
    let target = &config.build.pockets[pocket];
    // An older release has built in user namespaces, and wrote nothing down.
    let isolation = proof.isolation.unwrap_or(Isolation::Unshare);
    let facts = Facts { isolation, chroots: proof.chroots.clone(), given: Vec::new() };
    Ok(isolation >= target.isolation && other_definitions(db, config, target, &facts)?.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(kind: Kind, architecture: &str, component: &str, stanza: &str) -> Part {
        let (architecture, component, stanza) = (architecture.into(), component.into(), stanza.into());
        Part { kind, name: "hello".into(), architecture, component, stanza }
    }

    fn build(chroots: &[&str]) -> Build {
        let built_in = |name: &&str| chroots::BuiltIn {
            architecture: name.parse().unwrap(),
            digest: "0".repeat(64).parse().unwrap(),
        };
        let facts =
            Facts { isolation: Isolation::Unshare, chroots: chroots.iter().map(built_in).collect(), given: Vec::new() };
        Build {
            job: "1".parse().unwrap(),
            pocket: "dev".parse().unwrap(),
            principal: crate::names::Principal::from_authenticated("alice@EXAMPLE.ORG").unwrap(),
            facts: Some(facts),
        }
    }

    #[test]
    fn a_suite_shows_all_of_a_version_or_it_is_not_copied_there() {
        let pocket: PocketName = "prod".parse().unwrap();
        let target = Pocket::default();
        let all: Vec<Architecture> = vec!["amd64".parse().unwrap(), "i386".parse().unwrap()];
        let dsc = |architecture: &str| {
            part(Kind::Dsc, "", "main", &format!("Package: hello\nArchitecture: {architecture}\n"))
        };
        let deb = |architecture: &str| part(Kind::Deb, architecture, "main", "");
        let hidden = |parts: &[Part]| hidden(&pocket, &target, &all, parts);
        let table = Table::read().unwrap();
        let not_built = |parts: &[Part], chroots: &[&str]| not_built(&table, &pocket, &all, parts, &build(chroots));
        let whole = [dsc("any"), deb("amd64"), deb("i386"), deb("all")];
        assert_eq!((hidden(&whole), not_built(&whole, &[])), (None, None));
        assert!(hidden(&[dsc("any"), deb("arm64")]).unwrap().contains("arm64"));
        assert!(hidden(&[dsc("all"), part(Kind::Deb, "all", "contrib", "")]).unwrap().contains("contrib"));
        assert!(hidden(&[part(Kind::Dsc, "", "non-free", "")]).unwrap().contains("non-free"));
        assert!(not_built(&[dsc("any"), deb("amd64")], &["amd64"]).unwrap().contains("i386"));
        assert_eq!(not_built(&[dsc("any"), deb("amd64")], &["amd64", "i386"]), None, "it has no package there");
        assert_eq!(not_built(&[dsc("amd64"), deb("amd64")], &["amd64"]), None);
        assert_eq!(not_built(&[dsc("all"), deb("all")], &["amd64"]), None);
    }

    #[test]
    fn a_build_of_which_nothing_is_known_fits_where_the_pockets_are_alike() {
        let config =
            |text: &str| -> Config { serde_yaml::from_str(&format!("build: {{ pockets: {{ {text} }} }}")).unwrap() };
        let unknown = |text: &str| unknown(&config(text), &"prod".parse().unwrap(), &"dev".parse().unwrap());
        for fits in ["prod: {}, dev: {}", "prod: {}, dev: { isolation: vm }", "prod: { isolation: schroot }, dev: {}"] {
            assert_eq!(unknown(fits), None, "{fits}");
        }
        for (differs, key) in [
            ("prod: { isolation: vm }, dev: {}", "isolation"),
            ("prod: { build_depends_from: [prod] }, dev: {}", "build_depends_from"),
            ("prod: { distro: trixie }, dev: { distro: bookworm }", "distro"),
            ("prod: {}", "no pocket dev"),
        ] {
            assert!(unknown(differs).unwrap().contains(key), "{differs}");
        }
    }
}
