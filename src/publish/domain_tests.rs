//! Two domains with packages, versions and suites of one name: what one does is nothing to the
//! other, until a pocket moves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::testing::{TestService, alice, identity, package};
use crate::validate::{self, Decision, JobRequest, Valid};
use crate::*;
use invirtibuilder_archive::testing::artifacts;
use invirtibuilder_core::config::{ArchiveConfig, Keep, Pocket, SigningKey};
use invirtibuilder_core::given::Given;
use invirtibuilder_core::names::{CommitId, PocketName};
use invirtibuilder_store::{builds, chroots, jobs, pockets, released, sources};

fn lab() -> DomainName {
    "lab".parse().unwrap()
}

fn pocket(name: &str) -> PocketName {
    name.parse().unwrap()
}

impl TestService {
    /// Sets up a service in which the pocket `lab` has the suite `stable` of a domain of its own.
    fn with_lab() -> Self {
        let mut service = Self::new();
        let root = service.dir.path().join("lab");
        let key = service.dir.path().join("lab.asc");
        Archive::generate_key(&key, "Lab").unwrap();
        std::fs::create_dir(&root).unwrap();
        let archive = ArchiveConfig {
            root,
            signing_key: vec![SigningKey::File(key)],
            builds_from: vec![DomainName::main()],
            ..ArchiveConfig::default()
        };
        service.config.archives.insert(lab(), archive);
        let rules = Pocket {
            domain: lab(),
            apt: Some("stable".parse().unwrap()),
            allow_backtracking: true,
            ..Pocket::default()
        };
        service.config.build.pockets.insert(pocket("lab"), rules);
        assert_eq!(service.publisher.project(&service.config).unwrap(), [""; 0]);
        service
    }

    fn set(&mut self, name: &str, change: impl FnOnce(&mut Pocket)) {
        change(self.config.build.pockets.get_mut(&pocket(name)).unwrap());
    }

    /// Lists every file of a domain's archive with its bytes, and links with where they lead.
    fn files(&self, domain: &DomainName) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        walk(&self.config.archive_of(domain).unwrap().root, &mut found);
        found
    }

    fn tag(&self, package: &str, tag: &str) -> Option<CommitId> {
        git::tag_target(&self.repo(package), tag).unwrap()
    }

    fn decide(&self, name: &str, version: &str, commit: &CommitId) -> Result<Decision, String> {
        let request = JobRequest {
            pocket: pocket(name),
            domain: self.config.domain(&pocket(name)),
            package: package("hello"),
            commit: commit.clone(),
            version: version.parse().unwrap(),
            written: version.parse().unwrap(),
            why: None,
        };
        let checked = validate::check(self.record.db(), &self.config, &request, None);
        checked.map_err(|error| error.to_string())
    }

    fn relocate(&self, name: &str) -> Result<Relocated, Failure> {
        let pocket = self.config.pocket(name).unwrap();
        let (moved, troubles) = self.publisher.relocate(&self.config, pocket, &alice())?;
        assert_eq!(troubles, [""; 0]);
        Ok(moved)
    }
}

fn walk(dir: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            let target = std::fs::read_link(&path).unwrap();
            found.insert(path, target.into_os_string().into_encoded_bytes());
        } else if path.is_dir() {
            walk(&path, found);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
}

