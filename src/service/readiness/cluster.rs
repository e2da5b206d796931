//! What pockets with `executor: slurm` need beside the rest: Slurm's commands, a partition with nodes,
//! and nodes that can build, which each node looks at itself.

use std::collections::BTreeSet;
use std::net::ToSocketAddrs;
use std::time::Duration;

use nix::unistd::User;

use crate::readiness::check::{fine, note, wrong};
use crate::readiness::host::{as_user, programs};
use invirtibuilder_api::readiness::Check;
use invirtibuilder_core::config::{Config, ExecutorSetting};
use invirtibuilder_core::text::one_line;
use invirtibuilder_system::subprocess::{CancellationToken, Finished};

/// Slurm's commands, and Debian's package of them.
const PROGRAMS: [(&str, &str); 6] = [
    ("sbatch", "slurm-client"),
    ("scancel", "slurm-client"),
    ("scontrol", "slurm-client"),
    ("sinfo", "slurm-client"),
    ("squeue", "slurm-client"),
    ("srun", "slurm-client"),
];

/// What looks at a node, there.
const NODE: &str = "/usr/libexec/invirtibuilder-node/invirtibuilder-node";

/// The most nodes that are looked at.
const NODES: usize = 64;

/// How long a node may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks at it, where a pocket builds on Slurm.
pub(super) async fn look(config: &Config, user: &User) -> Vec<Check> {
    let partitions: BTreeSet<Option<&str>> = config
        .build
        .pockets
        .values()
        .filter_map(|pocket| match config.executor_of(pocket) {
            ExecutorSetting::Local => None,
            ExecutorSetting::Slurm(place) => Some(place.partition.as_deref()),
        })
        .collect();
    if partitions.is_empty() {
        return Vec::new();
    }
    let mut checks = vec![programs("programs of Slurm", &PROGRAMS)];
    checks.extend(config.slurm.as_ref().map(|slurm| reached(&slurm.address())));
    let mut seen = BTreeSet::new();
    for partition in partitions {
        match nodes(user, partition).await {
            Ok(nodes) => {
                checks.push(partition_check(partition, &nodes));
                let new: Vec<_> =
                    nodes.into_iter().filter(|(name, _)| seen.insert(name.clone())).collect();
                for (node, state) in new.into_iter().take(NODES) {
                    checks.push(node_check(user, partition, &node, &state).await);
                }
            }
            Err(why) => {
                let mend = "systemctl status slurmctld munge, on the controller and here";
                checks.push(wrong("Slurm", why, mend));
            }
        }
    }
    checks
}

/// Looks whether somebody listens where nodes are sent.
fn reached(address: &str) -> Check {
    let what = "address for nodes";
    let found = address
        .to_socket_addrs()
        .ok()
        .into_iter()
        .flatten()
        .any(|to| std::net::TcpStream::connect_timeout(&to, Duration::from_secs(2)).is_ok());
    if found {
        fine(what, format!("the daemon listens at {address}"))
    } else {
        let mend = "systemctl restart invirtibuilderd; slurm.listen and slurm.address say where";
        note(what, format!("nobody listens at {address}"), mend)
    }
}

/// Lists the nodes of a partition, each with its state.
async fn nodes(user: &User, partition: Option<&str>) -> Result<Vec<(String, String)>, String> {
    let cmd = as_user(user).args(["--", "sinfo", "-h", "-N", "-o", "%N|%T"]);
    let cmd = cmd.args(partition.map(|name| format!("--partition={name}")));
    let said = cmd.total(PATIENCE).run(&CancellationToken::new()).await;
    let said = said.and_then(Finished::success).map_err(|error| one_line(&format!("{error:#}")))?;
    let text = String::from_utf8_lossy(&said).into_owned();
    let node = |line: &str| line.split_once('|').map(|(a, b)| (a.to_owned(), b.to_owned()));
    Ok(text.lines().filter_map(node).collect())
}

fn partition_check(partition: Option<&str>, nodes: &[(String, String)]) -> Check {
    let what = "partition of Slurm";
    let shown = partition.unwrap_or("(Slurm's default)");
    let up = nodes.iter().filter(|(_, state)| can_build(state)).count();
    match (nodes.len(), up) {
        (0, _) => wrong(what, format!("{shown} has no nodes"), "sinfo lists partitions and nodes"),
        (all, 0) => {
            wrong(what, format!("none of the {all} nodes of {shown} is up"), "sinfo -R says why")
        }
        (all, up) => fine(what, format!("{shown}: {up} of {all} nodes are up")),
    }
}

