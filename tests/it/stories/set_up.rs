//! What an administrator is told about a machine, and that looking changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::world::{BUILD, CONFIG, World, eventually, run};

const KEY: &str = "/etc/invirtibuilder/archive-key.asc";

#[test]
fn what_is_missing_is_named_with_the_command_that_mends_it() {
    let world = World::new();
    let _daemon = world.daemon();
    // Nothing is to be unpacked while the subordinate ids are others.
    world.wait_until_ready();
    let table = world.local(&["init", "--check"]).ok().out;
    for thing in [
        "programs",
        "subordinate ids",
        "user namespaces",
        "signing key",
        "update hooks",
        "chroot bookworm",
    ] {
        let line = table
            .lines()
            .find(|line| line.contains(thing))
            .unwrap_or_else(|| panic!("no {thing}: {table}"));
        assert!(line.starts_with("fine"), "{line}");
    }
    assert!(table.contains("EXAMPLE.ORG, from") && table.contains("it runs"), "{table}");

    // Each thing that is wrong, and what mends it; 69 until it is mended.
    let wrong = |thing: &str, mend: &str| {
        let before = world.snapshot();
        let answer = world.local(&["init", "--check"]);
        assert_eq!(answer.code, 69, "{}", answer.out);
        let lines: Vec<&str> = answer.out.lines().collect();
        let at = lines.iter().position(|line| line.starts_with("WRONG")).unwrap();
        assert!(
            lines[at].contains(thing) && lines[at + 1].trim_start() == format!("-> {mend}"),
            "{}",
            answer.out
        );
        assert_eq!(world.snapshot(), before);
        let json = world.local(&["init", "--check", "--json"]).json();
        let found =
            json.as_array().unwrap().iter().find(|check| check["verdict"] == "wrong").unwrap();
        assert_eq!(found["mend"], mend);
        if mend.starts_with("invirt-build init") || mend.starts_with("chmod") {
            run("sh", &["-c", mend]);
            world.local(&["init", "--check"]).ok();
        }
    };
    fs::set_permissions(KEY, fs::Permissions::from_mode(0o644)).unwrap();
    wrong("others may read", &format!("chmod 600 {KEY}"));
    fs::remove_file("/srv/git/packages.git/hooks/update").unwrap();
    wrong("1 of 1 repositories", "invirt-build init");
    let before =
        ["/etc/subuid", "/etc/subgid"].map(|path| (path, fs::read_to_string(path).unwrap()));
    fs::write("/etc/subuid", "").unwrap();
    wrong("subordinate ids", "invirt-build init");
    assert!(fs::read_to_string("/etc/subuid").unwrap().starts_with("_invirtibuilder:"));
    before.iter().for_each(|(path, text)| fs::write(path, text).unwrap());
    let text = fs::read_to_string(CONFIG).unwrap().replacen("distro: bookworm", "distro: sid", 1);
    fs::write(CONFIG, text).unwrap();
    wrong("chroot sid", "invirt-build chroot create sid");

    world.build("alice", &["init", "--check"]).refused(77, &["on the server"]);
    world.build("alice", &["package-setup"]).refused(77, &["package"]);
    world.build("alice", &["generate", "/tmp/x"]).refused(77, &["on the server"]);
    assert!(!Path::new("/tmp/x").exists());
}

#[test]
fn a_repository_that_is_none_keeps_nothing_else_from_being_done() {
    let world = World::new();
    world.repo("tiny");
    let git = "/srv/git/packages";
    run(
        "as-service",
        &["git", "init", "-q", "--bare", "--object-format=sha256", &format!("{git}/other.git")],
    );
    run("as-service", &["mkdir", &format!("{git}/zoo.git")]);
    fs::remove_file(format!("{git}/tiny.git/hooks/update")).unwrap();
    let key = "/srv/apt/archive-key.asc";
    fs::remove_file(key).unwrap();
    let answer = world.local(&["init"]);
    assert!(
        answer.code == 69 && answer.err.contains("'mv /srv/git/packages/other.git "),
        "{}",
        answer.err
    );
    assert!(
        answer.out.contains("made the update hook of 1 repository") && Path::new(key).exists(),
        "{}",
        answer.out
    );
    let answer = world.local(&["init", "--check"]);
    assert!(answer.code == 69 && answer.out.contains("-> mv /srv/git/packages/"), "{}", answer.out);
    for name in ["other", "zoo"] {
        run("mv", &[&format!("{git}/{name}.git"), &format!("{git}/{name}.git.broken")]);
    }
    world.local(&["init"]).ok();
    world.local(&["init", "--check"]).ok();
}

#[test]
fn a_chroot_is_removed_by_name() {
    let world = World::new();
    let chroots = "/tmp/chroots-of-a-story";
    run("as-service", &["mkdir", "-p", chroots]);
    fs::write(
        "/etc/invirtibuilder/conf.d/chroots.yaml",
        format!("chroots: {{ dir: {chroots} }}\n"),
    )
    .unwrap();
    fs::write(format!("{chroots}/bookworm-amd64.json"), old_manifest()).unwrap();
    fs::write(format!("{chroots}/bookworm-amd64.0000000000000000.tar"), "").unwrap();
    world.local(&["chroot", "list"]).ok().says(&["bookworm", "amd64"]);
    world.local(&["chroot", "remove", "sid"]).refused(65, &["sid", "chroot list"]);
    world.build("alice", &["chroot", "remove", "bookworm"]).refused(77, &["on the server"]);
    let answer = world
        .local(&["chroot", "remove", "bookworm"])
        .ok()
        .says(&["chroot bookworm amd64 is removed"]);
    assert!(answer.err.contains("prod builds in bookworm"), "{}", answer.err);
    assert_eq!(fs::read_dir(chroots).unwrap().count(), 0);
    world.local(&["chroot", "remove", "bookworm"]).refused(65, &["bookworm"]);
}

#[test]
fn the_daemon_makes_old_chroots_anew() {
    let world = World::new();
    let chroots = "/tmp/old-chroots-of-a-story";
    run("as-service", &["mkdir", "-p", chroots]);
    let settings = format!("chroots: {{ dir: {chroots}, refresh: 1h }}\n");
    fs::write("/etc/invirtibuilder/conf.d/chroots.yaml", settings).unwrap();
    let path = format!("{chroots}/bookworm-amd64.json");
    fs::write(&path, old_manifest()).unwrap();
    run("chown", &["_invirtibuilder:", &path]);
    let daemon = world.daemon();
    eventually("the chroot is made anew", BUILD, || {
        !fs::read_to_string(&path).unwrap().contains("\"created\": 0")
    });
    assert!(fs::metadata(format!("{chroots}/bookworm-amd64.tar")).unwrap().len() > 100 << 20);
    // Now it is young.
    assert!(daemon.stop().success());
    let left: Vec<_> =
        fs::read_dir(chroots).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".new")), "{left:?}");
    fs::remove_dir_all(chroots).unwrap();
}

/// The manifest of a chroot that was made long ago.
fn old_manifest() -> String {
    let digest = "0".repeat(64);
    format!(
        r#"{{ "distro": "bookworm", "architecture": "amd64", "created": 0, "digest": "{digest}", "sources": [] }}"#
    )
}
