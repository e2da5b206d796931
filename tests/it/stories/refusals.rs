//! What is refused: each rule says which it is, with versions and commits, and changes nothing.

use std::process::Command;

use crate::world::{Answer, Tiny, World, run};

/// The request is refused with 65 and these words, in submit, in `--dry-run`, and everything is as
/// it was.
#[track_caller]
fn refused(world: &World, pocket: &str, package: &str, commit: &str, words: &[&str]) {
    let before = world.snapshot();
    world.build("alice", &["submit", pocket, package, commit]).refused(65, words);
    world.build("alice", &["submit", pocket, package, commit, "--dry-run"]).refused(65, words);
    assert_eq!(world.snapshot(), before, "a refused request changed something");
}

#[test]
fn each_rule_refuses_and_changes_nothing() {
    let world = World::new();
    let _daemon = world.daemon();
    let repo = world.repo("tiny");
    let first = repo.version("1.0", Tiny::Works);
    let published = repo.version("2.0", Tiny::Works);
    world.publish("prod", "tiny", &published);
    let (old, held) = (&first[..12], &published[..12]);

    // 1. pocket, package, commit
    refused(&world, "nowhere", "tiny", &published, &["no pocket 'nowhere'", "dev, prod"]);
    refused(&world, "prod", "absent", &published, &["no package absent", "create-repo"]);
    refused(&world, "prod", "tiny", "no-such-branch", &["no-such-branch"]);
    refused(&world, "prod", "tiny", "0000000000000000000000000000000000000000", &["0000000"]);

    // 2. the changelog
    repo.changelog("other", "3.0");
    let foreign = repo.commit("a changelog of another package");
    refused(&world, "prod", "tiny", &foreign, &["debian/changelog", "other"]);
    repo.write("debian/changelog", "this is no changelog\n");
    let broken = repo.commit("a broken changelog");
    refused(&world, "prod", "tiny", &broken, &["debian/changelog"]);
    repo.changelog("tiny", "3_0");
    let invalid = repo.commit("an invalid version");
    refused(&world, "prod", "tiny", &invalid, &["debian/changelog"]);
    std::fs::remove_file(repo.dir.join("debian/changelog")).unwrap();
    let absent = repo.commit("no changelog");
    refused(&world, "prod", "tiny", &absent, &["debian/changelog"]);

    // To apt and dpkg it is the version that there is.
    let same = repo.version("2.00", Tiny::Works);
    for pocket in ["prod", "dev"] {
        refused(&world, pocket, "tiny", &same, &["version 2.00", "the same as 2.0"]);
    }
    // To dpkg it is greater, and its files have the same names.
    let epoch = repo.version("1:2.0", Tiny::Works);
    for pocket in ["prod", "dev"] {
        refused(&world, pocket, "tiny", &epoch, &["version 1:2.0", "same file names as 2.0"]);
    }

    // 3. one version, two commits: in this pocket, and in another
    let again = repo.version("2.0", Tiny::Works);
    for pocket in ["prod", "dev"] {
        refused(&world, pocket, "tiny", &again, &["version 2.0 of tiny", held, &again[..12]]);
    }

    // 4. backwards, and sideways
    refused(
        &world,
        "prod",
        "tiny",
        &first,
        &["version 1.0 of tiny", "not greater than 2.0", old, held],
    );
    repo.git(&["checkout", "-q", "-b", "side", &first]);
    let side = repo.version("4.0", Tiny::Works);
    refused(&world, "prod", "tiny", &side, &["does not descend", &side[..12], held]);
    world
        .build("alice", &["submit", "dev", "tiny", &first, "--dry-run"])
        .ok()
        .says(&["would be built"]);

    // 5. what was published, and the record does not know of: it was restored from a backup
    repo.git(&["checkout", "-q", "main"]);
    let next = repo.version("5.0", Tiny::Works);
    let bare = crate::world::bare("tiny");
    run("as-service", &["git", "-C", &bare, "update-ref", "refs/invirt/published/5.0", &first]);
    refused(
        &world,
        "prod",
        "tiny",
        &next,
        &["version 5.0 of tiny was published as", old, &next[..12]],
    );
    run("as-service", &["git", "-C", &bare, "update-ref", "-d", "refs/invirt/published/5.0"]);
    // A tag of somebody's refuses nothing.
    repo.git(&["push", "-q", "origin", &format!("{first}:refs/tags/5.0")]);
    world
        .build("alice", &["submit", "prod", "tiny", &next, "--dry-run"])
        .ok()
        .says(&["would be built"]);

    // Digits that begin a commit's id, and are a branch or a tag that leads elsewhere.
    let digits = &next[..9];
    for (kind, place) in [("branch", "refs/heads/"), ("tag", "refs/tags/")] {
        let name = format!("{place}{digits}");
        run("as-service", &["git", "-C", &bare, "update-ref", &name, &first]);
        refused(&world, "prod", "tiny", digits, &[digits, &next, kind, &first, "use the full id"]);
        world.build("alice", &["submit", "prod", "tiny", &next, "--dry-run"]).ok();
        run("as-service", &["git", "-C", &bare, "update-ref", "-d", &name]);
    }
    world
        .build("alice", &["submit", "prod", "tiny", digits, "--dry-run"])
        .ok()
        .says(&["would be built"]);

    // A pocket's branch that is another one's name: nobody may move people's branches for it.
    run("as-service", &["git", "-C", &bare, "symbolic-ref", "refs/heads/dev", "refs/heads/main"]);
    refused(
        &world,
        "dev",
        "tiny",
        &next,
        &[
            "refs/heads/dev of",
            "tiny.git is a symbolic ref",
            "symbolic-ref --delete refs/heads/dev",
        ],
    );
    run("as-service", &["git", "-C", &bare, "symbolic-ref", "--delete", "refs/heads/dev"]);
    // Other symbolic refs are followed.
    run(
        "as-service",
        &["git", "-C", &bare, "symbolic-ref", "refs/heads/master", "refs/heads/main"],
    );
    world
        .build("alice", &["submit", "dev", "tiny", "master", "--dry-run"])
        .ok()
        .says(&["would be built"]);
}

