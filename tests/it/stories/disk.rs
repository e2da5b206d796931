//! A disk that is full or fails: the job fails and says why, the service answers, and all goes on
//! when there is room.

use std::time::Duration;

use crate::world::{Apt, BUILD, Daemon, Disk, Repo, SOON, STATE, Tiny, World, eventually, run};

/// A service with one published version, whose builds are stubs: they are not what these stories
/// are about.
fn service(world: &World) -> (Daemon, Repo) {
    world.stub_sbuild();
    let daemon = world.daemon();
    // Nothing else writes to the disks.
    world.wait_until_ready();
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    world.publish("prod", "tiny", &commit);
    (daemon, repo)
}

/// Publishing fails with these words while a disk is broken, changes nothing, and succeeds at a
/// retry afterwards.
fn publishing_fails_and_recovers(
    world: &World,
    repo: &Repo,
    breaks: impl FnOnce(),
    mend: impl FnOnce(),
    words: &str,
) {
    let commit = repo.version("2.0", Tiny::Works);
    let before = (world.build("alice", &["packages"]).ok().out, repo.served("refs/heads/prod"));
    breaks();
    let answer = world.build("alice", &["submit", "prod", "tiny", &commit, "--wait"]);
    assert_eq!(answer.code, 1, "{}{}", answer.out, answer.err);
    let answer = answer.says(&["tiny 2.0 failed: system.error", words]);
    assert_eq!(world.status("2")["job"]["failure"], "system.error", "{}", answer.out);
    assert_eq!(
        (world.build("alice", &["packages"]).ok().out, repo.served("refs/heads/prod")),
        before
    );
    assert_eq!(Apt::new("stable").update().candidate("tiny").as_deref(), Some("1.0"));

    mend();
    world.build("alice", &["retry", "2"]).ok();
    world.wait_for("2", "published", BUILD);
    assert_eq!(Apt::new("stable").update().file_of("tiny", "usr/share/tiny/version"), "2.0");
    assert_eq!(repo.served("refs/heads/prod"), Some(commit));
    run("git", &["-C", "/srv/git/packages/tiny.git", "fsck", "--strict"]);
    world.local(&["verify"]).ok();
}

#[test]
fn a_full_archive_fails_the_job() {
    let world = World::new();
    let (_daemon, repo) = service(&world);
    let disk = Disk::of("/srv/apt");
    publishing_fails_and_recovers(
        &world,
        &repo,
        || disk.fill(),
        || disk.make_room(),
        "No space left on device",
    );
}

#[test]
fn an_archive_that_became_read_only_fails_the_job() {
    let world = World::new();
    let (_daemon, repo) = service(&world);
    let disk = Disk::of("/srv/apt");
    let fail = || disk.remount("ro");
    publishing_fails_and_recovers(
        &world,
        &repo,
        fail,
        || disk.remount("rw"),
        "Read-only file system",
    );
}

#[test]
fn full_repositories_fail_the_job() {
    let world = World::new();
    let (_daemon, repo) = service(&world);
    let disk = Disk::of("/srv/git");
    publishing_fails_and_recovers(
        &world,
        &repo,
        || disk.fill(),
        || disk.make_room(),
        "no room on its disk",
    );
}

#[test]
fn a_full_state_directory_refuses_submissions_and_answers_questions() {
    let world = World::new();
    let (_daemon, repo) = service(&world);
    let commit = repo.version("2.0", Tiny::Works);
    let disk = Disk::of(STATE);
    // What is removed after the first job's end would be room again.
    eventually("the first job's workspace is gone", SOON, || {
        std::fs::read_dir(format!("{STATE}/work")).is_ok_and(|mut it| it.next().is_none())
    });
    disk.fill();
    world.build("alice", &["submit", "prod", "tiny", &commit]).refused(69, &["full"]);
    world.build("alice", &["status"]).ok().says(&["tiny"]);
    world.build("alice", &["packages"]).ok().says(&["1.0"]);
    disk.make_room();
    world.publish("prod", "tiny", &commit);
    world.local(&["verify"]).ok();
}

#[test]
fn jobs_wait_for_room_and_start_by_themselves_when_there_is_some() {
    let world = World::new();
    let (_daemon, repo) = service(&world);
    let commit = repo.version("2.0", Tiny::Works);
    let disk = Disk::of(STATE);
    disk.leave(32);
    let job = world.submit("prod", "tiny", &commit);
    eventually("the daemon complains", SOON, || {
        crate::world::daemon_log().contains("make room, and they start")
    });
    let waits = world.status(&job)["waits"].clone();
    assert_eq!(
        (&waits["for"], waits["dir"].as_str().unwrap().starts_with(STATE)),
        (&"disk".into(), true)
    );
    world
        .build("alice", &["status", &job])
        .ok()
        .says(&["queued", "room on the disk of /var/lib/invirtibuilder"]);
    disk.make_room();
    world.wait_for(&job, "published", BUILD);
}

#[test]
fn a_state_directory_that_fills_up_during_a_build_fails_it_when_there_is_room_to_say_so() {
    let world = World::new();
    let (mut daemon, repo) = service(&world);
    repo.write("debian/torture", "slow\n");
    let commit = repo.version("2.0", Tiny::Works);
    let job = world.submit("prod", "tiny", &commit);
    world.wait_for(&job, "building", SOON);
    let disk = Disk::of(STATE);
    disk.fill();
    eventually("the daemon complains", SOON, || {
        crate::world::daemon_log().contains("a job's end cannot be recorded")
    });
    assert!(daemon.runs());
    world.build("alice", &["status", &job]).ok().says(&["building"]);
    disk.make_room();
    world.wait_for(&job, "failed", Duration::from_secs(30));
    assert_eq!(world.status(&job)["job"]["failure"], "system.error");
    world.build("alice", &["retry", &job]).ok();
    world.wait_for(&job, "published", BUILD);
    world.local(&["verify"]).ok();
}
