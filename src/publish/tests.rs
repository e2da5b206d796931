//! Tests sets, rollbacks and what is forgotten. `script/torture` shows what a crash leaves.

use std::path::Path;

use crate::testing::{TestService, alice, identity, package};
use crate::validate::{self, JobRequest};
use crate::*;
use invirtibuilder_api::job::State;
use invirtibuilder_archive::testing::artifacts;
use invirtibuilder_core::config::Keep;
use invirtibuilder_core::names::CommitId;
use invirtibuilder_store::{audit, contents, jobs, pockets, released, snapshots};

#[test]
fn a_set_is_seen_whole() {
    let mut service = TestService::new();
    let items = [service.item("prod", "hello", "1.0"), service.item("prod", "world", "2.0")];
    let before = snapshots::of_suite(service.record.db(), &"stable".parse().unwrap()).unwrap();
    assert!(service.publish_all(&items).unwrap().is_empty());
    let after = snapshots::of_suite(service.record.db(), &"stable".parse().unwrap()).unwrap();
    assert_eq!((after.len(), after[0].packages), (before.len() + 1, 2), "one flip");
    assert_eq!(after[0].note, "job 1, job 2");
    for (item, name) in items.iter().zip(["hello", "world"]) {
        assert_eq!(service.branch(name, "prod").as_ref(), Some(&item.job.commit));
        assert_eq!(service.gitlink("prod", name).as_ref(), Some(&item.job.commit));
        assert_eq!(jobs::get(service.record.db(), item.job.id).unwrap().state, State::Published);
        assert_eq!(service.shown("stable", name).len(), 1);
    }
    // One commit of the superproject has both.
    let repo = git::open(&service.config.git.superproject).unwrap();
    let head = repo.find_reference("refs/heads/prod").unwrap().peel_to_commit().unwrap();
    assert_eq!(head.parent_count(), 0);
}

#[test]
fn of_a_set_with_a_bad_member_nothing_is_seen() {
    let mut service = TestService::new();
    let good = service.item("prod", "hello", "1.0");
    let mut bad = service.item("prod", "world", "2.0");
    // Its build returned a binary package of the other's name.
    let stolen = [("world", "amd64", ""), ("hello", "amd64", "")];
    bad.built = Some(artifacts(service.dir.path(), "world", "2.0", &stolen));
    let failure = service.publish_all(&[good.clone(), bad]).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Takeover, "{failure}");
    assert!(
        service.shown("stable", "hello").is_empty() && service.shown("stable", "world").is_empty()
    );
    assert_eq!((service.branch("hello", "prod"), service.gitlink("prod", "hello")), (None, None));
    assert_eq!(pockets::all(service.record.db()).unwrap(), []);
    assert!(
        !service.in_pool("hello", "hello_1.0_amd64.deb"),
        "what was put into the pool is gone again"
    );
    assert_eq!(pool::intents(service.record.db()).unwrap(), []);

    let twice = service.item("prod", "hello", "1.1");
    let failure = service.publish_all(&[good.clone(), twice]).unwrap_err();
    assert!(failure.text.contains("two commits of hello at once"), "{failure}");
    assert!(
        service.publish_all(&[good]).unwrap().is_empty(),
        "the good one can be published by itself"
    );
}

#[test]
fn a_rollback_takes_everything_back_and_can_itself_be_taken_back() {
    let mut service = TestService::new();
    let first = service.publish("prod", "hello", "1.0");
    let second = service.publish("prod", "hello", "2.0");
    let third = service.publish("prod", "world", "1.0");
    let stable: SuiteId = "stable".parse().unwrap();
    let all = snapshots::of_suite(service.record.db(), &stable).unwrap();
    let packages: Vec<i64> = all.iter().map(|s| s.packages).collect();
    assert_eq!(packages, [2, 1, 1, 0]);
    let (done, unmade) =
        service.publisher.rollback(&service.config, &stable, all[2].number, &alice()).unwrap();
    assert!(unmade.is_empty() && done.changed.len() == 2, "{done:?}");
    assert_eq!(service.shown("stable", "hello"), ["1.0"]);
    assert!(service.shown("stable", "world").is_empty());
    assert_eq!(service.branch("hello", "prod").as_ref(), Some(&first));
    assert_eq!(service.gitlink("prod", "hello").as_ref(), Some(&first));
    assert_eq!((service.branch("world", "prod"), service.gitlink("prod", "world")), (None, None));
    let held = pockets::all(service.record.db()).unwrap();
    assert!(held.len() == 1 && held[0].commit == first && held[0].job.0 == 1, "{held:?}");
    // Tags stay: a version names its commit for ever.
    let tag = git::tag_target(&service.repo("hello"), "2.0").unwrap();
    assert_eq!(tag.as_ref(), Some(&second));

    let again =
        service.publisher.rollback(&service.config, &stable, all[2].number, &alice()).unwrap_err();
    assert!(
        again.kind == FailureKind::Invalid && again.text.contains("nothing to roll back"),
        "{again}"
    );
    let unknown = service.publisher.rollback(&service.config, &stable, 1000, &alice()).unwrap_err();
    assert!(unknown.text.contains("no snapshot 1000"), "{unknown}");

    service.publisher.rollback(&service.config, &stable, all[0].number, &alice()).unwrap();
    assert_eq!(
        (service.shown("stable", "hello"), service.shown("stable", "world")),
        (vec!["2.0".into()], vec!["1.0".into()])
    );
    assert_eq!(service.branch("hello", "prod"), Some(second));
    assert_eq!(service.branch("world", "prod"), Some(third));
    service.publish("prod", "hello", "3.0");
}

