//! Tests what apt makes of the archive, and what the pool does not take.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::testing::{Binary, artifacts};
use crate::*;
use invirtibuilder_core::config::Automatic;
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::error::FailureKind;
use invirtibuilder_core::names::Suite;
use invirtibuilder_core::stanza;
use invirtibuilder_store::contents;
use invirtibuilder_store::contents::{Part, PartKind};
use invirtibuilder_store::{Record, pool};

struct Fixture {
    keep: u32,
    dir: tempfile::TempDir,
    archive: Archive,
    record: Record,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.archive.root = dir.path().join("apt");
        let key = dir.path().join("key.asc");
        config.archive.signing_key = vec![SigningKey::File(key.clone())];
        fs::create_dir(&config.archive.root).unwrap();
        Archive::generate_key(&key, "Test").unwrap();
        assert!(Archive::generate_key(&key, "Test").is_err(), "a key is never overwritten");
        let archive = Archive::open(&config, &DomainName::main()).unwrap();
        archive.publish_key().unwrap();
        let record = Record::open(&dir.path().join("db")).unwrap();
        Self { keep: 1, dir, archive, record }
    }

    fn spec(&self, suite: &str) -> SuiteSpec {
        SuiteSpec {
            keep: self.keep,
            description: None,
            codename: suite.parse().unwrap(),
            automatic: Automatic::Always,
            suite: suite.parse().unwrap(),
            components: vec!["main".parse().unwrap(), "contrib".parse().unwrap()],
            architectures: vec!["amd64".parse().unwrap()],
        }
    }

    fn artifacts(&self, source: &str, version: &str, binaries: &[Binary]) -> Admission {
        Admission {
            dir: artifacts(self.dir.path(), source, version, binaries),
            source: source.parse().unwrap(),
            version: version.parse().unwrap(),
            components: self.spec("x").components,
            architectures: self.spec("x").architectures,
            section: None,
            suite: "stable".parse().unwrap(),
            changelog: format!("{source} ({version}) unstable; urgency=medium\n").into_bytes(),
        }
    }

    fn admit(&mut self, admission: &Admission) -> Result<Content, Failure> {
        let mut admitted = Archive::examine(admission)?;
        self.archive.fits(self.record.db(), &mut admitted)?;
        let domain = DomainName::main();
        self.record.write(|tx| {
            admitted.content.paths().try_for_each(|path| pool::intend(tx, &domain, path))
        })?;
        let unsynced = Unsynced::default();
        self.archive.store(&admitted, &unsynced)?;
        unsynced.sync()?;
        Ok(admitted.content)
    }

    fn publish(&mut self, suite: &str, put: Vec<Content>) -> Result<i64, Failure> {
        let changes: Vec<SuiteChange> = put.into_iter().map(SuiteChange::Put).collect();
        let prepared = self.archive.prepare(self.record.db(), &self.spec(suite), &changes)?;
        if !prepared.is_empty() {
            self.record.write(|tx| Archive::record(tx, &prepared, "test"))?;
            self.archive.flip(prepared.suite(), prepared.generation())?;
        }
        Ok(prepared.generation())
    }

    fn publish_new(
        &mut self,
        suite: &str,
        source: &str,
        version: &str,
        binaries: &[Binary],
    ) -> Result<i64, Failure> {
        let content = self.admit(&self.artifacts(source, version, binaries))?;
        self.publish(suite, vec![content])
    }

    /// Runs apt-get with a state of its own, and returns what it printed. apt-get must have no
    /// complaint.
    fn apt(&self, suite: &str, args: &[&str]) -> String {
        let home = self.dir.path().join("home");
        fs::create_dir_all(home.join("lists/partial")).unwrap();
        fs::create_dir_all(home.join("cache/archives/partial")).unwrap();
        let root = self.dir.path().join("apt");
        let line = format!(
            "[signed-by={0}/archive-key.asc arch=amd64] file://{0} {suite} main contrib\n",
            root.display()
        );
        fs::write(home.join("sources.list"), format!("deb {line}deb-src {line}")).unwrap();
        fs::write(home.join("status"), "").unwrap();
        let option = |name: &str, value: &str| format!("-o{name}={value}");
        let done = Command::new("apt-get")
            .args([
                option("Dir::State", home.to_str().unwrap()),
                option("Dir::State::lists", home.join("lists").to_str().unwrap()),
                option("Dir::State::status", home.join("status").to_str().unwrap()),
                option("Dir::Cache", home.join("cache").to_str().unwrap()),
                option("Dir::Etc::SourceList", home.join("sources.list").to_str().unwrap()),
                option("Dir::Etc::SourceParts", "/dev/null"),
                option("Dir::Etc::Parts", "/dev/null"),
                option("Dir::Etc::Main", "/dev/null"),
                option("Dir::Etc::Preferences", "/dev/null"),
                option("Dir::Etc::PreferencesParts", "/dev/null"),
                option("APT::Architecture", "amd64"),
                option("APT::Architectures", "amd64"),
                option("APT::Sandbox::User", "root"),
                option("Debug::NoLocking", "1"),
            ])
            .args(args)
            .current_dir(&home)
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        assert!(
            done.status.success() && !text.contains("\nW:") && !text.contains("\nE:"),
            "apt-get {args:?}:\n{text}"
        );
        text
    }

    fn packages(&self, suite: &str) -> String {
        let index = self.archive.dists().join(suite).join("main/binary-amd64/Packages.gz");
        std::io::read_to_string(flate2::read::MultiGzDecoder::new(fs::File::open(index).unwrap()))
            .unwrap()
    }
}

