//! Chroots of other architectures than the machine's, and chroots that the configuration describes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use crate::world::{BUILD, Repo, STATE, Tiny, World, eventually, run};

/// A pocket beside those of the world.
fn pocket(name: &str, settings: &str) {
    let text = format!(
        "build: {{ pockets: {{ {name}: {{ acl: 'princ:alice@EXAMPLE.ORG', {settings} }} }} }}\n"
    );
    fs::write(format!("/etc/invirtibuilder/conf.d/{name}.yaml"), text).unwrap();
}

/// A package whose build says what machine it sees.
pub fn commit(repo: &Repo, version: &str, says: &str) -> String {
    repo.tiny(version, Tiny::Works);
    let control = fs::read_to_string(repo.dir.join("debian/control")).unwrap();
    repo.write("debian/control", &control.replace("Architecture: all", "Architecture: any"));
    let rules = fs::read_to_string(repo.dir.join("debian/rules")).unwrap();
    let rules = rules.replace(
        "binary: binary-indep\nbinary-arch:\nbinary-indep: build",
        "binary: binary-arch\nbinary-indep:\nbinary-arch: build",
    );
    repo.write(
        "debian/rules",
        &rules.replacen("\tdpkg-gencontrol\n", &format!("\t{says}\n\tdpkg-gencontrol\n"), 1),
    );
    repo.commit(version)
}

/// The host's apt with one suite of one mirror, until it is dropped: mirrors do not always have all
/// that their suites of updates name for smaller architectures.
struct OneSuite;

const APART: &str = "/etc/apt-apart";

impl OneSuite {
    fn new() -> Self {
        let format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
        let targets = run(
            "apt-get",
            &["indextargets", "--format", format, "Created-By: Packages", "Release: bookworm"],
        );
        let mirror = targets.split(' ').next().unwrap();
        run(
            "sh",
            &[
                "-ec",
                &format!(
                    "mkdir {APART}; cd /etc/apt; for f in sources.list sources.list.d; do [ ! -e $f ] || mv $f {APART}/; done"
                ),
            ],
        );
        fs::write("/etc/apt/sources.list", format!("deb {mirror} bookworm main\n")).unwrap();
        Self
    }
}

impl Drop for OneSuite {
    fn drop(&mut self) {
        run(
            "sh",
            &["-ec", &format!("rm /etc/apt/sources.list; mv {APART}/* /etc/apt/; rmdir {APART}")],
        );
    }
}

#[test]
fn i386_is_built_on_amd64() {
    let world = World::new();
    let _suite = OneSuite::new();
    pocket("both", "apt: both, distro: bookworm, architectures: [amd64, i386]");
    world.local(&["check-config"]).ok();
    if !Path::new(&format!("{STATE}/chroots/bookworm-i386.json")).exists() {
        let check = world.local(&["init", "--check"]);
        assert!(
            check.out.contains("-> invirt-build chroot create bookworm --arch i386"),
            "{}",
            check.out
        );
        world
            .local(&["chroot", "create", "bookworm", "--arch", "i386"])
            .ok()
            .says(&["bookworm i386 is ready"]);
    }
    world.local(&["chroot", "list"]).ok().says(&["amd64", "i386"]);
    let _daemon = world.daemon();
    let repo = world.repo("wide");
    let job = world.submit(
        "both",
        "wide",
        &commit(&repo, "1.0", "uname -m | sed 's/^/the machine is /'"),
    );
    world.wait_for(&job, "published", BUILD);
    let log = world.build("alice", &["log", &job]).ok().out;
    assert!(log.contains("the machine is x86_64") && log.contains("the machine is i686"), "{log}");
    for architecture in ["amd64", "i386"] {
        assert!(
            Path::new(&format!("/srv/apt/pool/main/w/wide/wide_1.0_{architecture}.deb")).exists()
        );
        let packages =
            fs::read_to_string(format!("/srv/apt/dists/both/main/binary-{architecture}/Packages"))
                .unwrap_or_default();
        let packages = if packages.is_empty() {
            run(
                "sh",
                &[
                    "-c",
                    &format!("xz -dc /srv/apt/dists/both/main/binary-{architecture}/Packages.xz"),
                ],
            )
        } else {
            packages
        };
        assert!(packages.contains(&format!("Architecture: {architecture}")), "{packages}");
    }

    // The record names both chroots, for ever.
    let status = world.build("alice", &["status", &job, "--json"]).json();
    let chroots = status["chroots"].as_array().unwrap();
    assert_eq!(chroots.len(), 2, "{status}");
    for chroot in chroots {
        let digest = chroot["digest"].as_str().unwrap();
        let architecture = chroot["architecture"].as_str().unwrap();
        let file = format!("{STATE}/chroots/bookworm-{architecture}.{}.tar", &digest[..16]);
        assert_eq!(run("sha256sum", &[&file]).split(' ').next(), Some(digest));
        let shown = world.local(&["chroot", "show", &digest[..16]]).ok().out;
        assert!(
            shown.contains(&format!("bookworm {architecture}"))
                && shown.contains("package      dpkg "),
            "{shown}"
        );
    }

    // A package is built where it can be: on one of the two, or for all of them beside an
    // architecture that is not here.
    let pool = |file: &str| Path::new(&format!("/srv/apt/pool/main/w/wide/{file}")).exists();
    let named = |version: &str, architecture: &str| {
        commit(&repo, version, "true");
        let control = fs::read_to_string(repo.dir.join("debian/control")).unwrap();
        repo.write(
            "debian/control",
            &control.replace("Architecture: any", &format!("Architecture: {architecture}")),
        );
        repo.commit(&format!("for {architecture}"))
    };
    let job = world.submit("both", "wide", &named("1.1", "i386"));
    world.wait_for(&job, "published", BUILD);
    assert!(pool("wide_1.1_i386.deb") && !pool("wide_1.1_amd64.deb"));
    let note = "nothing is built for amd64: its binary packages are for i386";
    world.build("alice", &["status", &job]).ok().says(&["note ", note]);
    world.build("alice", &["log", &job]).ok().says(&[note]);
    let job = world.submit("both", "wide", &named("1.2", "any-amd64"));
    world.wait_for(&job, "published", BUILD);
    assert!(pool("wide_1.2_amd64.deb") && !pool("wide_1.2_i386.deb"));
    let commit = named("1.3", "arm64");
    let before = world.snapshot();
    let words = ["for arm64", "both builds for amd64, i386"];
    for submit in [
        &["submit", "both", "wide", &commit][..],
        &["submit", "both", "wide", &commit, "--dry-run"],
    ] {
        world.build("alice", submit).refused(65, &words);
    }
    assert!(world.snapshot() == before, "a refused request changed something");
    let tiny = world.repo("docs");
    tiny.tiny("1.0", Tiny::Works);
    let control = fs::read_to_string(tiny.dir.join("debian/control")).unwrap();
    tiny.write(
        "debian/control",
        &format!("{control}\nPackage: docs-arm\nArchitecture: arm64\nDescription: for another machine\n It is not built here.\n"),
    );
    let rules = fs::read_to_string(tiny.dir.join("debian/rules")).unwrap();
    tiny.write("debian/rules", &rules.replace("dpkg-gencontrol", "dpkg-gencontrol -pdocs"));
    let job = world.submit("both", "docs", &tiny.commit("all and arm64"));
    world.wait_for(&job, "published", BUILD);
    assert!(Path::new("/srv/apt/pool/main/d/docs/docs_1.0_all.deb").exists());
    world.local(&["verify"]).ok();
}

