//! Splits `$SSH_ORIGINAL_COMMAND` into words.
//!
//! An ssh client joins its arguments with spaces and the server would give the line to a shell. We
//! ask no shell: quotes and backslashes group words as in sh(1), a word that begins with `#` begins
//! a comment, and every other character stands for itself, `;`, `$` and `*` included.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use shlex::bytes::Shlex;

use invirtibuilder_core::error::Error;

/// The longest line that is a request, in bytes; sshd's own limit is of this order.
const MAX_LINE: usize = 64 << 10;

/// Splits a line into words.
pub fn split(line: &[u8]) -> Result<Vec<OsString>, Error> {
    if line.len() > MAX_LINE {
        return Err(Error::usage(format!("the command is longer than {MAX_LINE} bytes")));
    }
    if line.contains(&0) {
        return Err(Error::usage("the command holds a NUL byte"));
    }
    let mut words = Shlex::new(line);
    let found: Vec<OsString> = words.by_ref().map(OsString::from_vec).collect();
    if words.had_error {
        return Err(Error::usage(
            "the command ends inside a quotation or behind a backslash: close it",
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use crate::ssh::words::*;

    fn words(line: &str) -> Vec<String> {
        split(line.as_bytes())
            .unwrap()
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn quotes_group_and_nothing_else_means_anything() {
        assert_eq!(words("submit prod hello main"), ["submit", "prod", "hello", "main"]);
        assert_eq!(words("  a\t b\n"), ["a", "b"]);
        assert_eq!(words(r#"a 'b c' "d \"e" f\ g ''"#), ["a", "b c", "d \"e", "f g", ""]);
        assert_eq!(
            words("a; rm -rf / && $(id) `id` $HOME ~ * > x | y"),
            ["a;", "rm", "-rf", "/", "&&", "$(id)", "`id`", "$HOME", "~", "*", ">", "x", "|", "y"]
        );
        assert_eq!(words("status # 7"), ["status"]);
        assert_eq!(words(""), [] as [&str; 0]);
    }

    #[test]
    fn what_is_not_closed_is_refused() {
        for bad in ["a 'b", "a \"b", "a\\", "'", "a\0b"] {
            assert!(split(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(split(&vec![b'a'; MAX_LINE + 1]).is_err());
    }
}
