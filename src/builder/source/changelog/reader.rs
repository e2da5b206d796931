//! The lines of a changelog, one after the other, as Dpkg::Changelog::Debian takes them. The
//! differential test in `tests.rs` holds this against dpkg's own reader.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::bytes::{Captures, Regex};

use crate::source::changelog::date::Date;
use invirtibuilder_core::text::quoted;

/// As many problems are kept; more are counted.
pub const KEPT: usize = 1000;

/// What was read up to the heading of the second entry.
#[derive(Debug, Default)]
pub struct Read {
    /// The first entry.
    pub entry: Option<ChangelogEntry>,
    /// What dpkg warns of.
    pub problems: Vec<ChangelogProblem>,
    /// How many of those there are.
    pub count: usize,
    /// From where on nothing was read.
    pub tail: Option<ChangelogProblem>,
    /// The first line that is not UTF-8.
    pub not_utf8: Option<usize>,
    /// Whether the first entry was longer than it may be.
    pub is_too_long: bool,
    /// Whether the file, or what could be read of it, ends within an entry.
    pub is_cut: bool,
}

/// An entry.
#[derive(Debug, Default)]
pub struct ChangelogEntry {
    /// Its heading.
    pub heading: Option<Heading>,
    /// The line that ends it.
    pub trailer: Option<usize>,
    /// The name and address in that line.
    pub by: Option<(String, String)>,
    /// Its date in seconds since 1970-01-01 UTC.
    pub timestamp: Option<i64>,
    /// Where the next one begins.
    pub next: Option<usize>,
    has_changes: bool,
}

/// The heading of an entry.
#[derive(Debug)]
pub struct Heading {
    /// Its line.
    pub line: usize,
    /// The source package.
    pub source: String,
    /// The version, as it stands there.
    pub version: String,
    /// Why no source package can be made of it.
    pub fault: Option<String>,
    /// The distributions.
    pub distributions: Vec<String>,
    /// The urgency, as it stands there.
    pub urgency: Option<String>,
}

/// What dpkg warns of.
#[derive(Debug, Default)]
pub struct ChangelogProblem {
    /// The line.
    pub line: usize,
    /// What is the matter: a verb follows "line N".
    pub reason: String,
    /// Whether a heading is what it should have been.
    pub is_heading: bool,
    /// Whether an entry has no date for that.
    pub is_date: bool,
    /// Whether the line is empty.
    pub is_blank: bool,
}

/// What may stand in the next line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    First,
    Next,
    Start,
    More,
}

impl Expect {
    fn words(self) -> &'static str {
        match self {
            Self::First => "the heading of the first entry",
            Self::Next => "the heading of the next entry",
            Self::Start => "the changes of an entry",
            Self::More => "more changes, or the end of the entry,",
        }
    }
}

macro_rules! patterns {
    ($($name:ident = $text:expr;)*) => {
        $(static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($text).expect("it is a regular expression"));)*
    };
}

// Those of dpkg 1.21 to 1.23, which it applies to bytes. What 1.23 takes for a letter or a space
// beyond ASCII, byte by byte, is none here. An ordinary changelog needs the first two only: each
// takes longer to prepare than a short changelog to read.
patterns! {
    HEADING = r"(?i-u)^(\w[-+0-9a-z.]*) \(([^() \t]+)\)((?:\s+[-+0-9a-z.]+)+);(.*?)\s*$";
    TRAILER = r"(?-u)^ -- (.*) <(.*)>(  ?)((?:(\w+),\s*)?(\d{1,2})\s+(\w+)\s+(\d{4})\s+(\d{1,2}:\d\d:\d\d)\s+([-+]\d{4}))\s*$";
    VARIABLES = r"(?i-u)^(?:(?:;;\s*)?Local variables:|vim:)";
    COMMENT = r"(?-u)^(?:\$\w+:.*\$|# |/\*.*\*/)";
    ANCIENT = concat!(
        r"(?i-u)^(?:",
        r"\w+\s+\w+\s+\d{1,2} \d{1,2}:\d{1,2}:\d{1,2}\s+[\w\s]*\d{4}\s+.*\s+[<(].*[)>]",
        r"|\w+\s+\w+\s+\d{1,2},?\s*\d{4}\s+.*\s+[<(].*[)>]",
        r"|\w[-+0-9a-z.]* \([^() \t]+\);?",
        r"|[\w.+-]+[- ]\S+ Debian \S+",
        r"|Changes from version .* to .*:",
        r"|Changes for [\w.+-]+-[\w.+-]+:?\s*$",
        r"|Old Changelog:\s*$",
        r"|(?:\d+:)?\w[\w.+~-]*:?\s*$",
        r")"
    );
    FORMAT = r"(?-u)\schangelog-format:\s+([0-9a-z]+)\W";
}

