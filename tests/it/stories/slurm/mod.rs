//! Builds on a real cluster of Slurm: they are published as if they had been built here, whatever
//! dies meanwhile, and a node gets nothing that is not its own.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

mod bench;
mod kills;

use super::chroots::{self, Emulator};
use crate::world::cluster::{Cluster, NODES};
use crate::world::{
    Apt, BUILD, Daemon, Repo, SOON, STATE, Tiny, World, eventually, processes, run,
};

/// The program of nodes.
const PROGRAM: &str = "/usr/libexec/invirtibuilder-node/invirtibuilder-node";

/// What a log says of a node that has unpacked the chroot.
const UNPACKED: &str = "The chroot is unpacked on this node, and stays so.";

/// A service that builds on a cluster, and a package.
fn service() -> (World, Cluster, Daemon, Repo) {
    let world = World::new();
    let cluster = Cluster::start();
    let daemon = world.daemon();
    let repo = world.repo("tiny");
    (world, cluster, daemon, repo)
}

/// A version whose build sleeps for so many seconds.
fn sleeps_for(repo: &Repo, version: &str, seconds: u32) -> String {
    repo.version(version, Tiny::Sleeps);
    repo.edit("debian/rules", "sleep 614", &format!("sleep {seconds}.614"));
    repo.commit("it sleeps")
}

fn log_of(job: &str) -> String {
    fs::read_to_string(format!("{STATE}/logs/{job}/build.log")).unwrap_or_default()
}

/// Submits a build that sleeps for so many seconds, and waits until it does so on a node. Returns
/// the job and the node.
fn asleep(world: &World, cluster: &Cluster, repo: &Repo, seconds: u32) -> (String, String) {
    let commit = sleeps_for(repo, "1.0", seconds);
    let job = world.submit("prod", "tiny", &commit);
    world.wait_for(&job, "building", SOON);
    eventually("the build sleeps", BUILD, || {
        assert_eq!(world.state(&job), "building", "{}", log_of(&job));
        let said = log_of(&job).lines().any(|line| line == "sleeping-now");
        said && !processes(&format!("sleep {seconds}.614")).is_empty()
    });
    (job, cluster.building_on())
}

fn is_published(world: &World, version: &str) {
    assert_eq!(Apt::new("stable").update().file_of("tiny", "usr/share/tiny/version"), version);
    world.local(&["verify"]).ok();
}

#[test]
fn quick_a_package_is_published_through_slurm() {
    let (world, cluster, _daemon, repo) = service();
    let start = Instant::now();
    let commit = repo.version("1.0", Tiny::Works);
    world.publish("prod", "tiny", &commit).says(&["tiny 1.0 is in prod"]);
    eprintln!("published through Slurm after {} ms", start.elapsed().as_millis());
    is_published(&world, "1.0");
    let log = log_of("1");
    let node = NODES.iter().find(|node| log.contains(&format!("on node {node}.")));
    let node = node.unwrap_or_else(|| panic!("{log}"));
    world
        .build("alice", &["status", "1"])
        .ok()
        .says(&["slurm", &format!("on {node}: it has ended")]);
    eventually("nothing is left with Slurm", SOON, || cluster.queue().is_empty());
    let left = cluster.on_node(node, &["ls", "/var/lib/invirtibuilder-node/work"]).ok();
    assert_eq!(left.out, "");
    let kept = "ls /var/lib/invirtibuilder-node/environments/*/";
    let kept = cluster.on_node(node, &["sh", "-c", kept]).ok();
    assert!(kept.out.contains("manifest\ntarball\n"), "{}", kept.out);
    let roots = cluster.on_node(node, &["ls", "/var/lib/invirtibuilder-node/roots/0"]).ok();
    assert!(roots.out.contains(".updated\n") && log.contains(UNPACKED), "{}{log}", roots.out);
    let check = [
        "setpriv",
        "--reuid=_invirtibuilder",
        "--regid=_invirtibuilder",
        "--init-groups",
        PROGRAM,
        "--check",
    ];
    cluster.on_node(node, &check).ok().says(&["ok      user: _invirtibuilder has uid 64321"]);
    // From the server, each node looks at itself.
    let said = world.local(&["init", "--check"]);
    for words in ["build: 3 of 3 nodes are up", "10.31.0.1:7443", "node n1", "node n2", "node n3"] {
        assert!(said.out.contains(words), "{words}: {}{}", said.out, said.err);
    }
    assert_eq!(said.out.matches("it can build, by its own look").count(), 3, "{}", said.out);
}

