//! Whose turn it is, and what people are told of it.

use std::fs;

use crate::world::{BUILD, SOON, Tiny, World, eventually};

/// Adds to the configuration, before a daemon reads it.
fn configure(text: &str) {
    fs::write("/etc/invirtibuilder/conf.d/queue.yaml", text).unwrap();
}

#[test]
fn people_are_told_what_a_job_waits_for_and_how_long() {
    let world = World::new();
    configure("daemon: { jobs: 1 }\n");
    let (sleepy, tiny) = (world.repo("sleepy"), world.repo("tiny"));
    let sleeps = sleepy.version("1.0", Tiny::Sleeps);
    let commits = ["1.0", "1.1"].map(|version| tiny.version(version, Tiny::Works));
    let submit =
        |package, commit: &str| world.build("alice", &["submit", "prod", package, commit]).ok();
    submit("sleepy", &sleeps).says(&["job 1:", "next in line", "no daemon runs"]);
    assert_eq!(world.status("1")["waits"]["for"], "daemon");
    world
        .build("bob", &["status", "1"])
        .ok()
        .says(&["waits for", "the daemon, which does not run"]);

    let _daemon = world.daemon();
    world.wait_asleep("1");
    let answer = submit("tiny", &commits[0]);
    assert!(!answer.out.contains("no daemon"), "{}", answer.out);
    submit("tiny", &commits[1]);
    assert_eq!(world.status("2")["waits"]["for"], "place");
    let second = world.status("3")["waits"].clone();
    assert_eq!((&second["for"], &second["job"]), (&"job".into(), &2.into()));
    world
        .build("bob", &["status"])
        .ok()
        .says(&["job 2 waits for a place, about ", "job 3 waits for job 2 of its package"]);
    eventually("what was told is kept", SOON, || world.status("3")["forecast"]["start"].is_i64());

    let mut waiting = world.command("alice");
    let waiting = waiting
        .args(["submit", "prod", "tiny", &commits[0], "--wait"])
        .stdout(std::process::Stdio::piped());
    let waiting = waiting.spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(4));
    world.build("alice", &["cancel", "1"]).ok();
    let said = String::from_utf8(waiting.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.contains("job 2: queued (") && said.contains("waits for a place"), "{said}");
    world.wait_for("3", "published", BUILD);
    let told = world.status("3")["forecast"].clone();
    assert!(told["started"].is_i64(), "{told}");
    world.build("bob", &["status", "3"]).ok().says(&["foretold", "to start at "]);
    let all = world.build("bob", &["--json", "status"]).ok().json();
    assert!(
        all["forecasts"]["jobs"].as_i64() >= Some(1)
            && all["waits"].as_object().unwrap().is_empty(),
        "{all}"
    );
}

#[test]
fn priority_numbers_of_jobs_and_operators_are_for_those_who_may() {
    let world = World::new();
    let repo = world.repo("tiny");
    let commits = ["1.0", "1.1", "1.2", "1.3"].map(|version| repo.version(version, Tiny::Works));
    let before = world.snapshot();
    world
        .build("carol", &["submit", "prod", "tiny", &commits[0], "--priority"])
        .refused(77, &["carol", "--priority"]);
    assert_eq!(world.snapshot(), before);
    world.build("mallory", &["cancel", "1"]).refused(65, &["no job 1"]);

    configure(
        "acl: { operators: [ 'princ:mallory@EXAMPLE.ORG' ] }\n\
         build: { open_jobs: 2, pockets: { prod: { priority: [ 'princ:carol@EXAMPLE.ORG' ] } } }\n",
    );
    for commit in &commits[..2] {
        world.submit("prod", "tiny", commit);
    }
    let answer = world.build("alice", &["submit", "prod", "tiny", &commits[2]]);
    answer.refused(75, &["alice@EXAMPLE.ORG has 2 open jobs", "build.open_jobs"]);
    world
        .build("alice", &["submit", "prod", "tiny", &commits[0], "--priority"])
        .refused(77, &["--priority"]);
    world
        .build("carol", &["submit", "prod", "tiny", &commits[2], "--priority"])
        .ok()
        .says(&["job 3:"]);
    // What it has to wait for is as urgent.
    for job in ["1", "2", "3"] {
        assert_eq!(world.status(job)["job"]["priority"], true, "job {job}");
    }
    world.build("mallory", &["cancel", "2"]).ok().says(&["cancelled"]);
    world.build("alice", &["status", "2"]).ok().says(&["cancelled by mallory@EXAMPLE.ORG"]);
    world.submit("prod", "tiny", &commits[3]);
    world.build("alice", &["retry", "2"]).refused(75, &["build.open_jobs"]);
    world.build("carol", &["retry", "2"]).ok();
    assert_eq!(world.status("2")["job"]["priority"], false);
    world.local(&["audit", "verify"]).ok();
}
