//! ACLs put together by chance: lists of entries, files, and directories of files, from a seed.

use std::fs;

use super::cases::FILES;

/// Files that are made, and lists of entries over them.
const FILE_COUNT: usize = 60;
const DIRECTORY_COUNT: usize = 10;
const LIST_COUNT: usize = 260;

/// A generator of small numbers (Knuth's MMIX constants), the same on every machine.
pub struct Chance(u64);

impl Chance {
    /// Starts anew from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

const NAMES: &[&str] = &[
    "alice@EXAMPLE.ORG",
    "bob@EXAMPLE.ORG",
    "mallory@EXAMPLE.ORG",
    "WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS",
    "carol@EXAMPLE.ORG",
    "alice",
    "Alice@EXAMPLE.ORG",
    "alice@OTHER.ORG",
    "alice/admin@EXAMPLE.ORG",
];
const PATTERNS: &[&str] = &[
    "^a",
    "^(alice|bob)@",
    "ORG$",
    "^[^b]",
    "o.*@",
    "ANON",
    "^x",
    "(l|b)i?",
    "e@E",
    "[[:lower:]]{5}@",
];
const GROUPS: &[&str] = &["ib-staff", "ib-alice", "ib-nobody", "none-such"];
const WRONG: &[&str] =
    &["nonsense:x", "anyuser:some", "regex:[", "pcre:(", "gput:g", "PRINC:alice@EXAMPLE.ORG", ":"];

/// An entry; errors only where `errors` says so.
fn entry(chance: &mut Chance, depth: usize, errors: bool) -> String {
    match chance.below(if errors { 16 } else { 15 }) {
        0..=3 => format!("princ:{}", chance.of(NAMES)),
        4 => "anyuser:auth".to_owned(),
        5 => chance.of(&["anyuser:anonymous", "ANYUSER", "anyuser:auth"]).to_owned(),
        6 => format!("regex:{}", chance.of(PATTERNS)),
        7 => format!("pcre:{}", chance.of(PATTERNS)),
        8 => format!("localgroup:{}", chance.of(GROUPS)),
        9..=12 if depth > 0 => format!("deny:{}", entry(chance, depth - 1, errors)),
        9..=13 => format!("princ:{}", chance.of(NAMES)),
        14 => format!(
            "deny:{}",
            chance.of(&["alice@EXAMPLE.ORG", "bob@EXAMPLE.ORG", "mallory@EXAMPLE.ORG"])
        ),
        _ => chance.of(WRONG).to_owned(),
    }
}

/// A line of a file; it includes only files of higher numbers, so that there is no loop.
fn line(chance: &mut Chance, number: usize, errors: bool) -> String {
    let text = match chance.below(12) {
        0 => "# a comment".to_owned(),
        1 => String::new(),
        2 => chance.of(NAMES).to_owned(),
        3 | 4 if number + 1 < FILE_COUNT => {
            let other = number + 1 + chance.below(FILE_COUNT - number - 1);
            let scheme = chance.of(&[
                "include ",
                "include  ",
                "file:",
                "deny:file:",
                "include file:",
                "include deny:file:",
            ]);
            format!("{scheme}{FILES}/gen-{other}")
        }
        5 if errors && chance.below(4) == 0 => "two words".to_owned(),
        _ => entry(chance, 2, errors),
    };
    let (before, after) = (
        chance.of(&["", "", "", " ", "\t", "  \t"]),
        chance.of(&["", "", "", " ", "\t", "\r", " \r"]),
    );
    format!("{before}{text}{after}\n")
}

/// Makes the files, and returns lists of entries that name them.
pub fn make(chance: &mut Chance) -> Vec<Vec<String>> {
    for number in 0..FILE_COUNT {
        // In a directory the order of an error and a denial would be up to the file system.
        let errors = number < FILE_COUNT / 2;
        let lines = chance.below(6);
        let text: String = (0..lines)
            .map(|_| line(chance, if errors { number } else { FILE_COUNT }, errors))
            .collect();
        fs::write(format!("{FILES}/gen-{number}"), text).unwrap();
    }
    for number in 0..DIRECTORY_COUNT {
        let dir = format!("{FILES}/gen-dir-{number}");
        fs::create_dir(&dir).unwrap();
        for n in 0..1 + chance.below(4) {
            let name = chance.of(&["a", "b-1", "C_2", "x.acl", "y~", ".z"]);
            let lines = chance.below(4);
            let text: String = (0..lines).map(|_| line(chance, FILE_COUNT, false)).collect();
            fs::write(format!("{dir}/{name}{n}"), text).unwrap();
        }
    }
    (0..LIST_COUNT).map(|_| list(chance)).collect()
}

fn list(chance: &mut Chance) -> Vec<String> {
    (0..1 + chance.below(4))
        .map(|_| match chance.below(6) {
            0 | 1 => format!("file:{FILES}/gen-{}", chance.below(FILE_COUNT)),
            2 => {
                format!(
                    "{}{FILES}/gen-dir-{}",
                    chance.of(&["", "file:", "deny:file:"]),
                    chance.below(DIRECTORY_COUNT)
                )
            }
            3 => format!("deny:file:{FILES}/gen-{}", chance.below(FILE_COUNT)),
            _ => entry(chance, 2, true),
        })
        .collect()
}
