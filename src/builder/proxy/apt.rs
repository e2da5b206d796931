//! Real apt behind the proxy, with a mirror as reprepro and apt-ftparchive(1) make it: nothing in
//! it has a name by hash.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::proxy::lists::{Lists, Stale};
use crate::proxy::*;
use invirtibuilder_archive::ArchiveKeys;
use invirtibuilder_archive::testing::a_key;
use invirtibuilder_core::config::SigningKey;

/// What a mirror has, served as any web server does.
struct Files(PathBuf);

impl Answers for Files {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        match tokio::fs::File::open(self.0.join(request.uri().path().trim_start_matches('/'))).await
        {
            Ok(file) => send(file, FilePart::All, None).await,
            Err(_) => refuse(StatusCode::NOT_FOUND, "it is not here"),
        }
    }
}

/// Serves until the test ends; the port.
async fn listen(answers: impl Answers) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(serve(listener, Arc::new(answers)));
    port
}

struct Place {
    dir: tempfile::TempDir,
    mirror: u16,
}

impl Place {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        a_key(&dir.path().join("key.asc"));
        let mirror = listen(Files(dir.path().join("mirror"))).await;
        Self { dir, mirror }
    }

    fn keys(&self) -> ArchiveKeys {
        ArchiveKeys::open(&[SigningKey::File(self.dir.path().join("key.asc"))]).unwrap()
    }

    /// Has the mirror show version 1 of the package with these bytes in it, under the name that it
    /// always has.
    fn publish(&self, bytes: &str) {
        let at = |name: &str| self.dir.path().join(name);
        let (root, pool, dists) = (at("root"), at("mirror/pool/main/d"), at("mirror/dists/team"));
        let packages = dists.join("main/binary-amd64");
        [root.join("DEBIAN"), pool.clone(), packages.clone()]
            .iter()
            .for_each(|dir| fs::create_dir_all(dir).unwrap());
        let control = "Package: depa\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: test\n";
        fs::write(root.join("DEBIAN/control"), control).unwrap();
        fs::write(root.join("bytes"), bytes).unwrap();
        let deb = pool.join("depa_1_all.deb");
        done(
            Command::new("dpkg-deb")
                .args(["--root-owner-group", "-Znone", "-b"])
                .arg(&root)
                .arg(deb),
        );
        let ftparchive = |what: &str, of: &str| {
            done(Command::new("apt-ftparchive").args([what, of]).current_dir(at("mirror"))).stdout
        };
        fs::write(packages.join("Packages"), ftparchive("packages", "pool")).unwrap();
        let release = String::from_utf8(ftparchive("release", "dists/team")).unwrap();
        let release = format!("Codename: team\nComponents: main\nArchitectures: amd64\n{release}");
        fs::write(dists.join("InRelease"), self.keys().sign(&release).unwrap().inline).unwrap();
    }

    /// apt-get through a proxy with this cache, and whether the proxy has noted that anything is
    /// old.
    async fn apt(&self, cache: &str, lists: Lists, arguments: &[&str]) -> (Output, bool) {
        let at = |name: &str| self.dir.path().join(name);
        let source = invirtibuilder_core::manifest::AptSource {
            uri: format!("http://127.0.0.1:{}/", self.mirror),
            suite: "team".parse().unwrap(),
            components: vec!["main".parse().unwrap()],
            key: None,
            options: Vec::new(),
        };
        let stale = Stale::default();
        let port = listen(ProxyService {
            mirrors: Mirrors::of(std::slice::from_ref(&source)),
            suites: Arc::new(Suites::of(&[], Ledger::default())),
            cache: Cache::open(&at(cache)).unwrap().giving(lists, stale.clone()),
            fetches: Semaphore::new(FETCHES),
            given: Mutex::default(),
            room: ProxyRoom::new(1 << 30),
        })
        .await;
        for dir in ["apt/lists/partial", "apt/archives/partial", "apt/parts"] {
            fs::create_dir_all(at(dir)).unwrap();
        }
        fs::write(at("apt/status"), "").unwrap();
        fs::write(at("archive-key.asc"), self.keys().public().unwrap()).unwrap();
        fs::write(at("apt/list"), source.line(&source.uri, Some(&at("archive-key.asc")))).unwrap();
        let mut apt = Command::new("apt-get");
        for (name, value) in [
            ("Dir::State::status", "apt/status"),
            ("Dir::State::lists", "apt/lists"),
            ("Dir::Cache", "apt"),
            ("Dir::Cache::archives", "apt/archives"),
            ("Dir::Etc::sourcelist", "apt/list"),
            ("Dir::Etc::sourceparts", "apt/parts"),
        ] {
            apt.arg(format!("-o{name}={}", at(value).display()));
        }
        apt.arg(format!("-oAcquire::http::Proxy=http://127.0.0.1:{port}/"));
        apt.args([
            "-oAPT::Sandbox::User=root",
            "-oAcquire::Languages=none",
            "-oAPT::Architecture=amd64",
        ]);
        apt.args(arguments).current_dir(self.dir.path());
        let output = tokio::task::spawn_blocking(move || apt.output().unwrap()).await.unwrap();
        (output, stale.was_noted())
    }

    fn got(&self) -> String {
        let deb = self.dir.path().join("depa_1_all.deb");
        let tar = done(Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&deb)).stdout;
        fs::remove_file(deb).unwrap();
        String::from_utf8_lossy(&tar)
            .split('\0')
            .find(|text| text.starts_with("it is "))
            .unwrap()
            .to_owned()
    }
}

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_without_names_by_hash_is_a_mirror_too() {
    let place = Place::new().await;
    place.publish("it is one");
    let (updated, old) = place.apt("cache", Lists::Kept, &["update"]).await;
    assert!(updated.status.success() && !old, "{updated:?}");
    let (fetched, old) = place.apt("cache", Lists::Kept, &["download", "depa"]).await;
    assert!(fetched.status.success() && !old, "{fetched:?}");
    assert_eq!(place.got(), "it is one");

    // Another package under its name: who has the old list has the old package, as long as it is
    // kept.
    place.publish("it is two");
    let (fetched, old) = place.apt("cache", Lists::Kept, &["download", "depa"]).await;
    assert!(fetched.status.success() && !old, "{fetched:?}");
    assert_eq!(place.got(), "it is one");
    let sums = place.dir.path().join("cache/sums");
    let kept =
        fs::read_dir(place.dir.path().join("cache")).unwrap().flatten().map(|entry| entry.path());
    kept.filter(|path| *path != sums).for_each(|path| fs::remove_file(path).unwrap());
    let (refused, old) = place.apt("cache", Lists::Kept, &["download", "depa"]).await;
    assert!(!refused.status.success() && old, "{refused:?}");

    // And so it goes on.
    let (updated, old) = place.apt("cache", Lists::Anew, &["update"]).await;
    assert!(updated.status.success() && !old, "{updated:?}");
    let (fetched, old) = place.apt("cache", Lists::Anew, &["download", "depa"]).await;
    assert!(fetched.status.success() && !old, "{fetched:?}");
    assert_eq!(place.got(), "it is two");
}
