//! What the service is for: a commit becomes a package that apt installs, and a second pocket gets
//! the same binaries.

use crate::world::{Apt, Tiny, World, rev, run};

#[test]
fn a_commit_becomes_a_package_that_apt_installs() {
    let world = World::new();
    let _daemon = world.daemon();
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);

    let short = &commit[..12];
    world.publish("prod", "tiny", &commit).says(&[
        &format!("tiny 1.0 ({short}) for prod: queued, next in line"),
        "building",
        "tiny 1.0 is in prod",
    ]);

    let apt = Apt::new("stable");
    apt.update();
    assert_eq!(apt.candidate("tiny").as_deref(), Some("1.0"));
    assert_eq!(apt.file_of("tiny", "usr/share/tiny/version"), "1.0");
    assert_eq!(apt.source_of("tiny"), ["tiny_1.0.dsc", "tiny_1.0.tar.xz"]);
    assert_eq!(Apt::new("unstable").update().candidate("tiny"), None, "another pocket has it too");

    assert_eq!(repo.served("refs/heads/prod").as_ref(), Some(&commit));
    assert_eq!(repo.served("refs/tags/1.0").as_ref(), Some(&commit));
    let tag = run("git", &["-C", "/srv/git/packages/tiny.git", "cat-file", "tag", "1.0"]);
    assert!(
        tag.contains("alice@EXAMPLE.ORG")
            && tag.contains("tagger Build Server <build@example.org>"),
        "{tag}"
    );

    let temp = tempfile::tempdir().unwrap();
    let clone = temp.path().join("all");
    let source = "/srv/git/packages.git";
    let to = clone.to_str().unwrap();
    run(
        "git",
        &[
            "-c",
            "protocol.file.allow=always",
            "clone",
            "-q",
            "--recurse-submodules",
            "-b",
            "prod",
            source,
            to,
        ],
    );
    assert!(clone.join("tiny/debian/changelog").exists());
    assert_eq!(rev(&clone.join("tiny"), "HEAD").as_ref(), Some(&commit));

    // Asking again is not an error, and names the job.
    world
        .build("bob", &["submit", "dev", "tiny", &commit, "--dry-run"])
        .ok()
        .says(&["copied from prod"]);
    world
        .build("alice", &["submit", "prod", "tiny", &commit])
        .ok()
        .says(&["job 1", "already there"]);
}

#[test]
fn a_second_pocket_gets_the_same_binaries() {
    let world = World::new();
    let _daemon = world.daemon();
    let repo = world.repo("tiny");
    let commit = repo.version("1:2.0~rc1", Tiny::Works);
    world.publish("dev", "tiny", &commit);
    assert_eq!(repo.served("refs/tags/1%2.0_rc1"), None, "a pocket that may go back does not tag");
    world.build("alice", &["diff", "dev", "prod"]).ok().says(&["tiny", "1:2.0~rc1", ">"]);

    let debs = || run("sh", &["-c", "find /srv/apt/pool -name '*.deb' -exec sha256sum {} +"]);
    let before = debs();
    world
        .build("alice", &["promote", "tiny", "dev", "prod", "--wait"])
        .ok()
        .says(&["tiny 1:2.0~rc1 is in prod"]);
    assert_eq!(debs(), before, "something was built");
    let job = world.status("2");
    assert_eq!(job["job"]["copied_from"], "dev");
    assert!(!job["steps"].to_string().contains("building"), "{job}");
    world.build("alice", &["log", "2"]).refused(65, &["copied from dev"]);

    let apt = Apt::new("stable");
    assert_eq!(apt.update().file_of("tiny", "usr/share/tiny/version"), "1:2.0~rc1");
    assert_eq!(repo.served("refs/tags/1%2.0_rc1").as_ref(), Some(&commit));
    assert_eq!(repo.served("refs/heads/prod").as_ref(), Some(&commit));
    world.build("alice", &["diff", "dev", "prod"]).ok().says(&["hold the same"]);
}
