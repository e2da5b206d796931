//! Versions that follow from the commit and the pocket's rule, tarballs of tags, rebuilds, and
//! packages that are taken out.

use std::fs;

use crate::world::{Apt, CONFIG, SOON, Tiny, World, bare, eventually, run};

/// Gives pockets more settings.
fn configure(world: &World, settings: &[(&str, &str)]) {
    let mut text = fs::read_to_string(CONFIG).unwrap();
    for (pocket, more) in settings {
        let start = format!("    {pocket}:\n");
        assert!(text.contains(&start));
        text = text.replacen(&start, &format!("{start}      {more}\n"), 1);
    }
    fs::write(CONFIG, text).unwrap();
    world.local(&["check-config"]).ok();
}

#[test]
fn one_commit_has_a_version_of_each_pockets_rule() {
    let world = World::new();
    let rules = [
        ("prod", "version: { suffix: \"~deb12\" }\n      unreleased: refuse"),
        ("dev", "version: { snapshot: true }\n      unreleased: allow"),
    ];
    configure(&world, &rules);
    let _daemon = world.daemon();
    let repo = world.repo("tiny");
    repo.tiny("1.0", Tiny::Works);
    let open = fs::read_to_string(repo.dir.join("debian/changelog"))
        .unwrap()
        .replace("unstable", "UNRELEASED");
    repo.write("debian/changelog", &open);
    let first = repo.commit("first");
    world
        .build("alice", &["submit", "prod", "tiny", &first])
        .refused(65, &["says UNRELEASED", "dch"]);
    let snapshot = |n: u32, sign: &str, commit: &str| format!("1.0{sign}git{n}.{}", &commit[..7]);
    let built = snapshot(1, "~", &first);
    world
        .build("alice", &["submit", "dev", "tiny", &first, "--dry-run"])
        .ok()
        .says(&[&format!("tiny {built}, written 1.0 "), "would be built"]);
    world.publish("dev", "tiny", &first).says(&[&format!("tiny {built} is in dev")]);

    repo.changelog("tiny", "1.0");
    let second = repo.commit("second");
    world.publish("dev", "tiny", &second);
    let dev = Apt::new("unstable");
    assert_eq!(dev.update().candidate("tiny"), Some(snapshot(2, "+", &second)));
    // dev has used up no number of prod's, and prod makes a version of its own of the same commit.
    world.publish("prod", "tiny", &second).says(&["tiny 1.0~deb12 is in prod"]);
    let prod = Apt::new("stable");
    assert_eq!(prod.update().candidate("tiny").as_deref(), Some("1.0~deb12"));
    assert_eq!(prod.file_of("tiny", "usr/share/tiny/version"), "1.0");
    let status = world.status("3");
    assert_eq!(
        (status["job"]["version"].as_str(), status["job"]["written"].as_str()),
        (Some("1.0~deb12"), Some("1.0"))
    );
    world.build("bob", &["status", "3"]).ok().says(&["written    1.0\n"]);
    let tag = run("git", &["-C", &bare("tiny"), "cat-file", "tag", "1.0_deb12"]);
    assert!(tag.contains("Version: 1.0~deb12") && tag.contains("Written: 1.0"), "{tag}");
    // The same commit again is the same version.
    world.publish("dev", "tiny", &second).says(&["already there"]);
    world.local(&["verify", "--deep"]).ok();
}

#[test]
fn what_a_pocket_has_is_built_again_as_a_version_of_its_own() {
    let world = World::new();
    let _daemon = world.daemon();
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    world
        .build("alice", &["rebuild", "prod", "tiny", "--reason", "x"])
        .refused(65, &["prod has no tiny"]);
    world.publish("prod", "tiny", &commit);
    world.build("alice", &["rebuild", "prod", "tiny", "--reason", " "]).refused(65, &["--reason"]);
    world.build("mallory", &["rebuild", "prod", "tiny", "--reason", "x"]).refused(77, &["prod"]);
    let rebuild = ["rebuild", "prod", "tiny", "--reason", "against the new libc"];
    world
        .build("alice", &[&rebuild[..], &["--dry-run"]].concat())
        .ok()
        .says(&["tiny 1.0build1, written 1.0 ", "would be built"]);
    world
        .build("alice", &[&rebuild[..], &["--wait"]].concat())
        .ok()
        .says(&["tiny 1.0build1 is in prod"]);
    let apt = Apt::new("stable");
    assert_eq!(apt.update().candidate("tiny").as_deref(), Some("1.0build1"));
    let source = run("xz", &["-dc", "/srv/apt/pool/main/t/tiny/tiny_1.0build1.tar.xz"]);
    assert!(
        source.contains("* Rebuild without changes: against the new libc"),
        "no entry says why"
    );
    world.build("bob", &["status", "2"]).ok().says(&["rebuild    against the new libc"]);
    world.publish("prod", "tiny", &commit).says(&["already there"]);
    // A promotion brings the rebuilt version, and copies it.
    world
        .build("alice", &["promote", "tiny", "prod", "dev", "--wait"])
        .ok()
        .says(&["tiny 1.0build1 is in dev"]);
    world
        .build("alice", &[&rebuild[..], &["--wait"]].concat())
        .ok()
        .says(&["tiny 1.0build2 is in prod"]);
    world.local(&["verify", "--deep"]).ok();
}

