//! Commits that make source packages, and commits that do not.

use std::path::{Path, PathBuf};

use git2::{Oid, Repository};

use crate::source::*;
use invirtibuilder_core::config::OrigSource;
use invirtibuilder_core::error::FailureKind;
use invirtibuilder_core::facts::{Bound, Layout, Proof};
use invirtibuilder_git::{self as git, create_package_repo, resolve::resolve};

pub(super) const CHANGELOG: &str = "hello (1.0) unstable; urgency=medium\n\n  * A change.\n\n -- A <a@example.org>  Mon, 02 Jan 2023 03:04:05 +0000\n";
const CONTROL: &str = "Source: hello\nMaintainer: A <a@example.org>\nStandards-Version: 4.6.2\n\nPackage: hello\nArchitecture: all\nDescription: x\n y\n";

/// One entry of a tree: mode, path, content.
pub(super) type Entry<'a> = (i32, &'a str, &'a [u8]);

pub(super) struct Package {
    pub(super) dir: tempfile::TempDir,
}

impl Package {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        create_package_repo(&dir.path().join("hello.git")).unwrap();
        Self { dir }
    }

    pub(super) fn repo(&self) -> PathBuf {
        self.dir.path().join("hello.git")
    }

    pub(super) fn resolve(
        &self,
        text: &str,
    ) -> Result<CommitId, invirtibuilder_core::error::Error> {
        resolve(&git::open(&self.repo()).unwrap(), &"hello".parse().unwrap(), text)
    }

    pub(super) fn commit(&self, changelog: &str, format: &str, more: &[Entry]) -> CommitId {
        let format = format!("{format}\n");
        let mut entries: Vec<Entry> = vec![
            (0o100644, "debian/changelog", changelog.as_bytes()),
            (0o100644, "debian/control", CONTROL.as_bytes()),
            (0o100755, "debian/rules", b"#!/usr/bin/make -f\n"),
            (0o100644, "debian/source/format", format.as_bytes()),
        ];
        entries.retain(|(_, path, _)| more.iter().all(|(_, other, _)| other != path));
        entries.extend(more);
        let repo = Repository::open(self.repo()).unwrap();
        let tree = write(&repo, &entries);
        let me =
            git2::Signature::new("A", "a@example.org", &git2::Time::new(1_700_000_000, 0)).unwrap();
        let tree = repo.find_tree(tree).unwrap();
        let parent =
            repo.find_reference("refs/heads/main").ok().map(|head| head.peel_to_commit().unwrap());
        let parents: Vec<_> = parent.iter().collect();
        repo.commit(Some("refs/heads/main"), &me, &me, "x", &tree, &parents).unwrap().into()
    }

    pub(super) async fn make(
        &self,
        commit: &CommitId,
        name: &str,
        upstream: &[PathBuf],
    ) -> Result<SourcePackage, Failure> {
        self.make_within(1 << 30, commit, name, upstream).await
    }

    pub(super) async fn make_within(
        &self,
        room: u64,
        commit: &CommitId,
        name: &str,
        upstream: &[PathBuf],
    ) -> Result<SourcePackage, Failure> {
        let request = self.request(room, commit, name, upstream)?;
        make(&request, &CancellationToken::new()).await
    }

    pub(super) fn request(
        &self,
        room: u64,
        commit: &CommitId,
        name: &str,
        upstream: &[PathBuf],
    ) -> Result<SourceRequest, Failure> {
        let version = changelog(&git::open(&self.repo())?, commit)?.version;
        self.request_as(room, (commit, &version), name, upstream)
    }

    /// Requests another version than the written one.
    pub(super) fn request_as(
        &self,
        room: u64,
        (commit, version): (&CommitId, &Version),
        name: &str,
        upstream: &[PathBuf],
    ) -> Result<SourceRequest, Failure> {
        let written = changelog(&git::open(&self.repo())?, commit)?.version;
        let pool: Vec<Pooled> = upstream
            .iter()
            .map(|path| Pooled {
                name: path.file_name().unwrap().to_str().unwrap().to_owned(),
                path: path.clone(),
                sha256: invirtibuilder_system::files::digest(path).unwrap().1,
                job: Some(invirtibuilder_core::names::JobId(7)),
            })
            .collect();
        let subject = Subject {
            repo: self.repo(),
            commit: commit.clone(),
            package: "hello".parse().unwrap(),
            version: version.clone(),
            written,
            distro: "trixie".parse().unwrap(),
            why: None,
        };
        let scratch = Some(self.dir.path());
        let orig = &[OrigSource::Pool, OrigSource::PristineTar, OrigSource::Tag];
        let inputs =
            PlanInputs { subject: &subject, pool: &pool, branch: Branch::Now, scratch, orig };
        let plan = plan(&git::open(&self.repo())?, &inputs)?;
        Ok(SourceRequest::on_host(subject, plan, &self.dir.path().join(name), room).unwrap())
    }

    /// Plans, makes and proves.
    pub(super) async fn prove(
        &self,
        commit: &CommitId,
        name: &str,
        upstream: &[PathBuf],
    ) -> Result<Proof, Failure> {
        let request = self.request(1 << 30, commit, name, upstream)?;
        let made = make(&request, &CancellationToken::new()).await?;
        prove(&request, &made, &CancellationToken::new()).await
    }

    /// Runs a shell script in a directory of its own.
    pub(super) fn sh(&self, script: &str) {
        let done = std::process::Command::new("sh")
            .args(["-ec", script])
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", "A")
            .env("GIT_AUTHOR_EMAIL", "a@example.org")
            .env("GIT_COMMITTER_NAME", "A")
            .env("GIT_COMMITTER_EMAIL", "a@example.org")
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Returns an upstream tarball of these files.
    pub(super) fn tarball(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let top = self.dir.path().join("top/hello-1.0");
        let _ = std::fs::remove_dir_all(self.dir.path().join("top"));
        for (path, text) in files {
            let path = top.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        self.sh(&format!("tar -C top --sort=name --mtime=@1 -caf {name} hello-1.0"));
        self.dir.path().join(name)
    }
}

fn write(repo: &Repository, entries: &[Entry]) -> Oid {
    let mut builder = repo.treebuilder(None).unwrap();
    let mut names: Vec<&str> =
        entries.iter().map(|(_, path, _)| path.split('/').next().unwrap()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let inner: Vec<Entry> = entries
            .iter()
            .filter_map(|(mode, path, content)| {
                Some((*mode, path.strip_prefix(name)?.strip_prefix('/')?, *content))
            })
            .collect();
        if inner.is_empty() {
            let (mode, _, content) = entries.iter().find(|(_, path, _)| *path == name).unwrap();
            let id = if *mode == 0o160000 {
                Oid::from_str(&"1".repeat(40)).unwrap()
            } else {
                repo.blob(content).unwrap()
            };
            builder.insert(name, id, *mode).unwrap();
        } else {
            builder.insert(name, write(repo, &inner), 0o040000).unwrap();
        }
    }
    builder.write().unwrap()
}

pub(super) fn unpack(dsc: &Path, to: &Path) {
    let done = std::process::Command::new("dpkg-source")
        .args(["--no-check", "-x"])
        .args([dsc, to])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn a_native_package_comes_out_as_the_commit_has_it_and_twice_the_same() {
    let package = Package::new();
    let crlf = b"one\r\ntwo\r\n$Id$\n";
    let more: [Entry; 7] = [
        (
            0o100644,
            ".gitattributes",
            b"* text eol=lf ident export-subst\nsecret export-ignore\n*.bin filter=evil\n",
        ),
        (0o100644, "crlf.txt", crlf),
        (0o100644, "data.bin", b"\0\x01$Format:%H$"),
        (0o100644, "odd name ä $(touch x)", b"odd"),
        (0o100644, "secret", b"kept"),
        (0o100755, "sub/run", b"#!/bin/sh\n"),
        (0o120000, "sub/up", b"../secret"),
    ];
    let commit = package.commit(CHANGELOG, "3.0 (native)", &more);
    let one = package.make(&commit, "one", &[]).await.unwrap();
    let two = package.make(&commit, "two", &[]).await.unwrap();
    assert_eq!(one.files.len(), 2);
    assert_eq!(one.architectures, ["all"]);
    for (a, b) in one.files.iter().zip(&two.files) {
        assert!(std::fs::read(a).unwrap() == std::fs::read(b).unwrap(), "{} differs", a.display());
    }
    let out = package.dir.path().join("out");
    unpack(&one.dsc, &out);
    for (mode, path, content) in &more {
        if *mode == 0o120000 {
            assert_eq!(std::fs::read_link(out.join(path)).unwrap(), Path::new("../secret"));
        } else {
            assert_eq!(std::fs::read(out.join(path)).unwrap(), *content, "{path}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_a_source_package_is_refused_with_a_sentence() {
    let pointer = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12345\n",
        "7".repeat(64)
    );
    let cases: [(&str, Entry, FailureKind, &str); 9] = [
        ("3.0 (native)", (0o100644, "big", pointer.as_bytes()), FailureKind::Tree, "Git LFS"),
        ("3.0 (native)", (0o160000, "module", b""), FailureKind::Tree, "is a submodule"),
        ("3.0 (native)", (0o120000, "link", b"/etc/passwd"), FailureKind::Tree, "points outside"),
        ("3.0 (native)", (0o120000, "link", b"../x"), FailureKind::Tree, "points outside"),
        (
            "3.0 (native)",
            (0o120000, "link", b"debian/../../x"),
            FailureKind::Tree,
            "points outside",
        ),
        ("3.0 (native)", (0o100644, "new\nline", b""), FailureKind::Tree, "control character"),
        ("3.0 (git)", (0o100644, "x", b""), FailureKind::Format, "'3.0 (git)' is not supported"),
        ("3.0 (quilt)", (0o100644, "x", b""), FailureKind::Format, "has none"),
        (
            "3.0 (native)",
            (0o100644, "debian/control", b"rubbish\n"),
            FailureKind::Tree,
            "debian/control line 1",
        ),
    ];
    for (n, (format, entry, kind, word)) in cases.into_iter().enumerate() {
        let package = Package::new();
        let commit = package.commit(CHANGELOG, format, &[entry]);
        let failure = package.make(&commit, &n.to_string(), &[]).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.text.contains(word), "{failure}");
    }
}

#[tokio::test]
async fn upstream_comes_from_the_archive_or_from_pristine_tar_or_is_asked_for() {
    let package = Package::new();
    let changelog = CHANGELOG.replace("(1.0)", "(1:1.0-1)");
    let commit = package.commit(&changelog, "3.0 (quilt)", &[(0o100644, "README", b"upstream\n")]);
    let failure = package.make(&commit, "none", &[]).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Upstream);
    assert!(failure.text.contains("hello_1.0.orig.tar.*"), "{failure}");

    let sh = |script: &str| package.sh(script);
    sh("mkdir hello-1.0; echo upstream > hello-1.0/README; tar -czf hello_1.0.orig.tar.gz hello-1.0
        mkdir lib; echo more > lib/file; tar -cJf hello_1.0.orig-lib.tar.xz lib; echo signature > hello_1.0.orig.tar.gz.asc");
    let tarball = package.dir.path().join("hello_1.0.orig.tar.gz");
    let made = package.make(&commit, "archive", std::slice::from_ref(&tarball)).await.unwrap();
    assert!(made.files.iter().any(|file| file.ends_with("hello_1.0-1.debian.tar.xz")));

    sh("git init -q -b main work; cd work; cp ../hello-1.0/README .; git add .; git commit -qm x; git branch upstream
        git rm -q README; mkdir lib; cp ../lib/file lib; cd ..; cd work; git checkout -q -b lib-upstream; cp ../lib/file .; git add file
        git commit -qm x; pristine-tar commit ../hello_1.0.orig-lib.tar.xz lib-upstream
        pristine-tar commit -s ../hello_1.0.orig.tar.gz.asc ../hello_1.0.orig.tar.gz upstream
        git push -q ../hello.git pristine-tar upstream lib-upstream");
    let more: [Entry; 2] = [(0o100644, "README", b"upstream\n"), (0o100644, "lib/file", b"more\n")];
    let commit = package.commit(&changelog, "3.0 (quilt)", &more);
    let made = package.make(&commit, "pristine", &[]).await.unwrap();
    let names: Vec<_> =
        made.files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    for name in ["hello_1.0.orig.tar.gz", "hello_1.0.orig-lib.tar.xz", "hello_1.0.orig.tar.gz.asc"]
    {
        assert!(names.contains(&name), "{names:?}");
        let (ours, theirs) = (made.dsc.with_file_name(name), package.dir.path().join(name));
        assert!(std::fs::read(ours).unwrap() == std::fs::read(theirs).unwrap(), "{name} differs");
    }
}

#[tokio::test]
async fn what_takes_too_much_room_is_ended_before_it_has_it() {
    let package = Package::new();
    let zeros = vec![0; 1 << 20];
    let names: Vec<String> = (0..20).map(|n| format!("zeros-{n}")).collect();
    let many: Vec<Entry> = names.iter().map(|name| (0o100644, &name[..], &zeros[..])).collect();
    let commit = package.commit(CHANGELOG, "3.0 (native)", &many);
    let failure = package.make_within(10 << 20, &commit, "many", &[]).await.unwrap_err();
    assert!(
        failure.kind == FailureKind::Tree && failure.text.contains("more than 10 MiB"),
        "{failure}"
    );
    assert!(
        !package.dir.path().join("many/job/source/hello-1.0").exists(),
        "it is written all the same"
    );
    package.make(&commit, "within", &[]).await.unwrap();

    // A tarball of 600 KiB that holds 600 MiB.
    let script = "mkdir hello-1.0; for n in 1 2 3 4 5 6; do truncate -s 100M hello-1.0/$n; done; tar -czf hello_1.0.orig.tar.gz hello-1.0
        rm -r hello-1.0";
    let done = std::process::Command::new("sh")
        .args(["-ec", script])
        .current_dir(package.dir.path())
        .status();
    assert!(done.unwrap().success());
    let commit = package.commit(
        &CHANGELOG.replace("(1.0)", "(1.0-1)"),
        "3.0 (quilt)",
        &[(0o100644, "README", b"x")],
    );
    let tarball = package.dir.path().join("hello_1.0.orig.tar.gz");
    let failure = package.make_within(200 << 20, &commit, "bomb", &[tarball]).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::SourceDisk, "{failure}");
}

#[tokio::test]
async fn format_1_0_makes_a_diff() {
    let package = Package::new();
    let changelog = CHANGELOG.replace("(1.0)", "(1.0-1)");
    let commit = package.commit(&changelog, "1.0", &[(0o100644, "README", b"upstream\n")]);
    let script = "mkdir hello-1.0; echo upstream > hello-1.0/README; tar -czf hello_1.0.orig.tar.gz hello-1.0";
    let done = std::process::Command::new("sh")
        .args(["-ec", script])
        .current_dir(package.dir.path())
        .status();
    assert!(done.unwrap().success());
    let tarball = package.dir.path().join("hello_1.0.orig.tar.gz");
    let made = package.make(&commit, "one", &[tarball]).await.unwrap();
    assert!(
        made.files.iter().any(|file| file.ends_with("hello_1.0-1.diff.gz")),
        "{:?}",
        made.files
    );
}

#[test]
fn only_a_name_or_an_id_is_a_commit() {
    let package = Package::new();
    let ask = |text: &str| package.resolve(text).map_err(|error| error.to_string());
    assert!(ask("main").unwrap_err().contains("is empty"));
    let a = package.commit(CHANGELOG, "3.0 (native)", &[]);
    let repo = Repository::open(package.repo()).unwrap();
    let object = repo.find_object((&a).into(), None).unwrap();
    repo.tag("v1", &object, &object.as_commit().unwrap().author().to_owned(), "x", false).unwrap();
    let blob = repo.find_object(repo.blob(b"x").unwrap(), None).unwrap();
    repo.tag_lightweight("blob", &blob, false).unwrap();
    repo.tag_lightweight("main", &object, false).unwrap();
    for text in [a.as_str(), a.short(), "v1"] {
        assert_eq!(ask(text).unwrap(), a, "{text}");
    }
    assert!(ask("main").unwrap_err().contains("a branch and a tag"));
    assert!(ask("blob").unwrap_err().contains("is not a commit"));
    assert!(ask(&"0".repeat(40)).unwrap_err().contains("there is no commit"));
    assert!(ask("abc").unwrap_err().contains("needs 4 digits or more"));
    assert!(ask("xyz").unwrap_err().contains("there is no commit"));
    let long = "a".repeat(100_000);
    for bad in [
        "",
        "--upload-pack=x",
        "HEAD@{1}",
        "main^{tree}",
        ":/x",
        "a\0b",
        "a\nb",
        "../x",
        "nothing",
        "123",
        &long,
    ] {
        let error = ask(bad).unwrap_err();
        assert!(error.len() < 300 && !error.contains('\n'), "{error}");
    }
}

#[test]
fn digits_that_are_a_name_too_mean_one_commit_or_none() {
    let package = Package::new();
    let ask = |text: &str| package.resolve(text).map_err(|error| error.to_string());
    let a = package.commit(CHANGELOG, "3.0 (native)", &[]);
    let b = package.commit(CHANGELOG, "3.0 (native)", &[(0o100644, "more", b"x")]);
    let repo = Repository::open(package.repo()).unwrap();
    let put = |name: &str, commit: &CommitId| {
        drop(repo.reference(name, commit.into(), true, "").unwrap());
    };
    let away = |name: &str| repo.find_reference(name).unwrap().delete().unwrap();
    let (id, digits) = (a.as_str(), &a.as_str()[..7]);
    for kind in ["branch", "tag"] {
        let place = if kind == "branch" { "refs/heads/" } else { "refs/tags/" };
        for text in
            [digits.to_owned(), digits[..4].to_owned(), digits.to_uppercase(), id[..39].to_owned()]
        {
            let name = format!("{place}{text}");
            put(&name, &b);
            let error = ask(&text).unwrap_err();
            for word in [&text, id, kind, b.as_str(), "use the full id"] {
                assert!(error.contains(word), "{word}: {error}");
            }
            put(&name, &a);
            assert_eq!(ask(&text).unwrap(), a, "it leads there");
            away(&name);
            assert_eq!(ask(&text).unwrap(), a);
        }
        // A full id is that commit, whatever has its name; what begins no id is a name.
        put(&format!("{place}{id}"), &b);
        assert_eq!((ask(id).unwrap(), ask(&id.to_uppercase()).unwrap()), (a.clone(), a.clone()));
        away(&format!("{place}{id}"));
        let free = ["beef", "cafe", "dead"]
            .into_iter()
            .find(|text| !id.starts_with(text) && !b.as_str().starts_with(text));
        put(&format!("{place}{}", free.unwrap()), &b);
        put(&format!("{place}{}", &digits[..3]), &b);
        assert_eq!(
            (ask(free.unwrap()).unwrap(), ask(&digits[..3]).unwrap()),
            (b.clone(), b.clone())
        );
        away(&format!("{place}{}", free.unwrap()));
        away(&format!("{place}{}", &digits[..3]));
    }
    let blob = repo.blob(b"x").unwrap();
    repo.reference(&format!("refs/tags/{digits}"), blob, true, "").unwrap();
    assert!(ask(digits).unwrap_err().contains("leads to no commit"));
    away(&format!("refs/tags/{digits}"));

    // Files and trees of the same digits do not count; commits do.
    let four = &id[..4];
    let alike = |kind, text: &str| {
        Oid::hash_object(kind, text.as_bytes()).unwrap().to_string().starts_with(four)
    };
    let text =
        (0..).map(|n| format!("{n}\n")).find(|text| alike(git2::ObjectType::Blob, text)).unwrap();
    repo.blob(text.as_bytes()).unwrap();
    assert_eq!((ask(four).unwrap(), ask(&four.to_uppercase()).unwrap()), (a.clone(), a.clone()));
    let head = format!(
        "tree {}\nauthor A <a> 1 +0000\ncommitter A <a> ",
        repo.find_commit((&a).into()).unwrap().tree_id()
    );
    let commit = |n: u32| format!("{head}{n} +0000\n\nx\n");
    let twin = (0..).map(commit).find(|text| alike(git2::ObjectType::Commit, text)).unwrap();
    repo.odb().unwrap().write(git2::ObjectType::Commit, twin.as_bytes()).unwrap();
    assert!(ask(four).unwrap_err().contains("stands for several commits"));
    assert_eq!(ask(&id[..39]).unwrap(), a);
}

#[test]
fn symbolic_refs_are_followed() {
    let package = Package::new();
    let ask = |text: &str| package.resolve(text).map_err(|error| error.to_string());
    let a = package.commit(CHANGELOG, "3.0 (native)", &[]);
    let repo = Repository::open(package.repo()).unwrap();
    repo.reference("refs/tags/v1", (&a).into(), false, "").unwrap();
    for (name, to) in [
        ("refs/heads/master", "refs/heads/main"),
        ("refs/heads/trunk", "refs/heads/master"),
        ("refs/tags/latest", "refs/tags/v1"),
        ("refs/heads/dangling", "refs/heads/gone"),
        ("refs/heads/round", "refs/heads/about"),
        ("refs/heads/about", "refs/heads/round"),
    ] {
        repo.reference_symbolic(name, to, false, "").unwrap();
    }
    for text in ["master", "trunk", "latest"] {
        assert_eq!(ask(text).unwrap(), a, "{text}");
    }
    for text in ["dangling", "round"] {
        assert!(ask(text).unwrap_err().contains("there is no commit, branch or tag"), "{text}");
    }
}

const REVISION: &str = "(1.0-1)";

fn with_revision() -> String {
    CHANGELOG.replace("(1.0)", REVISION)
}

#[tokio::test]
async fn what_dpkg_leaves_out_by_default_is_in_a_native_package() {
    let package = Package::new();
    let names = [
        "lib/x.so",
        "a.o",
        ".gitignore",
        "CVS/Root",
        "old~",
        ".x.swp",
        "{arch}/y",
        "core.1",
        "z.la",
    ];
    let more: Vec<Entry> =
        names.iter().map(|name| (0o100644, *name, &b"# content\n"[..])).collect();
    let proof =
        package.prove(&package.commit(CHANGELOG, "3.0 (native)", &more), "all", &[]).await.unwrap();
    assert_eq!((proof.layout, proof.notes.len()), (Some(Layout::Native), 0), "{:?}", proof.notes);

    // What the package asks for itself is done, and said.
    let mut asks = more.clone();
    asks.push((0o100644, "debian/source/options", b"tar-ignore=*.so\n"));
    asks.push((0o100644, "debian/files", b"x\n"));
    let commit = package.commit(CHANGELOG, "3.0 (native)", &asks);
    let proof = package.prove(&commit, "asked", &[]).await.unwrap();
    assert!(
        proof.notes.iter().any(|note| note.contains("tar-ignore") && note.contains("lib/x.so")),
        "{:?}",
        proof.notes
    );
    assert!(
        proof.notes.iter().any(|note| note.contains("always") && note.contains("debian/files")),
        "{:?}",
        proof.notes
    );
}

#[tokio::test]
async fn a_tarball_holds_what_the_commit_has_or_is_bound_by_it() {
    let package = Package::new();
    let tarball = package.tarball(
        "hello_1.0.orig.tar.gz",
        &[("README", "hi\n"), ("GNUmakefile", "all:\n"), ("debian/x", "x")],
    );
    let pool = [tarball.clone()];
    let readme: Entry = (0o100644, "README", b"hi\n");
    let changelog = with_revision();
    let failure = package
        .prove(&package.commit(&changelog, "3.0 (quilt)", &[readme]), "more", &pool)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Differs);
    let sum = invirtibuilder_system::files::digest(&tarball).unwrap().1;
    let line = format!("{sum}  hello_1.0.orig.tar.gz");
    assert!(failure.text.contains("GNUmakefile") && failure.text.contains(&line), "{failure}");

    let sums = format!("{line}\n");
    let bound: [Entry; 2] = [readme, (0o100644, SUMS, sums.as_bytes())];
    let proof = package
        .prove(&package.commit(&changelog, "3.0 (quilt)", &bound), "bound", &pool)
        .await
        .unwrap();
    assert_eq!(proof.extra, ["GNUmakefile"]);
    assert_eq!(proof.bound["hello_1.0.orig.tar.gz"], Bound::Sum);
    // The tarball is all there is of upstream.
    let bare = package.commit(&changelog, "3.0 (quilt)", &bound[1..]);
    let proof = package.prove(&bare, "bare", &pool).await.unwrap();
    assert_eq!((proof.layout, proof.extra.len()), (Some(Layout::Bare), 2));
    let bare = package.commit(&changelog, "3.0 (quilt)", &[]);
    assert_eq!(
        package.prove(&bare, "unbound", &pool).await.unwrap_err().kind,
        FailureKind::Differs
    );
}

#[tokio::test]
async fn layouts_are_told_apart() {
    let package = Package::new();
    let tarball = package.tarball("hello_1.0.orig.tar.gz", &[("README", "hi\n"), ("gone", "x\n")]);
    let pool = [tarball];
    let patch = b"--- a/README\n+++ b/README\n@@ -1 +1 @@\n-hi\n+hello\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n\
                  --- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+new\n";
    let patches: [Entry; 2] = [
        (0o100644, "debian/patches/series", b"# all\none.patch\n"),
        (0o100644, "debian/patches/one.patch", patch),
    ];
    let changelog = with_revision();
    let commit =
        |more: &[Entry]| package.commit(&changelog, "3.0 (quilt)", &[&patches[..], more].concat());
    let layout = async |commit: CommitId, name: &str| {
        package.prove(&commit, name, &pool).await.map(|proof| proof.layout.unwrap())
    };
    let old: [Entry; 2] = [(0o100644, "README", b"hi\n"), (0o100644, "gone", b"x\n")];
    let new: [Entry; 2] = [(0o100644, "README", b"hello\n"), (0o100644, "new", b"new\n")];
    assert_eq!(layout(commit(&old), "unapplied").await, Ok(Layout::Unapplied));
    assert_eq!(layout(commit(&new), "applied").await, Ok(Layout::Applied));
    // Neither the one nor the other.
    let failure =
        layout(commit(&[new[0], old[1], (0o100644, "other", b"x")]), "neither").await.unwrap_err();
    assert!(failure.kind == FailureKind::Layout && failure.text.contains("other"), "{failure}");
    let half = layout(commit(&[new[0], old[1]]), "half").await.unwrap_err();
    assert!([FailureKind::DpkgSource, FailureKind::Differs].contains(&half.kind), "{half}");
    // Files of version control that the tarball never had.
    let mut ignored = new.to_vec();
    ignored.push((0o100644, "sub/.gitignore", b"*.o\n"));
    let commit = commit(&ignored);
    let proof = package.prove(&commit, "vcs", &pool).await.unwrap();
    assert!(proof.notes.iter().any(|note| note.contains("sub/.gitignore")), "{:?}", proof.notes);
}

#[tokio::test]
async fn a_generated_patch_has_the_commits_date_and_makes_the_commit() {
    let package = Package::new();
    let tarball = package.tarball("hello_1.0.orig.tar.gz", &[("README", "hi\n")]);
    let pool = [tarball];
    for (name, options) in [("auto", "auto-commit\n"), ("single", "single-debian-patch\n")] {
        let more: [Entry; 2] = [
            (0o100644, "README", b"changed\n"),
            (0o100644, "debian/source/options", options.as_bytes()),
        ];
        let commit = package.commit(&with_revision(), "3.0 (quilt)", &more);
        let proof = package.prove(&commit, name, &pool).await.unwrap();
        assert_eq!(proof.layout, Some(Layout::Applied));
        let made = package.make(&commit, &format!("{name}-out"), &pool).await.unwrap();
        let out = package.dir.path().join(format!("{name}-tree"));
        unpack(&made.dsc, &out);
        assert_eq!(std::fs::read_to_string(out.join("README")).unwrap(), "changed\n");
        let patches = std::fs::read_dir(out.join("debian/patches")).unwrap().flatten();
        let patch = patches
            .map(|entry| entry.path())
            .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("debian-changes"));
        let text = std::fs::read_to_string(patch.unwrap()).unwrap();
        assert_eq!(text.contains("Last-Update: 2023-01-02"), name == "auto", "{text}");
    }
}

#[tokio::test]
async fn pool_and_branch_have_one_tarball_or_the_job_that_brought_the_other_is_named() {
    let package = Package::new();
    let files = [("README", "hi\n")];
    let first = package.tarball("hello_1.0.orig.tar.gz", &files);
    package.sh("git init -q -b main work; cd work; echo hi > README; git add .; git commit -qm x; git branch upstream
        pristine-tar commit ../hello_1.0.orig.tar.gz upstream; git push -q ../hello.git pristine-tar upstream");
    let commit = package.commit(&with_revision(), "3.0 (quilt)", &[(0o100644, "README", b"hi\n")]);
    package.prove(&commit, "same", std::slice::from_ref(&first)).await.unwrap();
    package.sh("mkdir other; gzip -dc hello_1.0.orig.tar.gz | gzip -9n > other/hello_1.0.orig.tar.gz; echo >> other/hello_1.0.orig.tar.gz");
    let other = package.dir.path().join("other/hello_1.0.orig.tar.gz");
    let failure = package.prove(&commit, "other", &[other]).await.unwrap_err();
    assert!(
        failure.kind == FailureKind::Upstream && failure.text.contains("brought by job 7"),
        "{failure}"
    );

    // What is fixed stays, whatever becomes of the branch; what is not there is said.
    let request = package.request(1 << 30, &commit, "fixed", &[]).unwrap();
    pin(&package.repo(), &request.plan).unwrap();
    let refs = |package: &Package| {
        Repository::open(package.repo())
            .unwrap()
            .references_glob("refs/invirt/pin/*")
            .unwrap()
            .count()
    };
    assert_eq!(refs(&package), 2);
    package.sh("cd hello.git; git update-ref -d refs/heads/pristine-tar; git update-ref -d refs/heads/upstream; git gc -q --prune=now");
    let made = make(&request, &CancellationToken::new()).await.unwrap();
    assert_eq!(made.tarballs[0].1, invirtibuilder_system::files::digest(&first).unwrap().1);
    unpin(&package.repo(), &[request.plan.branch.clone().unwrap()]).unwrap();
    assert_eq!(refs(&package), 2, "another job needs them");
    unpin(&package.repo(), &[]).unwrap();
    assert_eq!(refs(&package), 0);
}

#[tokio::test]
async fn a_signature_binds_a_tarball() {
    let package = Package::new();
    let tarball = package
        .tarball("hello_1.0.orig.tar.gz", &[("README", "hi\n"), ("configure", "#!/bin/sh\n")]);
    package.sh("mkdir -m 700 gpg; export GNUPGHOME=$PWD/gpg; exec 2>/dev/null
        gpg --batch --quiet --passphrase '' --quick-generate-key up@example.org ed25519 sign never
        gpg --armor --export > key.asc; gpg --batch --armor --detach-sign hello_1.0.orig.tar.gz; gpgconf --kill all");
    let read = |name: &str| std::fs::read(package.dir.path().join(name)).unwrap();
    let key = read("key.asc");
    let more: [Entry; 2] =
        [(0o100644, "README", b"hi\n"), (0o100644, "debian/upstream/signing-key.asc", &key)];
    let commit = package.commit(&with_revision(), "3.0 (quilt)", &more);
    let pool = [tarball.clone(), package.dir.path().join("hello_1.0.orig.tar.gz.asc")];
    let proof = package.prove(&commit, "signed", &pool).await.unwrap();
    assert_eq!(
        (&proof.extra[..], proof.bound["hello_1.0.orig.tar.gz"]),
        (&["configure".to_owned()][..], Bound::Signature)
    );
    // Another tarball under the same signature.
    package.tarball("hello_1.0.orig.tar.gz", &[("README", "hi\n"), ("configure", "#!/bin/rm\n")]);
    let failure = package.prove(&commit, "forged", &pool).await.unwrap_err();
    assert!([FailureKind::Differs, FailureKind::DpkgSource].contains(&failure.kind), "{failure}");
    let failure = package
        .prove(&package.commit(&with_revision(), "3.0 (quilt)", &more[..1]), "keyless", &pool)
        .await;
    assert_eq!(failure.unwrap_err().kind, FailureKind::Differs);
}

#[tokio::test]
async fn a_diff_holds_no_modes_and_no_links() {
    let package = Package::new();
    let tarball = package.tarball("hello_1.0.orig.tar.gz", &[("README", "hi\n")]);
    let pool = [tarball];
    let readme: Entry = (0o100644, "README", b"changed\n");
    let commit =
        |more: &[Entry]| package.commit(&with_revision(), "1.0", &[&[readme][..], more].concat());
    assert_eq!(
        package.prove(&commit(&[]), "fine", &pool).await.unwrap().layout,
        Some(Layout::Diff)
    );
    for (name, entry) in [
        ("mode", (0o100755, "debian/tests/run", &b"#!/bin/sh\n"[..])),
        ("link", (0o120000, "debian/x", b"rules")),
        ("empty", (0o100644, "empty", b"")),
    ] {
        let failure = package.prove(&commit(&[entry]), name, &pool).await.unwrap_err();
        assert!([FailureKind::Layout, FailureKind::Differs].contains(&failure.kind), "{failure}");
        assert!(failure.text.contains(entry.1), "{failure}");
    }
    let failure = package
        .prove(
            &commit(&[]),
            "xz",
            &[package.tarball("hello_1.0.orig.tar.xz", &[("README", "hi\n")])],
        )
        .await;
    assert!(failure.unwrap_err().text.contains(".orig.tar.gz only"));
    assert_eq!(
        package.prove(&commit(&[]), "none", &[]).await.unwrap().layout,
        Some(Layout::NativeOne)
    );
}

#[test]
fn what_dpkg_does_not_take_is_named_as_what_it_is() {
    let package = Package::new();
    let commit = package.commit(&with_revision(), "3.0 (quilt)", &[(0o100644, "README", b"hi\n")]);
    for suffix in ["zst", "lz"] {
        package.sh(&format!(
            "rm -rf {suffix}; git init -q {suffix}; cd {suffix}; echo x > hello_1.0.orig.tar.{suffix}.delta
             git add .; git commit -qm x; git push -q -f ../hello.git HEAD:pristine-tar"
        ));
        let failure = package.request(1 << 30, &commit, suffix, &[]).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Upstream);
        assert!(
            failure
                .text
                .contains(&format!("hello_1.0.orig.tar.{suffix} is compressed by '{suffix}'")),
            "{failure}"
        );
    }
}
