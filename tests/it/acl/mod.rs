//! Our decisions against those of a real remctld, over the same ACL entries and files.

use std::fs;
use std::process::Command;

use crate::world::{Answer, CONFIG, SOON, World, eventually};

const FILES: &str = "/run/world/acls";
const PEOPLE: [&str; 3] = ["alice", "bob", "mallory"];

/// ACL files that the cases name.
fn write_files() {
    let _ = fs::remove_dir_all(FILES);
    fs::create_dir_all(format!("{FILES}/dir/sub")).unwrap();
    for (name, text) in [
        ("plain", "# people\n  alice@EXAMPLE.ORG  \nbob@EXAMPLE.ORG\n"),
        ("denies", "deny:princ:bob@EXAMPLE.ORG\nanyuser:auth\n"),
        ("includes", "include /run/world/acls/denies\nmallory@EXAMPLE.ORG\n"),
        ("bad-late", "alice@EXAMPLE.ORG\nnonsense:x\n"),
        ("bad-early", "nonsense:x\nalice@EXAMPLE.ORG\n"),
        ("two-words", "alice@EXAMPLE.ORG bob@EXAMPLE.ORG\n"),
        ("regex", "regex:^(alice|bob)@EXAMPLE\\.ORG$\n"),
        ("empty", "# nobody\n\n"),
        ("include-missing", "include /run/world/acls/missing\nalice@EXAMPLE.ORG\n"),
        ("dir/one", "alice@EXAMPLE.ORG\n"),
        ("dir/two", "deny:princ:bob@EXAMPLE.ORG\nbob@EXAMPLE.ORG\n"),
        ("dir/ignored.txt", "mallory@EXAMPLE.ORG\n"),
        ("dir/sub/three", "mallory@EXAMPLE.ORG\n"),
    ] {
        fs::write(format!("{FILES}/{name}"), text).unwrap();
    }
}

const CASES: &[&[&str]] = &[
    &["princ:alice@EXAMPLE.ORG"],
    &["princ:alice"],
    &["princ:ALICE@EXAMPLE.ORG"],
    &["ANYUSER"],
    &["anyuser:auth"],
    &["anyuser:anonymous"],
    &["anyuser:nobody"],
    &["deny:princ:alice@EXAMPLE.ORG", "anyuser:auth"],
    &["anyuser:auth", "deny:princ:alice@EXAMPLE.ORG"],
    &["deny:deny:princ:alice@EXAMPLE.ORG", "princ:bob@EXAMPLE.ORG"],
    &["deny:alice@EXAMPLE.ORG", "anyuser:auth"],
    &["unknown:alice", "anyuser:auth"],
    &["princ:bob@EXAMPLE.ORG", "unknown:alice"],
    &["PRINC:alice@EXAMPLE.ORG", "anyuser:auth"],
    &["regex:[", "anyuser:auth"],
    &["pcre:(", "anyuser:auth"],
    &["/run/world/acls/plain"],
    &["file:/run/world/acls/plain"],
    &["file:/run/world/acls/missing", "anyuser:auth"],
    &["file:/run/world/acls/denies"],
    &["file:/run/world/acls/includes"],
    &["file:/run/world/acls/bad-late"],
    &["file:/run/world/acls/bad-early", "anyuser:auth"],
    &["file:/run/world/acls/two-words", "anyuser:auth"],
    &["file:/run/world/acls/empty", "princ:bob@EXAMPLE.ORG"],
    &["file:/run/world/acls/include-missing", "anyuser:auth"],
    &["file:/run/world/acls/dir"],
    &["file:/run/world/acls/dir", "princ:mallory@EXAMPLE.ORG"],
    &["deny:file:/run/world/acls/plain", "anyuser:auth"],
];

/// Schemes that remctld evaluates and we do not: an ACL that needs them admits nobody.
const UNSUPPORTED: &[&[&str]] = &[
    &["regex:alice"],
    &["regex:^bob@"],
    &["pcre:^(?!alice)"],
    &["file:/run/world/acls/regex"],
    &["localgroup:no-such-group", "princ:alice@EXAMPLE.ORG"],
];

/// A remctld with one command a case.
struct Reference {
    child: std::process::Child,
    port: String,
}

impl Reference {
    fn start() -> Self {
        let lines: String = CASES
            .iter()
            .enumerate()
            .map(|(n, entries)| format!("acl case{n} /bin/true {}\n", entries.join(" ")))
            .collect();
        fs::write(format!("{FILES}/remctl.conf"), lines).unwrap();
        let port = format!("{FILES}/port");
        let child = Command::new("script/lib/listen")
            .args([&port, "remctld", "-m", "-F", "-S", "-f", &format!("{FILES}/remctl.conf")])
            .args(["-k", "/etc/krb5.keytab", "-s", "host/localhost"])
            .stderr(fs::File::create(format!("{FILES}/log")).unwrap())
            .spawn()
            .unwrap();
        eventually("remctld listens", SOON, || fs::metadata(&port).is_ok());
        Self { child, port: fs::read_to_string(&port).unwrap().trim().to_owned() }
    }

    fn admits(&self, who: &str, case: usize) -> bool {
        let answer = Answer::of(Command::new("as").args([
            who,
            "remctl",
            "-p",
            &self.port,
            "-s",
            "host/localhost",
            "localhost",
            "acl",
            &format!("case{case}"),
        ]));
        assert!(answer.code == 0 || answer.err.contains("denied"), "{answer:?}");
        answer.code == 0
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn acl_decisions_are_those_of_remctld() {
    let world = World::new();
    write_files();
    let reference = Reference::start();
    configure(CASES);
    let mut wrong = Vec::new();
    for (n, entries) in CASES.iter().enumerate() {
        for who in PEOPLE {
            let (ours, theirs) = (we_admit(&world, who, n), reference.admits(who, n));
            if ours != theirs {
                wrong.push(format!("{who} by {entries:?}: remctld says {theirs}, we say {ours}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn acl_schemes_that_are_not_supported_admit_nobody() {
    let world = World::new();
    write_files();
    configure(UNSUPPORTED);
    for (n, entries) in UNSUPPORTED.iter().enumerate() {
        for who in PEOPLE {
            assert!(!we_admit(&world, who, n), "{who} by {entries:?}");
        }
    }
}

/// One pocket a case.
fn configure(cases: &[&[&str]]) {
    let mut text = String::from("realm: EXAMPLE.ORG\nbuild:\n  pockets:\n");
    for (n, entries) in cases.iter().enumerate() {
        let entries: Vec<String> = entries.iter().map(|entry| format!("'{entry}'")).collect();
        text += &format!("    case{n}: {{ acl: [ {} ], distro: bookworm }}\n", entries.join(", "));
    }
    fs::write(CONFIG, text).unwrap();
}

/// The pocket is there and the package is not: 65 is for those who are let in, 77 for the others.
fn we_admit(world: &World, who: &str, case: usize) -> bool {
    let answer = world.build(who, &["submit", &format!("case{case}"), "absent", "main"]);
    match answer.code {
        65 => true,
        77 => false,
        _ => panic!("{answer:?}"),
    }
}
