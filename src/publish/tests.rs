//! Sets, rollbacks and what is forgotten. What a crash leaves is shown by `script/torture`.

use super::testing::{Service, alice, package};
use super::*;
use crate::config::Keep;
use crate::record::{State, contents, jobs, pockets, snapshots};

#[test]
fn a_set_is_seen_whole() {
    let mut service = Service::new();
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
    let repo = gitrecord::open(&service.config.git.superproject).unwrap();
    let head = repo.find_reference("refs/heads/prod").unwrap().peel_to_commit().unwrap();
    assert_eq!(head.parent_count(), 0);
}

#[test]
fn of_a_set_with_a_bad_member_nothing_is_seen() {
    let mut service = Service::new();
    let good = service.item("prod", "hello", "1.0");
    let mut bad = service.item("prod", "world", "2.0");
    // Its build returned a binary package of the other's name.
    let stolen = [("world", "amd64", ""), ("hello", "amd64", "")];
    bad.built = Some(crate::archive::testing::artifacts(service.dir.path(), "world", "2.0", &stolen));
    let failure = service.publish_all(&[good.clone(), bad]).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Takeover, "{failure}");
    assert!(service.shown("stable", "hello").is_empty() && service.shown("stable", "world").is_empty());
    assert_eq!((service.branch("hello", "prod"), service.gitlink("prod", "hello")), (None, None));
    assert_eq!(pockets::all(service.record.db()).unwrap(), []);
    assert!(!service.in_pool("hello", "hello_1.0_amd64.deb"), "what was put into the pool is gone again");
    assert_eq!(pool::intents(service.record.db()).unwrap(), []);

    let twice = service.item("prod", "hello", "1.1");
    let failure = service.publish_all(&[good.clone(), twice]).unwrap_err();
    assert!(failure.text.contains("two commits of hello at once"), "{failure}");
    assert!(service.publish_all(&[good]).unwrap().is_empty(), "the good one can be published by itself");
}

#[test]
fn a_rollback_takes_everything_back_and_can_itself_be_taken_back() {
    let mut service = Service::new();
    let first = service.publish("prod", "hello", "1.0");
    let second = service.publish("prod", "hello", "2.0");
    let third = service.publish("prod", "world", "1.0");
    let stable: Suite = "stable".parse().unwrap();
    let all = snapshots::of_suite(service.record.db(), &stable).unwrap();
    let packages: Vec<i64> = all.iter().map(|s| s.packages).collect();
    assert_eq!(packages, [2, 1, 1, 0]);
    let (done, unmade) = service.publisher.rollback(&service.config, &stable, all[2].number, &alice()).unwrap();
    assert!(unmade.is_empty() && done.changed.len() == 2, "{done:?}");
    assert_eq!(service.shown("stable", "hello"), ["1.0"]);
    assert!(service.shown("stable", "world").is_empty());
    assert_eq!(service.branch("hello", "prod").as_ref(), Some(&first));
    assert_eq!(service.gitlink("prod", "hello").as_ref(), Some(&first));
    assert_eq!((service.branch("world", "prod"), service.gitlink("prod", "world")), (None, None));
    let held = pockets::all(service.record.db()).unwrap();
    assert!(held.len() == 1 && held[0].commit == first && held[0].job.0 == 1, "{held:?}");
    // Tags stay: a version names its commit for ever.
    let tag = gitrecord::tag_target(&service.repo("hello"), "2.0").unwrap();
    assert_eq!(tag.as_ref(), Some(&second));

    let again = service.publisher.rollback(&service.config, &stable, all[2].number, &alice()).unwrap_err();
    assert!(again.kind == FailureKind::Invalid && again.text.contains("nothing to roll back"), "{again}");
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
    let mut service = Service::new();
    let first = service.publish("prod", "hello", "1.0");
    let second = service.publish("prod", "hello", "2.0");
    gitrecord::apply(&gitrecord::branch_move(&service.repo("hello"), "prod", Some(&second), Some(&first))).unwrap();
    let failure = service.publisher.rollback(&service.config, &"stable".parse().unwrap(), 2, &alice()).unwrap_err();
    assert!(failure.kind == FailureKind::Conflict && failure.text.contains("somebody else moved it"), "{failure}");
    assert_eq!(service.shown("stable", "hello"), ["2.0"]);
}

#[test]
fn what_no_snapshot_and_no_tag_needs_is_removed() {
    let mut service = Service::new();
    for version in ["1.0", "2.0", "3.0"] {
        service.publish("dev", "hello", version);
        service.publish("prod", "world", version);
    }
    let there = |service: &Service, package: &str| {
        ["1.0", "2.0", "3.0"].map(|version| service.in_pool(package, &format!("{package}_{version}_amd64.deb")))
    };
    let nothing = service.publisher.collect(&service.config, &alice()).unwrap();
    assert_eq!((nothing.snapshots.len(), nothing.files), (0, 0), "without archive.keep everything is kept");

    service.config.archive.keep = Keep { versions: Some(2), days: None };
    let done = service.publisher.collect(&service.config, &alice()).unwrap();
    assert_eq!(done.versions, [(package("hello"), "1.0".parse().unwrap())]);
    assert_eq!(done.files, 4, ".dsc, tarball, .changes and .deb");
    assert_eq!(there(&service, "hello"), [false, true, true]);
    assert_eq!(there(&service, "world"), [true, true, true], "tags keep their versions");
    // What is left can be rolled back to; a version that was forgotten names its commit still.
    let unstable: Suite = "unstable".parse().unwrap();
    let left = snapshots::of_suite(service.record.db(), &unstable).unwrap();
    assert_eq!(left.len(), 2);
    service.publisher.rollback(&service.config, &unstable, left[1].number, &alice()).unwrap();
    assert_eq!(service.shown("unstable", "hello"), ["2.0"]);
    assert!(pockets::known(service.record.db(), &package("hello"), &"1.0".parse().unwrap()).unwrap().is_some());
    assert!(contents::changes(service.record.db(), &package("hello"), &"1.0".parse().unwrap()).unwrap().is_none());
}

#[test]
fn a_release_is_signed_anew_before_it_ends_and_when_the_keys_change() {
    let mut service = Service::new();
    let stable: Suite = "stable".parse().unwrap();
    let state = |service: &Service| contents::suite(service.record.db(), &stable).unwrap().unwrap();
    let release = |service: &Service| {
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
    assert_eq!(snapshots::of_suite(service.record.db(), &stable).unwrap().len(), 1, "the contents are the same");

    let second = service.dir.path().join("second.asc");
    Archive::generate_key(&second, "Test").unwrap();
    service.config.archive.signing_key.push(crate::config::SigningKey::File(second));
    service.publisher.project(&service.config).unwrap();
    let now = state(&service);
    assert_eq!((now.generation, now.signers.split(' ').count()), (first + 2, 2));
}
