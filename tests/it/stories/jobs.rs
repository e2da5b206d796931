//! Following, stopping and repeating jobs.

use std::time::{Duration, Instant};

use crate::world::{BUILD, SOON, Tiny, World, eventually, processes};

#[test]
fn a_queued_job_can_be_cancelled_and_queued_again() {
    let world = World::new();
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    let job = world.submit("prod", "tiny", &commit);
    world.build("carol", &["cancel", &job]).ok().says(&["cancelled"]);
    assert_eq!(world.state(&job), "cancelled");
    world.build("alice", &["status", &job]).ok().says(&["carol@EXAMPLE.ORG"]);
    world.build("alice", &["cancel", &job]).refused(65, &["cancelled already"]);
    world.build("bob", &["retry", &job]).refused(77, &["bob@EXAMPLE.ORG"]);
    world.build("alice", &["retry", &job]).ok().says(&["queued again"]);
    world.build("alice", &["retry", &job]).refused(65, &["queued"]);

    let _daemon = world.daemon();
    world.wait_for(&job, "published", BUILD);
}

#[test]
fn a_running_build_can_be_cancelled_with_all_its_processes() {
    let world = World::new();
    let _daemon = world.daemon();
    let repo = world.repo("sleepy");
    let commit = repo.version("1.0", Tiny::Sleeps);
    let job = world.submit("prod", "sleepy", &commit);
    world.wait_asleep(&job);
    world.build("alice", &["log", &job]).ok().says(&["sleeping-now"]);

    let start = Instant::now();
    world.build("alice", &["cancel", &job]).ok().says(&["stopping"]);
    world.wait_for(&job, "cancelled", SOON);
    eventually("no process of the build is left", Duration::from_secs(5), || {
        processes(Tiny::SLEEP).is_empty() && processes("sbuild").is_empty()
    });
    assert!(start.elapsed() < SOON);
    assert_eq!(repo.served("refs/heads/prod"), None);
}

#[test]
fn a_failing_build_says_why_to_whoever_waits() {
    let world = World::new();
    let _daemon = world.daemon();
    let repo = world.repo("wreck");
    let commit = repo.version("1.0", Tiny::Fails);
    let before = world.build("alice", &["packages"]).ok().out;
    let answer = world.build("alice", &["submit", "prod", "wreck", &commit, "--wait"]);
    assert_eq!(answer.code, 1, "{}{}", answer.out, answer.err);
    let answer = answer.says(&["wreck 1.0 failed: build.failed", "'log 1'"]);
    assert!(!answer.out.contains("Skipping"), "{}", answer.out);
    // What the build printed does not reach the terminal as it is.
    let log = world.build("bob", &["log", "1"]).ok().says(&["so it ends", "\\u{1b}[31mred"]);
    assert!(!log.out.contains('\x1b'));
    assert_eq!(world.build("alice", &["packages"]).ok().out, before);
    assert_eq!(repo.served("refs/tags/1.0"), None);
    let status = world.status("1");
    assert_eq!(status["job"]["failure"], "build.failed");
    // The same version may be used again, as it was never published.
    let mended = repo.version("1.0", Tiny::Works);
    world
        .build("alice", &["submit", "prod", "wreck", &mended, "--dry-run"])
        .ok()
        .says(&["would be built"]);
}

#[test]
fn several_jobs_are_waited_for_at_once() {
    let world = World::new();
    world.stub_sbuild();
    let (good, gone) = (world.repo("good"), world.repo("gone"));
    let good = world.submit("prod", "good", &good.version("1.0", Tiny::Works));
    let gone = world.submit("prod", "gone", &gone.version("1.0", Tiny::Works));
    world.build("alice", &["cancel", &gone]).ok();
    let _daemon = world.daemon();
    let answer = world.build("bob", &["wait", &good, &gone, &good]);
    assert_eq!(answer.code, 1, "{}{}", answer.out, answer.err);
    let words =
        [&format!("job {good}: good 1.0 is in prod")[..], &format!("job {gone}: gone 1.0 was")];
    let answer = answer.says(&words);
    assert_eq!(answer.out.matches("is in prod").count(), 1, "a job that is named twice is one");
    world.build("bob", &["wait", &good]).ok();
    let json = world.build("bob", &["--json", "wait", &good, &gone]);
    let named = json.out.lines().all(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        [&good, &gone].contains(&&line["job"].to_string())
    });
    assert!(named && json.out.lines().count() > 4, "{}", json.out);
    let shown =
        world.build("bob", &["status", &good, "--follow"]).ok().says(&["state      published"]);
    assert!(shown.out.starts_with("\x1b[H\x1b[Jjob "), "a terminal shows it in one place");
    world.build("bob", &["wait", "99"]).refused(65, &["there is no job 99"]);
    world.build("bob", &["wait"]).refused(64, &["JOBS"]);
}

#[test]
fn a_failure_is_told_by_what_was_seen_and_not_by_words_in_the_log() {
    let world = World::new();
    let _daemon = world.daemon();
    let repo = world.repo("wordy");
    repo.tiny("1.0", Tiny::Works);
    let rules = std::fs::read_to_string(repo.dir.join("debian/rules")).unwrap();
    // A build has the names that every Debian machine has; then a test of it prints what a full
    // disk would say.
    let look = "\tperl -MSocket=:all -e 'my ($$e, @r) = getaddrinfo(\"localhost\", \"\", {family => AF_INET6}); die $$e if $$e'\n\
                \tgetent hosts ip6-localhost\n\techo 'No space left on device'; exit 3\n";
    repo.write(
        "debian/rules",
        &rules.replacen(
            "build build-indep build-arch:\n",
            &format!("build build-indep build-arch:\n{look}"),
            1,
        ),
    );
    let job = world.submit("dev", "wordy", &repo.commit("it fails"));
    world.wait_for(&job, "failed", BUILD);
    let status = world.status(&job);
    assert_eq!(status["job"]["failure"], "build.failed", "{status}");
    let reason = status["job"]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("make: *** [debian/rules:") && reason.ends_with("Error 3"),
        "{reason}"
    );
}

#[test]
fn submitting_what_is_under_way_names_the_job() {
    let world = World::new();
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    let job = world.submit("prod", "tiny", &commit);
    world
        .build("carol", &["submit", "prod", "tiny", "main"])
        .ok()
        .says(&[&format!("job {job}:"), "already queued"]);
    let second =
        world.build("alice", &["--json", "submit", "prod", "tiny", &commit[..10]]).ok().json();
    assert_eq!((second["job"].to_string(), &second["new"]), (job, &false.into()));
    // Another commit of the same version is not let in beside it.
    let rival = repo.version("1.0", Tiny::Fails);
    world
        .build("alice", &["submit", "dev", "tiny", &rival])
        .refused(65, &["being brought in", &commit[..12]]);
}