#[test]
fn one_version_is_two_commits_in_two_domains_and_neither_sees_the_other() {
    let mut service = TestService::with_lab();
    let ours = service.publish("prod", "hello", "1.0");
    let before = service.files(&DomainName::main());
    let theirs = service.publish("lab", "hello", "1.0");
    assert_ne!(ours, theirs);
    assert_eq!(
        service.files(&DomainName::main()),
        before,
        "prod's archive is byte for byte the same"
    );
    assert_eq!(
        service.tag("hello", "1.0"),
        Some(ours.clone()),
        "lab tags nothing, and moves no tag"
    );
    assert_eq!(service.shown("stable", "hello"), ["1.0"]);
    let (here, there) = (identity("hello", "1.0"), identity("hello", "1.0").of(&lab()));
    let commit = |id| pockets::known(service.record.db(), id).unwrap().unwrap().commit;
    assert_eq!((commit(&here), commit(&there)), (ours.clone(), theirs.clone()));
    let sums = |id| -> Vec<_> {
        let files = pool::of_version(service.record.db(), id).unwrap();
        files.into_iter().map(|file| file.sha256).collect()
    };
    assert!(sums(&here).iter().all(|sum| !sums(&there).contains(sum)));
    let repo = git::open(&service.repo("hello")).unwrap();
    let mark = |domain: &DomainName| git::Marks::of(domain).published_commit(&repo, "1.0").unwrap();
    assert_eq!(
        (mark(&DomainName::main()), mark(&lab())),
        (Some(ours.clone()), Some(theirs.clone()))
    );
    // Each archive is signed by its own key and no other.
    let keys = |domain: &DomainName| {
        let archive = Archive::open(&service.config, domain).unwrap();
        (
            archive.keys().unwrap().public().unwrap(),
            std::fs::read(archive.root().join("archive-key.asc")).unwrap(),
        )
    };
    for domain in [DomainName::main(), lab()] {
        let (own, served) = keys(&domain);
        assert_eq!(own, served);
    }
    assert_ne!(keys(&DomainName::main()), keys(&lab()));

    // Rule 3 holds in each.
    assert!(service.decide("prod", "1.0", &theirs).unwrap_err().contains("is commit"));
    assert!(service.decide("lab", "1.0", &ours).unwrap_err().contains("is commit"));
    // Within a domain it would be a copy; across it is a build.
    let next = service.publish("lab", "hello", "2.0");
    assert!(matches!(service.decide("prod", "2.0", &next), Ok(Decision::Run(Valid::Build))));
    assert!(matches!(service.decide("dev", "1.0", &ours), Ok(Decision::Run(Valid::Copy { .. }))));
    // What is the same to apt, or is under way, concerns its own domain only.
    assert!(matches!(service.decide("prod", "2.00", &next), Ok(Decision::Run(Valid::Build))));
    assert!(service.decide("lab", "2.00", &next).unwrap_err().contains("is the same as 2.0"));
    let rival = service.commit("hello", "3.0");
    service.queued("lab", "hello", "3.0", &rival);
    assert!(matches!(service.decide("prod", "3.0", &next), Ok(Decision::Run(Valid::Build))));
    assert!(service.decide("lab", "3.0", &next).unwrap_err().contains("is being brought in"));
}

#[test]
fn what_is_let_go_or_collected_in_one_domain_stays_in_the_other() {
    let mut service = TestService::with_lab();
    for version in ["1.0", "2.0"] {
        service.publish("dev", "hello", version);
        service.publish("lab", "hello", version);
    }
    let there = identity("hello", "1.0").of(&lab());
    let old = pool::of_version(service.record.db(), &there).unwrap();
    let before = service.files(&DomainName::main());
    let (gone, _) = service.publisher.release(&service.config, &there, "a slip", &alice()).unwrap();
    assert_eq!((gone.domain, gone.files), (lab(), 3));
    assert_eq!(service.files(&DomainName::main()), before);
    assert!(pockets::known(service.record.db(), &identity("hello", "1.0")).unwrap().is_some());
    for file in &old {
        let refused = |domain: &DomainName| {
            released::demand_new(service.record.db(), domain, &file.path, &file.sha256).is_err()
        };
        assert!(refused(&lab()) && !refused(&DomainName::main()));
    }
    let mark = |name: &str| git::ref_value(&service.repo("hello"), name).unwrap();
    assert!(mark("refs/invirt/domain/lab/published/1.0").is_none());
    assert!(mark("refs/invirt/published/1.0").is_some());

    // Each domain has a rule of its own for what is kept.
    service.config.archives.get_mut(&lab()).unwrap().keep =
        Keep { versions: Some(1), ..Keep::default() };
    service.publish("lab", "hello", "3.0");
    let stray = service.config.archives[&lab()].root.join("pool/stray");
    std::fs::write(&stray, "").unwrap();
    let collected = service.publisher.collect(&service.config, &alice()).unwrap();
    assert_eq!(collected.versions, [(package("hello"), "2.0".parse().unwrap(), lab())]);
    assert_eq!(collected.strays, ["lab/pool/stray"]);
    let left: Vec<PathBuf> = service.files(&DomainName::main()).into_keys().collect();
    assert_eq!(left, before.keys().cloned().collect::<Vec<_>>());
    assert_eq!(service.shown("unstable", "hello"), ["2.0"]);
}