#[test]
fn a_rollback_does_not_go_over_somebody_elses_move() {
    let mut service = TestService::new();
    let first = service.publish("prod", "hello", "1.0");
    let second = service.publish("prod", "hello", "2.0");
    git::apply(&git::branch_move(&service.repo("hello"), "prod", Some(&second), Some(&first)))
        .unwrap();
    let failure = service
        .publisher
        .rollback(&service.config, &"stable".parse().unwrap(), 2, &alice())
        .unwrap_err();
    assert!(
        failure.kind == FailureKind::Conflict && failure.text.contains("somebody else moved it"),
        "{failure}"
    );
    assert_eq!(service.shown("stable", "hello"), ["2.0"]);
}

/// Adds a `.buildinfo` to what a build has returned.
fn describe(built: &Path, how: &str) {
    let name = "hello_1.0_amd64.buildinfo";
    std::fs::write(built.join(name), format!("Source: hello\nVersion: 1.0\nBuild-Date: {how}\n"))
        .unwrap();
    let (size, sha256) = invirtibuilder_system::files::digest(&built.join(name)).unwrap();
    let changes = built.join("hello_1.0_amd64.changes");
    let before = std::fs::read_to_string(&changes).unwrap();
    let before = before.lines().filter(|line| !line.ends_with(name)).collect::<Vec<_>>().join("\n");
    std::fs::write(changes, format!("{before}\n {sha256} {size} {name}\n")).unwrap();
}

#[test]
fn what_was_collected_comes_back_as_it_was_or_not_at_all() {
    let mut service = TestService::new();
    let first = service.item("dev", "hello", "1.0");
    describe(first.built.as_ref().unwrap(), "Monday");
    assert!(service.publish_all(std::slice::from_ref(&first)).unwrap().is_empty());
    service.publish("dev", "hello", "2.0");
    service.config.archive.keep = Keep { versions: Some(1), ..Keep::default() };
    let done = service.publisher.collect(&service.config, &alice()).unwrap();
    assert_eq!((done.versions.len(), done.files), (1, 4));

    let commit = &first.job.commit;
    let again = |service: &mut TestService, built: &Path| {
        let id = service.job("dev", "hello", "1.0", commit);
        let job = jobs::get(service.record.db(), id).unwrap();
        let item = Item { job, built: Some(built.to_owned()) };
        let done = service.publish_all(std::slice::from_ref(&item));
        if let Err(failure) = &done {
            service.record.write(|tx| jobs::fail(tx, id, State::Publishing, failure)).unwrap();
        }
        done
    };
    let other = artifacts(service.dir.path(), "hello", "1.0", &[("hello", "amd64", "")]);
    let failure = again(&mut service, &other).unwrap_err();
    assert!(
        failure.kind == FailureKind::Conflict && failure.text.contains("'archive gc' removed"),
        "{failure}"
    );
    assert!(
        failure.text.starts_with("pool/main/h/hello/hello_1.0"),
        "it names the file: {failure}"
    );
    assert!(!service.in_pool("hello", "hello_1.0_amd64.deb"));

    // The same packages, and what describes another build of them.
    describe(first.built.as_ref().unwrap(), "Tuesday");
    assert!(again(&mut service, first.built.as_ref().unwrap()).unwrap().is_empty());
    assert_eq!(service.shown("unstable", "hello"), ["1.0"]);
    assert!(!service.in_pool("hello", "hello_1.0_amd64.buildinfo"));
    assert!(service.in_pool("hello", "hello_1.0_amd64.2.buildinfo"));
    let link =
        service.config.archive.root.join("changes/unstable/hello_1.0/hello_1.0_amd64.buildinfo");
    assert!(std::fs::read_to_string(link).unwrap().contains("Tuesday"));
}

