//! Whether a pocket may have what another one has built: that is judged by what the build had.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::world::{Apt, BUILD, Repo, STATE, Tiny, World, run};

fn configure(name: &str, text: &str) {
    fs::write(format!("/etc/invirtibuilder/conf.d/{name}.yaml"), text).unwrap();
}

/// The next version of a package that needs `greeting` to be built, and has its version in it.
fn needy(repo: &Repo, version: &str) -> String {
    repo.tiny(version, Tiny::Works);
    repo.need_greeting("cp /usr/share/greeting/version debian/tmp/usr/share/needy/greeting");
    repo.commit(version)
}

fn sum(package: &str, version: &str) -> String {
    let path =
        format!("/srv/apt/pool/main/{}/{package}/{package}_{version}_all.deb", &package[..1]);
    run("sha256sum", &[&path])
}

#[test]
fn what_a_build_was_given_has_to_be_in_the_pocket_that_copies() {
    let world = World::new();
    let daemon = world.daemon();
    let (greeting, app) = (world.repo("greeting"), world.repo("needy"));
    world.publish("dev", "greeting", &greeting.version("1.0", Tiny::Works));
    let job = world.submit("dev", "needy", &needy(&app, "1.0"));
    world.wait_for(&job, "published", BUILD);
    let given = &world.status(&job)["given"];
    assert_eq!(
        (&given[0]["package"], &given[0]["suite"]),
        (&"greeting".into(), &"unstable".into()),
        "{given}"
    );
    assert!(sum("greeting", "1.0").starts_with(given[0]["sha256"].as_str().unwrap()), "{given}");
    world
        .build("alice", &["log", &job])
        .ok()
        .says(&["Given from suite unstable: greeting 1.0 all"]);

    // prod's own build could not have had it.
    let before = world.snapshot();
    let words = [
        &format!("by job {job} for dev")[..],
        "it was given greeting 1.0 of suite unstable, which stable has not",
        "submit greeting 1.0 to prod first",
        "archive vouch needy 1.0",
    ];
    for verb in [
        &["promote", "needy", "dev", "prod"][..],
        &["promote", "needy", "dev", "prod", "--dry-run"],
    ] {
        world.build("alice", verb).refused(65, &words);
    }
    assert_eq!(world.snapshot(), before);

    // The way out that is named is one; what was tested is what is shipped. As long as it is under
    // way, that is said.
    let tested = sum("needy", "1.0");
    daemon.stop();
    let answer = world.build("alice", &["promote", "greeting", "dev", "prod"]).ok();
    let first = answer.out.split([' ', ':']).nth(1).unwrap().to_owned();
    let words = ["it was given greeting 1.0", &format!("job {first} brings that: submit it again")];
    world.build("alice", &["promote", "needy", "dev", "prod"]).refused(75, &words);
    let _daemon = world.daemon();
    world.build("alice", &["promote", "greeting", "dev", "prod", "--wait"]).ok();
    let answer = world.build("alice", &["promote", "needy", "dev", "prod", "--wait"]).ok();
    let copy = answer.out.split([' ', ':']).nth(1).unwrap().to_owned();
    assert_eq!(sum("needy", "1.0"), tested);
    let stable = Apt::new("stable");
    assert_eq!(stable.update().file_of("needy", "usr/share/needy/greeting"), "1.0");
    world
        .build("alice", &["status", &copy])
        .ok()
        .says(&[&format!("built by   job {job} for dev (unshare)")]);
    world.build("alice", &["explain", &copy]).ok().says(&["greeting 1.0 all from unstable"]);
    let tag = run(
        "git",
        &[
            "-C",
            "/srv/git/packages/needy.git",
            "for-each-ref",
            "--format=%(contents)",
            "refs/tags/1.0",
        ],
    );
    assert!(
        tag.contains(&format!(
            "Built-By-Job: {job}\nBuilt-For: dev\nBuilt-With-Isolation: unshare\n"
        )),
        "{tag}"
    );

    // What prod has had and replaced, a build of prod could have had; what it was taken back from,
    // not.
    let job = world.submit("dev", "needy", &needy(&app, "1.1"));
    world.wait_for(&job, "published", BUILD);
    world.publish("prod", "greeting", &greeting.version("2.0", Tiny::Works));
    world.build("alice", &["promote", "needy", "dev", "prod", "--wait"]).ok();
    world.build("alice", &["promote", "greeting", "prod", "dev", "--wait"]).ok();
    let job = world.submit("dev", "needy", &needy(&app, "1.2"));
    world.wait_for(&job, "published", BUILD);
    assert_eq!(world.status(&job)["given"][0]["version"], "2.0");
    let snapshots = world.local(&["--json", "archive", "snapshots", "stable"]).ok().json();
    let number = snapshots[2]["number"].to_string();
    world.local(&["archive", "rollback", "stable", &number]).ok();
    assert_eq!(stable.update().candidate("greeting").as_deref(), Some("1.0"));
    let words = ["greeting 2.0 of suite unstable, which stable has not"];
    world.build("alice", &["promote", "needy", "dev", "prod"]).refused(65, &words);
    world.agrees();
}