/// Finds the format that a changelog says it has, if that is another than dpkg's own. The last 4
/// KiB are looked at.
pub fn format(bytes: &[u8]) -> Option<&[u8]> {
    const WORD: &[u8] = b"changelog-format:";
    let end = &bytes[bytes.len().saturating_sub(4096)..];
    let lines = end.split_inclusive(|&c| c == b'\n');
    let with_word = lines.filter(|line| line.windows(WORD.len()).any(|part| part == WORD));
    let last = with_word.filter_map(|line| FORMAT.captures(line)).next_back()?;
    let format = last.get(1)?.as_bytes();
    (format != b"debian").then_some(format)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|c| !is_space(*c)).unwrap_or(bytes.len());
    &bytes[start..]
}

fn trim(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|c| !is_space(*c)).map_or(0, |last| last + 1);
    trim_start(&bytes[..end])
}

/// Tells whether there are letters, digits and dashes, and nothing else.
fn is_key(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'-')
}

/// Splits an option of a heading; `None` if it is no KEY=VALUE.
fn key_and_value(option: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = option.iter().position(|c| *c == b'=')?;
    let (key, value) = (&option[..at], trim(&option[at + 1..]));
    (is_key(key) && !value.is_empty()).then_some((key, value))
}

/// Tells whether a value begins with a word that may be an urgency; a note may follow.
fn is_urgency(value: &[u8]) -> bool {
    is_key(value.split(|c| is_space(*c)).next().unwrap_or_default())
}

/// Returns what follows `xb-`, `xcs-` and their like in a key in lower case: such keys are free for
/// everybody's use. `None` if it begins with none of them.
fn extension(key: &str) -> Option<&str> {
    let rest = key.strip_prefix('x')?;
    let name = rest.trim_start_matches(['b', 'c', 's']);
    name.strip_prefix('-')
        .filter(|_| name.len() < rest.len())
        .map(|name| name.trim_start_matches('-'))
}

/// Returns a line, for words about it.
fn shown(line: &[u8]) -> String {
    quoted(text(line).trim_end())
}

impl Read {
    /// Reads up to the heading of the second entry. An entry of more than `most` bytes is not read
    /// to its end, and so many are read of what stands behind it.
    pub fn first(bytes: &[u8], most: usize) -> Self {
        let mut reader = Reader {
            read: Self::default(),
            entry: ChangelogEntry::default(),
            expect: Expect::First,
        };
        let (mut number, mut seen) = (0, 0);
        for line in bytes.split_inclusive(|&c| c == b'\n') {
            number += 1;
            seen += line.len();
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            if seen > most {
                reader.read.is_too_long =
                    reader.entry.trailer.is_none() && reader.read.entry.is_none();
                break;
            }
            if std::str::from_utf8(line).is_err() {
                reader.read.not_utf8 = reader.read.not_utf8.or(Some(number));
            }
            if !reader.take(number, line) {
                break;
            }
        }
        reader.read.is_cut = reader.expect != Expect::Next;
        reader.push();
        reader.read
    }
}

struct Reader {
    read: Read,
    entry: ChangelogEntry,
    expect: Expect,
}

impl Reader {
    /// Ends the first entry, whatever it is.
    fn push(&mut self) {
        let entry = std::mem::take(&mut self.entry);
        let is_empty = entry.heading.is_none() && entry.trailer.is_none() && !entry.has_changes;
        if !is_empty && self.read.entry.is_none() {
            self.read.entry = Some(entry);
        }
    }

    fn problem(&mut self, problem: impl FnOnce() -> ChangelogProblem) {
        self.read.count += 1;
        if self.read.problems.len() < KEPT {
            self.read.problems.push(problem());
        }
    }

    fn warn(&mut self, line: usize, reason: impl FnOnce() -> String) {
        self.problem(|| ChangelogProblem { line, reason: reason(), ..ChangelogProblem::default() });
    }