#[test]
fn what_an_older_release_published_is_completed_once() {
    let mut service = TestService::new();
    let commit = service.publish("dev", "hello", "1.0");
    let id = service.job("prod", "hello", "1.0", &commit);
    let copy = Item { job: jobs::get(service.record.db(), id).unwrap(), built: None };
    assert!(service.publish_all(&[copy]).unwrap().is_empty());
    let root = service.config.archive.root.clone();
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let changes = |suite: &str| read(&format!("changes/{suite}/hello_1.0/hello_1.0_amd64.changes"));
    let complete = [
        changes("unstable"),
        changes("stable"),
        read("changelogs/main/h/hello/hello_1.0_changelog"),
    ];
    assert!(
        complete[0].starts_with("Distribution: unstable\n")
            && complete[1].starts_with("Distribution: stable\n")
    );
    let sources = |service: &TestService| {
        contents::source_stanza(service.record.db(), &identity("hello", "1.0")).unwrap()
    };
    let with_sums = sources(&service);

    // As an older release left it.
    let old = "pool/main/h/hello/hello_1.0_amd64.changes";
    std::fs::write(root.join(old), complete[0].replace("unstable\n", "trixie\n")).unwrap();
    let (size, sha256) = invirtibuilder_system::files::digest(&root.join(old)).unwrap();
    let file = invirtibuilder_api::archive::PoolFile { path: old.to_owned(), size, sha256 };
    let hello = identity("hello", "1.0");
    let at = with_sums.find("Files:\n").unwrap();
    let without = format!(
        "{}{}",
        &with_sums[..at],
        &with_sums[with_sums.find("Checksums-Sha256:").unwrap()..]
    );
    service
        .record
        .write(|tx| {
            pool::add(tx, &hello, &file)?;
            tx.execute("DELETE FROM beside", [])?;
            tx.execute("UPDATE pool_part SET stanza = ? WHERE kind = 'dsc'", [&without])?;
            Ok(())
        })
        .unwrap();
    for dir in ["changes", "changelogs"] {
        std::fs::remove_dir_all(root.join(dir)).unwrap();
    }
    assert_eq!(service.publisher.project(&service.config).unwrap(), [""; 0]);
    let again = [
        changes("unstable"),
        changes("stable"),
        read("changelogs/main/h/hello/hello_1.0_changelog"),
    ];
    assert_eq!(again, complete);
    assert_eq!(sources(&service), with_sums);
    let index = std::fs::File::open(root.join("dists/stable/main/source/Sources.gz")).unwrap();
    let index = std::io::read_to_string(flate2::read::MultiGzDecoder::new(index)).unwrap();
    assert!(index.contains("\nFiles:\n"), "{index}");
    let generation = Archive::open(&service.config, &DomainName::main())
        .unwrap()
        .current(&"stable".parse().unwrap())
        .unwrap();
    assert!(service.publisher.project(&service.config).unwrap().is_empty());
    let now = Archive::open(&service.config, &DomainName::main())
        .unwrap()
        .current(&"stable".parse().unwrap())
        .unwrap();
    assert_eq!(now, generation, "there is nothing to do");
}

#[test]
fn what_no_snapshot_and_no_tag_needs_is_removed() {
    let mut service = TestService::new();
    for version in ["1.0", "2.0", "3.0"] {
        service.publish("dev", "hello", version);
        service.publish("prod", "world", version);
    }
    let there = |service: &TestService, package: &str| {
        ["1.0", "2.0", "3.0"]
            .map(|version| service.in_pool(package, &format!("{package}_{version}_amd64.deb")))
    };
    let nothing = service.publisher.collect(&service.config, &alice()).unwrap();
    assert_eq!(
        (nothing.snapshots.len(), nothing.files),
        (0, 0),
        "without archive.keep everything is kept"
    );

    service.config.archive.keep = Keep { versions: Some(2), ..Keep::default() };
    let done = service.publisher.collect(&service.config, &alice()).unwrap();
    assert_eq!(done.versions, [(package("hello"), "1.0".parse().unwrap(), DomainName::main())]);
    assert_eq!(done.files, 3, ".dsc, tarball and .deb");
    let beside = ["changes/unstable/hello_1.0", "changelogs/main/h/hello/hello_1.0_changelog"];
    assert_eq!(beside.map(|path| service.config.archive.root.join(path).exists()), [false, false]);
    let beside = beside.map(|path| path.replace("1.0", "2.0"));
    assert_eq!(beside.map(|path| service.config.archive.root.join(path).exists()), [true, true]);
    assert_eq!(there(&service, "hello"), [false, true, true]);
    // States of the past that had it can be read no more: there are the last two, each also beside
    // the state of stable that came after it.
    let states = std::fs::read_dir(service.config.archive.root.join("snapshot")).unwrap();
    let readable = states
        .filter(|state| state.as_ref().unwrap().path().join("dists/unstable/Release").exists());
    assert_eq!(readable.count(), 4);
    assert_eq!(there(&service, "world"), [true, true, true], "tags keep their versions");
    // What is left can be rolled back to; a version that was forgotten names its commit still.
    let unstable: SuiteId = "unstable".parse().unwrap();
    let left = snapshots::of_suite(service.record.db(), &unstable).unwrap();
    assert_eq!(left.len(), 2);
    service.publisher.rollback(&service.config, &unstable, left[1].number, &alice()).unwrap();
    assert_eq!(service.shown("unstable", "hello"), ["2.0"]);
    assert!(pockets::known(service.record.db(), &identity("hello", "1.0")).unwrap().is_some());
    assert!(contents::changes(service.record.db(), &identity("hello", "1.0")).unwrap().is_none());
}

