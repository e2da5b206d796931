//! Domains: which archive each pocket's suite is in, which domain may build with which, and what
//! keeps two of them apart.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::places::KeyPath;
use crate::config::{ArchiveConfig, Config, ConfiguredPocket, SigningKey, TagPattern};
use crate::domain::{MAIN, SuiteId};
use crate::names::{DomainName, PocketName};

/// The largest share of a pocket or a domain.
pub(super) const MOST_SHARE: u32 = 1000;

impl Config {
    /// Returns the domain of a pocket. One that is not configured any more, which jobs may still
    /// name, was in main if nothing else was said.
    pub fn domain(&self, pocket: &PocketName) -> DomainName {
        self.find_pocket(pocket).map(|pocket| pocket.domain().clone()).unwrap_or_default()
    }

    /// Returns the settings of a domain's archive; `None`: the domain is not configured.
    pub fn archive_of(&self, domain: &DomainName) -> Option<&ArchiveConfig> {
        if domain.is_main() { Some(&self.archive) } else { self.archives.get(domain) }
    }

    /// Lists the domains, main first, each with the settings of its archive.
    pub fn domains(&self) -> impl Iterator<Item = (DomainName, &ArchiveConfig)> {
        let others = self.archives.iter().map(|(name, archive)| (name.clone(), archive));
        std::iter::once((DomainName::main(), &self.archive)).chain(others)
    }

    /// Lists the pockets of a domain.
    pub fn pockets_of<'a>(
        &'a self,
        domain: &DomainName,
    ) -> impl Iterator<Item = ConfiguredPocket<'a>> {
        self.pockets().filter(move |pocket| pocket.domain() == domain)
    }

    /// Names the suite that shows what a job brought into a pocket while that was in this domain.
    pub fn suite_of_job(&self, pocket: &PocketName, domain: &DomainName) -> SuiteId {
        SuiteId { domain: domain.clone(), ..self.suite(pocket) }
    }

    /// Finds the pocket whose suite this is.
    pub fn pocket_of(&self, suite: &SuiteId) -> Option<ConfiguredPocket<'_>> {
        self.pockets().find(|pocket| pocket.suite() == *suite)
    }

    /// Returns the pattern of the tags of versions that a pocket publishes.
    pub fn tag(&self, pocket: &PocketName) -> &TagPattern {
        let own = self.find_pocket(pocket).and_then(|pocket| pocket.settings().tag.as_ref());
        let domain = self.archive_of(&self.domain(pocket));
        own.or_else(|| domain?.tag.as_ref()).unwrap_or(&self.git.tag)
    }

    /// Lists the patterns of tags that pockets publish versions under, each once.
    pub fn tags(&self) -> Vec<&TagPattern> {
        let domains = self.domains().filter_map(|(_, archive)| archive.tag.as_ref());
        let mut all: Vec<&TagPattern> = std::iter::once(&self.git.tag).chain(domains).collect();
        all.extend(self.build.pockets.values().filter_map(|pocket| pocket.tag.as_ref()));
        all.sort();
        all.dedup();
        all
    }

    /// Tells whether versions of a domain are tagged: whether a pocket of it tags.
    pub fn has_tags(&self, domain: &DomainName) -> bool {
        self.pockets_of(domain).any(|pocket| !pocket.settings().allow_backtracking)
    }

    /// Tells whether a tag of this name can be that of a version of the domain and of no other: the
    /// domain tags, and no pocket of another one that does gives such names.
    pub fn owns_tag(&self, domain: &DomainName, tag: &str) -> bool {
        let mut others = self
            .pockets()
            .filter(|other| other.domain() != domain && self.has_tags(other.domain()));
        let is_old = !domain.is_main() && TagPattern::default().version(tag).is_some();
        self.has_tags(domain)
            && !is_old
            && !others.any(|other| self.tag(other.name()).version(tag).is_some())
    }

    /// Lists the patterns that tags of a domain's versions may follow, each once. Versions of main
    /// that an older release published are tagged with nothing but the version.
    pub fn tags_in(&self, domain: &DomainName) -> Vec<TagPattern> {
        let old = domain.is_main().then(TagPattern::default);
        let pockets = self.pockets_of(domain).map(|pocket| self.tag(pocket.name()).clone());
        let all: BTreeSet<TagPattern> = pockets.chain(old).collect();
        all.into_iter().collect()
    }

    /// Lists the domains that are stronger than this one, directly or by way of others.
    pub fn stronger_than(&self, domain: &DomainName) -> BTreeSet<DomainName> {
        let mut found = BTreeSet::new();
        let mut next = vec![domain];
        while let Some(one) = next.pop() {
            for stronger in self.archive_of(one).iter().flat_map(|archive| &archive.builds_from) {
                if found.insert(stronger.clone()) {
                    next.push(stronger);
                }
            }
        }
        found
    }

    /// Lists what the administrator should know of domains, each a sentence.
    pub fn domain_caveats(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (domain, archive) in self.domains() {
            if archive.keep.versions_per_package.is_some() && archive.keep.keeps_every_state() {
                let keep = domain.setting("keep");
                all.push(format!(
                    "{keep}.versions_per_package lets nothing go, as every state is kept with what it has; write {keep}.versions or \
                     {keep}.days too"
                ));
            }
        }
        for (n, (one, pocket)) in self.build.pockets.iter().enumerate() {
            for (other, theirs) in self.build.pockets.iter().take(n) {
                if theirs.domain != pocket.domain && theirs.version == pocket.version {
                    all.push(format!(
                        "pockets {other} and {one} are in two domains and have one rule for versions: each may publish its own \
                         packages under one version, and a machine with suites of both gets those of the archive that its sources \
                         name first, or keeps what it has; give one a version: of its own, such as {{ snapshot: true }}"
                    ));
                }
            }
        }
        all
    }
}