#[test]
fn a_package_is_taken_out_of_a_pocket() {
    let world = World::new();
    world.stub_sbuild();
    let _daemon = world.daemon();
    let out = "/run/world/log/removed";
    fs::write(out, "").unwrap();
    std::os::unix::fs::chown(out, Some(64321), None).unwrap();
    world.hook(
        "removed",
        "say",
        &format!("echo \"$IB_POCKET $IB_PACKAGE $IB_VERSION $IB_PRINCIPAL: $IB_REASON\" >{out}\n"),
    );
    let repo = world.repo("tiny");
    let first = repo.version("1.0", Tiny::Works);
    world.publish("prod", "tiny", &first);
    let second = repo.version("1.1", Tiny::Works);
    world.publish("prod", "tiny", &second);
    world.build("mallory", &["remove", "prod", "tiny", "--reason", "spite"]).refused(77, &["prod"]);
    world
        .build("alice", &["remove", "prod", "tiny", "--reason", "nobody uses it"])
        .ok()
        .says(&["tiny 1.1 is no longer in prod"]);
    assert_eq!(Apt::new("stable").update().candidate("tiny"), None);
    assert_eq!(repo.served("refs/heads/prod"), None);
    eventually("the hook has run", SOON, || {
        fs::read_to_string(out)
            .is_ok_and(|text| text == "prod tiny 1.1 alice@EXAMPLE.ORG: nobody uses it\n")
    });
    world.local(&["verify", "--deep"]).ok();
    world
        .build("alice", &["submit", "prod", "tiny", &first])
        .refused(65, &["older than 1.1, which prod had until alice@EXAMPLE.ORG removed it"]);
    world.publish("prod", "tiny", &second).says(&["tiny 1.1 is in prod"]);
    assert_eq!(Apt::new("stable").update().candidate("tiny").as_deref(), Some("1.1"));
}

#[test]
fn a_tag_of_upstreams_becomes_the_tarball() {
    let world = World::new();
    let _daemon = world.daemon();
    let repo = world.repo("tiny");
    repo.write("src.txt", "upstream\n");
    let upstream = repo.commit("upstream 1.0");
    repo.tiny("1.0-1", Tiny::Works);
    repo.write("debian/source/format", "3.0 (quilt)\n");
    let commit = repo.commit("1.0-1");
    world
        .build("alice", &["submit", "prod", "tiny", &commit])
        .refused(65, &["tiny_1.0.orig.tar.*", "upstream's tag upstream/1.0"]);
    repo.git(&["tag", "-a", "-m", "upstream", "v1.0", &upstream]);
    repo.push("origin", &["v1.0"]).ok();
    world
        .build("alice", &["submit", "prod", "tiny", &commit, "--dry-run"])
        .ok()
        .says(&["tiny_1.0.orig.tar.xz from tag"]);
    world.publish("prod", "tiny", &commit);
    world
        .build("bob", &["explain", "1"])
        .ok()
        .says(&["made of tag v1.0", "in the commit's history"]);
    repo.changelog("tiny", "1.0-2");
    let next = repo.commit("1.0-2");
    // The pool's from now on.
    world.publish("prod", "tiny", &next);
    world.build("bob", &["explain", "2"]).ok().says(&["from the pool, where job 1 brought it"]);
    let files = Apt::new("stable").update().source_of("tiny");
    assert!(files.iter().any(|name| name == "tiny_1.0.orig.tar.xz"), "{files:?}");
}
