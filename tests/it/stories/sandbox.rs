//! A package that wants out of its build: from the maintainer script of a build dependency, as root, and from debian/rules.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, ToSocketAddrs};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::world::{Repo, STATE, Tiny, World, run};

const PROBE: &str = include_str!("../../hostile/probe.pl");

/// Something that the machine's own programs can reach, and that counts who does.
struct Outside {
    reached: Arc<AtomicUsize>,
    /// The beginning of the probe.
    at: String,
}

const FILE: &str = "/srv/canary";
const VARIABLE: &str = "CANARY_IN_THE_ENVIRONMENT";
const KEY: &str = "canary-in-the-keyring";

impl Outside {
    fn new() -> Self {
        let reached = Arc::new(AtomicUsize::new(0));
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let name = format!("canary-{port}");
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let unix = UnixListener::bind_addr(&abstract_name).unwrap();
        let count = reached.clone();
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = stream.set_read_timeout(Some(std::time::Duration::from_millis(100)));
                let _ = stream.read(&mut [0; 100]);
            }
        });
        let count = reached.clone();
        std::thread::spawn(move || {
            for _stream in unix.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        fs::write(FILE, "for everybody to read\n").unwrap();
        let other = format!("{STATE}/work/job-999/build/secret");
        run("as-service", &["mkdir", "-p", &format!("{STATE}/work/job-999/build")]);
        fs::write(&other, "of another build\n").unwrap();
        let host = "deb.debian.org";
        let host = mirror().unwrap_or(host.to_owned());
        let address = (&host[..], 80).to_socket_addrs().unwrap().next().unwrap().ip();
        let at = format!(
            "our %at = (port => {port}, abstract => '{name}', host => '{host}', address => '{address}', file => '{FILE}', \
             other => '{other}', secret => '/etc/invirtibuilder/acl/prod', key => '{KEY}', variable => '{VARIABLE}', \
             distro => 'bookworm');\n"
        );
        Self { reached, at }
    }

    fn probe(&self) -> String {
        format!("{}{PROBE}", self.at)
    }
}

/// The host of the first mirror of the chroots.
fn mirror() -> Option<String> {
    let text = fs::read_to_string(format!("{STATE}/chroots/bookworm-amd64.json")).ok()?;
    let rest = text.split_once("://")?.1;
    Some(rest.split(['/', ':']).next()?.to_owned())
}

/// A package whose maintainer script is the probe.
fn trap(repo: &Repo, probe: &str) -> String {
    repo.tiny("1.0", Tiny::Works);
    repo.write("debian/postinst", &format!("#!/usr/bin/perl\n{probe}"));
    let rules = fs::read_to_string(repo.dir.join("debian/rules")).unwrap();
    repo.write(
        "debian/rules",
        &rules
            .replace("\tdpkg-gencontrol\n", "\tinstall -m 755 debian/postinst debian/tmp/DEBIAN/\n\tdpkg-gencontrol\n"),
    );
    repo.commit("a trap")
}

/// A package that build-depends on the trap, and whose debian/rules is a probe too.
fn victim(repo: &Repo, probe: &str) -> String {
    repo.tiny("1.0", Tiny::Works);
    repo.write("debian/probe.pl", probe);
    let rules = fs::read_to_string(repo.dir.join("debian/rules")).unwrap();
    repo.write("debian/rules", &rules.replace("\ttrue\n", "\tperl debian/probe.pl\n"));
    let control = fs::read_to_string(repo.dir.join("debian/control")).unwrap();
    repo.write("debian/control", &control.replace("Standards-Version", "Build-Depends: trap\nStandards-Version"));
    repo.commit("a victim")
}

#[test]
fn neither_a_maintainer_script_nor_a_build_gets_out() {
    let world = World::new();
    let outside = Outside::new();
    let probe = outside.probe();

    // The same probe outside finds everything open, so that a shut door is the sandbox's doing.
    let script = tempfile::tempdir().unwrap();
    let path = script.path().join("probe.pl");
    fs::write(&path, probe.replace("our %at = (", "our %at = (outside => 1, ")).unwrap();
    fs::set_permissions(script.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let said = run(
        "perl",
        &[&in_keyring()[..], &["perl".to_owned(), path.display().to_string()]]
            .concat()
            .iter()
            .map(|s| &s[..])
            .collect::<Vec<_>>(),
    );
    assert!(said.contains("probes done") && !said.contains(": shut"), "the probe itself does not work: {said}");
    let reached = outside.reached.load(Ordering::SeqCst);
    assert!(reached >= 2, "{reached}");

    let daemon = world.daemon_below(&in_keyring(), VARIABLE);
    let (trap_repo, victim_repo) = (world.repo("trap"), world.repo("victim"));
    let commit = trap(&trap_repo, &probe);
    world.publish("prod", "trap", &commit);
    let commit = victim(&victim_repo, &probe);
    world.publish("prod", "victim", &commit);

    let log = world.build("alice", &["log", "2"]).ok().out;
    let heard = |what: &str| log.lines().filter(|line| *line == what).count();
    assert_eq!(heard("probes done"), 2, "{log}");
    assert_eq!(
        log.lines().filter(|line| line.starts_with("probe ") && line.ends_with(": shut")).count(),
        2 * 19 + 1,
        "{log}"
    );
    assert!(!log.contains(": OPEN"), "{log}");
    // What apt needs was there, for the maintainer script only: so much for the probe of the proxy.
    assert_eq!((heard("mirror: 200"), heard("mirror: unreachable")), (1, 1), "{log}");
    assert!(!log.contains("for everybody to read") && !log.contains("of another build"), "{log}");

    assert_eq!(outside.reached.load(Ordering::SeqCst), reached, "somebody got through");
    assert!(!std::path::Path::new("/srv/apt/dists/planted").exists());
    assert_eq!(fs::read_to_string(FILE).unwrap(), "for everybody to read\n");
    let _ = fs::remove_file(FILE);
    // The next build knows nothing of it.
    let tiny = world.repo("tiny");
    let commit = tiny.version("1.0", Tiny::Works);
    world.publish("prod", "tiny", &commit);
    drop(daemon);
}

/// Arguments of perl(1): runs the arguments that follow in a session keyring with a key in it, and with a variable.
fn in_keyring() -> Vec<String> {
    let script = format!(
        "syscall(250, 1, 0) > 0 or die; @k = ('user', '{KEY}', 'x'); syscall(248, $k[0], $k[1], $k[2], 1, -3) > 0 or die; $ENV{{{VARIABLE}}} = 1; exec @ARGV"
    );
    vec!["-e".to_owned(), script]
}
