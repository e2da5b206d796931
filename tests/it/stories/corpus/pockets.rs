//! A suite of another pocket that is poisoned: what it has takes no part in a build that may not
//! use it, whatever it claims.

use std::fs;

use super::Range;
use crate::world::{Repo, Tiny};

/// Packages of `dev`: the binary package, and more fields of it. Each holds a file that names it,
/// and runs a maintainer script.
const POISONED: [(&str, &str); 5] = [
    // What builds nearly always install.
    ("debhelper", "Provides: debhelper-compat (= 13), dh-sequence-python3\n"),
    ("hello", ""),
    // What is there already, and cannot be done without.
    ("hostname", "Essential: yes\nImportant: yes\nProtected: yes\nPriority: required\n"),
    ("make", "Multi-Arch: foreign\nReplaces: dash, bash, coreutils\nConflicts: gcc-12 (>= 99)\n"),
    // What nobody asks for, under the names of what everybody needs.
    (
        "poison",
        "Provides: hello, make, debhelper, build-essential, perl-base, libc6\nReplaces: hello, make\nBreaks: hello, make\nEssential: yes\n",
    ),
];

fn poison(repo: &Repo, binary: &str, more: &str) -> String {
    repo.tiny("1.0", Tiny::Works);
    let control = fs::read_to_string(repo.dir.join("debian/control")).unwrap();
    let package = format!("Package: {}\n", repo.package);
    repo.write("debian/control", &control.replace(&package, &format!("Package: {binary}\n")));
    repo.write("debian/more", more);
    let forge = format!(
        "rm \"$deb\"\nsed -i 's/^Package: .*/Package: {binary}/; s/^Version: .*/Version: 999:1/; 1a Source: {} (1.0)' \"$root/DEBIAN/control\"\n\
         cat \"$work/debian/more\" >>\"$root/DEBIAN/control\"\n\
         sed -i '/^Priority: optional/{{H;d}}' \"$root/DEBIAN/control\"\n\
         mkdir -p \"$root/usr/share/poison\"\necho {binary} >\"$root/usr/share/poison/{binary}\"\n\
         printf '#!/bin/sh\\necho poison of {binary} runs\\n' >\"$root/DEBIAN/postinst\"\nchmod 755 \"$root/DEBIAN/postinst\"\n\
         deb={binary}_1_all.deb\ndpkg-deb --root-owner-group -Zgzip --build \"$root\" \"$deb\" >/dev/null\n\
         files=\"$deb ${{stem}}_$arch.buildinfo\"\nwrite_changes\n",
        repo.package
    );
    repo.write("debian/forge", &forge);
    repo.commit("poison")
}

/// A package that needs what is poisoned, and says what it was given.
fn thirsty(repo: &Repo, version: &str) -> String {
    repo.tiny(version, Tiny::Works);
    let control = fs::read_to_string(repo.dir.join("debian/control")).unwrap();
    repo.write(
        "debian/control",
        &control.replace("Standards-Version", "Build-Depends: hello, make\nStandards-Version"),
    );
    let rules = fs::read_to_string(repo.dir.join("debian/rules")).unwrap();
    let look = "\tapt-cache policy hello make hostname debhelper poison | sed 's/^/seen: /'\n\
                \tdpkg-query -W hello make hostname | sed 's/^/given: /'\n\tls /usr/share/poison | sed 's/^/swallowed: /' || true\n";
    repo.write("debian/rules", &rules.replace("\ttrue\n", look));
    repo.commit(version)
}

#[test]
fn what_another_pocket_has_takes_no_part_in_a_build() {
    let range = Range::new();
    let world = &range.world;
    let daemon = range.daemon();
    world.stub_sbuild();
    for (n, (binary, more)) in POISONED.iter().enumerate() {
        let repo = world.repo(&format!("poison{n}"));
        let commit = poison(&repo, binary, more);
        world.publish("dev", &repo.package, &commit);
    }
    world.unstub_sbuild();
    let repo = world.repo("thirsty");
    let build = |pocket: &str, commit: &str| {
        let job = world.submit(pocket, "thirsty", commit);
        world.wait_for(&job, "published", super::LONG);
        world.build("alice", &["log", &job]).ok().out
    };

    let commit = thirsty(&repo, "1.0");
    let log = build("prod", &commit);
    assert!(log.contains("given: hello\t2."), "{log}");
    let poisoned = |line: &&str| {
        ["poison of ", "swallowed: "].iter().any(|start| line.starts_with(start))
            || ["999:1", "unstable/main", "unstable InRelease"]
                .iter()
                .any(|word| line.contains(word))
    };
    let found: Vec<&str> = log.lines().filter(poisoned).collect();
    assert!(found.is_empty(), "{found:?}\n{log}");

    // A pocket that may use it is given it: so it does work.
    let commit = thirsty(&repo, "1.1");
    let log = build("mixed", &commit);
    for poisoned in ["given: hello\t999:1", "poison of hello runs", "swallowed: hello"] {
        assert!(log.contains(poisoned), "{poisoned}: {log}");
    }
    drop(daemon);
}