/// Writes the path of an archive's setting: below `archive`, or below `archives.<domain>`.
fn key(domain: &DomainName, field: &str) -> KeyPath {
    let above: &[&str] =
        if domain.is_main() { &["archive"] } else { &["archives", domain.as_str()] };
    let field = field.split('.').filter(|part| !part.is_empty());
    above.iter().copied().chain(field).map(str::to_owned).collect()
}

/// Lists what is wrong with the archives and with who may build with whom.
pub(super) fn problems(config: &Config, found: &mut Vec<(KeyPath, String)>) {
    if config.archives.contains_key(&DomainName::main()) {
        let text = format!("archives.{MAIN}: archive: describes this one: write its keys there");
        found.push((vec!["archives".to_owned(), MAIN.to_owned()], text));
    }
    for (domain, archive) in others_of(config) {
        one(&domain, archive, found);
        for (n, stronger) in archive.builds_from.iter().enumerate() {
            let at = key(&domain, &format!("builds_from.{n}"));
            if config.archive_of(stronger).is_none() {
                found
                    .push((at, format!("there is no domain {stronger}: archives: describes them")));
            } else if config.stronger_than(stronger).contains(&domain) || *stronger == domain {
                let text = format!(
                    "domain {stronger} cannot be stronger than {domain}, which it builds from itself"
                );
                found.push((at, text));
            }
        }
    }
    let all: Vec<_> = others_of(config).collect();
    for (n, (domain, archive)) in all.iter().enumerate() {
        for (other, theirs) in &all[..n] {
            apart((domain, archive), (other, theirs), found);
        }
    }
}

/// Lists the domains as they are written: what is wrong with `archives.main` is said already.
fn others_of(config: &Config) -> impl Iterator<Item = (DomainName, &ArchiveConfig)> {
    let mut seen = BTreeSet::new();
    config.domains().filter(move |(domain, _)| seen.insert(domain.clone()))
}

/// Checks what an archive says of itself.
fn one(domain: &DomainName, archive: &ArchiveConfig, found: &mut Vec<(KeyPath, String)>) {
    let at = |field: &str| key(domain, field);
    let mut wrong = |field: &str, text: &str| {
        found.push((at(field), format!("{}: {text}", at(field).join("."))));
    };
    if archive.lacks_root() {
        wrong("root", "write the directory that its dists/ and pool/ shall be in");
    } else if !archive.root.is_absolute() {
        wrong("root", "the path is relative: write it from / on");
    }
    if let Some(url) = &archive.url {
        let plain = url.chars().all(|c| c.is_ascii_graphic() && !"@\"'<>\\".contains(c));
        if !plain || !["http://", "https://", "file:/"].iter().any(|scheme| url.starts_with(scheme))
        {
            wrong(
                "url",
                "write what clients have in sources.list, such as https://apt.example.org",
            );
        }
    }
    if archive.share == 0 || archive.share > MOST_SHARE {
        wrong("share", &format!("write a number from 1 to {MOST_SHARE}"));
    }
    if archive.lacks_key() {
        wrong("signing_key", "write the key that signs this archive and no other");
        return;
    }
    if archive.signing_key.is_empty() {
        wrong("signing_key", "apt wants a key that signs");
    }
    for signing in &archive.signing_key {
        let program = match signing {
            SigningKey::File(_) => None,
            SigningKey::Command(elsewhere) => {
                Some(elsewhere.command.first().map_or("", String::as_str))
            }
        };
        if !signing.certificate().is_absolute()
            || program.is_some_and(|program| !program.starts_with('/'))
        {
            wrong("signing_key", "the path is relative: write it from / on");
        }
    }
}