#[test]
fn a_build_has_our_own_packages_over_its_session_and_sees_nothing_of_slurm() {
    let (world, _cluster, _daemon, app) = service();
    let greeting = world.repo("greeting");
    world.publish("prod", "greeting", &greeting.version("1.0", Tiny::Works));
    app.tiny("1.0", Tiny::Works);
    app.need_greeting("cp /usr/share/greeting/version debian/tmp/usr/share/tiny/greeting");
    // The script, its right and Slurm's variables are nowhere where the package looks.
    let looks = "\t! grep -qs '[S]LURM' /proc/[0-9]*/environ /proc/[0-9]*/cmdline\n\
                 \t! ls /var/spool/slurmd /var/lib/invirtibuilder-node /etc/munge 2>/dev/null | grep .\n";
    app.edit("debian/rules", "\tdpkg-gencontrol\n", &format!("{looks}\tdpkg-gencontrol\n"));
    let commit = app.commit("1.0");
    world.publish("prod", "tiny", &commit);
    let apt = Apt::new("stable");
    assert_eq!(apt.update().file_of("tiny", "usr/share/tiny/greeting"), "1.0");
    let explained = world.build("alice", &["explain", "2"]).ok().out;
    assert!(explained.contains("greeting"), "the record knows what was given: {explained}");
    world.local(&["verify"]).ok();
}

#[test]
fn a_cancelled_build_ends_on_its_node_at_once() {
    let (world, cluster, _daemon, repo) = service();
    let (job, node) = asleep(&world, &cluster, &repo, 600);
    world.build("alice", &["status", &job]).ok().says(&[&format!("on {node}: it runs")]);
    assert!(log_of(&job).contains("sleeping-now"), "the log is live");
    let start = Instant::now();
    world.build("alice", &["cancel", &job]).ok();
    eventually("it ends", SOON, || processes("sleep 600.614").is_empty());
    eprintln!("ended on its node {} ms after the cancellation", start.elapsed().as_millis());
    world.wait_for(&job, "cancelled", SOON);
    eventually("nothing is left with Slurm", SOON, || cluster.queue().is_empty());
}

#[test]
fn a_controller_that_is_killed_stops_no_build_and_loses_none() {
    let (world, mut cluster, _daemon, repo) = service();
    let (job, _) = asleep(&world, &cluster, &repo, 8);
    cluster.kill_controller();
    world.wait_for(&job, "published", BUILD);
    is_published(&world, "1.0");
    // While it is away, builds wait and say so.
    let commit = repo.version("2.0", Tiny::Works);
    let job = world.submit("prod", "tiny", &commit);
    eventually("status says why it waits", BUILD, || {
        world.build("alice", &["status", &job]).ok().out.contains("Slurm does not take it")
    });
    cluster.start_controller();
    world.wait_for(&job, "published", BUILD);
    is_published(&world, "2.0");
    // The second build on a node finds the chroot unpacked.
    let node_of = |job: &str| {
        log_of(job).lines().find_map(|line| Some(line.split_once(" on node ")?.1.to_owned()))
    };
    assert!(log_of("1").contains(UNPACKED) && node_of("1").is_some(), "{}", log_of("1"));
    assert_eq!(node_of("1") == node_of(&job), !log_of(&job).contains(UNPACKED), "{}", log_of(&job));
}

