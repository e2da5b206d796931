//! What people may push: their own branches and tags, and nothing that is the service's.

use std::fs;
use std::path::Path;

use crate::world::{CONFIG, Repo, Tiny, World, bare, rev, run};

const SUPERPROJECT: &str = "/srv/git/packages.git";

/// Git refuses each of these pushes, the pusher reads why, and nothing moves.
#[track_caller]
fn refused(repo: &Repo, to: &str, pushes: &[(&str, &str)]) {
    let refs = || run("git", &["-C", to, "for-each-ref"]);
    let before = refs();
    for (refspec, word) in pushes {
        let answer = repo.push(to, &[refspec]);
        assert_ne!(answer.code, 0, "{refspec} was pushed");
        assert!(
            answer.err.contains("remote: invirt-build: ") && answer.err.contains(word),
            "{refspec}: {}",
            answer.err
        );
        assert!(answer.err.contains("hook declined"), "{refspec}: {}", answer.err);
    }
    assert_eq!(refs(), before);
}

#[test]
fn pockets_branches_and_versions_are_not_for_pushing() {
    let world = World::new();
    let _daemon = world.daemon();
    let repo = world.repo("tiny");
    let bare = bare("tiny");
    let first = repo.version("1.0", Tiny::Works);
    world.publish("prod", "tiny", &first);
    repo.version("2.0", Tiny::Works);

    refused(
        &repo,
        &bare,
        &[
            ("main:prod", "refs/heads/prod belongs to pocket prod"),
            ("+main:prod", "then submit"),
            (":prod", "refs/heads/prod"),
            ("main:dev", "pocket dev"),
            ("main:dev/mine", "pocket dev"),
            ("+main:refs/tags/1.0", "refs/tags/1.0 is there"),
            (":refs/tags/1.0", "new version"),
            ("main:refs/tags/2.0/mine", "in the way"),
        ],
    );
    // Their own branches and tags are theirs, to move and to delete.
    for refspec in
        ["main:theirs", "+main~1:theirs", "main:refs/tags/v2", "+main~1:refs/tags/v2", ":theirs", ":refs/tags/v2"]
    {
        repo.push(&bare, &[refspec]).ok();
    }
    repo.push(&bare, &["main:refs/tags/2.0"]).ok();
    assert_eq!(repo.served("refs/tags/2.0"), rev(&repo.dir, "main"));
    // One that is refused does not hold up the others.
    let answer = repo.push(&bare, &["main:fine", "main:prod"]);
    assert_ne!(answer.code, 0);
    assert_eq!(repo.served("refs/heads/fine"), rev(&repo.dir, "main"));
    assert_eq!(repo.served("refs/heads/prod"), Some(first));

    refused(
        &repo,
        SUPERPROJECT,
        &[("+main:prod", "superproject"), (":prod", "submit"), ("main:refs/tags/x", "superproject")],
    );
}

#[test]
fn a_hook_that_cannot_decide_refuses() {
    let world = World::new();
    let repo = world.repo("tiny");
    repo.version("1.0", Tiny::Works);
    let bare = bare("tiny");
    let hook = Path::new(&bare).join("hooks/update");

    // No configuration; none that can be read; and the pusher's environment names no other.
    fs::rename(CONFIG, format!("{CONFIG}.away")).unwrap();
    refused(&repo, &bare, &[("main:theirs", "config.yaml")]);
    fs::write(CONFIG, "build: nonsense\n").unwrap();
    refused(&repo, &bare, &[("main:theirs", "until an administrator mends it")]);
    fs::rename(format!("{CONFIG}.away"), CONFIG).unwrap();

    // The program is gone: Git does not take this for no hook.
    let text = fs::read_to_string(&hook).unwrap();
    fs::write(&hook, text.replace("/usr/bin/invirt-build", "/usr/bin/gone")).unwrap();
    let answer = repo.push(&bare, &["main:theirs"]);
    assert!(answer.code != 0 && answer.err.contains("hook declined"), "{}", answer.err);
    assert_eq!(repo.served("refs/heads/theirs"), None);

    // init mends it, and says so, here and in repositories from before there were hooks.
    fs::remove_file(format!("{SUPERPROJECT}/hooks/update")).unwrap();
    world.local(&["init"]).ok().says(&["made the update hooks of 2 repositories"]);
    assert!(!world.local(&["init"]).ok().out.contains("hook"));
    refused(&repo, &bare, &[("main:prod", "pocket prod")]);
    refused(&repo, SUPERPROJECT, &[("main:prod", "superproject")]);
    repo.push(&bare, &["main:theirs"]).ok();

    // Hooks of the system's configuration do not take its place.
    run("git", &["config", "--file", "/etc/gitconfig", "core.hooksPath", "/nonexistent"]);
    let answer = repo.push(&bare, &["main:prod"]);
    run("git", &["config", "--file", "/etc/gitconfig", "--unset", "core.hooksPath"]);
    assert!(answer.code != 0 && answer.err.contains("pocket prod"), "{}", answer.err);

    // Nobody but Git runs it.
    let hook = hook.to_str().unwrap();
    world.build("alice", &["update-hook", hook, "refs/heads/x", "0", "1"]).refused(77, &["by Git"]);
    world.local(&["update-hook", hook, "refs/heads/x", "0", "1"]).refused(77, &["by Git"]);
}