/// Demands that two archives share neither place nor key.
fn apart(
    (domain, archive): (&DomainName, &ArchiveConfig),
    (other, theirs): (&DomainName, &ArchiveConfig),
    found: &mut Vec<(KeyPath, String)>,
) {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| plain(path));
    let (root, there) = (real(&archive.root), real(&theirs.root));
    let have_roots = !archive.lacks_root() && !theirs.lacks_root();
    if have_roots && (root.starts_with(&there) || there.starts_with(&root)) {
        let text = format!(
            "{}: it is, or is below or above, {}, where the archive of domain {other} is: domains share no files",
            key(domain, "root").join("."),
            theirs.root.display()
        );
        found.push((key(domain, "root"), text));
    }
    let paths = |archive: &ArchiveConfig| -> Vec<PathBuf> {
        let named = archive.signing_key.iter().filter(|_| !archive.lacks_key());
        named.map(|key| real(key.certificate())).collect()
    };
    let known = paths(theirs);
    if let Some(path) = paths(archive).into_iter().find(|path| known.contains(path)) {
        let text = format!(
            "{}: {} is a key of domain {other}: machines that trust one of them shall not have to trust both",
            key(domain, "signing_key").join("."),
            path.display()
        );
        found.push((key(domain, "signing_key"), text));
    }
}

/// Writes a path that is not there yet without what leads nowhere.
fn plain(path: &Path) -> PathBuf {
    use std::path::Component::{CurDir, ParentDir};
    let mut all = PathBuf::new();
    for part in path.components() {
        match part {
            CurDir => {}
            ParentDir => drop(all.pop()),
            part => all.push(part),
        }
    }
    all
}

/// Lists what is wrong with a pocket's place among the domains.
pub(super) fn pocket_problems(config: &Config, which: ConfiguredPocket) -> Vec<(String, String)> {
    let (name, pocket, domain) = (which.name(), which.settings(), which.domain());
    if config.archive_of(domain).is_none() {
        let text = format!("there is no domain {domain}: archives: describes them");
        return vec![("domain".to_owned(), text)];
    }
    let mut found = Vec::new();
    let stronger = config.stronger_than(domain);
    for (n, from) in pocket.build_depends_from.iter().flatten().enumerate() {
        let theirs = config.domain(from);
        let is_known = config.find_pocket(from).is_some();
        if is_known && theirs != *domain && !stronger.contains(&theirs) {
            let text = format!(
                "{from} is in domain {theirs}, and {name} in {domain}, which does not call that one stronger: packages of \
                 {theirs} would run code in builds of {domain}; write {theirs} into {}.builds_from if you mean that",
                key(domain, "").join(".")
            );
            found.push((format!("build_depends_from.{n}"), text));
        }
    }
    for (n, from) in pocket.copies_from.iter().enumerate() {
        let theirs = config.domain(from);
        if config.find_pocket(from).is_some() && theirs != *domain {
            let text =
                format!("{from} is in domain {theirs}, and nothing is copied into another domain");
            found.push((format!("copies_from.{n}"), text));
        }
    }
    found.extend(tag_problems(config, which));
    found
}