#[test]
fn what_is_known_of_a_version_is_known_in_its_domain() {
    let mut service = TestService::with_lab();
    service.publish("prod", "hello", "1.0-1");
    let (here, there) = (identity("hello", "1.0-1"), identity("hello", "1.0-1").of(&lab()));
    let db = service.record.db();
    assert!(builds::of_version(db, &here).unwrap().is_some());
    assert!(builds::of_version(db, &there).unwrap().is_none());
    assert!(validate::pooled(&service.config, db, &there).unwrap().is_empty());
    let deb = pool::of_version(db, &here).unwrap().into_iter().find(|it| it.path.ends_with("deb"));
    let given = |suite: &str| Given {
        suite: suite.parse().unwrap(),
        package: "hello".into(),
        version: "1.0-1".into(),
        architecture: "amd64".into(),
        path: deb.clone().unwrap().path,
        sha256: deb.clone().unwrap().sha256,
    };
    let main = DomainName::main();
    assert_eq!(
        builds::sources_of(db, &main, &given("stable")).unwrap(),
        std::slice::from_ref(&here)
    );
    assert!(builds::sources_of(db, &lab(), &given("stable")).unwrap().is_empty());
    let (stable, other): (SuiteId, SuiteId) =
        ("stable".parse().unwrap(), "lab/stable".parse().unwrap());
    for (suite, has) in [(&stable, true), (&other, false)] {
        assert_eq!(
            builds::has_had(db, suite, &here.package, &here.version).unwrap(),
            has,
            "{suite}"
        );
        assert_eq!(contents::shown(db, suite, &here.package).unwrap().is_some(), has);
        assert_eq!(
            contents::names(db, std::slice::from_ref(suite)).unwrap().len(),
            usize::from(has)
        );
    }
    service
        .record
        .write(|tx| {
            builds::vouch(tx, &here, None, &alice(), "looked at")?;
            chroots::set_reproduced(
                tx,
                &here,
                invirtibuilder_core::config::Isolation::Vm,
                &[],
                &BTreeMap::new(),
            )?;
            tx.execute(
                "INSERT INTO version_source VALUES ('main', 'hello', '1.0-1', 'aa', NULL)",
                [],
            )?;
            Ok(())
        })
        .unwrap();
    let db = service.record.db();
    let said = |id| {
        (
            builds::vouched(db, id, &pocket("prod")).unwrap().is_some(),
            sources::dsc_of(db, id).unwrap().is_some(),
            sources::demand_same(db, id, "bb").is_ok(),
        )
    };
    assert_eq!((said(&here), said(&there)), ((true, true, false), (false, false, true)));
    // A copy that the record does not have in this domain has no holder there.
    assert!(pockets::holder(db, &here).unwrap().is_some());
    assert!(pockets::holder(db, &there).unwrap().is_none());
}

#[test]
fn a_domain_that_tags_has_names_of_its_own() {
    let mut service = TestService::with_lab();
    service.set("lab", |rules| rules.allow_backtracking = false);
    let pattern = "lab/{version}".to_owned().try_into().unwrap();
    service.config.archives.get_mut(&lab()).unwrap().tag = Some(pattern);
    service.config.git.sign_tags = true;
    let ours = service.publish("prod", "hello", "1.0");
    let theirs = service.publish("lab", "hello", "1.0");
    assert_eq!(service.tag("hello", "1.0"), Some(ours));
    assert_eq!(service.tag("hello", "lab/1.0"), Some(theirs));
    // Each is signed by the key of its domain.
    let signature = |tag: &str| {
        let repo = git::open(&service.repo("hello")).unwrap();
        let oid = repo.find_reference(&format!("refs/tags/{tag}")).unwrap().target().unwrap();
        let text = repo.odb().unwrap().read(oid).unwrap().data().to_vec();
        String::from_utf8(text).unwrap()
    };
    for (tag, domain) in [("1.0", DomainName::main()), ("lab/1.0", lab())] {
        let text = signature(tag);
        let (signed, detached) = text.split_at(text.find("-----BEGIN PGP").unwrap());
        let keys = Archive::open(&service.config, &domain).unwrap().keys().unwrap();
        let other = if domain.is_main() { lab() } else { DomainName::main() };
        let others = Archive::open(&service.config, &other).unwrap().keys().unwrap();
        assert!(keys.have_signed(signed, detached), "{tag}");
        assert!(!others.have_signed(signed, detached), "{tag}");
    }
    // The name stays what it was when the pattern is another one.
    service.config.archives.get_mut(&lab()).unwrap().tag =
        Some("new/{version}".to_owned().try_into().unwrap());
    service.publish("lab", "hello", "2.0");
    let names = |version: &str| {
        let id = identity("hello", version).of(&lab());
        pockets::known(service.record.db(), &id).unwrap().unwrap().tag_name
    };
    assert_eq!((&*names("1.0"), &*names("2.0")), ("lab/1.0", "new/2.0"));
}