#[test]
fn a_build_that_is_preempted_is_built_elsewhere_or_later() {
    let (world, cluster, _daemon, repo) = service();
    for node in &NODES[1..] {
        cluster.drain(node);
    }
    let urgent = ["--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 8"];
    // What Slurm does with a job whose place it takes: it waits again, or is over.
    for (mode, version, words) in [
        ("requeue", "1.0", ""),
        ("cancel", "2.0", "another job took its place: it is sent to Slurm again."),
    ] {
        run("scontrol", &["update", "partitionname=build", &format!("preemptmode={mode}")]);
        let commit = sleeps_for(&repo, version, 9);
        let job = world.submit("prod", "tiny", &commit);
        eventually("the build sleeps", BUILD, || log_of(&job).contains("sleeping-now"));
        run("sbatch", &urgent);
        world.wait_for(&job, "published", BUILD);
        let log = log_of(&job);
        assert!(log.contains(words), "{mode}: {log}");
        assert_eq!(log.lines().filter(|line| *line == "sleeping-now").count(), 2, "{mode}: {log}");
        is_published(&world, version);
    }
}

#[test]
fn a_job_that_is_held_waits_and_says_so() {
    let (world, cluster, _daemon, repo) = service();
    NODES.iter().for_each(|node| cluster.drain(node));
    let commit = repo.version("1.0", Tiny::Works);
    let job = world.submit("prod", "tiny", &commit);
    eventually("Slurm has it", BUILD, || !cluster.queue().is_empty());
    let (number, ..) = cluster.queue().remove(0);
    run("scontrol", &["hold", &number]);
    eventually("status says that it is held", SOON, || {
        world.build("alice", &["status", &job]).ok().out.contains("holds it")
    });
    NODES.iter().for_each(|node| cluster.resume(node));
    run("scontrol", &["release", &number]);
    world.wait_for(&job, "published", BUILD);
    is_published(&world, "1.0");
}

#[test]
fn what_slurm_has_of_ours_and_counts_no_more_is_cancelled() {
    let (world, cluster, _daemon, repo) = service();
    NODES.iter().for_each(|node| cluster.drain(node));
    let commit = repo.version("1.0", Tiny::Works);
    let job = world.submit("prod", "tiny", &commit);
    eventually("Slurm has it", BUILD, || !cluster.queue().is_empty());
    let (number, name, _) = cluster.queue().remove(0);
    // As a controller has it that was killed and knows an older state of its own.
    let older = name.replace(&format!("{job}.1-"), &format!("{job}.0-"));
    assert_ne!(older, name);
    let sbatch = ["sbatch", "--output=/dev/null", "--chdir=/", "--wrap=true"];
    run("as-service", &[&sbatch[..], &[&format!("--job-name={older}")]].concat());
    eventually("only what counts is left", BUILD, || {
        let numbers: Vec<_> = cluster.queue().into_iter().map(|(number, ..)| number).collect();
        numbers == [number.as_str()]
    });
    NODES.iter().for_each(|node| cluster.resume(node));
    world.wait_for(&job, "published", BUILD);
    assert!(!log_of(&job).contains("sent to Slurm again"), "{}", log_of(&job));
}

#[test]
fn a_node_whose_clock_is_wrong_gives_its_build_to_another() {
    let (world, cluster, _daemon, repo) = service();
    cluster.drain("n3");
    cluster.set_clock("n1", "+90s");
    cluster.set_clock("n2", "-90s");
    let commit = repo.version("1.0", Tiny::Works);
    let job = world.submit("prod", "tiny", &commit);
    for (node, which) in [("n1", "ahead of"), ("n2", "behind")] {
        eventually("the log says what is wrong", BUILD, || {
            let log = log_of(&job);
            log.lines().any(|line| {
                line.contains(&format!("the clock of node {node} is "))
                    && line.contains(&format!("{which} the daemon's: have both keep the time"))
            })
        });
    }
    cluster.resume("n3");
    world.wait_for(&job, "published", BUILD);
    assert!(log_of(&job).contains(" on node n3."), "{}", log_of(&job));
    is_published(&world, "1.0");
}

