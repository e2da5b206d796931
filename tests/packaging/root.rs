//! A Debian root that `script/lib/packaging` has made, with packages to install in `/debs`.

use std::collections::BTreeMap;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};

use invirtibuilder_system::files::digest;
use invirtibuilder_tests_common::Answer;
use rusqlite::Connection;

/// The configuration.
pub const CONFIG: &str = "/etc/invirtibuilder/config.yaml";
/// Where the service keeps everything.
const STATE: &str = "/var/lib/invirtibuilder";
/// Where accounts are; a package may change none of what others have in them.
const ACCOUNTS: [&str; 4] = ["/etc/passwd", "/etc/group", "/etc/subuid", "/etc/subgid"];
/// Not looked at: logs, what apt and dpkg keep for themselves, and what is no part of the disk.
const ASIDE: [&str; 13] = [
    "/debs",
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/tmp",
    "/var/cache",
    "/var/log",
    "/var/lib/dpkg",
    "/var/lib/apt",
    "/root",
    "/var/backups",
    "/etc/.pwd.lock",
];

/// The root as it was before our packages, with what they depend on; a story that fails leaves the
/// lock poisoned, and the root to nobody.
static CLEAN: Mutex<Option<Listing>> = Mutex::new(None);

/// Our packages of one commit.
#[derive(Debug, Clone, Copy)]
pub enum Packages {
    /// Those of this tree.
    Ours,
    /// Those to upgrade from, of a lower version.
    Before,
}

/// The root, in which our packages are not installed until a story installs them.
pub struct Root {
    dir: PathBuf,
    clean: MutexGuard<'static, Option<Listing>>,
}

impl Root {
    /// Waits for its turn. The first story installs on a machine that has nothing, with what
    /// `Depends` names: an installation is whole there, too.
    pub fn clean() -> Self {
        let dir = std::env::var_os("IB_ROOT").expect(
            "these tests install and purge packages: run them with 'script/test --only packaging'",
        );
        let Ok(clean) = CLEAN.lock() else { panic!("an earlier story has failed in this root") };
        let mut root = Self { dir: dir.into(), clean };
        if root.clean.is_none() {
            for packages in [Packages::Before, Packages::Ours] {
                root.install(packages);
                root.is_installed();
                root.purge_everything();
            }
            *root.clean = Some(root.listing());
        }
        root
    }

