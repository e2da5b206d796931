//! The source package is the commit: what a tarball may hold, which tarball it is, and what is told
//! about it.

use std::fs;
use std::path::Path;

use crate::world::{Repo, Tiny, World, bare, run};

/// A package of format 3.0 (quilt) whose tarball, on the branch pristine-tar, has these files
/// besides those of the commit.
fn quilt(repo: &Repo, version: &str, more: &[(&str, &str)]) -> String {
    let name = repo.package.clone();
    repo.tiny(version, Tiny::Works);
    repo.write("debian/source/format", "3.0 (quilt)\n");
    repo.write("README", "upstream's\n");
    let commit = repo.commit(version);
    pristine_tar(repo, &name, more);
    commit
}

/// Commits a tarball of these files and README, and pushes the branches that it takes to make it
/// again.
fn pristine_tar(repo: &Repo, name: &str, more: &[(&str, &str)]) {
    let temp = tempfile::tempdir().unwrap();
    let top = temp.path().join(format!("{name}-1.0"));
    fs::create_dir(&top).unwrap();
    for (path, text) in more.iter().chain(&[("README", "upstream's\n")]) {
        fs::write(top.join(path), text).unwrap();
    }
    let tarball = temp.path().join(format!("{name}_1.0.orig.tar.gz"));
    let (tar, dir) = (tarball.to_str().unwrap(), temp.path().to_str().unwrap());
    run("tar", &["-C", dir, "--sort=name", "--mtime=@1", "-czf", tar, &format!("{name}-1.0")]);
    let script = format!(
        "cd '{}' && pristine-tar commit '{tar}' main 2>&1 && git push -q -f origin pristine-tar",
        repo.dir.display()
    );
    run("sh", &["-c", &script]);
}

fn sum(path: &str) -> String {
    run("sha256sum", &[path]).split_whitespace().next().unwrap().to_owned()
}

#[test]
fn what_is_fixed_at_submission_is_what_is_published() {
    let world = World::new();
    world.stub_sbuild();
    let repo = world.repo("moves");
    let commit = quilt(&repo, "1.0-1", &[]);
    let job = world.submit("prod", "moves", &commit);
    let fixed = world.status(&job)["source"].clone();
    assert_eq!(fixed["tarballs"][0]["origin"], "pristine-tar");
    let first = fixed["tarballs"][0]["sha256"].as_str().unwrap().to_owned();

    // Somebody else's tarball is there when the job is claimed, and the first one's objects are
    // nobody's.
    repo.write("README", "another\n");
    repo.git(&["branch", "-q", "-D", "pristine-tar"]);
    pristine_tar(&repo, "moves", &[("GNUmakefile", "all: ; touch /srv/planted\n")]);
    run("as-service", &["git", "-C", &bare("moves"), "reflog", "expire", "--expire=now", "--all"]);
    run("as-service", &["git", "-C", &bare("moves"), "gc", "-q", "--prune=now"]);

    let _daemon = world.daemon();
    world.wait_for(&job, "published", crate::world::BUILD);
    let pooled = "/srv/apt/pool/main/m/moves/moves_1.0.orig.tar.gz";
    assert_eq!(sum(pooled), first);
    let source = world.status(&job)["source"].clone();
    assert_eq!(
        (&source["layout"], &source["tarballs"][0]["sha256"]),
        (&"patches-unapplied".into(), &first.clone().into())
    );
    crate::world::eventually("nothing is kept for the job any more", crate::world::SOON, || {
        run("git", &["-C", &bare("moves"), "for-each-ref", "refs/invirt/pin"]).is_empty()
    });

    // The tag and the audit trail name the tarball, and so does what explains the job.
    let tag = run("git", &["-C", &bare("moves"), "cat-file", "tag", "1.0-1"]);
    assert!(tag.contains(&format!("Upstream-SHA256: {first} moves_1.0.orig.tar.gz")), "{tag}");
    let explained = world.build("bob", &["explain", &job]).ok();
    explained.says(&[
        "alice@EXAMPLE.ORG",
        &commit,
        "patches-unapplied",
        &first,
        "stable",
        "by the delta",
    ]);
    let json = world.build("bob", &["--json", "explain", &job]).ok().json();
    assert!(json["dsc"].as_str().unwrap().contains(&first), "{json}");
    assert!(
        json["audit"]
            .as_array()
            .unwrap()
            .iter()
            .any(|entry| entry["detail"]["moves_1.0.orig.tar.gz"] == first.as_str())
    );
    let dsc = json["files"]
        .as_array()
        .unwrap()
        .iter()
        .find(|file| file["path"].as_str().unwrap().ends_with(".dsc"))
        .unwrap();
    assert_eq!(dsc["sha256"], json["source"]["dsc_sha256"]);

    // The branch has another tarball now than the pool: whoever brought the pool's is named.
    repo.changelog("moves", "1.0-2");
    repo.write("README", "upstream's\n");
    let next = repo.commit("1.0-2");
    world
        .build("alice", &["submit", "prod", "moves", &next])
        .refused(65, &["brought by job 1", "pristine-tar"]);
    world.local(&["verify"]).ok();
}

