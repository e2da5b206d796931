//! Decides which builds a pocket may take as they are from another one.
//!
//! A copy brings into a pocket what was built under another one's rules. It may come where the
//! pocket's own build could have had all that this one had: kept from the host at least as well, in
//! a chroot of the same definition, with packages of our own only from suites that the pocket
//! builds with. Tested bits are shipped bits wherever that holds. An administrator may answer for a
//! single build ('archive vouch') or, in the configuration, for all of another pocket's
//! (`copies_from`).
//!
//! Nobody's word makes a suite show what it has no place for: a copy comes with all its components
//! and architectures, and for all architectures that the pocket has.

use std::collections::BTreeSet;

use anyhow::Result;
use rusqlite::Connection;

use invirtibuilder_api::builds::Reproduced;
use invirtibuilder_api::builds::{Build, BuildFacts};
use invirtibuilder_core::config::{Config, ConfiguredPocket, Isolation, Pocket};
use invirtibuilder_core::domain::{Identity, SuiteId};
use invirtibuilder_core::error::Error;
use invirtibuilder_core::given::Given;
use invirtibuilder_core::names::{Architecture, JobId, PocketName};
use invirtibuilder_environment as environment;
use invirtibuilder_environment::Store;
use invirtibuilder_store::builds;
use invirtibuilder_store::chroots;
use invirtibuilder_store::contents::{self, Part, PartKind};
use invirtibuilder_store::jobs;
use invirtibuilder_store::sources;
use invirtibuilder_system::architectures::{self, Table};

/// Refuses to copy the build that the pool has of a version into a pocket, if it does not fit
/// there. One sentence says all that does not fit, and the ways out.
pub fn check(
    db: &Connection,
    config: &Config,
    pocket: ConfiguredPocket,
    id: &Identity,
) -> Result<()> {
    let build = builds::of_version(db, id)?.ok_or_else(|| {
        Error::bug(format!("the record does not say whose build the archive has of {id}"))
    })?;
    let (name, target) = (pocket.name(), pocket.settings());
    let (parts, architectures) = (contents::outline(db, id)?, architectures::of_pocket(target));
    let raised = format!("raise the version in debian/changelog, and submit that to {pocket}");
    if let Some(why) = hidden(pocket, &architectures, &parts) {
        let ways = format!(
            "{raised}, or have an administrator add it to the pocket's components or architectures"
        );
        return Err(refusal(id, &build, name, &[why], &ways).into());
    }
    if build.pocket == *name {
        // It comes back to where it was.
        return Ok(());
    }
    if let Some(why) = not_built(&Table::read()?, name, &architectures, &parts, &build) {
        return Err(refusal(id, &build, name, &[why], &raised).into());
    }
    if target.copies_from.contains(&build.pocket) || builds::vouched(db, id, name)?.is_some() {
        return Ok(());
    }
    let unfit = match &build.facts {
        Some(facts) => unfit(db, config, pocket, build.job, facts)?,
        None => UnfitBuild {
            why: unknown(config, pocket, &build.pocket).into_iter().collect(),
            ..UnfitBuild::default()
        },
    };
    if unfit.why.is_empty() {
        return Ok(());
    }
    if unfit.will_fit {
        let jobs: Vec<String> = unfit.coming.iter().map(|job| format!("job {job}")).collect();
        let brings = if jobs.len() == 1 { "brings" } else { "bring" };
        return Err(Error::try_again(format!(
            "{pocket} cannot have {id} yet: {}, and {} {brings} that: submit it again when that is published",
            unfit.why.join("; "),
            jobs.join(" and ")
        ))
        .into());
    }
    let ways = format!(
        "{raised}, or have an administrator answer for it by 'archive vouch {} {} \
         --pocket {pocket} --reason TEXT'",
        id.package, id.version
    );
    Err(refusal(id, &build, name, &unfit.why, &ways).into())
}

fn refusal(id: &Identity, build: &Build, pocket: &PocketName, why: &[String], ways: &str) -> Error {
    Error::invalid(format!(
        "{id} was built by job {} for {}, and {pocket} cannot have that build: {}: {ways}",
        build.job,
        build.pocket,
        why.join("; ")
    ))
}

