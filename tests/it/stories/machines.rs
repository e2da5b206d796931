//! Builds in virtual machines. Where this machine has no KVM that works they are emulated, and
//! slow.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::audit::Receiver;
use crate::world::{Apt, Repo, SOON, STATE, Tiny, World, eventually, processes, run};

/// The longest that a small build in an emulated machine may take, with another beside it.
const LONG: Duration = Duration::from_secs(1200);

const LIMITS: &str = "time: 20m, silence: 10m, memory: 700M, disk: 2G, processes: 300, log: 4M";

/// Both pockets build in machines.
fn world() -> World {
    let world = World::new();
    configure(&format!("limits: {{ {LIMITS} }}"));
    world.image();
    world
}

fn configure(more: &str) {
    let text = format!(
        "build: {{ pockets: {{ prod: {{ isolation: vm }}, dev: {{ isolation: vm, {more} }} }} }}\n"
    );
    fs::write("/etc/invirtibuilder/conf.d/machines.yaml", text).unwrap();
}

fn with_rule(repo: &Repo, version: &str, rule: &str) -> String {
    repo.tiny(version, Tiny::Works);
    let rules = fs::read_to_string(repo.dir.join("debian/rules")).unwrap();
    repo.write("debian/rules", &rules.replace("\ttrue\n", &format!("\t{rule}\n")));
    repo.commit("a rule")
}

#[test]
fn a_commit_becomes_a_package_in_a_machine_of_its_own() {
    let world = world();
    let _daemon = world.daemon();
    let repo = world.repo("tiny");
    let look = r#"echo "kernel: $$(uname -r)"; echo "user: $$(id -un)"; echo "network: $$(grep -c : /proc/net/dev)"; \
                  echo "memory: $$(sed -n 's/MemTotal: *//p' /proc/meminfo)"; \
                  echo "sandbox: $$(ls -d /input /output /machine /etc/sbuild.conf 2>/dev/null | wc -l)""#;
    with_rule(&repo, "1.0", look);
    let control = fs::read_to_string(repo.dir.join("debian/control")).unwrap();
    repo.write(
        "debian/control",
        &control.replace("Standards-Version", "Build-Depends: hello\nStandards-Version"),
    );
    let commit = repo.commit("with a dependency, which apt has to fetch");
    let job = world.submit("dev", "tiny", &commit);
    world.wait_for(&job, "published", LONG);

    let log = world.build("alice", &["log", &job]).ok().out;
    let value = |key: &str| {
        log.lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap_or_else(|| panic!("{key}: {log}"))
    };
    let host = run("uname", &["-r"]);
    assert_ne!(value("kernel: "), host, "that is this machine's own kernel");
    assert_eq!(value("user: "), "sbuild");
    assert_eq!(value("network: "), "1", "there is more than a loopback interface");
    let memory: u64 = value("memory: ").trim_end_matches(" kB").parse().unwrap();
    assert!((700 << 10..1000 << 10).contains(&memory), "{memory}");
    assert_eq!(value("sandbox: "), "0");

    let apt = Apt::new("unstable");
    assert_eq!(apt.update().file_of("tiny", "usr/share/tiny/version"), "1.0");
    assert_eq!(apt.source_of("tiny"), ["tiny_1.0.dsc", "tiny_1.0.tar.xz"]);
    world.local(&["verify", "--rebuild", &job]).ok();
    assert_eq!(processes("qemu-system"), Vec::<String>::new());
}

#[test]
fn a_copy_is_proven_in_a_machine_where_the_pocket_builds_in_machines() {
    let world = world();
    let text = "build: { pockets: { dev: { isolation: unshare, require_reproducible: true }, prod: { require_reproducible: true } } }\n";
    fs::write("/etc/invirtibuilder/conf.d/proven.yaml", text).unwrap();
    let _daemon = world.daemon();
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    let first = world.submit("dev", "tiny", &commit);
    world.wait_for(&first, "published", LONG);
    world
        .build("alice", &["explain", &first])
        .ok()
        .says(&["built again with the same result", "(unshare)"]);
    world.build("alice", &["submit", "prod", "tiny", &commit]).refused(65, &["isolation unshare"]);
    world
        .local(&[
            "archive",
            "vouch",
            "tiny",
            "1.0",
            "--pocket",
            "prod",
            "--reason",
            "to see it built again",
        ])
        .ok();
    // What dev has proven does not count here.
    let copy = world.submit("prod", "tiny", &commit);
    world.wait_for(&copy, "published", LONG);
    let log = world.build("alice", &["log", &copy]).ok().out;
    assert!(log.contains("require_reproducible") && log.contains("Build finished at"), "{log}");
    world
        .build("alice", &["explain", &copy])
        .ok()
        .says(&["built again with the same result", "(vm)"]);
}

#[test]
fn a_package_of_debian_is_built_in_a_machine() {
    let world = world();
    let _daemon = world.daemon();
    let (_tree, commit) = super::debian::import(&world, "hostname");
    let job = world.submit("prod", "hostname", &commit);
    world.wait_for(&job, "published", LONG);
    assert!(Apt::new("stable").update().candidate("hostname").is_some());
}