#[test]
fn apt_reads_an_empty_suite_and_then_what_was_published() {
    let mut archive = Fixture::new();
    archive.publish("stable", Vec::new()).unwrap();
    archive.apt("stable", &["update"]);
    let more = "Section: contrib/misc\n";
    archive
        .publish_new(
            "stable",
            "hello",
            "1.0",
            &[("hello", "amd64", ""), ("hello-doc", "all", more)],
        )
        .unwrap();
    archive.publish_new("stable", "zebra", "1:2.0", &[]).unwrap_err();
    archive.apt("stable", &["update"]);
    archive.apt("stable", &["download", "hello=1.0", "hello-doc=1.0"]);
    archive.apt("stable", &["source", "--download-only", "hello=1.0"]);
    let home = archive.dir.path().join("home");
    for file in
        ["hello_1.0_amd64.deb", "hello-doc_1.0_all.deb", "hello_1.0.dsc", "hello_1.0.tar.xz"]
    {
        assert!(home.join(file).exists(), "{file}");
    }
    assert!(archive.packages("stable").contains("Description: x\n first\n .\n  verbatim\n"));
    archive.publish_new("stable", "hello", "2.0", &[("hello", "amd64", "")]).unwrap();
    archive.apt("stable", &["update"]);
    assert!(archive.apt("stable", &["download", "hello"]).contains("2.0"));
    // A suite shows what the record says; the pool keeps the rest.
    assert!(!archive.packages("stable").contains("1.0"));
    assert!(archive.dir.path().join("apt/pool/main/h/hello/hello_1.0_amd64.deb").exists());
    assert!(archive.dir.path().join("apt/pool/contrib/h/hello/hello-doc_1.0_all.deb").exists());
}

#[test]
fn a_version_is_shown_in_another_suite_without_its_files() {
    let mut archive = Fixture::new();
    archive.publish_new("stable", "hello", "1.0", &[("hello", "amd64", "")]).unwrap();
    let id = Identity::main("hello".parse().unwrap(), "1.0".parse().unwrap());
    let content = contents::content(archive.record.db(), &id).unwrap().unwrap();
    assert_eq!(content.changes, "changes/stable/hello_1.0/hello_1.0_amd64.changes");
    archive.publish("testing", vec![content]).unwrap();
    archive.apt("testing", &["update"]);
    archive.apt("testing", &["download", "hello=1.0"]);
}

#[test]
fn many_packages_come_out_in_order_whatever_the_order_they_came_in() {
    let mut archive = Fixture::new();
    archive.archive.states = 0;
    let content = |n: usize| {
        let name = format!("pkg{:04}", n * 7919 % 1500);
        let stanza = format!("Package: {name}\nVersion: 1\nArchitecture: amd64\n");
        let part = |kind, architecture: &str| Part {
            kind,
            name: name.clone(),
            architecture: architecture.into(),
            component: "main".into(),
            stanza: stanza.clone(),
        };
        Content {
            id: Identity::main(name.parse().unwrap(), "1".parse().unwrap()),
            changes: "x".into(),
            parts: vec![part(PartKind::Dsc, ""), part(PartKind::Deb, "amd64")],
            files: Vec::new(),
            beside: Vec::new(),
        }
    };
    // By hundreds, then one by one.
    (0..14).for_each(|n| {
        archive.publish("stable", (100 * n..100 * (n + 1)).map(content).collect()).unwrap();
    });
    let last = (1400..1420).map(|n| archive.publish("stable", vec![content(n)]).unwrap()).last();
    assert_eq!(last, Some(34));
    let text = archive.packages("stable");
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("Package: ")).collect();
    assert!(names.len() == 1420 && names.is_sorted(), "{}", names.len());
    let dir = archive.archive.dists().join("stable/main/binary-amd64");
    for (tool, file) in [("zcat", "Packages.gz"), ("xzcat", "Packages.xz")] {
        let out = Command::new(tool).arg(dir.join(file)).output().unwrap();
        assert!(out.status.success() && out.stdout == text.as_bytes(), "{file}");
    }
    archive.apt("stable", &["update"]);
    // An uncompressed file beside the others would be taken in their place.
    assert!(!dir.join("Packages").exists());
    // Readers who are late find the files of all that was shown lately, and nothing is kept for
    // ever.
    let hashes = || fs::read_dir(dir.join("by-hash/SHA256")).unwrap().count();
    assert_eq!(hashes(), 3 * 34);
    archive.record.db().execute("UPDATE snapshot SET at = 0", []).unwrap();
    archive.publish("stable", vec![content(1420)]).unwrap();
    assert!((3 * 8..=3 * 9).contains(&hashes()), "{}", hashes());
    let suites = ["stable".parse().unwrap()];
    archive.archive.sweep(archive.record.db(), &suites).unwrap();
    let generations =
        fs::read_dir(archive.archive.dists().join(".generations/stable")).unwrap().count();
    assert_eq!(generations, 2);
    // HTTP tells two states of a file apart by whole seconds.
    let time = |n: i64| {
        let file = archive.archive.dists().join(format!(".generations/stable/{n}/InRelease"));
        fs::metadata(file).unwrap().modified().unwrap()
    };
    assert!(time(35) >= time(34) + Duration::from_secs(1));
}