#[test]
fn a_machine_of_its_own_builds_on_a_node() {
    /// The longest that a small build in an emulated machine may take.
    const LONG: Duration = Duration::from_secs(1200);
    let world = World::new();
    world.image();
    let cluster = Cluster::start();
    let vm = "build: { pockets: { prod: { isolation: vm, limits: { time: 20m, silence: 10m, \
              memory: 700M, disk: 2G } } } }\n";
    fs::write("/etc/invirtibuilder/conf.d/vm.yaml", vm).unwrap();
    let _daemon = world.daemon();
    let repo = world.repo("tiny");
    repo.tiny("1.0", Tiny::Works);
    let look = "\techo \"kernel: $$(uname -r)\"\n\tdpkg-gencontrol\n";
    repo.edit("debian/rules", "\tdpkg-gencontrol\n", look);
    let job = world.submit("prod", "tiny", &repo.commit("1.0"));
    world.wait_for(&job, "published", LONG);
    let log = log_of(&job);
    let kernel = log.lines().find_map(|line| line.strip_prefix("kernel: ")).unwrap();
    assert!(kernel != run("uname", &["-r"]) && log.contains(" on node n"), "{log}");
    is_published(&world, "1.0");
    let node = NODES.iter().find(|node| log.contains(&format!("on node {node}."))).unwrap();
    let kept = "ls /var/lib/invirtibuilder-node/environments/*/";
    cluster.on_node(node, &["sh", "-c", kept]).ok().says(&["initrd", "kernel", "manifest", "root"]);
    assert_eq!(processes("qemu-system"), Vec::<String>::new());
}

/// Minutes, as every instruction for arm64 is emulated.
#[test]
fn two_architectures_are_built_on_different_nodes_at_the_same_time() {
    const LONG: Duration = Duration::from_secs(40 * 60);
    let world = World::new();
    let _emulator = Emulator::new();
    if !Path::new(STATE).join("chroots/bookworm-arm64.json").exists() {
        world.local(&["chroot", "create", "bookworm", "--arch", "arm64"]).ok();
    }
    let cluster = Cluster::start();
    let both = "executor: { slurm: { partition: build, constraint: { amd64: \"n1|n3\", arm64: n2 } } }\n\
                build: { pockets: { prod: { architectures: [amd64, arm64], limits: { time: 40m, \
                silence: 20m, memory: 1G } } } }\n";
    fs::write("/etc/invirtibuilder/conf.d/zz-both.yaml", both).unwrap();
    let _daemon = world.daemon();
    let repo = world.repo("tiny");
    let commit = chroots::commit(&repo, "1.0", "echo \"machine: $$(uname -m)\"");
    let job = world.submit("prod", "tiny", &commit);
    let mut most = 0;
    eventually("it is published", LONG, || {
        most = most.max(cluster.queue().len());
        assert_ne!(world.state(&job), "failed", "{}", log_of(&job));
        world.state(&job) == "published"
    });
    assert_eq!(most, 2, "both are with Slurm at the same time");
    let log = log_of(&job);
    for machine in ["x86_64", "aarch64"] {
        assert!(log.contains(&format!("machine: {machine}")), "{machine}: {log}");
    }
    let status = world.status(&job);
    let on = |architecture: &str| {
        let all = status["slurm"].as_array().unwrap();
        let of = all.iter().find(|it| it["architecture"] == architecture).unwrap();
        of["node"].as_str().unwrap().to_owned()
    };
    assert_eq!(on("arm64"), "n2", "{status:#}");
    assert!(["n1", "n3"].contains(&&on("amd64")[..]), "{status:#}");
    for architecture in ["amd64", "arm64"] {
        let deb = format!("/srv/apt/pool/main/t/tiny/tiny_1.0_{architecture}.deb");
        assert!(Path::new(&deb).exists(), "{deb}");
    }
    world.local(&["verify"]).ok();
}