#[test]
fn the_section_of_the_source_package_decides_where_it_is() {
    let world = World::new();
    pocket("mixed", "distro: bookworm, architectures: [amd64], components: [main, contrib]");
    let _daemon = world.daemon();
    let repo = world.repo("parts");
    repo.tiny("1.0", Tiny::Works);
    let control = fs::read_to_string(repo.dir.join("debian/control")).unwrap();
    let control = control
        .replace("Section: misc", "Section: net")
        .replace("Package: parts", "Package: a-parts\nSection: contrib/net");
    repo.write("debian/control", &control);
    let commit = repo.commit("its binary package is in contrib");
    // It says so itself, so nothing has to be built to see that it has no place.
    let before = world.snapshot();
    for words in [
        &["submit", "dev", "parts", &commit][..],
        &["submit", "dev", "parts", &commit, "--dry-run"],
    ] {
        world
            .build("alice", words)
            .refused(65, &["binary package a-parts", "component contrib, which dev has not"]);
    }
    assert_eq!(world.snapshot(), before);
    let job = world.submit("mixed", "parts", &commit);
    world.wait_for(&job, "published", BUILD);
    let there = |path: &str| Path::new(&format!("/srv/apt/pool/{path}")).exists();
    assert!(there("main/p/parts/parts_1.0.dsc") && there("main/p/parts/parts_1.0.tar.xz"));
    assert!(there("contrib/p/parts/a-parts_1.0_all.deb"));
    let sources = run("sh", &["-c", "xz -dc /srv/apt/dists/mixed/main/source/Sources.xz"]);
    assert!(
        sources.contains("Package: parts\n") && sources.contains("Section: net\n"),
        "{sources}"
    );
}

/// Serves the archive until it is dropped.
struct Web(Child, u16);