#[test]
fn versions_per_package_bounds_what_tags_keep() {
    let mut service = TestService::new();
    for version in ["9", "10", "11~rc1", "11", "12"] {
        service.publish("prod", "hello", version);
    }
    service.publish("prod", "world", "1");
    let keep = &mut service.config.archive.keep;
    keep.versions_per_package = std::num::NonZeroU32::new(2);
    let collect =
        |service: &TestService| service.publisher.collect(&service.config, &alice()).unwrap();
    let done = collect(&service);
    assert_eq!((done.snapshots.len(), done.files), (0, 0), "every state is kept, and what it has");
    service.config.archive.keep.versions = Some(4);
    let done = collect(&service);
    let gone: Vec<String> = done.versions.iter().map(|(_, it, _)| it.to_string()).collect();
    assert_eq!(gone, ["10", "9"], "a state has 11~rc1");
    service.config.archive.keep.versions = Some(1);
    let done = collect(&service);
    let gone: Vec<String> = done.versions.iter().map(|(_, it, _)| it.to_string()).collect();
    assert_eq!(gone, ["11~rc1"], "11 is among the last two");
    let known = pockets::known(service.record.db(), &identity("hello", "9")).unwrap().unwrap();
    assert!(known.tag.is_some(), "its number is used up for ever");
    assert_eq!(service.shown("stable", "hello"), ["12"]);
}

#[test]
fn a_release_is_signed_anew_before_it_ends_and_when_the_keys_change() {
    let mut service = TestService::new();
    let stable: SuiteId = "stable".parse().unwrap();
    let state =
        |service: &TestService| contents::suite(service.record.db(), &stable).unwrap().unwrap();
    let release = |service: &TestService| {
        std::fs::read_to_string(service.config.archive.root.join("dists/stable/InRelease")).unwrap()
    };
    assert!(!release(&service).contains("Valid-Until"));
    service.config.archive.valid_for = Some(std::time::Duration::from_secs(86_400));
    service.publisher.upkeep(&service.config).unwrap();
    assert!(release(&service).contains("Valid-Until"));
    let first = state(&service).generation;
    service.publisher.upkeep(&service.config).unwrap();
    assert_eq!(state(&service).generation, first, "it is fresh");
    // As if 13 hours had passed.
    let back = "UPDATE suite SET valid_until = valid_until - 13 * 3600000";
    service.record.write(|tx| Ok(tx.execute(back, [])?)).unwrap();
    service.publisher.upkeep(&service.config).unwrap();
    assert_eq!(state(&service).generation, first + 1);
    assert_eq!(
        snapshots::of_suite(service.record.db(), &stable).unwrap().len(),
        1,
        "the contents are the same"
    );

    let second = service.dir.path().join("second.asc");
    Archive::generate_key(&second, "Test").unwrap();
    service.config.archive.signing_key.push(invirtibuilder_core::config::SigningKey::File(second));
    service.publisher.project(&service.config).unwrap();
    let now = state(&service);
    assert_eq!((now.generation, now.signers.split(' ').count()), (first + 2, 2));
}

/// Dates a suite as if it had been published when the clock was so many seconds ahead.
fn published_ahead(service: &TestService, suite: &str, seconds: i64) -> i64 {
    let (dir, at) =
        (service.config.archive.root.join("dists").join(suite), dates::clock() + seconds);
    let release = std::fs::read_to_string(dir.join("Release")).unwrap();
    let line = release.lines().find(|line| line.starts_with("Date: ")).unwrap();
    std::fs::write(
        dir.join("Release"),
        release.replace(line, &format!("Date: {}", dates::write(at))),
    )
    .unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(at as u64);
    std::fs::File::options()
        .write(true)
        .open(dir.join("InRelease"))
        .unwrap()
        .set_modified(time)
        .unwrap();
    at
}

