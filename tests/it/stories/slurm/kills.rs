//! Daemon, controller and nodes are killed at random instants while builds run on a cluster.

use std::time::Duration;

use super::service;
use crate::world::cluster::NODES;
use crate::world::{BUILD, Repo, Tiny, World, eventually};

/// A package that is always under way: when a version is published, the next is submitted.
struct Busy {
    repo: Repo,
    version: u32,
    job: Option<String>,
}

impl Busy {
    fn go_on(&mut self, world: &World) {
        if self.job.as_ref().is_none_or(|job| world.state(job) == "published") {
            self.version += 1;
            let commit = self.repo.version(&format!("1.{}", self.version), Tiny::Works);
            self.job = Some(world.submit("prod", &self.repo.package, &commit));
        }
    }
}

/// `IB_KILLS` of them; `IB_SEED` repeats a run.
#[test]
fn random_kills_lose_nothing_and_publish_nothing_twice() {
    let number = |variable: &str| std::env::var(variable).ok()?.parse::<u64>().ok();
    let (kills, seed) =
        (number("IB_KILLS").unwrap_or(20), number("IB_SEED").unwrap_or_else(|| fastrand::u64(..)));
    eprintln!("{kills} kills, seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (world, mut cluster, daemon, _) = service();
    world.stub_sbuild();
    let mut daemon = Some(daemon);
    let mut all: Vec<Busy> = (0..4)
        .map(|n| Busy { repo: world.repo(&format!("busy{n}")), version: 0, job: None })
        .collect();
    let mut killed = [0; 3];
    for _ in 0..kills {
        cluster.resume_duplicates();
        all.iter_mut().for_each(|busy| busy.go_on(&world));
        std::thread::sleep(Duration::from_millis(random.u64(100..4000)));
        let which = random.usize(..3);
        killed[which] += 1;
        let away = Duration::from_millis(random.u64(..2000));
        match which {
            0 => {
                daemon.take().unwrap().kill();
                daemon = Some(world.daemon());
            }
            1 => {
                cluster.kill_controller();
                std::thread::sleep(away);
                cluster.start_controller();
            }
            _ => {
                let n = random.usize(1..=NODES.len());
                cluster.kill_node(NODES[n - 1]);
                std::thread::sleep(away);
                cluster.start_node(n);
            }
        }
    }
    let mut published = 0;
    for busy in &all {
        let job = busy.job.as_ref().unwrap();
        eventually("what is under way is published", BUILD * 5, || {
            cluster.resume_duplicates();
            world.state(job) == "published"
        });
        published += busy.version;
    }
    let [daemons, controllers, nodes] = killed;
    eprintln!(
        "killed: daemon {daemons}, controller {controllers}, nodes {nodes}; {published} versions are published"
    );
    // Each version has one job, which is published.
    for busy in &all {
        let history = world.build("alice", &["history", &busy.repo.package]).ok().out;
        assert_eq!(history.matches("published").count(), busy.version as usize, "{history}");
        assert_eq!(history.matches(" prod").count(), busy.version as usize, "{history}");
    }
    world.local(&["verify"]).ok();
    // What a node that was killed has not told its controller is told when it is back.
    eventually("nothing is left with Slurm", BUILD * 2, || cluster.queue().is_empty());
    drop(daemon);
    world.unstub_sbuild();
}
