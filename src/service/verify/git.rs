//! Git against the record: tags and pocket branches of every package, and the superproject.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use git2::{Oid, Repository};
use rayon::prelude::*;

use crate::verify::facts::Facts;
use crate::verify::fault::{Adopt, Fault, Mend};
use invirtibuilder_api::pocket::Held;
use invirtibuilder_api::verify::Warning;
use invirtibuilder_core::config::Config;
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::names::{CommitId, DomainName, PackageName, PocketName};
use invirtibuilder_git as git;
use invirtibuilder_git::Move;
use invirtibuilder_store::pockets::KnownVersion;

/// Lists every difference.
pub fn check(config: &Config, facts: &Facts) -> Result<Vec<Fault>> {
    let mut packages: BTreeMap<&PackageName, PackageRecord> = BTreeMap::new();
    for (id, known) in &facts.versions {
        packages.entry(&id.package).or_default().versions.push((id, known));
    }
    for held in &facts.held {
        packages.entry(&held.package).or_default().held.push(held);
    }
    let each: Vec<Vec<Fault>> = packages
        .par_iter()
        .map(|(name, package)| package.check(config, facts, name))
        .collect::<Result<_>>()?;
    let mut found: Vec<Fault> = each.into_iter().flatten().collect();
    for pocket in config.build.pockets.keys() {
        found.extend(superproject(config, facts, pocket)?);
    }
    Ok(found)
}

/// What the record says of one package.
#[derive(Default)]
struct PackageRecord<'a> {
    versions: Vec<(&'a Identity, &'a KnownVersion)>,
    held: Vec<&'a Held>,
}

impl PackageRecord<'_> {
    fn check(&self, config: &Config, facts: &Facts, name: &PackageName) -> Result<Vec<Fault>> {
        let path = config.git.package(name);
        let repo = match git::open(&path) {
            Ok(repo) => repo,
            Err(error) => {
                return Ok(vec![Fault::new(name.as_str(), format!("{error:#}"), Mend::Nothing)]);
            }
        };
        let mut found = Vec::new();
        for (id, known) in &self.versions {
            // Of a domain that is configured no longer nobody keeps the refs.
            if config.archive_of(&id.domain).is_none() {
                continue;
            }
            let marks = git::Marks::of(&id.domain);
            let published = Published { config, facts, repo: &repo, path: &path, id, known };
            if marks.is_complete(&repo)? {
                found.extend(published.mark(&marks)?);
            }
            found.extend(published.tag()?);
        }
        for held in &self.held {
            found.extend(branch(facts, &repo, &path, &config.branch(&held.pocket), held)?);
        }
        Ok(found)
    }
}

/// A version that was published, and what its package's repository says of it.
struct Published<'a> {
    config: &'a Config,
    facts: &'a Facts,
    repo: &'a Repository,
    path: &'a Path,
    id: &'a Identity,
    known: &'a KnownVersion,
}

