//! Reads ACL files and directories of them as remctld reads them (remctld(8), "ACL files").

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::acl::syntax::Scheme;

/// The size of remctld's line buffer, in bytes: a line that fills it, with its newline, is an
/// error.
const BUFFER: usize = 8191;

/// The largest file that is an ACL, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// The most includes within includes; deeper is a mistake, or a loop by way of links.
pub(super) const MAX_DEPTH: usize = 64;

/// Tells whether remctld reads a file of this name in a directory.
pub fn counts(name: &OsStr) -> bool {
    name.as_bytes().iter().all(|c| c.is_ascii_alphanumeric() || b"_-".contains(c))
}

/// Lists the names of the files in a directory that remctld reads, in order.
pub fn names(path: &Path) -> std::io::Result<Vec<OsString>> {
    let entries: std::io::Result<Vec<OsString>> =
        std::fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect();
    let mut names = entries?;
    names.retain(|name| counts(name) && !path.join(name).is_dir());
    names.sort();
    Ok(names)
}

/// A line of an ACL file that says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AclLine {
    /// An entry, and the scheme that it has if it names none.
    Entry(Vec<u8>, Scheme),
    /// A line that cannot be evaluated, and why.
    Bad(String),
}

/// Reads the lines of a file that say something, each with its number, as remctld reads them: an
/// entry or `include FILE` after white space is taken off both ends. Only a space separates words,
/// and a line that fills the buffer is an error.
pub fn parse(text: &[u8]) -> impl Iterator<Item = (usize, AclLine)> + '_ {
    let mut rest = text;
    let mut number = 0;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let newline = rest.iter().position(|&c| c == b'\n').map_or(rest.len(), |at| at + 1);
            let (line, after) = rest.split_at(newline.min(BUFFER));
            // Once a line is longer than the buffer, what follows is another line to remctld; to
            // people it is not.
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

fn line(line: &[u8]) -> Option<AclLine> {
    if line.len() >= BUFFER {
        return Some(AclLine::Bad(format!("the line is longer than {} bytes", BUFFER - 1)));
    }
    // isspace(3) in the C locale.
    let is_space = |c: &u8| c.is_ascii_whitespace() || *c == 0x0b;
    let end = line.iter().rposition(|c| !is_space(c))? + 1;
    let start = line.iter().position(|c| !is_space(c))?;
    if line[start] == b'#' {
        return None;
    }
    if !line[start..end].contains(&b' ') {
        return Some(AclLine::Entry(line[start..end].to_owned(), Scheme::Princ));
    }
    let mut words = line[..end].split(|c| b" \t".contains(c)).filter(|word| !word.is_empty());
    match (words.next(), words.next(), words.next()) {
        (Some(b"include"), Some(what), None) => Some(AclLine::Entry(what.to_owned(), Scheme::File)),
        _ => Some(AclLine::Bad("a line is one entry without spaces, or 'include FILE'".to_owned())),
    }
}

/// Reads the bytes of a file that may be an ACL.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    match std::fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
    {
        Ok(n) if n as u64 > MAX_FILE => Err("it is larger than 16 MiB".to_owned()),
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}
