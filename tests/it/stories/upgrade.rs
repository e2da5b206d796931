//! An upgrade: these programs take over what an earlier release has left behind.
//! `tests/upgrade/README.md` says what that is.

use std::fs;

use crate::world::{Apt, BUILD, Repo, SOON, STATE, Tiny, World, bare, eventually};

const RELEASE: &str = "0e7649e";
/// Its jobs that are done, and how they ended.
const DONE: [(&str, &str); 7] = [
    ("1", "published"),
    ("2", "published"),
    ("3", "published"),
    ("4", "published"),
    ("5", "published"),
    ("6", "failed"),
    ("7", "cancelled"),
];
/// Its jobs that are queued: a new upstream version, and a new package.
const QUEUED: [&str; 2] = ["8", "9"];

/// The service when its package has been upgraded: the daemon is started after this.
fn upgraded() -> World {
    let world = World::of_release(RELEASE);
    world.local(&["package-setup"]).ok();
    world
}

/// The number of a database's schema. A copy is asked, as even reading leaves files beside it.
fn schema(database: &str) -> i64 {
    let copy = tempfile::tempdir().unwrap();
    fs::copy(database, copy.path().join("db")).unwrap_or_else(|e| panic!("{database}: {e}"));
    // Its log is there unless it was written back.
    let _ = fs::copy(format!("{database}-wal"), copy.path().join("db-wal"));
    let db = rusqlite::Connection::open(copy.path().join("db")).unwrap();
    db.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

/// What a client of a suite installs of a package.
fn candidate(suite: &str, package: &str) -> Option<String> {
    Apt::new(suite).update().candidate(package)
}

/// Clients install from both suites what the release has published.
fn clients_get_what_they_got() {
    let stable = Apt::new("stable");
    assert_eq!(stable.update().install(&["quilted", "tiny"]), ["quilted 2.0-1", "tiny 1.1"]);
    assert!(stable.file_of("quilted", "usr/share/quilted/greeting").ends_with("hello, everybody"));
    assert_eq!(
        stable.source_of("quilted"),
        ["quilted_2.0-1.debian.tar.xz", "quilted_2.0-1.dsc", "quilted_2.0.orig.tar.gz"]
    );
    assert_eq!(Apt::new("unstable").update().install(&["tiny"]), ["tiny 1.2"]);
}

#[test]
fn what_was_there_stays_and_what_was_queued_is_published() {
    let world = World::of_release(RELEASE);
    clients_get_what_they_got();
    let database = format!("{STATE}/invirtibuilder.db");
    let before = schema(&database);
    world.local(&["package-setup"]).ok();
    assert_eq!(fs::read_dir("/etc/invirtibuilder/conf.d").unwrap().count(), 0, "dev stays in main");
    if schema(&database) != before {
        assert_eq!(schema(&format!("{database}.schema-{before}")), before, "what it was is kept");
    }
    clients_get_what_they_got();
    world.local(&["verify", "--deep"]).ok();

    let _daemon = world.daemon();
    QUEUED.iter().for_each(|job| world.wait_for(job, "published", BUILD));
    clients_get_what_they_got();
    assert_eq!(candidate("stable", "fresh").as_deref(), Some("0.1"));
    let unstable = Apt::new("unstable");
    assert!(
        unstable
            .update()
            .file_of("quilted", "usr/share/quilted/greeting")
            .starts_with("quilted 2.1\n")
    );
    assert_eq!(unstable.candidate("quilted").as_deref(), Some("2.1-1"));
    for job in ["1", "8"] {
        eventually("the hook has run", SOON, || {
            world.status(job)["hooks"].to_string().contains("note")
        });
    }

    for (job, state) in DONE {
        assert_eq!(world.state(job), state, "job {job}");
        world.build("alice", &["status", job]).ok().says(&[state, "alice@EXAMPLE.ORG"]);
    }
    assert_eq!(world.status("6")["job"]["failure"], "build.failed");
    world.build("alice", &["log", "1"]).ok().says(&["dpkg-deb"]);
    world.build("alice", &["history", "tiny"]).ok().says(&["1.0", "1.1", "1.2", "1.3"]);
    world.local(&["verify", "--deep"]).ok();
    world.local(&["audit", "verify"]).ok();
}

#[test]
fn people_go_on_where_they_were() {
    let world = upgraded();
    let _daemon = world.daemon();
    let tiny = Repo::cloned("tiny");
    let tags = ["1.0", "1.1"]
        .map(|tag| tiny.served(&format!("refs/tags/{tag}")).expect("it was published"));
    // A copy of what the release has built, its cancelled job, a new version.
    world.build("alice", &["promote", "tiny", "dev", "prod", "--wait"]).ok();
    assert_eq!(candidate("stable", "tiny").as_deref(), Some("1.2"));
    world.build("alice", &["retry", "7"]).ok();
    world.wait_for("7", "published", BUILD);
    let commit = tiny.version("2.0", Tiny::Works);
    world.publish("prod", "tiny", &commit);
    let apt = Apt::new("stable");
    assert_eq!(apt.update().file_of("tiny", "usr/share/tiny/version"), "2.0");
    assert_eq!(tags.map(Some), ["1.0", "1.1"].map(|tag| tiny.served(&format!("refs/tags/{tag}"))));

    // A fix for what prod has, whose upstream tarball is in the archive.
    let quilted = Repo::cloned("quilted");
    quilted.git(&["checkout", "-q", "-b", "fixes", "origin/prod"]);
    quilted.changelog("quilted", "2.0-2");
    world.publish("prod", "quilted", &quilted.commit("2.0-2"));
    assert_eq!(apt.update().candidate("quilted").as_deref(), Some("2.0-2"));

    tiny.push(&bare("tiny"), &["main:theirs"]).ok();
    assert_eq!(tiny.served("refs/heads/theirs").as_ref(), Some(&commit));
    let push = tiny.push(&bare("tiny"), &["+main~1:prod"]);
    assert!(
        push.code != 0
            && push.err.contains("refs/heads/prod")
            && push.err.contains("hook declined"),
        "{push:?}"
    );
    assert_eq!(tiny.served("refs/heads/prod").as_ref(), Some(&commit));
    world.local(&["verify"]).ok();
    world.local(&["audit", "verify"]).ok();
}

#[test]
fn a_suite_goes_back_to_what_the_release_had_published() {
    let world = upgraded();
    let _daemon = world.daemon();
    QUEUED.iter().for_each(|job| world.wait_for(job, "published", BUILD));
    let tiny = Repo::cloned("tiny");
    let (first, second) = (tiny.served("refs/tags/1.0"), tiny.served("refs/tags/1.1").unwrap());
    let snapshots = world.local(&["--json", "archive", "snapshots", "stable"]).ok().json();
    // The oldest of those with one package, which is tiny 1.0.
    let oldest =
        snapshots.as_array().unwrap().iter().rfind(|snapshot| snapshot["packages"] == 1).unwrap();
    world.local(&["archive", "rollback", "stable", &oldest["number"].to_string()]).ok();
    let apt = Apt::new("stable");
    assert_eq!(apt.update().file_of("tiny", "usr/share/tiny/version"), "1.0");
    assert_eq!((apt.candidate("quilted"), apt.candidate("fresh")), (None, None));
    assert_eq!(tiny.served("refs/heads/prod"), first);
    world.local(&["verify", "--deep"]).ok();

    world.publish("prod", "tiny", &second);
    assert_eq!(apt.update().candidate("tiny").as_deref(), Some("1.1"));
    world.local(&["verify"]).ok();
    world.local(&["audit", "verify"]).ok();
}
