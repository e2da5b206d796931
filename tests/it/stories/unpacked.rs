//! Chroots that are unpacked while nobody waits.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;

use crate::world::{BUILD, Repo, STATE, Tiny, World, eventually, run};

/// Everything that was ever written below the unpacked chroots.
fn roots() -> String {
    run(
        "sh",
        &["-c", &format!("cd {STATE}/roots && find . -printf '%p %y %m %U %s %C@ %l\\n' | sort")],
    )
}

/// A version whose build says what its root is.
fn commit(repo: &Repo, version: &str) -> String {
    repo.tiny(version, Tiny::Works);
    let rules = fs::read_to_string(repo.dir.join("debian/rules")).unwrap();
    let look = "\tgrep ' / ' /proc/self/mounts | cut -d' ' -f3 | sed 's/^/the root is /'\n\tdpkg-gencontrol\n";
    repo.write("debian/rules", &rules.replacen("\tdpkg-gencontrol\n", look, 1));
    let control = fs::read_to_string(repo.dir.join("debian/control")).unwrap();
    repo.write("debian/control", &control.replacen("Rules-", "Build-Depends: hello\nRules-", 1));
    repo.commit(version)
}

#[test]
fn what_does_not_fit_into_memory_is_built_on_the_disk() {
    let world = World::new();
    let limits = "limits: { disk: 2500M, time: 5m, silence: 5m }";
    let settings = format!(
        "chroots: {{ in_memory: 700M }}\nbuild: {{ pockets: {{ dev: {{ {limits} }}, twice: {{ acl: 'princ:alice@EXAMPLE.ORG', \
         distro: bookworm, architectures: [amd64], require_reproducible: true, {limits} }} }} }}\n"
    );
    fs::write("/etc/invirtibuilder/conf.d/memory.yaml", settings).unwrap();
    let _daemon = world.daemon();
    world.wait_until_ready();
    let before = roots();
    let repo = world.repo("wide");
    let writes = |pocket: &str, version: &str, mib: u32| {
        repo.tiny(version, Tiny::Works);
        let rules = fs::read_to_string(repo.dir.join("debian/rules")).unwrap();
        let fill = format!(
            "\tfor n in $$(seq {mib}); do head -c 1048576 /dev/zero >wide.$$n || exit 1; done\n\trm wide.*\n\tdpkg-gencontrol\n"
        );
        repo.write("debian/rules", &rules.replacen("\tdpkg-gencontrol\n", &fill, 1));
        world.submit(pocket, "wide", &repo.commit(version))
    };
    let job = writes("dev", "1.0", 900);
    world.wait_for(&job, "published", BUILD);
    let log = world.build("alice", &["log", &job]).ok().out;
    assert!(
        log.contains("once more, on the disk") && log.matches("Build finished at").count() == 2,
        "{log}"
    );
    // The next one starts there.
    let job = writes("dev", "1.1", 900);
    world.wait_for(&job, "published", BUILD);
    let log = world.build("alice", &["log", &job]).ok().out;
    assert!(!log.contains("once more") && log.matches("Build finished at").count() == 1, "{log}");
    // As often as it has to be built.
    let job = writes("twice", "1.2", 900);
    world.wait_for(&job, "published", BUILD);
    let log = world.build("alice", &["log", &job]).ok().out;
    assert_eq!(log.matches("Build finished at").count(), 2, "{log}");
    // And there, too, it has what limits.disk says and no more.
    let job = writes("dev", "1.3", 4000);
    world.wait_for(&job, "failed", BUILD);
    world.build("alice", &["status", &job]).ok().says(&["build.disk"]);
    // Files count that no directory shows any more.
    repo.tiny("1.4", Tiny::Works);
    let rules = fs::read_to_string(repo.dir.join("debian/rules")).unwrap();
    let hoard = "\tperl -e 'for (1 .. 20) { open $$f[$$_], q(>), q(gone) or die; unlink q(gone); \
                 for $$n (1 .. 150) { print { $$f[$$_] } q(x) x (1 << 20) } } sleep 5'\n\tdpkg-gencontrol\n";
    repo.write("debian/rules", &rules.replacen("\tdpkg-gencontrol\n", hoard, 1));
    let job = world.submit("dev", "wide", &repo.commit("1.4"));
    eventually("what hides its files has ended", BUILD, || {
        ["failed", "published"].contains(&&world.state(&job)[..])
    });
    world.build("alice", &["status", &job]).ok().says(&["build.disk"]);
    assert_eq!(roots(), before);
    let work = format!("{STATE}/work");
    eventually("nothing is left", BUILD, || fs::read_dir(&work).unwrap().count() == 0);
}

#[test]
fn builds_start_from_a_chroot_that_is_unpacked_and_stays_as_it_is() {
    let world = World::new();
    let daemon = world.daemon();
    let repo = world.repo("tiny");
    world.wait_until_ready();
    let before = roots();
    assert!(before.lines().count() > 10_000, "{before}");
    let log = |version: &str| {
        let job = world.submit("prod", "tiny", &commit(&repo, version));
        world.wait_for(&job, "published", BUILD);
        world.build("alice", &["log", &job]).ok().out
    };
    let said = log("1.0");
    assert!(said.contains("the root is overlay"), "{said}");
    assert!(!said.contains("Update chroot"), "it fetched lists that it has: {said}");
    assert_eq!(roots(), before);

    // Old lists are fetched again, by the daemon.
    let stamp = run("sh", &["-c", &format!("ls {STATE}/roots/0/*.updated")]);
    let age = || fs::metadata(&stamp).unwrap().modified().unwrap().elapsed().unwrap();
    File::options()
        .write(true)
        .open(&stamp)
        .unwrap()
        .set_modified(SystemTime::now() - Duration::from_secs(7200))
        .unwrap();
    eventually("the lists are fetched again", BUILD, || age() < Duration::from_secs(3600));

    // Without them, each build unpacks its own.
    fs::write("/etc/invirtibuilder/conf.d/unpacked.yaml", "chroots: { unpacked: false }\n")
        .unwrap();
    daemon.signal(Signal::SIGHUP);
    eventually("they are removed", BUILD, || !roots().contains("/usr"));
    let said = log("1.1");
    assert!(said.contains("the root is tmpfs") && said.contains("Update chroot"), "{said}");
}