#[test]
fn the_date_of_a_release_never_goes_back_but_for_one_that_is_far_ahead_when_the_daemon_starts() {
    let mut service = TestService::new();
    let stable: SuiteId = "stable".parse().unwrap();
    let date = |service: &TestService| {
        let text =
            std::fs::read_to_string(service.config.archive.root.join("dists/stable/InRelease"))
                .unwrap();
        text.lines().find_map(|line| line.strip_prefix("Date: ")).unwrap().to_owned()
    };
    for ahead in [3600, 86_400] {
        let at = published_ahead(&service, "stable", ahead);
        service.publish("prod", "hello", &format!("{ahead}"));
        assert_eq!(
            date(&service),
            dates::write(at),
            "clients that have read it would take nothing older"
        );
    }
    let generation = |service: &TestService| {
        contents::suite(service.record.db(), &stable).unwrap().unwrap().generation
    };
    let before = generation(&service);
    service.publisher.upkeep(&service.config).unwrap();
    assert_eq!(generation(&service), before);

    let said = service.publisher.project(&service.config).unwrap();
    assert!(
        said.iter().any(|line| line.contains("suite stable") && line.contains("far in the future")),
        "{said:?}"
    );
    assert_eq!(generation(&service), before + 1);
    let shown = dates::shown(&service.config.archive.root, &stable.suite).unwrap();
    assert_eq!(shown.wrong(dates::clock()), None, "{}", date(&service));
    assert_eq!(service.publisher.project(&service.config).unwrap(), [""; 0]);
    assert_eq!(generation(&service), before + 1);

    // What is a little ahead is waited for, and named.
    let at = published_ahead(&service, "stable", 3600);
    let said = service.publisher.project(&service.config).unwrap();
    assert!(
        said.len() == 1
            && said[0].contains("a time to come")
            && said[0].contains(&dates::write(at)),
        "{said:?}"
    );
    assert_eq!(generation(&service), before + 1);
}

/// Makes a tag of somebody's: lightweight, or one that looks like the build server's.
fn foreign(service: &TestService, name: &str, commit: &CommitId, forged: bool) -> git2::Oid {
    let repo = git::open(&service.repo("hello")).unwrap();
    let object = repo.find_object(commit.into(), None).unwrap();
    let oid = match forged {
        true => {
            let me = stamp(&service.config);
            let me = git2::Signature::new(&me.name, &me.email, &git2::Time::new(1, 0)).unwrap();
            repo.tag_annotation_create(name, &object, &me, "hello 1.0\n\nJob: 1\n").unwrap()
        }
        false => object.id(),
    };
    repo.reference(&format!("refs/tags/{name}"), oid, true, "").unwrap();
    oid
}

fn at(service: &TestService, name: &str) -> Option<git2::Oid> {
    git::ref_value(&service.repo("hello"), name).unwrap()
}

/// Returns the tag of a version of `hello` that the record has.
fn recorded(service: &TestService, version: &str) -> Option<String> {
    pockets::known(service.record.db(), &identity("hello", version)).unwrap().unwrap().tag
}

