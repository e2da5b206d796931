//! What others' hands do to Git and the archive is named, and mended.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::verify::*;
use invirtibuilder_git as git;
use invirtibuilder_git::{Move, testing};
use invirtibuilder_publish::Item;
use invirtibuilder_publish::testing::{TestService, alice};
use invirtibuilder_store::jobs;

/// Returns a service whose pockets have something, nothing of it amiss.
fn service() -> TestService {
    let mut service = TestService::new();
    service.publish("prod", "hello", "1.0");
    service.publish("prod", "hello", "2.0");
    service.publish("dev", "world", "1.0");
    service.publisher.project(&service.config).unwrap();
    assert_eq!((found(&mut service), warned(&mut service)), (Vec::new(), Vec::new()));
    service
}

/// Lists every warning, as a person reads it.
fn warned(service: &mut TestService) -> Vec<String> {
    let report = check(&service.config, &mut service.record, &Deep::none()).unwrap();
    report.warnings.iter().map(|warning| format!("{}: {}", warning.place, warning.text)).collect()
}

#[test]
fn what_could_not_be_pushed_now_is_named_and_no_difference() {
    let mut service = service();
    let repo = service.repo("hello");
    let second = git::tag_target(&repo, "2.0").unwrap().unwrap();
    let first = git::tag_target(&repo, "1.0").unwrap().unwrap();
    let names = [
        "refs/tags/prod".to_owned(),
        format!("refs/heads/{}", first.short()),
        format!("refs/replace/{first}"),
        format!("refs/tags/{}", "a".repeat(40)),
    ];
    for name in &names {
        point(&repo, name, Some((&second).into()));
    }
    for fine in [
        "refs/invirt/pin/1",
        "refs/notes/commits",
        "refs/heads/theirs",
        "refs/tags/v1",
        "refs/tags/9.0",
    ] {
        point(&repo, fine, Some((&second).into()));
    }
    point(&repo, "refs/invirt/published/9.0", Some((&second).into()));
    let said = warned(&mut service);
    assert_eq!(said.len(), names.len() + 1, "{said:?}");
    for name in &names {
        let start = format!("hello: {name}: it could not be pushed now: {name} ");
        assert!(said.iter().any(|line| line.starts_with(&start)), "{name}: {said:?}");
    }
    assert!(
        said.iter()
            .any(|line| line.contains("published/9.0: it says that this version was published")),
        "{said:?}"
    );
    assert_eq!(found(&mut service), [""; 0]);
    // The record has forgotten 9.0, and Git has not: another commit is refused.
    let commit = service.commit("hello", "9.0");
    let request = invirtibuilder_publish::validate::JobRequest::read(
        service.record.db(),
        &service.config,
        &"prod".parse().unwrap(),
        "hello".parse().unwrap(),
        commit.as_str(),
    );
    let refused = invirtibuilder_publish::validate::check(
        service.record.db(),
        &service.config,
        &request.unwrap().0,
        None,
    )
    .unwrap_err();
    assert!(refused.to_string().contains("was published as"), "{refused}");

    point(&repo, "refs/invirt/complete", None);
    assert!(
        warned(&mut service)
            .iter()
            .any(|line| line.contains("hello: its published versions are not marked"))
    );
    assert_eq!(found(&mut service), [""; 0]);
}

#[test]
fn a_repository_that_cannot_be_opened_is_named_once() {
    let mut service = service();
    let repo = service.repo("hello");
    fs::rename(&repo, repo.with_extension("away")).unwrap();
    let said = found(&mut service);
    let start = format!("hello: cannot open the repository {}: ", repo.display());
    assert!(said.iter().any(|line| line.starts_with(&start)), "{start}: {said:?}");
    let begins = format!("{}: ", repo.display());
    assert!(!said.iter().any(|line| line.starts_with(&begins)), "{said:?}");
}

