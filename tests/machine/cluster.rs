//! The machine is a cluster of one, set up as `docs/how-to/slurm.md` says: Debian's units of munge
//! and Slurm, which has systemd give it control groups (`proctrack/cgroup`).

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use invirtibuilder_tests_common::{Answer, run};

use crate::group::processes;
use crate::packages::{DESERTER, MODEST};
use crate::world::{AN_END, Booted, at_length, eventually, soon};

/// What systemd gives Slurm's node for jobs: its name has that of the node.
const JOBS: &str = "/sys/fs/cgroup/system.slice/machine_slurmstepd.scope";

/// How the service builds here: everything on the cluster.
const SERVICE: &str = "\
executor: { slurm: { partition: build } }
slurm: { listen: '127.0.0.1:7443' }
chroots: { in_memory: 512M }
";

/// Sets the cluster up, and waits until its node takes jobs.
fn set_up() {
    let settings = "\
ClusterName=lab
SlurmctldHost=machine(127.0.0.1)
ProctrackType=proctrack/cgroup
NodeName=machine NodeAddr=127.0.0.1 CPUs=2 RealMemory=3500
PartitionName=build Nodes=machine Default=YES MaxTime=INFINITE State=UP
";
    let conf = include_str!("../../examples/slurm/slurm.conf").to_owned() + settings;
    fs::write("/etc/slurm/slurm.conf", conf).unwrap();
    fs::write("/etc/slurm/cgroup.conf", include_str!("../../examples/slurm/cgroup.conf")).unwrap();
    run("systemctl", &["restart", "munge", "slurmctld", "slurmd"]);
    soon("the node is idle", || {
        Answer::of(Command::new("sinfo").args(["-h", "-o", "%T"])).out.trim() == "idle"
    });
}

/// The control groups of Slurm's jobs.
fn groups() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(JOBS) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("job_")).collect()
}

#[test]
fn builds_are_in_groups_of_slurms_and_leave_nothing_there() {
    set_up();
    let machine = Booted::with_builds(SERVICE, || {});
    let check = machine.local(&["init", "--check"]).ok().out;
    println!("{check}");

    machine.push(&MODEST);
    let modest = machine.submit(&MODEST);
    let state = machine.wait_for_end(modest);
    let log = machine.log(modest);
    assert_eq!(state, "published", "a modest package does not build: {log}");
    assert!(log.lines().any(|line| line == "held"), "it is not held: {log}");
    soon("no group of a job is left", || groups().is_empty());

    machine.push(&DESERTER);
    let job = machine.submit(&DESERTER);
    machine.wait_for_begin(job);
    let deserters = || processes("comm", |name| name.trim_end() == DESERTER.name);
    soon("there is a deserter", || !deserters().is_empty());
    let there = deserters();
    for pid in &there {
        let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let below = JOBS.strip_prefix("/sys/fs/cgroup").unwrap();
        assert!(group.starts_with(&format!("0::{below}/job_")), "it is in no job's group: {group}");
    }
    machine.alice(&["cancel", &job.to_string()]).ok();
    eventually("the build is cancelled", AN_END, || machine.state(job) == "cancelled");
    eventually("no group of a job is left", AN_END, || groups().is_empty());
    machine.has_none_of(&there);

    // Whoever ends it with Slurm's own command leaves nothing, either.
    let again = machine.submit(&DESERTER);
    machine.wait_for_begin(again);
    at_length("there is a deserter", || !deserters().is_empty());
    let there = deserters();
    run("scancel", &["--user", crate::world::SERVICE]);
    machine.fails(again, "system.error", "scancel");
    eventually("no group of a job is left", AN_END, || groups().is_empty());
    machine.has_none_of(&there);
}
