//! Decides what people may push to a repository: their own branches, tags and notes, under names
//! that mean one thing.

use std::path::Path;

use anyhow::Result;
use git2::{Oid, Repository};

use crate::ours::{Marks, OURS};
use crate::repository::{commits_of_prefix, leads_to, open, symbolic_target, value};
use invirtibuilder_core::config::{Config, TagPattern};
use invirtibuilder_core::names::{CommitId, PocketName};
use invirtibuilder_system::disk;

/// One ref of a push.
#[derive(Debug, Clone, Copy)]
pub struct Push<'a> {
    /// The ref's full name.
    pub name: &'a str,
    /// The object that the ref points at; `None`: the ref does not exist.
    pub old: Option<Oid>,
    /// The object that the push points it at; `None`: the push deletes the ref.
    pub new: Option<Oid>,
}

/// Says why there is no room for what a push has brought to the repository `path`; `None`: there
/// is. Git still has that aside, with what other pushes bring at the same time, and forgets it if
/// the hook refuses the push. A push that brings nothing always has room.
pub fn no_room(config: &Config, path: &Path, brought: Option<&Path>) -> Option<String> {
    let most = config.git.max_repository.0;
    let brings = brought.is_some_and(disk::has_files);
    (brings && disk::used(path) > most).then(|| {
        format!(
            "with this push the repository would take more than {} MiB of the disk (git.max_repository): push less, or have an \
             administrator run 'git gc --prune=now' in {} or raise that",
            most >> 20,
            path.display()
        )
    })
}