#[test]
fn a_stronger_pocket_takes_no_weaker_build_unless_somebody_answers_for_it() {
    let world = World::new();
    configure(
        "vm",
        "build: { pockets: { prod: { isolation: vm, require_isolation: true, build_depends_from: [prod] } } }\n",
    );
    let _daemon = world.daemon();
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    world.publish("dev", "tiny", &commit);
    let before = world.snapshot();
    let words = [
        "it was built with isolation unshare, and prod wants vm",
        "archive vouch tiny 1.0 --pocket prod",
    ];
    world.build("alice", &["submit", "prod", "tiny", &commit]).refused(65, &words);
    assert_eq!(world.snapshot(), before);

    // Only an administrator can, and says why.
    let vouch = [
        "archive",
        "vouch",
        "tiny",
        "1.0",
        "--pocket",
        "prod",
        "--reason",
        "it was read line by line",
    ];
    world.build("alice", &vouch).refused(77, &["on the server"]);
    world.local(&vouch[..6]).refused(64, &["--reason"]);
    world.local(&["archive", "vouch", "tiny", "1.0", "--reason", "  "]).refused(64, &["--reason"]);
    world.local(&["archive", "vouch", "tiny", "2.0", "--reason", "x"]).refused(65, &["tiny 2.0"]);
    world
        .local(&["archive", "vouch", "tiny", "1.0", "--pocket", "none", "--reason", "x"])
        .refused(65, &["none"]);
    assert_eq!(world.snapshot(), before);
    world
        .local(&[
            "archive",
            "vouch",
            "tiny",
            "1.0",
            "--pocket",
            "dev",
            "--reason",
            "for another pocket",
        ])
        .ok();
    world.build("alice", &["submit", "prod", "tiny", &commit]).refused(65, &words);
    world.local(&vouch).ok().says(&["prod may have tiny 1.0"]);
    let copy = world.submit("prod", "tiny", &commit);
    world.wait_for(&copy, "published", BUILD);
    world.build("alice", &["explain", &copy]).ok().says(&["it was read line by line"]);

    // And can take it back: what prod has it keeps, and another pocket's word is its own.
    let revoke = [
        "archive",
        "vouch",
        "tiny",
        "1.0",
        "--revoke",
        "--pocket",
        "prod",
        "--reason",
        "it was read again",
    ];
    world.build("alice", &revoke).refused(77, &["on the server"]);
    world.local(&revoke).ok().says(&["nobody answers for tiny 1.0 for prod any more"]);
    world.local(&revoke).refused(65, &["nobody answers for tiny 1.0 for prod"]);
    world.local(&["archive", "vouch", "tiny", "1.0", "--revoke", "--reason", "all of it"]).ok();
    world
        .local(&["audit", "show", "--event", "archive.vouch-revoked"])
        .ok()
        .says(&["it was read again", "all of it"]);
    world.local(&["audit", "verify"]).ok();

    // Or the configuration does, which is warned of.
    let commit = repo.version("1.1", Tiny::Works);
    world.publish("dev", "tiny", &commit);
    world.build("alice", &["submit", "prod", "tiny", &commit]).refused(65, &["isolation unshare"]);
    configure("copies", "build: { pockets: { prod: { copies_from: [dev] } } }\n");
    let check = world.local(&["check-config"]).ok();
    assert!(
        check.err.contains("pocket prod: copies_from") && check.err.contains("anything"),
        "{}",
        check.err
    );
    let words = world.build("alice", &["submit", "prod", "tiny", &commit, "--dry-run"]).ok();
    assert!(words.out.contains("copied from dev"), "{}", words.out);
    configure("copies", "build: { pockets: { prod: { copies_from: [nowhere] } } }\n");
    world.local(&["check-config"]).refused(78, &["there is no pocket nowhere"]);
    fs::remove_file("/etc/invirtibuilder/conf.d/copies.yaml").unwrap();
    world.agrees();
}