#[test]
fn a_build_that_the_controller_has_lost_is_sent_again() {
    let (world, mut cluster, _daemon, repo) = service();
    // It cannot start before the controller forgets it.
    NODES.iter().for_each(|node| cluster.drain(node));
    let commit = repo.version("1.0", Tiny::Works);
    let job = world.submit("prod", "tiny", &commit);
    eventually("Slurm has it", BUILD, || !cluster.queue().is_empty());
    cluster.lose_controller();
    cluster.start_controller();
    world.wait_for(&job, "published", BUILD);
    assert!(
        log_of(&job).contains("Slurm has lost the build: it is sent to Slurm again."),
        "{}",
        log_of(&job)
    );
    is_published(&world, "1.0");
}

#[test]
fn a_node_that_is_killed_gives_its_build_to_another() {
    let (world, mut cluster, _daemon, repo) = service();
    let (job, node) = asleep(&world, &cluster, &repo, 12);
    let start = Instant::now();
    cluster.kill_node(&node);
    eventually("another node builds", BUILD, || {
        log_of(&job).lines().filter(|line| *line == "sleeping-now").count() == 2
    });
    let took = start.elapsed();
    eprintln!("running elsewhere {} ms after the node's death", took.as_millis());
    assert!(took < Duration::from_secs(30), "{took:?}");
    world.wait_for(&job, "published", BUILD);
    let log = log_of(&job);
    assert!(log.contains(&format!("node {node} has said nothing for 12 s: it is sent")), "{log}");
    is_published(&world, "1.0");
}

#[test]
fn a_node_whose_disk_is_full_gives_its_build_to_another() {
    let (world, cluster, _daemon, repo) = service();
    let shrink = ["mount", "-o", "remount,size=20m", "/var/lib/invirtibuilder-node"];
    for node in ["n1", "n2"] {
        cluster.on_node(node, &shrink).ok();
    }
    let commit = repo.version("1.0", Tiny::Works);
    world.publish("prod", "tiny", &commit);
    is_published(&world, "1.0");
    let log = log_of("1");
    for node in ["n1", "n2"] {
        assert!(log.contains(&format!("Node {node} cannot build: ")), "{log}");
    }
    assert!(log.contains("No space left on device") && log.contains(" on node n3."), "{log}");
}

#[test]
fn a_daemon_that_is_killed_builds_again_and_publishes_once() {
    let (world, cluster, daemon, repo) = service();
    let (job, _) = asleep(&world, &cluster, &repo, 10);
    let before: Vec<String> = cluster.queue().into_iter().map(|(_, name, _)| name).collect();
    daemon.kill();
    let _daemon = world.daemon();
    world.wait_for(&job, "published", BUILD);
    assert_eq!(world.status(&job)["job"]["attempt"], 2);
    is_published(&world, "1.0");
    eventually("nothing is left with Slurm", SOON, || {
        cluster.queue().iter().all(|(_, name, _)| !before.contains(name))
    });
}

#[test]
fn a_second_start_ends_the_first() {
    let (world, cluster, _daemon, repo) = service();
    let (job, _) = asleep(&world, &cluster, &repo, 10);
    let (number, ..) = cluster.queue().remove(0);
    run("scontrol", &["requeue", &number]);
    world.wait_for(&job, "published", BUILD);
    let log = log_of(&job);
    assert_eq!(log.matches(&format!("Slurm's job {number} on node")).count(), 2, "{log}");
    assert!(!log.contains("it is sent to Slurm again"), "{log}");
    is_published(&world, "1.0");
}