/// What `debian/rules` runs, the name of its package, and how that has to end.
const CASES: [(&str, &str, &str); 5] = [
    (
        "memory-hog",
        r"perl -e 'for (1 .. 4000) { push @x, q(x) x (1 << 20) } sleep 600'",
        "build.memory",
    ),
    ("fork-bomb", r"perl -e 'while (1) { fork }'", "build.processes"),
    ("disk-filler", r"head -c 3G /dev/zero >filling", "build.disk"),
    ("log-flooder", r"yes this is a line of a log that has no end", "build.log"),
    ("sleeper", r"setsid sleep 641 & echo asleep; sleep 642", "build.silence"),
];

#[test]
fn whoever_uses_too_much_is_ended_and_told_why() {
    let world = world();
    configure(&format!("limits: {{ {} }}", LIMITS.replace("silence: 10m", "silence: 4m")));
    let _daemon = world.daemon();
    let jobs: Vec<_> = CASES
        .iter()
        .map(|(package, rule, kind)| {
            let commit = with_rule(&world.repo(package), "1.0", rule);
            (world.submit("dev", package, &commit), package, kind)
        })
        .collect();
    for (job, package, kind) in &jobs {
        eventually(&format!("{package} has ended"), LONG * 2, || {
            ["failed", "published"].contains(&&world.state(job)[..])
        });
        let status = world.status(job);
        assert_eq!(status["job"]["failure"], **kind, "{package}: {status:#}");
    }
    assert_eq!(processes("qemu-system"), Vec::<String>::new());
}

/// What does not fit into memory is built on the disk, and there it has what `limits.disk` says and
/// no more.
#[test]
fn what_outgrows_its_memory_is_written_on_the_disk() {
    let world = world();
    let text = "chroots: { in_memory: 250M }\n";
    fs::write("/etc/invirtibuilder/conf.d/memory.yaml", text).unwrap();
    let _daemon = world.daemon();
    let repo = world.repo("wide");
    let writes = |version: &str, mib: u32| {
        let rule = format!("dd if=/dev/zero of=wide bs=1M count={mib} conv=fsync && rm wide");
        world.submit("dev", "wide", &with_rule(&repo, version, &rule))
    };
    let job = writes("1.0", 300);
    world.wait_for(&job, "published", LONG * 2);
    let log = world.build("alice", &["log", &job]).ok().out;
    let (first, second) =
        log.split_once("once more, on the disk").unwrap_or_else(|| panic!("{log}"));
    assert!(
        !first.contains("Status: successful") && second.contains("Status: successful"),
        "{log}"
    );

    // The next one starts there.
    let job = writes("1.1", 4000);
    world.wait_for(&job, "failed", LONG);
    let log = world.build("alice", &["log", &job]).ok().out;
    assert!(!log.contains("once more"), "{log}");
    world.build("alice", &["status", &job]).ok().says(&["build.disk"]);
    eventually("nothing is left", SOON, || {
        fs::read_dir(format!("{STATE}/work")).unwrap().count() == 0
    });
    assert_eq!(processes("qemu-system"), Vec::<String>::new());
}

/// What a package does that is root in its machine, from a maintainer script, and how that has to
/// end.
const MASTERS: [(&str, &str, &str); 3] = [
    // Its processes leave no processor to anything else: not to what goes on talking, and not to
    // the agent.
    (
        "mute",
        r#"my @m = qw(proc /mnt proc); syscall(165, @m, 0, 0) == 0 or die $!;
           open(F, ">", "/mnt/sys/kernel/sched_rt_runtime_us") or die $!; print F "-1\n"; close F or die $!;
           for (1 .. 32) { fork or do { my $p = pack("i", 99); syscall(144, 0, 1, $p) == 0 or die $!; 1 while 1 } }
           while (1) { print STDERR "here\n"; sleep 1 }"#,
        "build.silence",
    ),
    (
        "crash",
        r#"open(F, ">", "/proc/sysrq-trigger") or die $!; print F "b"; close F; sleep 600"#,
        "build.failed",
    ),
    // It takes its limits off.
    (
        "free",
        r#"my @m = qw(cgroup2 /mnt cgroup2); syscall(165, @m, 0, 0) == 0 or die $!;
           open(F, ">", "/mnt/cgroup.procs") or die $!; syswrite(F, "0") or die $!;
           push @x, "x" x (1 << 20) for 1 .. 4000; sleep 600"#,
        "build.memory",
    ),
];