    /// Where the host has a path of the root.
    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path.trim_start_matches('/'))
    }

    /// A file's text.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// Adds to a file's text.
    #[track_caller]
    pub fn append(&self, path: &str, text: &str) {
        let file = OpenOptions::new().append(true).open(self.path(path));
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.unwrap_or_else(|e| panic!("{path}: {e}"));
    }

    /// Whether there is anything of this name, a link that leads nowhere included.
    #[track_caller]
    pub fn has(&self, path: &str) -> bool {
        match self.path(path).symlink_metadata() {
            Ok(_) => true,
            Err(e) if e.kind() == ErrorKind::NotFound => false,
            Err(e) => panic!("{path}: {e}"),
        }
    }

    /// A file is there, and not empty.
    #[track_caller]
    pub fn has_contents(&self, what: &str, path: &str) {
        let size = fs::metadata(self.path(path)).map(|metadata| metadata.len());
        assert!(size.as_ref().is_ok_and(|size| *size > 0), "not so: {what}: {path}: {size:?}");
    }

    /// The names of all files below a directory, in their order.
    pub fn files(&self, dir: &str) -> Vec<String> {
        let (mut names, top) = (Vec::new(), self.path(dir));
        walk(&top, &|_| false, &mut |path, metadata| {
            if metadata.is_file() {
                names.push(name(&top, path));
            }
        });
        names.sort();
        names
    }

    /// Runs a command in the root.
    pub fn inside(&self, command: &[&str]) -> Answer {
        let mut chroot = Command::new("/usr/sbin/chroot");
        chroot.arg(&self.dir).args(command).env_clear().envs([
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("LC_ALL", "C.UTF-8"),
            ("DEBIAN_FRONTEND", "noninteractive"),
        ]);
        Answer::of(&mut chroot)
    }

    /// Has apt do something with packages; it keeps conffiles that were changed.
    #[track_caller]
    pub fn apt(&self, verb: &str, packages: &[&str]) {
        let mut command = vec!["apt-get", "-y", "-q", "-o", "Dpkg::Options::=--force-confold"];
        command.extend([verb, "--no-install-recommends"]);
        command.extend(packages);
        self.inside(&command).ok();
    }

    /// Installs our packages.
    #[track_caller]
    pub fn install(&self, packages: Packages) {
        let dir = match packages {
            Packages::Ours => "/debs",
            Packages::Before => "/debs/before",
        };
        let entries = fs::read_dir(self.path(dir)).unwrap_or_else(|e| panic!("{dir}: {e}"));
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let debs: Vec<_> = names
            .filter(|name| name.ends_with(".deb"))
            .map(|name| format!("{dir}/{name}"))
            .collect();
        assert_eq!(debs.len(), 2, "not invirtibuilder and invirtibuilder-remctl: {debs:?}");
        self.apt("install", &debs.iter().map(|deb| &deb[..]).collect::<Vec<_>>());
    }

    /// Purges our packages, and says that Git and archives may go with them.
    #[track_caller]
    pub fn purge_everything(&self) {
        let answer = "invirtibuilder invirtibuilder/purge_data boolean true";
        self.inside(&["sh", "-c", &format!("echo '{answer}' | debconf-set-selections")]).ok();
        self.apt("purge", &["invirtibuilder", "invirtibuilder-remctl"]);
    }

    /// What a life leaves: a signing key, Git, an archive, and a record with something in it.
    #[track_caller]
    pub fn live(&self) {
        self.inside(&["invirt-build", "init"]).ok();
        self.database("invirtibuilder.db").execute("CREATE TABLE ours (what TEXT)", []).unwrap();
        let ours = self.path("/etc/invirtibuilder/conf.d/10-ours.yaml");
        fs::write(ours, "hooks: { timeout: 7m }\n").unwrap();
        self.append("/etc/invirtibuilder/acl/prod", "# ours\n");
    }

    /// Our packages are installed, and everything of theirs is in its place.
    #[track_caller]
    pub fn is_installed(&self) {
        self.inside(&["invirt-build", "--version"]).ok();
        self.inside(&["invirt-build", "check-config"]).ok();
        for file in ["/etc/subuid", "/etc/subgid"] {
            let text = self.read(file);
            assert!(
                text.lines().any(is_our_range),
                "the user has no subordinate ids in {file}: {text}"
            );
        }
        let owner = self.inside(&["stat", "-c", "%U %a", STATE]).ok().out;
        assert_eq!(owner, "_invirtibuilder 750\n", "the state directory is the user's");
        // It exits with an error for conffiles that were changed, which is no harm.
        let verdict = self.inside(&["dpkg", "--verify", "invirtibuilder", "invirtibuilder-remctl"]);
        let broken: Vec<_> =
            verdict.out.lines().filter(|line| !line.starts_with("??5?????? c ")).collect();
        assert!(
            broken.is_empty() && verdict.err.is_empty(),
            "dpkg finds files broken: {verdict:?}"
        );
        for (what, path) in [
            ("remctld would read its configuration", "/etc/remctl/conf.d/invirtibuilder"),
            ("there is a manual", "/usr/share/man/man5/invirtibuilder.yaml.5.gz"),
            ("there is a schema", "/usr/share/invirtibuilder/config.schema.json"),
        ] {
            self.has_contents(what, path);
        }
    }

    /// What the administrator changed in a conffile is still there.
    #[track_caller]
    pub fn keeps_the_changed_conffile(&self) {
        let config = self.read(CONFIG);
        assert!(config.contains("local3"), "a changed conffile is not kept: {config}");
    }

    /// Puts an empty record of this schema in place of the one that is there.
    pub fn replace_record(&self, schema: &str, version: i64) {
        for name in self.files(STATE) {
            if name.starts_with("invirtibuilder.db") {
                fs::remove_file(self.path(STATE).join(name)).unwrap();
            }
        }
        let database = Connection::open(self.path(STATE).join("invirtibuilder.db")).unwrap();
        database.execute_batch(schema).unwrap();
        database.pragma_update(None, "user_version", version).unwrap();
        self.inside(&["chown", "_invirtibuilder:", &format!("{STATE}/invirtibuilder.db")]).ok();
    }

    /// The number of a database's schema.
    #[track_caller]
    pub fn schema(&self, name: &str) -> i64 {
        let number = self.database(name).query_row("PRAGMA user_version", [], |row| row.get(0));
        number.unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Everything that must never be lost while the package is not purged.
    pub fn treasures(&self) -> Listing {
        let mut found = BTreeMap::new();
        for top in ["/etc/invirtibuilder", "/srv", STATE] {
            for name in self.files(top) {
                let path = format!("{top}/{name}");
                let last = name.rsplit('/').next().unwrap();
                if last.contains(".db") || last.ends_with(".line") || path == CONFIG {
                    continue;
                }
                let (_, digest) = digest(&self.path(&path)).unwrap();
                found.insert(path, digest);
            }
        }
        let tables: i64 = self
            .database("invirtibuilder.db")
            .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
            .unwrap();
        found.insert("tables and indexes of the record".to_owned(), tables.to_string());
        Listing(found)
    }

    /// Users, and the ranges of ids that they have.
    pub fn accounts(&self) -> String {
        ["/etc/passwd", "/etc/subuid", "/etc/subgid"].map(|file| self.read(file)).concat()
    }

    /// Nothing is left of our packages, and nothing has gone with them.
    #[track_caller]
    pub fn is_as_it_was(&self) {
        self.listing().are(self.clean.as_ref().unwrap());
    }

    /// Everything that is on the disk and in the account files.
    fn listing(&self) -> Listing {
        let mut found = BTreeMap::new();
        let whole = |path: &Path| format!("/{}", name(&self.dir, path));
        let aside = |path: &Path| {
            let path = whole(path);
            let old = path.strip_suffix('-').is_some_and(|file| {
                ACCOUNTS.contains(&file) || ["/etc/shadow", "/etc/gshadow"].contains(&file)
            });
            old || ASIDE.contains(&&path[..])
        };
        walk(&self.dir, &aside, &mut |path, metadata| {
            let slash = if metadata.is_dir() { "/" } else { "" };
            let mode = metadata.permissions().mode() & 0o7777;
            found.insert(whole(path) + slash, format!("{mode:o} {}", metadata.uid()));
        });
        for file in ACCOUNTS {
            for (number, line) in self.read(file).lines().enumerate() {
                found.insert(format!("{file}, line {}", number + 1), line.to_owned());
            }
        }
        Listing(found)
    }

    /// A database of the service that is there.
    #[track_caller]
    fn database(&self, name: &str) -> Connection {
        let path = self.path(STATE).join(name);
        assert!(path.is_file(), "there is no {name}");
        Connection::open(path).unwrap()
    }
}