#[test]
fn the_right_of_a_script_is_good_for_its_start_on_its_node_and_once() {
    let (world, cluster, _daemon, repo) = service();
    let (job, node) = asleep(&world, &cluster, &repo, 15);
    let (number, ..) = cluster.queue().remove(0);
    // Whoever has read the script: no package can.
    let script = format!("/var/spool/slurmd/job{:05}/slurm_script", number.parse::<u32>().unwrap());
    let text = cluster.on_node(&node, &["cat", &script]).ok().out;
    let other = NODES.iter().find(|name| **name != node).unwrap();
    for (on, says_node, again, words) in [
        (&node[..], &node[..], "0", "this start has had its session"),
        (&node[..], &node[..], "1", "Slurm says otherwise"),
        (other, &node[..], "0", "is not the address of node"),
        (other, other, "0", "Slurm says otherwise"),
    ] {
        let run = format!(
            "cat >/tmp/script <<'END'\n{text}END\nexport SLURM_JOB_ID={number} SLURM_RESTART_COUNT={again} \
             SLURMD_NODENAME={says_node}\n{PROGRAM} --state-dir /tmp/stolen /tmp/script"
        );
        let answer = cluster.on_node(on, &["sh", "-c", &run]);
        assert_ne!(answer.code, 0);
        assert!(answer.err.contains(words), "{words}: {}", answer.err);
    }
    let wrong = text.replace("\"right\":\"", "\"right\":\"0");
    let run = format!(
        "cat >/tmp/script <<'END'\n{wrong}END\nexport SLURM_JOB_ID={number} SLURMD_NODENAME={node}\n\
         {PROGRAM} --state-dir /tmp/stolen /tmp/script"
    );
    let answer = cluster.on_node(&node, &["sh", "-c", &run]);
    assert!(answer.err.contains("this right is good for nothing"), "{}", answer.err);
    world.wait_for(&job, "published", BUILD);
    is_published(&world, "1.0");
}

/// What a node does that lies: it has its session by right, and tries what is not its own.
const LIAR: &str = r#"#!/bin/sh
json=$(tail -n +2 "$1")
get() { printf '%s' "$json" | jq -r ".$1"; }
base=https://$(get address)
ask() { curl --silent --insecure --max-time 20 --write-out ' [%{http_code}]' "$@"; }
start=$(printf '%s' "$json" | jq --argjson number "$SLURM_JOB_ID" --arg node "$SLURMD_NODENAME" \
    '{name, right, number: $number, again: 0, node: $node, version: "VERSION", now: (now * 1000 | floor)}')
key=$(ask -d "$start" "$base/start" | sed 's/ \[200\]$//' | jq -r .session)
own="Authorization: Bearer $key"
say() { printf '%s\n' "$*" | curl --silent --insecure -H "$own" --data-binary @- "$base/log"; }
result() { jq -n --arg name "$1" --argjson size "$2" --arg sha256 "$3" '{failure: null, results: [{name: $name, size: $size, sha256: $sha256}]}'; }
say "a second session: $(ask -d "$start" "$base/start")"
say "no session: $(ask -H 'Authorization: Bearer 00' -X POST "$base/beat")"
say "no such thing: $(ask -H "$own" "$base/etc/passwd")"
say "a name that climbs: $(ask -H "$own" --path-as-is -T /etc/hostname "$base/result/../../x")"
say "a hidden name: $(ask -H "$own" -T /etc/hostname "$base/result/.x")"
say "never sent: $(ask -H "$own" -d "$(result a.deb 1 00)" "$base/end")"
name=tiny_1.0_amd64.changes
echo lie >/tmp/lie
say "sent: $(ask -H "$own" -T /tmp/lie "$base/result/$name")"
say "sent twice: $(ask -H "$own" -T /tmp/lie "$base/result/$name")"
say "another sum: $(ask -H "$own" -d "$(result $name 4 00)" "$base/end")"
end=$(result $name 4 "$(sha256sum /tmp/lie | cut -d ' ' -f 1)")
ask -H "$own" -d "$end" "$base/end" >/tmp/end
ask -H "$own" -d "$end" "$base/end" >/tmp/replay
ask -H "$own" -T /tmp/lie "$base/result/late" >/tmp/late
"#;

