//! Building again what was built.

use std::fs;

use crate::world::{BUILD, Repo, STATE, Tiny, World, run};

/// A version with something in it that no other build has.
fn random(repo: &Repo, version: &str) -> String {
    repo.tiny(version, Tiny::Works);
    let rules = fs::read_to_string(repo.dir.join("debian/rules")).unwrap();
    repo.write(
        "debian/rules",
        &rules.replace(&format!("echo {version} >"), "cat /proc/sys/kernel/random/uuid >"),
    );
    repo.commit(version)
}

fn suite(name: &str) -> String {
    run("sh", &["-c", &format!("xz -dc /srv/apt/dists/{name}/main/binary-amd64/Packages.xz")])
}

#[test]
fn what_was_published_is_built_again_and_compared() {
    let world = World::new();
    let _daemon = world.daemon();
    let (good, bad) = (world.repo("good"), world.repo("bad"));
    let first = world.submit("prod", "good", &good.version("1.0", Tiny::Works));
    let second = world.submit("prod", "bad", &random(&bad, "1.0"));
    world.wait_for(&first, "published", BUILD);
    world.wait_for(&second, "published", BUILD);
    let before = world.snapshot();
    world.local(&["verify", "--rebuild", &first]).ok().says(&[
        "good_1.0_all.deb is the same",
        &format!("good 1.0 of job {first} can be built again, bit by bit"),
    ]);
    let answer = world.local(&["verify", "--rebuild", &second]);
    assert_eq!(answer.code, 1, "{}", answer.out);
    assert!(answer.out.contains("bad_1.0_all.deb differs"), "{}", answer.out);
    // diffoscope says in which file.
    assert!(answer.out.contains("/usr/share/bad/version"), "{}", answer.out);
    let json = world.local(&["verify", "--rebuild", &second, "--json"]).json();
    assert_eq!(
        (json["same"].as_bool(), json["packages"][0]["verdict"].as_str()),
        (Some(false), Some("differs"))
    );
    assert_eq!(world.snapshot(), before);
    assert_eq!(
        fs::read_dir(format!("{STATE}/work")).unwrap().count(),
        0,
        "it left something behind"
    );

    world.local(&["verify", "--rebuild", "99"]).refused(65, &["99"]);
    world.build("alice", &["verify", "--rebuild", &first]).refused(77, &["on the server"]);

    // A chroot that is gone is named; what was copied was built by another job.
    let copy = world.submit("dev", "good", &good.git(&["rev-parse", "HEAD"]));
    world.wait_for(&copy, "published", BUILD);
    world.local(&["verify", "--rebuild", &copy]).ok().says(&[&format!("of job {first}")]);
    let text = format!("chroots: {{ dir: {STATE}/no-chroots }}\n");
    fs::write("/etc/invirtibuilder/conf.d/chroots.yaml", text).unwrap();
    world.local(&["verify", "--rebuild", &first]).refused(69, &["the chroot", "chroots.keep"]);
}

#[test]
fn a_pocket_can_demand_that_two_builds_give_the_same() {
    let world = World::new();
    let strict = "build: { pockets: { strict: { acl: 'princ:alice@EXAMPLE.ORG', distro: bookworm, architectures: [amd64], \
                  require_reproducible: true } } }\n";
    fs::write("/etc/invirtibuilder/conf.d/strict.yaml", strict).unwrap();
    let _daemon = world.daemon();
    let (good, bad) = (world.repo("good"), world.repo("bad"));
    let job = world.submit("strict", "good", &good.version("1.0", Tiny::Works));
    world.wait_for(&job, "published", BUILD);
    let log = world.build("alice", &["log", &job]).ok().out;
    assert_eq!(log.matches("Build finished at").count(), 2, "{log}");

    let job = world.submit("strict", "bad", &random(&bad, "1.0"));
    world.wait_for(&job, "failed", BUILD);
    let status = world.build("alice", &["status", &job]).ok();
    assert!(
        status.out.contains("build.unreproducible") && status.out.contains("bad_1.0_all.deb"),
        "{}",
        status.out
    );
    assert!(!suite("strict").contains("bad"));

    // What another pocket has built once is built once more on its way here, and what was proven is
    // not.
    let commit = random(&bad, "2.0");
    world.publish("prod", "bad", &commit);
    let copy = world.submit("strict", "bad", &commit);
    world.wait_for(&copy, "failed", BUILD);
    assert!(world.build("alice", &["status", &copy]).ok().out.contains("build.unreproducible"));
    let commit = good.version("2.0", Tiny::Works);
    world.publish("prod", "good", &commit);
    let copy = world.submit("strict", "good", &commit);
    world.wait_for(&copy, "published", BUILD);
    assert_eq!(
        world.build("alice", &["log", &copy]).ok().out.matches("Build finished at").count(),
        1
    );
    assert!(suite("strict").contains("Version: 2.0"));
    world.local(&["verify"]).ok();
}
