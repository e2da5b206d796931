//! The machine is the server of a cluster and another is its node, both set up as
//! `docs/how-to/slurm.md` says: Debian's units of munge and Slurm, which has systemd give it control
//! groups (`proctrack/cgroup`).

use std::process::Command;

use invirtibuilder_tests_common::{Answer, run};

use crate::packages::{DESERTER, MODEST};
use crate::world::{AN_END, Booted, LONG, SERVICE, at_length, eventually};

/// Where systemd gives Slurm's node groups for jobs: its name has that of the node.
const JOBS: &str = "/system.slice/n1_slurmstepd.scope";

/// How the service builds here: everything on the cluster.
const CONFIGURED: &str = "\
executor: { slurm: { partition: build } }
slurm: { listen: '192.0.2.1:7443' }
chroots: { in_memory: 512M }
";

/// What a command says on the node, as root.
#[track_caller]
fn on_node(script: &str) -> String {
    run("srun", &["--quiet", "--nodelist=n1", "--mem=64M", "--chdir=/", "sh", "-c", script])
}

/// The control groups of the deserters that run on the node: a line each.
fn deserters() -> String {
    let name = DESERTER.name;
    on_node(&format!("for pid in $(pgrep -x {name}); do sed -n s/^0:://p /proc/$pid/cgroup; done"))
}

/// Nothing runs on the node of builds: there is no group of a job but that of whoever asks, and no
/// deserter. Files that Slurm left no time to remove are removed by the next build.
#[track_caller]
fn is_idle() {
    eventually("nothing runs on the node", AN_END, || {
        let left = on_node(&format!(
            "ls /sys/fs/cgroup{JOBS} | grep ^job_ | grep -vx job_$SLURM_JOB_ID; \
             pgrep -x {}; true",
            DESERTER.name
        ));
        if !left.is_empty() {
            println!("on the node: {left}");
        }
        left.is_empty()
    });
}

#[test]
fn a_server_and_a_node_that_are_set_up_as_the_guide_says_build() {
    eventually("the node is idle", LONG, || {
        Answer::of(Command::new("sinfo").args(["-h", "-o", "%T"])).out.trim() == "idle"
    });
    let machine = Booted::with_builds(CONFIGURED, || {});
    let check = machine.local(&["init", "--check"]).ok().out;
    println!("{check}");
    assert!(check.contains("it can build, by its own look"), "the node is not looked at: {check}");

    machine.push(&MODEST);
    let modest = machine.submit(&MODEST);
    let state = machine.wait_for_end(modest);
    let log = machine.log(modest);
    assert_eq!(state, "published", "a modest package does not build: {log}");
    assert!(log.lines().any(|line| line == "held"), "it is not held: {log}");
    assert!(log.contains("on node n1."), "it is not built on the node: {log}");
    is_idle();

    // The service ends a build, and an administrator another one.
    machine.push(&DESERTER);
    for ends_it in ["cancel", "scancel"] {
        let job = machine.submit(&DESERTER);
        machine.wait_for_begin(job);
        at_length("there are deserters in a job's group", || {
            let groups = deserters();
            let below = format!("{JOBS}/job_");
            assert!(groups.lines().all(|group| group.starts_with(&below)), "{groups}");
            !groups.is_empty()
        });
        if ends_it == "cancel" {
            machine.alice(&["cancel", &job.to_string()]).ok();
            eventually("the build is cancelled", AN_END, || machine.state(job) == "cancelled");
        } else {
            run("scancel", &["--user", SERVICE]);
            machine.fails(job, "system.error", "scancel");
        }
        is_idle();
    }
}
