//! Source packages of another version than the written one, and tarballs that are made of trees.

use std::path::Path;
use std::process::Command;

use crate::source::tests::{CHANGELOG, Entry, Package, unpack};
use crate::source::*;
use invirtibuilder_core::config::OrigSource;
use invirtibuilder_core::error::FailureKind;
use invirtibuilder_core::facts::{Bound, Layout};
use invirtibuilder_core::version_rule::{EntryState, UpstreamFiles};
use invirtibuilder_system::files::digest;

const ROOM: u64 = 1 << 30;

fn quilt() -> String {
    CHANGELOG.replace("(1.0)", "(1.0-1)")
}

/// Returns what the distro's dpkg-parsechangelog reads of a tree.
fn field(tree: &Path, name: &str) -> String {
    let changelog = tree.join("debian/changelog");
    let done = Command::new("dpkg-parsechangelog")
        .args(["-l", changelog.to_str().unwrap(), "-S", name])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

impl Package {
    async fn made_as(
        &self,
        commit: &CommitId,
        version: &str,
        name: &str,
    ) -> Result<(SourcePackage, invirtibuilder_core::facts::Proof), Failure> {
        let version = version.parse().unwrap();
        let request = self.request_as(ROOM, (commit, &version), name, &[])?;
        let made = make(&request, &CancellationToken::new()).await?;
        let proof = prove(&request, &made, &CancellationToken::new()).await?;
        Ok((made, proof))
    }

    /// Returns what the commit has of upstream's files.
    fn upstream(&self, commit: &CommitId) -> UpstreamFiles {
        let written = changelog(&git::open(&self.repo()).unwrap(), commit).unwrap().version;
        let subject = Subject {
            repo: self.repo(),
            commit: commit.clone(),
            package: "hello".parse().unwrap(),
            version: written.clone(),
            written,
            distro: "trixie".parse().unwrap(),
            why: None,
        };
        let orig = &[OrigSource::Tag];
        let (pool, scratch) = (&[][..], None);
        upstream_files(
            &git::open(&self.repo()).unwrap(),
            &PlanInputs { subject: &subject, pool, branch: Branch::Now, scratch, orig },
        )
        .unwrap()
    }
}

#[tokio::test]
async fn an_entry_is_prepended_in_every_format_and_the_proof_knows_it() {
    let crlf = CHANGELOG.replace('\n', "\r\n");
    let unreleased = CHANGELOG.replace("unstable", "UNRELEASED");
    for (n, (format, changelog, version)) in [
        ("3.0 (native)", CHANGELOG, "1.0~deb12"),
        ("3.0 (native)", &unreleased, "1.0~git2.abcdefa"),
        ("3.0 (native)", &crlf, "1.0build1"),
        ("1.0", CHANGELOG, "1:1.0+x"),
    ]
    .into_iter()
    .enumerate()
    {
        let package = Package::new();
        let commit = package.commit(changelog, format, &[(0o100644, "file", b"text\n")]);
        let (one, proof) = package.made_as(&commit, version, &format!("{n}-one")).await.unwrap();
        let (two, _) = package.made_as(&commit, version, &format!("{n}-two")).await.unwrap();
        for (a, b) in one.files.iter().zip(&two.files) {
            assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap(), "{}", a.display());
        }
        assert!(proof.extra.is_empty());
        let out = package.dir.path().join(format!("{n}-out"));
        unpack(&one.dsc, &out);
        assert_eq!(field(&out, "Version"), version);
        assert_eq!(field(&out, "Distribution"), "trixie");
        assert_eq!(field(&out, "Urgency"), "medium");
        assert_eq!(field(&out, "Maintainer"), "A <a@example.org>");
        // The commit is younger than the entry.
        assert_eq!(field(&out, "Timestamp"), "1700000000");
        assert!(field(&out, "Changes").contains(commit.as_str()));
        let whole = std::fs::read_to_string(out.join("debian/changelog")).unwrap();
        assert!(whole.ends_with(changelog), "{whole}");
        let version: Version = version.parse().unwrap();
        let subject = package.request_as(ROOM, (&commit, &version), "again", &[]).unwrap().subject;
        let repo = git::open(&package.repo()).unwrap();
        assert_eq!(built_changelog(&repo, &subject).unwrap(), whole.as_bytes());
        assert_eq!(first_entry(whole.as_bytes()).unwrap().state, EntryState::Released);
    }
}

#[tokio::test]
async fn a_changelog_that_is_a_link_gets_no_entry() {
    let package = Package::new();
    let more: [Entry; 2] = [
        (0o120000, "debian/changelog", b"../CHANGES"),
        (0o100644, "CHANGES", CHANGELOG.as_bytes()),
    ];
    let commit = package.commit(CHANGELOG, "3.0 (native)", &more);
    package.made_as(&commit, "1.0", "written").await.unwrap();
    let failure = package.made_as(&commit, "1.0~deb12", "built").await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Changelog);
    assert!(failure.text.contains("symbolic link"), "{failure}");
}