#[test]
fn a_chroot_that_was_defined_otherwise_is_no_chroot_of_this_pocket() {
    let world = World::new();
    let dir = Path::new("/run/world/defined");
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).unwrap();
    let real = fs::canonicalize(format!("{STATE}/chroots/bookworm-amd64.tar")).unwrap();
    symlink(&real, dir.join(real.file_name().unwrap())).unwrap();
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(format!("{STATE}/chroots/bookworm-amd64.json")).unwrap())
            .unwrap();
    let mut define = |word: &str, uri: &str| {
        manifest["definition"] = word.into();
        manifest["sources"][0]["uri"] = uri.into();
        fs::write(dir.join("bookworm-amd64.json"), manifest.to_string()).unwrap();
    };
    let uri = serde_json::from_slice::<serde_json::Value>(
        &fs::read(format!("{STATE}/chroots/bookworm-amd64.json")).unwrap(),
    )
    .unwrap()["sources"][0]["uri"]
        .as_str()
        .unwrap()
        .to_owned();
    define("one", &uri);
    configure("chroots", &format!("chroots: {{ dir: {}, unpacked: false }}\n", dir.display()));
    let _daemon = world.daemon();
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    world.publish("dev", "tiny", &commit);
    define("two", &uri);
    let words = ["defined otherwise", "chroots.distros"];
    world.build("alice", &["submit", "prod", "tiny", &commit]).refused(65, &words);
    // Another mirror of the distro's own archive is no other definition.
    define("one", "http://mirror.invalid/debian/");
    let copy = world.submit("prod", "tiny", &commit);
    world.wait_for(&copy, "published", BUILD);
}

#[test]
fn a_copy_loses_no_component_and_verify_names_what_is_not_shown() {
    let world = World::new();
    configure("components", "build: { pockets: { dev: { components: [main, contrib] } } }\n");
    let daemon = world.daemon();
    let repo = world.repo("tiny");
    repo.tiny("1.0", Tiny::Works);
    let control = fs::read_to_string(repo.dir.join("debian/control")).unwrap();
    repo.write("debian/control", &control.replace("Section: misc", "Section: contrib/misc"));
    let commit = repo.commit("1.0");
    world.publish("dev", "tiny", &commit);
    let before = world.snapshot();
    world
        .build("alice", &["submit", "prod", "tiny", &commit])
        .refused(65, &["component contrib, which prod has not"]);
    world.local(&["archive", "vouch", "tiny", "1.0", "--reason", "it does not matter here"]).ok();
    world
        .build("alice", &["submit", "prod", "tiny", &commit])
        .refused(65, &["component contrib, which prod has not"]);
    assert_eq!(world.snapshot().len(), before.len());
    world.local(&["verify"]).ok();
    drop(daemon);
    configure(
        "components",
        "build: { pockets: { dev: { components: [main], architectures: [amd64, i386] } } }\n",
    );
    let verify = world.local(&["verify"]);
    assert_eq!(verify.code, 1, "{}", verify.out);
    assert!(verify.out.contains("not show all of tiny 1.0, which dev has"), "{}", verify.out);
    assert!(verify.out.contains("component contrib"), "{}", verify.out);
}
