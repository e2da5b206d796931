//! What can be read: it fits a terminal of 80 columns, and programs can read it too.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{BUILD, SOON, STATE, Tiny, World, eventually, run};

#[test]
fn everything_fits_80_columns_and_is_json_on_demand() {
    let world = World::new();
    let repo = world.repo("a-package-with-quite-a-long-name");
    let name = repo.package.clone();
    let name = name.as_str();
    let version = "1:2024.01.02+really1.0~rc1+git20240102.0123456";
    let commit = repo.version(version, Tiny::Works);
    world.build("alice", &["status"]).ok().says(&["no jobs yet"]);
    world.submit("prod", name, &commit);

    let daemon = world.daemon();
    world.wait_for("1", "published", BUILD);
    daemon.stop();
    let next = repo.version("1:2025", Tiny::Works);
    world.submit("dev", name, &next);

    let verbs: [(&[&str], &str); 9] = [
        (&["status"], "queued"),
        (&["status", "1"], "published"),
        (&["history", name], "prod"),
        (&["packages"], name),
        (&["packages", "prod"], "2024"),
        (&["pockets"], "unstable"),
        (&["diff", "prod", "dev"], name),
        (&["whoami"], "bob@EXAMPLE.ORG"),
        (&["submit", "dev", name, "main", "--dry-run"], "queued"),
    ];
    for (verb, word) in verbs {
        let text = world.build("bob", verb).ok();
        assert!(
            text.out.contains(word) || text.out.contains(&name[..20]),
            "{verb:?}: {}",
            text.out
        );
        assert!(!text.out.contains('\x1b'), "{verb:?} is coloured although nobody sees it");
        if verb[0] != "submit" && verb != ["status", "1"] {
            for line in text.out.lines() {
                assert!(
                    line.chars().count() <= 80,
                    "{verb:?} prints a line of {}: {line}",
                    line.chars().count()
                );
            }
        }
        let mut json = vec!["--json"];
        json.extend(verb);
        world.build("bob", &json).ok().json();
    }
    world.build("bob", &["log", "1"]).ok().says(&["dpkg-deb"]);
    world.build("bob", &["log", "2"]).refused(65, &["no build log", "waits for its turn"]);
    world.build("bob", &["log", "1", "--follow"]).ok().says(&["dpkg-deb"]);
    world.build("bob", &["status", "99"]).refused(65, &["no job 99"]);
    world.build("bob", &["history", "absent"]).refused(65, &["no package absent"]);
}

/// The processes of the service that follow a job.
fn followers() -> Vec<i32> {
    let of = |entry: fs::DirEntry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let follows = line.starts_with(b"invirt-build\0") && line.ends_with(b"\0--follow\0");
        follows.then(|| entry.file_name().to_str()?.parse().ok())?
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(of).collect()
}

