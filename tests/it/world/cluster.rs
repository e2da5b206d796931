//! A real cluster: munge, slurmctld and three slurmd, each node in namespaces of its own, with no
//! directory that it shares with the server and one network interface.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Answer, eventually, free_port, run};

/// The nodes.
pub const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// Where the server's configuration of the cluster is.
const CONFIG: &str = "/etc/invirtibuilder/conf.d/slurm.yaml";

/// Where a node keeps environments and builds.
const NODE_DIR: &str = "/var/lib/invirtibuilder-node";

/// How long a cluster may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running cluster, which ends when it is dropped.
pub struct Cluster {
    controller: Option<Child>,
    nodes: Vec<Option<Child>>,
}

impl Cluster {
    /// Starts it, and has the service build on it.
    pub fn start() -> Self {
        assert!(
            std::env::var_os("IB_NET").is_some(),
            "a cluster needs a network of its own: run this with 'script/test --only slurm'"
        );
        configure();
        munge();
        let mut cluster = Self { controller: None, nodes: Vec::new() };
        cluster.start_controller();
        for n in 1..=NODES.len() {
            cluster.nodes.push(None);
            cluster.start_node(n);
        }
        cluster.wait_idle(NODES.len());
        fs::write(
            CONFIG,
            "executor: { slurm: { partition: build } }\n\
             slurm: { listen: '10.31.0.1:7443', jobs: 6 }\n\
             chroots: { in_memory: 512M }\n\
             build:\n  pockets:\n    prod: { limits: { memory: 1G } }\n    dev: { limits: { memory: 1G } }\n",
        )
        .unwrap();
        cluster
    }

    /// Starts one whose only node is this machine, with its files, mirrors and loopback interface,
    /// and has the service build there.
    pub fn here() -> Self {
        make_dirs();
        let [controller, node, listen] = [(); 3].map(|()| free_port());
        let name = run("hostname", &[]);
        let name = name.trim();
        write_config(&format!(
            "SlurmctldHost={name}(127.0.0.1)\nSlurmctldPort={controller}\n\
             CommunicationParameters=NoInAddrAny,NoCtldInAddrAny\n\
             NodeName=n1 NodeHostname={name} NodeAddr=127.0.0.1 Port={node} CPUs=2 RealMemory=16000\n\
             PartitionName=build Nodes=n1 Default=YES MaxTime=INFINITE State=UP\n"
        ));
        munge();
        if Answer::of(Command::new("mountpoint").args(["-q", NODE_DIR])).code != 0 {
            // As large as layers want it to be, whatever the machine has.
            run("mount", &["-t", "tmpfs", "-o", "mode=700,size=16g", "node", NODE_DIR]);
            run("chown", &["_invirtibuilder:", NODE_DIR]);
        }
        let mut cluster = Self { controller: None, nodes: Vec::new() };
        cluster.start_controller();
        cluster.nodes.push(Some(spawn(Command::new(script("slurmd")).arg("n1"), "n1")));
        cluster.wait_idle(1);
        let text = format!(
            "executor: {{ slurm: {{ partition: build }} }}\n\
             slurm: {{ listen: '127.0.0.1:{listen}', jobs: 2 }}\n"
        );
        fs::write(CONFIG, text).unwrap();
        cluster
    }

    /// Starts the controller.
    pub fn start_controller(&mut self) {
        self.controller = Some(spawn(Command::new("slurmctld").arg("-D"), "slurmctld"));
        eventually("the controller answers", PATIENCE, || {
            Answer::of(Command::new("sinfo").arg("-h")).code == 0
        });
    }