#[test]
fn a_suite_whose_description_changes_is_written_anew() {
    let mut archive = Fixture::new();
    archive.publish_new("stable", "hello", "1.0", &[("hello", "all", "")]).unwrap();
    assert_eq!(
        archive.publish("stable", Vec::new()).unwrap(),
        2,
        "nothing to do: the number of the next one"
    );
    assert_eq!(archive.archive.current(&"stable".parse().unwrap()).unwrap(), Some(1));
    archive.archive.label = "Another".into();
    archive.publish("stable", Vec::new()).unwrap();
    assert_eq!(archive.archive.current(&"stable".parse().unwrap()).unwrap(), Some(2));
    assert!(archive.packages("stable").contains("Package: hello\n"));
}

#[test]
fn flips_go_forward_only_and_a_stranger_in_the_way_is_named() {
    let mut archive = Fixture::new();
    let suite = "stable".parse().unwrap();
    archive.publish_new("stable", "hello", "1.0", &[("hello", "all", "")]).unwrap();
    archive.publish_new("stable", "hello", "2.0", &[("hello", "all", "")]).unwrap();
    archive.archive.flip(&suite, 1).unwrap();
    assert_eq!(archive.archive.current(&suite).unwrap(), Some(2));
    fs::create_dir(archive.archive.dists().join("other")).unwrap();
    let error = archive.publish("other", Vec::new()).unwrap_err();
    assert!(error.text.contains("in the way"), "{error}");
}

#[test]
fn a_generation_that_the_record_does_not_know_is_not_overwritten() {
    let mut archive = Fixture::new();
    archive.publish_new("stable", "hello", "1.0", &[("hello", "all", "")]).unwrap();
    archive.record = Record::open(&archive.dir.path().join("restored")).unwrap();
    let failure = archive.publish("stable", Vec::new()).unwrap_err();
    assert!(failure.kind == FailureKind::Conflict && failure.text.contains("backup"), "{failure}");
    assert!(archive.packages("stable").contains("hello"));
}

#[test]
fn a_build_that_returns_something_else_is_refused() {
    let mut archive = Fixture::new();
    type Spoil = fn(&mut Admission);
    let cases: [(Spoil, &str); 17] = [
        (|a| a.version = "2.0".parse().unwrap(), "no hello_2.0.dsc"),
        (|a| fs::remove_file(a.dir.join("hello_1.0_amd64.changes")).unwrap(), "no .changes"),
        (|a| fs::write(a.dir.join("stray"), "x").unwrap(), "stray, which no .changes lists"),
        (|a| fs::write(a.dir.join("hello_1.0_amd64.deb"), "x").unwrap(), "size or hash differs"),
        (|a| fs::remove_file(a.dir.join("hello_1.0_amd64.deb")).unwrap(), "but it did not"),
        (|a| symlink("/etc/passwd", a.dir.join("link")).unwrap(), "not a plain file"),
        (|a| fs::write(a.dir.join("a b"), "x").unwrap(), "plain name"),
        (|a| a.architectures = vec!["arm64".parse().unwrap()], "no .changes that was asked for"),
        (
            |a| rename(a, "hello_1.0_amd64.changes", "other_1.0_amd64.changes"),
            "no .changes that was asked for",
        ),
        (|a| append(a, "Architecture: amd64 s390x\n"), "'s390x', which was not asked for"),
        (|a| append(a, "Files:\n 0 1 misc optional ../../x.deb\n"), "other files in Files"),
        (|a| append(a, "Checksums-Sha1:\n 0 1 x.deb\n"), "other files in Checksums-Sha1"),
        (|a| list(a, "hello_1.0_amd64.ddeb", "!<arch>\n"), "hello_1.0_amd64.ddeb cannot be read"),
        (
            |a| list(a, "hello_1.0_amd64.buildinfo", "Source: other\nVersion: 1.0\n"),
            "is of 'other' '1.0'",
        ),
        (
            |a| list(a, "hello_1.0_amd64.buildinfo", "Source: hello\nVersion: 9\n"),
            "is of 'hello' '9'",
        ),
        (|a| list(a, "x_1.0_amd64.deb", "!<arch>\n"), "x_1.0_amd64.deb cannot be read"),
        (|a| a.source = "other".parse().unwrap(), "no other_1.0.dsc"),
    ];
    for (spoil, word) in cases {
        let mut admission = archive.artifacts("hello", "1.0", &[("hello", "amd64", "")]);
        spoil(&mut admission);
        let failure = archive.admit(&admission).unwrap_err();
        assert!(
            failure.kind == FailureKind::Result && failure.text.contains(word),
            "{word}: {failure}"
        );
    }
    for (binaries, word) in [
        (
            [("hello", "amd64", ""), ("bash", "amd64", "Section: weird/misc\n")],
            "bash_1.0_amd64.deb: section 'weird/misc'",
        ),
        ([("hello", "s390x", ""), ("bash", "amd64", "")], "hello_1.0_s390x.deb is for 's390x'"),
    ] {
        let foreign = archive.artifacts("hello", "1.0", &binaries);
        let failure = archive.admit(&foreign).unwrap_err();
        assert!(failure.text.contains(word), "{word}: {failure}");
    }
    let more = "Auto-Built-Package: debug-symbols\n";
    for (binaries, declared, admitted) in [
        ([("hello", "amd64", ""), ("bash", "amd64", "")], "hello", false),
        ([("hello", "amd64", ""), ("bash-dbgsym", "amd64", more)], "hello", false),
        ([("hello", "amd64", ""), ("hello-dbgsym", "amd64", "")], "hello", false),
        ([("hello", "amd64", ""), ("hello-dbgsym", "amd64", more)], "hello", true),
        ([("hello", "amd64", ""), ("bash", "amd64", "")], "hello, bash", true),
    ] {
        let admission = archive.artifacts("hello", "1.0", &binaries);
        let dsc = admission.dir.join("hello_1.0.dsc");
        let text = fs::read_to_string(&dsc).unwrap();
        let (before, rest) = text.split_once("Binary:").unwrap();
        let rest = rest.split_once("\nArchitecture").unwrap().1;
        fs::write(&dsc, format!("{before}Binary: {declared}\nArchitecture{rest}")).unwrap();
        let examined = Archive::examine(&admission);
        let said = examined.map_or_else(|failure| failure.text, |_| String::new());
        assert_eq!(said.is_empty(), admitted, "{binaries:?}: {said}");
        assert!(admitted || said.contains("debian/control does not have"), "{said}");
    }
    assert!(
        !archive.dir.path().join("apt/pool").exists(),
        "nothing of a refused build is in the pool"
    );
}