impl Published<'_> {
    /// Finds the ref by which the update hook knows that a version was published.
    fn mark(&self, marks: &git::Marks) -> Result<Option<Fault>> {
        let Self { facts, repo, path, id, known, .. } = *self;
        let mark = git::mark(repo, known.tag.as_deref(), &known.commit)?;
        let mv = marks.mark_move(path, repo, &known.tag_name, mark)?;
        if mv.old == mv.new || facts.owes_ref(path, &mv.name) {
            return Ok(None);
        }
        let text = match mv.old {
            None => "the mark that it was published is gone, so its tag can be pushed to",
            Some(_) => "the mark that it was published is of something else",
        };
        let place = match &id.domain {
            domain if domain.is_main() => format!("{}: version {}", id.package, id.version),
            domain => format!("{}: version {} of domain {domain}", id.package, id.version),
        };
        Ok(Some(Fault::new(place, text, Mend::Ref(mv))))
    }

    fn tag(&self) -> Result<Option<Fault>> {
        let Self { config, facts, repo, path, id, known } = *self;
        let name = format!("refs/tags/{}", known.tag_name);
        if facts.owes_ref(path, &name) {
            return Ok(None);
        }
        let actual = git::value(repo, &name)?;
        let stands_for = actual.and_then(|oid| git::leads_to(repo, oid));
        let right = stands_for == Some(Oid::from(&known.commit));
        let place = format!("{}: tag {}", id.package, known.tag_name);
        let Some(recorded) = &known.tag else {
            // No pocket that tags had this version; somebody's own tag of it must not contradict.
            // One that is not of this domain is no tag of it.
            if !config.owns_tag(&id.domain, &known.tag_name) {
                return Ok(None);
            }
            let version = &id.version;
            let text = format!(
                "somebody's tag does not stand for {}, which is {version}",
                known.commit.short()
            );
            let mv = Move { repo: path.to_owned(), name, old: actual, new: None };
            return Ok((actual.is_some() && !right).then(|| Fault::new(place, text, Mend::Ref(mv))));
        };
        let recorded = Oid::from_str(recorded)?;
        if actual == Some(recorded) && right {
            return Ok(None);
        }
        let text = match actual {
            None => format!("it is gone; the record has it at {}", known.commit.short()),
            Some(_) if right => {
                "it is another tag object than the one that was published".to_owned()
            }
            Some(_) => format!(
                "{}; the record has it at {}{}",
                whereabouts(repo, &name, actual),
                known.commit.short(),
                way_out(actual)
            ),
        };
        let mv = Move { repo: path.to_owned(), name, old: actual, new: Some(recorded) };
        let mend = if repo.find_object(recorded, None).is_ok() {
            Mend::Ref(mv)
        } else if repo.find_commit((&known.commit).into()).is_ok() {
            Mend::Tag(id.clone())
        } else {
            Mend::Nothing
        };
        let adopt = actual.filter(|_| right).map(|oid| Adopt::Tag(id.clone(), oid.to_string()));
        Ok(Some(Fault::new(place, text, mend).adoptable(adopt)))
    }
}

/// Lists what stands in repositories and could not be pushed now, and marks that the record knows
/// nothing of.
pub fn warnings(config: &Config, facts: &Facts) -> Result<Vec<Warning>> {
    let known: BTreeSet<(&PackageName, &DomainName, &str)> = facts
        .versions
        .iter()
        .map(|(id, known)| (&id.package, &id.domain, &known.tag_name[..]))
        .collect();
    let repositories = git::package_repositories(config)?;
    let each: Vec<Vec<Warning>> = repositories
        .par_iter()
        .map(|(package, path)| {
            let warning = |place: String, text: String| Warning { place, text };
            // One that cannot be opened is a difference, if the record has something of it.
            let Ok(repo) = git::open(path) else { return Ok(Vec::new()) };
            let mut found: Vec<Warning> = git::standing(config, path)?
                .into_iter()
                .map(|(name, why)| warning(format!("{package}: {name}"), format!("it could not be pushed now: {why}")))
                .collect();
            for (domain, _) in config.domains() {
                let marks = git::Marks::of(&domain);
                if !marks.is_complete(&repo)? {
                    let which = if domain.is_main() { String::new() } else { format!(" of domain {domain}") };
                    let text = format!(
                        "its published versions{which} are not marked, so no tag that looks like a version's can be moved: \
                         'invirt-build init' marks them"
                    );
                    found.push(warning(package.to_string(), text));
                }
                for (tag, _) in marks.all(&repo)? {
                    let name = marks.name(&tag);
                    if !known.contains(&(package, &domain, &tag)) && !facts.owes_ref(path, &name) {
                        let text = "it says that this version was published, and the record does not know of it";
                        found.push(warning(format!("{package}: {name}"), text.to_owned()));
                    }
                }
            }
            Ok(found)
        })
        .collect::<Result<_>>()?;
    Ok(each.into_iter().flatten().collect())
}