#[test]
fn one_principal_follows_so_many_jobs_at_a_time() {
    let world = World::new();
    fs::write("/etc/invirtibuilder/conf.d/clients.yaml", "clients: { followers: 2 }\n").unwrap();
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    let job = world.submit("prod", "tiny", &commit);
    // What nobody reads ends when it is killed, and what is killed holds nothing.
    let follow = || {
        let mut command = world.command("alice");
        command
            .args(["log", &job, "--follow"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut all = vec![follow(), follow()];
    let more = ["log", &job, "--follow"];
    eventually("two follow", SOON, || followers().len() == 2);
    // They have said nothing yet by which it could be seen that they have their places.
    std::thread::sleep(Duration::from_secs(1));
    let waits = ["submit", "dev", "tiny", &commit, "--wait"];
    world.build("alice", &waits).refused(75, &["clients.followers"]);
    assert!(
        !world.build("alice", &["status"]).ok().out.contains("dev"),
        "it was refused, and yet queued"
    );
    world
        .build("alice", &more)
        .refused(75, &["alice@EXAMPLE.ORG follows 2 jobs already", "clients.followers"]);
    // Others are not held up, nor is anything else.
    world.build("alice", &["submit", "dev", "tiny", &commit, "--dry-run", "--wait"]).ok();
    let mut bob = world.command("bob");
    all.push(bob.args(more).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    eventually("another one follows", SOON, || followers().len() == 3);
    for pid in followers() {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    for mut child in all {
        child.wait().unwrap();
    }
    let third = follow();
    eventually("there is a place again", SOON, || followers().len() == 1);
    world.build("alice", &["cancel", &job]).ok();
    assert!(third.wait_with_output().unwrap().status.success());
    assert_eq!(fs::metadata(format!("{STATE}/followers")).unwrap().len(), 0);
}

#[test]
fn help_is_there_and_usage_errors_point_to_it() {
    let world = World::new();
    let help = world.build("mallory", &["help"]).ok().says(&["submit", "status", "promote"]);
    for line in help.out.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    world.build("mallory", &["help", "submit"]).ok().says(&["--wait", "--dry-run"]);
    world.build("alice", &["frobnicate"]).refused(64, &["frobnicate", "help"]);
    world.build::<&str>("alice", &[]).refused(64, &["the verb is missing: 'help' lists them"]);
    world.build("alice", &["status", "-1"]).refused(65, &["'-1' is not a job id"]);
    world.build("alice", &["submit", "prod"]).refused(64, &["help"]);
    world.local(&["--version"]).ok().says(&["invirt-build"]);
    world.local(&["check-config"]).ok().says(&["no problems"]);
}

#[test]
fn acl_check_explains_itself_to_administrators() {
    let world = World::new();
    world
        .local(&["acl", "check", "prod", "alice@EXAMPLE.ORG"])
        .ok()
        .says(&["/etc/invirtibuilder/acl/prod"]);
    let denied = world.local(&["acl", "check", "prod", "mallory@EXAMPLE.ORG"]);
    assert!(format!("{}{}", denied.out, denied.err).contains("mallory@EXAMPLE.ORG"), "{denied:?}");
    assert_ne!(denied.out, world.local(&["acl", "check", "prod", "alice@EXAMPLE.ORG"]).out);
}

#[test]
fn a_shell_is_told_what_may_come_next() {
    let world = World::new();
    let repo = world.repo("tiny");
    let first = repo.version("1.0", Tiny::Works);
    world.submit("prod", "tiny", &first);
    let _daemon = world.daemon();
    world.wait_for("1", "published", BUILD);
    let offered = |words: &[&str]| {
        let said = world.build("bob", &[&["complete", "--"], words].concat()).ok().out;
        said.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(offered(&["prom"]), ["promote"]);
    assert!(offered(&[""]).contains(&"submit".to_owned()));
    assert!(!offered(&[""]).contains(&"generate".to_owned()), "what is hidden is not offered");
    assert_eq!(offered(&["submit", ""]), ["dev", "prod"]);
    assert_eq!(offered(&["submit", "p"]), ["prod"]);
    assert_eq!(offered(&["submit", "prod", ""]), ["tiny"]);
    assert_eq!(offered(&["submit", "--wait", "prod", "t"]), ["tiny"]);
    assert_eq!(offered(&["submit", "prod", "tiny", "--dry"]), ["--dry-run"]);
    assert_eq!(offered(&["submit", "prod", "tiny", ""]), [""; 0]);
    assert_eq!(offered(&["promote", "tiny", "prod", ""]), ["dev", "prod"]);
    assert_eq!(offered(&["wait", "1", ""]), ["1"]);
    assert_eq!(offered(&["token", "r"]), ["revoke"]);
    // In a real bash, over remctl.
    let bash = r#"remctl() { shift; as bob "$@"; }; . "$1"
        COMP_WORDS=(remctl server build diff pr) COMP_CWORD=4; _remctl_build; printf '%s\n' "${COMPREPLY[@]}""#;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/completion/remctl.bash");
    assert_eq!(run("bash", &["-c", bash, "bash", script]), "prod");
}
