//! Runs the programs that decide who belongs to an ACL: `exec:PROGRAM`, and `acl.locator_command`
//! for Invirt's locators such as `system:xvm-root`.
//!
//! We ask a program for everybody who has access, and it prints their principals, one a line.
//! Whatever else it does (it is not there, others may write it, it fails, takes too long, prints
//! too much or something that is no principal) is an error, so that the ACL admits nobody. We keep
//! an answer for `acl.cache`, but never an error.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::acl::syntax::shown;
use crate::acl::trust::untrusted;
use crate::identity;
use invirtibuilder_core::config::Config;
use invirtibuilder_core::names::Principal;
use invirtibuilder_core::time::now;
use invirtibuilder_system::subprocess::Cmd;

/// The most that a program may print, in bytes.
const MAX_OUTPUT: usize = 1 << 20;

/// The principals that a program printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members(BTreeSet<String>);

impl Members {
    /// Tells whether a principal is one of them.
    pub fn contains(&self, who: &Principal) -> bool {
        self.0.contains(who.as_str())
    }

    /// Lists all of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Reads a program's output: principals without spaces, one a line. It skips empty lines and
    /// lines that begin with `#`.
    pub fn parse(output: &[u8], realm: Option<&str>) -> Result<Self, String> {
        let mut members = BTreeSet::new();
        for (n, line) in output.split(|&c| c == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            // A principal may have a space, but two on one line are a mistake.
            let text = std::str::from_utf8(line).ok().filter(|text| !text.contains(' '));
            let name = text.and_then(|name| identity::qualified(name, realm).ok());
            let name = name.ok_or_else(|| {
                format!("line {} of its output, {}, is no principal", n + 1, shown(line))
            })?;
            members.insert(name.into());
        }
        Ok(Self(members))
    }
}

/// An answer in the cache.
#[derive(Serialize, Deserialize)]
struct Cached {
    at: i64,
    members: BTreeSet<String>,
}

/// The programs that the entries of one ACL may run.
pub struct EntryPrograms<'a> {
    config: &'a Config,
    subject: &'a str,
}

impl<'a> EntryPrograms<'a> {
    /// Makes the programs of the ACL of `subject`: a pocket, or `create-repo` or `admins` for the
    /// lists of those names.
    pub fn new(config: &'a Config, subject: &'a str) -> Self {
        Self { config, subject }
    }

    /// Returns everybody whom `PROGRAM SUBJECT` prints.
    pub fn exec(&self, program: &Path) -> Result<Members, String> {
        self.ask(program, OsStr::new(self.subject))
    }

    /// Returns everybody whom `acl.locator_command LOCATOR` prints.
    pub fn locator(&self, locator: &[u8]) -> Result<Members, String> {
        match &self.config.acl.locator_command {
            Some(program) => self.ask(program, OsStr::from_bytes(locator)),
            None => Err(format!(
                "the scheme of {} is not known, and there is no acl.locator_command",
                shown(locator)
            )),
        }
    }

    fn ask(&self, program: &Path, argument: &OsStr) -> Result<Members, String> {
        let cache = self.cache_file(program, argument);
        if let Some(members) = self.cached(&cache) {
            return Ok(members);
        }
        let members =
            self.run(program, argument).map_err(|why| format!("{}: {why}", program.display()))?;
        // Without a cache it is slower, and as right.
        let _ = keep(&cache, &members);
        Ok(members)
    }

    fn run(&self, program: &Path, argument: &OsStr) -> Result<Members, String> {
        if !program.is_absolute() {
            return Err("the program's path is relative: write it from / on".to_owned());
        }
        if let Some(why) = untrusted(program) {
            return Err(why);
        }
        let cmd =
            Cmd::new(program).arg(argument).total(self.config.acl.timeout).capture(MAX_OUTPUT);
        let done = cmd.run_blocking().map_err(|error| format!("{error:#}"))?;
        let output = done.success().map_err(|error| format!("{error:#}"))?;
        Members::parse(&output, self.config.realm.as_deref())
    }

    fn cache_file(&self, program: &Path, argument: &OsStr) -> PathBuf {
        let mut hasher = Sha256::new();
        for part in [program.as_os_str(), argument] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        let name = invirtibuilder_core::text::hex(&hasher.finalize());
        self.config.state_dir.join("acl-cache").join(name)
    }

    /// Reads an answer of the cache that is young enough. One from the future is not: the clock was
    /// set.
    fn cached(&self, file: &Path) -> Option<Members> {
        let cached: Cached = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        let age = now().checked_sub(cached.at)?;
        (age >= 0 && (age as u128) < self.config.acl.cache.as_millis())
            .then_some(Members(cached.members))
    }
}

