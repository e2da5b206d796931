//! Changelogs of all kinds, and dpkg's own reader to compare with.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::source::changelog::*;

const GOOD: &str = "hello (1.0) unstable; urgency=medium\n\n  * A change.\n\n -- A <a@example.org>  Mon, 02 Jan 2023 03:04:05 +0000\n";

/// Returns the changelog above with another text in place of one of its parts.
fn with(part: &str, other: &str) -> String {
    assert!(GOOD.contains(part), "{part}");
    GOOD.replacen(part, other, 1)
}

fn notes(text: &str) -> String {
    first_entry(text.as_bytes())
        .map_or_else(|failure| panic!("{failure}: {text}"), |found| found.notes.join("\n"))
}

fn refusal(text: &[u8]) -> String {
    let failure = first_entry(text).expect_err(&String::from_utf8_lossy(text));
    assert_eq!(failure.kind, FailureKind::Changelog);
    failure.text
}

#[test]
fn what_dpkg_takes_without_a_word_is_taken_so() {
    for text in [
        GOOD.to_owned(),
        with("hello", "libfoo++"),
        with("hello", "0ad-data.x-y+z"),
        with("Mon,", "Sun,"),
        with("Mon, ", ""),
        with("Mon, 02", "Mon,  2"),
        with("medium", "low (high for users of bar)"),
        with("medium", "MEDIUM"),
        with("medium", "medium, XS-Foo=x y"),
        with("urgency=medium", ""),
        with("unstable", "unstable  experimental"),
        GOOD.replace('\n', "\r\n"),
        format!("/* a comment (9.9) */\n{GOOD}"),
        format!("# see bug (1234)\n# vim: set tw=80 (see HACKING):\n$Id: x (2.0) $\n{GOOD}"),
        format!("{GOOD}\nhello (0.9) unstable; urgency=low\n\n  * rubbish \u{fffd}\n"),
        format!("{GOOD}\nLocal variables:\nmode: debian-changelog\nEnd:\n"),
        format!("{GOOD}\nvim: et\n"),
        format!("{GOOD}\nOld Changelog:\nanything at all (9.9\n"),
        format!("{GOOD}\n\n\nMon Jan  2 03:04:05 1995 A <a@example.org>\n\n\t* Old.\n"),
    ] {
        assert_eq!(notes(&text), "", "{text}");
    }
    let found = first_entry(format!("# see bug (1234)\n{GOOD}").as_bytes()).unwrap();
    assert_eq!(
        (found.source.as_str(), found.version.as_str(), found.timestamp),
        ("hello", "1.0", 1_672_628_645)
    );
    assert_eq!(found.distribution, "unstable");
    assert_eq!((found.urgency.as_deref(), found.state), (Some("medium"), EntryState::Released));
    assert_eq!(found.by, ("A".to_owned(), "a@example.org".to_owned()));
    let open = first_entry(with("unstable", "UNRELEASED").as_bytes()).unwrap();
    assert_eq!((open.state, open.notes.len()), (EntryState::Unreleased, 0));
    assert_eq!(first_entry(with("unstable", "a  b").as_bytes()).unwrap().distribution, "a b");
    assert_eq!(
        first_entry(with("03:04:05 +0000", "05:04:05 +0200").as_bytes()).unwrap().timestamp,
        1_672_628_645
    );
}

#[test]
fn what_dpkg_warns_of_is_taken_and_said() {
    for (text, words) in [
        (with("org>  Mon", "org> Mon"), "line 5 has one space between '>' and the date"),
        (with("Mon", "Mond"), "line 5 has 'Mond' for a weekday"),
        (with("  * A", " * A"), "line 3 is a change that is not indented by two spaces"),
        (with("  * A", "\t* A"), "line 3 is a change that is not indented by two spaces"),
        (with("urgency", "urgnecy"), "line 1 has 'urgnecy' behind ';', which dpkg does not know"),
        (
            with("=medium", " medium"),
            "line 1 has 'urgency medium' behind ';', which is no KEY=VALUE",
        ),
        (with("medium", "medium, Urgency=low"), "line 1 has 'urgency' twice"),
        (with("  * A", "*A\n  * A"), "line 3 is no heading"),
        (format!("\n{GOOD}"), "line 1 is empty where the heading of the first entry should be"),
        (
            format!("{GOOD}  * more\n"),
            "line 6 is a change where the heading of the next entry should be",
        ),
        (format!("#comment\n{GOOD}"), "line 1 is no heading"),
    ] {
        assert!(notes(&text).contains(words), "{}\n{text}", notes(&text));
    }
    let many = notes(&format!("{}{GOOD}", "*x\n".repeat(5000)));
    assert!(
        many.lines().count() == NAMED + 1 && many.contains("dpkg warns of 4990 more"),
        "{many}"
    );
}