/// What was found at one time, by its name.
#[derive(Debug)]
pub struct Listing(BTreeMap<String, String>);

impl Listing {
    /// It is what was found before.
    #[track_caller]
    pub fn are(&self, before: &Self) {
        let lacks = |other: &Self, (name, facts): (&String, &String)| {
            (other.0.get(name) != Some(facts)).then(|| format!("{name} {facts}\n"))
        };
        let gone = before.0.iter().filter_map(|it| Some(format!("- {}", lacks(self, it)?)));
        let new = self.0.iter().filter_map(|it| Some(format!("+ {}", lacks(before, it)?)));
        let changes: String = gone.chain(new).collect();
        assert!(changes.is_empty(), "this has gone (-) or is left behind (+):\n{changes}");
    }
}

/// Whether a line of `/etc/subuid` or `/etc/subgid` gives the service's user what builds need.
fn is_our_range(line: &str) -> bool {
    let fields: Vec<_> = line.split(':').collect();
    let [user, first, count] = fields[..] else { return false };
    (user, count) == ("_invirtibuilder", "1048576") && first.bytes().all(|c| c.is_ascii_digit())
}

/// A path below `top`, as text.
fn name(top: &Path, path: &Path) -> String {
    let name = path.strip_prefix(top).unwrap();
    name.to_str().unwrap_or_else(|| panic!("{} is not UTF-8", path.display())).to_owned()
}

/// Calls `see` with a path and everything below it, but for what is put aside with all below it.
fn walk(path: &Path, aside: &dyn Fn(&Path) -> bool, see: &mut dyn FnMut(&Path, &Metadata)) {
    if aside(path) {
        return;
    }
    let fail = |e: std::io::Error| -> ! { panic!("{}: {e}", path.display()) };
    let metadata = path.symlink_metadata().unwrap_or_else(|e| fail(e));
    see(path, &metadata);
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap_or_else(|e| fail(e)) {
            walk(&entry.unwrap().path(), aside, see);
        }
    }
}
