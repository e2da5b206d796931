//! Finds what is wrong with an ACL although it can be read: entries that can never match or that
//! nobody ever gets to, files that others may write, loops. It runs no program.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::acl::file::{self, AclLine};
use crate::acl::syntax::{Parsed, Scheme, parse, shown};
use crate::acl::trust::untrusted;
use crate::acl::{localgroup, pattern};
use invirtibuilder_api::acl::Finding;
use invirtibuilder_core::config::{AclEntry, Config};

/// Looks at every ACL of the configuration, and at the files that they name.
pub fn lint(config: &Config) -> Vec<Finding> {
    let mut lint = Lint { config, found: BTreeSet::new(), open: Vec::new(), done: BTreeMap::new() };
    let pockets = config.build.pockets.values().flat_map(|pocket| [&pocket.acl, &pocket.priority]);
    for entries in
        pockets.chain([&config.acl.create_repo, &config.acl.admins, &config.acl.operators])
    {
        lint.list(entries);
    }
    let finding = |(place, message, refuses)| Finding { message, place, refuses };
    lint.found.into_iter().map(finding).collect()
}

/// The effect of an entry on everybody who gets to it, as far as we can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Always {
    /// It depends on who asks.
    Depends,
    /// It admits everybody: nobody gets further.
    Match,
    /// It refuses everybody: nobody gets further.
    Error,
}

struct Lint<'a> {
    config: &'a Config,
    /// Place, fault, and whether it refuses everybody: in the order of the places.
    found: BTreeSet<(String, String, bool)>,
    open: Vec<PathBuf>,
    done: BTreeMap<PathBuf, Always>,
}