#[test]
fn what_dpkg_makes_nothing_of_is_refused_by_line_and_reason() {
    let header = "hello (1.0) unstable; urgency=medium";
    for (text, words) in [
        (String::new(), "has no entry"),
        ("\n\n".to_owned(), "has no entry"),
        ("rubbish text\n".to_owned(), "line 1 is no heading"),
        (
            with(header, "hello   (1.0) unstable; urgency=low"),
            "line 1 is no heading 'NAME (VERSION) DISTRIBUTION; urgency=URGENCY', as one space",
        ),
        (
            with(" unstable;", ";"),
            "line 1 is no heading 'NAME (VERSION) DISTRIBUTION; urgency=URGENCY', as it names no distribution",
        ),
        (with("; urgency=medium", ""), "it has no ';' behind the distribution"),
        (with("(1.0)", "1.0"), "it has no version in parentheses"),
        (with("(1.0)", "(1.0"), "its parenthesis is not closed"),
        (with("(1.0)", "(1 0)"), "no space may stand in the parentheses"),
        (format!("\u{feff}{GOOD}"), "a byte order mark stands before it"),
        (with("hello (", "the hello ("), "one name has to stand before the version"),
        (format!("\n# x\n{}", with("(1.0)", "1.0")), "line 3 is no heading"),
        (
            format!("  * x\n{GOOD}"),
            "line 1 is a change where the heading of the first entry should be",
        ),
        (format!("vim: et\n{GOOD}"), "line 1 is 'vim: et', and dpkg reads nothing from there on"),
        (with("1.0", "a1"), "line 1 has a version that does not begin with a digit: 'a1'"),
        (with("1.0", "1.0-"), "line 1 has a version with an empty revision: '1.0-'"),
        (with("1.0", "../1"), "line 1 has a version that does not begin with a digit"),
        (with("1.0", "1_0"), "with a character that no version can have: '1_0'"),
        (
            with("medium", "medium, Version=9.9"),
            "line 1 has 'version' behind ';', which would take the place",
        ),
        (
            with("medium", "medium, XS-Source=x"),
            "line 1 has 'xs-source' behind ';', which would take the place",
        ),
        (with("medium", "medium, binary-only=yes"), "line 1 says binary-only=yes"),
        (with("hello", "Hello"), "line 1 names no source package"),
        (with("hello", "../x"), "line 1 is no heading"),
        (
            with("Mon, 02 Jan 2023 03:04:05 +0000", "yesterday"),
            "line 5 is no end of an entry, which is ' -- NAME <EMAIL>  DATE'",
        ),
        (with("Jan", "January"), "line 5 has a date whose month is 'January'"),
        (with("02 Jan", "32 Jan"), "line 5 has a date that there is not: 32 Jan 2023 03:04:05"),
        (with("2023", "0023"), "line 5 has a date of the year 0023"),
        (
            with("02 Jan 2023 03:04:05", "01 Jan 1970 00:00:00"),
            "line 5 has a date that stands for none",
        ),
        (with(" -- A", " --A"), "line 5 is no end of an entry"),
        (
            with(" -- A", "-- A"),
            "line 5 is no end of an entry, as one space has to stand before '--'",
        ),
        (
            "hello (1.0) unstable; urgency=low\n\n  * x\n".to_owned(),
            "line 1 begins an entry that has no end ' -- NAME <EMAIL>  DATE'",
        ),
        (
            format!("{header}\n\n  * x\n\n{GOOD}"),
            "line 1 begins an entry that has no end ' -- NAME <EMAIL>  DATE', and the next entry begins in line 5",
        ),
        (
            format!(
                "{header}\n\n  * x\nwarning:\n  * y\n\n -- A <a@b>  Mon, 02 Jan 2023 03:04:05 +0000\n"
            ),
            "dpkg reads nothing from line 4 on",
        ),
        (format!("{GOOD}\n changelog-format: other\n"), "says changelog-format: 'other'"),
        (format!("{header}\n\n{}", "  * x\n".repeat(300_000)), "longer than 1 MiB"),
    ] {
        let said = refusal(text.as_bytes());
        assert!(
            said.contains("debian/changelog") && said.contains(words),
            "{said}\n{}",
            &text[..text.len().min(300)]
        );
        assert!(!said.contains('\n'), "{said}");
    }
    let options: String = (0..90_000).map(|n| format!("a{n}=b,")).collect();
    assert!(
        notes(&with("medium", &format!("medium,{options}"))).contains("dpkg warns of 89990 more")
    );
    assert!(refusal(&[GOOD.as_bytes(), b"  caf\xe9\n"].concat()).contains("line 6 is not UTF-8"));
    assert!(
        refusal(&[&b"x".repeat(3 << 20)[..], b"\n", GOOD.as_bytes()].concat())
            .contains("longer than 1 MiB")
    );
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_lowercase()
}

