//! Evaluates entries for one principal, and the ACL files that they include, as remctld(8) does.

use std::path::{Path, PathBuf};

use crate::acl::file::{self, AclLine, MAX_DEPTH};
use crate::acl::program::EntryPrograms;
use crate::acl::syntax::{ANONYMOUS, Parsed, Scheme, parse, shown};
use crate::acl::trust::untrusted;
use crate::acl::{localgroup, pattern};
use invirtibuilder_api::acl::EvaluationStep;
use invirtibuilder_core::names::Principal;

/// The most entries that one decision may look at: files that are included over and over end here.
const MAX_ENTRIES: usize = 200_000;

/// The outcome of an entry for the principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryOutcome {
    /// It admits the principal.
    Match,
    /// It says nothing about the principal.
    NoMatch,
    /// It refuses the principal, whatever comes later.
    Deny,
    /// It is an error, for this reason: it refuses the principal.
    Error(String),
}

impl EntryOutcome {
    /// Writes the outcome in words.
    fn words(&self) -> String {
        match self {
            EntryOutcome::Match => "match".to_owned(),
            EntryOutcome::NoMatch => "no match".to_owned(),
            EntryOutcome::Deny => "deny".to_owned(),
            EntryOutcome::Error(why) => format!("error: {why}"),
        }
    }
}

/// The outcome of an entry, and the entries inside it that led to it: none if it says nothing.
#[derive(Debug)]
pub struct Verdict {
    /// The outcome.
    pub outcome: EntryOutcome,
    /// The entries that counted, the outer before the inner.
    pub chain: Vec<EvaluationStep>,
}

impl From<EntryOutcome> for Verdict {
    fn from(outcome: EntryOutcome) -> Self {
        Self { outcome, chain: Vec::new() }
    }
}

impl Verdict {
    /// Makes the verdict of an error with nothing below it.
    pub fn error(why: impl Into<String>) -> Self {
        EntryOutcome::Error(why.into()).into()
    }
}

/// The evaluation of an ACL for one principal.
pub struct Evaluation<'a> {
    who: &'a Principal,
    programs: &'a EntryPrograms<'a>,
    looked_at: usize,
    /// The files that are being read, so that one that includes itself is found.
    open: Vec<PathBuf>,
}

impl<'a> Evaluation<'a> {
    /// Starts an evaluation that has looked at nothing yet.
    pub fn new(who: &'a Principal, programs: &'a EntryPrograms<'a>) -> Self {
        Self { who, programs, looked_at: 0, open: Vec::new() }
    }

    /// Evaluates an entry that stands at `place`.
    pub fn entry(&mut self, place: &str, entry: &[u8], default: Scheme) -> Verdict {
        let depth = self.open.len();
        self.looked_at += 1;
        let inner = if self.looked_at > MAX_ENTRIES {
            Verdict::error(format!("more than {MAX_ENTRIES} entries are in the way"))
        } else {
            self.evaluate(entry, default)
        };
        let include = if default == Scheme::File && depth > 0 { "include " } else { "" };
        let text = format!("{include}{}", String::from_utf8_lossy(entry));
        let mut chain = vec![EvaluationStep {
            place: place.to_owned(),
            text,
            result: inner.outcome.words(),
            depth,
        }];
        if inner.outcome != EntryOutcome::NoMatch {
            chain.extend(inner.chain);
        }
        Verdict { outcome: inner.outcome, chain }
    }

    fn evaluate(&mut self, entry: &[u8], default: Scheme) -> Verdict {
        let parsed = match parse(entry, default) {
            Ok(parsed) => parsed,
            Err(why) => return Verdict::error(why),
        };
        match parsed {
            Parsed::File(path) => in_path(self, path),
            Parsed::Princ(name) => when(name == self.who.as_str().as_bytes()).into(),
            Parsed::AnyUser { anonymous } => {
                when(anonymous || self.who.as_str() != ANONYMOUS).into()
            }
            Parsed::Deny(inner) => {
                let mut verdict = self.evaluate(inner, Scheme::Princ);
                verdict.outcome = match verdict.outcome {
                    EntryOutcome::Match => EntryOutcome::Deny,
                    EntryOutcome::NoMatch | EntryOutcome::Deny => EntryOutcome::NoMatch,
                    error @ EntryOutcome::Error(_) => error,
                };
                verdict
            }
            Parsed::Regex(text) => decided(pattern::posix(text, self.who.as_str())),
            Parsed::Pcre(text) => decided(pattern::pcre(text, self.who.as_str())),
            Parsed::LocalGroup(group) => decided(localgroup::holds(group, self.who)),
            // The files are remctld's, which knows neither: what it refuses there, we refuse.
            Parsed::Exec(_) | Parsed::Other(_) if !self.open.is_empty() => {
                Verdict::error(match parsed {
                    Parsed::Exec(_) => {
                        "exec: is for the configuration, not for ACL files".to_owned()
                    }
                    _ => format!("the scheme of {} is not known", shown(entry)),
                })
            }
            Parsed::Exec(program) => {
                decided(self.programs.exec(program).map(|list| list.contains(self.who)))
            }
            Parsed::Other(_) => {
                decided(self.programs.locator(entry).map(|list| list.contains(self.who)))
            }
        }
    }
}