#[test]
fn whoever_is_root_in_a_machine_has_the_limits_all_the_same() {
    let world = world();
    configure(&format!("limits: {{ {} }}", LIMITS.replace("silence: 10m", "silence: 4m")));
    let _daemon = world.daemon();
    world.stub_sbuild();
    for (package, attack, _) in MASTERS {
        let repo = world.repo(&format!("{package}-trap"));
        repo.tiny("1.0", Tiny::Works);
        repo.write(
            "debian/postinst",
            &format!("#!/usr/bin/perl\nprint STDERR qq(a trap\\n);\n{attack};\n"),
        );
        let forge = "install -m 755 \"$work/debian/postinst\" \"$root/DEBIAN/postinst\"\n\
                     dpkg-deb --root-owner-group -Zgzip --build \"$root\" \"$deb\" >/dev/null\nwrite_changes\n";
        repo.write("debian/forge", forge);
        world.publish("dev", &repo.package, &repo.commit("a trap"));
    }
    world.unstub_sbuild();
    let jobs: Vec<_> = MASTERS
        .iter()
        .map(|(package, _, kind)| {
            let repo = world.repo(package);
            repo.tiny("1.0", Tiny::Works);
            let control = fs::read_to_string(repo.dir.join("debian/control")).unwrap();
            let asks = format!("Build-Depends: {package}-trap\nStandards-Version");
            repo.write("debian/control", &control.replace("Standards-Version", &asks));
            (world.submit("dev", package, &repo.commit("into the trap")), package, kind)
        })
        .collect();
    for (job, package, kind) in &jobs {
        eventually(&format!("{package} has ended"), LONG * 2, || {
            ["failed", "published"].contains(&&world.state(job)[..])
        });
        let (status, log) = (world.status(job), world.build("alice", &["log", job]).ok().out);
        assert!(log.contains("a trap"), "{package}: {log}");
        assert_eq!(status["job"]["failure"], **kind, "{package}: {status:#}\n{log}");
    }
    assert_eq!(processes("qemu-system"), Vec::<String>::new());
}

#[test]
fn without_an_image_a_job_says_how_one_is_made() {
    let world = World::new();
    configure("distro: trixie, architectures: [amd64]");
    world
        .local(&["init", "--check"])
        .says(&["image trixie", "invirt-build chroot create trixie --vm"]);
    let _daemon = world.daemon();
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    let job = world.submit("dev", "tiny", &commit);
    world.wait_for(&job, "failed", LONG);
    let status = world.status(&job);
    assert_eq!(status["job"]["failure"], "build.chroot", "{status:#}");
    let text = status["job"]["reason"].as_str().unwrap();
    assert!(text.contains("invirt-build chroot create trixie --vm"), "{text}");
}

/// Another device in place of KVM's.
struct Kvm;

impl Kvm {
    const DEVICE: &str = "/dev/kvm";

    /// One that can be opened, and that no machine starts with; `None` where there is no place for
    /// it.
    fn broken() -> Option<Self> {
        Self::bind("/dev/null")
    }

    /// That of this machine, for everybody to open.
    fn open_to_all() -> Option<Self> {
        let _ = fs::remove_file("/tmp/kvm");
        run("cp", &["-a", Self::DEVICE, "/tmp/kvm"]);
        run("chmod", &["666", "/tmp/kvm"]);
        Self::bind("/tmp/kvm")
    }

    fn bind(device: &str) -> Option<Self> {
        if !Path::new(Self::DEVICE).exists() {
            eprintln!("there is no {} here to put another in the place of", Self::DEVICE);
            return None;
        }
        run("mount", &["--bind", device, Self::DEVICE]);
        Some(Self)
    }
}

impl Drop for Kvm {
    fn drop(&mut self) {
        run("umount", &[Self::DEVICE]);
    }
}

#[test]
fn with_the_kvm_of_this_machine_a_build_works_even_if_that_does_not() {
    if !Path::new(Kvm::DEVICE).exists() {
        return;
    }
    let world = world();
    let (_kvm, _daemon) = (Kvm::open_to_all(), world.daemon());
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    let job = world.submit("dev", "tiny", &commit);
    world.wait_for(&job, "published", LONG);
    let log = world.build("alice", &["log", &job]).ok().out;
    // Not for want of a device.
    let emulated = log.contains("emulated, and slow: a machine did not start with KVM");
    assert_eq!(log.contains("emulated"), emulated, "{log}");
    eprintln!("KVM {} on this machine", if emulated { "does not work" } else { "works" });
}

#[test]
fn where_kvm_does_not_work_a_machine_is_emulated_and_the_log_says_so() {
    let Some(_kvm) = Kvm::broken() else { return };
    let world = world();
    let system_log = Receiver::new();
    let _daemon = world.daemon();
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    let job = world.submit("dev", "tiny", &commit);
    world.wait_for(&job, "published", LONG);
    world.build("alice", &["log", &job]).ok().says(&[
        "the virtual machine does not start",
        "This virtual machine is emulated, and slow: a machine did not start with KVM",
    ]);
    let said = system_log.lines();
    let warned = |line: &String| {
        line.contains("machine-emulated") && line.contains("did not start with KVM")
    };
    assert!(said.iter().any(warned), "{said:?}");
    world
        .local(&["init", "--check"])
        .says(&["machines are emulated, and slow: a machine did not start with KVM"]);
}