/// The most packages that a sentence names of those that a build was given.
const NAMED: usize = 5;

/// Tells whether a job's build, which was made some time ago, was made as its pocket is configured
/// now. A build of which nothing is known was not.
pub fn is_as_now(
    db: &Connection,
    config: &Config,
    pocket: ConfiguredPocket,
    job: JobId,
) -> Result<bool> {
    let (Some(source), Some(facts)) = (sources::source_of_job(db, job)?, builds::facts(db, job)?)
    else {
        return Ok(false);
    };
    let target = pocket.settings();
    let now: Vec<SuiteId> =
        config.build_depends_from(pocket).into_iter().map(ConfiguredPocket::suite).collect();
    Ok(facts.isolation >= target.isolation
        && source.suites.iter().all(|suite| now.contains(suite))
        && other_definitions(db, config, target, &facts)?.is_empty())
}

/// The reasons why a build does not fit: it had what this pocket's own could not have had.
#[derive(Default)]
struct UnfitBuild {
    /// The reasons, each a sentence's part.
    why: Vec<String>,
    /// The jobs that bring some of what is missing.
    coming: BTreeSet<JobId>,
    /// Whether those bring all of it.
    will_fit: bool,
}

fn unfit(
    db: &Connection,
    config: &Config,
    pocket: ConfiguredPocket,
    job: JobId,
    facts: &BuildFacts,
) -> Result<UnfitBuild> {
    let target = pocket.settings();
    let mut found = Vec::new();
    if facts.isolation < target.isolation {
        let text = format!(
            "it was built with isolation {}, and {pocket} wants {}",
            facts.isolation, target.isolation
        );
        found.push(text);
    }
    found.extend(other_definitions(db, config, target, facts)?);
    let (mut wanting, mut coming, mut will_fit) =
        (BTreeSet::new(), BTreeSet::new(), found.is_empty());
    for given in &facts.given {
        if let Some(missing) = missing(db, config, pocket, given)? {
            wanting.insert(missing.why);
            will_fit &= missing.coming.is_some();
            coming.extend(missing.coming);
        }
    }
    let more = wanting.len().saturating_sub(NAMED);
    found.extend(wanting.into_iter().take(NAMED));
    found.extend(
        (more > 0).then(|| format!("so it is with {more} more, which 'explain {job}' has")),
    );
    Ok(UnfitBuild { why: found, coming, will_fit })
}