#[test]
fn what_is_no_package_is_left_out_by_name() {
    let mut archive = Fixture::new();
    let admission = archive.artifacts(
        "hello",
        "1.0",
        &[("hello", "amd64", ""), ("hello-doc", "all", "Section: contrib/doc\n")],
    );
    list(&admission, "hello_1.0_images.tar.gz", "x");
    list(&admission, "any,thing", "x");
    list(&admission, "hello_1.0_amd64.buildinfo", "Source: hello\nVersion: 1.0\n");
    append(
        &admission,
        "Architecture: all amd64 images\nFiles:\n 0 1 raw-images - hello_1.0_images.tar.gz\n",
    );
    let changes = fs::read_to_string(admission.dir.join("hello_1.0_amd64.changes")).unwrap();
    for name in
        ["hello_1.0_amd64.deb", "hello-doc_1.0_all.deb", "any,thing", "hello_1.0_amd64.buildinfo"]
    {
        append(&admission, &format!(" 0 1 misc optional {name}\n"));
    }
    assert!(changes.contains("images"));
    let admitted = Archive::examine(&admission).unwrap();
    assert_eq!(admitted.left_out, ["any,thing (misc)", "hello_1.0_images.tar.gz (raw-images)"]);
    let content = archive.admit(&admission).unwrap();
    archive.publish("stable", vec![content]).unwrap();
    let root = archive.dir.path().join("apt");
    let mut pool: Vec<_> = fs::read_dir(root.join("pool/main/h/hello"))
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    pool.sort();
    assert_eq!(
        pool,
        ["hello_1.0.dsc", "hello_1.0.tar.xz", "hello_1.0_amd64.buildinfo", "hello_1.0_amd64.deb"]
    );

    // The .changes names the suite, and has all that it lists beside it, whatever the component.
    let dir = root.join("changes/stable/hello_1.0");
    let text = fs::read_to_string(dir.join("hello_1.0_amd64.changes")).unwrap();
    assert!(
        text.starts_with("Distribution: stable\n") && text.contains("\nArchitecture: all amd64\n"),
        "{text}"
    );
    assert!(!text.contains("images") && !text.contains("any,thing"), "{text}");
    let check = |tool: &str, field: &str| {
        let list = text.split(&format!("\n{field}:\n")).nth(1).unwrap();
        let lines = list.lines().take_while(|line| line.starts_with(' '));
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let sums: String =
            lines.map(words).map(|it| format!("{}  {}\n", it[0], it[it.len() - 1])).collect();
        assert_eq!(sums.lines().count(), 3, "{text}");
        let file = archive.dir.path().join("sums");
        fs::write(&file, sums).unwrap();
        let done = Command::new(tool)
            .args(["--check", "--strict"])
            .arg(&file)
            .current_dir(&dir)
            .status()
            .unwrap();
        assert!(done.success(), "{tool}: {text}");
    };
    check("md5sum", "Files");
    check("sha1sum", "Checksums-Sha1");
    check("sha256sum", "Checksums-Sha256");
    // debian/changelog is where apt looks for that of a package of either component.
    for component in ["main", "contrib"] {
        let path = root.join(format!("changelogs/{component}/h/hello/hello_1.0_changelog"));
        assert_eq!(fs::read(path).unwrap(), admission.changelog);
    }
}

#[test]
fn a_ddeb_is_a_package_like_any() {
    let mut archive = Fixture::new();
    let admission = archive.artifacts("hello", "1.0", &[("hello", "amd64", "X_a/b#c!: d\n")]);
    let both = archive.artifacts("hello", "1.0", &[("hello", "amd64", "")]);
    let (deb, ddeb) = ("hello_1.0_amd64.deb", "hello_1.0_amd64.ddeb");
    rename(&admission, deb, ddeb);
    let changes = admission.dir.join("hello_1.0_amd64.changes");
    fs::write(&changes, fs::read_to_string(&changes).unwrap().replace(deb, ddeb)).unwrap();
    fs::copy(both.dir.join(deb), both.dir.join(ddeb)).unwrap();
    let changes = both.dir.join("hello_1.0_amd64.changes");
    let text = fs::read_to_string(&changes).unwrap();
    let line = text.lines().last().unwrap();
    fs::write(&changes, format!("{text}{}\n", line.replace(deb, ddeb))).unwrap();
    assert!(
        archive.admit(&both).unwrap_err().text.contains("a second file of binary package hello")
    );
    let content = archive.admit(&admission).unwrap();
    archive.publish("stable", vec![content]).unwrap();
    archive.apt("stable", &["update"]);
    archive.apt("stable", &["download", "hello=1.0"]);
    assert!(archive.dir.path().join("home/hello_1.0_amd64.ddeb").exists());
    assert!(archive.packages("stable").contains("X_a/b#c!: d\n"));
}