impl Lint<'_> {
    fn say(&mut self, place: &str, refuses: bool, message: impl Into<String>) {
        self.found.insert((place.to_owned(), message.into(), refuses));
    }

    fn list(&mut self, entries: &[AclEntry]) {
        let mut end = None;
        for entry in entries {
            let place = entry.place();
            self.reached(&place, &end);
            let always = self.entry(&place, entry.text.as_bytes(), Scheme::File);
            end = end.or_else(|| ends(always, &place));
        }
    }

    /// Adds a finding if nobody gets to what stands at `place`.
    fn reached(&mut self, place: &str, end: &Option<(String, Always)>) {
        if let Some((by, always)) = end {
            let why = if *always == Always::Match {
                "admits everybody"
            } else {
                "is an error, which refuses everybody"
            };
            self.say(place, false, format!("nobody gets to this entry: the one at {by} {why}"));
        }
    }

    fn error(&mut self, place: &str, why: impl Into<String>) -> Always {
        self.say(place, true, why);
        Always::Error
    }

    fn entry(&mut self, place: &str, entry: &[u8], default: Scheme) -> Always {
        let parsed = match parse(entry, default) {
            Ok(parsed) => parsed,
            Err(why) => return self.error(place, why),
        };
        match parsed {
            Parsed::Princ(name) => {
                self.principal(place, name);
                Always::Depends
            }
            Parsed::AnyUser { anonymous } => {
                if anonymous {
                    Always::Match
                } else {
                    Always::Depends
                }
            }
            Parsed::Deny(inner) => {
                if inner.starts_with(b"/") {
                    let message = format!(
                        "deny:{0} is about a principal of that name, which there is not: write deny:file:{0}",
                        String::from_utf8_lossy(inner)
                    );
                    self.say(place, false, message);
                    return Always::Depends;
                }
                match self.entry(place, inner, Scheme::Princ) {
                    Always::Match => Always::Error,
                    other => other,
                }
            }
            Parsed::Regex(text) => self.compiles(place, pattern::posix(text, "")),
            Parsed::Pcre(text) => self.compiles(place, pattern::pcre(text, "")),
            Parsed::LocalGroup(group) => {
                if !localgroup::exists(group) {
                    self.say(
                        place,
                        false,
                        format!("there is no group {}: this matches nobody", shown(group)),
                    );
                }
                Always::Depends
            }
            Parsed::Exec(_) | Parsed::Other(_) if !self.open.is_empty() => {
                self.error(place, format!("{} cannot be used in an ACL file", shown(entry)))
            }
            Parsed::Exec(program) => self.program(place, program),
            Parsed::Other(_) => match self.config.acl.locator_command.clone() {
                Some(program) => self.program(place, &program),
                None => self.error(
                    place,
                    format!(
                        "the scheme of {} is not known, and there is no acl.locator_command",
                        shown(entry)
                    ),
                ),
            },
            Parsed::File(path) => self.file(place, path),
        }
    }

    fn principal(&mut self, place: &str, name: &[u8]) {
        let text = String::from_utf8_lossy(name);
        if !crate::identity::has_realm(&text) {
            let realm = self.config.realm.as_deref().unwrap_or("EXAMPLE.ORG");
            let path = if text.starts_with('/') {
                format!(", or file:{text} for a file")
            } else {
                String::new()
            };
            self.say(
                place,
                false,
                format!(
                    "{} has no realm and matches nobody: write {text}@{realm}{path}",
                    shown(name)
                ),
            );
        } else if text.chars().any(char::is_control)
            || text.split(' ').filter(|word| crate::identity::has_realm(word)).count() > 1
        {
            self.say(
                place,
                false,
                format!("{} is not one principal and matches nobody: one an entry", shown(name)),
            );
        }
    }

    fn compiles(&mut self, place: &str, compiled: Result<bool, String>) -> Always {
        match compiled {
            Ok(_) => Always::Depends,
            Err(why) => self.error(place, why),
        }
    }

    fn program(&mut self, place: &str, program: &Path) -> Always {
        let why = if !program.is_absolute() {
            "its path is relative: write it from / on".to_owned()
        } else if let Some(why) = untrusted(program) {
            why
        } else if let Err(errno) = nix::unistd::access(program, nix::unistd::AccessFlags::X_OK) {
            format!("it cannot be run: {}", errno.desc())
        } else {
            return Always::Depends;
        };
        self.error(place, format!("{}: {why}", program.display()))
    }

    fn file(&mut self, place: &str, path: &Path) -> Always {
        let fail = |why: &str| format!("{}: {why}", path.display());
        if self.open.iter().any(|open| open == path) || self.open.len() >= file::MAX_DEPTH {
            return self.error(place, fail("it includes itself"));
        }
        // What is wrong with it has been said.
        if let Some(always) = self.done.get(path) {
            return *always;
        }
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => return self.error(place, fail(&error.to_string())),
        };
        if let Some(why) = untrusted(path) {
            return self.error(place, fail(&why));
        }
        self.open.push(path.to_owned());
        let always =
            if metadata.is_dir() { self.directory(place, path) } else { self.lines(place, path) };
        self.open.pop();
        self.done.insert(path.to_owned(), always);
        always
    }

    fn directory(&mut self, place: &str, path: &Path) -> Always {
        let entries = match std::fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => return self.error(place, format!("{}: {error}", path.display())),
        };
        let (mut names, mut always) = (Vec::new(), Always::Depends);
        for entry in entries.flatten() {
            names.push(entry.file_name());
        }
        names.sort();
        for name in names {
            let file = path.join(&name);
            let shown = file.display().to_string();
            if file.is_dir() {
                self.say(
                    &shown,
                    false,
                    "a directory in a directory of ACL files is not read: include it by itself",
                );
            } else if !file::counts(&name) {
                let message =
                    "a file of this name is not read: use only letters, digits, '-' and '_'";
                self.say(&shown, false, message);
            } else if self.file(place, &file) == Always::Error {
                always = Always::Error;
            }
        }
        always
    }

    fn lines(&mut self, place: &str, path: &Path) -> Always {
        let bytes = match file::read(path) {
            Ok(bytes) => bytes,
            Err(why) => return self.error(place, format!("{}: {why}", path.display())),
        };
        if bytes.windows(2).any(|pair| pair == b"\r\n") {
            let message = "lines end in CR LF: remctld takes the CR for white space, other programs do not; take it away";
            self.say(&path.display().to_string(), false, message);
        }
        let mut end = None;
        for (number, line) in file::parse(&bytes) {
            let place = format!("{}:{number}", path.display());
            self.reached(&place, &end);
            let always = match line {
                AclLine::Entry(entry, default) => self.entry(&place, &entry, default),
                AclLine::Bad(why) => self.error(&place, why),
            };
            end = end.or_else(|| ends(always, &place));
        }
        end.map_or(Always::Depends, |(_, always)| always)
    }
}

fn ends(always: Always, place: &str) -> Option<(String, Always)> {
    (always != Always::Depends).then(|| (place.to_owned(), always))
}

#[cfg(test)]
mod tests {
    use crate::acl::lint::*;
    use std::os::unix::fs::PermissionsExt;

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn file(&self, name: &str, text: &str) -> String {
            let path = self.dir.path().join(name);
            std::fs::write(&path, text.replace("DIR", self.dir.path().to_str().unwrap())).unwrap();
            path.display().to_string()
        }

