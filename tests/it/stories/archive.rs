//! Suites in time, and others' hands on Git.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::world::{Apt, BUILD, CONFIG, SOON, Tiny, World, bare, eventually, run};

#[test]
fn a_suite_goes_back_and_a_branch_that_was_moved_is_put_back() {
    let world = World::new();
    let _daemon = world.daemon();
    let repo = world.repo("tiny");
    let first = repo.version("1.0", Tiny::Works);
    world.publish("prod", "tiny", &first);
    let second = repo.version("1.1", Tiny::Works);
    world.publish("prod", "tiny", &second);
    world.local(&["verify"]).ok().says(&["database, Git and archive agree: 1 package, 2 suites"]);

    world.local(&["archive", "snapshots", "stable"]).ok().says(&["SNAPSHOT", "job 1", "job 2"]);
    world
        .build("alice", &["archive", "rollback", "stable", "2"])
        .refused(77, &["on the server only"]);
    world
        .local(&["archive", "rollback", "stable", "9"])
        .refused(65, &["no snapshot 9", "'archive snapshots stable'"]);
    world
        .local(&["archive", "rollback", "stable", "2"])
        .ok()
        .says(&["tiny: 1.1 -> 1.0", "it is snapshot 4 now"]);
    let apt = Apt::new("stable");
    assert_eq!(apt.update().file_of("tiny", "usr/share/tiny/version"), "1.0");
    assert_eq!(repo.served("refs/heads/prod").as_ref(), Some(&first));
    world.local(&["verify", "--deep"]).ok();
    // What was taken back can be brought in again, and is not built again.
    world.publish("prod", "tiny", &second).says(&["tiny 1.1 is in prod"]);
    assert_eq!(apt.update().candidate("tiny").as_deref(), Some("1.1"));

    run("git", &["-C", &bare("tiny"), "update-ref", "refs/heads/prod", &first]);
    let found = world.local(&["verify"]);
    assert_eq!(found.code, 1, "{}", found.out);
    found.says(&["tiny: branch prod: it is at", "1 difference:"]);
    world
        .local(&["archive", "rollback", "stable", "2"])
        .refused(69, &["somebody else moved it", "'verify --repair'"]);
    world
        .local(&["verify", "--repair"])
        .ok()
        .says(&["moved back", "database, Git and archive agree"]);
    assert_eq!(repo.served("refs/heads/prod").as_ref(), Some(&second));
    world.build("alice", &["verify"]).refused(77, &["on the server only"]);
    world.local(&["archive", "gc"]).ok().says(&["removed 0 snapshots and 0 versions"]);
}

#[test]
fn clients_change_from_one_key_to_the_next_without_a_bad_day() {
    let world = World::new();
    let daemon = world.daemon();
    let served = Path::new("/srv/apt/archive-key.asc");
    let kept = tempfile::tempdir().unwrap();
    let good = fs::read_to_string(CONFIG).unwrap();
    // What the archive says of its keys from now on, as a file that a client would have kept.
    let change = |keys: &str, name: &str| {
        fs::write(CONFIG, format!("{good}\narchive:\n  signing_key: {keys}\n  valid_for: 2d\n"))
            .unwrap();
        world.local(&["init"]).ok();
        let before = fs::read_to_string("/srv/apt/dists/stable/InRelease").unwrap();
        daemon.signal(Signal::SIGHUP);
        eventually("the suite is signed anew", SOON, || {
            fs::read_to_string("/srv/apt/dists/stable/InRelease").unwrap() != before
        });
        fs::copy(served, kept.path().join(name)).unwrap();
    };
    fs::copy(served, kept.path().join("first.asc")).unwrap();
    let (one, two) = ("/etc/invirtibuilder/archive-key.asc", "/etc/invirtibuilder/next-key.asc");
    let trusts = |name: &str| Apt::trusting("stable", &kept.path().join(name)).trusts();
    assert!(trusts("first.asc"));
    change(&format!("[{one}, {two}]"), "both.asc");
    assert!(trusts("first.asc") && trusts("both.asc"), "both sign");
    change(two, "second.asc");
    assert!(
        !trusts("first.asc") && trusts("both.asc") && trusts("second.asc"),
        "the second one alone signs"
    );
    assert!(fs::read_to_string("/srv/apt/dists/stable/Release").unwrap().contains("Valid-Until: "));
    world.local(&["verify"]).ok();
    world.build("alice", &["status"]).ok().says(&["no jobs yet"]);

    // A key that ends soon is warned of.
    let home = kept.path().join("gpg");
    let home = home.to_str().unwrap();
    let script = format!(
        "umask 077 && mkdir {home} && export GNUPGHOME={home} && \
         gpg -q --batch --passphrase '' --quick-generate-key soon rsa3072 sign 20d && \
         gpg --armor --export-secret-keys >/etc/invirtibuilder/soon.asc && gpgconf --kill all && \
         chown _invirtibuilder /etc/invirtibuilder/soon.asc"
    );
    run("sh", &["-c", &script]);
    change(&format!("[{two}, /etc/invirtibuilder/soon.asc]"), "soon.asc");
    world.build("bob", &["status"]).ok().says(&["warning: signing key ", "expires in 19 days"]);
    let _ = fs::remove_file("/etc/invirtibuilder/soon.asc");
    let _ = fs::remove_file(two);
}

