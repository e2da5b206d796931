//! Suites in time, and others' hands on Git.

use crate::world::{Apt, Tiny, World, bare, run};

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
