//! Suites in time, and others' hands on Git.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::world::{Apt, CONFIG, SOON, Tiny, World, bare, eventually, run};

#[test]
fn a_suite_goes_back_and_a_branch_that_was_moved_is_put_back() {
    let world = World::new();
    let _daemon = world.daemon();
    let repo = world.repo("tiny");
    let first = repo.version("1.0", Tiny::Works);
    world.publish("prod", "tiny", &first);
    let second = repo.version("1.1", Tiny::Works);
    world.publish("prod", "tiny", &second);
    world.local(&["verify"]).ok().says(&["database, Git and archive agree: 1 packages, 2 suites"]);

    world.local(&["archive", "snapshots", "stable"]).ok().says(&["SNAPSHOT", "job 1", "job 2"]);
    world.build("alice", &["archive", "rollback", "stable", "2"]).refused(77, &["on the server only"]);
    world.local(&["archive", "rollback", "stable", "9"]).refused(65, &["no snapshot 9", "'archive snapshots stable'"]);
    world.local(&["archive", "rollback", "stable", "2"]).ok().says(&["tiny: 1.1 -> 1.0", "it is snapshot 4 now"]);
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
    world.local(&["archive", "rollback", "stable", "2"]).refused(69, &["somebody else moved it", "'verify --repair'"]);
    world.local(&["verify", "--repair"]).ok().says(&["moved back", "database, Git and archive agree"]);
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
        fs::write(CONFIG, format!("{good}\narchive:\n  signing_key: {keys}\n  valid_for: 2d\n")).unwrap();
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
    assert!(!trusts("first.asc") && trusts("both.asc") && trusts("second.asc"), "the second one alone signs");
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
