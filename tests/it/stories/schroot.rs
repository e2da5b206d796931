//! A pocket whose builds are in schroots: what works there too, what is left when a build is ended
//! (nothing), and who refuses.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::world::{
    Apt, BUILD, CONFIG, Repo, SOON, STATE, Tiny, World, daemon_log, eventually, processes, run,
};

/// What the story tells schroot.
const ENTRY: &str = "/etc/schroot/chroot.d/of-a-story";
/// The chroot's files.
const ROOT: &str = "/run/world/schroot-of-a-story";
/// Where schroot keeps what sessions write.
const UNION: &str = "/var/lib/schroot/union";
/// What the story tells the service.
const SETTINGS: &str = "/etc/invirtibuilder/conf.d/schroot.yaml";

/// A chroot that sbuild finds for bookworm, of the same tarball that other builds use; gone when
/// dropped.
struct Chroot;

impl Chroot {
    fn new() -> Self {
        fs::create_dir_all(ROOT).unwrap();
        let made = Self;
        run(
            "sh",
            &[
                "-c",
                &format!(
                    "tar -xf \"$(ls -t {STATE}/chroots/bookworm-amd64*.tar | head -n 1)\" -C {ROOT}"
                ),
            ],
        );
        // What sandboxes make for themselves, and schroot's profile for sbuild expects to find.
        for dir in ["pts", "shm"] {
            fs::create_dir_all(format!("{ROOT}/dev/{dir}")).unwrap();
        }
        for (name, minor) in
            [("null", "3"), ("zero", "5"), ("full", "7"), ("random", "8"), ("urandom", "9")]
        {
            run("mknod", &["--mode=666", &format!("{ROOT}/dev/{name}"), "c", "1", minor]);
        }
        // The world's own directories are overlays, and one cannot be made of another.
        run("mount", &["-t", "tmpfs", "union", UNION]);
        for dir in ["overlay", "underlay"] {
            fs::create_dir(format!("{UNION}/{dir}")).unwrap();
        }
        fs::write(
            ENTRY,
            format!(
                "[bookworm-amd64-sbuild]\ntype=directory\ndirectory={ROOT}\nunion-type=overlay\nprofile=sbuild\n\
                 groups=root,sbuild\nroot-groups=root,sbuild\n"
            ),
        )
        .unwrap();
        run("usermod", &["--append", "--groups", "sbuild", "_invirtibuilder"]);
        made
    }
}

impl Drop for Chroot {
    fn drop(&mut self) {
        let _ = fs::remove_file(ENTRY);
        let _ = Command::new("umount").arg(UNION).status();
        let _ = Command::new("gpasswd").args(["--delete", "_invirtibuilder", "sbuild"]).output();
        let _ = fs::remove_dir_all(ROOT);
    }
}

fn settings(dev: &str) {
    fs::write(
        SETTINGS,
        format!("build: {{ pockets: {{ dev: {{ isolation: schroot, {dev} }} }} }}\n"),
    )
    .unwrap();
}

/// Sessions of schroot, and what is mounted or left for them.
fn left() -> String {
    let script = "schroot --list --all-sessions; cut -d' ' -f2 /proc/self/mounts | grep -e ^/run/schroot/ -e ^/var/lib/schroot/union/; \
                  ls /run/schroot/mount /var/lib/schroot/union/* /var/lib/sbuild/build | grep -v ':$' | grep .; true";
    run("sh", &["-c", script])
}

