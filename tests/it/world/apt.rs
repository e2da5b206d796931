//! A machine whose only archive is ours: real apt with directories of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Answer, run};

/// apt, with one suite of our archive as its only source.
pub struct Apt {
    dir: tempfile::TempDir,
}

impl Apt {
    /// Trusts the archive's keys and knows the suite.
    pub fn new(suite: &str) -> Self {
        Self::trusting(suite, &key())
    }

    /// Trusts what is in this file alone.
    pub fn trusting(suite: &str, key: &Path) -> Self {
        Self::at("/srv/apt", suite, key)
    }

    /// Reads a suite of another archive, and trusts what is in this file alone.
    pub fn at(root: &str, suite: &str, key: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["lists/partial", "cache/archives/partial", "etc"] {
            fs::create_dir_all(dir.path().join(sub)).unwrap();
        }
        fs::write(dir.path().join("status"), "").unwrap();
        let source = format!("[signed-by={}] file:{root} {suite} main", key.display());
        fs::write(dir.path().join("etc/sources.list"), format!("deb {source}\ndeb-src {source}\n"))
            .unwrap();
        Self { dir }
    }

    /// Runs one of apt's programs in an empty directory of its own; what it printed, errors and
    /// warnings included.
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        self.try_run(program, args).ok().out.trim_end().to_owned()
    }

    fn try_run(&self, program: &str, args: &[&str]) -> Answer {
        let dir = self.dir.path().to_str().unwrap();
        let script = format!(
            "cd {dir}/cache && exec {program} -q -o Dir::Etc={dir}/etc -o Dir::Etc::parts=none \
             -o Dir::State::lists={dir}/lists -o Dir::State::status={dir}/status -o Dir::Cache={dir}/cache \
             -o APT::Sandbox::User=root -o Acquire::Languages=none \"$@\" 2>&1"
        );
        let mut all = vec!["-c", &script, program];
        all.extend(args);
        Answer::of(Command::new("sh").args(all))
    }

    /// Reads the archive's indexes; a warning is a failure.
    pub fn update(&self) -> &Self {
        let said = self.run("apt-get", &["update"]);
        assert!(!said.contains("W:") && !said.contains("E:"), "{said}");
        self
    }

    /// Whether apt takes the archive's signature.
    pub fn trusts(&self) -> bool {
        let said = self.try_run("apt-get", &["update"]);
        said.code == 0 && !said.out.contains("W:") && !said.out.contains("E:")
    }

    /// The version that would be installed.
    pub fn candidate(&self, package: &str) -> Option<String> {
        let said = self.run("apt-cache", &["policy", package]);
        let line = said.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
        line.filter(|version| *version != "(none)").map(str::to_owned)
    }

    /// Downloads a binary package and returns the contents of one of its files.
    pub fn file_of(&self, package: &str, path: &str) -> String {
        self.run("apt-get", &["download", package]);
        let deb = fs::read_dir(self.dir.path().join("cache"))
            .unwrap()
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|e| e == "deb"))
            .expect("apt downloaded a package");
        let script = format!("dpkg-deb --fsys-tarfile {} | tar -xO ./{path}", deb.display());
        let text = run("sh", &["-c", &script]);
        fs::remove_file(deb).unwrap();
        text
    }

    /// Installs packages that depend on nothing into an empty root, and returns what is installed
    /// there.
    pub fn install(&self, packages: &[&str]) -> Vec<String> {
        let root = tempfile::tempdir_in(self.dir.path()).unwrap();
        let database = root.path().join("var/lib/dpkg");
        fs::create_dir_all(database.join("info")).unwrap();
        fs::create_dir_all(database.join("updates")).unwrap();
        fs::write(database.join("status"), "").unwrap();
        let (root, database) = (root.path().display(), database.display());
        let status = format!("Dir::State::status={database}/status");
        let extended = format!("Dir::State::extended_states={database}/extended_states");
        let (log, dpkg) = (format!("Dir::Log={root}"), format!("DPkg::Options::=--root={root}"));
        let mut args =
            vec!["-y", "-o", &status, "-o", &extended, "-o", &log, "-o", &dpkg, "install"];
        args.extend(packages);
        self.run("apt-get", &args);
        let admindir = format!("--admindir={database}");
        let there = run(
            "dpkg-query",
            &[&admindir, "-W", "-f", "${Package} ${Version} ${db:Status-Status}\n"],
        );
        there
            .lines()
            .filter_map(|line| line.strip_suffix(" installed"))
            .map(str::to_owned)
            .collect()
    }

    /// Downloads a source package, and returns the names of its files.
    pub fn source_of(&self, package: &str) -> Vec<String> {
        self.run("apt-get", &["source", "--download-only", package]);
        let entries = fs::read_dir(self.dir.path().join("cache")).unwrap().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.retain(|name| name.starts_with(&format!("{package}_")));
        names.sort();
        names
    }
}

/// The archive's public key, which it serves itself.
fn key() -> PathBuf {
    let served = fs::read_dir("/srv/apt").unwrap().flatten().map(|entry| entry.path());
    served
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "asc"))
        .expect("the archive serves its key")
}