fn branch(
    facts: &Facts,
    repo: &Repository,
    path: &Path,
    branch: &str,
    held: &Held,
) -> Result<Option<Fault>> {
    let name = format!("refs/heads/{branch}");
    let recorded = Oid::from(&held.commit);
    let present = repo.find_commit(recorded).is_ok();
    let actual = git::value(repo, &name)?;
    if facts.owes_ref(path, &name) || (actual == Some(recorded) && present) {
        return Ok(None);
    }
    let place = format!("{}: branch {branch}", held.package);
    let at = whereabouts(repo, &name, actual);
    let short = held.commit.short();
    let text = match present {
        true => format!("{at}; the record has it at {short}{}", way_out(actual)),
        false => format!(
            "{at}; the record has it at {short}, a commit that the repository does not have"
        ),
    };
    let mv = Move { repo: path.to_owned(), name, old: actual, new: Some(recorded) };
    let mend = if present { Mend::Ref(mv) } else { Mend::Nothing };
    let adopt = actual
        .filter(|oid| *oid != recorded && repo.find_commit(*oid).is_ok())
        .map(|oid| Adopt::Branch(held.pocket.clone(), held.package.clone(), oid.into()));
    Ok(Some(Fault::new(place, text, mend).adoptable(adopt)))
}

fn superproject(config: &Config, facts: &Facts, pocket: &PocketName) -> Result<Option<Fault>> {
    let path = &config.git.superproject;
    let branch = config.branch(pocket);
    let name = format!("refs/heads/{branch}");
    let place = format!("superproject: branch {branch}");
    let recorded = facts.superproject.get(&branch);
    let expected = facts.links(pocket);
    if facts.owes_ref(path, &name) || (recorded.is_none() && expected.is_empty()) {
        return Ok(None);
    }
    let repo = match git::open(path) {
        Ok(repo) => repo,
        Err(error) => return Ok(Some(Fault::new(place, format!("{error:#}"), Mend::Nothing))),
    };
    let actual = git::value(&repo, &name)?;
    let links = match recorded {
        Some(commit) => git::packages_at(path, commit)?,
        None => None,
    };
    let (Some(recorded), Some(links)) = (recorded, links) else {
        let text = "the commit that the record has for it is missing";
        return Ok(Some(Fault::new(place, text, Mend::Superproject(pocket.clone()))));
    };
    if links != expected {
        let text = format!("its submodules at {} are not what {pocket} has", recorded.short());
        return Ok(Some(Fault::new(place, text, Mend::Superproject(pocket.clone()))));
    }
    if actual == Some(Oid::from(recorded)) {
        return Ok(None);
    }
    let at = whereabouts(&repo, &name, actual);
    let text = format!("{at}; the record has it at {}{}", recorded.short(), way_out(actual));
    let mv = Move { repo: path.clone(), name, old: actual, new: Some(recorded.into()) };
    let theirs = actual.map(CommitId::from);
    let same = |commit: &CommitId| {
        git::packages_at(path, commit).is_ok_and(|links| links == Some(expected.clone()))
    };
    let adopt = theirs.filter(same).map(|commit| Adopt::Superproject(branch, commit));
    Ok(Some(Fault::new(place, text, Mend::Ref(mv)).adoptable(adopt)))
}

/// Says where a ref is that should be somewhere else.
fn whereabouts(repo: &Repository, name: &str, value: Option<Oid>) -> String {
    match value {
        None => "it is gone".to_owned(),
        Some(oid) if oid == git::SYMBOLIC => {
            let target = git::symbolic_target(repo, name).unwrap_or_default();
            format!("it is a symbolic ref to {target}")
        }
        Some(oid) => format!("it is at {}", CommitId::from(oid).short()),
    }
}

/// Says, after where a ref belongs, what to do about a symbolic one: people do not know that
/// `--repair` takes it away and leaves alone what it names.
fn way_out(value: Option<Oid>) -> &'static str {
    match value == Some(git::SYMBOLIC) {
        true => ": 'verify --repair' puts it back there, and leaves the other ref as it is",
        false => "",
    }
}