/// Nothing is left of sessions and of these processes.
#[track_caller]
fn all_is_gone(names: &[&str]) {
    let all = || left() + &names.iter().flat_map(|name| processes(name)).collect::<String>();
    let start = std::time::Instant::now();
    while !all().is_empty() {
        assert!(start.elapsed() < SOON, "there is left: {}", all());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// A package that needs another one, and puts something of it into its own.
fn needs(repo: &Repo, version: &str, other: &str) -> String {
    repo.tiny(version, Tiny::Works);
    let control = fs::read_to_string(repo.dir.join("debian/control")).unwrap();
    repo.write(
        "debian/control",
        &control.replace("\n\nPackage:", &format!("\nBuild-Depends: {other}\n\nPackage:")),
    );
    let rules = fs::read_to_string(repo.dir.join("debian/rules")).unwrap();
    let line = format!(
        "\tcp /usr/share/{other}/version debian/tmp/usr/share/{}/other\n\tdpkg-gencontrol\n",
        repo.package
    );
    repo.write("debian/rules", &rules.replace("\tdpkg-gencontrol\n", &line));
    repo.commit("it needs another")
}

/// A package whose maintainer script does not end, and does not care for being asked to.
fn hangs(repo: &Repo) -> String {
    repo.tiny("1.0", Tiny::Works);
    repo.write("debian/postinst", "#!/bin/sh\ntrap '' TERM\necho hanging-now\nsleep 617\n");
    let rules = fs::read_to_string(repo.dir.join("debian/rules")).unwrap();
    let line = "\tinstall -m 755 debian/postinst debian/tmp/DEBIAN/\n\tdpkg-gencontrol\n";
    repo.write("debian/rules", &rules.replace("\tdpkg-gencontrol\n", line));
    repo.commit("it hangs")
}

#[test]
fn packages_are_built_in_a_schroot_and_what_is_ended_leaves_nothing() {
    let world = World::new();
    let _chroot = Chroot::new();
    let untouched = || {
        run(
            "sh",
            &[
                "-c",
                &format!(
                    "cd {ROOT} && find . -printf '%p %y %m %U %s %T@ %l\\n' | sort | sha256sum"
                ),
            ],
        )
    };
    let before = untouched();
    settings("limits: { processes: 200 }");
    let daemon = world.daemon();

    // A build dependency comes from the pocket's own suite.
    let library = world.repo("library");
    let commit = library.version("3.14", Tiny::Works);
    world.publish("dev", "library", &commit);
    let user = world.repo("user");
    let commit = needs(&user, "1.0", "library");
    world.publish("dev", "user", &commit);
    assert_eq!(
        Apt::new("unstable").update().file_of("user", "usr/share/user/other").trim(),
        "3.14"
    );
    all_is_gone(&[]);

    // A build that is cancelled.
    let sleeper = world.repo("sleeper");
    let commit = sleeper.version("1.0", Tiny::Sleeps);
    let job = world.submit("dev", "sleeper", &commit);
    world.wait_asleep(&job);
    assert!(left().contains("session:invirtibuilder-"), "{}", left());
    world.build("alice", &["cancel", &job]).ok();
    world.wait_for(&job, "cancelled", BUILD);
    all_is_gone(&[Tiny::SLEEP]);

    // One whose root process hangs: sbuild itself would not end, and neither does the script.
    let commit = hangs(&world.repo("hanger"));
    world.publish("dev", "hanger", &commit);
    let victim = world.repo("victim");
    let commit = needs(&victim, "1.0", "hanger");
    let job = world.submit("dev", "victim", &commit);
    eventually("the maintainer script hangs", BUILD, || !processes("sleep 617").is_empty());
    world.build("alice", &["cancel", &job]).ok();
    world.wait_for(&job, "cancelled", BUILD);
    all_is_gone(&["sleep 617"]);

    // A daemon that is killed: the next one ends what it left, and builds again.
    let job =
        world.build("alice", &["--json", "submit", "dev", "sleeper", "main"]).ok().json()["job"]
            .to_string();
    world.wait_asleep(&job);
    daemon.kill();
    assert!(left().contains("session:invirtibuilder-"), "{}", left());
    let daemon = world.daemon();
    world.wait_for(&job, "building", BUILD);
    eventually("it is built again", BUILD, || {
        fs::read_to_string(format!("{STATE}/logs/{job}/build.log"))
            .is_ok_and(|log| log.contains("\nsleeping-now"))
    });
    assert_eq!(processes(Tiny::SLEEP).iter().filter(|line| line.starts_with("sleep")).count(), 1);
    daemon.stop();
    all_is_gone(&[Tiny::SLEEP]);
    assert_eq!(untouched(), before);
    world.agrees();
}

#[test]
fn limits_hold_in_a_schroot_too() {
    let world = World::new();
    let _chroot = Chroot::new();
    settings("limits: { silence: 30s, memory: 400M, processes: 200 }");
    let _daemon = world.daemon();
    // Only control groups count these as they are.
    let counted = fs::read_to_string("/proc/self/cgroup").unwrap().contains("/world-");
    let cases = [
        ("silent", "echo quiet; sleep 618", Some("build.silence")),
        ("bomb", "perl -e 'while (1) { fork }'", counted.then_some("build.processes")),
        (
            "hog",
            "perl -e 'for (1 .. 900) { push @x, q(x) x (1 << 20) } sleep 619'",
            counted.then_some("build.memory"),
        ),
    ];
    for (package, rule, kind) in cases {
        let repo = world.repo(package);
        repo.tiny("1.0", Tiny::Works);
        let rules = fs::read_to_string(repo.dir.join("debian/rules")).unwrap();
        repo.write("debian/rules", &rules.replace("\ttrue\n", &format!("\t{rule}\n")));
        let job = world.submit("dev", package, &repo.commit("more than it may"));
        world.wait_for(&job, "failed", BUILD * 2);
        let failure = world.status(&job)["job"]["failure"].clone();
        assert!(kind.is_none_or(|kind| failure == kind), "{package}: {failure}\n{}", daemon_log());
        all_is_gone(&["sleep 618", "sleep 619", "while (1) { fork }"]);
    }
}

#[test]
fn who_requires_isolation_is_not_given_a_schroot_and_others_are_warned() {
    let world = World::new();
    // Without the chroot, and with one that builds would write to.
    settings("");
    let daemon = world.daemon();
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    let refused = |words: &[&str]| {
        let answer = world.build("alice", &["submit", "dev", "tiny", &commit, "--wait"]);
        assert_eq!(answer.code, 1, "{}{}", answer.out, answer.err);
        for word in words {
            assert!(
                format!("{}{}", answer.out, answer.err).contains(word),
                "{word}: {}{}",
                answer.out,
                answer.err
            );
        }
    };
    refused(&["build.chroot", "bookworm-amd64-sbuild", "sbuild-createchroot"]);
    let checks = world.local(&["init", "--check"]);
    assert_eq!(checks.code, 69);
    let checks = checks.says(&[
        "isolation of dev",
        "root on this machine",
        "sbuild-createchroot --arch=amd64 bookworm",
    ]);
    assert!(
        checks.out.contains("usermod --append --groups sbuild _invirtibuilder"),
        "{}",
        checks.out
    );
    let chroot = Chroot::new();
    let entry = fs::read_to_string(ENTRY).unwrap();
    fs::write(ENTRY, entry.replace("union-type=overlay", "union-type=none")).unwrap();
    refused(&["build.chroot", "union-type=overlay"]);
    fs::write(ENTRY, entry).unwrap();
    let checks = world.local(&["init", "--check"]).ok().out;
    for thing in ["schroot bookworm", "group sbuild"] {
        assert!(
            checks.lines().any(|line| line.starts_with("fine") && line.contains(thing)),
            "{checks}"
        );
    }
    let warned = world.local(&["check-config"]).ok();
    assert!(
        warned.err.contains("pocket dev") && warned.err.contains("root on this machine"),
        "{}",
        warned.err
    );

    // A pocket that requires isolation.
    fs::write(
        SETTINGS,
        "build:\n  pockets:\n    dev:\n      isolation: schroot\n      require_isolation: true\n",
    )
    .unwrap();
    world
        .local(&["check-config"])
        .refused(78, &[&format!("{SETTINGS}:4:7: "), "require_isolation"]);
    // The daemon keeps the old one.
    daemon.signal(Signal::SIGHUP);
    eventually("the daemon refuses it", SOON, || daemon_log().contains("require_isolation"));
    assert!(daemon.stop().success());
    assert!(fs::read_to_string(CONFIG).is_ok());
    drop(chroot);
    assert_eq!(left(), "");
}
