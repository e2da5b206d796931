//! What was decided and done can be shown afterwards, here and elsewhere, and cannot be changed
//! unseen.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::world::{CONFIG, SOON, STATE, Tiny, World, eventually};

/// The other end of the system log: a datagram socket, as journald's and rsyslogd's are. The kernel
/// keeps few datagrams for whoever does not read them, so somebody does all the time.
pub struct Receiver {
    lines: mpsc::Receiver<String>,
    ended: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Receiver {
    const PATH: &str = "/run/world/syslog";

    /// Listens in place of whoever did.
    pub fn new() -> Self {
        let _ = fs::remove_file(Self::PATH);
        let socket = UnixDatagram::bind(Self::PATH).unwrap();
        fs::set_permissions(Self::PATH, std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let (sender, lines) = mpsc::channel();
        let ended = Arc::new(AtomicBool::new(false));
        let until = ended.clone();
        let reader = thread::spawn(move || {
            let mut buffer = [0; 10_000];
            while !until.load(Ordering::Relaxed) {
                if let Ok(n) = socket.recv(&mut buffer) {
                    let _ = sender
                        .send(String::from_utf8(buffer[..n].to_vec()).expect("a line is UTF-8"));
                }
            }
        });
        Self { lines, ended, reader: Some(reader) }
    }

    /// What has come since the last time.
    pub fn lines(&self) -> Vec<String> {
        std::iter::from_fn(|| self.lines.recv_timeout(Duration::from_millis(200)).ok()).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let died = self.reader.take().is_some_and(|reader| reader.join().is_err());
        let _ = fs::remove_file(Self::PATH);
        assert!(!died || thread::panicking(), "what was sent is no text");
    }
}

fn events(world: &World, args: &[&str]) -> Vec<Value> {
    let args = [&["--json", "audit", "show", "--limit", "1000"], args].concat();
    world.local(&args).ok().json().as_array().unwrap().clone()
}

#[test]
fn everything_that_happens_to_a_job_is_in_the_trail_and_in_the_system_log() {
    let world = World::new();
    let receiver = Receiver::new();
    let daemon = world.daemon();
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    world
        .build("mallory", &["submit", "prod", "tiny", &commit])
        .refused(77, &["mallory@EXAMPLE.ORG may not submit to prod"]);
    world.publish("prod", "tiny", &commit);
    daemon.signal(Signal::SIGHUP);
    eventually("the configuration is read again", SOON, || {
        events(&world, &["--event", "configuration"]).len() == 2
    });
    fs::write(CONFIG, "nonsense: 1\n").unwrap();
    daemon.signal(Signal::SIGHUP);
    fs::write("/run/world/good.yaml", include_str!("../../../script/lib/config.yaml")).unwrap();
    let good = |args: &[&str]| world.local(&[&["--config", "/run/world/good.yaml"], args].concat());
    eventually("a bad configuration is refused", SOON, || {
        good(&["audit", "show", "--event", "configuration.refused"]).ok().out.contains("nonsense")
    });

    let exported = good(&["audit", "export"]).ok().out;
    let entries: Vec<Value> =
        exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = entries.iter().map(|entry| entry["event"].as_str().unwrap()).collect();
    for name in [
        "configuration.loaded",
        "repository.created",
        "denied",
        "allowed",
        "job.state",
        "published",
        "configuration.refused",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let denied = entries.iter().find(|entry| entry["event"] == "denied").unwrap();
    assert_eq!(denied["detail"]["principal"], "mallory@EXAMPLE.ORG");
    assert_eq!(denied["detail"]["via"], "remctl");
    assert_eq!(denied["detail"]["why"], "no entry of 1 matches");
    let allowed = entries.iter().find(|entry| {
        entry["detail"]["request"] == "submit to prod" && entry["event"] == "allowed"
    });
    let why = allowed.unwrap()["detail"]["why"].as_str().unwrap();
    assert!(
        why.contains("/etc/invirtibuilder/config.yaml:")
            && why.contains("/etc/invirtibuilder/acl/prod:1: alice@EXAMPLE.ORG: match"),
        "{why}"
    );

    // Each entry was sent, in order and with its hash; that a job starts, before anything of the
    // package runs.
    let lines = receiver.lines();
    let mirrored: Vec<&String> = lines.iter().filter(|line| line.contains(" audit id=")).collect();
    assert_eq!(mirrored.len(), entries.len(), "{lines:#?}");
    for entry in &entries {
        let (id, hash) = (entry["id"].to_string(), entry["hash"].as_str().unwrap());
        assert!(
            mirrored.iter().any(|line| line.contains(&format!("audit id={id} hash={hash} event="))),
            "{entry}"
        );
    }
    let at = |word: &str| {
        lines
            .iter()
            .position(|line| line.contains(word))
            .unwrap_or_else(|| panic!("{word}: {lines:#?}"))
    };
    assert!(
        at("state=preparing") < at("state=building") && at(": started job=") < at("state=building")
    );
    assert!(lines.iter().all(|line| !line.chars().any(char::is_control)), "{lines:#?}");

    // Filters, and what has been signed.
    assert!(
        good(&["audit", "show", "--principal", "mallory@EXAMPLE.ORG"]).ok().out.lines().count()
            == 1
    );
    assert!(
        good(&["audit", "show", "--pocket", "prod", "--event", "denied"])
            .ok()
            .out
            .contains("mallory")
    );
    assert_eq!(
        good(&["audit", "show", "--job", "1", "--event", "published"]).ok().out.lines().count(),
        1
    );
    good(&["audit", "verify"]).ok().says(&["each in its place", "has signed entry"]);
    let last = entries.last().unwrap();
    let head = format!("{}:{}", last["id"], last["hash"].as_str().unwrap());
    good(&["audit", "verify", "--head", &head]).ok();
    let wrong = good(&["audit", "verify", "--head", &format!("{}:00", last["id"])]);
    assert_eq!(wrong.code, 1, "{wrong:?}");
    world.build("alice", &["whoami"]).refused(78, &["nonsense"]);
}

#[test]
fn a_trail_that_was_tampered_with_is_found_out() {
    let world = World::new();
    let daemon = world.daemon();
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    world.publish("prod", "tiny", &commit);
    assert!(daemon.stop().success());
    let database = format!("{STATE}/invirtibuilder.db");
    let pristine = format!("{STATE}/pristine.db");
    let db = rusqlite::Connection::open(&database).unwrap();
    db.execute("VACUUM INTO ?", [&pristine]).unwrap();
    drop(db);
    for (sql, found) in [
        (
            "UPDATE audit SET detail = replace(detail, 'alice', 'mallory') WHERE id = 2",
            "entry 2 of the audit trail was changed",
        ),
        ("DELETE FROM audit WHERE id = 3", "entry 3 of the audit trail is missing"),
        (
            "UPDATE audit SET id = 99 WHERE id = 2; UPDATE audit SET id = 2 WHERE id = 3; UPDATE audit SET id = 3 WHERE id = 99",
            "entry 2 of the audit trail was changed",
        ),
        ("DELETE FROM audit WHERE id > 3", "entry 4 of the audit trail is missing"),
    ] {
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{database}{suffix}"));
        }
        fs::copy(&pristine, &database).unwrap();
        rusqlite::Connection::open(&database).unwrap().execute_batch(sql).unwrap();
        crate::world::run("chown", &["_invirtibuilder:", &database]);
        let answer = world.local(&["audit", "verify"]);
        assert!(answer.code == 1 && answer.err.contains(found), "{sql}: {answer:?}");
    }
}

/// A receiver that is not there, that does not read, or that comes back, costs nobody anything but
/// lines.
#[test]
fn requests_do_not_wait_for_the_system_log() {
    let world = World::new();
    for _ in 0..2 {
        world.build("alice", &["create-repo", "Bad"]).refused(65, &["Bad"]);
        let receiver = Receiver::new();
        for n in 0..20 {
            world.build("alice", &["create-repo", &format!("Bad{n}")]).refused(65, &["Bad"]);
        }
        assert!(
            receiver
                .lines()
                .iter()
                .any(|line| line.contains("allowed") && line.contains("create-repo"))
        );
    }
}
