//! Every input that the fuzzers start from or have found, as `script/fuzz` would try it.

use std::fs;

#[path = "../fuzz/targets.rs"]
mod targets;

#[track_caller]
fn replay(target: &str, run: fn(&[u8])) {
    let mut tried = 0;
    for kind in ["seeds", "found"] {
        let Ok(entries) =
            fs::read_dir(format!("{}/../fuzz/{kind}/{target}", env!("CARGO_MANIFEST_DIR")))
        else {
            continue;
        };
        for entry in entries {
            run(&fs::read(entry.unwrap().path()).unwrap());
            tried += 1;
        }
    }
    assert!(tried > 0, "{target} has no seeds");
}

#[test]
fn acl() {
    replay("acl", targets::acl);
}

#[test]
fn ssh_command() {
    replay("ssh_command", targets::ssh_command);
}

#[test]
fn config() {
    replay("config", targets::config);
}

#[test]
fn changelog() {
    replay("changelog", targets::changelog);
}

#[test]
fn control() {
    replay("control", targets::control);
}

#[test]
fn deb() {
    replay("deb", targets::deb);
}
