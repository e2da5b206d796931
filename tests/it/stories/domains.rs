//! A domain of its own for work in progress: whoever has all of it has nothing of production.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use crate::world::{Apt, BUILD, CONFIG, Repo, STATE, Tiny, World, bare, rev, run};

const LAB: &str = "/srv/apt-lab";
const LAB_KEY: &str = "/srv/apt-lab/archive-key.asc";
const KEY: &str = "/srv/apt/archive-key.asc";

/// Moves dev into a domain with an archive of its own, which builds with production's suites, and
/// in which mallory may submit.
fn lab(world: &World) {
    let _ = fs::remove_dir_all(LAB);
    let _ = fs::remove_file("/etc/invirtibuilder/lab-key.asc");
    fs::create_dir(LAB).unwrap();
    chown(LAB, Some(64321), Some(64321)).unwrap();
    let text = format!(
        "archives: {{ lab: {{ root: {LAB}, signing_key: /etc/invirtibuilder/lab-key.asc, builds_from: [main] }} }}\n\
         build: {{ pockets: {{ dev: {{ domain: lab, acl: ['princ:alice@EXAMPLE.ORG', 'princ:mallory@EXAMPLE.ORG'], \
         build_depends_from: [dev, prod] }} }} }}\n"
    );
    fs::write("/etc/invirtibuilder/conf.d/lab.yaml", text).unwrap();
    let said = world.local(&["check-config"]);
    assert!(
        said.code == 78 && said.err.contains("'invirt-build archive move dev lab'"),
        "{said:?}"
    );
    assert!(said.err.contains("one rule for versions"), "{said:?}");
    let said = world.local(&["init"]);
    assert!(said.out.contains("made signing key"), "{said:?}");
    assert!(format!("{said:?}").contains("archive move dev lab"), "{said:?}");
    world
        .local(&["archive", "move", "dev", "lab"])
        .ok()
        .says(&["dev has left domain main", "lab/unstable"]);
    world.local(&["check-config"]).ok();
    world.local(&["init"]).ok();
}

/// The next version of a package that has in it what `greeting` was when it was built.
fn app(repo: &Repo, version: &str, text: &str) -> String {
    repo.tiny(version, Tiny::Works);
    repo.need_greeting("cat text /usr/share/greeting/version >debian/tmp/usr/share/app/greeting");
    repo.write("text", text);
    repo.commit(version)
}

/// Every file of production's archive, its branches, tags and marks.
fn production() -> String {
    run(
        "sh",
        &[
            "-c",
            "find /srv/apt -type f -exec sha256sum {} + | sort -k2
             find /srv/apt -type l -printf '%p -> %l\\n' | sort
             for repo in app greeting; do
                 git -C /srv/git/packages/$repo.git for-each-ref refs/heads/prod refs/invirt/published \
                     refs/tags/1.0 refs/tags/2.0
             done
             git -C /srv/git/packages.git for-each-ref refs/heads/prod",
        ],
    )
}

