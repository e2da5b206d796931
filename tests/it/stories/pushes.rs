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
            ("main:refs/tags/1.0/mine", "in the way"),
            ("main:refs/tags/prod", "could be taken for the branch of pocket prod"),
            ("main:refs/tags/prod/1", "pocket prod"),
            ("main:refs/tags/dev", "pocket dev"),
            ("main:refs/tags/origin/prod", "pocket prod"),
            ("main:refs/heads/0123456789012345678901234567890123456789", "the id of a commit"),
            (
                "main:refs/tags/0123456789012345678901234567890123456789012345678901234567890123",
                "the id of a commit",
            ),
            (
                &format!("main:refs/heads/{}", &first[..8]),
                &format!("begins the id of commit {first}"),
            ),
            (&format!("main:refs/tags/{}", &first[..4]), &first),
            (&format!("main:refs/replace/{first}"), "neither a branch nor a tag"),
            ("main:refs/original/refs/heads/prod", "neither"),
            ("main:refs/pull/1/head", "neither"),
        ],
    );
    // Their own branches and tags are theirs, to move and to delete.
    for refspec in [
        "main:theirs",
        "+main~1:theirs",
        "main:refs/tags/v2",
        "+main~1:refs/tags/v2",
        ":theirs",
        ":refs/tags/v2",
        "main:refs/notes/commits",
        "main:refs/dgit/sid",
        "main:refs/tags/2024/05",
        ":refs/tags/2024/05",
        // A version that was never published is theirs as well: upstream's tag, at first on the
        // wrong commit.
        "main~1:refs/tags/1.2.3",
        "+main:refs/tags/1.2.3",
        ":refs/tags/1.2.3",
    ] {
        repo.push(&bare, &[refspec]).ok();
    }
    let first_digits = format!("{first}:refs/heads/{}", &first[..8]);
    repo.push(&bare, &[&first_digits, &format!("+main:refs/heads/{}x", &first[..8])]).ok();
    // Git itself hides what is ours, and tells nobody of it.
    for refspec in [
        "main:refs/invirt/published/9.0",
        "main:refs/invirt/complete",
        "+main:refs/invirt/published/1.0",
    ] {
        let answer = repo.push(&bare, &[refspec]);
        assert!(answer.code != 0 && answer.err.contains("hidden ref"), "{refspec}: {}", answer.err);
    }
    let seen = run("git", &["ls-remote", &bare]);
    assert!(seen.contains("refs/tags/1.0") && !seen.contains("invirt"), "{seen}");
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
        &[
            ("+main:prod", "superproject"),
            (":prod", "submit"),
            ("main:refs/tags/x", "superproject"),
        ],
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