    /// Kills the controller as a power cut would.
    pub fn kill_controller(&mut self) {
        let mut child = self.controller.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Kills the controller, and has the next one know of no job.
    pub fn lose_controller(&mut self) {
        self.kill_controller();
        forget_jobs();
    }

    /// Starts a node, counted from 1.
    pub fn start_node(&mut self, n: usize) {
        // Behind the ids of the server's first two builds.
        let ids = first_id() + 262_144 * n as u64;
        let namespaces = ["--net", "--mount", "--pid", "--uts", "--ipc"];
        let child = spawn(
            Command::new("unshare")
                .args(namespaces)
                .args(["--fork", "--kill-child", "--mount-proc", "--"])
                .arg(script("slurm-node"))
                .args([n.to_string(), ids.to_string()]),
            &format!("n{n}"),
        );
        let pid = child.id();
        self.nodes[n - 1] = Some(child);
        let net = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        eventually("a node has a network", PATIENCE, || {
            net(&pid.to_string()).is_some_and(|its| Some(its) != net("self"))
        });
        let _ = Command::new("ip")
            .args(["link", "delete", &format!("v{n}")])
            .stderr(Stdio::null())
            .status();
        let (outside, pid) = (format!("v{n}"), pid.to_string());
        run("ip", &["link", "add", &outside, "type", "veth", "peer", "name", "e0", "netns", &pid]);
        run("ip", &["link", "set", &outside, "master", "cluster", "up"]);
    }

    /// Kills a node, with all that runs there, as a power cut would.
    pub fn kill_node(&mut self, name: &str) {
        let n = NODES.iter().position(|node| *node == name).unwrap();
        let mut child = self.nodes[n].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Runs a command on a node, as the service's user.
    pub fn on_node(&self, name: &str, args: &[&str]) -> Answer {
        let n = NODES.iter().position(|node| *node == name).unwrap();
        let unshare = self.nodes[n].as_ref().unwrap().id();
        let children =
            fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap();
        let first = children.split_whitespace().next().unwrap();
        Answer::of(
            Command::new("nsenter")
                .args(["--target", first, "--net", "--mount", "--pid", "--uts", "--ipc", "--"])
                .args(args),
        )
    }

    /// Waits until so many nodes have nothing to do.
    pub fn wait_idle(&self, count: usize) {
        eventually("nodes are idle", PATIENCE, || {
            let args = ["-h", "-N", "-p", "build", "-o", "%T"];
            let states = Answer::of(Command::new("sinfo").args(args)).out;
            states.lines().filter(|state| *state == "idle").count() == count
        });
    }

    /// The jobs that Slurm has and that have not ended: number, name and node.
    pub fn queue(&self) -> Vec<(String, String, String)> {
        let said = Answer::of(Command::new("squeue").args(["-h", "-o", "%i|%j|%B"])).out;
        let job = |line: &str| {
            let mut fields = line.split('|').map(str::to_owned);
            Some((fields.next()?, fields.next()?, fields.next()?))
        };
        said.lines().filter_map(job).collect()
    }

    /// Sets the clock of all that starts on a node from now on, by an offset such as `+90s`.
    pub fn set_clock(&self, node: &str, offset: &str) {
        let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
        for (name, text) in [("faketimerc", offset), ("ld.so.preload", library)] {
            // For the others, an empty file is as good as none.
            let path = format!("/etc/{name}");
            File::options().create(true).append(true).open(&path).unwrap();
            let put = format!("echo '{text}' >/run/{name} && mount --bind /run/{name} {path}");
            self.on_node(node, &["sh", "-c", &put]).ok();
        }
    }

    /// Has no more builds start on a node.
    pub fn drain(&self, node: &str) {
        run("scontrol", &["update", &format!("nodename={node}"), "state=drain", "reason=x"]);
    }

    /// Has builds start on a node again.
    pub fn resume(&self, node: &str) {
        run("scontrol", &["update", &format!("nodename={node}"), "state=resume"]);
    }

    /// Does what an administrator has to: a controller that was killed gives numbers again that it
    /// had not written down, and drains each node that has such a job already. One that is down as
    /// well can be resumed later.
    pub fn resume_duplicates(&self) {
        let reasons = Answer::of(Command::new("sinfo").args(["-h", "-R", "-o", "%n|%E"])).out;
        let nodes = reasons.lines().filter_map(|line| line.strip_suffix("|Duplicate jobid"));
        for node in nodes {
            let node = format!("nodename={node}");
            Answer::of(Command::new("scontrol").args(["update", &node, "state=resume"]));
        }
    }

    /// The node that builds now, once there is one.
    pub fn building_on(&self) -> String {
        let start = Instant::now();
        loop {
            let running =
                Answer::of(Command::new("squeue").args(["-h", "-t", "R", "-o", "%B"])).out;
            if let Some(node) = running.lines().next() {
                return node.to_owned();
            }
            assert!(start.elapsed() < PATIENCE, "no node builds");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (program, args) in [("squeue", "-o%i|%j|%T|%B|%r"), ("sinfo", "-No%n|%T|%E")] {
                eprintln!("{program} said: {}", Answer::of(Command::new(program).arg(args)).out);
            }
        }
        for mut child in self.nodes.drain(..).flatten().chain(self.controller.take()) {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_file(CONFIG);
        if std::thread::panicking() {
            for name in ["slurmctld", "n1", "n2", "n3"] {
                let said = fs::read(log_path(name)).unwrap_or_default();
                let start = said.len().saturating_sub(1500);
                eprintln!("{name} said: {}", String::from_utf8_lossy(&said[start..]));
            }
        }
    }
}

fn log_path(name: &str) -> PathBuf {
    PathBuf::from(format!("/run/world/log/{name}"))
}

/// Where a script is that stories need.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../script/lib").join(name)
}

/// Starts a program that writes to the log of this name.
fn spawn(command: &mut Command, name: &str) -> Child {
    let log = File::options().create(true).append(true).open(log_path(name)).unwrap();
    let err = log.try_clone().unwrap();
    command.stdin(Stdio::null()).stdout(log).stderr(err).spawn().unwrap()
}

/// The first of the subordinate ids of the service's user.
fn first_id() -> u64 {
    let text = fs::read_to_string("/etc/subuid").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("_invirtibuilder:")).unwrap();
    line.split(':').next().unwrap().parse().unwrap()
}

/// Makes the directories of a cluster, without a memory of an earlier one.
fn make_dirs() {
    for dir in [
        "/etc/slurm",
        "/etc/munge",
        "/var/lib/slurm/slurmctld",
        "/var/spool/slurmd",
        "/var/log/slurm",
        "/var/lib/munge",
        NODE_DIR,
        "/run/munge",
    ] {
        fs::create_dir_all(dir).unwrap();
    }
    run("chown", &["slurm:", "/var/log/slurm"]);
    forget_jobs();
}

/// Empties what a controller remembers.
fn forget_jobs() {
    let _ = fs::remove_dir_all("/var/lib/slurm/slurmctld");
    fs::create_dir("/var/lib/slurm/slurmctld").unwrap();
    run("chown", &["slurm:", "/var/lib/slurm/slurmctld"]);
}

/// Writes slurm.conf(5): the settings of the guide, and these hosts. Slurm takes control groups of
/// version 1, or of version 2 where a systemd gives it some: there is none here.
fn write_config(hosts: &str) {
    let mut conf = include_str!("../../../examples/slurm/slurm.conf").to_owned();
    conf += "ClusterName=lab\nSlurmdParameters=config_overrides\n";
    conf += if Path::new("/sys/fs/cgroup/freezer").exists() {
        "ProctrackType=proctrack/cgroup\n"
    } else {
        "ProctrackType=proctrack/linuxproc\n"
    };
    conf += hosts;
    fs::write("/etc/slurm/cgroup.conf", "CgroupPlugin=cgroup/v1\n").unwrap();
    fs::write("/etc/slurm/slurm.conf", conf).unwrap();
}

/// Makes the network of three nodes, and writes their configuration.
fn configure() {
    run("hostname", &["head"]);
    make_dirs();
    let mut hosts = "SlurmctldHost=head(10.31.0.1)\n".to_owned();
    for n in 1..=NODES.len() {
        // A node's name is a feature, too: what differs between nodes is asked for by it.
        hosts +=
            &format!("NodeName=n{n} NodeAddr=10.31.0.1{n} CPUs=2 RealMemory=8000 Feature=n{n}\n");
    }
    hosts += "PreemptType=preempt/partition_prio\nPreemptMode=REQUEUE\n\
              PartitionName=build Nodes=n[1-3] Default=YES MaxTime=INFINITE State=UP\n\
              PartitionName=urgent Nodes=n[1-3] PriorityTier=10 MaxTime=INFINITE State=UP\n";
    write_config(&hosts);
    if Answer::of(Command::new("ip").args(["link", "show", "cluster"])).code != 0 {
        run("ip", &["link", "add", "cluster", "type", "bridge"]);
        run("ip", &["address", "add", "10.31.0.1/24", "dev", "cluster"]);
        run("ip", &["link", "set", "cluster", "up"]);
    }
}

/// Starts munged(8), which vouches for users, unless an earlier story has.
fn munge() {
    if Path::new("/run/munge/munge.socket.2").exists() {
        return;
    }
    run("dd", &["if=/dev/urandom", "of=/etc/munge/munge.key", "bs=1024", "count=1", "status=none"]);
    fs::set_permissions("/etc/munge/munge.key", fs::Permissions::from_mode(0o400)).unwrap();
    run("chown", &["-R", "munge:", "/etc/munge", "/run/munge", "/var/lib/munge"]);
    fs::set_permissions("/run/munge", fs::Permissions::from_mode(0o755)).unwrap();
    let munged =
        ["--reuid=munge", "--regid=munge", "--clear-groups", "munged", "--log-file=/run/munge/log"];
    let files = ["--seed-file=/run/munge/seed", "--pid-file=/run/munge/pid"];
    run("setpriv", &[&munged[..], &files[..]].concat());
}
