//! The same commit, built twice in the same chroot, comes out the same; and what it was built with
//! can be looked up.

use std::collections::BTreeMap;
use std::fs;

use crate::world::{BUILD, Tiny, World, run};

/// What a package puts into itself that differs from build to build where nobody takes care.
const CURIOUS: &str = "\t{ pwd; id; hostname; env | grep -v ^MAKE | sort; date -u -d @$$SOURCE_DATE_EPOCH; } \
                       >debian/tmp/usr/share/curious/surroundings\n\tdpkg-gencontrol\n";

/// Builds and publishes the package in a service of its own; the job's status, and every file of it
/// in the pool.
fn build() -> (serde_json::Value, BTreeMap<String, String>) {
    let world = World::new();
    let _daemon = world.daemon();
    let repo = world.repo("curious");
    repo.tiny("1.0", Tiny::Works);
    let rules = fs::read_to_string(repo.dir.join("debian/rules")).unwrap();
    let rules = rules.replace("\tdpkg-gencontrol\n", CURIOUS);
    repo.write("debian/rules", &rules);
    let job = world.submit("dev", "curious", &repo.commit("it looks around"));
    world.wait_for(&job, "published", BUILD);
    world.agrees();
    let mut files = BTreeMap::new();
    let dirs = ["pool/main/c/curious", "changes/unstable/curious_1.0"]
        .map(|dir| format!("/srv/apt/{dir}"));
    for entry in dirs.iter().flat_map(|dir| fs::read_dir(dir).unwrap().flatten()) {
        let (name, path) = (entry.file_name().into_string().unwrap(), entry.path());
        let text = match name.rsplit_once('.').unwrap().1 {
            "buildinfo" | "changes" => fs::read_to_string(path).unwrap(),
            _ => run("sha256sum", &[path.to_str().unwrap()]),
        };
        files.insert(name, text);
    }
    let human = world.build("alice", &["status", &job]).ok();
    assert!(
        human.out.contains("buildinfo  pool/main/c/curious/curious_1.0_amd64.buildinfo\n"),
        "{}",
        human.out
    );
    let status = world.status(&job);
    let named = &status["buildinfo"][0];
    let path = format!("/srv/apt/{}", named["path"].as_str().unwrap());
    assert!(run("sha256sum", &[&path]).starts_with(named["sha256"].as_str().unwrap()), "{named}");
    (status, files)
}

/// Without the lines that say when a build took place.
fn timeless(buildinfo: &str) -> String {
    let lines = buildinfo.lines().filter(|line| !line.starts_with("Build-Date: "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_same_commit_is_built_twice_the_same() {
    let ((one, first), (_, second)) = (build(), build());
    assert_eq!(one["buildinfo"].as_array().unwrap().len(), 1, "{one:#}");
    let kinds = [".deb", ".dsc", ".tar.xz", ".buildinfo", ".changes"];
    assert!(
        kinds.iter().all(|kind| first.keys().any(|name| name.ends_with(kind))),
        "{:?}",
        first.keys()
    );
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    for (name, file) in &first {
        let other = &second[name];
        if name.ends_with(".changes") {
            // It has the hash of the other's .buildinfo, and nothing else that differs.
            let without = |text: &str| {
                text.lines()
                    .filter(|line| !line.ends_with(".buildinfo"))
                    .collect::<Vec<_>>()
                    .join("\n")
            };
            assert_eq!(without(file), without(other));
        } else if name.ends_with(".buildinfo") {
            assert_eq!(timeless(file), timeless(other));
            for word in [
                "\nBuild-Path: /build/package/",
                "\nBuild-Date: ",
                "SOURCE_DATE_EPOCH=\"1736164800\"",
            ] {
                assert!(file.contains(word), "{word}: {file}");
            }
        } else {
            assert_eq!(file, other, "{name}");
        }
    }
}

#[test]
fn what_was_not_published_names_no_buildinfo() {
    let world = World::new();
    let _daemon = world.daemon();
    let repo = world.repo("broken");
    let job = world.submit("dev", "broken", &repo.version("1.0", Tiny::Fails));
    world.wait_for(&job, "failed", BUILD);
    assert_eq!(world.status(&job)["buildinfo"], serde_json::json!([]));
    // A copy names that of the build.
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    world.publish("dev", "tiny", &commit);
    let copy = world.submit("prod", "tiny", &commit);
    world.wait_for(&copy, "published", BUILD);
    assert_eq!(
        world.status(&copy)["buildinfo"][0]["path"],
        "pool/main/t/tiny/tiny_1.0_amd64.buildinfo"
    );
}
