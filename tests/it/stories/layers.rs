//! Build dependencies that are installed while nobody waits.

use std::fs;

use nix::sys::signal::Signal;

use crate::world::cluster::Cluster;
use crate::world::{BUILD, Repo, STATE, Tiny, World, eventually, run};

/// A version of a package that needs Debian's `hello` while it is built, and says what that is.
fn commit(repo: &Repo, version: &str, needs: &str) -> String {
    repo.tiny(version, Tiny::Works);
    for (file, old, new) in [
        (
            "debian/control",
            "Rules-Requires-Root",
            format!("Build-Depends: {needs}\nRules-Requires-Root"),
        ),
        (
            "debian/rules",
            "\tdpkg-gencontrol\n",
            "\tdpkg-query -W hello\n\tdpkg-gencontrol\n".to_owned(),
        ),
    ] {
        let text = fs::read_to_string(repo.dir.join(file)).unwrap();
        repo.write(file, &text.replacen(old, &new, 1));
    }
    repo.commit(version)
}

fn layers() -> String {
    run(
        "sh",
        &[
            "-c",
            &format!(
                "cd {STATE} && find layers -name about -not -path '*/new/*' -not -path '*/gone/*' 2>/dev/null | wc -l"
            ),
        ],
    )
}

/// Everything that was ever written below the layers.
fn listing() -> String {
    run(
        "sh",
        &[
            "-c",
            &format!(
                "cd {STATE}/layers && find . -path '*/room/*' -printf '%p %y %m %U %s %C@ %l\\n' | sort"
            ),
        ],
    )
}

/// The version that was installed for a job, by the log, and whether nothing had to be installed
/// for it.
fn told(world: &World, job: &str) -> (String, bool) {
    let log = world.build("alice", &["log", job]).ok().out;
    let line = log
        .lines()
        .find_map(|line| line.strip_prefix("hello\t"))
        .unwrap_or_else(|| panic!("{log}"));
    (line.to_owned(), log.contains("were installed beforehand"))
}

fn installed(version: &str) -> String {
    let text =
        fs::read_to_string(format!("/srv/apt/pool/main/n/needy/needy_{version}_amd64.buildinfo"))
            .unwrap();
    text.lines()
        .skip_while(|line| !line.starts_with("Installed-Build-Depends:"))
        .take_while(|line| *line != "Environment:")
        .collect()
}

#[test]
fn the_second_build_finds_its_dependencies_installed() {
    let world = World::new();
    fs::write("/etc/invirtibuilder/conf.d/layers.yaml", "chroots: { layers: 10 }\n").unwrap();
    let daemon = world.daemon();
    world.wait_until_ready();
    let repo = world.repo("needy");
    let build = |pocket: &str, version: &str, needs: &str| {
        let job = world.submit(pocket, "needy", &commit(&repo, version, needs));
        world.wait_for(&job, "published", BUILD);
        job
    };
    let (debians, ready) = told(&world, &build("prod", "1.0", "hello"));
    assert!(!ready);
    eventually("it is installed for both slots", BUILD, || layers() == "2");
    let before = listing();
    let job = build("prod", "1.1", "hello (>= 1)");
    assert_eq!(told(&world, &job), (debians.clone(), false), "it asks for something else");
    eventually("that is installed, too", BUILD, || layers() == "4");
    let job = build("prod", "1.2", "hello");
    assert_eq!(told(&world, &job), (debians.clone(), true));
    assert_eq!(installed("1.2"), installed("1.0"));
    assert!(installed("1.0").contains(" hello (="));
    let after = listing();
    let is_there = |line: &str| after.lines().any(|other| other.trim_end() == line.trim_end());
    let changed: Vec<_> = before.lines().filter(|line| !is_there(line)).collect();
    assert!(before.lines().count() > 10 && changed.is_empty(), "{changed:#?}");
    // Bit by bit, in a build that installs them anew.
    let verdict = world.local(&["verify", "--rebuild", &job]).ok();
    assert!(!verdict.out.contains("what was installed"), "{}", verdict.out);

    // A suite that dependencies may come from has another one.
    let other = world.repo("hello");
    other.tiny("99", Tiny::Works);
    world.publish("prod", "hello", &other.commit("ours")).ok();
    let job = build("prod", "1.3", "hello");
    assert_eq!(told(&world, &job), ("99".to_owned(), false));
    // Which another pocket knows nothing of.
    let job = build("dev", "1.4", "hello");
    assert_eq!(told(&world, &job), (debians, true));

    // What the mirrors alone do not have is looked for in each build.
    let job = build("prod", "1.5", "hello (= 99)");
    assert_eq!(told(&world, &job), ("99".to_owned(), false));
    eventually("it is known that it cannot be", BUILD, || layers() == "6");
    let job = build("prod", "1.6", "hello (= 99)");
    assert_eq!(told(&world, &job), ("99".to_owned(), false));

    fs::write("/etc/invirtibuilder/conf.d/layers.yaml", "chroots: { layers: 0 }\n").unwrap();
    daemon.signal(Signal::SIGHUP);
    eventually("they are removed", BUILD, || layers() == "0");
}

#[test]
fn what_a_build_asks_for_stays_installed_on_a_node() {
    let world = World::new();
    fs::write("/etc/invirtibuilder/conf.d/layers.yaml", "chroots: { layers: 10 }\n").unwrap();
    let _cluster = Cluster::here();
    let _daemon = world.daemon();
    let repo = world.repo("needy");
    let build = |version: &str| {
        let job = world.submit("prod", "needy", &commit(&repo, version, "hello"));
        world.wait_for(&job, "published", BUILD);
        let log = world.build("alice", &["log", &job]).ok().out;
        assert!(log.contains(" on node n1."), "{log}");
        let stay = "The build dependencies are installed on this node, and stay so.";
        (told(&world, &job), log.contains(stay))
    };
    let ((debians, ready), stay) = build("1.0");
    assert!(!ready && !stay, "nobody has asked for it before");
    assert_eq!(build("1.1"), ((debians.clone(), true), true));
    assert_eq!(build("1.2"), ((debians, true), false), "it is there");
    assert_eq!(installed("1.2"), installed("1.0"));
    // A suite that dependencies may come from has another one.
    let other = world.repo("hello");
    other.tiny("99", Tiny::Works);
    world.publish("prod", "hello", &other.commit("ours")).ok();
    assert_eq!(build("1.3"), (("99".to_owned(), false), false));
    world.local(&["verify"]).ok();
}
