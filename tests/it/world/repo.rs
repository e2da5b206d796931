//! A developer's work tree of one package, and commits that build quickly.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Answer, run};

/// What a small native package does when it is built. It needs nothing but build-essential.
#[derive(Debug, Clone, Copy)]
pub enum Tiny {
    /// Makes one `Architecture: all` package that holds the version.
    Works,
    /// The same, and takes its time over it.
    Dawdles,
    /// Sleeps for ten minutes in a process of this name, after having said so.
    Sleeps,
    /// Fails, after having written terminal control sequences to the log.
    Fails,
}

impl Tiny {
    /// The command line of the process that sleeps.
    pub const SLEEP: &str = "sleep 614";

    fn build(self) -> &'static str {
        match self {
            Tiny::Works => "true",
            Tiny::Dawdles => "sleep 4",
            Tiny::Sleeps => "echo sleeping-now; sleep 614",
            Tiny::Fails => "printf 'so it ends \\033[31mred\\033[0m\\n'; exit 3",
        }
    }
}

/// A work tree whose remote is the package's repository.
pub struct Repo {
    /// The package.
    pub package: String,
    /// The work tree.
    pub dir: PathBuf,
    _temp: tempfile::TempDir,
}

impl Repo {
    /// An empty work tree for a package whose repository exists.
    pub fn new(package: &str) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("tree");
        run("git", &["init", "-q", "-b", "main", dir.to_str().unwrap()]);
        let repo = Self { package: package.to_owned(), dir, _temp: temp };
        repo.git(&["remote", "add", "origin", &bare(package)]);
        repo.git(&[
            "config",
            "remote.origin.receivepack",
            "/run/world/bin/as-service git-receive-pack",
        ]);
        repo
    }

    /// A work tree of a repository that has commits, with its branch main checked out.
    pub fn cloned(package: &str) -> Self {
        let repo = Self::new(package);
        repo.git(&["fetch", "-q", "origin"]);
        repo.git(&["checkout", "-q", "main"]);
        repo
    }

    /// Runs git in the work tree.
    pub fn git(&self, args: &[&str]) -> String {
        let mut all = vec!["-C", self.dir.to_str().unwrap()];
        all.extend(args);
        run("git", &all)
    }

    /// Pushes these refspecs to a repository, as its people would.
    pub fn push(&self, to: &str, refspecs: &[&str]) -> Answer {
        let mut git = Command::new("git");
        git.arg("-C").arg(&self.dir).args(["-c", "advice.pushUpdateRejected=false", "push", "-q"]);
        git.arg("--receive-pack=/run/world/bin/as-service git-receive-pack");
        Answer::of(git.arg(to).args(refspecs))
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Puts a text in place of the first that is like `old` in a file.
    pub fn edit(&self, path: &str, old: &str, new: &str) {
        let text = fs::read_to_string(self.dir.join(path)).unwrap();
        self.write(path, &text.replacen(old, new, 1));
    }

    /// Has the small package be built with `greeting`, and run this line when its files are put
    /// together.
    pub fn need_greeting(&self, line: &str) {
        let old = "Rules-Requires-Root";
        self.edit("debian/control", old, &format!("Build-Depends: greeting\n{old}"));
        let old = "\tdpkg-gencontrol\n";
        self.edit("debian/rules", old, &format!("\t{line}\n{old}"));
    }

    /// Commits everything and pushes it to the branch that is checked out; the commit's id.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["push", "-q", "origin", "HEAD"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// The files of a small package at this version, committed and pushed.
    pub fn version(&self, version: &str, kind: Tiny) -> String {
        self.tiny(version, kind);
        self.commit(version)
    }

    /// Writes the files of a small package.
    pub fn tiny(&self, version: &str, kind: Tiny) {
        let name = &self.package;
        self.changelog(name, version);
        self.write("debian/source/format", "3.0 (native)\n");
        self.write(
            "debian/control",
            &format!(
                "Source: {name}\nSection: misc\nPriority: optional\nMaintainer: Alice <alice@example.org>\n\
                 Standards-Version: 4.6.2\nRules-Requires-Root: no\n\nPackage: {name}\nArchitecture: all\n\
                 Description: small package\n It is there to be built.\n"
            ),
        );
        let build = kind.build();
        self.write(
            "debian/rules",
            &format!(
                "#!/usr/bin/make -f\nbuild build-indep build-arch:\n\t{build}\n\
                 binary: binary-indep\nbinary-arch:\nbinary-indep: build\n\
                 \tmkdir -p debian/tmp/DEBIAN debian/tmp/usr/share/{name}\n\
                 \techo {version} >debian/tmp/usr/share/{name}/version\n\
                 \tdpkg-gencontrol\n\tdpkg-deb --root-owner-group -Zgzip --build debian/tmp ..\n\
                 clean:\n\trm -rf debian/tmp debian/files\n"
            ),
        );
        fs::set_permissions(self.dir.join("debian/rules"), fs::Permissions::from_mode(0o755))
            .unwrap();
    }

    /// Writes a changelog with one entry.
    pub fn changelog(&self, source: &str, version: &str) {
        self.write(
            "debian/changelog",
            &format!(
                "{source} ({version}) unstable; urgency=medium\n\n  * A change.\n\n \
                 -- Alice <alice@example.org>  Mon, 06 Jan 2025 12:00:00 +0000\n"
            ),
        );
    }

    /// What a ref of the package's bare repository points at, peeled to a commit.
    pub fn served(&self, name: &str) -> Option<String> {
        rev(Path::new(&bare(&self.package)), name)
    }
}

/// The bare repository of a package.
pub fn bare(package: &str) -> String {
    format!("/srv/git/packages/{package}.git")
}

/// What a name stands for in a repository, as a commit.
pub fn rev(repo: &Path, name: &str) -> Option<String> {
    let commit = format!("{name}^{{commit}}");
    let answer = super::Answer::of(std::process::Command::new("git").arg("-C").arg(repo).args([
        "rev-parse",
        "--quiet",
        "--verify",
        &commit,
    ]));
    (answer.code == 0).then(|| answer.out.trim().to_owned())
}