#[test]
fn nobodys_tag_is_taken_for_ours_and_none_is_in_the_way() {
    let mut service = TestService::new();
    let other = service.commit("hello", "0.1");
    let item = service.item("prod", "hello", "1.0");
    let commit = item.job.commit.clone();
    // One that is right in everything but who made it.
    let forged = foreign(&service, "1.0", &commit, true);
    assert_eq!(service.publish_all(&[item]).unwrap(), [""; 0]);
    let ours = at(&service, "refs/tags/1.0").unwrap();
    assert_ne!(ours, forged);
    assert_eq!(recorded(&service, "1.0"), Some(ours.to_string()));
    assert_eq!(at(&service, "refs/invirt/published/1.0"), Some(ours));
    assert_eq!(at(&service, "refs/invirt/aside/1.0-1"), Some(forged));
    let job = jobs::get(service.record.db(), invirtibuilder_core::names::JobId(1)).unwrap();
    let said = aside(service.record.db(), &job).unwrap();
    assert_eq!(said.len(), 1, "{said:?}");
    let field = |key| said[0].field(key).unwrap();
    assert_eq!((field("ref"), field("aside")), ("refs/tags/1.0", "refs/invirt/aside/1.0-1"));
    assert_eq!((field("was"), field("package")), (&*forged.to_string(), "hello"));

    // One that is wrong, one that is no commit, and what blocks the name by being below it.
    foreign(&service, "2.0", &other, false);
    service.publish("prod", "hello", "2.0");
    assert_eq!(at(&service, "refs/invirt/aside/2.0-1"), Some((&other).into()));
    let repo = git::open(&service.repo("hello")).unwrap();
    let blob = repo.blob(b"junk").unwrap();
    repo.reference("refs/tags/3.0", blob, false, "").unwrap();
    service.publish("prod", "hello", "3.0");
    for n in 0..50 {
        repo.reference(&format!("refs/tags/4.0/{n}/x"), blob, false, "").unwrap();
    }
    service.publish("prod", "hello", "4.0");
    let kept = repo.references_glob("refs/invirt/aside/4.0*").unwrap().count();
    assert_eq!((kept, repo.references_glob("refs/tags/4.0/*").unwrap().count()), (50, 0));
    repo.reference_symbolic("refs/tags/5.0", "refs/heads/main", false, "").unwrap();
    let main = at(&service, "refs/heads/main");
    service.publish("prod", "hello", "5.0");
    assert_ne!(at(&service, "refs/invirt/aside/5.0-1"), main, "main has moved on");
    for version in ["2.0", "3.0", "4.0", "5.0"] {
        let there = at(&service, &format!("refs/tags/{version}")).map(|oid| oid.to_string());
        assert_eq!((there.is_some(), recorded(&service, version)), (true, there), "{version}");
    }
    assert_eq!(moves::owed(service.record.db()).unwrap(), []);
}

#[test]
fn a_version_that_is_not_tagged_is_marked_and_only_a_wrong_tag_goes() {
    let mut service = TestService::new();
    let item = service.item("dev", "hello", "1.0");
    let commit = item.job.commit.clone();
    let right = foreign(&service, "1.0", &commit, true);
    assert!(service.publish_all(&[item]).unwrap().is_empty());
    assert_eq!((at(&service, "refs/tags/1.0"), recorded(&service, "1.0")), (Some(right), None));
    assert_eq!(at(&service, "refs/invirt/published/1.0"), Some((&commit).into()));
    let item = service.item("dev", "hello", "2.0");
    foreign(&service, "2.0", &commit, false);
    assert!(service.publish_all(&[item]).unwrap().is_empty());
    assert_eq!(at(&service, "refs/tags/2.0"), None);
    assert_eq!(at(&service, "refs/invirt/aside/2.0-1"), Some((&commit).into()));

    // Once a pocket that tags takes it over, it has our tag.
    let id = service.job("prod", "hello", "1.0", &commit);
    let copy = Item { job: jobs::get(service.record.db(), id).unwrap(), built: None };
    assert!(service.publish_all(&[copy]).unwrap().is_empty());
    let ours = at(&service, "refs/tags/1.0").unwrap();
    assert_eq!(recorded(&service, "1.0"), Some(ours.to_string()));
    assert_eq!(at(&service, "refs/invirt/published/1.0"), Some(ours));
    assert_eq!(at(&service, "refs/invirt/aside/1.0-1"), Some(right));

    // And keeps it, also where it was moved, when another pocket takes it.
    foreign(&service, "1.0", &commit, true);
    let old = service.publish("prod", "hello", "3.0");
    let id = service.job("dev", "hello", "3.0", &old);
    let tag = at(&service, "refs/tags/3.0");
    let copy = Item { job: jobs::get(service.record.db(), id).unwrap(), built: None };
    assert!(service.publish_all(&[copy]).unwrap().is_empty());
    assert_eq!(
        (at(&service, "refs/tags/3.0"), at(&service, "refs/invirt/published/3.0")),
        (tag, tag)
    );
}