#[test]
fn sources_has_md5_sums_for_readers_that_know_no_others() {
    let mut archive = Fixture::new();
    archive.publish_new("stable", "hello", "1.0", &[("hello", "amd64", "")]).unwrap();
    let index = archive.archive.dists().join("stable/main/source/Sources.gz");
    let sources =
        std::io::read_to_string(flate2::read::MultiGzDecoder::new(fs::File::open(index).unwrap()))
            .unwrap();
    let list = sources.split("Files:\n").nth(1).unwrap();
    let pool = archive.dir.path().join("apt/pool/main/h/hello");
    for (line, file) in list.lines().zip(["hello_1.0.tar.xz", "hello_1.0.dsc"]) {
        let done = Command::new("md5sum").arg(file).current_dir(&pool).output().unwrap();
        let sum = String::from_utf8(done.stdout).unwrap();
        let size = fs::metadata(pool.join(file)).unwrap().len();
        assert_eq!(line, format!(" {} {size} {file}", &sum[..32]));
    }
}

fn rename(admission: &Admission, from: &str, to: &str) {
    fs::rename(admission.dir.join(from), admission.dir.join(to)).unwrap();
}

fn append(admission: &Admission, text: &str) {
    let changes = admission.dir.join("hello_1.0_amd64.changes");
    let before = fs::read_to_string(&changes).unwrap();
    fs::write(changes, before + text).unwrap();
}

/// Adds a file that the `.changes` lists.
fn list(admission: &Admission, name: &str, text: &str) {
    let path = admission.dir.join(name);
    fs::write(&path, text).unwrap();
    let (size, sha256) = files::digest(&path).unwrap();
    append(admission, &format!(" {sha256} {size} {name}\n"));
}

#[test]
fn a_source_is_what_a_package_says_however_it_spells_it() {
    let mut archive = Fixture::new();
    let odd = archive.artifacts("hello", "1.0", &[("tool", "amd64", "")]);
    let deb = odd.dir.join("tool_1.0_amd64.deb");
    let script = "dpkg-deb -R $1 $2/x && sed -i s/^Source:/sOURCE:/ $2/x/DEBIAN/control && dpkg-deb -b $2/x $1";
    let done = Command::new("sh")
        .args(["-ec", script, "sh"])
        .arg(&deb)
        .arg(archive.dir.path())
        .status()
        .unwrap();
    assert!(done.success());
    let changes = odd.dir.join("hello_1.0_amd64.changes");
    let (size, sha256) = files::digest(&deb).unwrap();
    let sums = format!("Checksums-Sha256:\n {sha256} {size} tool_1.0_amd64.deb\n");
    fs::write(&changes, format!("Source: hello\nVersion: 1.0\n{sums}")).unwrap();
    let content = archive.admit(&odd).unwrap();
    archive.publish("stable", vec![content]).unwrap();
    let packages = archive.packages("stable");
    assert!(packages.contains("Package: tool\nSource: hello\n"), "{packages}");
    assert_eq!(packages.to_lowercase().matches("source:").count(), 1, "{packages}");
    let failure =
        archive.publish_new("stable", "tool", "1.0", &[("tool", "amd64", "")]).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Takeover);
}

#[test]
fn a_name_in_the_pool_keeps_its_bytes_once_it_is_published() {
    let mut archive = Fixture::new();
    let first = archive.artifacts("hello", "1.0", &[("hello", "amd64", "")]);
    let again = archive.artifacts("hello", "1.0", &[("hello", "amd64", "Homepage: http://x\n")]);
    archive.admit(&first).unwrap();
    // The daemon died before the commit: no version has what is there.
    let content = archive.admit(&again).unwrap();
    archive.publish("stable", vec![content]).unwrap();
    archive.admit(&again).unwrap();
    assert_eq!(archive.admit(&first).unwrap_err().kind, FailureKind::Conflict);
    assert!(archive.packages("stable").contains("Homepage"));
}

#[test]
fn a_source_does_not_take_over_what_another_one_builds() {
    let mut archive = Fixture::new();
    let contrib = "Section: contrib/misc\n";
    archive
        .publish_new(
            "stable",
            "hello",
            "1.0",
            &[("hello", "amd64", ""), ("tool", "amd64", contrib)],
        )
        .unwrap();
    // Neither in its place nor beside it.
    for (n, tool) in [("tool", "amd64", contrib), ("tool", "all", contrib), ("tool", "amd64", "")]
        .iter()
        .enumerate()
    {
        let failure =
            archive.publish_new("stable", "other", &format!("1.{n}"), &[*tool]).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Takeover, "{failure}");
        let said = "binary package tool of other belongs to source package hello in suite stable";
        assert!(failure.text.starts_with(said), "{failure}");
    }
    // In another suite it can have it, and from there it does not get in either.
    archive.publish_new("testing", "other", "2.0", &[("tool", "amd64", "")]).unwrap();
    let id = Identity::main("other".parse().unwrap(), "2.0".parse().unwrap());
    let content = contents::content(archive.record.db(), &id).unwrap().unwrap();
    let failure = archive.publish("stable", vec![content.clone()]).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Takeover);
    // What the owner's version in the suite no longer has is free.
    archive.publish_new("stable", "hello", "2.0", &[("hello", "amd64", "")]).unwrap();
    archive.publish("stable", vec![content]).unwrap();
    let failure = archive
        .publish_new("stable", "hello", "3.0", &[("hello", "all", ""), ("tool", "all", "")])
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Takeover);
    // Its own it can move.
    archive.publish_new("stable", "other", "3.0", &[("tool", "all", contrib)]).unwrap();
    assert!(!archive.packages("stable").contains("Package: tool"));
}

