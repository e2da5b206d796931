//! The stories.

use std::fs;
use std::path::Path;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::group::{Group, processes};
use crate::packages::{BOMB, DESERTER, HERD, HOARD, MODEST};
use crate::world::{AN_END, Booted, GROUP, Narrow, UNIT, at_length, eventually, property, soon};
use invirtibuilder_tests_common::run;

#[test]
fn systemd_gives_the_daemon_control_groups_and_init_check_says_so() {
    let machine = Booted::new();
    let by = format!("cgroup v2 below {GROUP}");
    let check = machine.local(&["init", "--check"]).ok().out;
    println!("{check}");
    let says = |line: &str| {
        let rest = line.strip_prefix("fine")?.trim_start().strip_prefix("limits of builds")?;
        Some(rest.trim_start() == by)
    };
    assert!(check.lines().any(|line| says(line) == Some(true)), "init --check says: {check}");
    let log = run("journalctl", &["--no-pager", "-o", "cat", "-u", UNIT]);
    assert!(log.contains(&format!("limits by=\"{by}\"")), "the system log says: {log}");
    let group = fs::read_to_string(format!("/proc/{}/cgroup", machine.main().pid)).unwrap();
    let own = format!("0::/system.slice/{UNIT}.service/daemon");
    assert!(group.lines().any(|line| line == own), "the daemon is in no group of its own: {group}");
}

#[test]
fn the_unit_is_closed_and_apparmor_is_on() {
    let _machine = Booted::new();
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap();
    assert_eq!(enabled, "Y\n", "AppArmor is on");
    let closed = ["ProtectSystem", "OOMPolicy", "Delegate"].map(property);
    assert_eq!(closed, ["full", "continue", "yes"], "the unit is closed");
}

#[test]
fn builds_that_use_too_much_end_by_the_kernel_and_the_daemon_lives() {
    let machine = &Booted::new();
    let main = machine.main();
    for package in [&MODEST, &HERD, &BOMB, &HOARD] {
        machine.push(package);
    }
    let (modest, herd, bomb, hoard) = thread::scope(|watchers| {
        let modest = machine.submit(&MODEST);
        let herd = machine.submit(&HERD);
        watchers.spawn(move || machine.narrow(herd, Narrow::Memory));
        let bomb = machine.submit(&BOMB);
        watchers.spawn(move || machine.narrow(bomb, Narrow::Processes));
        (modest, herd, bomb, machine.submit(&HOARD))
    });

    let state = machine.wait_for_end(modest);
    let log = machine.log(modest);
    assert_eq!(state, "published", "a modest package does not build: {log}");
    assert!(
        log.lines().any(|line| line == "held"),
        "what wants out of its group is not held: {log}"
    );
    let updates = log.lines().filter(|line| line.starts_with("| Update chroot")).count();
    assert_eq!(updates, 0, "the chroot's lists are fetched again: {log}");
    machine.fails(herd, "build.memory", "all the memory that it may");
    machine.fails(hoard, "build.memory", "all the memory that it may");
    machine.fails(bomb, "build.processes", "limits.processes");

    let killed = machine.kernel_said("Tasks in ", " are going to be killed");
    assert!(killed >= 2, "the kernel ended {killed} builds for memory, not two");
    let refused = machine.kernel_said("cgroup: fork rejected by pids controller in ", "");
    assert_eq!(refused, 1, "the kernel refused processes to one build");
    assert_eq!(machine.main(), main, "the daemon lives");
    machine.has_no_groups();
    machine.tries_layers_only_on_new_kernels();
}

#[test]
fn a_build_that_does_not_want_to_end_ends_with_a_killed_daemon_and_when_it_is_cancelled() {
    let machine = Booted::new();
    let main = machine.main();
    machine.push(&DESERTER);
    let job = machine.submit(&DESERTER);
    machine.wait_for_begin(job);
    let is_there = || !processes("comm", |name| name.trim_end() == DESERTER.name).is_empty();
    soon("there is a deserter", is_there);
    let group = Group::of(job).expect("the build has a group");
    let _stranger = group.add_stranger();
    let there = group.processes();
    assert!(there.len() > 5, "the build has only these processes: {there:?}");

    // The daemon is killed, and systemd starts another.
    kill(Pid::from_raw(main.pid.parse().unwrap()), Signal::SIGKILL).unwrap();
    machine.wait_for_another(&main);
    machine.has_none_of(&there);
    let restarts = main.restarts.parse::<u32>().unwrap() + 1;
    assert_eq!(machine.main().restarts, restarts.to_string(), "systemd restarted it once");

    // The build runs again, and is cancelled.
    at_length("the build runs again", || Group::of(job).is_some());
    let group = Group::of(job).expect("the build still runs");
    let _stranger = group.add_stranger();
    let there = group.processes();
    machine.alice(&["cancel", &job.to_string()]).ok();
    eventually("the build is cancelled", AN_END, || machine.state(job) == "cancelled");
    machine.has_no_groups();
    machine.has_none_of(&there);
    machine.tries_layers_only_on_new_kernels();
}

#[test]
fn the_unit_is_reloaded_restarted_and_stopped_and_leaves_no_group() {
    let _machine = Booted::new();
    run("systemctl", &["reload", UNIT]);
    run("systemctl", &["restart", UNIT]);
    soon("the daemon listens", crate::world::is_listening);
    run("systemctl", &["stop", UNIT]);
    soon("the unit's group is gone", || !Path::new(GROUP).exists());
    assert_eq!(property("Result"), "success", "nothing went wrong");
}