#[test]
fn a_pockets_branch_that_is_a_symbolic_ref_is_refused() {
    let mut service = service();
    let repo = git::open(&service.repo("hello")).unwrap();
    repo.find_reference("refs/heads/prod").unwrap().delete().unwrap();
    repo.reference_symbolic("refs/heads/prod", "refs/heads/main", false, "").unwrap();
    let item = service.item("prod", "hello", "3.0");
    let refused = service.publish_all(&[item]).unwrap_err();
    assert!(refused.text.contains("hello.git is a symbolic ref to another branch"), "{refused}");
    assert_eq!(repair(&service, Repair::Reapply).1, 0);
    service.publish("prod", "hello", "4.0");

    let superproject = git::open(&service.config.git.superproject).unwrap();
    superproject.find_reference("refs/heads/prod").unwrap().delete().unwrap();
    superproject.reference_symbolic("refs/heads/prod", "refs/heads/other", false, "").unwrap();
    let item = service.item("prod", "hello", "5.0");
    let refused = service.publish_all(&[item]).unwrap_err().text;
    let path = service.config.git.superproject.display().to_string();
    assert!(
        refused.contains(&format!("git -C {path} symbolic-ref --delete refs/heads/prod")),
        "{refused}"
    );
    assert_eq!(repair(&service, Repair::Reapply).1, 0);
    service.publish("prod", "hello", "6.0");
}

/// Lists every difference, as a person reads it.
fn found(service: &mut TestService) -> Vec<String> {
    let report = check(&service.config, &mut service.record, &Deep::none()).unwrap();
    report.report().differences.iter().map(|d| format!("{}: {}", d.place, d.text)).collect()
}

/// Repairs; what was done, and what is left.
fn repair(service: &TestService, how: Repair) -> (Vec<Result<String, String>>, usize) {
    let Repaired { mended, left } =
        mend(&service.config, &service.publisher, how, &alice()).unwrap();
    let done = mended.into_iter().map(|one| one.done.ok_or_else(|| one.failed.unwrap())).collect();
    (done, left.differences.len())
}

/// Points a ref anywhere, as somebody with a shell would.
fn point(repo: &Path, name: &str, to: Option<git2::Oid>) {
    let old = git::ref_value(repo, name).unwrap();
    git::apply(&Move { repo: repo.to_owned(), name: name.to_owned(), old, new: to }).unwrap();
}

fn dists(service: &TestService, below: &str) -> PathBuf {
    service.config.archive.root.join("dists").join(below)
}