#[test]
fn apt_reads_the_file_that_the_archive_has_for_it_and_states_of_the_past() {
    let mut archive = Fixture::new();
    archive.archive.states = 2;
    for version in ["1.0", "1.1", "1.2"] {
        archive.publish_new("stable", "hello", version, &[("hello", "amd64", "")]).unwrap();
        archive.archive.sweep(archive.record.db(), &["stable".parse().unwrap()]).unwrap();
    }
    let root = archive.dir.path().join("apt");
    let states = states::of_suite(&root, &"stable".parse().unwrap()).unwrap();
    assert_eq!(states.len(), 2, "{states:?}");
    assert!(states[0].id < states[1].id && states[0].id.len() == "20261129T103000Z".len());
    // In place of the line that the fixture writes.
    let parts = archive.dir.path().join("parts");
    fs::create_dir(&parts).unwrap();
    let text = fs::read_to_string(root.join("stable.sources")).unwrap();
    assert!(
        text.contains(" .\n") && text.contains(" -----END PGP PUBLIC KEY BLOCK-----\n"),
        "{text}"
    );
    let update = |archive: &Fixture, text: &str| {
        fs::write(parts.join("stable.sources"), text).unwrap();
        let (empty, parts) = (
            "Dir::Etc::SourceList=/dev/null".to_owned(),
            format!("Dir::Etc::SourceParts={}", parts.display()),
        );
        archive.apt("stable", &["-o", &empty, "-o", &parts, "update"]);
        archive.apt("stable", &["-o", &empty, "-o", &parts, "--print-uris", "download", "hello"])
    };
    assert!(update(&archive, &text).contains("hello_1.2_amd64.deb"));
    let old = text.replace("/apt\n", &format!("/apt/snapshot/{}\n", states[0].id));
    assert_ne!(old, text);
    assert!(update(&archive, &old).contains("hello_1.1_amd64.deb"));
    // Other keys sign the same again.
    let key = archive.dir.path().join("next.asc");
    Archive::generate_key(&key, "Next").unwrap();
    archive.archive.keys = vec![SigningKey::File(key)];
    archive.archive.publish_key().unwrap();
    archive.publish("stable", Vec::new()).unwrap();
    archive.archive.sign_states(&["stable".parse().unwrap()]).unwrap();
    let text = fs::read_to_string(root.join("stable.sources")).unwrap();
    let old = text.replace("/apt\n", &format!("/apt/snapshot/{}\n", states[0].id));
    assert!(update(&archive, &old).contains("hello_1.1_amd64.deb"));
    assert!(update(&archive, &text).contains("hello_1.2_amd64.deb"));
    archive.archive.states = 0;
    archive.archive.sweep(archive.record.db(), &["stable".parse().unwrap()]).unwrap();
    assert_eq!(fs::read_dir(root.join("snapshot")).unwrap().count(), 0);
}

#[test]
fn an_id_has_what_every_suite_had_then_for_as_long_as_one_needs_it() {
    let mut archive = Fixture::new();
    archive.archive.states = 2;
    let root = archive.dir.path().join("apt");
    let (stable, next): (Suite, Suite) = ("stable".parse().unwrap(), "next".parse().unwrap());
    archive.publish_new("stable", "hello", "1.0", &[("hello", "amd64", "")]).unwrap();
    for version in ["1.1", "1.2", "1.3", "1.4"] {
        archive.publish_new("next", "hello", version, &[("hello", "amd64", "")]).unwrap();
        archive.archive.sweep(archive.record.db(), &["next".parse().unwrap()]).unwrap();
    }
    let suite_at = |id: &str, suite: &Suite| {
        let release = root.join("snapshot").join(id).join("dists").join(suite.as_str());
        fs::read_to_string(release.join("Release")).ok()
    };
    let states = states::of_suite(&root, &next).unwrap();
    let own = states::of_suite(&root, &stable).unwrap();
    assert_eq!((states.len(), own.len()), (2, 1), "{states:?} {own:?}");
    for state in &states {
        assert!(suite_at(&state.id, &next).unwrap().contains("Suite: next"));
        assert_eq!(suite_at(&state.id, &stable), suite_at(&own[0].id, &stable));
    }
    assert_eq!(suite_at(&own[0].id, &next), None, "it was not there yet");
    // Two more of the other: the first of them is needed by the ids of this one.
    for version in ["1.5", "1.6", "1.7"] {
        archive.publish_new("stable", "hello", version, &[("hello", "amd64", "")]).unwrap();
        archive.archive.sweep(archive.record.db(), &["stable".parse().unwrap()]).unwrap();
    }
    assert_eq!(states::of_suite(&root, &stable).unwrap().len(), 3);
    assert_eq!(suite_at(&states[0].id, &stable), suite_at(&own[0].id, &stable));
    archive.archive.sign_states(&["stable".parse().unwrap(), "next".parse().unwrap()]).unwrap();
    // A publication that was never made public left its state: nobody has it, and it goes.
    let left = archive.dir.path().join("apt/snapshot/20200101T000000Z/dists/.next.new");
    fs::create_dir_all(&left).unwrap();
    archive.archive.remove_suite(&"next".parse().unwrap()).unwrap();
    archive.archive.sweep(archive.record.db(), &["stable".parse().unwrap()]).unwrap();
    assert_eq!(states::of_suite(&root, &next).unwrap(), []);
    assert_eq!(states::of_suite(&root, &stable).unwrap().len(), 2);
    assert!(!left.parent().unwrap().exists());
}