/// Tells whether jobs start on a node in this state; a sign behind it says more (sinfo(1)).
fn can_build(state: &str) -> bool {
    let state = state.trim_end_matches(|c: char| !c.is_ascii_alphabetic());
    ["idle", "mixed", "allocated", "completing"].contains(&state)
}

/// Has a node look at itself, if it has time for that now.
async fn node_check(user: &User, partition: Option<&str>, node: &str, state: &str) -> Check {
    let what = format!("node {node}");
    if !can_build(state) {
        return note(&what, format!("Slurm says {state}"), format!("scontrol show node {node}"));
    }
    let cmd =
        as_user(user).args(["--", "srun", "--quiet", "--immediate=5", "--time=1", "--mem=64M"]);
    let cmd = cmd.args(["--chdir=/", "--export=ALL"]).arg(format!("--nodelist={node}"));
    let cmd = cmd.args(partition.map(|name| format!("--partition={name}"))).args([NODE, "--check"]);
    let done = match cmd.total(PATIENCE).run(&CancellationToken::new()).await {
        Ok(done) => done,
        Err(error) => return wrong(&what, format!("{error:#}"), "apt-get install slurm-client"),
    };
    judged(&what, node, &String::from_utf8_lossy(&done.stdout), done.ok(), &done.describe())
}

/// Makes a check of what a node has said of itself.
fn judged(what: &str, node: &str, said: &str, is_ok: bool, described: &str) -> Check {
    let lacking: Vec<String> =
        said.lines().filter_map(|line| line.strip_prefix("LACKING ")).map(one_line).collect();
    if !lacking.is_empty() {
        let mend = format!("invirtibuilder-node --check on {node}, as the service's user");
        return wrong(what, lacking.join("; "), mend);
    }
    if is_ok && said.contains("ok      user") {
        return fine(what, "it can build, by its own look");
    }
    if described.contains("Unable to allocate") || described.contains("Immediate") {
        return note(
            what,
            "it has no time to look at itself now",
            "invirt-build init --check, later",
        );
    }
    // srun(1) exits with 0 for it.
    let mend = if described.contains("launch failed") {
        format!("slurmd's log on {node} says why; /etc/slurm/cgroup.conf has to be there")
    } else {
        format!(
            "apt-get install invirtibuilder-node on {node}; the user has to have the same uid there"
        )
    };
    wrong(what, one_line(described), mend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use invirtibuilder_api::readiness::Readiness;

    #[test]
    fn what_a_node_says_of_itself_is_believed() {
        let fine = judged("n", "n1", "ok      user: x has uid 1\n", true, "");
        assert_eq!(fine.verdict, Readiness::Fine);
        let lacks = judged("n", "n1", "ok      user: x\nLACKING programs: sbuild\n", false, "");
        assert!(lacks.verdict == Readiness::Wrong && lacks.found == "programs: sbuild");
        let busy = judged("n", "n1", "", false, "srun: error: Unable to allocate resources");
        assert_eq!(busy.verdict, Readiness::Note);
        assert_eq!(judged("n", "n1", "", false, "no such file").verdict, Readiness::Wrong);
        let dead = judged("n", "n1", "", true, "setpriv: srun: error: task 0 launch failed: X");
        assert_eq!(dead.verdict, Readiness::Wrong);
        assert!(dead.mend.unwrap().contains("cgroup.conf"));
    }

    #[test]
    fn nodes_that_are_up_count() {
        let nodes = |states: &[&str]| -> Vec<(String, String)> {
            states.iter().map(|state| ("n".to_owned(), (*state).to_owned())).collect()
        };
        assert_eq!(partition_check(None, &[]).verdict, Readiness::Wrong);
        assert_eq!(partition_check(None, &nodes(&["down*", "drained"])).verdict, Readiness::Wrong);
        let check = partition_check(Some("build"), &nodes(&["idle", "mixed-", "down"]));
        assert_eq!(check.found, "build: 2 of 3 nodes are up");
    }
}
