//! Debian's own packages: a native one, and a quilt one whose tarball is in pristine-tar.

use std::time::Duration;

use crate::world::{Apt, Repo, World, run};

/// A build of a real package on a loaded machine.
const LONG: Duration = Duration::from_secs(900);

/// Imports Debian's source package as gbp does, and pushes it.
pub fn import(world: &World, package: &str) -> (Repo, String) {
    world.build("alice", &["create-repo", package]).ok();
    let repo = Repo::new(package);
    let tree = repo.dir.to_str().unwrap();
    run(
        "bash",
        &[
            "-c",
            &format!(
                ". script/lib/common.sh; . script/lib/debian.sh; debian_sources {tree}.dsc {package} && \
         cd {tree} && gbp import-dsc --pristine-tar --debian-branch=main --allow-unauthenticated {tree}.dsc/{package}_*.dsc . 2>&1"
            ),
        ],
    );
    repo.git(&["push", "-q", "origin", "--all"]);
    let commit = repo.git(&["rev-parse", "main"]);
    (repo, commit)
}

#[test]
fn hostname_is_native_and_hello_brings_its_tarball() {
    let world = World::new();
    let _daemon = world.daemon();
    let (_tree, hostname) = import(&world, "hostname");
    let (tree, hello) = import(&world, "hello");
    let first = world.submit("prod", "hostname", &hostname);
    let second = world.submit("prod", "hello", &hello);
    world.wait_for(&first, "published", LONG);
    world.wait_for(&second, "published", LONG);

    let apt = Apt::new("stable");
    apt.update();
    let version = apt.candidate("hello").expect("apt knows hello");
    assert!(apt.candidate("hostname").is_some());
    assert_eq!(tree.served(&format!("refs/tags/{version}")), Some(hello));
    // The tarball is Debian's, byte for byte.
    let digest = |of: &str| {
        run(
            "sh",
            &["-c", &format!("sha256sum <$(find {of} -name 'hello_*.orig.tar.*z' | head -n 1)")],
        )
    };
    assert_eq!(digest("/srv/apt/pool"), digest(&format!("{}.dsc", tree.dir.display())));
}