#[test]
fn a_state_has_its_url_when_the_suite_shows_it_and_is_what_was_published() {
    let mut archive = Fixture::new();
    archive.archive.states = 2;
    archive.publish_new("stable", "hello", "1.0", &[("hello", "amd64", "")]).unwrap();
    let (spec, root) = (archive.spec("stable"), archive.dir.path().join("apt"));
    let named = || states::of_suite(&root, &spec.suite.suite).unwrap();
    let prepare = |archive: &mut Fixture, version| {
        let build = archive.artifacts("hello", version, &[("hello", "amd64", "")]);
        let changes = [SuiteChange::Put(archive.admit(&build).unwrap())];
        archive.archive.prepare(archive.record.db(), &spec, &changes).unwrap()
    };
    // The one who prepares it dies before it is recorded: the next one has its number.
    let lost = prepare(&mut archive, "1.1").generation();
    let prepared = prepare(&mut archive, "1.2");
    assert_eq!((prepared.generation(), named().len()), (lost, 1));
    archive.record.write(|tx| Archive::record(tx, &prepared, "test")).unwrap();
    // It cannot be shown yet, while another suite is swept.
    archive.archive.sweep(archive.record.db(), &["next".parse().unwrap()]).unwrap();
    assert_eq!(named().len(), 1);
    // The first one dies before it is complete.
    archive.archive.flip(prepared.suite(), prepared.generation()).unwrap();
    fs::remove_file(root.join("stable.sources")).unwrap();
    archive.archive.flip(prepared.suite(), prepared.generation()).unwrap();
    assert!(root.join("stable.sources").exists());
    let states = named();
    assert_eq!((states.len(), states[1].generation), (2, lost));
    let dists = root.join("snapshot").join(&states[1].id).join("dists");
    let release = |dir: &Path| fs::read_to_string(dir.join("stable/Release")).unwrap();
    assert_eq!(release(&dists), release(&root.join("dists")));
    assert_eq!(fs::read_dir(&dists).unwrap().count(), 1, "nothing of the one that was lost");
    assert_eq!(fs::read_dir(root.join("snapshot")).unwrap().count(), 2);
}

#[test]
fn release_says_what_a_suite_is_for() {
    let mut archive = Fixture::new();
    archive.archive.state_url = Some(states::url("https://apt.example.org/"));
    let mut spec = archive.spec("backports");
    spec.description = Some("for those who cannot wait".to_owned());
    (spec.automatic, spec.codename) = (Automatic::Upgrades, "trixie-backports".parse().unwrap());
    let prepared = archive.archive.prepare(archive.record.db(), &spec, &[]).unwrap();
    archive.record.write(|tx| Archive::record(tx, &prepared, "test")).unwrap();
    archive.archive.flip(prepared.suite(), prepared.generation()).unwrap();
    let release = archive.dir.path().join("apt/dists/backports/Release");
    let release = fs::read_to_string(release).unwrap();
    for line in [
        "Suite: backports",
        "Codename: trixie-backports",
        "Description: for those who cannot wait",
        "NotAutomatic: yes",
        "ButAutomaticUpgrades: yes",
        "Snapshots: https://apt.example.org/snapshot/@SNAPSHOTID@/",
    ] {
        assert!(release.lines().any(|it| it == line), "{line}: {release}");
    }
    archive.archive.publish_page(&[spec]).unwrap();
    let page = fs::read_to_string(archive.dir.path().join("apt/index.html")).unwrap();
    assert!(
        page.contains("backports.sources") && page.contains("for those who cannot wait"),
        "{page}"
    );
}