#[test]
fn a_tag_of_somebodys_is_put_aside_when_its_version_is_published() {
    let world = World::new();
    let _daemon = world.daemon();
    world.stub_sbuild();
    let repo = world.repo("tiny");
    let bare = bare("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    // Right in everything but who made it.
    repo.git(&[
        "-c",
        "user.name=Build Server",
        "-c",
        "user.email=build@example.org",
        "tag",
        "-a",
        "1.0",
        "-m",
        "tiny 1.0",
    ]);
    repo.git(&["push", "-q", "origin", "refs/tags/1.0"]);
    let forged = run("git", &["-C", &bare, "rev-parse", "refs/tags/1.0"]);
    world.publish("prod", "tiny", &commit);
    let ours = run("git", &["-C", &bare, "cat-file", "tag", "1.0"]);
    assert!(ours.contains("alice@EXAMPLE.ORG"), "{ours}");
    let parse = |name: &str| run("git", &["-C", &bare, "rev-parse", name]);
    assert_eq!(parse("refs/invirt/aside/1.0-1"), forged);
    assert_eq!(parse("refs/invirt/published/1.0"), parse("refs/tags/1.0"));
    world
        .build("alice", &["status", "1"])
        .ok()
        .says(&["refs/tags/1.0 was not ours", "refs/invirt/aside/1.0-1"]);
    assert_eq!(world.status("1")["aside"][0]["was"], *forged);
    world.local(&["verify"]).ok().says(&["agree"]);

    // What blocks a version's name does not: by what is below it, and by standing for no commit.
    let blob = repo.git(&["hash-object", "-w", "debian/control"]);
    let second = repo.version("2.0", Tiny::Works);
    let junk: Vec<String> = (0..20).map(|n| format!("{commit}:refs/tags/2.0/{n}")).collect();
    repo.push(&bare, &junk.iter().map(String::as_str).collect::<Vec<_>>()).ok();
    world.publish("prod", "tiny", &second);
    let third = repo.version("3.0", Tiny::Works);
    repo.push(&bare, &[&format!("{blob}:refs/tags/3.0")]).ok();
    world.publish("prod", "tiny", &third);
    assert_eq!(
        (repo.served("refs/tags/2.0"), repo.served("refs/tags/3.0")),
        (Some(second), Some(third))
    );
    let kept =
        run("git", &["-C", &bare, "for-each-ref", "--format=%(refname)", "refs/invirt/aside/"]);
    assert_eq!(kept.lines().count(), 22, "{kept}");
    refused(
        &repo,
        &bare,
        &[(":refs/tags/3.0", "one commit for ever"), ("main:refs/tags/2.0/x", "in the way")],
    );
    world.local(&["verify"]).ok().says(&["agree"]);
    world.unstub_sbuild();
}

#[test]
fn a_repository_from_before_is_brought_up_to_date() {
    let world = World::new();
    let daemon = world.daemon();
    world.stub_sbuild();
    let repo = world.repo("tiny");
    let bare = bare("tiny");
    let first = repo.version("1.0", Tiny::Works);
    world.publish("prod", "tiny", &first);
    let second = repo.version("2.0", Tiny::Works);
    world.publish("dev", "tiny", &second);
    assert!(daemon.stop().success());
    // As an older release has left it.
    let git = |args: &[&str]| {
        let all: Vec<&str> = ["git", "-C", &bare].iter().chain(args).copied().collect();
        run("as-service", &all)
    };
    for name in git(&["for-each-ref", "--format=%(refname)", "refs/invirt/"]).lines() {
        git(&["update-ref", "-d", name]);
    }
    fs::remove_file(format!("{bare}/hooks/pre-receive")).unwrap();
    for key in ["core.useReplaceRefs", "transfer.hideRefs", "receive.maxInputSize"] {
        git(&["config", "--unset", key]);
    }
    git(&["config", "--add", "transfer.hideRefs", "refs/secret"]);
    git(&["update-ref", "refs/tags/prod", &second]);
    git(&["update-ref", &format!("refs/replace/{first}"), &second]);
    // Until it is said which versions were published, none can be moved.
    repo.push(&bare, &["main:refs/tags/9.0"]).ok();
    refused(
        &repo,
        &bare,
        &[("+main~1:refs/tags/9.0", "one commit for ever"), ("main:refs/tags/9.1/x", "in the way")],
    );
    world.local(&["verify"]).ok().says(&["versions are not marked", "init"]);
    let answer = world.local(&["init", "--check"]);
    assert!(
        answer.code == 69 && answer.out.contains("pushes to 1 of 2 repositories are not checked"),
        "{}",
        answer.out
    );
    let answer = world.local(&["verify"]).ok();
    for word in [
        "warning: tiny: refs/tags/prod: it could not be pushed now",
        &format!("warning: tiny: refs/replace/{first}"),
    ] {
        assert!(answer.out.contains(word), "{word}: {}", answer.out);
    }

    world.local(&["package-setup"]).ok();
    assert_eq!(git(&["config", "core.useReplaceRefs"]), "false");
    assert!(Path::new(&bare).join("hooks/pre-receive").exists());
    assert_eq!(git(&["config", "receive.maxInputSize"]), (2_u64 << 30).to_string());
    assert_eq!(git(&["config", "--get-all", "transfer.hideRefs"]), "refs/secret\nrefs/invirt");
    assert_eq!(
        git(&["rev-parse", "refs/invirt/published/1.0"]),
        git(&["rev-parse", "refs/tags/1.0"])
    );
    assert_eq!(git(&["rev-parse", "refs/invirt/published/2.0"]), second);
    let marked = git(&["for-each-ref"]);
    world.local(&["package-setup"]).ok();
    assert_eq!(git(&["for-each-ref"]), marked);
    for refspec in
        ["+main~1:refs/tags/9.0", ":refs/tags/9.0", "main:refs/tags/9.1/x", ":refs/tags/prod"]
    {
        repo.push(&bare, &[refspec]).ok();
    }
    refused(
        &repo,
        &bare,
        &[
            (":refs/tags/1.0", "one commit for ever"),
            ("main~1:refs/tags/2.0", "what was published"),
        ],
    );

    // The daemon does it too, and how much may be pushed is for the configuration to say.
    git(&["update-ref", "-d", "refs/invirt/complete"]);
    git(&["update-ref", "-d", "refs/invirt/published/1.0"]);
    let _daemon = world.daemon();
    assert_eq!(git(&["for-each-ref", "refs/invirt/"]).lines().count(), 3);
    fs::write("/etc/invirtibuilder/conf.d/push.yaml", "git: { max_push: 64K }\n").unwrap();
    world.local(&["init"]).ok().says(&["made the settings of 2 repositories"]);
    // What a compressor makes nothing of.
    run("sh", &["-c", &format!("head -c 200000 /dev/urandom >{}/noise", repo.dir.display())]);
    repo.git(&["add", "-A"]);
    repo.git(&["commit", "-q", "-m", "noise"]);
    let answer = repo.push(&bare, &["main:big"]);
    assert!(
        answer.code != 0 && answer.err.contains("exceeds maximum allowed size"),
        "{}",
        answer.err
    );
    // So is how large a repository gets; of what is refused nothing stays.
    fs::write("/etc/invirtibuilder/conf.d/push.yaml", "git: { max_repository: 400K }\n").unwrap();
    world.local(&["init"]).ok();
    let size = || run("du", &["-sk", &format!("{bare}/objects")]);
    let before = size();
    repo.git(&["commit", "-q", "--amend", "-m", "less noise"]);
    repo.push(&bare, &["main:theirs"]).ok();
    run("sh", &["-c", &format!("head -c 300000 /dev/urandom >{}/noise", repo.dir.display())]);
    repo.git(&["commit", "-q", "-a", "-m", "more noise"]);
    let (full, answer) = (size(), repo.push(&bare, &["main:more"]));
    assert!(answer.code != 0 && answer.err.contains("git.max_repository"), "{}", answer.err);
    assert!(before != full && size() == full, "{before} {full} {}", size());
    repo.push(&bare, &["main~1:refs/heads/same", ":theirs"]).ok();
    world.unstub_sbuild();
}
