//! Numbers for monitoring, as Prometheus' own tool reads them.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::world::{BUILD, Tiny, World, run};

/// Has promtool(1) look at numbers.
#[track_caller]
fn is_read_by_prometheus(numbers: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(numbers.as_bytes()).unwrap();
    let done = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.is_empty(), "{said}{numbers}");
}

#[test]
fn what_happens_is_in_the_numbers() {
    let world = World::new();
    let repo = world.repo("tiny");
    let (good, bad) = (repo.version("1.0", Tiny::Works), repo.version("1.1", Tiny::Fails));
    world.submit("prod", "tiny", &good);
    let numbers = || run("invirt-build", &["metrics"]);
    let has = |line: &str| {
        let all = numbers();
        assert!(all.lines().any(|other| other == line), "{line} is not in\n{all}");
    };
    has(r#"invirtibuilder_jobs{pocket="prod",state="queued"} 1"#);
    has("invirtibuilder_daemon_up 0");
    let _daemon = world.daemon();
    world.wait_for("1", "published", BUILD);
    world.submit("prod", "tiny", &bad);
    world.wait_for("2", "failed", BUILD);
    has("invirtibuilder_daemon_up 1");
    has("invirtibuilder_owed_moves 0");
    has(r#"invirtibuilder_jobs_ended_total{pocket="prod",state="published",failure=""} 1"#);
    has(
        r#"invirtibuilder_jobs_ended_total{pocket="prod",state="failed",failure="build.failed"} 1"#,
    );
    has(r#"invirtibuilder_job_phase_duration_seconds_count{pocket="prod",state="building"} 2"#);
    let all = numbers();
    // Our helper has taken the end of the last line away.
    is_read_by_prometheus(&format!("{all}\n"));
    for name in ["suite_signed", "key_created", "chroot_created"] {
        assert!(all.contains(&format!("\ninvirtibuilder_{name}_timestamp_seconds{{")), "{all}");
    }
    assert!(!all.contains("invirtibuilder_jobs{") && !all.contains("oldest_queued"), "{all}");
    world.build("alice", &["metrics"]).refused(77, &["metrics", "on the server only"]);
}