#[test]
fn whatever_is_done_to_git_or_the_archive_is_named_and_put_back() {
    type Harm = fn(&TestService);
    let cases: [(&str, Harm, &str); 20] = [
        (
            "queue: pocket prod is said to have 3 jobs that may run, and has 0",
            |s| {
                let db = rusqlite::Connection::open(s.config.database()).unwrap();
                db.execute("UPDATE pocket_use SET ready = 3 WHERE pocket = 'prod'", []).unwrap();
            },
            "written anew from the jobs",
        ),
        (
            "world: tag 1.0: somebody's tag does not stand for",
            |s| {
                let other = s.commit("world", "0.1");
                point(&s.repo("world"), "refs/tags/1.0", Some((&other).into()));
            },
            "put aside",
        ),
        (
            "hello: branch prod: it is a symbolic ref to refs/heads/main; the record has it at",
            |s| {
                point(&s.repo("hello"), "refs/heads/prod", None);
                let repo = git::open(&s.repo("hello")).unwrap();
                repo.reference_symbolic("refs/heads/prod", "refs/heads/main", false, "").unwrap();
            },
            "moved back",
        ),
        (
            "hello: version 1.0: the mark that it was published is gone",
            |s| point(&s.repo("hello"), "refs/invirt/published/1.0", None),
            "moved back",
        ),
        (
            "hello: tag 1.0: it is gone",
            |s| {
                let second = git::tag_target(&s.repo("hello"), "2.0").unwrap().unwrap();
                point(&s.repo("hello"), "refs/tags/1.0", None);
                point(&s.repo("hello"), "refs/tags/1.0/x", Some((&second).into()));
            },
            "moved back",
        ),
        (
            "hello: branch prod: it is gone",
            |s| point(&s.repo("hello"), "refs/heads/prod", None),
            "moved back",
        ),
        (
            "hello: branch prod: it is at",
            |s| {
                let first = git::tag_target(&s.repo("hello"), "1.0").unwrap().unwrap();
                point(&s.repo("hello"), "refs/heads/prod", Some((&first).into()));
            },
            "moved back",
        ),
        (
            "hello: tag 1.0: it is gone",
            |s| point(&s.repo("hello"), "refs/tags/1.0", None),
            "moved back",
        ),
        (
            "hello: tag 1.0: it is at",
            |s| {
                let second = git::tag_target(&s.repo("hello"), "2.0").unwrap().unwrap();
                point(&s.repo("hello"), "refs/tags/1.0", Some((&second).into()));
            },
            "moved back",
        ),
        (
            "hello: tag 2.0: it is another tag object",
            |s| {
                let second = git::tag_target(&s.repo("hello"), "2.0").unwrap().unwrap();
                point(&s.repo("hello"), "refs/tags/2.0", Some((&second).into()));
            },
            "moved back",
        ),
        (
            "superproject: branch prod: it is gone",
            |s| point(&s.config.git.superproject, "refs/heads/prod", None),
            "moved back",
        ),
        (
            "superproject: branch prod: the commit that the record has for it is missing",
            |s| {
                let db = rusqlite::Connection::open(s.config.database()).unwrap();
                db.execute(
                    "UPDATE superproject SET commit_id = ? WHERE branch = 'prod'",
                    ["0".repeat(40)],
                )
                .unwrap();
            },
            "written anew",
        ),
        (
            "hello: tag 1.0: it is gone",
            |s| {
                point(&s.repo("hello"), "refs/tags/1.0", None);
                let db = rusqlite::Connection::open(s.config.database()).unwrap();
                db.execute("UPDATE version SET tag = ? WHERE version = '1.0'", ["1".repeat(40)])
                    .unwrap();
            },
            "tagged anew",
        ),
        (
            "suite stable: it shows nothing",
            |s| fs::remove_file(dists(s, "stable")).unwrap(),
            "written anew as generation",
        ),
        (
            "suite stable: it shows generation 2; the record has generation 3",
            |s| {
                fs::remove_file(dists(s, "stable")).unwrap();
                std::os::unix::fs::symlink(".generations/stable/2", dists(s, "stable")).unwrap();
            },
            "written anew as generation 4",
        ),
        (
            "suite stable: main/binary-amd64/Packages.gz is not what was written",
            |s| fs::write(dists(s, "stable/main/binary-amd64/Packages.gz"), "").unwrap(),
            "written anew",
        ),
        (
            "suite stable: main/source/Sources.xz is missing",
            |s| fs::remove_file(dists(s, "stable/main/source/Sources.xz")).unwrap(),
            "written anew",
        ),
        (
            "suite stable: its signature does not verify",
            |s| {
                fs::copy(dists(s, "unstable/InRelease"), dists(s, "stable/InRelease"))
                    .map(drop)
                    .unwrap();
            },
            "written anew",
        ),
        (
            "suite stable: Release is not what was written",
            |s| fs::write(dists(s, "stable/Release"), "Origin: somebody\n").unwrap(),
            "written anew",
        ),
        (
            "suite unstable: main/binary-amd64/Packages has another entry for world than the record",
            |s| {
                let db = rusqlite::Connection::open(s.config.database()).unwrap();
                let more = "UPDATE pool_part SET stanza = stanza || 'X-More: y' || char(10) WHERE kind = 'deb' AND name = 'world'";
                db.execute(more, []).unwrap();
            },
            "written anew",
        ),
    ];
    for (sentence, harm, done) in cases {
        let mut service = service();
        harm(&service);
        let said = found(&mut service);
        assert!(said.iter().any(|line| line.starts_with(sentence)), "{sentence}: {said:?}");
        let (mended, left) = repair(&service, Repair::Reapply);
        assert!(
            mended.iter().any(|one| one.as_ref().is_ok_and(|one| one.starts_with(done))),
            "{sentence}: {mended:?}"
        );
        assert_eq!((left, found(&mut service)), (0, Vec::new()), "{sentence}");
        service.publish("prod", "hello", "3.0");
        assert_eq!(found(&mut service), [""; 0], "{sentence}");
    }
}

