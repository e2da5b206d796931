//! Makes text safe to show that may come from anyone.

use std::fmt::Write;

/// The longest piece of somebody's input that a message repeats, in characters.
const SHOWN: usize = 80;

/// Writes `text` in single quotes on one line: control characters escaped, long input cut.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("'");
    for (n, c) in text.chars().enumerate() {
        if n == SHOWN {
            out.push('…');
            break;
        }
        push_visible(&mut out, c);
    }
    out.push('\'');
    out
}

/// Writes `text` on one line with control characters escaped, at full length.
pub fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push_visible(&mut out, c));
    out
}

fn push_visible(out: &mut String, c: char) {
    if c.is_control() || is_bidi_control(c) {
        let _ = write!(out, "{}", c.escape_default());
    } else {
        out.push(c);
    }
}

/// Tells whether a character reorders what a terminal shows (UAX #9): with such a one a line can be
/// made to read as another.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// Writes build-log bytes for a terminal: newlines and tabs pass, every other control byte is
/// escaped, and what is not UTF-8 is replaced.
pub fn for_terminal(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for c in String::from_utf8_lossy(bytes).chars() {
        if c == '\n' || c == '\t' { out.push(c) } else { push_visible(&mut out, c) }
    }
    out
}

/// Writes bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Writes how many there are of something: `1 version`, `2 versions`.
pub fn count(number: usize, one: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {one}{ending}")
}

#[cfg(test)]
mod tests {
    use crate::text::*;

    #[test]
    fn quoting_keeps_one_line_and_no_escape_sequence() {
        assert_eq!(quoted("a\u{1b}[2Jb\nc"), "'a\\u{1b}[2Jb\\nc'");
        assert!(quoted(&"x".repeat(100_000)).len() < 100);
    }

    #[test]
    fn one_has_no_ending() {
        let said = [0, 1, 2].map(|number| count(number, "version"));
        assert_eq!(said, ["0 versions", "1 version", "2 versions"]);
    }

    #[test]
    fn log_lines_pass_and_escapes_do_not() {
        assert_eq!(
            for_terminal(b"ok\tyes\n\x1b]0;title\x07\r\xff"),
            "ok\tyes\n\\u{1b}]0;title\\u{7}\\r\u{fffd}"
        );
        assert_eq!(for_terminal("a\u{202e}b".as_bytes()), "a\\u{202e}b");
    }
}