#[test]
fn devs_tarball_is_not_prods() {
    let world = World::new();
    world.stub_sbuild();
    let _daemon = world.daemon();
    let repo = world.repo("shared");
    // dev's commit has all that is in its tarball.
    repo.write("GNUmakefile", "all: ; touch /srv/planted\n");
    let dev = quilt(&repo, "1.0-1", &[("GNUmakefile", "all: ; touch /srv/planted\n")]);
    world.publish("dev", "shared", &dev);
    // prod's has not, and takes no tarball that has more.
    fs::remove_file(repo.dir.join("GNUmakefile")).unwrap();
    repo.changelog("shared", "1.0-2");
    let prod = repo.commit("1.0-2");
    let line = format!(
        "{}  shared_1.0.orig.tar.gz",
        sum("/srv/apt/pool/main/s/shared/shared_1.0.orig.tar.gz")
    );
    world
        .build("alice", &["submit", "prod", "shared", &prod])
        .refused(65, &["GNUmakefile", "sha256sums", &line]);
    // Unless its people say so.
    repo.write("debian/upstream/sha256sums", &format!("{line}\n"));
    let bound = repo.commit("the tarball is this one");
    world
        .build("alice", &["submit", "prod", "shared", &bound, "--dry-run"])
        .ok()
        .says(&["only in a tarball: GNUmakefile", "from pool"]);
    world.publish("prod", "shared", &bound);
    world.build("alice", &["status", "2"]).ok().says(&["only there", "GNUmakefile"]);
    world
        .build("alice", &["log", "2"])
        .ok()
        .says(&["shared_1.0.orig.tar.gz is bound by the commit (sha256sums)"]);

    // What was published so before would be refused now: the administrator is told which, and the
    // line to add.
    world.local(&["verify", "--sources"]).ok().says(&["all 2 source packages"]);
    let record = "/var/lib/invirtibuilder/invirtibuilder.db";
    let sql = format!(
        "UPDATE pocket_package SET commit_id = '{prod}', version = '1.0-2' WHERE pocket = 'prod';
         UPDATE job SET commit_id = '{prod}', version = '1.0-2' WHERE id = 2"
    );
    run("as-service", &["sqlite3", record, &sql]);
    let answer = world.local(&["verify", "--sources"]);
    assert_eq!(answer.code, 1, "{}", answer.out);
    assert!(
        answer.out.contains("shared 1.0-2 (prod)")
            && answer.out.contains(&format!("sha256sums: {line}")),
        "{}",
        answer.out
    );
}

#[test]
fn a_version_has_one_source_package_for_ever() {
    let world = World::new();
    world.stub_sbuild();
    let _daemon = world.daemon();
    let repo = world.repo("once");
    let commit = quilt(&repo, "1.0-1", &[]);
    world.publish("dev", "once", &commit);
    // The archive forgets it, and the tarball is made otherwise now, with the same files.
    repo.changelog("once", "1.0-2");
    let next = repo.commit("1.0-2");
    world.publish("dev", "once", &next);
    repo.changelog("once", "1.1");
    repo.write("debian/source/format", "3.0 (native)\n");
    let last = repo.commit("1.1");
    world.publish("dev", "once", &last);
    fs::write("/etc/invirtibuilder/conf.d/keep.yaml", "archive: { keep: { versions: 1 } }\n")
        .unwrap();
    world.local(&["archive", "gc"]).ok();
    assert!(!Path::new("/srv/apt/pool/main/o/once/once_1.0-1.dsc").exists());
    repo.git(&["branch", "-q", "-D", "pristine-tar"]);
    let temp = tempfile::tempdir().unwrap();
    let script = format!(
        "cd '{}'; mkdir once-1.0; echo \"upstream's\" >once-1.0/README; tar -cJf once_1.0.orig.tar.xz once-1.0
         cd '{}'; pristine-tar commit '{}/once_1.0.orig.tar.xz' main 2>&1; git push -q -f origin pristine-tar",
        temp.path().display(),
        repo.dir.display(),
        temp.path().display()
    );
    run("sh", &["-ec", &script]);
    let job = world.submit("dev", "once", &commit);
    world.wait_for(&job, "failed", crate::world::BUILD);
    let status = world.status(&job);
    assert_eq!(status["job"]["failure"], "source.differs", "{status:#}");
    assert!(status["job"]["reason"].as_str().unwrap().contains("was published"), "{status:#}");
}