#[test]
fn a_node_that_lies_gets_nothing_and_publishes_nothing() {
    let (world, cluster, _daemon, repo) = service();
    let liar = LIAR.replace("VERSION", env!("CARGO_PKG_VERSION"));
    for node in NODES {
        let put = format!(
            "cat >/tmp/liar <<'END'\n{liar}END\nchmod 755 /tmp/liar\n\
             mount --bind /tmp/liar {PROGRAM}"
        );
        cluster.on_node(node, &["sh", "-c", &put]).ok();
    }
    let commit = repo.version("1.0", Tiny::Works);
    let job = world.submit("prod", "tiny", &commit);
    world.wait_for(&job, "failed", BUILD);
    let log = log_of(&job);
    for words in [
        "a second session: this start has had its session, or a later one has\n [403]",
        "no session: there is no such session\n [410]",
        "no such thing: there is nothing of this name\n [404]",
        "a name that climbs: this is no name of a result\n [403]",
        "a hidden name: this is no name of a result\n [403]",
        "never sent: other results were sent than are named\n [403]",
        "sent:  [200]",
        "sent twice: File exists",
        "another sum: tiny_1.0_amd64.changes is not what was sent\n [403]",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
    let status = world.status(&job);
    let failure = status["job"]["failure"].as_str().unwrap();
    assert_eq!(failure, "build.result", "{status:#}");
    let node = status["slurm"][0]["node"].as_str().unwrap();
    eventually("it has tried everything", SOON, || {
        cluster.on_node(node, &["test", "-s", "/tmp/late"]).code == 0
    });
    let said = |name: &str| cluster.on_node(node, &["cat", &format!("/tmp/{name}")]).ok().out;
    assert_eq!(said("end"), " [200]");
    assert_eq!(said("replay"), "there is no such session\n [410]");
    assert_eq!(said("late"), "there is no such session\n [410]");
    assert!(!world.build("alice", &["packages"]).ok().out.contains("1.0"));
    world.local(&["verify"]).ok();
}

#[test]
fn a_node_that_builds_otherwise_is_found_out_by_another() {
    let world = World::new();
    let twice = "build: { pockets: { prod: { require_reproducible: true } } }\n";
    fs::write("/etc/invirtibuilder/conf.d/twice.yaml", twice).unwrap();
    let cluster = Cluster::start();
    // Each build is on both of the others.
    cluster.drain("n3");
    let _daemon = world.daemon();
    let repo = world.repo("tiny");
    let version = |version: &str| {
        repo.tiny(version, Tiny::Works);
        let copy = "\tcp /etc/issue debian/tmp/usr/share/tiny/\n\tdpkg-gencontrol\n";
        repo.edit("debian/rules", "\tdpkg-gencontrol\n", copy);
        repo.commit(version)
    };
    world.publish("prod", "tiny", &version("1.0"));
    is_published(&world, "1.0");
    let log = log_of("1");
    for node in ["n1", "n2"] {
        assert_eq!(log.matches(&format!("on node {node}.")).count(), 1, "{log}");
    }
    // What a node's root can do: the chroot that it keeps is another one now.
    let change = "for etc in /var/lib/invirtibuilder-node/roots/0/*/etc; do echo otherwise >>$etc/issue; done";
    cluster.on_node("n2", &["sh", "-c", change]).ok();
    let job = world.submit("prod", "tiny", &version("2.0"));
    world.wait_for(&job, "failed", BUILD);
    let status = world.build("alice", &["status", &job]).ok().out;
    for words in ["build.unreproducible", "tiny_2.0_all.deb"] {
        assert!(status.contains(words), "{words}: {status}");
    }
    is_published(&world, "1.0");
    // While there is no other node, the second build waits for one.
    cluster.drain("n2");
    let job = world.submit("prod", "tiny", &version("3.0"));
    eventually("the second build waits", BUILD, || {
        let status = world.build("alice", &["status", &job]).ok().out;
        log_of(&job).contains("The second build")
            && status.contains("no node that it may run on is up")
    });
    cluster.resume("n3");
    world.wait_for(&job, "published", BUILD);
    is_published(&world, "3.0");
}