#[test]
fn a_number_that_dev_used_up_is_given_back_but_not_what_it_stood_for() {
    let world = World::new();
    world.stub_sbuild();
    let daemon = world.daemon();
    let repo = world.repo("tiny");
    let slip = repo.version("1.0", Tiny::Works);
    let job = world.submit("dev", "tiny", &slip);
    world.wait_for(&job, "published", BUILD);
    let old = fs::read("/srv/apt/pool/main/t/tiny/tiny_1.0.dsc").unwrap();
    repo.write("debian/a-change", "x\n");
    let meant = repo.commit("what was meant");
    world
        .build("alice", &["submit", "prod", "tiny", &meant])
        .refused(65, &["version 1.0 of tiny is commit"]);

    let release = |version: &str| {
        world.local(&["archive", "release", "tiny", version, "--reason", "dev used it up"])
    };
    world
        .build("alice", &["archive", "release", "tiny", "1.0", "--reason", "x"])
        .refused(77, &["on the server only"]);
    world.local(&["archive", "release", "tiny", "1.0"]).refused(64, &["--reason"]);
    world.local(&["archive", "release", "tiny", "1.0", "--reason", " "]).refused(64, &["says why"]);
    release("1.0").refused(65, &["suite unstable shows tiny 1.0"]);
    release("9.0").refused(65, &["was never published", "'history tiny'"]);
    let next = repo.version("1.1", Tiny::Works);
    world.publish("dev", "tiny", &next);
    release("1.0")
        .ok()
        .says(&["tiny 1.0 no longer names commit", "another commit may have the version"]);
    world
        .local(&["audit", "show", "--event", "archive.release"])
        .ok()
        .says(&["dev used it up", &slip]);
    world.local(&["audit", "verify"]).ok();
    world.local(&["verify", "--deep"]).ok();
    assert!(!Path::new("/srv/apt/pool/main/t/tiny/tiny_1.0.dsc").exists());
    world.build("bob", &["status", &job]).ok();

    // Neither the commit nor what was made of it comes back.
    world
        .build("alice", &["submit", "dev", "tiny", &slip])
        .refused(65, &["was let go by", "never has it again"]);
    repo.git(&["checkout", "-q", "--detach", &slip]);
    repo.git(&["commit", "-q", "--amend", "-m", "the same in other words"]);
    let same = repo.git(&["rev-parse", "HEAD"]);
    repo.push("origin", &[&format!("{same}:refs/heads/same")]).ok();
    let job = world.submit("dev", "tiny", &same);
    world.wait_for(&job, "failed", BUILD);
    let status = world.status(&job);
    assert_eq!(status["job"]["failure"], "publish.conflict", "{status}");
    assert!(
        status["job"]["reason"]
            .as_str()
            .unwrap()
            .contains("of a file of tiny 1.0, which was let go"),
        "{status}"
    );

    // Another commit has the number, is tagged with it where that is done, and keeps it.
    world.publish("prod", "tiny", &meant);
    let apt = Apt::new("stable");
    assert_eq!(apt.update().candidate("tiny").as_deref(), Some("1.0"));
    assert_ne!(fs::read("/srv/apt/pool/main/t/tiny/tiny_1.0.dsc").unwrap(), old);
    assert!(repo.served("refs/tags/1.0").is_some());
    world.publish("prod", "tiny", &next);
    release("1.0").refused(65, &["is tagged"]);
    world.local(&["verify", "--deep"]).ok();
    drop(daemon);
    world.unstub_sbuild();
}