/// What dpkg-parsechangelog reads: nothing, or name, version, distribution and timestamp.
#[derive(Debug)]
struct Oracle {
    fields: Option<[String; 4]>,
    lines: Vec<usize>,
    is_cut: bool,
}

impl Oracle {
    /// Asks it about each of these files.
    fn ask(paths: &[PathBuf]) -> Vec<Self> {
        let mut perl = Command::new("perl")
            .args(["-e", include_str!("oracle.pl")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("perl and dpkg-dev are installed");
        let mut stdin = perl.stdin.take().unwrap();
        let names = paths
            .iter()
            .fold(String::new(), |names, path| names + &format!("{}\n", path.display()));
        let writer = std::thread::spawn(move || stdin.write_all(names.as_bytes()).unwrap());
        let done = perl.wait_with_output().unwrap();
        writer.join().unwrap();
        assert!(done.status.success());
        String::from_utf8(done.stdout).unwrap().lines().map(Self::parse).collect()
    }

    fn parse(line: &str) -> Self {
        let parts: Vec<&str> = line.split('\t').collect();
        let bytes = |hex: &str| {
            (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect::<Vec<u8>>()
        };
        let fields = [1, 2, 3, 4].map(|at| String::from_utf8_lossy(&bytes(parts[at])).into_owned());
        // A month that is none it says twice.
        let mut lines: Vec<usize> =
            parts[5].split(',').filter_map(|line| line.parse().ok()).collect();
        lines.dedup();
        lines.truncate(reader::KEPT);
        Self { fields: (parts[0] == "1").then_some(fields), lines, is_cut: parts[6] != "0" }
    }

    /// Says how we differ from it, if we do.
    fn differs(&self, bytes: &[u8]) -> Option<String> {
        if reader::format(bytes).is_some() {
            return self
                .fields
                .is_some()
                .then(|| "we know no such format, and dpkg does".to_owned());
        }
        let read = Read::first(bytes, MAX_ENTRY);
        let mut lines: Vec<usize> = read.problems.iter().map(|problem| problem.line).collect();
        lines.dedup();
        let is_cut = read.is_cut || (read.entry.is_none() && self.is_cut);
        if lines != self.lines || is_cut != self.is_cut {
            return Some(format!("we warn of {lines:?}, cut {}: {self:?}", read.is_cut));
        }
        let heading = read.entry.as_ref().and_then(|entry| entry.heading.as_ref());
        let Some([source, version, distribution, timestamp]) = &self.fields else {
            return read.entry.is_some().then(|| format!("we read {:?}: {self:?}", read.entry));
        };
        // It says so where there is none, and for a name that Perl takes for false.
        let is_unknown = source == "unknown" && heading.is_none_or(|heading| heading.source == "0");
        if read.entry.is_none() || is_unknown != heading.is_none_or(|heading| heading.source == "0")
        {
            return Some(format!("we read {:?}: {self:?}", read.entry));
        }
        // Beyond what dpkg reads: what it makes no source package of, and what is said in two
        // places.
        if let Some(fault) = heading.and_then(|heading| heading.fault.as_ref()) {
            let is_version =
                fault.starts_with("has a version") && !text_of(bytes).contains("version");
            let fits = first_entry(bytes).is_err() && (!is_version || version == "unknown");
            return (!fits).then(|| format!("we say {fault}: {self:?}"));
        }
        let timestamp = timestamp.parse::<i64>().ok().filter(|seconds| *seconds != 0);
        let expected = match (source.parse::<PackageName>(), version.parse::<Version>(), timestamp)
        {
            (Ok(source), Ok(version), Some(timestamp)) if !is_unknown => {
                Some((source, version, timestamp))
            }
            _ => None,
        };
        match (first_entry(bytes), expected) {
            (Err(failure), None) => (failure.text.contains('\n') || !failure.text.contains(NAME))
                .then_some(failure.text),
            (Err(failure), Some(_)) => {
                (!failure.text.contains("UTF-8")).then(|| format!("we refuse: {failure}: {self:?}"))
            }
            (Ok(found), Some((source, version, timestamp))) => {
                let same = found.source == source
                    && found.version == version
                    && found.distribution == *distribution
                    && found.timestamp == timestamp;
                (!same).then(|| format!("we read {found:?}: {self:?}"))
            }
            (Ok(found), None) => Some(format!("we take {found:?}: {self:?}")),
        }
    }
}

/// Asks dpkg about all of these, and says where it is of another opinion.
fn compare(changelogs: &[Vec<u8>]) {
    let dir = tempfile::tempdir().unwrap();
    let write = |(n, bytes): (usize, &Vec<u8>)| {
        let path = dir.path().join(n.to_string());
        fs::write(&path, bytes).unwrap();
        path
    };
    let paths: Vec<PathBuf> = changelogs.iter().enumerate().map(write).collect();
    let oracles = Oracle::ask(&paths);
    assert_eq!(oracles.len(), changelogs.len());
    let mut wrong = String::new();
    for (oracle, bytes) in oracles.iter().zip(changelogs) {
        if let Some(why) = oracle.differs(bytes) {
            let start = &bytes[..bytes.len().min(1500)];
            let _ = writeln!(wrong, "{why}\n{}\n", String::from_utf8_lossy(start));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let taken = changelogs.iter().filter(|bytes| first_entry(bytes).is_ok()).count();
    println!("{} changelogs, of which {taken} are taken", changelogs.len());
    assert!(taken * 10 > changelogs.len(), "{taken} of {}", changelogs.len());
}

/// Says how many changelogs are compared. By hand it may be more than in each run
/// (`CHANGELOGS=60000 SEED=2`), and another dpkg (`PERL5LIB`).
fn wanted() -> usize {
    std::env::var("CHANGELOGS").ok().map_or(1500, |n| n.parse().expect("CHANGELOGS is a number"))
}

/// Real ones: what packages have installed.
fn real() -> Vec<Vec<u8>> {
    let dirs =
        fs::read_dir("/usr/share/doc").into_iter().flatten().flatten().map(|entry| entry.path());
    let files =
        dirs.flat_map(|dir| ["changelog.Debian.gz", "changelog.gz"].map(|name| dir.join(name)));
    let read = |path: &Path| {
        let mut bytes = Vec::new();
        let file = fs::File::open(path).ok()?;
        flate2::read::MultiGzDecoder::new(file).take(16 << 10).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    };
    let mut files: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
    files.sort();
    files.iter().take(wanted() / 10).filter_map(|path| read(path)).collect()
}

/// Pieces that stand in changelogs, for better or worse.
const HEADINGS: &[&str] = &[
    "hello (1.0) unstable; urgency=medium",
    "libfoo++ (1:2.3-4~bpo1+1) unstable experimental; urgency=low",
    "hello (1.0); urgency=low",
    "hello  (1.0) unstable; urgency=low",
    "hello (1.0)  unstable ; urgency=low",
    "hello (1.0)unstable; urgency=low",
    "hello (1.0) unstable;",
    "hello (1.0) unstable;urgency=low,",
    "hello (1.0) unstable; ,urgency=low",
    "hello (1.0) unstable; urgency = low",
    "Hello_1 (1.0) unstable; urgency=low",
    "hello (a.0) unstable; urgency=low",
    "hello (1.0-) unstable; urgency=low",
    "hello (:1) unstable; urgency=low",
    "hello (1:) unstable; urgency=low",
    "hello (-1) unstable; urgency=low",
    "hello (1:2:3) unstable; urgency=low",
    "hello (1.0_1) unstable; urgency=low",
    "hello (1.0) unstable; urgency=low (HIGH for users of bar), binary-only=no",
    "hello (1.0) unstable; urgency=low, urgency=high, xc-x=y, xb-=1, foo=bar",
    "hello (1.0) unstable; urgency=low, version=9.9",
    "hello (1.0) unstable; binary-only=yes",
    "hello (1.0) unstable; binary-only=no, binary-only=yes",
    "hello (1.0) unstable; source=x, urgency=low",
    "hello (1.0) unstable; Timestamp-=5",
    "hello (1.0) unstable; closes=1, xsb-version=2",
    "hello (1.0) unstable; distribution=y",
    "hello (1.0) unstable; format=y",
    "hello (1.0) unstable; urgency-=low",
    "hello (1.0) unstable; urgency=l_w",
    "hello (1.0) unstable; Urgency=LOW",
    "hello (1.0) unstable; XBS-Note=a b ",
    "0 (1.0) unstable; urgency=low",
    "unknown (1.0) unstable; urgency=low",
    "hello (1.0) UNRELEASED; urgency=medium",
    "hello (1.0) un_stable; urgency=low",
    "hello (1.0\x0c) unstable; urgency=low",
    "hello (1.0) unstable;\turgency=low\t",
    "hello (0) unstable; urgency=low",
    "hello (x:1) unstable; urgency=low",
    "hello (1:2-3-4) a b c d; urgency=low",
    "hello (1.0) unstable",
    "hello 1.0-1 Debian 2",
    "hello [1.0] unstable; urgency=low",
];
const TRAILERS: &[&str] = &[
    " -- A <a@example.org>  Mon, 02 Jan 2023 03:04:05 +0000",
    " -- A <a@example.org> Mon, 02 Jan 2023 03:04:05 +0000",
    " -- A <a@example.org>   Mon, 02 Jan 2023 03:04:05 +0000",
    " -- A B. <a@example.org>  Sun, 2 jan 2023 3:04:05 -1234",
    " -- A <a@example.org>  31 Feb 2024 23:59:59 +0100",
    " -- A <a@example.org>  Xyz, 00 Feb 2024 23:59:59 +0100",
    " -- A <a@example.org>  Mon,02 Jan 2023 03:04:05 +0000",
    " -- A <a@example.org>  Mon, 00 Jan 2023 03:04:05 +0000",
    " -- A <a@example.org>  Mon, 32 Jan 2023 03:04:05 +0000",
    " -- A <a@example.org>  Mon, 02 January 2023 03:04:05 +0000",
    " -- A <a@example.org>  Mon, 02 Janu 2023 03:04:05 +0000",
    " -- A <a@example.org>  Mon, 02 May 1899 03:04:05 +0000",
    " -- A <a@example.org>  Mon, 02 May 1900 03:04:05 +9999",
    " -- A <a@example.org>  Thu, 01 Jan 1970 00:00:00 +0000",
    " -- A <a@example.org>  Mon, 02 Jan 2023 24:04:05 +0000",
    " -- A <a@example.org>  Mon, 02 Jan 2023 03:60:05 +0000",
    " -- A <a@example.org>  Mon, 02 Jan 2023 03:04:60 +0000",
    " -- A <a@example.org>  Mon, 02 Jan 2023 03:04 +0000",
    " -- A <a@example.org>  Mon, 02 Jan 2023 03:04:05 UTC",
    " -- A <a@example.org>  Mon, 02 Jan 2023 03:04:05 +0000 (CET)",
    " -- A <a@example.org>  Mon Jan  2 03:04:05 UTC 2023",
    " -- <a@example.org>  Mon, 02 Jan 2023 03:04:05 +0000",
    " --  <>  Mon, 02 Jan 2023 03:04:05 +0000",
    " --A <a@example.org>  Mon, 02 Jan 2023 03:04:05 +0000",
    "-- A <a@example.org>  Mon, 02 Jan 2023 03:04:05 +0000",
    "  -- A <a@example.org>  Mon, 02 Jan 2023 03:04:05 +0000",
    " -- A <a> <b>  Mon, 02 Jan 2023 03:04:05 +0000  \t",
    " -- A a@example.org  Mon, 02 Jan 2023 03:04:05 +0000",
    " --",
    " -- ",
    " -- A <a@example.org>  Mon, 31 Dec 9999 23:59:59 -9999",
    " -- A <a@example.org>  Mon, 02 Jan 12023 03:04:05 +0000",
    " -- Ä <a@example.org>  Mon,\t02\tJan 2023\t03:04:05\t+0000",
];
const CHANGES: &[&str] = &[
    "  * A change.",
    "  [ A ]",
    "    more of it",
    " * one",
    "\t* tab",
    " \t* both",
    "  ",
    "",
    "",
    "",
    " ",
    "\t",
    "\r",
    "  * (1.0) unstable; urgency=low",
    "   -- x",
];
const ODD: &[&str] = &[
    "# comment",
    "#comment",
    "# see bug (1234)",
    "/* comment */",
    "/* comment",
    "*/",
    "$Id: x $",
    "$Id$",
    "$x",
    "vim: et",
    "VIM:",
    "Local variables:",
    ";; Local Variables: x",
    "End:",
    "Old Changelog:",
    "1.0",
    "1.0:",
    "word",
    "two words",
    "Changes from version 1 to 2:",
    "Changes for a-1:",
    "hello 1.0 Debian 1",
    "Mon Jan  2 03:04:05 UTC 1995  A  <a@b>",
    "Mon Jan 2, 1995  A (a@b)",
    "* x",
    "é",
    "-",
    "  changelog-format: debian ",
    "  changelog-format: other ",
    "hello (1.0)",
    "hello (1.0);",
    "\x0b",
    "(1.0)",
];

fn pick<'a>(random: &mut fastrand::Rng, from: &[&'a str]) -> &'a str {
    from[random.usize(..from.len())]
}

/// Returns one that is well formed but for a few lines, or for a few bytes.
fn generated(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut lines: Vec<&str> = Vec::new();
    for _ in 0..random.usize(1..4) {
        let heading =
            if random.u8(..3) == 0 { pick(random, HEADINGS) } else { HEADINGS[random.usize(..2)] };
        lines.extend([heading, ""]);
        lines.extend((0..random.usize(..3)).map(|_| CHANGES[0]));
        let trailer = if random.u8(..3) == 0 { pick(random, TRAILERS) } else { TRAILERS[0] };
        lines.extend(["", trailer, ""]);
    }
    for _ in 0..random.usize(..4) {
        let at = random.usize(..=lines.len().min(9));
        match random.u8(..8) {
            0 if at < lines.len() => drop(lines.remove(at)),
            1 if at < lines.len() => lines.insert(0, lines[at]),
            2 => lines.insert(at, pick(random, HEADINGS)),
            3 => lines.insert(at, pick(random, TRAILERS)),
            4 | 5 => lines.insert(at, pick(random, CHANGES)),
            _ => lines.insert(at, pick(random, ODD)),
        }
    }
    let mut bytes = lines.join("\n").into_bytes();
    if random.u8(..5) > 0 {
        bytes.push(b'\n');
    }
    bend(random, bytes)
}

/// Changes single bytes now and then. All stay ASCII: of other bytes dpkg's releases think
/// differently.
fn bend(random: &mut fastrand::Rng, mut bytes: Vec<u8>) -> Vec<u8> {
    const BYTES: &[u8] = b" \t\n\r\x0b\x0c()<>-;,:=+_.~*#/$0aZ";
    for _ in 0..if random.u8(..3) == 0 { random.usize(1..4) } else { 0 } {
        let at = random.usize(..bytes.len().clamp(1, 200));
        let byte = BYTES[random.usize(..BYTES.len())];
        match random.u8(..3) {
            0 if at < bytes.len() && bytes[at].is_ascii() => drop(bytes.remove(at)),
            1 if at < bytes.len() && bytes[at].is_ascii() => bytes[at] = byte,
            _ if bytes.get(at).is_none_or(u8::is_ascii) => bytes.insert(at.min(bytes.len()), byte),
            _ => {}
        }
    }
    bytes
}

#[test]
fn generated_changelogs_are_read_as_dpkg_reads_them() {
    let seed =
        std::env::var("SEED").ok().map_or(18, |seed| seed.parse().expect("SEED is a number"));
    let mut random = fastrand::Rng::with_seed(seed);
    compare(&(0..wanted()).map(|_| generated(&mut random)).collect::<Vec<_>>());
}

#[test]
fn real_changelogs_are_read_as_dpkg_reads_them() {
    let (real, mut random) = (real(), fastrand::Rng::with_seed(18));
    assert!(real.len() > 20, "there are {} changelogs below /usr/share/doc", real.len());
    let bent: Vec<Vec<u8>> = real
        .iter()
        .map(|bytes| bend(&mut random, bytes[..bytes.len().min(4000)].to_vec()))
        .collect();
    compare(&[real, bent].concat());
}