#[test]
fn what_cannot_be_put_back_is_named_and_left() {
    let mut service = service();
    let pool = service.config.archive.root.join("pool/main/h/hello");
    fs::remove_file(pool.join("hello_1.0.dsc")).unwrap();
    fs::write(pool.join("hello_2.0.dsc"), "x").unwrap();
    let deb = pool.join("hello_2.0_amd64.deb");
    let mut bytes = fs::read(&deb).unwrap();
    bytes[100] ^= 1;
    fs::write(&deb, bytes).unwrap();
    fs::write(pool.join("stranger"), "x").unwrap();
    let said = found(&mut service);
    let expected = [
        "hello_1.0.dsc: it is missing",
        "hello_2.0.dsc: it is not the file of",
        "stranger: no version",
    ];
    assert_eq!(said.len(), expected.len(), "{said:?}");
    for (line, words) in said.iter().zip(expected) {
        assert!(line.contains(words), "{words}: {line}");
    }
    // The same size, other bytes: only who reads it knows.
    let deep = check(&service.config, &mut service.record, &Deep::All).unwrap();
    assert!(
        deep.faults.iter().any(|fault| fault.difference.place.ends_with("hello_2.0_amd64.deb")),
        "{deep:?}"
    );
    let (mended, left) = repair(&service, Repair::Reapply);
    assert!(mended.iter().all(Result::is_err) && left == 3, "{mended:?}");
    service.publisher.collect(&service.config, &alice()).unwrap();
    assert!(!pool.join("stranger").exists(), "what nothing has is collected");
    assert_eq!(found(&mut service).len(), 2);
}

#[test]
fn a_record_that_contradicts_itself_is_named() {
    for (sql, sentence) in [
        (
            "UPDATE pocket_package SET version = '1.0' WHERE pocket = 'prod'",
            "database: prod has hello 1.0 at",
        ),
        (
            "DELETE FROM pocket_package WHERE pocket = 'prod'",
            "database: suite stable has hello 2.0, but prod does not",
        ),
        (
            "DELETE FROM version WHERE version = '2.0'",
            "database: prod has hello 2.0, which no job published",
        ),
    ] {
        let mut service = service();
        service.record.write(|tx| Ok(tx.execute(sql, [])?)).unwrap();
        let said = found(&mut service);
        assert!(said.iter().any(|line| line.starts_with(sentence)), "{sentence}: {said:?}");
    }
}

#[test]
fn after_a_restored_backup_nothing_is_built_on_until_the_record_is_applied_again() {
    let mut service = service();
    let backup = service.dir.path().join("backup.db");
    service.record.db().execute("VACUUM INTO ?", [backup.to_str().unwrap()]).unwrap();
    let third = service.publish("prod", "hello", "3.0");
    let restored = TestService::restored(service, &backup);
    let mut service = restored;
    let said = found(&mut service);
    for sentence in [
        "hello: branch prod: it is at",
        "superproject: branch prod: it is at",
        "suite stable: it shows generation 4",
    ] {
        assert!(said.iter().any(|line| line.starts_with(sentence)), "{sentence}: {said:?}");
    }
    let item = service.item("prod", "hello", "4.0");
    let refused = service.publish_all(std::slice::from_ref(&item)).unwrap_err();
    assert!(refused.text.contains("somebody else moved it"), "{refused}");
    service.publisher.collect(&service.config, &alice()).unwrap_err();

    let (mended, left) = repair(&service, Repair::Reapply);
    assert_eq!(service.shown("stable", "hello"), ["2.0"]);
    assert_ne!(service.branch("hello", "prod"), Some(third));
    // What the later publication left in the pool and its tag are named still.
    assert!(left > 0, "{mended:?}");
    let places = ["pool/", "changes/", "changelogs/"];
    let is_there = |line: &String| places.iter().any(|place| line.starts_with(place));
    assert!(found(&mut service).iter().all(is_there), "{:?}", found(&mut service));
    assert!(service.publish_all(&[item]).unwrap().is_empty());
    service.publisher.collect(&service.config, &alice()).unwrap();
    assert_eq!(found(&mut service), [""; 0]);
}

