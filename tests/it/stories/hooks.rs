//! Hooks hear of all that happens to a job, and cannot undo it.

use std::fs;

use crate::world::{BUILD, SOON, Tiny, World, eventually};

const HEARD: &str = "/run/world/log/hooks";

/// Each event appends what it hears to one file.
fn listen(world: &World) {
    fs::write(HEARD, "").unwrap();
    std::os::unix::fs::chown(HEARD, Some(64321), None).unwrap();
    for event in ["submitted", "started", "published", "failed", "cancelled"] {
        world.hook(
            event,
            "10-listen",
            &format!(
                "read json\necho $IB_EVENT $IB_JOB $IB_POCKET $IB_PACKAGE $IB_VERSION $IB_PRINCIPAL $IB_STATE \
                      \"$IB_FAILURE\" >>{HEARD}"
            ),
        );
    }
}

fn heard(text: &str) -> bool {
    fs::read_to_string(HEARD).unwrap().lines().any(|line| line.starts_with(text))
}

#[test]
fn hooks_hear_of_every_event() {
    let world = World::new();
    listen(&world);
    world.hook("published", "20-breaks", "echo out of order >&2; exit 9");
    let daemon = world.daemon();
    let repo = world.repo("tiny");
    let first = repo.version("1.0", Tiny::Works);
    let job = world.submit("prod", "tiny", &first);
    world.wait_for(&job, "published", BUILD);
    // A hook hears the state that the job has when the hook runs.
    for (event, state) in [("submitted", ""), ("started", ""), ("published", "published")] {
        let text = format!("{event} {job} prod tiny 1.0 alice@EXAMPLE.ORG {state}");
        eventually(&text, SOON, || heard(text.trim()));
    }
    eventually("the broken hook is on record", SOON, || {
        world.status(&job)["hooks"].to_string().contains("status 9")
    });
    world.build("alice", &["status", &job]).ok().says(&["published/20-breaks", "status 9"]);

    let bad = repo.version("2.0", Tiny::Fails);
    let job = world.submit("prod", "tiny", &bad);
    world.wait_for(&job, "failed", BUILD);
    let text = format!("failed {job} prod tiny 2.0 alice@EXAMPLE.ORG failed build.failed");
    eventually(&text, SOON, || heard(&text));
    daemon.stop();

    let third = repo.version("3.0", Tiny::Works);
    let job = world.submit("prod", "tiny", &third);
    world.build("alice", &["cancel", &job]).ok();
    let _daemon = world.daemon();
    let text = format!("cancelled {job} prod tiny 3.0 alice@EXAMPLE.ORG cancelled");
    eventually(&text, SOON, || heard(&text));
}