#[test]
fn a_tag_that_could_be_another_domains_is_not_made() {
    let mut service = TestService::with_lab();
    service.publish("prod", "hello", "1.0");
    let commit = service.publish("lab", "hello", "1.0");
    // It had the name 1.0 while lab tagged nothing.
    let pattern = "lab/{version}".to_owned().try_into().unwrap();
    service.config.archives.get_mut(&lab()).unwrap().tag = Some(pattern);
    let tagging = Pocket { domain: lab(), ..Pocket::default() };
    service.config.build.pockets.insert(pocket("firm"), tagging);
    service.publisher.project(&service.config).unwrap();
    let refusal = service.decide("firm", "1.0", &commit).unwrap_err();
    assert!(refusal.contains("had other names"), "{refusal}");
}

#[test]
fn a_pocket_moves_with_all_that_it_has() {
    let mut service = TestService::with_lab();
    let old = service.publish("dev", "hello", "1.0");
    let new = service.publish("dev", "hello", "2.0");
    let other = service.publish("dev", "world", "1.5");
    let stays = service.publish("prod", "hello", "3.0");
    let before = service.files(&DomainName::main());
    let branches = |service: &TestService| {
        (
            service.branch("hello", "dev"),
            service.branch("world", "dev"),
            service.gitlink("dev", "world"),
        )
    };
    let refs = branches(&service);
    assert_eq!(refs, (Some(new.clone()), Some(other.clone()), Some(other.clone())));

    service.set("dev", |rules| rules.domain = lab());
    // Nothing is done by a configuration that the record does not fit.
    let upkeep = service.publisher.upkeep(&service.config).unwrap_err();
    assert!(upkeep.to_string().contains("'invirt-build archive move dev lab'"), "{upkeep}");
    assert!(service.publisher.project(&service.config).is_err());
    assert!(service.decide("dev", "2.0", &new).unwrap_err().contains("is in domain main"));
    assert!(service.decide("prod", "3.0", &stays).is_ok());
    assert_eq!(service.files(&DomainName::main()), before);

    let moved = service.relocate("dev").unwrap();
    assert_eq!((moved.from, moved.suite.to_string()), (DomainName::main(), "lab/unstable".into()));
    assert_eq!(moved.versions.len(), 2);
    assert_eq!(branches(&service), refs, "branches and superproject stay");
    let main = service.config.archive.root.clone();
    assert!(!main.join("dists/unstable").exists());
    assert!(!main.join("dists/.generations/unstable").exists());
    let root = service.config.archives[&lab()].root.clone();
    let suite: SuiteId = "lab/unstable".parse().unwrap();
    let shown: Vec<_> = contents::sources(service.record.db(), &suite).unwrap();
    assert_eq!(shown.len(), 2);
    for id in [identity("hello", "2.0"), identity("world", "1.5")] {
        let there = id.of(&lab());
        let files = pool::of_version(service.record.db(), &there).unwrap();
        assert_eq!(files, pool::of_version(service.record.db(), &id).unwrap());
        for file in &files {
            use std::os::unix::fs::MetadataExt;
            let about = |root: &Path| std::fs::metadata(root.join(&file.path)).unwrap();
            assert_eq!(
                std::fs::read(main.join(&file.path)).unwrap(),
                std::fs::read(root.join(&file.path)).unwrap()
            );
            assert_ne!(about(&main).ino(), about(&root).ino(), "no file is shared");
        }
        let content = contents::content(service.record.db(), &there).unwrap().unwrap();
        assert!(root.join(&content.changes).exists(), "{}", content.changes);
        assert!(content.beside.iter().all(|it| root.join(&it.path).exists()));
        let build = builds::of_version(service.record.db(), &there).unwrap();
        assert_eq!(build, builds::of_version(service.record.db(), &id).unwrap());
    }
    let archive = Archive::open(&service.config, &lab()).unwrap();
    let state = contents::suite(service.record.db(), &suite).unwrap().unwrap();
    let shown = shown.into_iter().collect();
    let spec = suite_spec(service.config.pocket("dev").unwrap());
    assert_eq!(archive.inspect(service.record.db(), &spec, &state, &shown).unwrap(), [""; 0]);
    // Its past stays where it was: 1.0 is in main, and names its commit there alone.
    let known =
        |id: &Identity| pockets::known(service.record.db(), id).unwrap().map(|it| it.commit);
    assert_eq!(known(&identity("hello", "1.0")), Some(old));
    assert_eq!(known(&identity("hello", "1.0").of(&lab())), None);
    assert_eq!(known(&identity("hello", "2.0").of(&lab())), Some(new.clone()));
    let gone: SuiteId = "unstable".parse().unwrap();
    assert!(contents::suite(service.record.db(), &gone).unwrap().is_none());
    assert!(pool::intents(service.record.db()).unwrap().is_empty());

    // It goes on there.
    assert!(service.relocate("dev").unwrap_err().text.contains("is in domain lab already"));
    assert_eq!(service.publisher.project(&service.config).unwrap(), [""; 0]);
    service.publish("dev", "hello", "4.0");
    let suite = contents::sources(service.record.db(), &suite).unwrap();
    assert!(suite.contains(&(package("hello"), "4.0".parse().unwrap())));
    assert!(!main.join("dists/unstable").exists());
    // What only the pocket had goes when the archive that it left is collected.
    service.config.archive.keep = Keep { versions: Some(1), ..Keep::default() };
    let collected = service.publisher.collect(&service.config, &alice()).unwrap();
    let went: Vec<String> =
        collected.versions.iter().map(|(name, version, _)| format!("{name} {version}")).collect();
    assert_eq!(went, ["hello 1.0", "hello 2.0", "world 1.5"]);
    assert_eq!(service.shown("stable", "hello"), ["3.0"]);
}