/// Lists the chroots of the build whose definition is not that of the pocket's own.
fn other_definitions(
    db: &Connection,
    config: &Config,
    target: &Pocket,
    facts: &BuildFacts,
) -> Result<Vec<String>> {
    if facts.isolation == Isolation::Schroot || target.isolation == Isolation::Schroot {
        // What is in a schroot is the administrator's own affair, and nothing is written down of
        // it.
        return Ok(Vec::new());
    }
    let store = Store::new(config);
    let mut found = Vec::new();
    for built_in in &facts.chroots {
        let (distro, architecture) = (&target.distro, &built_in.architecture);
        let own = if target.isolation == Isolation::Vm {
            store.image(distro, architecture)?.map(|image| image.manifest)
        } else {
            store.find(distro, architecture)?.map(|chroot| chroot.manifest)
        };
        let Some(own) = own else {
            found.push(environment::missing(distro, architecture, target.isolation).text);
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

/// A package that a build was given and one of this pocket could not have been given.
struct MissingPackage {
    /// The reason, a sentence's part.
    why: String,
    /// The open job that brings the package.
    coming: Option<JobId>,
}

fn missing(
    db: &Connection,
    config: &Config,
    pocket: ConfiguredPocket,
    given: &Given,
) -> Result<Option<MissingPackage>> {
    let allowed = config.build_depends_from(pocket);
    let (mut sources, mut coming) = (Vec::new(), None);
    for from in &allowed {
        for id in builds::sources_of(db, from.domain(), given)? {
            if builds::has_had(db, &from.suite(), &id.package, &id.version)? {
                return Ok(None);
            }
            coming = coming.or(jobs::bringing(db, from.name(), &id.package, &id.version)?);
            sources.push(id);
        }
    }
    let suites: Vec<String> = allowed.iter().map(|from| from.suite().to_string()).collect();
    let why = match &suites[..] {
        [] => format!("and {pocket} builds with no suite of ours"),
        suites => format!("which {} has not", suites.join(" or ")),
    };
    let into = allowed.first();
    let source = into.and_then(|into| sources.iter().find(|id| id.domain == *into.domain()));
    let first = match (source, into) {
        _ if coming.is_some() => String::new(),
        (Some(Identity { package, version, .. }), Some(into)) => {
            let shown = contents::shown(db, &into.suite(), package)?;
            // It may be too late for that.
            let may =
                into.settings().allow_backtracking || shown.is_none_or(|it| it.precedes(version));
            if may {
                format!(" (submit {package} {version} to {into} first)")
            } else {
                String::new()
            }
        }
        _ => String::new(),
    };
    let Given { package, version, suite, .. } = given;
    let why = format!("it was given {package} {version} of suite {suite}, {why}{first}");
    Ok(Some(MissingPackage { why, coming }))
}

/// Says why a build that an older release has made, and of which it wrote nothing down, does not
/// fit. It knows nothing but today's configuration of the two pockets.
fn unknown(config: &Config, pocket: ConfiguredPocket, from: &PocketName) -> Option<String> {
    let Some(from) = config.find_pocket(from) else {
        return Some(format!(
            "nothing is known of that build, and there is no pocket {from} any more"
        ));
    };
    let (source, target) = (from.settings(), pocket.settings());
    let names = |pocket| config.build_depends_from(pocket).into_iter().map(ConfiguredPocket::name);
    let ours: BTreeSet<&PocketName> = names(pocket).collect();
    let other_suites = source.build_depends_from != target.build_depends_from
        && !names(from).all(|name| ours.contains(name));
    let differs = [
        ("isolation", source.isolation < target.isolation),
        ("build_depends_from", other_suites),
        ("distro", source.distro != target.distro),
    ];
    let differs: Vec<&str> =
        differs.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect();
    (!differs.is_empty()).then(|| {
        format!(
            "an older release built it and wrote nothing down of that build, and the two pockets differ in {}",
            differs.join(" and ")
        )
    })
}

/// Says what of a version the pocket's suite has no place for.
pub fn hidden(
    pocket: ConfiguredPocket,
    architectures: &[Architecture],
    parts: &[Part],
) -> Option<String> {
    for part in parts {
        let components = &pocket.settings().components;
        if !components.iter().any(|component| component.as_str() == part.component) {
            return Some(format!(
                "{} is in component {}, which {pocket} has not",
                part.name, part.component
            ));
        }
        let everywhere = part.architecture.is_empty() || part.architecture == "all";
        if !everywhere && !architectures.iter().any(|it| it.as_str() == part.architecture) {
            return Some(format!(
                "{} is for {}, which {pocket} has not",
                part.name, part.architecture
            ));
        }
    }
    None
}

/// Names an architecture of the pocket that the build has left out, though the source package is
/// for it.
pub fn not_built(
    table: &Table,
    pocket: &PocketName,
    architectures: &[Architecture],
    parts: &[Part],
    build: &Build,
) -> Option<String> {
    let named = parts
        .iter()
        .find(|part| part.kind == PartKind::Dsc)
        .map_or("", |dsc| field(&dsc.stanza, "Architecture"));
    let built_in =
        build.facts.iter().flat_map(|facts| &facts.chroots).map(|it| it.architecture.as_str());
    let built: BTreeSet<&str> =
        built_in.chain(parts.iter().map(|part| part.architecture.as_str())).collect();
    let wanting = architectures
        .iter()
        .find(|it| table.covers(named.split_whitespace(), it) && !built.contains(it.as_str()));
    wanting.map(|architecture| format!("it was not built for {architecture}, which {pocket} has"))
}

/// Reads a field of an entry of an index, in one line.
fn field<'a>(stanza: &'a str, name: &str) -> &'a str {
    let value = stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map_or("", str::trim)
}

/// Tells whether a second build in such a chroot and isolation is one under this pocket's
/// conditions.
pub fn is_alike(
    db: &Connection,
    config: &Config,
    pocket: ConfiguredPocket,
    second: &Reproduced,
) -> Result<bool> {
    let target = pocket.settings();
    // An older release has built in user namespaces, and wrote nothing down.
    let isolation = second.isolation.unwrap_or(Isolation::Unshare);
    let facts = BuildFacts { isolation, chroots: second.chroots.clone(), given: Vec::new() };
    Ok(isolation >= target.isolation && other_definitions(db, config, target, &facts)?.is_empty())
}

/// Tells whether a second build that gave the same packages was made under this pocket's
/// conditions. The second one may also have been given what the first one was given and builds of
/// this pocket are not.
pub fn counts(
    db: &Connection,
    config: &Config,
    pocket: ConfiguredPocket,
    id: &Identity,
    proof: &Reproduced,
) -> Result<bool> {
    let facts = builds::of_version(db, id)?.and_then(|build| build.facts);
    for given in facts.iter().flat_map(|facts| &facts.given) {
        if missing(db, config, pocket, given)?.is_some() {
            return Ok(false);
        }
    }
    is_alike(db, config, pocket, proof)
}

#[cfg(test)]
mod tests {
    use crate::copies::*;
    use invirtibuilder_api::archive::PoolFile;
    use invirtibuilder_api::job::State;
    use invirtibuilder_store::{Record, pockets};

    fn part(kind: PartKind, architecture: &str, component: &str, stanza: &str) -> Part {
        let (architecture, component, stanza) =
            (architecture.into(), component.into(), stanza.into());
        Part { kind, name: "hello".into(), architecture, component, stanza }
    }

    fn build(chroots: &[&str]) -> Build {
        let built_in = |name: &&str| invirtibuilder_api::builds::BuiltIn {
            architecture: name.parse().unwrap(),
            digest: "0".repeat(64).parse().unwrap(),
        };
        let facts = BuildFacts {
            isolation: Isolation::Unshare,
            chroots: chroots.iter().map(built_in).collect(),
            given: Vec::new(),
        };
        Build {
            job: "1".parse().unwrap(),
            pocket: "dev".parse().unwrap(),
            principal: invirtibuilder_core::names::Principal::from_authenticated(
                "alice@EXAMPLE.ORG",
            )
            .unwrap(),
            facts: Some(facts),
        }
    }

    #[test]
    fn a_suite_shows_all_of_a_version_or_it_is_not_copied_there() {
        let config: Config = serde_yaml::from_str("build: { pockets: { prod: {} } }").unwrap();
        let pocket = config.pocket("prod").unwrap();
        let all: Vec<Architecture> = vec!["amd64".parse().unwrap(), "i386".parse().unwrap()];
        let dsc = |architecture: &str| {
            part(
                PartKind::Dsc,
                "",
                "main",
                &format!("Package: hello\nArchitecture: {architecture}\n"),
            )
        };
        let deb = |architecture: &str| part(PartKind::Deb, architecture, "main", "");
        let hidden = |parts: &[Part]| hidden(pocket, &all, parts);
        let table = Table::read().unwrap();
        let not_built = |parts: &[Part], chroots: &[&str]| {
            not_built(&table, pocket.name(), &all, parts, &build(chroots))
        };
        let whole = [dsc("any"), deb("amd64"), deb("i386"), deb("all")];
        assert_eq!((hidden(&whole), not_built(&whole, &[])), (None, None));
        assert!(hidden(&[dsc("any"), deb("arm64")]).unwrap().contains("arm64"));
        assert!(
            hidden(&[dsc("all"), part(PartKind::Deb, "all", "contrib", "")])
                .unwrap()
                .contains("contrib")
        );
        assert!(hidden(&[part(PartKind::Dsc, "", "non-free", "")]).unwrap().contains("non-free"));
        assert!(not_built(&[dsc("any"), deb("amd64")], &["amd64"]).unwrap().contains("i386"));
        assert_eq!(
            not_built(&[dsc("any"), deb("amd64")], &["amd64", "i386"]),
            None,
            "it has no package there"
        );
        assert_eq!(not_built(&[dsc("amd64"), deb("amd64")], &["amd64"]), None);
        assert_eq!(not_built(&[dsc("all"), deb("all")], &["amd64"]), None);
    }

    #[test]
    fn a_build_of_which_nothing_is_known_fits_where_the_pockets_are_alike() {
        let config = |text: &str| -> Config {
            serde_yaml::from_str(&format!("build: {{ pockets: {{ {text} }} }}")).unwrap()
        };
        let unknown = |text: &str| {
            let config = config(text);
            unknown(&config, config.pocket("prod").unwrap(), &"dev".parse().unwrap())
        };
        for fits in [
            "prod: {}, dev: {}",
            "prod: {}, dev: { isolation: vm }",
            "prod: { isolation: schroot }, dev: {}",
            "prod: { build_depends_from: [prod, dev] }, dev: {}",
        ] {
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

    fn given(number: usize) -> Given {
        Given {
            suite: "unstable".parse().unwrap(),
            package: format!("lib{number}"),
            version: "5".into(),
            architecture: "all".into(),
            path: format!("pool/lib{number}_5_all.deb"),
            sha256: "1".repeat(64),
        }
    }

    #[test]
    fn a_sentence_names_a_few_of_many_packages() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record::open(&dir.path().join("db")).unwrap();
        let config: Config = serde_yaml::from_str("build: { pockets: { prod: {} } }").unwrap();
        let said = |many: usize| {
            let given = (0..many).map(given).collect();
            let facts = BuildFacts { isolation: Isolation::Unshare, chroots: Vec::new(), given };
            let pocket = config.pocket("prod").unwrap();
            unfit(record.db(), &config, pocket, "7".parse().unwrap(), &facts).unwrap().why
        };
        assert_eq!(said(NAMED).len(), NAMED);
        let many = said(NAMED + 30);
        assert_eq!(many.len(), NAMED + 1);
        assert!(many[NAMED].contains("30 more, which 'explain 7' has"), "{many:?}");
    }

    #[test]
    fn one_of_the_versions_that_have_a_binary_package_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        let config: Config =
            serde_yaml::from_str("build: { pockets: { prod: { apt: stable } } }").unwrap();
        let (pocket, given) = (config.pocket("prod").unwrap(), given(0));
        let look =
            |record: &Record, given: &Given| missing(record.db(), &config, pocket, given).unwrap();
        let missing = |record: &Record| look(record, &given).map(|missing| missing.why);
        let bring = |record: &mut Record, version: &str| {
            let content = contents::Content {
                id: Identity::main("lib".parse().unwrap(), version.parse().unwrap()),
                changes: String::new(),
                parts: Vec::new(),
                files: vec![PoolFile {
                    path: given.path.clone(),
                    size: 1,
                    sha256: given.sha256.clone(),
                }],
                beside: Vec::new(),
            };
            record.write(|tx| contents::add(tx, &content)).unwrap();
        };
        let show = |record: &mut Record, version: &str, number: i64| {
            let (suite, state) =
                (pocket.suite(), contents::SuiteState { generation: number, ..Default::default() });
            let (source, version) = ("lib".parse().unwrap(), version.parse().unwrap());
            record
                .write(|tx| {
                    contents::advance_suite(tx, &suite, number - 1, &state)?;
                    contents::show(tx, &suite, (&source, &version), number)
                })
                .unwrap();
        };
        assert!(
            missing(&record).unwrap().ends_with("which stable has not"),
            "the pool does not have it"
        );
        bring(&mut record, "1.0");
        assert!(missing(&record).unwrap().contains("submit lib 1.0 to prod first"));
        let new = |version: &str| jobs::NewJob {
            pocket: pocket.name().clone(),
            domain: Default::default(),
            package: "lib".parse().unwrap(),
            commit: "1".repeat(40).parse().unwrap(),
            version: version.parse().unwrap(),
            written: version.parse().unwrap(),
            why: None,
            principal: invirtibuilder_core::names::Principal::from_authenticated(
                "alice@EXAMPLE.ORG",
            )
            .unwrap(),
        };
        let coming = |record: &Record| look(record, &given).unwrap().coming;
        let job = record.write(|tx| jobs::enqueue(tx, &new("1.0"))).unwrap();
        assert_eq!(coming(&record), Some(job));
        assert!(
            missing(&record).unwrap().ends_with("which stable has not"),
            "it is submitted already"
        );
        record.write(|tx| jobs::cancelled(tx, job, State::Queued, &new("1.0").principal)).unwrap();
        record.write(|tx| jobs::enqueue(tx, &new("9.0"))).unwrap();
        assert_eq!(coming(&record), None);
        bring(&mut record, "2.0");
        show(&mut record, "2.0", 1);
        assert_eq!(missing(&record), None);
        // What is older than what is shown cannot come any more, so that is no way out.
        let other = Given { path: "pool/other.deb".into(), ..given.clone() };
        let content = contents::Content {
            id: Identity::main("lib".parse().unwrap(), "1.5".parse().unwrap()),
            changes: String::new(),
            parts: Vec::new(),
            files: vec![PoolFile {
                path: other.path.clone(),
                size: 1,
                sha256: other.sha256.clone(),
            }],
            beside: Vec::new(),
        };
        record.write(|tx| contents::add(tx, &content)).unwrap();
        let why = look(&record, &other).unwrap().why;
        assert!(why.ends_with("which stable has not"), "{why}");
    }

    #[test]
    fn a_build_that_is_kept_is_of_use_while_the_pocket_is_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        let config = |text: &str| -> Config {
            serde_yaml::from_str(&format!("build: {{ pockets: {{ {text} }} }}")).unwrap()
        };
        let alike = config("prod: {}, dev: {}");
        let new = jobs::NewJob {
            pocket: "dev".parse().unwrap(),
            domain: Default::default(),
            package: "hello".parse().unwrap(),
            commit: "0".repeat(40).parse().unwrap(),
            version: "1.0".parse().unwrap(),
            written: "1.0".parse().unwrap(),
            why: None,
            principal: invirtibuilder_core::names::Principal::from_authenticated(
                "alice@EXAMPLE.ORG",
            )
            .unwrap(),
        };
        let id = record.write(|tx| jobs::enqueue(tx, &new)).unwrap();
        let is_as_now = |record: &Record, config: &Config| {
            is_as_now(record.db(), config, config.pocket("dev").unwrap(), id).unwrap()
        };
        assert!(!is_as_now(&record, &alike), "an older release made it");
        let sql = r#"INSERT INTO job_source (job, isolation, suites, extra, notes) VALUES (?, 'unshare', '["dev"]', '[]', '[]')"#;
        record.write(|tx| Ok(tx.execute(sql, [id])?)).unwrap();
        assert!(is_as_now(&record, &alike));
        assert!(is_as_now(&record, &config("prod: {}, dev: { build_depends_from: [prod, dev] }")));
        assert!(!is_as_now(&record, &config("prod: {}, dev: { build_depends_from: [prod] }")));
        assert!(!is_as_now(&record, &config("prod: {}, dev: { isolation: vm }")));

        // A second build proves nothing where the first one was given what this pocket's own builds
        // are not.
        let version = &new.identity();
        let known = pockets::KnownVersion {
            commit: new.commit.clone(),
            distro: "sid".parse().unwrap(),
            job: id,
            tag: None,
            tag_name: "1.0".to_owned(),
        };
        let content = contents::Content {
            id: version.clone(),
            changes: String::new(),
            parts: Vec::new(),
            files: Vec::new(),
            beside: Vec::new(),
        };
        record
            .write(|tx| {
                pockets::tie(tx, version, &known)?;
                contents::add(tx, &content)?;
                builds::set(tx, version, id)
            })
            .unwrap();
        let proof = Reproduced { at: 0, isolation: Some(Isolation::Unshare), chroots: Vec::new() };
        let counts = |record: &Record| {
            let pocket = alike.pocket("prod").unwrap();
            counts(record.db(), &alike, pocket, version, &proof).unwrap()
        };
        assert!(counts(&record));
        record.write(|tx| builds::set_given(tx, id, &[given(0)])).unwrap();
        assert!(!counts(&record));
    }
}