#[test]
fn whoever_has_all_of_dev_has_nothing_of_prod() {
    let world = World::new();
    lab(&world);
    let _daemon = world.daemon();
    let (greeting, ours) = (world.repo("greeting"), world.repo("app"));
    world.publish("prod", "greeting", &greeting.version("1.0", Tiny::Works));
    let first = world.submit("prod", "app", &app(&ours, "1.0", "ours "));
    world.wait_for(&first, "published", BUILD);
    let next = app(&ours, "2.0", "ours ");
    let before = production();

    // Who may submit to dev takes the numbers that prod is to have, and newer dependencies.
    let theirs = Repo::cloned("app");
    theirs.git(&["checkout", "-q", "-b", "theirs"]);
    let library = Repo::cloned("greeting");
    library.git(&["checkout", "-q", "-b", "theirs"]);
    let submit = |package: &str, commit: &str| {
        let job = world.build("mallory", &["--json", "submit", "dev", package, commit]).ok().json()
            ["job"]
            .to_string();
        world.wait_for(&job, "published", BUILD);
    };
    submit("greeting", &library.version("9.0", Tiny::Works));
    submit("app", &app(&theirs, "2.0", "theirs "));
    let dev = Apt::at(LAB, "unstable", Path::new(LAB_KEY));
    assert_eq!(dev.update().file_of("app", "usr/share/app/greeting"), "theirs 9.0");
    for words in [
        &["promote", "app", "dev", "prod"][..],
        &["submit", "prod", "app", "theirs"],
        &["remove", "prod", "app", "--reason", "x"],
        &["rebuild", "prod", "app", "--reason", "x"],
    ] {
        world.build("mallory", words).refused(77, &["prod"]);
    }
    let push = |refspec: &str| theirs.push(&bare("app"), &[refspec]);
    for refspec in ["+theirs:prod", "theirs:refs/tags/1.0", "theirs:refs/invirt/published/2.0"] {
        assert_ne!(push(refspec).code, 0, "{refspec}");
    }
    // A tag of the number that prod has not used yet is anybody's until then.
    push("theirs:refs/tags/2.0").ok();

    // Who has dev's key and its pool makes suites of any name, and other bytes in the pool.
    run("cp", &["-a", &format!("{LAB}/dists/unstable"), &format!("{LAB}/dists/stable")]);
    run(
        "sh",
        &[
            "-c",
            &format!(
                "find {LAB}/pool -type f -name 'app_*' -exec sh -c 'echo planted >>\"$1\"' - {{}} ';'"
            ),
        ],
    );
    let after = production();
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.ends_with("refs/tags/2.0"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(lines(&before), lines(&after));
    let found = world.local(&["verify", "--deep"]);
    assert_eq!(found.code, 1, "{}", found.out);
    assert!(found.out.contains("lab") && !found.out.contains("stable:"), "{}", found.out);

    // prod's builds are given prod's, bit by bit what they were.
    world
        .local(&["verify", "--rebuild", &first])
        .ok()
        .says(&["app_1.0_all.deb is the same", "can be built again, bit by bit"]);
    let second = world.submit("prod", "app", &next);
    world.wait_for(&second, "published", BUILD);
    let given = &world.status(&second)["given"];
    assert_eq!((&given[0]["suite"], &given[0]["version"]), (&"stable".into(), &"1.0".into()));
    let prod = Apt::new("stable");
    assert_eq!(prod.update().file_of("app", "usr/share/app/greeting"), "ours 1.0");
    let tag = |name: &str| rev(Path::new(&bare("app")), &format!("refs/tags/{name}"));
    assert_eq!(tag("2.0").as_ref(), Some(&next));
    assert!(!Apt::at(LAB, "unstable", Path::new(KEY)).trusts(), "prod's key says nothing of dev");

    // What dev has comes into prod by prod's people, by its commit, and is built.
    world
        .build("alice", &["promote", "app", "dev", "prod"])
        .refused(65, &["version 2.0 of app is commit", "cannot have it too"]);
    let theirs = app(&theirs, "3.0", "theirs ");
    submit("app", &theirs);
    world
        .build("alice", &["promote", "app", "dev", "prod", "--dry-run"])
        .ok()
        .says(&["app 3.0", "would be built"]);
}

#[test]
fn a_pocket_moves_with_what_it_has() {
    let world = World::new();
    world.stub_sbuild();
    let daemon = world.daemon();
    let repo = world.repo("tiny");
    world.publish("dev", "tiny", &repo.version("1.0", Tiny::Works));
    let deb = |root: &str| format!("{root}/pool/main/t/tiny/tiny_1.0_all.deb");
    let was = fs::read(deb("/srv/apt")).unwrap();
    daemon.stop();
    lab(&world);
    let _daemon = world.daemon();
    assert_eq!(fs::read(deb(LAB)).unwrap(), was);
    let dev = Apt::at(LAB, "unstable", Path::new(LAB_KEY));
    assert_eq!(dev.update().candidate("tiny").as_deref(), Some("1.0"));
    assert!(!Path::new("/srv/apt/dists/unstable").exists(), "it is in one archive");
    world.local(&["archive", "move", "dev", "main"]).refused(78, &["domain: main there first"]);
    world.publish("dev", "tiny", &repo.version("1.1", Tiny::Works));
    // Both tag now, and their tags could have one name.
    let text = "build: { pockets: { dev: { allow_backtracking: false } } }\n";
    fs::write("/etc/invirtibuilder/conf.d/tags.yaml", text).unwrap();
    let said = world.local(&["check-config"]);
    assert!(said.code == 78 && said.err.contains("could give one tag to two commits"), "{said:?}");
    fs::remove_file("/etc/invirtibuilder/conf.d/tags.yaml").unwrap();
    // And back, without a doubt of what it has.
    let _ = fs::remove_file("/etc/invirtibuilder/conf.d/lab.yaml");
    let text = format!(
        "archives: {{ lab: {{ root: {LAB}, signing_key: /etc/invirtibuilder/lab-key.asc }} }}\n"
    );
    fs::write("/etc/invirtibuilder/conf.d/lab.yaml", text).unwrap();
    world.local(&["archive", "move", "dev", "main"]).ok().says(&["dev has left domain lab"]);
    assert_eq!(Apt::new("unstable").update().candidate("tiny").as_deref(), Some("1.1"));
    world.local(&["verify", "--deep"]).ok();
}

#[test]
fn a_new_installation_has_dev_in_a_domain_of_its_own() {
    let world = World::new();
    let shipped = include_str!("../../../debian/conf/config.yaml");
    let dev = Path::new("/etc/invirtibuilder/conf.d/10-dev.yaml");
    let acl = "/etc/invirtibuilder/acl/create-repo";
    fs::write(acl, "").unwrap();
    fs::write(CONFIG, shipped).unwrap();
    world.local(&["package-setup", "--first"]).ok();
    assert!(!dev.exists(), "there is a record");
    world.local(&["init"]).ok();
    run("sh", &["-c", &format!("rm {STATE}/invirtibuilder.db*")]);
    fs::write(CONFIG, format!("{shipped}realm: EXAMPLE.ORG\n")).unwrap();
    world.local(&["package-setup", "--first"]).ok();
    assert!(!dev.exists(), "an administrator has written the configuration");
    fs::write(CONFIG, format!("# A comment.\n{shipped}")).unwrap();
    world.local(&["package-setup"]).ok();
    assert!(!dev.exists(), "it is not the first time");
    world.local(&["package-setup", "--first"]).ok().says(&["10-dev.yaml"]);
    assert_eq!(world.local(&["check-config"]).ok().err, "", "nothing to warn of");
    world.local(&["init"]).ok().says(&["directory /srv/apt-dev", "signing key"]);
    world.build("carol", &["pockets"]).ok();
    let old = fs::read_to_string(dev).unwrap();
    fs::write(dev, format!("{old}# ours\n")).unwrap();
    world.local(&["package-setup"]).ok();
    assert!(fs::read_to_string(dev).unwrap().ends_with("# ours\n"));
    fs::remove_dir_all("/srv/apt-dev").unwrap();
    fs::remove_file(acl).unwrap();
}