/// Says which pockets could give tags of this one's domain a meaning of theirs. Where one pocket
/// tags, all of its domain count: it may tag what another one has published first.
fn tag_problems(config: &Config, which: ConfiguredPocket) -> Option<(String, String)> {
    let tags = |pocket: &ConfiguredPocket| config.has_tags(pocket.domain());
    if !tags(&which) {
        return None;
    }
    let (own, domain) = (config.tag(which.name()), which.domain());
    let field = if which.settings().tag.is_some() { "tag" } else { "" };
    let ways = |theirs: &DomainName| {
        let place = key(if domain.is_main() { theirs } else { domain }, "").join(".");
        let other = if domain.is_main() { theirs } else { domain };
        format!("write a tag: such as {other}/{{version}} into {place}")
    };
    if !domain.is_main() && own.clashes_with(&TagPattern::default()) {
        let text = format!(
            "tags of {own} could be those of versions that older releases have tagged in {MAIN}: {}",
            ways(domain)
        );
        return Some((field.to_owned(), text));
    }
    let mut before = config.pockets().take_while(|other| other.name() != which.name()).filter(tags);
    let clashing = before.find(|other| {
        let theirs = config.tag(other.name());
        let is_alike = other.domain() == domain && theirs == own;
        !is_alike && theirs.clashes_with(own)
    });
    clashing.map(|other| {
        let (theirs, pattern) = (other.domain(), config.tag(other.name()));
        let text = if domain == theirs {
            format!("tags of {own} and of {pattern}, which {other} has, could have one name")
        } else {
            format!(
                "{which} of domain {domain} and {other} of domain {theirs} could give one tag to two commits: {}",
                ways(theirs)
            )
        };
        (field.to_owned(), text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check;

    fn config(text: &str) -> Config {
        serde_yaml::from_str(text).unwrap()
    }

    /// Returns a domain `dev` that builds with main's suites, beside this.
    fn with_dev(dev: &str, pockets: &str) -> Config {
        config(&format!(
            "archives: {{ dev: {{ root: /srv/dev, signing_key: /etc/ib/dev.asc, builds_from: [main]{dev} }} }}\n\
             build: {{ pockets: {{ {pockets} }} }}"
        ))
    }

    const PAIR: &str =
        "prod: {}, dev: { domain: dev, allow_backtracking: true, version: { snapshot: true } }";

    /// Lists keys with what is wrong there.
    fn wrong(config: &Config) -> Vec<String> {
        let all = check::problems(config).into_iter();
        all.map(|(key, text)| format!("{}| {text}", key.join("."))).collect()
    }

    #[track_caller]
    fn says(config: &Config, key: &str, words: &str) {
        let found = wrong(config);
        let start = format!("{key}| ");
        assert!(found.iter().any(|it| it.starts_with(&start) && it.contains(words)), "{found:#?}");
    }

    #[test]
    fn a_pocket_is_in_main_or_where_it_says() {
        let config = with_dev(", tag: 'dev/{version}'", PAIR);
        assert_eq!(wrong(&config), [""; 0]);
        assert_eq!(config.domain_caveats(), [""; 0]);
        let (prod, dev): (PocketName, PocketName) =
            ("prod".parse().unwrap(), "dev".parse().unwrap());
        assert_eq!(
            (config.suite(&prod).to_string(), config.suite(&dev).to_string()),
            ("prod".into(), "dev/dev".into())
        );
        assert_eq!(
            config.pocket_of(&"dev/dev".parse().unwrap()).map(ConfiguredPocket::name),
            Some(&dev)
        );
        assert!(config.pocket_of(&"dev".parse().unwrap()).is_none());
        let domains: Vec<_> = config.domains().map(|(domain, _)| domain.to_string()).collect();
        assert_eq!(domains, ["main", "dev"]);
        let roots =
            ["main", "dev"].map(|it| config.archive_of(&it.parse().unwrap()).unwrap().root.clone());
        assert_eq!(roots.map(|root| root.display().to_string()), ["/srv/apt", "/srv/dev"]);
        assert_eq!(
            (config.tag(&dev).to_string(), config.tag(&prod).to_string()),
            ("dev/{version}".into(), "{version}".into())
        );
        assert!(config.has_tags(&DomainName::main()) && !config.has_tags(&"dev".parse().unwrap()));
        let in_dev: Vec<_> =
            config.tags_in(&"dev".parse().unwrap()).iter().map(TagPattern::to_string).collect();
        assert_eq!(in_dev, ["dev/{version}"]);
    }

    #[test]
    fn domains_share_nothing() {
        let bad = config("archives: { dev: { origin: x } }");
        says(&bad, "archives.dev.root", "write the directory");
        says(&bad, "archives.dev.signing_key", "write the key");
        let bad = config("archives: { main: { root: /srv/x, signing_key: /x } }");
        says(&bad, "archives.main", "archive: describes this one");
        for root in ["/srv/apt", "/srv/apt/dev", "/srv", "/srv/x/../apt"] {
            let bad = config(&format!("archives: {{ dev: {{ root: {root}, signing_key: /x }} }}"));
            says(&bad, "archives.dev.root", "share no files");
        }
        let good = config("archives: { dev: { root: /srv/apt-dev, signing_key: /x } }");
        assert_eq!(wrong(&good), [""; 0]);
        let bad = config(
            "archives: { dev: { root: /srv/dev, signing_key: [/x, /etc/invirtibuilder/archive-key.asc] } }",
        );
        says(&bad, "archives.dev.signing_key", "is a key of domain main");
        let bad = config(
            "archives: { dev: { root: srv/dev, signing_key: x, url: 'ftp://x', share: 0 } }",
        );
        for key in ["root", "signing_key", "url", "share"] {
            says(&bad, &format!("archives.dev.{key}"), "");
        }
        says(
            &config("build: { pockets: { dev: { domain: dev } } }"),
            "build.pockets.dev.domain",
            "no domain dev",
        );
        let two = with_dev(
            "",
            "prod: { apt: stable }, dev: { domain: dev, apt: stable, allow_backtracking: true }",
        );
        assert_eq!(wrong(&two), [""; 0], "two domains may have a suite of one name");
    }

    #[test]
    fn only_the_weaker_builds_with_the_stronger() {
        let good = with_dev(
            "",
            "prod: {}, dev: { domain: dev, allow_backtracking: true, build_depends_from: [dev, prod] }",
        );
        assert_eq!(wrong(&good), [""; 0]);
        let bad = with_dev(
            "",
            "prod: { build_depends_from: [dev] }, dev: { domain: dev, allow_backtracking: true }",
        );
        says(
            &bad,
            "build.pockets.prod.build_depends_from.0",
            "dev is in domain dev, and prod in main",
        );
        let bad = with_dev(
            "",
            "prod: { copies_from: [dev] }, dev: { domain: dev, allow_backtracking: true }",
        );
        says(&bad, "build.pockets.prod.copies_from.0", "nothing is copied");
        let bad = config(
            "archive: { builds_from: [dev] }\narchives: { dev: { root: /d, signing_key: /k, builds_from: [main] } }",
        );
        says(&bad, "archive.builds_from.0", "cannot be stronger");
        says(&bad, "archives.dev.builds_from.0", "cannot be stronger");
        let bad =
            config("archives: { dev: { root: /d, signing_key: /k, builds_from: [dev, gone] } }");
        says(&bad, "archives.dev.builds_from.0", "cannot be stronger");
        says(&bad, "archives.dev.builds_from.1", "no domain gone");
        let chain = config(
            "archives: { a: { root: /a, signing_key: /ka, builds_from: [b] }, b: { root: /b, signing_key: /kb, builds_from: [main] } }\n\
             build: { pockets: { prod: {}, dev: { domain: a, allow_backtracking: true, build_depends_from: [prod] } } }",
        );
        assert_eq!(wrong(&chain), [""; 0], "what is stronger than a stronger one is stronger");
    }

    #[test]
    fn two_domains_that_tag_have_two_patterns() {
        let both = "prod: {}, test: { domain: dev }";
        says(&with_dev("", both), "build.pockets.test", "that older releases have tagged");
        let named = both.replace("prod: {}", "prod: { tag: 'v{version}' }");
        says(
            &with_dev(", tag: 'v{version}'", &named),
            "build.pockets.test",
            "could give one tag to two commits",
        );
        let first = both.replace("test: {", "test: { tag: 'dev/{version}',");
        let beside = format!("{first}, lab: {{ domain: dev, allow_backtracking: true }}");
        says(&with_dev("", &beside), "build.pockets.lab", "that older releases have tagged");
        assert_eq!(wrong(&with_dev(", tag: 'dev/{version}'", both)), [""; 0]);
        says(&with_dev(", tag: '{version}-dev'", both), "build.pockets.test", "older releases");
        let own = "prod: {}, test: { domain: dev, tag: '1/{version}' }";
        says(&with_dev("", own), "build.pockets.test.tag", "older releases");
        let one = config("build: { pockets: { prod: {}, test: { tag: '{version}-x' } } }");
        says(&one, "build.pockets.test.tag", "could have one name");
        let back = "prod: {}, test: { domain: dev, allow_backtracking: true }";
        assert_eq!(wrong(&with_dev("", back)), [""; 0], "what tags nothing is in nobody's way");
        let (main, dev) = (DomainName::main(), "dev".parse().unwrap());
        let silent = with_dev("", back);
        assert!(silent.owns_tag(&main, "1.0") && !silent.owns_tag(&dev, "1.0"));
        let both = with_dev(", tag: 'dev/{version}'", both);
        assert!(both.owns_tag(&dev, "dev/1.0") && !both.owns_tag(&main, "dev/1.0"));
        assert!(both.owns_tag(&main, "1.0") && !both.owns_tag(&dev, "1.0"));
    }

    #[test]
    fn packages_that_apt_would_change_between_are_warned_of() {
        let alike = with_dev("", "prod: {}, dev: { domain: dev, allow_backtracking: true }");
        assert!(alike.domain_caveats()[0].contains("pockets dev and prod are in two domains"));
        let one = config("build: { pockets: { prod: {}, dev: {} } }");
        assert_eq!(one.domain_caveats(), [""; 0]);
    }
}