    /// Reads one line; `false` if no other one is read.
    fn take(&mut self, number: usize, line: &[u8]) -> bool {
        if let Some(found) = HEADING.captures(line) {
            return self.heading(number, &found);
        }
        let is_indented = line.first().is_none_or(|c| is_space(*c));
        if !is_indented && let Some(goes_on) = self.aside(number, line) {
            return goes_on;
        }
        if line.starts_with(b"--") {
            let reason = || {
                format!(
                    "is no end of an entry, as one space has to stand before '--': {}",
                    shown(line)
                )
            };
            self.problem(|| ChangelogProblem {
                line: number,
                reason: reason(),
                is_date: true,
                ..ChangelogProblem::default()
            });
        } else if !is_indented {
            self.problem(|| ChangelogProblem {
                line: number,
                reason: no_heading(line),
                is_heading: true,
                ..ChangelogProblem::default()
            });
        } else if let Some(found) = TRAILER.captures(line) {
            self.trailer(number, &found);
        } else if line.starts_with(b" --") {
            let reason = || {
                format!("is no end of an entry, which is ' -- NAME <EMAIL>  DATE': {}", shown(line))
            };
            self.problem(|| ChangelogProblem {
                line: number,
                reason: reason(),
                is_date: true,
                ..ChangelogProblem::default()
            });
        } else if trim_start(line).is_empty() {
            if self.expect == Expect::First {
                let reason = || format!("is empty where {} should be", Expect::First.words());
                self.problem(|| ChangelogProblem {
                    line: number,
                    reason: reason(),
                    is_blank: true,
                    ..ChangelogProblem::default()
                });
            }
        } else if line.len() - trim_start(line).len() >= 2 {
            self.change(number);
        } else {
            self.warn(number, || "is a change that is not indented by two spaces".to_owned());
            if matches!(self.expect, Expect::First | Expect::Next) {
                self.entry.has_changes = true;
                self.expect = Expect::More;
            }
        }
        true
    }

    /// Reads a line that may stand around entries, and says whether another one is read after it;
    /// `None` if it is no such line.
    fn aside(&mut self, number: usize, line: &[u8]) -> Option<bool> {
        if VARIABLES.is_match(line) {
            let reason = format!(
                "is {}, and dpkg reads nothing from there on: move it to the end of the file",
                shown(line)
            );
            self.read.tail =
                Some(ChangelogProblem { line: number, reason, ..ChangelogProblem::default() });
            return Some(false);
        }
        if COMMENT.is_match(line) {
            return Some(true);
        }
        if ANCIENT.is_match(line) {
            let reason = no_heading(line);
            self.read.tail =
                Some(ChangelogProblem { line: number, reason, ..ChangelogProblem::default() });
            return Some(false);
        }
        None
    }

    fn heading(&mut self, line: usize, found: &Captures) -> bool {
        if !matches!(self.expect, Expect::First | Expect::Next) {
            let expected = self.expect.words();
            self.warn(line, || format!("begins an entry where {expected} should be"));
        }
        self.entry.next = Some(line);
        self.push();
        if self.read.entry.is_some() {
            return false;
        }
        let version = text(&found[2]);
        let no_version = version_fault(&version).map(|why| format!("{why}: {}", quoted(&version)));
        if let Some(why) = &no_version {
            self.warn(line, || why.clone());
        }
        let mut urgency = None;
        let fault = self.options(line, &found[4], &mut urgency);
        let distributions =
            found[3].split(|c| is_space(*c)).filter(|name| !name.is_empty()).map(text).collect();
        self.entry.heading = Some(Heading {
            line,
            source: text(&found[1]),
            version,
            fault: no_version.or(fault),
            distributions,
            urgency,
        });
        self.entry.next = None;
        self.expect = Expect::Start;
        true
    }

    /// Returns what stands behind the semicolon: `urgency=medium` and its like; why no source
    /// package is made with that.
    fn options(
        &mut self,
        line: usize,
        options: &[u8],
        urgency: &mut Option<String>,
    ) -> Option<String> {
        let mut all: Vec<&[u8]> = options.split(|c| *c == b',').map(trim).collect();
        while all.last().is_some_and(|option| option.is_empty()) {
            all.pop();
        }
        let (mut keys, mut fault): (BTreeSet<String>, Option<String>) = (BTreeSet::new(), None);
        for option in all {
            let Some((key, value)) = key_and_value(option) else {
                self.warn(line, || {
                    format!("has {} behind ';', which is no KEY=VALUE", shown(option))
                });
                continue;
            };
            // dpkg drops dashes at the end of a key.
            let key = text(key).to_ascii_lowercase().trim_end_matches('-').to_owned();
            if keys.contains(&key) {
                self.warn(line, || format!("has {} twice", quoted(&key)));
            }
            if fault.is_none() && !keys.contains(&key) {
                fault = option_fault(&key, value);
            }
            if key == "urgency" && is_urgency(value) {
                *urgency = Some(text(value));
            }
            match &key[..] {
                "urgency" if !is_urgency(value) => {
                    self.warn(line, || format!("has {} for an urgency", shown(value)));
                }
                "binary-only" if value != b"yes" => {
                    self.warn(line, || {
                        format!("has {} for binary-only, which can only be yes", shown(value))
                    });
                }
                "urgency" | "binary-only" => {}
                key if extension(key).is_some() => {}
                key => self.warn(line, || {
                    format!("has {} behind ';', which dpkg does not know", quoted(key))
                }),
            }
            keys.insert(key);
        }
        fault
    }

