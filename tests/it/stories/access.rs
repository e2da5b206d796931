//! Programs and locators decide who may submit, and administrators can see how it is decided.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::world::World;

const ACL: &str = "
acl: { locator_command: /run/world/locate, cache: 0 }
build:
  pockets:
    prod: { acl: [ \"exec:/run/world/members\" ] }
    dev: { acl: [ \"deny:princ:mallory@EXAMPLE.ORG\", \"system:xvm-dev\" ] }
";

fn program(path: &str, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// 65 is for those who are let in: the package is not there.
fn admits(world: &World, who: &str, pocket: &str) -> bool {
    let answer = world.build(who, &["submit", pocket, "absent", "main"]);
    assert!([65, 77].contains(&answer.code), "{answer:?}");
    answer.code == 65
}

#[test]
fn programs_and_locators_say_who_may_submit() {
    let world = World::new();
    fs::write("/etc/invirtibuilder/conf.d/acl.yaml", ACL).unwrap();
    // As the service's user, with the pocket or the locator as its only argument.
    program(
        "/run/world/members",
        "[ \"$(id -un) $*\" = '_invirtibuilder prod' ] && echo alice@EXAMPLE.ORG",
    );
    program("/run/world/locate", "[ \"$*\" = system:xvm-dev ] && echo bob && echo mallory");
    assert!(admits(&world, "alice", "prod") && !admits(&world, "bob", "prod"));
    assert!(
        admits(&world, "bob", "dev")
            && !admits(&world, "alice", "dev")
            && !admits(&world, "mallory", "dev")
    );
    world.local(&["acl", "show", "dev"]).ok().says(&[
        "deny   mallory@EXAMPLE.ORG",
        "allow  bob@EXAMPLE.ORG",
        "acl.yaml:6",
    ]);

    for (script, why) in [
        ("exit 3", "status 3"),
        ("echo two words", "is no principal"),
        ("sleep 1; kill -9 $$", "signal 9"),
    ] {
        program("/run/world/members", script);
        assert!(!admits(&world, "alice", "prod"), "{script}");
        let shown = world.local(&["audit", "show", "--event", "denied", "--limit", "1"]).ok().out;
        assert!(shown.contains(why) && shown.contains("exec:/run/world/members"), "{shown}");
    }
    let check = world.local(&["acl", "check", "prod", "alice"]);
    assert!(
        check.code == 77 && check.out.contains("acl.yaml:5: exec:/run/world/members: error"),
        "{check:?}"
    );
}

#[test]
fn decisions_are_explained_to_administrators_and_to_nobody_else() {
    let world = World::new();
    fs::write("/etc/invirtibuilder/acl/more", "# more\nbob@EXAMPLE.ORG\n").unwrap();
    let prod = fs::read_to_string("/etc/invirtibuilder/acl/prod").unwrap();
    fs::write(
        "/etc/invirtibuilder/acl/prod",
        format!("{prod}include /etc/invirtibuilder/acl/more\nmallory\n"),
    )
    .unwrap();
    let expected = "bob@EXAMPLE.ORG may submit to prod\n  \
        /etc/invirtibuilder/config.yaml:10: file:/etc/invirtibuilder/acl/prod: match\n    \
        /etc/invirtibuilder/acl/prod:3: include /etc/invirtibuilder/acl/more: match\n      \
        /etc/invirtibuilder/acl/more:2: bob@EXAMPLE.ORG: match\n";
    let answer = world.build("carol", &["acl", "check", "prod", "bob"]).ok();
    assert_eq!(answer.out, expected);
    let denied = world.build("carol", &["acl", "check", "prod", "mallory"]);
    assert!(
        denied.code == 77 && denied.out.contains("mallory@EXAMPLE.ORG may not submit to prod"),
        "{denied:?}"
    );
    world
        .build("alice", &["acl", "check", "prod", "bob"])
        .refused(77, &["alice@EXAMPLE.ORG may not read ACLs"]);
    world
        .build("alice", &["acl", "show", "prod"])
        .refused(77, &["alice@EXAMPLE.ORG may not read ACLs"]);
    assert_eq!(
        world.build("bob", &["--json", "whoami"]).ok().json()["may_submit_to"],
        serde_json::json!(["dev", "prod"])
    );

    // What is odd is said, and what would refuse everybody is wrong.
    let odd = world.local(&["check-config"]);
    assert!(
        odd.code == 0 && odd.err.contains("acl/prod:4: warning: 'mallory' has no realm"),
        "{odd:?}"
    );
    fs::write("/etc/invirtibuilder/acl/more", "nonsense:x\n").unwrap();
    let wrong = world.local(&["check-config"]);
    assert!(
        wrong.code == 78
            && wrong.err.contains("acl/more:1: ")
            && wrong.err.contains("cannot be used in an ACL file"),
        "{wrong:?}"
    );
    fs::write("/etc/invirtibuilder/acl/prod", prod).unwrap();
    fs::remove_file("/etc/invirtibuilder/acl/more").unwrap();
}
