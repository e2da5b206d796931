//! Attacks from inside of a build: tests/hostile/inside.pl, as root from the maintainer script of a
//! build dependency, and as a user from debian/rules.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::{TcpListener, ToSocketAddrs};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Range, isolation};
use crate::world::{Machine, Repo, SOON, STATE, Tiny, eventually, run};

const ATTACKS: &str = include_str!("../../../hostile/inside.pl");

/// What there is outside, for the machine's own programs to reach; it counts who does.
struct Outside {
    reached: Arc<AtomicUsize>,
    /// The beginning of the attacks.
    at: String,
    /// The key of some shared memory.
    memory: String,
    process: Child,
}

const FILE: &str = "/srv/canary";
const SHM: &str = "/dev/shm/canary";
const SOCKET: &str = "/run/canary";
const VARIABLE: &str = "CANARY_IN_THE_ENVIRONMENT";
const KEY: &str = "canary-in-the-keyring";

impl Outside {
    /// `deb` is a package that only the suite `unstable` has, below the archive's root.
    fn new(deb: &str) -> Self {
        let reached = Arc::new(AtomicUsize::new(0));
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let name = format!("canary-{port}");
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let _ = fs::remove_file(SOCKET);
        for listener in
            [UnixListener::bind_addr(&abstract_name).unwrap(), UnixListener::bind(SOCKET).unwrap()]
        {
            let count = reached.clone();
            std::thread::spawn(move || {
                for _stream in listener.incoming().flatten() {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        run("chmod", &["666", SOCKET]);
        let count = reached.clone();
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
                let _ = stream.read(&mut [0; 100]);
            }
        });
        for file in [FILE, SHM] {
            fs::write(file, "for everybody to read\n").unwrap();
        }
        let work = format!("{STATE}/work/job-999/build");
        run("as-service", &["mkdir", "-p", &work]);
        let other = format!("{work}/secret");
        fs::write(&other, "of another build\n").unwrap();
        run("perl", &["-e", &format!("defined shmget({port}, 4096, 01666) or die $!")]);
        let process = Command::new("sleep").arg("100000").spawn().unwrap();
        let host = mirror();
        let address = (&host[..], 80).to_socket_addrs().unwrap().next().unwrap().ip();
        let at = format!(
            "our %at = (where => 'WHERE', port => {port}, abstract => '{name}', host => '{host}', address => '{address}', \
             file => '{FILE}', shm => '{SHM}', socket => '{SOCKET}', other => '{other}', key => '{KEY}', shmkey => {port}, \
             secret => '/etc/invirtibuilder/acl/prod', variable => '{VARIABLE}', distro => 'bookworm', suite => 'unstable', \
             deb => '{deb}', pid => {}, limits => {{{}}});\n",
            process.id(),
            limits()
        );
        Self { reached, at, memory: port.to_string(), process }
    }

    fn attacks(&self, from: &str) -> String {
        format!("{}{ATTACKS}", self.at.replace("WHERE", from))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = Command::new("ipcrm").args(["-M", &self.memory]).status();
        for file in [FILE, SHM, SOCKET] {
            let _ = fs::remove_file(file);
        }
    }
}

/// What the kernel allows all builds together, in Perl.
fn limits() -> String {
    let counted = fs::read_dir("/proc/sys/user").unwrap().flatten().map(|entry| {
        let limit = fs::read_to_string(entry.path()).unwrap();
        format!("{} => {}", entry.file_name().to_str().unwrap(), limit.trim())
    });
    let of_processes = fs::read_to_string("/proc/self/limits").unwrap();
    let soft = |line: &str| {
        of_processes
            .lines()
            .find_map(|found| found.strip_prefix(line)?.split_whitespace().next())
            .unwrap()
    };
    let named = [
        ("signals", "Max pending signals"),
        ("queues", "Max msgqueue size"),
        ("locked", "Max locked memory"),
    ];
    let named = named.map(|(name, line)| format!("{name} => {}", soft(line)));
    counted.chain(named).collect::<Vec<_>>().join(", ")
}

/// The host of the first mirror of the chroots.
fn mirror() -> String {
    let text = fs::read_to_string(format!("{STATE}/chroots/bookworm-amd64.json")).unwrap();
    text.split_once("://").unwrap().1.split(['/', ':']).next().unwrap().to_owned()
}

/// A package whose maintainer script attacks.
fn trap(repo: &Repo, attacks: &str) -> String {
    repo.tiny("1.0", Tiny::Works);
    repo.write("debian/postinst", &format!("#!/usr/bin/perl\n{attacks}"));
    let rules = fs::read_to_string(repo.dir.join("debian/rules")).unwrap();
    let install = "\tinstall -m 755 debian/postinst debian/tmp/DEBIAN/\n\tdpkg-gencontrol\n";
    repo.write("debian/rules", &rules.replace("\tdpkg-gencontrol\n", install));
    repo.commit("a trap")
}

/// A package that build-depends on the trap, and whose debian/rules attacks too.
fn victim(repo: &Repo, attacks: &str) -> String {
    repo.tiny("1.0", Tiny::Works);
    repo.write("debian/attacks.pl", attacks);
    let rules = fs::read_to_string(repo.dir.join("debian/rules")).unwrap();
    repo.write(
        "debian/rules",
        &rules.replace("\ttrue\n", "\ttest -e /usr/share/planted\n\tperl debian/attacks.pl\n"),
    );
    let control = fs::read_to_string(repo.dir.join("debian/control")).unwrap();
    repo.write(
        "debian/control",
        &control.replace("Standards-Version", "Build-Depends: trap, hello\nStandards-Version"),
    );
    repo.commit("a victim")
}

/// The attacks of one run, and whether they found it open. There are as many as there are lines
/// about them.
fn outcomes(said: &str) -> BTreeMap<&str, bool> {
    let lines = said.lines().filter_map(|line| line.strip_prefix("attack "));
    lines
        .map(|line| line.rsplit_once(": ").unwrap())
        .map(|(name, end)| (name, end == "OPEN"))
        .collect()
}

fn runs(log: &str) -> Vec<&str> {
    let runs: Vec<&str> = log.split("attacks done\n").collect();
    runs[..runs.len() - 1].to_vec()
}

#[test]
fn neither_a_maintainer_script_nor_a_build_gets_out() {
    let mut range = Range::new();
    // A package that this build may not use.
    range.world.stub_sbuild();
    let daemon = range.daemon();
    let elsewhere = range.world.repo("elsewhere");
    let commit = elsewhere.version("1.0", Tiny::Works);
    range.world.publish("dev", "elsewhere", &commit);
    drop(daemon);
    range.world.unstub_sbuild();
    let outside = Outside::new("pool/main/e/elsewhere/elsewhere_1.0_all.deb");

    // The same attacks find everything open outside, so that a shut door is the sandbox's doing.
    let script = tempfile::tempdir().unwrap();
    let path = script.path().join("attacks.pl");
    fs::write(&path, outside.attacks("outside")).unwrap();
    let mut args = open_handed();
    args.extend(["perl".to_owned(), path.display().to_string()]);
    let said = run("perl", &args.iter().map(|arg| &arg[..]).collect::<Vec<_>>());
    let open = outcomes(&said);
    assert!(said.ends_with("attacks done") && open.len() >= 33, "{said}");
    assert!(open.values().all(|open| *open), "these do not work outside either: {said}");
    // Who listens counts when it gets to it; a connection more may be on its way to that.
    eventually("they are counted", SOON, || outside.reached.load(Ordering::SeqCst) >= 3);
    std::thread::sleep(Duration::from_millis(500));
    let reached = outside.reached.load(Ordering::SeqCst);

    let daemon = range.world.daemon_below(&open_handed(), VARIABLE);
    range.honest_build();
    let before = Machine::now();
    let (trap_repo, victim_repo) = (range.world.repo("trap"), range.world.repo("victim"));
    let commit = trap(&trap_repo, &outside.attacks("maintainer"));
    range.world.publish("prod", "trap", &commit);
    let commit = victim(&victim_repo, &outside.attacks("rules"));
    let job = range.world.submit("prod", "victim", &commit);
    range.world.wait_for(&job, "published", super::LONG);

    let log = range.world.build("alice", &["log", &job]).ok().out;
    let runs = runs(&log);
    assert_eq!(runs.len(), 2, "{log}");
    let mirrors: Vec<&str> = log.lines().filter_map(|line| line.strip_prefix("mirror: ")).collect();
    // What apt needs was there, for the maintainer script only: so much for the attacks on the
    // proxy.
    assert_eq!(mirrors, ["200", "unreachable"], "{log}");
    for (run, from) in runs.iter().zip(["a maintainer script", "debian/rules"]) {
        let outcomes = outcomes(run);
        assert!(outcomes.len() >= 145, "{from}: {log}");
        let ours = |name: &str| isolation() != "vm" || !name.ends_with("(kernel)");
        let open: Vec<_> = outcomes
            .iter()
            .filter(|(name, open)| **open && ours(name))
            .map(|(name, _)| *name)
            .collect();
        assert!(open.is_empty(), "open from {from}: {open:?}\n{log}");
    }
    assert!(!log.contains("for everybody to read") && !log.contains("of another build"), "{log}");
    assert_eq!(outside.reached.load(Ordering::SeqCst), reached, "somebody got through");
    assert_eq!(fs::read_to_string(FILE).unwrap(), "for everybody to read\n");

    range.honest_build();
    before.is_untouched();
    range.world.agrees();
    drop(daemon);
}

/// Arguments of perl(1): runs the arguments that follow in a session keyring with a key in it, with
/// a file open.
fn open_handed() -> Vec<String> {
    let script = format!(
        "$^F = 100; open(F, '<', '{FILE}'); syscall(250, 1, 0) > 0 or die; @k = ('user', '{KEY}', 'x'); \
         syscall(248, $k[0], $k[1], $k[2], 1, -3) > 0 or die; $ENV{{{VARIABLE}}} = 1; exec @ARGV"
    );
    vec!["-e".to_owned(), script]
}
