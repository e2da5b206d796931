//! `debian/changelog` as people have it: what dpkg takes is published, what it makes nothing of is
//! refused before anything is built.

use crate::world::{Tiny, World, bare, run};

#[test]
fn what_dpkg_warns_of_is_published_and_said() {
    let world = World::new();
    let _daemon = world.daemon();
    let repo = world.repo("libtiny++");
    repo.tiny("1.0", Tiny::Works);
    let text = "# vim: set tw=80 (see bug 9.9):\n/* a comment (8.8) */\n\
                libtiny++ (1.0) UNRELEASED; urgency=low (high for users of bar)\n\n * A change.\n\n\x20\
                -- Alice <alice@example.org> Tue, 06 Jan 2025 12:00:00 +0000\n";
    repo.write("debian/changelog", text);
    let commit = repo.commit("1.0");
    let notes = [
        "line 5 is a change that is not indented by two spaces",
        "line 7 has one space between",
        "says UNRELEASED",
    ];
    world.build("alice", &["submit", "prod", "libtiny++", &commit, "--dry-run"]).ok().says(&notes);
    world.publish("prod", "libtiny++", &commit);
    world.build("bob", &["log", "1"]).ok().says(&notes);
    assert!(run("git", &["-C", &bare("libtiny++"), "tag"]).contains("1.0"));

    // What stands in a comment is no version, so it does not get past the rule that versions go
    // forward.
    repo.write("debian/changelog", &text.replace("(1.0)", "(0.9)"));
    let older = repo.commit("0.9");
    world.build("alice", &["submit", "prod", "libtiny++", &older]).refused(65, &["0.9", "1.0"]);
}

#[test]
fn what_dpkg_makes_nothing_of_is_refused_by_line_and_reason() {
    let world = World::new();
    let repo = world.repo("tiny");
    repo.tiny("1.0", Tiny::Works);
    let text = std::fs::read_to_string(repo.dir.join("debian/changelog")).unwrap();
    for (from, to, words) in [
        (
            "tiny (1.0) ",
            "tiny   (1.0)   ",
            &["line 1 is no heading", "one space has to stand between name and version"][..],
        ),
        (" unstable;", ";", &["line 1 is no heading", "it names no distribution"]),
        ("06 Jan 2025 12:00:00 +0000", "some day", &["line 5 is no end of an entry"]),
        ("06 Jan", "06 January", &["line 5 has a date whose month is 'January'"]),
        ("tiny (1.0)", "vim: et\ntiny (1.0)", &["line 1 is 'vim: et'"]),
        ("A change", "\u{fffd}", &[]),
    ] {
        repo.write("debian/changelog", &text.replace(from, to));
        let commit = repo.commit("x");
        let answer = world.build("alice", &["submit", "prod", "tiny", &commit, "--dry-run"]);
        if words.is_empty() {
            answer.ok()
        } else {
            answer.refused(65, words)
        };
    }
}