#[test]
fn a_pocket_that_tags_brings_its_tags_along() {
    let mut service = TestService::with_lab();
    let commit = service.publish("prod", "hello", "1.0");
    let pattern = "lab/{version}".to_owned().try_into().unwrap();
    service.config.archives.get_mut(&lab()).unwrap().tag = Some(pattern);
    service.set("lab", |rules| rules.apt = Some("other".parse().unwrap()));
    service.publisher.project(&service.config).unwrap();
    service.set("prod", |rules| rules.domain = lab());
    service.relocate("prod").unwrap();
    assert_eq!(service.tag("hello", "1.0"), Some(commit.clone()), "the old tag stays");
    assert_eq!(service.tag("hello", "lab/1.0"), Some(commit));
    let known = pockets::known(service.record.db(), &identity("hello", "1.0").of(&lab())).unwrap();
    assert!(known.is_some_and(|known| known.tag.is_some()));
    let failure = service
        .publisher
        .release(&service.config, &identity("hello", "1.0").of(&lab()), "x", &alice())
        .unwrap_err();
    assert!(failure.text.contains("is tagged"), "{failure}");
}

#[test]
fn a_pocket_does_not_move_into_what_clashes_and_nothing_is_left_of_the_try() {
    let mut service = TestService::with_lab();
    service.publish("dev", "hello", "1.0");
    service.publish("dev", "world", "1.0");
    service.publish("lab", "hello", "1.0");
    let before = (service.files(&DomainName::main()), service.files(&lab()));
    service.set("dev", |rules| rules.domain = lab());
    let refused = |service: &TestService, word: &str| {
        let failure = service.relocate("dev").unwrap_err();
        assert!(failure.text.contains(word), "{word}: {failure}");
        let now = (service.files(&DomainName::main()), service.files(&lab()));
        assert!(now == before, "{word}: something is left");
        assert!(pool::intents(service.record.db()).unwrap().is_empty());
        let there = domains::of_pocket(service.record.db(), &pocket("dev")).unwrap();
        assert_eq!(there, Some(DomainName::main()));
    };
    refused(&service, "hello 1.0 cannot come into domain lab: it is commit");
    // The same commit with other bytes.
    let id = identity("hello", "1.0");
    let ours = pockets::known(service.record.db(), &id).unwrap().unwrap().commit;
    let sql = "UPDATE version SET commit_id = ? WHERE domain = 'lab'";
    service.record.write(|tx| Ok(tx.execute(sql, [&ours])?)).unwrap();
    refused(&service, "it was built there too, with other files");
    // One that is the same to apt.
    let sql = "UPDATE version SET version = '1.00' WHERE domain = 'lab'";
    service.record.write(|tx| Ok(tx.execute(sql, [])?)).unwrap();
    refused(&service, "is the same as 1.00");
    let sql = "UPDATE version SET version = '0.5' WHERE domain = 'lab'";
    service.record.write(|tx| Ok(tx.execute(sql, [])?)).unwrap();
    refused(&service, "with other files");
    // A job under way.
    let commit = service.commit("world", "2.0");
    service.set("dev", |rules| rules.domain = DomainName::main());
    let id = service.queued("dev", "world", "2.0", &commit);
    service.set("dev", |rules| rules.domain = lab());
    refused(&service, "of pocket dev is queued");
    service
        .record
        .write(|tx| jobs::cancelled(tx, id, invirtibuilder_api::job::State::Queued, &alice()))
        .unwrap();
    // A suite that has another name at once.
    let before_apt = service.config.clone();
    service.set("dev", |rules| rules.apt = Some("other".parse().unwrap()));
    refused(&service, "do not change apt: together with domain:");
    service.config = before_apt;
    // A file that is not what was published.
    service.record.write(|tx| Ok(tx.execute_batch(
        "DELETE FROM beside WHERE domain = 'lab'; DELETE FROM suite_source WHERE domain = 'lab';
         DELETE FROM pool_version_file WHERE domain = 'lab'; DELETE FROM pool_part WHERE domain = 'lab';
         DELETE FROM pool_version WHERE domain = 'lab'; DELETE FROM pool_file WHERE domain = 'lab';
         DELETE FROM pocket_package WHERE pocket = 'lab';",
    )?)).unwrap();
    let deb = service.config.archive.root.join("pool/main/w/world/world_1.0_amd64.deb");
    let bytes = std::fs::read(&deb).unwrap();
    std::fs::write(&deb, "x").unwrap();
    let failure = service.relocate("dev").unwrap_err();
    assert!(failure.text.contains("is not what was published"), "{failure}");
    std::fs::write(&deb, bytes).unwrap();
    let rest: Vec<PathBuf> = service
        .files(&lab())
        .into_keys()
        .filter(|path| path.ends_with("world_1.0_amd64.deb"))
        .collect();
    assert!(rest.is_empty(), "{rest:?}");
}