#[test]
fn older_versions_stay_in_the_indexes_behind_the_newest() {
    let mut archive = Fixture::new();
    archive.keep = 3;
    let tool = ("tool", "amd64", "");
    archive.publish_new("stable", "hello", "1.0", &[("hello", "amd64", ""), tool]).unwrap();
    for version in ["1.1", "1.2"] {
        archive.publish_new("stable", "hello", version, &[("hello", "all", "")]).unwrap();
    }
    let fourth = archive.publish_new("stable", "hello", "2.0", &[("hello", "amd64", "")]).unwrap();
    let versions = |archive: &Fixture| -> Vec<String> {
        let text = archive.packages("stable");
        assert!(!text.contains("Package: tool\n"), "what the newest does not build is gone");
        text.lines().filter_map(|line| line.strip_prefix("Version: ")).map(str::to_owned).collect()
    };
    assert_eq!(versions(&archive), ["2.0", "1.2", "1.1"]);
    archive.apt("stable", &["update"]);
    assert!(archive.apt("stable", &["download", "hello"]).contains("2.0"));
    archive.apt("stable", &["download", "hello=1.1"]);
    archive.apt("stable", &["source", "--download-only", "hello=1.1"]);
    archive.apt("stable", &["source", "--download-only", "hello"]);
    let home = archive.dir.path().join("home");
    for file in ["hello_1.1_all.deb", "hello_1.1.tar.xz", "hello_2.0.tar.xz"] {
        assert!(home.join(file).exists(), "{file}");
    }
    let inspect = |archive: &Fixture| {
        let (db, suite) = (archive.record.db(), "stable".parse().unwrap());
        let state = contents::suite(db, &suite).unwrap().unwrap();
        let shown = contents::sources(db, &suite).unwrap().into_iter().collect();
        archive.archive.inspect(db, &archive.spec("stable"), &state, &shown).unwrap()
    };
    assert_eq!(inspect(&archive), [""; 0]);
    // Nothing that is needed is let go, and another source takes the name of what is gone.
    let needed = contents::versions_not_shown(archive.record.db(), &DomainName::main()).unwrap();
    assert_eq!(needed, []);
    archive.publish_new("stable", "other", "1.0", &[("tools", "all", "")]).unwrap();
    // After a step back nothing newer is left.
    let id = Identity::main("hello".parse().unwrap(), "1.1".parse().unwrap());
    let old = contents::content(archive.record.db(), &id);
    archive.publish("stable", vec![old.unwrap().unwrap()]).unwrap();
    assert_eq!(versions(&archive)[..1], ["1.1"]);
    assert_eq!(inspect(&archive), [""; 0]);
    archive.publish_new("stable", "hello", "3.0", &[("hello", "amd64", "")]).unwrap();
    assert_eq!(versions(&archive)[..2], ["3.0", "1.1"]);
    // A new number counts at once.
    archive.keep = 1;
    let last = archive.publish("stable", Vec::new()).unwrap();
    assert!(last > fourth);
    assert_eq!(versions(&archive)[..1], ["3.0"]);
    assert_eq!(versions(&archive).len(), 2, "hello and tools");
    archive.apt("stable", &["update"]);
}

#[test]
fn owner_and_heir_can_come_in_one_set() {
    let mut archive = Fixture::new();
    archive
        .publish_new("stable", "hello", "1.0", &[("hello", "amd64", ""), ("tool", "amd64", "")])
        .unwrap();
    let heir = archive.artifacts("other", "1.0", &[("tool", "amd64", "")]);
    let owner = archive.artifacts("hello", "2.0", &[("hello", "amd64", "")]);
    let set = vec![archive.admit(&heir).unwrap(), archive.admit(&owner).unwrap()];
    archive.publish("stable", set).unwrap();
    assert!(archive.packages("stable").contains("Package: tool\nSource: other\n"));
}

#[test]
fn what_was_compressed_before_the_lock_is_used_whatever_came_between() {
    let mut archive = Fixture::new();
    archive.publish_new("stable", "hello", "1.0", &[("hello", "amd64", "")]).unwrap();
    let spec = archive.spec("stable");
    let foresee = |archive: &Fixture, content: &Content| {
        let foreseen = Foreseen::default();
        archive
            .archive
            .foresee(archive.record.db(), &spec, &[SuiteChange::Put(content.clone())], &foreseen)
            .unwrap();
        assert_eq!(foreseen.left(), 2, "Packages and Sources");
        foreseen
    };
    let publish = |archive: &mut Fixture, content: Content, foreseen: &Foreseen| {
        let changes = [SuiteChange::Put(content)];
        let prepared = archive
            .archive
            .prepare_foreseen(archive.record.db(), &spec, &changes, (foreseen, Unsynced::default()))
            .unwrap();
        archive.record.write(|tx| Archive::record(tx, &prepared, "test")).unwrap();
        archive.archive.flip(prepared.suite(), prepared.generation()).unwrap();
        foreseen.left()
    };
    let two = archive.artifacts("two", "1.0", &[("two", "amd64", "")]);
    let two = archive.admit(&two).unwrap();
    let three = archive.artifacts("three", "1.0", &[("three", "amd64", "")]);
    let three = archive.admit(&three).unwrap();
    let (of_two, of_three) = (foresee(&archive, &two), foresee(&archive, &three));
    assert_eq!(publish(&mut archive, two, &of_two), 0);
    assert_eq!(publish(&mut archive, three, &of_three), 2, "it was for a suite that is no more");
    archive.apt("stable", &["update"]);
    archive.apt("stable", &["download", "hello=1.0", "two=1.0", "three=1.0"]);
}

#[test]
fn a_version_brings_no_more_than_so_much() {
    let mut archive = Fixture::new();
    let large = format!(
        "Provides: {}\n",
        (0..30_000).map(|n| format!("p{n:06}")).collect::<Vec<_>>().join(", ")
    );
    let names: Vec<String> = (0..8).map(|n| format!("hello{n}")).collect();
    let binaries = |more: usize| {
        names.iter().take(more).map(|name| (&name[..], "all", &large[..])).collect::<Vec<_>>()
    };
    archive.publish_new("stable", "few", "1.0", &binaries(7)).unwrap();
    let failure = archive.admit(&archive.artifacts("many", "1.0", &binaries(8))).unwrap_err();
    assert!(
        failure.text.contains("for amd64 have ") && failure.text.contains("and 1852 KiB"),
        "{failure}"
    );

    let number = archive.artifacts("hello", "1.0", &[("hello", "amd64", "")]);
    for n in 0..stanza::MOST_PACKAGES {
        fs::write(number.dir.join(format!("x{n}_1.0_{}.deb", ["all", "amd64"][n % 2])), "x")
            .unwrap();
    }
    let failure = archive.admit(&number).unwrap_err();
    assert!(failure.text.contains("returned 2181 binary packages for amd64"), "{failure}");
}