/// Says why somebody may not push this to the repository `path`; `None`: they may. The objects have
/// come in already.
pub fn refusal(config: &Config, path: &Path, push: Push) -> Result<Option<String>> {
    if is_superproject(config, path) {
        let text = "the superproject is the service's own: submit a package, and it follows";
        return Ok(Some(format!("{}: {text}", push.name)));
    }
    let repo = open(path)?;
    // Git follows a symbolic ref, so whoever pushes to one pushes to what it names.
    let mut names = vec![push.name.to_owned()];
    while let Some(target) =
        symbolic_target(&repo, &names[names.len() - 1]).filter(|target| !names.contains(target))
    {
        names.push(target);
    }
    for name in &names {
        if let Some(why) = one(config, &repo, Push { name, ..push })? {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

fn one(config: &Config, repo: &Repository, push: Push) -> Result<Option<String>> {
    let Push { name, new, .. } = push;
    if name.starts_with(OURS) {
        return Ok(Some(format!("{name}: refs/invirt/ is the service's own: choose another name")));
    }
    if let Some(pocket) = of_pocket(config, name) {
        return Ok(Some(belongs(name, pocket)));
    }
    if let Some(tag) = name.strip_prefix("refs/tags/") {
        if let Some(why) = fixed(config, repo, tag, push)? {
            return Ok(Some(why));
        }
    }
    match new {
        // What should not be there may go.
        None => Ok(None),
        Some(new) => misleading(config, repo, name, new),
    }
}

/// Finds the pocket whose branch this ref is.
fn of_pocket<'a>(config: &'a Config, name: &str) -> Option<&'a PocketName> {
    let branch = name.strip_prefix("refs/heads/")?;
    config.build.pockets.keys().find(|pocket| config.branch(pocket) == branch)
}

fn belongs(name: &str, pocket: &PocketName) -> String {
    format!(
        "{name} belongs to pocket {pocket}: push another branch, then submit its commit to {pocket}"
    )
}

/// Says why a push may not change a tag: the tag is of a version that was published, or may be of
/// one. What is fixed in a domain is so whatever others have published.
fn fixed(config: &Config, repo: &Repository, tag: &str, push: Push) -> Result<Option<String>> {
    for (domain, _) in config.domains() {
        let domain = DomainTags {
            marks: Marks::of(&domain),
            patterns: config.tags_in(&domain),
            tags: config.has_tags(&domain),
            is_main: domain.is_main(),
        };
        if let Some(why) = domain.fixed(repo, tag, push)? {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

/// What Git and the configuration say of the tags of a domain's versions.
struct DomainTags {
    marks: Marks,
    patterns: Vec<TagPattern>,
    /// Whether a pocket of the domain tags.
    tags: bool,
    is_main: bool,
}

impl DomainTags {
    /// Tells whether a tag of this name could be that of a version.
    fn may_be_one(&self, tag: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.version(tag).is_some())
    }

    /// Reads the mark that fixes the tag of this name. That of a version which was not tagged fixes
    /// nothing where no pocket tags.
    fn mark(&self, repo: &Repository, tag: &str) -> Result<Option<Oid>> {
        let mark = self.marks.published(repo, tag)?;
        Ok(mark.filter(|oid| self.tags || repo.find_tag(*oid).is_ok()))
    }

    fn fixed(&self, repo: &Repository, tag: &str, push: Push) -> Result<Option<String>> {
        let Push { name, old, new } = push;
        let forever = format!(
            "{name} is there, and a version stands for one commit for ever: submit the change under a new version"
        );
        let blocks = |version: &str| {
            format!("{name} would be in the way of the version tag {version}: choose another name")
        };
        let mut above = tag.match_indices('/').map(|(at, _)| &tag[..at]);
        if !self.marks.is_complete(repo)? {
            // Nobody has said yet which versions were published: each may have been.
            if !self.tags && !self.is_main {
                return Ok(None);
            }
            if let Some(version) = above.find(|above| self.may_be_one(above)) {
                return Ok(Some(blocks(version)));
            }
            return Ok((old.is_some() && self.may_be_one(tag)).then_some(forever));
        }
        for above in above {
            if new.is_some() && self.mark(repo, above)?.is_some() {
                return Ok(Some(blocks(above)));
            }
        }
        let Some(published) = self.mark(repo, tag)? else { return Ok(None) };
        // Only what was published itself, or another tag of the commit of a version that we have
        // not tagged.
        let untagged = repo.find_commit(published).is_ok();
        let right =
            |oid: Oid| oid == published || (untagged && leads_to(repo, oid) == Some(published));
        Ok(match (old, new) {
            (_, Some(new)) if right(new) => None,
            (Some(old), None) if !right(old) => None,
            (Some(_), _) => Some(forever),
            (None, _) => Some(format!(
                "{name} would not be what was published as this version: submit the change under a new version"
            )),
        })
    }
}

/// Says why a ref of this name could be taken for something else that it does not lead to, or is of
/// a kind that nobody needs to push; `None`: it is as it should be.
pub fn misleading(
    config: &Config,
    repo: &Repository,
    name: &str,
    oid: Oid,
) -> Result<Option<String>> {
    if ["refs/notes/", "refs/dgit/"].iter().any(|own| name.starts_with(own)) {
        return Ok(None);
    }
    let (short, is_tag) = match (name.strip_prefix("refs/heads/"), name.strip_prefix("refs/tags/"))
    {
        (Some(branch), _) => (branch, false),
        (_, Some(tag)) => (tag, true),
        _ => {
            return Ok(Some(format!(
                "{name} is neither a branch nor a tag: push to refs/heads/ or refs/tags/"
            )));
        }
    };
    // A branch below or above a pocket's would be in its way; a tag of that name is what clones
    // would take for it.
    let clash = |of: &str| {
        of == short || below(short, of) || below(of, short) || (is_tag && shadows(short, of))
    };
    if let Some(pocket) = config.build.pockets.keys().find(|pocket| clash(&config.branch(pocket))) {
        return Ok(Some(match is_tag {
            false => belongs(name, pocket),
            true => format!(
                "{name} could be taken for the branch of pocket {pocket}: choose another name"
            ),
        }));
    }
    if is_tag && config.tags().iter().any(|pattern| pattern.directories().any(|it| it == short)) {
        return Ok(Some(format!(
            "{name} would be in the way of the version tags below it: choose another name"
        )));
    }
    if short == "HEAD" {
        return Ok(Some(format!(
            "{name} could be taken for what is checked out: choose another name"
        )));
    }
    if [40, 64].contains(&short.len()) && short.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Ok(Some(format!(
            "{name} could be taken for the id of a commit: choose another name"
        )));
    }
    let led_to = leads_to(repo, oid);
    let other = commits_of_prefix(repo, short)?.into_iter().find(|commit| Some(*commit) != led_to);
    Ok(other.map(|commit| {
        let commit = CommitId::from(commit);
        format!("{name} begins the id of commit {commit}, to which it does not lead: choose another name")
    }))
}

/// Tells whether Git takes a tag of this name before the branch: in a clone, where it is
/// `origin/BRANCH`, or under another of its names.
fn shadows(tag: &str, branch: &str) -> bool {
    let first = tag.split('/').next().unwrap_or_default();
    ["origin", "heads", "remotes", "refs"].contains(&first)
        && below(tag, first)
        && tag.ends_with(&format!("/{branch}"))
}

fn below(name: &str, dir: &str) -> bool {
    name.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

/// Lists the refs of a repository that nobody could push now, each with the reason.
pub fn standing(config: &Config, path: &Path) -> Result<Vec<(String, String)>> {
    let repo = open(path)?;
    let mut found = Vec::new();
    for reference in repo.references()?.flatten() {
        let Ok(name) = reference.name().map(str::to_owned) else {
            let name = String::from_utf8_lossy(reference.name_bytes()).into_owned();
            let why = format!("{name} is no text: nobody can name it");
            found.push((name, why));
            continue;
        };
        if name.starts_with(OURS) || of_pocket(config, &name).is_some() {
            continue;
        }
        // A symbolic ref leads where its target does.
        let oid =
            reference.resolve().ok().and_then(|found| found.target()).or(value(&repo, &name)?);
        if let Some(oid) = oid {
            found.extend(misleading(config, &repo, &name, oid)?.map(|why| (name, why)));
        }
    }
    Ok(found)
}

fn is_superproject(config: &Config, repo: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(repo) == real(&config.git.superproject)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::create_package_repo;
    use crate::rules::*;
    use crate::testing::commit;
    use invirtibuilder_core::config::ArchiveConfig;

    /// Pockets `prod` and `dev`, whose branch is `team/dev`; a repository with two commits.
    struct Place {
        _dir: tempfile::TempDir,
        config: Config,
        path: PathBuf,
        repo: Repository,
        first: Oid,
        second: Oid,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let mut config = Config::default();
            for (pocket, branch) in [("prod", None), ("dev", Some("team/dev"))] {
                let rules = invirtibuilder_core::config::Pocket {
                    git: branch.map(str::to_owned),
                    ..Default::default()
                };
                config.build.pockets.insert(pocket.parse().unwrap(), rules);
            }
            let path = dir.path().join("hello.git");
            create_package_repo(&path).unwrap();
            let (first, second) = (commit(&path, &[("f", "1")]), commit(&path, &[("f", "2")]));
            let repo = open(&path).unwrap();
            Self { config, repo, path, first: (&first).into(), second: (&second).into(), _dir: dir }
        }

        fn says(&self, name: &str, old: Option<Oid>, new: Option<Oid>) -> String {
            refusal(&self.config, &self.path, Push { name, old, new }).unwrap().unwrap_or_default()
        }

        /// Says why nobody can push this ref, where none of that name is.
        fn new_ref(&self, name: &str) -> String {
            self.says(name, None, Some(self.second))
        }

        fn put(&self, name: &str, oid: Oid) {
            self.repo.reference(name, oid, true, "").unwrap();
        }
    }

    #[test]
    fn what_a_repository_has_no_room_for_is_refused() {
        let mut place = Place::new();
        let aside = place.path.join("objects/tmp_objdir-incoming-x");
        std::fs::create_dir_all(aside.join("pack")).unwrap();
        place.config.git.max_repository = invirtibuilder_core::config::ByteSize(1);
        assert_eq!(no_room(&place.config, &place.path, Some(&aside)), None, "it brings nothing");
        std::fs::write(aside.join("pack/x.pack"), vec![1; 3 << 20]).unwrap();
        assert_eq!(no_room(&place.config, &place.path, None), None);
        for (mib, word) in [(1, "1 MiB of the disk (git.max_repository)"), (2, "2 MiB"), (4, "")] {
            place.config.git.max_repository = invirtibuilder_core::config::ByteSize(mib << 20);
            let said = no_room(&place.config, &place.path, Some(&aside)).unwrap_or_default();
            assert!(said.contains(word) && said.is_empty() == word.is_empty(), "{mib}: {said}");
        }
    }

    #[test]
    fn what_belongs_to_the_service_is_refused_and_the_rest_is_not() {
        let place = Place::new();
        for (name, word) in [
            ("refs/heads/prod", "pocket prod"),
            ("refs/heads/team/dev", "pocket dev"),
            ("refs/invirt/published/1.0", "the service's own"),
            ("refs/invirt/complete", "the service's own"),
            ("refs/invirt/pin/hello/1", "the service's own"),
        ] {
            for (old, new) in [
                (None, Some(place.second)),
                (Some(place.first), None),
                (Some(place.first), Some(place.second)),
            ] {
                let said = place.says(name, old, new);
                assert!(said.contains(word) && said.contains(name), "{name}: {said}");
            }
        }
        for (name, word) in [
            ("refs/heads/prod/x", "pocket prod"),
            ("refs/heads/team", "pocket dev"),
            ("refs/heads/HEAD", "checked out"),
            ("refs/replace/0123456789012345678901234567890123456789", "neither a branch nor a tag"),
            ("refs/original/refs/heads/main", "neither"),
            ("refs/pull/1/head", "neither"),
            ("refs/remotes/origin/prod", "neither"),
            ("refs/stash", "neither"),
            ("refs/bisect/bad", "neither"),
            ("refs/notes", "neither"),
        ] {
            let said = place.new_ref(name);
            assert!(said.contains(word) && said.contains(name), "{name}: {said}");
            assert!(!place.says(name, Some(place.first), Some(place.second)).is_empty(), "{name}");
            assert_eq!(place.says(name, Some(place.first), None), "", "{name} may go");
        }
        for name in [
            "refs/heads/main",
            "refs/heads/production",
            "refs/heads/dev",
            "refs/heads/team/x",
            "refs/tags/v1",
            "refs/tags/dev",
            "refs/notes/prod",
            "refs/notes/commits",
            "refs/dgit/unstable",
            "refs/heads/debian/sid",
        ] {
            assert_eq!(place.new_ref(name), "", "{name}");
            assert_eq!(place.says(name, Some(place.first), Some(place.second)), "", "{name}");
            assert_eq!(place.says(name, Some(place.first), None), "", "{name}");
        }
        let superproject = Push { name: "refs/heads/x", old: None, new: Some(place.second) };
        let said = refusal(&place.config, Path::new("/srv/git/packages.git"), superproject)
            .unwrap()
            .unwrap();
        assert!(said.contains("superproject"), "{said}");
    }

    #[test]
    fn no_tag_can_be_taken_for_a_pockets_branch() {
        let place = Place::new();
        for tag in [
            "prod",
            "prod/x",
            "team",
            "team/dev",
            "team/dev/x",
            "origin/prod",
            "heads/prod",
            "refs/heads/team/dev",
            "remotes/origin/prod",
        ] {
            let said = place.new_ref(&format!("refs/tags/{tag}"));
            assert!(said.contains("could be taken for the branch"), "{tag}: {said}");
            assert_eq!(
                place.says(&format!("refs/tags/{tag}"), Some(place.first), None),
                "",
                "{tag} may go"
            );
        }
        for tag in ["production", "team/x", "prod-1", "release/prod", "originprod"] {
            assert_eq!(place.new_ref(&format!("refs/tags/{tag}")), "", "{tag}");
        }
    }

    #[test]
    fn no_name_can_be_taken_for_another_commits_id() {
        let place = Place::new();
        Marks::of(&Default::default()).complete(&place.path, []).unwrap();
        let (id, short) = (place.first.to_string(), place.first.to_string()[..7].to_owned());
        for kind in ["refs/heads/", "refs/tags/"] {
            for name in [id.clone(), "0".repeat(40), "A".repeat(40), "a".repeat(64)] {
                assert!(
                    place.new_ref(&format!("{kind}{name}")).contains("the id of a commit"),
                    "{kind}{name}"
                );
            }
            for name in [&short[..4], &short, &short.to_uppercase(), &id[..39]] {
                let name = format!("{kind}{name}");
                let said = place.new_ref(&name);
                assert!(said.contains(&format!("begins the id of commit {id}")), "{name}: {said}");
                assert_eq!(place.says(&name, None, Some(place.first)), "", "{name} leads there");
                assert_eq!(place.says(&name, Some(place.second), None), "", "{name} may go");
            }
            let free =
                ["beef", "2024", "dead"].into_iter().find(|name| !id.starts_with(name)).unwrap();
            for name in [
                free,
                &short[..3],
                "a".repeat(39).as_str(),
                "a".repeat(41).as_str(),
                "cafe/beef",
                "beefy",
            ] {
                assert_eq!(place.new_ref(&format!("{kind}{name}")), "", "{name}");
            }
        }
        // A file's id is none of a commit.
        let blob = place.repo.blob(b"some file").unwrap().to_string();
        assert_eq!(place.new_ref(&format!("refs/heads/{}", &blob[..8])), "");
        // A tag of no commit leads nowhere.
        let blob = place.repo.blob(b"x").unwrap();
        assert!(place.says(&format!("refs/tags/{short}"), None, Some(blob)).contains("begins"));
    }

    #[test]
    fn a_symbolic_ref_is_what_it_names() {
        let place = Place::new();
        let link =
            |name: &str, to: &str| drop(place.repo.reference_symbolic(name, to, true, "").unwrap());
        link("refs/heads/theirs", "refs/heads/prod");
        link("refs/heads/master", "refs/heads/main");
        link("refs/heads/round", "refs/heads/about");
        link("refs/heads/about", "refs/heads/round");
        assert!(
            place
                .says("refs/heads/theirs", Some(place.first), Some(place.second))
                .contains("pocket prod")
        );
        assert!(place.says("refs/heads/theirs", Some(place.first), None).contains("pocket prod"));
        assert_eq!(place.says("refs/heads/master", Some(place.first), Some(place.second)), "");
        assert_eq!(place.new_ref("refs/heads/round"), "");
    }

    #[test]
    fn only_published_versions_are_fixed() {
        let place = Place::new();
        let tag = "refs/tags/1%2.0_rc1-1";
        // Before it is said which they are, each may be one.
        assert!(
            place.says(tag, Some(place.first), Some(place.second)).contains("one commit for ever")
        );
        assert!(place.says(tag, Some(place.first), None).contains("one commit for ever"));
        assert!(place.new_ref(&format!("{tag}/x")).contains("in the way"));
        assert_eq!(place.new_ref(tag), "");
        assert_eq!(place.says("refs/tags/debian/1.0-1", Some(place.first), None), "");

        let object = place.repo.find_object(place.first, None).unwrap();
        let me =
            git2::Signature::new("Build Server", "b@example.org", &git2::Time::new(1, 0)).unwrap();
        let ours = place.repo.tag_annotation_create("1.0", &object, &me, "x").unwrap();
        let forged = place.repo.tag_annotation_create("1.0", &object, &me, "y").unwrap();
        place.put("refs/invirt/published/1.0", ours);
        place.put("refs/invirt/published/1.0_dev", place.first);
        place.put("refs/invirt/published/0.9", place.repo.blob(b"lost").unwrap());
        Marks::of(&Default::default()).complete(&place.path, []).unwrap();

        for name in [tag, "refs/tags/2024/05", "refs/tags/1.0.1", "refs/tags/1%2.0_rc1-1/x"] {
            assert_eq!(place.new_ref(name), "", "{name}");
            assert_eq!(place.says(name, Some(place.first), Some(place.second)), "", "{name}");
            assert_eq!(place.says(name, Some(place.first), None), "", "{name}");
        }
        let one = "refs/tags/1.0";
        for (old, new) in
            [(Some(ours), Some(place.second)), (Some(ours), None), (Some(ours), Some(forged))]
        {
            assert!(place.says(one, old, new).contains("one commit for ever"), "{old:?} {new:?}");
        }
        for new in [place.second, place.first, forged] {
            assert!(
                place.says(one, None, Some(new)).contains("not be what was published"),
                "{new}"
            );
        }
        assert!(place.new_ref("refs/tags/1.0/x").contains("in the way"));
        assert_eq!(place.says(one, None, Some(ours)), "", "who has it may bring it back");
        assert_eq!(place.says(one, Some(forged), None), "", "what is not ours may go");
        // Nobody has tagged this one but people: right is what leads to its commit.
        let dev = "refs/tags/1.0_dev";
        assert_eq!(place.says(dev, None, Some(forged)), "");
        assert_eq!(place.says(dev, Some(place.second), None), "");
        assert!(place.new_ref(dev).contains("not be what was published"));
        assert!(place.says(dev, Some(forged), None).contains("for ever"));
        assert!(place.says(dev, Some(forged), Some(place.second)).contains("for ever"));
        // The repository has lost this one.
        assert!(place.new_ref("refs/tags/0.9").contains("not be what was published"));
    }

    #[test]
    fn a_domain_fixes_its_own_tags_and_one_that_tags_nothing_fixes_none() {
        let mut place = Place::new();
        let lab = ArchiveConfig {
            tag: Some("lab/{version}".to_owned().try_into().unwrap()),
            ..ArchiveConfig::default()
        };
        place.config.archives.insert("lab".parse().unwrap(), lab);
        let mut test = invirtibuilder_core::config::Pocket {
            domain: "lab".parse().unwrap(),
            allow_backtracking: true,
            ..Default::default()
        };
        let marks = Marks::of(&test.domain);
        Marks::of(&Default::default()).complete(&place.path, []).unwrap();
        place.config.build.pockets.insert("test".parse().unwrap(), test.clone());
        place.put(&marks.name("lab/1.0"), place.first);
        place.put(&marks.name("1.0"), place.first);
        let (own, mains) = ("refs/tags/lab/1.0", "refs/tags/1.0");
        let moved = |place: &Place, name| place.says(name, Some(place.first), Some(place.second));
        assert_eq!(moved(&place, own), "", "no pocket of lab tags, and nobody has marked all");
        marks.complete(&place.path, []).unwrap();
        assert_eq!((moved(&place, own), moved(&place, mains)), (String::new(), String::new()));
        // Our own tags stay, whatever the configuration has become.
        let object = place.repo.find_object(place.first, None).unwrap();
        let me = git2::Signature::new("B", "b@example.org", &git2::Time::new(1, 0)).unwrap();
        let ours = place.repo.tag_annotation_create("lab/2.0", &object, &me, "x").unwrap();
        place.put(&marks.name("lab/2.0"), ours);
        let said = place.says("refs/tags/lab/2.0", Some(ours), Some(place.second));
        assert!(said.contains("one commit for ever"), "{said}");
        test.allow_backtracking = false;
        place.config.build.pockets.insert("test".parse().unwrap(), test);
        assert!(moved(&place, own).contains("one commit for ever"));
        assert!(place.new_ref("refs/tags/lab/1.0/x").contains("in the way"));
        assert!(place.new_ref("refs/tags/lab").contains("in the way of the version tags"));
        assert_eq!(place.new_ref("refs/tags/3.0"), "");
    }

    #[test]
    fn what_stands_there_already_is_found() {
        let place = Place::new();
        let short = place.first.to_string()[..7].to_owned();
        let bad = [
            "refs/tags/prod".to_owned(),
            format!("refs/replace/{}", place.first),
            format!("refs/heads/{short}"),
            format!("refs/tags/{}", "b".repeat(40)),
        ];
        for name in bad.iter().map(String::as_str).chain([
            "refs/heads/prod",
            "refs/tags/v1",
            "refs/invirt/pin/x",
            "refs/notes/x",
        ]) {
            place.put(name, place.second);
        }
        let mut found: Vec<String> = standing(&place.config, &place.path)
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let mut bad = bad.to_vec();
        found.sort();
        bad.sort();
        assert_eq!(found, bad);
    }
}