#[tokio::test]
async fn a_tag_of_upstream_in_the_history_becomes_the_tarball() {
    let package = Package::new();
    let upstream: [Entry; 4] = [
        (0o100644, "README", b"upstream\n"),
        (0o100755, "run", b"#!/bin/sh\n"),
        (0o120000, "link", b"README"),
        (0o100644, ".gitattributes", b"README export-ignore\n"),
    ];
    let tagged = package.commit(&quilt(), "3.0 (quilt)", &upstream);
    let commit = package.commit(&quilt(), "3.0 (quilt)", &upstream);
    let failure = package.made_as(&commit, "1.0-1", "none").await.unwrap_err();
    assert!(failure.text.contains("push upstream's tag upstream/1.0"), "{failure}");
    let tag = |name: &str, commit: &CommitId| {
        let repo = git::open(&package.repo()).unwrap();
        repo.reference(&format!("refs/tags/{name}"), commit.into(), true, "").unwrap();
    };
    tag("v1.0", &tagged);
    let (one, proof) = package.made_as(&commit, "1.0-1", "one").await.unwrap();
    assert_eq!((proof.layout, proof.extra.len()), (Some(Layout::Unapplied), 0));
    assert_eq!(proof.bound.values().collect::<Vec<_>>(), [&Bound::History]);
    let (two, _) = package.made_as(&commit, "1.0-2", "two").await.unwrap();
    let tarball = |made: &SourcePackage| made.dsc.with_file_name("hello_1.0.orig.tar.xz");
    assert_eq!(digest(&tarball(&one)).unwrap(), digest(&tarball(&two)).unwrap());
    let listed = Command::new("tar").arg("-tvf").arg(tarball(&one)).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.lines().all(|line| line.contains(" 0/0 ") || line.contains("root/root")),
        "{listed}"
    );
    assert!(
        listed.contains("-rwxr-xr-x") && listed.contains("hello-1.0/link -> README"),
        "{listed}"
    );

    // Files that were removed in the history of the commit are bound by it.
    let commit = package.commit(&quilt(), "3.0 (quilt)", &upstream[..1]);
    let (_, proof) = package.made_as(&commit, "1.0-1", "fewer").await.unwrap();
    assert_eq!(proof.extra, [".gitattributes", "link", "run"]);

    // A tag that is nowhere in it is not, and gbp.conf names the one to take.
    let other = {
        let repo = git::open(&package.repo()).unwrap();
        let (tree, me) = (
            repo.find_commit((&tagged).into()).unwrap().tree().unwrap(),
            git2::Signature::new("E", "e@example.org", &git2::Time::new(1, 0)).unwrap(),
        );
        repo.commit(None, &me, &me, "evil", &tree, &[]).unwrap().into()
    };
    tag("theirs/1.0", &other);
    let conf: Entry =
        (0o100644, "debian/gbp.conf", b"[DEFAULT]\nupstream-tag = theirs/%(version)s\n");
    let commit = package.commit(&quilt(), "3.0 (quilt)", &[&upstream[..], &[conf]].concat());
    let failure = package.made_as(&commit, "1.0-1", "other").await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Upstream);
    assert!(failure.text.contains("not in the history of"), "{failure}");
    let sum = format!("{}  hello_1.0.orig.tar.xz\n", "7".repeat(64));
    let sums: Entry = (0o100644, SUMS, sum.as_bytes());
    let commit = package.commit(&quilt(), "3.0 (quilt)", &[&upstream[..], &[conf, sums]].concat());
    let failure = package.made_as(&commit, "1.0-1", "sums").await.unwrap_err();
    assert!(failure.text.contains("has another sum of it"), "{failure}");
}

#[tokio::test]
async fn changed_upstream_files_become_an_upstream_version_of_their_own() {
    let package = Package::new();
    let file: Entry = (0o100644, "src/file", b"upstream\n");
    let tagged = package.commit(&quilt(), "3.0 (quilt)", &[file]);
    assert_eq!(package.upstream(&tagged), UpstreamFiles::New);
    git::open(&package.repo())
        .unwrap()
        .reference("refs/tags/upstream/1.0", (&tagged).into(), true, "")
        .unwrap();
    assert_eq!(package.upstream(&tagged), UpstreamFiles::Written);
    let changed: [Entry; 2] = [(0o100644, "src/file", b"changed\n"), (0o100644, "new", b"new\n")];
    let commit = package.commit(&quilt(), "3.0 (quilt)", &changed);
    assert_eq!(package.upstream(&commit), UpstreamFiles::Changed);
    let fewer = package.commit(&quilt(), "3.0 (quilt)", &[(0o100644, "new", b"new\n")]);
    assert_eq!(package.upstream(&fewer), UpstreamFiles::Changed);
    let patch: &[u8] = b"--- a/src/file\n+++ b/src/file\n@@ -1 +1 @@\n-changed\n+patched\n";
    let patches: [Entry; 2] = [
        (0o100644, "debian/patches/series", b"one.patch\n"),
        (0o100644, "debian/patches/one.patch", patch),
    ];
    let commit = package.commit(&quilt(), "3.0 (quilt)", &[&changed[..], &patches[..]].concat());
    let built = format!("1.0+git3.{}-1", &commit.as_str()[..7]);
    let (made, proof) = package.made_as(&commit, &built, "own").await.unwrap();
    assert_eq!(proof.layout, Some(Layout::Unapplied));
    let name = format!("hello_1.0+git3.{}.orig.tar.xz", &commit.as_str()[..7]);
    let listed =
        Command::new("tar").arg("-tf").arg(made.dsc.with_file_name(&name)).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("/src/file") && !listed.contains("debian"), "{listed}");
    let out = package.dir.path().join("out");
    unpack(&made.dsc, &out);
    assert_eq!(std::fs::read(out.join("src/file")).unwrap(), b"patched\n");
    assert_eq!(field(&out, "Version"), built);
}