#[test]
fn the_next_try_ends_what_a_move_has_left() {
    let mut service = TestService::with_lab();
    service.publish("dev", "hello", "1.0");
    service.set("dev", |rules| rules.domain = lab());
    // Somebody has died after the files, and before the commit.
    let root = service.config.archives[&lab()].root.clone();
    let stray = "pool/main/h/hello/hello_0.1_amd64.deb";
    std::fs::create_dir_all(root.join(stray).parent().unwrap()).unwrap();
    std::fs::write(root.join(stray), "half").unwrap();
    service.record.write(|tx| pool::intend(tx, &lab(), stray)).unwrap();
    service.relocate("dev").unwrap();
    assert!(!root.join(stray).exists());
    // And somebody after the commit: what is owed is made by whoever comes next.
    let suite: SuiteId = "lab/unstable".parse().unwrap();
    let (link, generation) =
        (root.join("dists/unstable"), root.join("dists/.generations/unstable/1"));
    std::fs::remove_file(&link).unwrap();
    let main = service.config.archive.root.join("dists");
    std::os::unix::fs::symlink(".generations/unstable/7", main.join("unstable")).unwrap();
    std::fs::create_dir_all(main.join(".generations/unstable/7")).unwrap();
    let gone: SuiteId = "unstable".parse().unwrap();
    service
        .record
        .write(|tx| {
            moves::owe_suite(tx, None, &suite, Some(1))?;
            moves::owe_suite(tx, None, &gone, None)
        })
        .unwrap();
    assert_eq!(service.publisher.upkeep(&service.config).unwrap(), [""; 0]);
    assert_eq!(std::fs::canonicalize(&link).unwrap(), generation.canonicalize().unwrap());
    assert!(!main.join("unstable").is_symlink() && !main.join(".generations/unstable").exists());
    assert!(moves::owed(service.record.db()).unwrap().is_empty());
}

#[test]
fn builds_of_prod_take_nothing_from_lab() {
    let mut service = TestService::with_lab();
    let built = artifacts(service.dir.path(), "lib", "1.0", &[("lib", "amd64", "")]);
    let commit = service.commit("lib", "1.0");
    let id = service.job("lab", "lib", "1.0", &commit);
    let job = jobs::get(service.record.db(), id).unwrap();
    service.publish_all(&[Item { job, built: Some(built) }]).unwrap();
    let of = |name: &str| -> Vec<String> {
        let pocket = service.config.pocket(name).unwrap();
        let from = service.config.build_depends_from(pocket);
        from.into_iter().map(|from| from.suite().to_string()).collect()
    };
    assert_eq!((of("prod"), of("lab")), (vec!["stable".to_owned()], vec!["lab/stable".to_owned()]));
}