#[test]
fn a_tag_that_is_pushed_between_commit_and_move_is_put_aside_once() {
    let mut service = TestService::new();
    let item = service.item("prod", "hello", "1.0");
    let commit = item.job.commit.clone();
    let id = item.job.id;
    // Somebody holds the tag's lock: the move stays owed.
    let lock = service.repo("hello").join("refs/tags/1.0.lock");
    std::fs::create_dir_all(&lock).unwrap();
    assert_eq!(service.publish_all(&[item]).unwrap().len(), 1);
    assert_eq!(at(&service, "refs/tags/1.0"), None);
    std::fs::remove_dir(&lock).unwrap();
    let late = foreign(&service, "1.0", &commit, false);
    // As if a daemon had died when it had kept it, and another when it had said so.
    let owed = moves::owed(service.record.db()).unwrap();
    let owed = owed
        .into_iter()
        .find(|owed| matches!(&owed.what, RefOrSuite::Ref(mv) if is_tag(mv)))
        .unwrap();
    let RefOrSuite::Ref(mv) = &owed.what else { unreachable!() };
    let repo = service.repo("hello");
    git::set_aside(&repo, &mv.name, late).unwrap();
    tags::bring(&mut service.record, Some(id), mv).unwrap();
    foreign(&service, "1.0", &commit, false);
    service.publisher.upkeep(&service.config).unwrap();
    let ours = at(&service, "refs/tags/1.0");
    assert_eq!((ours, recorded(&service, "1.0")), (mv.new, ours.map(|oid| oid.to_string())));
    assert_eq!(
        (at(&service, "refs/invirt/aside/1.0-1"), at(&service, "refs/invirt/aside/1.0-2")),
        (Some(late), None)
    );
    let job = jobs::get(service.record.db(), id).unwrap();
    assert_eq!(aside(service.record.db(), &job).unwrap().len(), 1);
    assert_eq!(moves::owed(service.record.db()).unwrap(), []);
}

#[test]
fn versions_are_marked_in_repositories_from_before_there_were_marks() {
    let mut service = TestService::new();
    service.publish("prod", "hello", "1.0");
    let commit = service.publish("dev", "hello", "2.0");
    let repo = git::open(&service.repo("hello")).unwrap();
    for found in repo.references_glob("refs/invirt/*").unwrap() {
        found.unwrap().delete().unwrap();
    }
    // One that is none keeps nothing from the others.
    std::fs::create_dir(service.config.git.packages.join("broken.git")).unwrap();
    let said = service.publisher.project(&service.config).unwrap();
    assert!(said.len() == 1 && said[0].contains("versions of broken cannot be marked"), "{said:?}");
    assert!(git::Marks::of(&Default::default()).is_complete(&repo).unwrap());
    assert_eq!(at(&service, "refs/invirt/published/1.0"), at(&service, "refs/tags/1.0"));
    assert_eq!(at(&service, "refs/invirt/published/2.0"), Some((&commit).into()));
}

#[test]
fn git_itself_verifies_tags_that_are_signed() {
    let mut service = TestService::new();
    service.config.git.sign_tags = true;
    service.publish("prod", "hello", "1.0~rc1");
    let home = service.dir.path().join("gpg");
    std::fs::create_dir(&home).unwrap();
    std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let repo = service.repo("hello");
    let run = |program: &str, args: &[&str]| {
        let mut command = std::process::Command::new(program);
        let done = command
            .args(args)
            .current_dir(&repo)
            .env("GNUPGHOME", &home)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output();
        let done = done.unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{program} {args:?}: {said}");
        said
    };
    let key = service.config.archive.root.join("archive-key.asc");
    std::fs::write(
        &key,
        Archive::open(&service.config, &DomainName::main())
            .unwrap()
            .keys()
            .unwrap()
            .public()
            .unwrap(),
    )
    .unwrap();
    run("gpg", &["--batch", "--import", key.to_str().unwrap()]);
    assert!(run("git", &["verify-tag", "1.0_rc1"]).contains("Good signature"));
    run("git", &["fsck", "--strict"]);
    let _ = std::process::Command::new("gpgconf")
        .arg("--homedir")
        .arg(&home)
        .args(["--kill", "all"])
        .status();
    // What cannot be signed is not published.
    service.config.archive.signing_key =
        vec![invirtibuilder_core::config::SigningKey::File("/nonexistent".into())];
    let item = service.item("prod", "hello", "2.0");
    service.publish_all(&[item]).unwrap_err();
    assert_eq!(at(&service, "refs/tags/2.0"), None);
}

