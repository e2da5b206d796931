//! Packages that use more than they may: each is ended, and the kind of its failure says by which
//! limit.

use std::fs;

use crate::world::{BUILD, Repo, STATE, World, eventually, processes};

const LIMITS: &str =
    "limits: { time: 10m, silence: 60s, memory: 400M, disk: 1200M, processes: 300, log: 2M }";

/// What `debian/rules` runs, the name of its package, and how that has to end.
const CASES: [(&str, &str, &str); 7] = [
    (
        "memory-hog",
        r"perl -e 'for (1 .. 4000) { push @x, q(x) x (1 << 20) } sleep 600'",
        "build.memory",
    ),
    // Many small ones, each of which is far below the limit.
    (
        "memory-herd",
        r"for n in 1 2 3 4 5 6 7 8 9 10; do perl -e '@x = map { q(x) x (1 << 20) } 1 .. 80; sleep 600' & done; wait",
        "build.memory",
    ),
    ("fork-bomb", r"perl -e 'while (1) { fork }'", "build.processes"),
    ("disk-filler", r"head -c 3G /dev/zero >filling", "build.disk"),
    ("log-flooder", r"yes this is a line of a log that has no end", "build.log"),
    ("sleeper", r"echo asleep; sleep 631", "build.silence"),
    (
        "deserter",
        r"setsid perl -e '$$SIG{$$_} = q(IGNORE) for qw(TERM HUP INT PIPE CHLD); $$0 = q(deserter-632); sleep 632' & sleep 633",
        "build.silence",
    ),
];

fn greedy(repo: &Repo, rule: &str) -> String {
    repo.tiny("1.0", crate::world::Tiny::Works);
    let rules = fs::read_to_string(repo.dir.join("debian/rules")).unwrap();
    repo.write("debian/rules", &rules.replace("\ttrue\n", &format!("\t{rule}\n")));
    repo.commit("more than it may")
}

#[test]
fn whoever_uses_too_much_is_ended_and_told_why() {
    let world = World::new();
    fs::write(
        "/etc/invirtibuilder/conf.d/limits.yaml",
        format!("daemon: {{ jobs: 4 }}\nbuild: {{ pockets: {{ dev: {{ {LIMITS} }} }} }}\n"),
    )
    .unwrap();
    let daemon = world.daemon();
    let jobs: Vec<_> = CASES
        .iter()
        .map(|(package, rule, kind)| {
            let commit = greedy(&world.repo(package), rule);
            (world.submit("dev", package, &commit), package, kind)
        })
        .collect();
    for (job, package, kind) in &jobs {
        eventually(&format!("{package} has ended"), BUILD * 3, || {
            ["failed", "published"].contains(&&world.state(job)[..])
        });
        let status = world.status(job);
        assert_eq!(status["job"]["failure"], **kind, "{package}: {status:#}");
        let log = fs::metadata(format!("{STATE}/logs/{job}/build.log")).unwrap().len();
        assert!(log <= 2 << 20, "{package}: {log}");
    }
    // Nothing of them goes on, and nothing of them is left.
    for name in ["sleep 631", "deserter-632", "sleep 633", "sleep 600"] {
        assert_eq!(processes(name), Vec::<String>::new(), "{name}");
    }
    eventually("the work of the builds is removed", BUILD, || {
        fs::read_dir(format!("{STATE}/work")).unwrap().flatten().count() == 0
    });
    world.local(&["init", "--check"]).says(&["limits of builds"]);
    drop(daemon);
    let note = fs::read_to_string(format!("{STATE}/limits")).unwrap();
    let writable = fs::read_to_string("/proc/self/cgroup").unwrap().contains("/world-");
    assert_eq!(note.starts_with("cgroup"), writable, "{note}");
}

#[test]
fn a_build_within_its_limits_does_not_notice_them() {
    let world = World::new();
    fs::write(
        "/etc/invirtibuilder/conf.d/limits.yaml",
        format!("daemon: {{ jobs: 4 }}\nbuild: {{ pockets: {{ dev: {{ {LIMITS} }} }} }}\n"),
    )
    .unwrap();
    let _daemon = world.daemon();
    // Half of what it may have, shared by ten.
    let rule = r"perl -e '@x = map { q(x) x (1 << 20) } 1 .. 100; for (1 .. 10) { fork or do { sleep 3; exit } } 1 while wait > 0'";
    let commit = greedy(&world.repo("modest"), rule);
    world.publish("dev", "modest", &commit);
}
