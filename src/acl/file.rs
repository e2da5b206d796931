//! ACL files and directories of them, read as remctld reads them (remctld(8), "ACL files").

use std::ffi::OsString;
use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::entry::{Evaluation, Outcome, Scheme};

/// remctld's line buffer: a line that does not fit, with its newline, is an error.
const MAX_LINE: usize = 8191;

/// Larger files are not ACLs.
const MAX_FILE: u64 = 16 << 20;

/// Includes within includes; deeper is a mistake.
const MAX_DEPTH: usize = 100;

/// What a file, or all files of a directory, say.
pub fn evaluate(evaluation: &mut Evaluation, path: &Path) -> Outcome {
    let fail = |why: String| Outcome::Error(format!("{}: {why}", path.display()));
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return fail(error.to_string()),
    };
    if let Some(why) = untrusted(&metadata) {
        return fail(why);
    }
    if evaluation.open.iter().any(|open| open == path) || evaluation.open.len() >= MAX_DEPTH {
        return fail("it includes itself".to_owned());
    }
    evaluation.open.push(path.to_owned());
    let outcome = if metadata.is_dir() { directory(evaluation, path) } else { lines(evaluation, path) };
    evaluation.open.pop();
    outcome
}

/// An ACL that others may write is theirs, not ours.
fn untrusted(metadata: &Metadata) -> Option<String> {
    (metadata.permissions().mode() & 0o002 != 0).then(|| {
        format!("others may write it (owner {}, mode {:o}): take that away", metadata.uid(), metadata.mode() & 0o7777)
    })
}

/// Every file counts, even after a match: any that denies or fails decides.
fn directory(evaluation: &mut Evaluation, path: &Path) -> Outcome {
    let names: std::io::Result<Vec<OsString>> =
        std::fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    let mut names = match names {
        Ok(names) => names,
        Err(error) => return Outcome::Error(format!("{}: {error}", path.display())),
    };
    names.sort();
    let counts =
        |name: &OsString| name.as_encoded_bytes().iter().all(|c| c.is_ascii_alphanumeric() || b"_-".contains(c));
    let mut admitted = Outcome::NoMatch;
    for name in names.into_iter().filter(counts) {
        let file = path.join(name);
        if std::fs::metadata(&file).is_ok_and(|m| m.is_dir()) {
            continue;
        }
        match evaluate(evaluation, &file) {
            Outcome::NoMatch => {}
            Outcome::Match => admitted = Outcome::Match,
            decided @ (Outcome::Deny | Outcome::Error(_)) => return decided,
        }
    }
    admitted
}

/// The first line that says anything decides; later ones are not even parsed.
fn lines(evaluation: &mut Evaluation, path: &Path) -> Outcome {
    let fail = |why: &str| Outcome::Error(format!("{}: {why}", path.display()));
    let mut bytes = Vec::new();
    match std::fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)) {
        Ok(n) if n as u64 > MAX_FILE => return fail("it is larger than 16 MiB"),
        Ok(_) => {}
        Err(error) => return fail(&error.to_string()),
    }
    for (n, line) in bytes.split(|&b| b == b'\n').enumerate() {
        let place = format!("{}:{}", path.display(), n + 1);
        if line.len() >= MAX_LINE {
            return fail(&format!("line {} is too long", n + 1));
        }
        // remctld works on C strings.
        let line = line.split(|&b| b == 0).next().unwrap_or_default().trim_ascii();
        if line.is_empty() || line[0] == b'#' {
            continue;
        }
        let outcome = match std::str::from_utf8(line) {
            Ok(line) => self::line(evaluation, &place, line),
            Err(_) => fail(&format!("line {} is not UTF-8", n + 1)),
        };
        if outcome != Outcome::NoMatch {
            return outcome;
        }
    }
    Outcome::NoMatch
}

fn line(evaluation: &mut Evaluation, place: &str, line: &str) -> Outcome {
    let mut words = line.split_ascii_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some("include"), Some(what), None) => evaluation.entry(place, what, Scheme::File),
        (Some(entry), None, None) => evaluation.entry(place, entry, Scheme::Princ),
        _ => Outcome::Error(format!("{place}: an entry has no spaces in it, but for 'include FILE'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        evaluate(&mut Evaluation::new(&who), path)
    }

    fn of(text: &str) -> Outcome {
        let dir = dir(&[("a", text), ("bobs", "bob@R\n"), ("alices", "# us\nalice@R\n"), ("loop", "include DIR/a\n")]);
        alice(&dir.path().join("a"))
    }

    #[test]
    fn files_are_read_as_remctld_reads_them() {
        use Outcome::*;
        for (text, want) in [
            ("", NoMatch),
            ("# alice@R\n", NoMatch),
            ("  alice@R\t\r\n", Match),
            ("bob@R\nalice@R", Match),
            ("deny:alice@R\nalice@R\n", Deny),
            ("alice@R\nthis is no entry\n", Match),
            ("include DIR/alices\n", Match),
            ("include DIR/bobs\n", NoMatch),
            ("include file:DIR/alices\n", Match),
            ("alice@R\0rubbish\n", Match),
            ("file:DIR/bobs\nprinc:alice@R\n", Match),
        ] {
            assert_eq!(of(text), want, "{text:?}");
        }
        for text in [
            "a b\n",
            "include\tx y\n",
            "include DIR/missing\n",
            "include DIR/a\n",
            "include DIR/loop\n",
            "x:y\nalice@R\n",
        ] {
            assert!(matches!(of(text), Error(_)), "{text:?}");
        }
        assert!(matches!(of(&format!("{}\nalice@R\n", "#".repeat(8191))), Error(_)));
        assert_eq!(of(&format!("{}\nalice@R\n", "#".repeat(8190))), Match);
    }

    #[test]
    fn of_a_directory_every_file_counts() {
        let files = dir(&[("a", "alice@R\n"), ("b", ""), ("not.this", "deny:alice@R\n")]);
        std::fs::create_dir(files.path().join("sub")).unwrap();
        assert_eq!(alice(files.path()), Outcome::Match);
        std::fs::write(files.path().join("z"), "deny:alice@R\n").unwrap();
        assert_eq!(alice(files.path()), Outcome::Deny);
        std::fs::remove_file(files.path().join("z")).unwrap();
        std::os::unix::fs::symlink("/nonexistent", files.path().join("dangling")).unwrap();
        assert!(matches!(alice(files.path()), Outcome::Error(_)));
    }

    #[test]
    fn what_others_may_write_admits_nobody() {
        let files = dir(&[("a", "alice@R\n")]);
        let path = files.path().join("a");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(alice(&path), Outcome::Error(_)));
    }
}
