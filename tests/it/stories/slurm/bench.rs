//! What `script/bench slurm` measures: what a cluster costs and brings.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{service, sleeps_for};
use crate::world::cluster::NODES;
use crate::world::{BUILD, Repo, Tiny, eventually, run};

/// Prints what `script/bench slurm` reads.
fn measured(name: &str, value: f64) {
    eprintln!("measured: {name} {value:.2}");
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// A number that the script gives, or this one.
fn given(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// How long a package takes here and there, and how long the daemon itself computes for it.
#[test]
#[ignore = "script/bench slurm measures"]
fn a_trivial_package_here_and_through_slurm() {
    let (world, _cluster, daemon, repo) = service();
    fs::write(
        "/etc/invirtibuilder/conf.d/there.yaml",
        "build: { pockets: { dev: { executor: local } } }\n",
    )
    .unwrap();
    drop(daemon);
    let daemon = world.daemon();
    world.wait_until_ready();
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for n in 1..=10 {
        for (pocket, measures) in [("dev", &mut here), ("prod", &mut there)] {
            let number = if pocket == "dev" { n } else { n + 100 };
            let commit = repo.version(&format!("{number}.0"), Tiny::Works);
            let (start, before) = (Instant::now(), daemon.computed());
            world.publish(pocket, "tiny", &commit);
            let computed = (daemon.computed() - before).as_secs_f64() * 1000.0;
            measures.push((start.elapsed().as_secs_f64(), computed));
        }
    }
    // The first on each node fetches the chroot, and unpacks it.
    let there = there.split_off(NODES.len());
    for (name, measures) in [("local", &here), ("slurm", &there)] {
        measured(&format!("{name}_s"), median(measures.iter().map(|it| it.0).collect()));
        let computed = median(measures.iter().map(|it| it.1).collect());
        measured(&format!("{name}_daemon_ms"), computed);
    }
    let seconds = |measures: &[(f64, f64)]| median(measures.iter().map(|it| it.0).collect());
    measured("more_s", seconds(&there) - seconds(&here));
}

#[test]
#[ignore = "script/bench slurm measures"]
fn builds_that_sleep_on_three_nodes_and_on_one() {
    let (world, cluster, _daemon, _) = service();
    let repos: Vec<Repo> =
        (0..given("IB_BENCH_BUILDS", 6)).map(|n| world.repo(&format!("sleeper{n}"))).collect();
    let published = |version: &str, count: usize, seconds| {
        let commits: Vec<String> =
            repos[..count].iter().map(|repo| sleeps_for(repo, version, seconds)).collect();
        let start = Instant::now();
        let jobs: Vec<String> = repos
            .iter()
            .zip(&commits)
            .map(|(repo, commit)| world.submit("prod", &repo.package, commit))
            .collect();
        for job in &jobs {
            world.wait_for(job, "published", BUILD * 10);
        }
        start.elapsed().as_secs_f64()
    };
    // Each node builds two at a time, and unpacks a chroot for each.
    published("0.1", repos.len().min(2 * NODES.len()), 10);
    let three = published("1.0", repos.len(), 20);
    NODES[1..].iter().for_each(|node| cluster.drain(node));
    let one = published("2.0", repos.len(), 20);
    measured("three_nodes_s", three);
    measured("one_node_s", one);
    measured("times_faster", one / three);
}

/// Jobs that wait for nodes: `slurm.jobs` of them are with Slurm.
#[test]
#[ignore = "script/bench slurm measures"]
fn jobs_that_wait() {
    /// How long we look, in seconds.
    const LOOK: u32 = 60;
    let (world, cluster, daemon, _) = service();
    NODES.iter().for_each(|node| cluster.drain(node));
    let waiting = given("IB_BENCH_WAITING", 300);
    for n in 0..6 {
        let repo = world.repo(&format!("first{n}"));
        world.submit("prod", &repo.package, &repo.version("1.0", Tiny::Works));
    }
    eventually("Slurm has its part", BUILD, || cluster.queue().len() == 6);
    submit_all(&world.repo("many").package, waiting);
    let before = daemon.computed();
    std::thread::sleep(Duration::from_secs(LOOK.into()));
    let computed = daemon.computed() - before;
    assert_eq!(cluster.queue().len(), 6);
    measured("waiting_jobs", waiting as f64);
    measured("waiting_core_percent", computed.as_secs_f64() * 100.0 / f64::from(LOOK));
}

/// Submits so many commits of a package, each with a version of its own.
fn submit_all(package: &str, count: usize) {
    let mut history = String::new();
    let data = |text: &str| format!("data {}\n{text}\n", text.len());
    for n in 1..=count {
        let entry = format!(
            "{package} (1.{n}) unstable; urgency=medium\n\n  * A change.\n\n -- Alice \
             <alice@example.org>  Mon, 06 Jan 2025 12:00:00 +0000\n"
        );
        let control = format!(
            "Source: {package}\nMaintainer: Alice <alice@example.org>\n\nPackage: {package}\n\
             Architecture: all\nDescription: many commits\n"
        );
        history += &format!(
            "commit refs/heads/main\ncommitter A <a@example.org> {} +0000\n",
            1_700_000_000 + n
        );
        history += &data("c");
        history += &format!("M 100644 inline debian/changelog\n{}", data(&entry));
        if n == 1 {
            history += &format!("M 100644 inline debian/control\n{}", data(&control));
            history += &format!("M 100755 inline debian/rules\n{}", data("#!/usr/bin/make -f\n"));
        }
    }
    let repo = format!("/srv/git/packages/{package}.git");
    let mut import = Command::new("as-service")
        .args(["git", "-C", &repo, "fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    import.stdin.take().unwrap().write_all(history.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
    let commits = run("git", &["-C", &repo, "rev-list", "--reverse", "main"]);
    let commits: Vec<&str> = commits.lines().collect();
    std::thread::scope(|scope| {
        for part in commits.chunks(commits.len().div_ceil(4)) {
            scope.spawn(move || {
                for commit in part {
                    let alice = ["env", "REMOTE_USER=alice@EXAMPLE.ORG"];
                    let submit = ["invirt-build", "submit", "prod", package, commit];
                    run("as-service", &[&alice[..], &submit[..]].concat());
                }
            });
        }
    });
}