#[test]
fn what_is_there_can_be_taken_if_it_is_valid() {
    let mut service = service();
    // Somebody pushed a newer version to the pocket's branch.
    let pushed = service.commit("hello", "3.0");
    point(&service.repo("hello"), "refs/heads/prod", Some((&pushed).into()));
    let (done, left) = repair(&service, Repair::Adopt);
    assert_eq!((&done[0], left), (&Ok("job 4 publishes what is there".to_owned()), 1), "{done:?}");
    let job = jobs::get(service.record.db(), invirtibuilder_core::names::JobId(4)).unwrap();
    assert_eq!((&job.commit, job.version.as_str()), (&pushed, "3.0"));
    service.begin(job.id);
    let built = invirtibuilder_archive::testing::artifacts(
        service.dir.path(),
        "hello",
        "3.0",
        &[("hello", "amd64", "")],
    );
    let item = Item { job: jobs::get(service.record.db(), job.id).unwrap(), built: Some(built) };
    assert!(service.publish_all(&[item]).unwrap().is_empty());
    assert_eq!(found(&mut service), [""; 0]);

    // An older one is not taken: validation says why, and nothing changes.
    let older = git::tag_target(&service.repo("hello"), "1.0").unwrap().unwrap();
    point(&service.repo("hello"), "refs/heads/prod", Some((&older).into()));
    let (done, left) = repair(&service, Repair::Adopt);
    assert!(
        done[0].as_ref().is_err_and(|why| why.contains("not greater")) && left == 1,
        "{done:?}"
    );
    assert_eq!(service.branch("hello", "prod"), Some(older));
    repair(&service, Repair::Reapply);

    // A commit of somebody's on top of the superproject, and a tag of somebody's, change nothing
    // that counts.
    let repo = git::open(&service.config.git.superproject).unwrap();
    let head = repo.find_reference("refs/heads/prod").unwrap().peel_to_commit().unwrap();
    let me = git2::Signature::new("Somebody", "s@example.org", &git2::Time::new(1_700_000_000, 0))
        .unwrap();
    let on_top = repo.commit(None, &me, &me, "on top", &head.tree().unwrap(), &[&head]).unwrap();
    point(&service.config.git.superproject, "refs/heads/prod", Some(on_top));
    point(&service.repo("hello"), "refs/tags/3.0", Some((&pushed).into()));
    let (done, left) = repair(&service, Repair::Adopt);
    assert!(done.iter().all(Result::is_ok) && done.len() == 2 && left == 0, "{done:?}");
    assert_eq!(
        git::ref_value(&service.repo("hello"), "refs/tags/3.0").unwrap(),
        Some((&pushed).into())
    );
    service.publish("prod", "hello", "4.0");
    assert_eq!(found(&mut service), [""; 0]);
}

#[test]
fn a_publication_that_was_cut_short_is_named_and_ended() {
    let mut service = service();
    let item = service.item("prod", "hello", "3.0");
    // A stranger in the way of the branch: everything is committed, one move cannot be made.
    let lock = service.repo("hello").join("refs/heads/prod.lock");
    fs::create_dir(&lock).unwrap();
    assert_eq!(service.publish_all(&[item]).unwrap().len(), 1);
    let said = found(&mut service);
    assert!(
        said.len() == 1 && said[0].ends_with("the move of refs/heads/prod is owed still"),
        "{said:?}"
    );
    fs::remove_dir(lock).unwrap();
    assert_eq!(repair(&service, Repair::Reapply), (Vec::new(), 0));
    assert_eq!(found(&mut service), [""; 0]);
    assert_eq!(service.shown("stable", "hello"), ["3.0"]);
    assert_eq!(testing::head(&service.repo("hello"), "prod"), service.branch("hello", "main"));
}