#[test]
fn a_version_that_was_let_go_can_be_had_by_another_commit() {
    let mut service = TestService::new();
    let hello = identity("hello", "1.0");
    let release = |service: &TestService| {
        let done =
            service.publisher.release(&service.config, &hello, "a slip of the pen", &alice());
        done.map(|(done, troubles)| {
            assert_eq!(troubles, [""; 0]);
            done
        })
    };
    let refused = |service: &TestService, word: &str| {
        let failure = release(service).unwrap_err();
        assert!(failure.text.contains(word), "{word}: {failure}");
    };
    refused(&service, "was never published");
    let first = service.publish("dev", "hello", "1.0");
    refused(&service, "suite unstable shows hello 1.0");
    service.publish("dev", "hello", "2.0");
    let commit = service.commit("hello", "1.0");
    let open = service.job("dev", "hello", "1.0", &commit);
    refused(&service, "is publishing");
    let failure = Failure::new(FailureKind::System, "x");
    service.record.write(|tx| jobs::fail(tx, open, State::Publishing, &failure)).unwrap();

    let old = pool::of_version(service.record.db(), &hello).unwrap();
    let mark = || git::ref_value(&service.repo("hello"), "refs/invirt/published/1.0").unwrap();
    assert!(mark().is_some());
    assert_eq!(release(&service).unwrap().files, 3);
    assert!(mark().is_none() && !service.in_pool("hello", "hello_1.0_amd64.deb"));
    refused(&service, "was never published");
    let mut said = Vec::new();
    let see = |entry: invirtibuilder_api::audit::Recorded| {
        said.extend(
            entry.field("reason").filter(|_| entry.event == "archive.release").map(str::to_owned),
        );
        Ok(())
    };
    audit::each_after(service.record.db(), 0, see).unwrap();
    assert_eq!(said, ["a slip of the pen"]);

    // Its snapshot cannot be had again, and its commit never has the version again.
    let unstable: SuiteId = "unstable".parse().unwrap();
    let failure = service.publisher.rollback(&service.config, &unstable, 2, &alice()).unwrap_err();
    assert!(failure.text.contains("had hello 1.0, which was let go"), "{failure}");
    let request = JobRequest {
        pocket: "dev".parse().unwrap(),
        domain: DomainName::main(),
        package: hello.package.clone(),
        commit: first.clone(),
        version: hello.version.clone(),
        written: hello.version.clone(),
        why: None,
    };
    let said = validate::check(service.record.db(), &service.config, &request, None)
        .unwrap_err()
        .to_string();
    assert!(said.contains("was let go by alice"), "{said}");

    // Another commit has it, but none of the old bytes.
    let again = service.publish("dev", "hello", "1.0");
    assert_ne!(again, first);
    let new = pool::of_version(service.record.db(), &hello).unwrap();
    for file in &old {
        let same = new.iter().find(|new| new.path == file.path).unwrap();
        let orig = file.path.contains(".orig");
        assert!(orig || same.sha256 != file.sha256, "{}", file.path);
    }
    assert_eq!(service.shown("unstable", "hello"), ["1.0"]);
    service.publish("dev", "hello", "3.0");
    assert_eq!(release(&service).unwrap().commit, again, "a number can be let go more than once");
    for file in old.iter().chain(&new) {
        let failure =
            released::demand_new(service.record.db(), &hello.domain, &file.path, &file.sha256)
                .unwrap_err();
        assert!(failure.text.contains("of a file of hello 1.0, which was let go"), "{failure}");
    }
    let left = service.publisher.collect(&service.config, &alice()).unwrap();
    assert_eq!(left.files + left.strays.len(), 0);
}

#[test]
fn what_a_tagging_pocket_had_is_never_let_go() {
    let mut service = TestService::new();
    service.publish("prod", "hello", "1.0");
    service.publish("prod", "hello", "2.0");
    let hello = identity("hello", "1.0");
    let release = |service: &TestService| {
        service.publisher.release(&service.config, &hello, "x", &alice()).unwrap_err().text
    };
    assert!(release(&service).contains("is tagged"));
    // What a pocket allows now and did not then: the record knows which jobs there were.
    service.publish("dev", "world", "1.0");
    service.publish("dev", "world", "2.0");
    service.config.build.pockets.get_mut(&"dev".parse().unwrap()).unwrap().allow_backtracking =
        false;
    let world = identity("world", "1.0");
    let failure = service.publisher.release(&service.config, &world, "x", &alice()).unwrap_err();
    assert!(failure.text.contains("was in dev, which does not allow backtracking"), "{failure}");
}

#[test]
fn what_gc_removed_is_known_when_its_version_is_let_go() {
    let mut service = TestService::new();
    for version in ["1.0", "2.0"] {
        service.publish("dev", "hello", version);
    }
    let hello = identity("hello", "1.0");
    let old = pool::of_version(service.record.db(), &hello).unwrap();
    service.config.archive.keep = Keep { versions: Some(1), ..Keep::default() };
    service.publisher.collect(&service.config, &alice()).unwrap();
    let deb = old.iter().find(|file| file.path.ends_with(".deb")).unwrap();
    released::demand_new(service.record.db(), &hello.domain, &deb.path, &deb.sha256).unwrap();
    let (done, _) = service.publisher.release(&service.config, &hello, "x", &alice()).unwrap();
    assert_eq!(done.files, 0);
    for file in old {
        released::demand_new(service.record.db(), &hello.domain, &file.path, &file.sha256)
            .unwrap_err();
    }
}