/// Puts an answer in the cache, in one piece.
fn keep(file: &Path, members: &Members) -> std::io::Result<()> {
    let dir = file.parent().unwrap_or(Path::new("/"));
    invirtibuilder_system::private::create_dir(dir)?;
    let mut new = tempfile::NamedTempFile::new_in(dir)?;
    let cached = Cached { at: now(), members: members.0.clone() };
    new.write_all(&serde_json::to_vec(&cached)?)?;
    new.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use crate::acl::program::*;

    struct Place {
        dir: tempfile::TempDir,
        config: Config,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let mut config = Config {
                state_dir: dir.path().to_owned(),
                realm: Some("R".into()),
                ..Config::default()
            };
            config.acl.cache = Duration::ZERO;
            Self { dir, config }
        }

        fn program(&self, script: &str) -> PathBuf {
            let path = self.dir.path().join("program");
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        }

        fn exec(&self, script: &str) -> Result<Vec<String>, String> {
            let program = self.program(script);
            EntryPrograms::new(&self.config, "prod")
                .exec(&program)
                .map(|members| members.iter().map(str::to_owned).collect())
        }
    }

    #[test]
    fn a_program_gets_the_pocket_and_prints_principals() {
        let place = Place::new();
        let got = place
            .exec("echo \"$1@R\"; echo; echo '# us'; echo bob; echo ' carol/admin@OTHER '")
            .unwrap();
        assert_eq!(got, ["bob@R", "carol/admin@OTHER", "prod@R"]);
        assert_eq!(
            place.exec("env | grep -c -v -e ^PATH= -e ^LC_ALL= -e ^PWD= -e ^_=; true").unwrap(),
            ["0@R"]
        );
    }

    #[test]
    fn whatever_goes_wrong_is_an_error() {
        let mut place = Place::new();
        place.config.acl.timeout = Duration::from_millis(500);
        for (script, word) in [
            ("echo alice@R; exit 3", "status 3"),
            ("echo alice@R; kill -9 $$", "signal 9"),
            ("echo alice@R; sleep 100", "too long"),
            ("echo alice@R; yes", "too much"),
            ("echo alice@R; echo 'two words'", "line 2"),
            ("printf 'alice@R\\n\\033[2J\\n'", "line 2"),
            ("printf 'alice@R\\n\\377\\n'", "line 2"),
            ("echo local:root", "line 1"),
        ] {
            let why = place.exec(script).unwrap_err();
            assert!(why.contains(word), "{script}: {why}");
        }
        let programs = EntryPrograms::new(&place.config, "prod");
        assert!(programs.exec(Path::new("/nonexistent")).unwrap_err().contains("cannot run"));
        assert!(programs.exec(Path::new("true")).unwrap_err().contains("relative"));
        assert!(programs.locator(b"system:xvm-root").unwrap_err().contains("acl.locator_command"));
        let program = place.program("echo alice@R");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o757)).unwrap();
        assert!(
            EntryPrograms::new(&place.config, "prod")
                .exec(&program)
                .unwrap_err()
                .contains("others may write")
        );
    }

    #[test]
    fn a_locator_is_passed_as_it_stands() {
        let mut place = Place::new();
        place.config.acl.locator_command =
            Some(place.program("[ \"$1\" = system:xvm-root ] && echo alice"));
        let programs = EntryPrograms::new(&place.config, "prod");
        let who = Principal::from_authenticated("alice@R").unwrap();
        assert!(programs.locator(b"system:xvm-root").unwrap().contains(&who));
        assert!(programs.locator(b"system:other").is_err());
    }

    #[test]
    fn an_answer_is_kept_for_a_while_and_an_error_is_not() {
        let mut place = Place::new();
        let script = format!("echo x >> {0}/count; cat {0}/answer", place.dir.path().display());
        let count =
            |place: &Place| std::fs::read(place.dir.path().join("count")).unwrap().len() / 2;
        place.config.acl.cache = Duration::from_secs(3600);
        assert!(place.exec(&script).is_err());
        std::fs::write(place.dir.path().join("answer"), "alice@R\n").unwrap();
        assert_eq!(place.exec(&script).unwrap(), ["alice@R"]);
        std::fs::write(place.dir.path().join("answer"), "bob@R\n").unwrap();
        assert_eq!(place.exec(&script).unwrap(), ["alice@R"]);
        assert_eq!(count(&place), 2);
        place.config.acl.cache = Duration::ZERO;
        assert_eq!(place.exec(&script).unwrap(), ["bob@R"]);
        assert_eq!(count(&place), 3);
    }
}