#[test]
fn whoever_is_not_on_the_list_is_turned_away_and_written_down() {
    let world = World::new();
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    let before = world.snapshot();
    world
        .build("bob", &["submit", "prod", "tiny", &commit])
        .refused(77, &["bob@EXAMPLE.ORG", "prod"]);
    world
        .build("mallory", &["submit", "dev", "tiny", &commit])
        .refused(77, &["mallory@EXAMPLE.ORG", "dev"]);
    world.build("mallory", &["create-repo", "evil"]).refused(77, &["mallory@EXAMPLE.ORG"]);
    assert_eq!(world.snapshot(), before);
    let job = world.submit("prod", "tiny", &commit);
    world.build("mallory", &["cancel", &job]).refused(77, &["mallory@EXAMPLE.ORG"]);
    assert_eq!(world.state(&job), "queued");
    // Reading is for everybody who is somebody.
    world.build("mallory", &["status"]).ok().says(&["tiny"]);

    // An ACL that cannot be read admits nobody, and says why.
    std::fs::rename("/etc/invirtibuilder/acl/prod", "/etc/invirtibuilder/acl/prod.away").unwrap();
    let answer = world.build("alice", &["submit", "prod", "tiny", &commit]);
    std::fs::rename("/etc/invirtibuilder/acl/prod.away", "/etc/invirtibuilder/acl/prod").unwrap();
    answer.refused(77, &["prod"]);
}

#[test]
fn nobody_is_served_without_an_identity() {
    let world = World::new();
    let nobody = |verb: &str| {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=nobody",
            "--regid=nogroup",
            "--clear-groups",
            "--reset-env",
            "--",
            "invirt-build",
            verb,
        ]);
        Answer::of(&mut command)
    };
    assert_eq!(nobody("status").code, 77, "{}", nobody("status").err);
    assert_eq!(nobody("whoami").code, 77);
    // What remctld says is believed; what else there is in the environment is not.
    world.local(&["whoami"]).ok().says(&["local:root"]);
    world.build("alice", &["whoami"]).ok().says(&["alice@EXAMPLE.ORG"]);
    // Set-up is not for the network.
    for verb in
        [&["init"][..], &["chroot", "list"], &["verify"], &["archive", "gc"], &["audit", "verify"]]
    {
        world.build("bob", verb).refused(77, &["on the server"]);
    }
    // ACLs are for those whom acl.admins admits.
    world
        .build("bob", &["acl", "check", "prod", "alice@EXAMPLE.ORG"])
        .refused(77, &["may not read ACLs"]);
}
