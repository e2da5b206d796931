//! ACL files and directories of them, read as remctld reads them (remctld(8), "ACL files").

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::entry::{Evaluation, Outcome, Scheme, Verdict};
use super::trust::untrusted;

/// What remctld's line buffer holds: a line that fills it, with its newline, is an error.
const BUFFER: usize = 8191;

/// Larger files are not ACLs.
const MAX_FILE: u64 = 16 << 20;

/// Includes within includes; deeper is a mistake, or a loop by way of links.
pub(super) const MAX_DEPTH: usize = 64;

/// What a file, or all files of a directory, say.
pub fn evaluate(evaluation: &mut Evaluation, path: &Path) -> Verdict {
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
    let verdict = if metadata.is_dir() { directory(evaluation, path) } else { lines(evaluation, path) };
    evaluation.open.pop();
    verdict
}

/// Whether remctld reads a file of this name in a directory.
pub fn counts(name: &OsStr) -> bool {
    name.as_bytes().iter().all(|c| c.is_ascii_alphanumeric() || b"_-".contains(c))
}

/// The names in a directory that count, in order.
pub fn names(path: &Path) -> std::io::Result<Vec<OsString>> {
    let entries: std::io::Result<Vec<OsString>> =
        std::fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect();
    let mut names = entries?;
    names.retain(|name| counts(name) && !path.join(name).is_dir());
    names.sort();
    Ok(names)
}

/// Every file counts, even after a match: any that fails or denies decides. remctld stops at the first of these in the
/// order in which the directory happens to be; an error is the one that no `deny:` around it can turn.
fn directory(evaluation: &mut Evaluation, path: &Path) -> Verdict {
    let names = match names(path) {
        Ok(names) => names,
        Err(error) => return Verdict::error(format!("{}: {error}", path.display())),
    };
    let mut decided = Verdict::from(Outcome::NoMatch);
    for name in names {
        let verdict = evaluate(evaluation, &path.join(name));
        match (&decided.outcome, &verdict.outcome) {
            (_, Outcome::Error(_)) => return verdict,
            (_, Outcome::Deny) | (Outcome::NoMatch, Outcome::Match) => decided = verdict,
            (_, Outcome::NoMatch | Outcome::Match) => {}
        }
    }
    decided
}

/// A line of an ACL file that says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// An entry, and what it is without a scheme.
    Entry(Vec<u8>, Scheme),
    /// It cannot be evaluated.
    Bad(String),
}

/// The lines of a file that say something, each with its number, as remctld reads them: an entry or `include FILE` after
/// white space is taken off both ends; only a space separates words, and what fills the buffer is an error.
pub fn parse(text: &[u8]) -> impl Iterator<Item = (usize, Line)> + '_ {
    let mut rest = text;
    let mut number = 0;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let newline = rest.iter().position(|&c| c == b'\n').map_or(rest.len(), |at| at + 1);
            let (line, after) = rest.split_at(newline.min(BUFFER));
            // Once a line is longer than the buffer, what follows is another line to remctld; to people it is not.
            rest = after;
            number += 1;
            // remctld works on C strings.
            let line = line.split(|&c| c == 0).next().unwrap_or_default();
            if let Some(found) = self::line(line) {
                return Some((number, found));
            }
        }
        None
    })
}

fn line(line: &[u8]) -> Option<Line> {
    if line.len() >= BUFFER {
        return Some(Line::Bad(format!("the line is longer than {} bytes", BUFFER - 1)));
    }
    // isspace(3) in the C locale.
    let is_space = |c: &u8| c.is_ascii_whitespace() || *c == 0x0b;
    let end = line.iter().rposition(|c| !is_space(c))? + 1;
    let start = line.iter().position(|c| !is_space(c))?;
    if line[start] == b'#' {
        return None;
    }
    if !line[start..end].contains(&b' ') {
        return Some(Line::Entry(line[start..end].to_owned(), Scheme::Princ));
    }
    let mut words = line[..end].split(|c| b" \t".contains(c)).filter(|word| !word.is_empty());
    match (words.next(), words.next(), words.next()) {
        (Some(b"include"), Some(what), None) => Some(Line::Entry(what.to_owned(), Scheme::File)),
        _ => Some(Line::Bad("a line is one entry without spaces, or 'include FILE'".to_owned())),
    }
}

/// The bytes of a file that may be an ACL.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    match std::fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)) {
        Ok(n) if n as u64 > MAX_FILE => Err("it is larger than 16 MiB".to_owned()),
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

/// The first line that says anything decides; later ones are not even parsed.
fn lines(evaluation: &mut Evaluation, path: &Path) -> Verdict {
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(why) => return Verdict::error(format!("{}: {why}", path.display())),
    };
    for (number, line) in parse(&bytes) {
        let place = format!("{}:{number}", path.display());
        let verdict = match line {
            Line::Entry(entry, default) => evaluation.entry(&place, &entry, default),
            Line::Bad(why) => Verdict::error(format!("{place}: {why}")),
        };
        if verdict.outcome != Outcome::NoMatch {
            return verdict;
        }
    }
    Outcome::NoMatch.into()
}

#[cfg(test)]
mod tests {
    use super::super::entry::MAX_ENTRIES;
    use super::super::program::Programs;
    use super::*;
    use crate::config::Config;
    use crate::names::Principal;

    fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let text = text.replace("DIR", dir.path().to_str().unwrap());
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    fn alice(path: &Path) -> Outcome {
        let who = Principal::from_authenticated("alice@R").unwrap();
        let config = Config::default();
        let programs = Programs::new(&config, "prod");
        evaluate(&mut Evaluation::new(&who, &programs), path).outcome
    }

    fn of(text: &str) -> Outcome {
        let dir = dir(&[("a", text), ("bobs", "bob@R\n"), ("alices", "# us\nalice@R\n")]);
        alice(&dir.path().join("a"))
    }

    #[test]
    fn files_are_read_as_remctld_reads_them() {
        use Outcome::*;
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
        assert_eq!(alice(files.path()), Outcome::Match);
        std::fs::write(files.path().join("c"), "deny:alice@R\n").unwrap();
        assert_eq!(alice(files.path()), Outcome::Deny);
        std::os::unix::fs::symlink("/nonexistent", files.path().join("dangling")).unwrap();
        assert!(matches!(alice(files.path()), Outcome::Error(_)));
    }

    #[test]
    fn what_others_may_write_admits_nobody() {
        use std::os::unix::fs::PermissionsExt;
        let files = dir(&[("a", "alice@R\n")]);
        let path = files.path().join("a");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(alice(&path), Outcome::Error(_)));
    }

    #[test]
    fn includes_go_so_deep_and_entries_are_so_many_and_no_more() {
        let chain = |length: usize| {
            let all: Vec<(String, String)> =
                (1..length).map(|n| (format!("f{n}"), format!("include DIR/f{}\n", n + 1))).collect();
            let mut all: Vec<(&str, &str)> = all.iter().map(|(name, text)| (&name[..], &text[..])).collect();
            let last = format!("f{length}");
            all.push((&last, "alice@R\n"));
            alice(&dir(&all).path().join("f1"))
        };
        assert_eq!(chain(MAX_DEPTH), Outcome::Match);
        assert!(matches!(chain(MAX_DEPTH + 1), Outcome::Error(why) if why.contains("include one another")));
        let nobody = format!("{}alice@R\n", "bob@R\n".repeat(MAX_ENTRIES));
        assert!(matches!(of(&nobody), Outcome::Error(why) if why.contains("entries are in the way")));
        assert_eq!(of(&nobody["bob@R\n".len()..]), Outcome::Match);
    }
}