fn when(matches: bool) -> EntryOutcome {
    if matches { EntryOutcome::Match } else { EntryOutcome::NoMatch }
}

fn decided(result: Result<bool, String>) -> Verdict {
    match result {
        Ok(matches) => when(matches).into(),
        Err(why) => Verdict::error(why),
    }
}

/// Evaluates a file, or all files of a directory.
fn in_path(evaluation: &mut Evaluation, path: &Path) -> Verdict {
    let fail = |why: &str| Verdict::error(format!("{}: {why}", path.display()));
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return fail(&error.to_string()),
    };
    if let Some(why) = untrusted(path) {
        return fail(&why);
    }
    if !metadata.is_dir() && !metadata.is_file() {
        return fail("it is neither a file nor a directory");
    }
    if evaluation.open.iter().any(|open| open == path) {
        return fail("it includes itself");
    }
    if evaluation.open.len() >= MAX_DEPTH {
        return fail(&format!("more than {MAX_DEPTH} files include one another"));
    }
    evaluation.open.push(path.to_owned());
    let verdict =
        if metadata.is_dir() { in_directory(evaluation, path) } else { in_file(evaluation, path) };
    evaluation.open.pop();
    verdict
}

/// Evaluates all files of a directory. Every file counts, even after a match: any that fails or
/// denies decides. remctld stops at the first of these in the order in which the directory happens
/// to be; an error is the one that no `deny:` around it can turn.
fn in_directory(evaluation: &mut Evaluation, path: &Path) -> Verdict {
    let names = match file::names(path) {
        Ok(names) => names,
        Err(error) => return Verdict::error(format!("{}: {error}", path.display())),
    };
    let mut decided = Verdict::from(EntryOutcome::NoMatch);
    for name in names {
        let verdict = in_path(evaluation, &path.join(name));
        match (&decided.outcome, &verdict.outcome) {
            (_, EntryOutcome::Error(_)) => return verdict,
            (_, EntryOutcome::Deny) | (EntryOutcome::NoMatch, EntryOutcome::Match) => {
                decided = verdict;
            }
            (_, EntryOutcome::NoMatch | EntryOutcome::Match) => {}
        }
    }
    decided
}

/// Evaluates the lines of a file. The first line that says anything decides; later ones are not
/// even parsed.
fn in_file(evaluation: &mut Evaluation, path: &Path) -> Verdict {
    let bytes = match file::read(path) {
        Ok(bytes) => bytes,
        Err(why) => return Verdict::error(format!("{}: {why}", path.display())),
    };
    for (number, line) in file::parse(&bytes) {
        let place = format!("{}:{number}", path.display());
        let verdict = match line {
            AclLine::Entry(entry, default) => evaluation.entry(&place, &entry, default),
            AclLine::Bad(why) => Verdict::error(format!("{place}: {why}")),
        };
        if verdict.outcome != EntryOutcome::NoMatch {
            return verdict;
        }
    }
    EntryOutcome::NoMatch.into()
}

#[cfg(test)]
mod tests {
    use crate::acl::evaluate::*;
    use crate::acl::syntax::ANONYMOUS;
    use invirtibuilder_core::config::Config;

    fn outcome(entry: &str, default: Scheme, who: &str) -> EntryOutcome {
        let who = Principal::from_authenticated(who).unwrap();
        let config = Config::default();
        let programs = EntryPrograms::new(&config, "prod");
        Evaluation::new(&who, &programs).entry("here", entry.as_bytes(), default).outcome
    }

    #[test]
    fn schemes_are_as_in_remctld() {
        use EntryOutcome::*;
        let alice = |entry| outcome(entry, Scheme::Princ, "alice@R");
        assert_eq!(alice("alice@R"), Match);
        assert_eq!(alice("princ:alice@R"), Match);
        assert_eq!(alice("princ:alice"), NoMatch);
        assert_eq!(alice("ANYUSER"), Match);
        assert_eq!(alice("anyuser:auth"), Match);
        assert_eq!(outcome("anyuser:auth", Scheme::Princ, ANONYMOUS), NoMatch);
        assert_eq!(outcome("anyuser:anonymous", Scheme::Princ, ANONYMOUS), Match);
        assert_eq!(alice("deny:alice@R"), Deny);
        assert_eq!(alice("deny:princ:bob@R"), NoMatch);
        assert_eq!(alice("deny:deny:alice@R"), NoMatch);
        assert_eq!(alice("regex:^alice@"), Match);
        assert_eq!(alice("deny:regex:^alice@"), Deny);
        assert_eq!(alice("pcre:^(?!alice)"), NoMatch);
        assert_eq!(alice("localgroup:no-such-group"), NoMatch);
        for error in [
            "anyuser:x",
            "Princ:alice@R",
            "gput:x",
            "deny:nonsense:x",
            "file:/nonexistent",
            ":x",
            "regex:[",
        ] {
            assert!(matches!(alice(error), Error(_)), "{error}");
        }
        assert!(matches!(outcome("/nonexistent", Scheme::File, "alice@R"), Error(_)));
        assert_eq!(alice("/nonexistent"), NoMatch);
    }

    fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let text = text.replace("DIR", dir.path().to_str().unwrap());
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    fn alice(path: &Path) -> EntryOutcome {
        let who = Principal::from_authenticated("alice@R").unwrap();
        let config = Config::default();
        let programs = EntryPrograms::new(&config, "prod");
        in_path(&mut Evaluation::new(&who, &programs), path).outcome
    }

    fn of(text: &str) -> EntryOutcome {
        let dir = dir(&[("a", text), ("bobs", "bob@R\n"), ("alices", "# us\nalice@R\n")]);
        alice(&dir.path().join("a"))
    }

    #[test]
    fn files_are_read_as_remctld_reads_them() {
        use EntryOutcome::*;
        for (text, want) in [
            ("", NoMatch),
            ("# alice@R\n", NoMatch),
            ("  alice@R\t\r\x0b\n", Match),
            ("bob@R\nalice@R", Match),
            ("deny:alice@R\nalice@R\n", Deny),
            ("alice@R\nthis is no entry\n", Match),
            ("include DIR/alices\n", Match),
            ("include \t DIR/alices \n", Match),
            ("include DIR/bobs\n", NoMatch),
            ("include\tDIR/alices\n", NoMatch),
            ("include file:DIR/alices\n", Match),
            ("alice@R\0rubbish\n", Match),
            ("file:DIR/bobs\nprinc:alice@R\n", Match),
            ("a\tb\nalice@R\n", Match),
        ] {
            assert_eq!(of(text), want, "{text:?}");
        }
        for text in [
            "a b\n",
            "include\tx y\n",
            "include DIR/missing\n",
            "include DIR/a\n",
            "x:y\nalice@R\n",
            "exec:/bin/true\nalice@R\n",
            "\x0cinclude DIR/alices\n",
        ] {
            assert!(matches!(of(text), Error(_)), "{text:?}");
        }
        assert!(matches!(of(&format!("{}\nalice@R\n", "#".repeat(8190))), Error(_)));
        assert_eq!(of(&format!("{}\nalice@R\n", "#".repeat(8189))), Match);
        assert_eq!(of(&format!("alice@R\0{}\n", "#".repeat(20_000))), Match);
    }

    #[test]
    fn of_a_directory_every_file_counts() {
        let files = dir(&[("a", "alice@R\n"), ("b", ""), ("not.this", "deny:alice@R\n")]);
        std::fs::create_dir(files.path().join("sub")).unwrap();
        assert_eq!(alice(files.path()), EntryOutcome::Match);
        std::fs::write(files.path().join("c"), "deny:alice@R\n").unwrap();
        assert_eq!(alice(files.path()), EntryOutcome::Deny);
        std::os::unix::fs::symlink("/nonexistent", files.path().join("dangling")).unwrap();
        assert!(matches!(alice(files.path()), EntryOutcome::Error(_)));
    }

    #[test]
    fn what_others_may_write_admits_nobody() {
        use std::os::unix::fs::PermissionsExt;
        let files = dir(&[("a", "alice@R\n")]);
        let path = files.path().join("a");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(alice(&path), EntryOutcome::Error(_)));
    }

    #[test]
    fn includes_go_so_deep_and_entries_are_so_many_and_no_more() {
        let chain = |length: usize| {
            let all: Vec<(String, String)> = (1..length)
                .map(|n| (format!("f{n}"), format!("include DIR/f{}\n", n + 1)))
                .collect();
            let mut all: Vec<(&str, &str)> =
                all.iter().map(|(name, text)| (&name[..], &text[..])).collect();
            let last = format!("f{length}");
            all.push((&last, "alice@R\n"));
            alice(&dir(&all).path().join("f1"))
        };
        assert_eq!(chain(MAX_DEPTH), EntryOutcome::Match);
        let said = chain(MAX_DEPTH + 1);
        assert!(matches!(said, EntryOutcome::Error(why) if why.contains("include one another")));
        let nobody = format!("{}alice@R\n", "bob@R\n".repeat(MAX_ENTRIES));
        let said = of(&nobody);
        assert!(matches!(said, EntryOutcome::Error(why) if why.contains("entries are in the way")));
        assert_eq!(of(&nobody["bob@R\n".len()..]), EntryOutcome::Match);
    }
}
