//! Arguments and repositories made to do harm: each is refused in one sentence, and nothing
//! happens.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::world::{Tiny, World, run};

#[test]
fn arguments_stay_arguments() {
    let world = World::new();
    let repo = world.repo("tiny");
    repo.version("1.0", Tiny::Works);
    let before = world.snapshot();
    let cases: [(&[&str], i32); 12] = [
        (&["submit", "prod", "../tiny", "main"], 65),
        (&["submit", "prod", "tiny.git", "main"], 65),
        (&["submit", "prod", "/etc/passwd", "main"], 65),
        (&["submit", "prod", "tiny", "--upload-pack=touch /tmp/owned"], 64),
        (&["submit", "prod", "tiny", "--", "--upload-pack=touch /tmp/owned"], 65),
        (&["submit", "prod", "tiny", "main; touch /tmp/owned"], 65),
        (&["submit", "prod", "tiny", "$(touch /tmp/owned)"], 65),
        (&["submit", "prod", "tiny", "main\nmain"], 65),
        (&["submit", "prod", "tiny\n", "main"], 65),
        (&["submit", "prod", "tiny", ""], 65),
        (&["submit", "prod", "", "main"], 65),
        (&["status", "1; DROP TABLE job"], 65),
    ];
    for (args, code) in cases {
        let answer = world.build("alice", args);
        assert_eq!(answer.code, code, "{args:?}: {}{}", answer.out, answer.err);
        assert_eq!(answer.err.lines().count(), 1, "{args:?}: {}", answer.err);
    }
    assert_eq!(world.snapshot(), before);
    assert!(!std::path::Path::new("/tmp/owned").exists());
}

#[test]
fn bytes_that_are_no_text_and_arguments_without_end_are_refused() {
    let world = World::new();
    let repo = world.repo("tiny");
    repo.version("1.0", Tiny::Works);
    let before = world.snapshot();
    let long = "x".repeat(100_000);
    for at in 1..4 {
        for bad in [OsStr::new(&long), OsStr::from_bytes(b"\xff\xfe\x1b[2J")] {
            let mut args = ["submit", "prod", "tiny", "main"].map(OsStr::new);
            args[at] = bad;
            let answer = world.build("alice", &args);
            assert!([64, 65].contains(&answer.code), "{}: {}", answer.code, answer.err);
            assert_eq!(answer.err.lines().count(), 1, "{}", answer.err);
            assert!(answer.err.len() < 1000 && !answer.err.contains('\x1b'), "{}", answer.err);
        }
    }
    assert_eq!(world.snapshot(), before);
}

#[test]
fn an_empty_repository_has_nothing_to_submit() {
    let world = World::new();
    world.repo("hollow");
    let before = world.snapshot();
    world.build("alice", &["submit", "prod", "hollow", "main"]).refused(65, &["hollow"]);
    world.build("alice", &["submit", "prod", "hollow", "HEAD"]).refused(65, &["hollow"]);
    assert_eq!(world.snapshot(), before);
    world.build("alice", &["create-repo", "hollow"]).refused(65, &["hollow", "already"]);
    world.build("alice", &["create-repo", "../hollow"]).refused(65, &["../hollow"]);
}

#[test]
fn a_changelog_that_is_a_link_out_of_the_tree_is_not_followed() {
    let world = World::new();
    let repo = world.repo("tiny");
    repo.tiny("1.0", Tiny::Works);
    std::fs::remove_file(repo.dir.join("debian/changelog")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", repo.dir.join("debian/changelog")).unwrap();
    let commit = repo.commit("a link");
    let answer = world
        .build("alice", &["submit", "prod", "tiny", &commit])
        .refused(65, &["debian/changelog"]);
    assert!(!answer.err.contains("root:"), "{}", answer.err);
}

/// The remctl program cannot send a NUL byte; its library can.
#[test]
fn a_nul_byte_does_not_get_through() {
    let world = World::new();
    let repo = world.repo("tiny");
    repo.version("1.0", Tiny::Works);
    let before = world.snapshot();
    let client = r#"
        my $remctl = Net::Remctl->new;
        $remctl->open("localhost", shift, "host/localhost") or die $remctl->error;
        $remctl->command("build", "submit", "prod", "tiny", "main\0--dry-run") or die $remctl->error;
        while (my $output = $remctl->output) {
            print $output->type, " ";
            last if $output->type =~ /^(done|error|status)$/;
        }"#;
    let port = run("cat", &["/run/world/remctl-port"]);
    assert_eq!(run("as", &["alice", "perl", "-MNet::Remctl", "-e", client, &port]), "error");
    assert_eq!(world.snapshot(), before);
}