    fn trailer(&mut self, line: usize, found: &Captures) {
        if self.expect != Expect::More {
            let expected = self.expect.words();
            self.warn(line, || format!("ends an entry where {expected} should be"));
        }
        self.entry.trailer = Some(line);
        self.entry.by = Some((text(&found[1]), text(&found[2])));
        if &found[3] != b"  " {
            self.warn(line, || {
                "has one space between '>' and the date, and two belong there".to_owned()
            });
        }
        let known = |day: &[u8]| {
            [&b"Mon"[..], b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"].contains(&day)
        };
        if let Some(day) = found.get(5).filter(|day| !known(day.as_bytes())) {
            self.warn(line, || format!("has {} for a weekday", shown(day.as_bytes())));
        }
        let parts: Vec<String> = (6..=10).map(|n| text(&found[n])).collect();
        let date = Date {
            day: &parts[0],
            month: &parts[1],
            year: &parts[2],
            time: &parts[3],
            zone: &parts[4],
        };
        match date.seconds() {
            Ok(seconds) => self.entry.timestamp = Some(seconds),
            Err(reason) => {
                self.problem(|| ChangelogProblem {
                    line,
                    reason,
                    is_date: true,
                    ..ChangelogProblem::default()
                });
            }
        }
        self.expect = Expect::Next;
    }

    fn change(&mut self, line: usize) {
        if matches!(self.expect, Expect::First | Expect::Next) {
            let expected = self.expect.words();
            self.warn(line, || format!("is a change where {expected} should be"));
            let is_empty = self.entry.heading.is_none()
                && self.entry.trailer.is_none()
                && !self.entry.has_changes;
            if self.expect == Expect::Next && !is_empty {
                self.push();
            }
        }
        self.entry.has_changes = true;
        self.expect = Expect::More;
    }
}

/// Returns what Perl takes for a space in bytes.
fn is_space(c: u8) -> bool {
    c.is_ascii_whitespace() || c == 0x0b
}

/// Fields that dpkg reads elsewhere, and takes from here if they are given here.
const FIELDS: [&str; 7] =
    ["source", "version", "distribution", "maintainer", "date", "timestamp", "changes"];

/// Says why no source package is made with an option of a heading.
fn option_fault(key: &str, value: &[u8]) -> Option<String> {
    if FIELDS.contains(&extension(key).unwrap_or(key)) {
        Some(format!(
            "has {} behind ';', which would take the place of what stands before: remove it",
            quoted(key)
        ))
    } else if key == "binary-only" && value == b"yes" {
        Some("says binary-only=yes, and dpkg makes no source package of that: remove it".to_owned())
    } else {
        None
    }
}

/// Says why a version is none for dpkg (Dpkg::Version).
fn version_fault(version: &str) -> Option<&'static str> {
    let (epoch, rest) = match version.split_once(':') {
        Some((epoch, rest)) if !rest.is_empty() => (epoch, rest),
        _ => ("0", version),
    };
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
    if epoch.is_empty() {
        Some("has a version with an empty epoch")
    } else if upstream.is_empty() {
        Some("has a version without upstream's part")
    } else if revision.is_empty() {
        Some("has a version with an empty revision")
    } else if !upstream.starts_with(|c: char| c.is_ascii_digit()) {
        Some("has a version that does not begin with a digit")
    } else if !version.bytes().all(|c| c.is_ascii_alphanumeric() || b"-+:.~".contains(&c)) {
        Some("has a version with a character that no version can have")
    } else if !epoch.bytes().all(|c| c.is_ascii_digit()) {
        Some("has a version whose epoch is no number")
    } else {
        None
    }
}

/// Returns what a line is no heading for.
fn no_heading(line: &[u8]) -> String {
    let line = text(line);
    let why = match line.split_once('(').map(|(name, rest)| (name, rest.split_once(')'))) {
        _ if line.starts_with('\u{feff}') => "a byte order mark stands before it",
        None => "it has no version in parentheses",
        Some((_, None)) => "its parenthesis is not closed",
        Some((name, _)) if name.trim().contains(char::is_whitespace) || name.trim().is_empty() => {
            "one name has to stand before the version"
        }
        Some((name, _)) if !name.ends_with(' ') || name.ends_with("  ") => {
            "one space has to stand between name and version"
        }
        Some((_, Some((version, _))))
            if version.is_empty() || version.contains([' ', '\t', '(']) =>
        {
            "no space may stand in the parentheses"
        }
        Some((_, Some((_, rest)))) => match rest.split_once(';') {
            None => "it has no ';' behind the distribution",
            Some((names, _)) if names.trim().is_empty() => "it names no distribution",
            Some((names, _)) if !names.starts_with(char::is_whitespace) => {
                "a space has to stand before the distribution"
            }
            Some(_) => "dpkg does not know such names",
        },
    };
    format!(
        "is no heading 'NAME (VERSION) DISTRIBUTION; urgency=URGENCY', as {why}: {}",
        quoted(line.trim_end())
    )
}