impl Web {
    fn new() -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("python3")
            .args([
                "-m",
                "http.server",
                "--bind",
                "127.0.0.1",
                "--directory",
                "/srv/apt",
                &free.to_string(),
            ])
            .spawn()
            .unwrap();
        eventually("it serves", Duration::from_secs(20), || {
            std::net::TcpStream::connect(("127.0.0.1", free)).is_ok()
        });
        Self(child, free)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_chroot_is_what_its_description_says() {
    let world = World::new();
    let _suite = OneSuite::new();
    let daemon = world.daemon();
    let team = world.repo("team-tool");
    world.publish("prod", "team-tool", &team.version("1.0", Tiny::Works));
    let web = Web::new();
    // It is not beyond the host's own proxy, if that has one.
    fs::write("/etc/apt/apt.conf.d/zz-story", "Acquire::http::Proxy::127.0.0.1 \"DIRECT\";\n")
        .unwrap();
    let hook = "/etc/invirtibuilder/finish-ours";
    fs::write(hook, "#!/bin/sh\necho ours >\"$1/etc/finished\"\n").unwrap();
    let describe = |hook: &str, key: &str, package: &str| {
        let text = format!(
            "chroots:\n  distros:\n    ours:\n      suite: bookworm\n      components: [main]\n      packages: [{package}]\n      \
             foreign_architectures: [i386]\n      hook: {hook}\n      sources:\n        - uri: http://127.0.0.1:{}/\n          \
             suite: stable\n          components: [main]\n          key: {key}\n",
            web.1
        );
        fs::write("/etc/invirtibuilder/conf.d/chroots.yaml", text).unwrap();
    };
    let key = "/srv/apt/archive-key.asc";
    pocket("ours", "apt: ours, distro: ours, architectures: [amd64]");

    // What is wrong is named with its place.
    describe(hook, key, "hello");
    world.local(&["check-config"]).refused(78, &["chroots.yaml:8", "hook", "is not a program"]);
    fs::set_permissions(hook, fs::Permissions::from_mode(0o777)).unwrap();
    world.local(&["check-config"]).refused(78, &["others may write", "chmod go-w"]);
    fs::set_permissions(hook, fs::Permissions::from_mode(0o755)).unwrap();
    describe("/bin/sh;reboot", key, "hello");
    world.local(&["check-config"]).refused(78, &["hook", "from / on"]);
    describe(hook, key, "'hello, world'");
    world.local(&["check-config"]).refused(78, &["hello, world", "is not a package"]);
    describe(hook, "/etc/hostname", "hello");
    world.local(&["check-config"]).ok();
    world
        .local(&["chroot", "create", "ours"])
        .refused(69, &["/etc/hostname", "gpg --armor --export"]);

    describe(hook, key, "team-tool");
    world.local(&["chroot", "create", "ours"]).ok();
    world.local(&["chroot", "show", "ours"]).ok().says(&[
        "bookworm main",
        &format!("http://127.0.0.1:{}/ stable main", web.1),
        "team-tool 1.0 all",
    ]);
    drop(daemon);
    let _daemon = world.daemon();
    let repo = world.repo("tiny");
    let says =
        "cat /etc/finished; dpkg --print-foreign-architectures; cat /usr/share/team-tool/version";
    let job = world.submit("ours", "tiny", &commit(&repo, "1.0", says));
    world.wait_for(&job, "published", BUILD);
    let log = world.build("alice", &["log", &job]).ok().out;
    assert!(
        log.contains("\nours\n") && log.contains("\ni386\n") && log.contains("\n1.0\n"),
        "{log}"
    );
    world.local(&["chroot", "remove", "ours"]).ok();
    fs::remove_file("/etc/apt/apt.conf.d/zz-story").unwrap();
}

/// arm64 programs run by qemu-user, as the package binfmt-support sets it up, until it is dropped.
pub struct Emulator;

const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

impl Emulator {
    pub fn new() -> Self {
        run(
            "sh",
            &["-ec", &format!("[ -e {BINFMT}/register ] || mount -t binfmt_misc binfmt {BINFMT}")],
        );
        let line = fs::read_to_string("/usr/lib/binfmt.d/qemu-aarch64.conf").unwrap();
        if !Path::new(&format!("{BINFMT}/qemu-aarch64")).exists() {
            fs::write(format!("{BINFMT}/register"), line.trim_end()).unwrap();
        }
        Self
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = fs::write(format!("{BINFMT}/qemu-aarch64"), "-1");
    }
}

/// Minutes, as every instruction is emulated: 'script/test --only foreign' runs it.
#[test]
fn foreign_programs_are_emulated() {
    const LONG: Duration = Duration::from_secs(40 * 60);
    let world = World::new();
    let _suite = OneSuite::new();
    pocket(
        "arm",
        "apt: arm, distro: bookworm, architectures: [arm64], limits: { time: 40m, silence: 20m }",
    );
    let refused = world.local(&["chroot", "create", "bookworm", "--arch", "arm64"]);
    assert_eq!(refused.code, 69, "{}", refused.out);
    assert!(refused.err.contains("arm64"), "{}", refused.err);
    let _emulator = Emulator::new();
    world.local(&["chroot", "create", "bookworm", "--arch", "arm64"]).ok();
    let _daemon = world.daemon();
    let repo = world.repo("wide");
    let job =
        world.submit("arm", "wide", &commit(&repo, "1.0", "uname -m | sed 's/^/the machine is /'"));
    world.wait_for(&job, "published", LONG);
    let log = world.build("alice", &["log", &job]).ok().out;
    assert!(log.contains("the machine is aarch64"), "{log}");
    assert!(Path::new("/srv/apt/pool/main/w/wide/wide_1.0_arm64.deb").exists());
    world.local(&["verify"]).ok();
}