        fn lint(&self, entries: &[&str]) -> Vec<String> {
            let mut config = Config { realm: Some("R".into()), ..Config::default() };
            let dir = self.dir.path().to_str().unwrap();
            let entries = entries.iter().map(|text| AclEntry::from(text.replace("DIR", dir)));
            config.build.pockets.entry("prod".parse().unwrap()).or_default().acl =
                entries.collect();
            lint(&config)
                .iter()
                .map(|f| {
                    format!(
                        "{} {}: {}",
                        if f.refuses { "error" } else { "warning" },
                        f.place,
                        f.message
                    )
                })
                .map(|line| line.replace(&format!("{dir}/"), ""))
                .collect()
        }
    }

    #[track_caller]
    fn says(found: &[String], words: &[&str]) {
        assert!(
            found.iter().any(|line| words.iter().all(|word| line.contains(word))),
            "{words:?}: {found:#?}"
        );
    }

    #[test]
    fn entries_that_can_never_match_are_found() {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        place.file(
            "acl",
            "alice\n# bob\ndeny:/etc/passwd\n/etc/passwd\nlocalgroup:no-such-group\ncarol@R\t\x0bx\ndave@R\n",
        );
        let found = place.lint(&["file:DIR/acl"]);
        says(&found, &["warning acl:1: 'alice' has no realm", "alice@R"]);
        says(&found, &["warning acl:3: deny:/etc/passwd", "deny:file:/etc/passwd"]);
        says(&found, &["warning acl:4: '/etc/passwd' has no realm", "file:/etc/passwd"]);
        says(&found, &["warning acl:5: there is no group"]);
        says(&found, &["warning acl:6:", "not one principal"]);
        assert_eq!(found.len(), 5, "{found:#?}");
        says(
            &place.lint(&["princ:alice@R bob@R"]),
            &["warning configuration:", "not one principal"],
        );
        assert_eq!(place.lint(&["princ:dave smith@R"]), [""; 0]);
    }

    #[test]
    fn errors_and_what_stands_after_them_are_found() {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        place.file("acl", "alice@R\nnonsense:x\nbob@R\nregex:[\ntwo words\nexec:/bin/true\n");
        place.file("open", "anyuser:anonymous\ncarol@R\n");
        let found = place.lint(&[
            "file:DIR/acl",
            "file:DIR/missing",
            "file:DIR/open",
            "system:xvm-root",
            "exec:DIR/none",
        ]);
        says(&found, &["error acl:2:", "'nonsense:x'"]);
        says(&found, &["warning acl:3: nobody gets to this entry", "acl:2"]);
        says(&found, &["error acl:4:", "POSIX"]);
        says(&found, &["error acl:5:", "without spaces"]);
        says(&found, &["error acl:6:", "exec:/bin/true"]);
        says(&found, &["error configuration: missing:"]);
        says(&found, &["warning configuration: nobody gets to this entry"]);
        says(&found, &["warning open:2: nobody gets to this entry", "admits everybody"]);
        says(&found, &["error configuration:", "acl.locator_command"]);
        says(&found, &["error configuration: none: it cannot be run"]);
    }

    #[test]
    fn a_file_is_read_once_however_often_it_is_included() {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        place.file("f0", "include DIR/f1\ninclude DIR/f1\n");
        place.file("f1", "include DIR/f2\ninclude DIR/f2\n");
        place.file("f2", "alice\n");
        let found = place.lint(&["file:DIR/f0"]);
        says(&found, &["warning f2:1: 'alice' has no realm"]);
        assert_eq!(found.len(), 1, "{found:#?}");
    }

    #[test]
    fn directories_loops_line_ends_and_writable_files_are_found() {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(place.dir.path().join("d/sub")).unwrap();
        place.file("d/a.acl", "alice@R\n");
        place.file("d/b", "bob@R\r\n");
        place.file("x", "include DIR/x\n");
        let open = place.file("open", "alice@R\n");
        std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o666)).unwrap();
        let found = place.lint(&["DIR/d", "file:DIR/x", "file:DIR/open"]);
        says(&found, &["warning d/a.acl: a file of this name is not read"]);
        says(&found, &["warning d/sub: a directory in a directory"]);
        says(&found, &["warning d/b: lines end in CR LF"]);
        says(&found, &["error x:1:", "includes itself"]);
        says(&found, &["error configuration: open: others may write it"]);
        assert_eq!(place.lint(&["princ:alice@R", "exec:/bin/true", "file:DIR/d/b"]).len(), 1);
    }
}
