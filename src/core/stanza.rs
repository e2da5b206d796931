//! Checks what may stand in a stanza of a control file (deb822(5)) that reaches a signed index:
//! which characters, which fields, and how much.
//!
//! Each program that reads an index, be it apt, dpkg or a script, must read what we read. So a
//! stanza has each field once and no character that ends a line, or hides one, for some readers
//! only. `Sources` is written from a list of fields. `Packages` also takes fields that a package
//! has made up, as Debian does, but none that only the archive may write.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};

use crate::relations;

/// The largest stanza of a binary package, in bytes. The largest of Debian has 76 KiB
/// (`librust-winapi-dev` in bookworm); this and the others here are four times what Debian's
/// largest are.
pub const LARGEST_BINARY: u64 = 304 << 10;

/// The largest `.dsc`, and stanza of a source package, in bytes. The largest of sid has 283 KiB
/// (`linux`).
pub const LARGEST_SOURCE: u64 = 1132 << 10;

/// The most that all binary packages of a version may have in the index of one architecture, in
/// bytes. Sid's largest have 463 KiB (`gcc-15-cross-mipsen`).
pub const LARGEST_TOGETHER: u64 = 1852 << 10;

/// The most binary packages of a version that the index of one architecture may have. Sid's largest
/// have 545.
pub const MOST_PACKAGES: usize = 4 * 545;

/// The most fields of a stanza. Debian's have fewer than 50.
pub const MOST_FIELDS: usize = 400;

/// The fields of a source package that `Sources` has besides those that we write: dsc(5), and what
/// Debian's archive has.
const SOURCE: &[&str] = &[
    "Architecture",
    "Autobuild",
    "Binary",
    "Bugs",
    "Build-Conflicts",
    "Build-Conflicts-Arch",
    "Build-Conflicts-Indep",
    "Build-Depends",
    "Build-Depends-Arch",
    "Build-Depends-Indep",
    "Build-Indep-Architecture",
    "Description",
    "Dgit",
    "Extra-Source-Only",
    "Format",
    "Git-Tag-Info",
    "Git-Tag-Tagger",
    "Go-Import-Path",
    "Homepage",
    "Maintainer",
    "Origin",
    "Original-Maintainer",
    "Package-List",
    "Python-Version",
    "Ruby-Versions",
    "Standards-Version",
    "Testsuite",
    "Testsuite-Triggers",
    "Uploaders",
    "Vcs-Arch",
    "Vcs-Browser",
    "Vcs-Bzr",
    "Vcs-Cvs",
    "Vcs-Darcs",
    "Vcs-Git",
    "Vcs-Hg",
    "Vcs-Mtn",
    "Vcs-Svn",
    "Vendored-Sources-Rust",
    "Version",
];

/// The fields that every `.dsc` has and that we write into `Sources` ourselves.
const OURS_OF_SOURCE: &[&str] = &["Source", "Files", "Checksums-Sha1", "Checksums-Sha256"];

/// The fields that only an archive writes of a package, or dpkg of one that is installed. We refuse
/// a package that has them of itself. `Checksums-…` is among them, whatever the algorithm.
const ARCHIVES: &[&str] = &[
    "Conffiles",
    "Config-Version",
    "Description-Md5",
    "Directory",
    "Filename",
    "Files",
    "MD5sum",
    "MSDOS-Filename",
    "Phased-Update-Percentage",
    "SHA1",
    "SHA256",
    "SHA512",
    "Size",
    "Status",
    "Triggers-Awaited",
    "Triggers-Pending",
];

/// The fields that dpkg writes of a package's names. `debian/control` has some of them, but cannot
/// set them by another way (`XB-Package`).
const NAMES: &[&str] =
    &["Architecture", "Binary", "Format", "Package", "Package-List", "Source", "Version"];

/// Returns the text behind a field's name.
fn value(field: &str) -> &str {
    field.split_once(':').map_or("", |(_, value)| value)
}

fn is_in(list: &[&str], name: &str) -> bool {
    list.iter().any(|other| other.eq_ignore_ascii_case(name))
}

/// Tells whether only the archive may write a field.
fn is_the_archives(name: &str) -> bool {
    is_in(ARCHIVES, name) || name.to_ascii_lowercase().starts_with("checksums-")
}

/// Tells whether a text is the name of a field (Debian policy 5.1).
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && c != ':';
    !text.is_empty() && !text.starts_with(['-', '#']) && text.chars().all(plain)
}

/// Tells whether a character means the same to all readers: it neither moves what is shown nor ends
/// a line. Tabs do neither.
fn is_plain(c: char) -> bool {
    c == '\t'
        || !(c.is_control()
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'))
}

/// Finds the first character of a text that is not the same to all readers, as a sentence names it.
pub fn odd_character(text: &str) -> Option<String> {
    text.chars()
        .find(|c| !is_plain(*c))
        .map(|c| format!("the control character '{}'", c.escape_default()))
}

/// The fields of one stanza, as they stand there.
#[derive(Debug)]
pub struct Stanza<'a> {
    /// The name and the text of each field, the text with name and last newline.
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Stanza<'a> {
    /// Reads a stanza that can be read in one way: each field once, one after the other.
    pub fn read(text: &'a str) -> Result<Self> {
        let (mut fields, mut names) = (Vec::new(), BTreeSet::new());
        let text = text.trim_end_matches('\n');
        let (mut begin, mut at, mut open) = (0, 0, "");
        for line in text.split('\n') {
            ensure!(!line.trim().is_empty(), "has an empty line");
            if let Some(odd) = odd_character(line) {
                let name = line
                    .split_once(':')
                    .filter(|_| !line.starts_with([' ', '\t']))
                    .map_or(open, |(name, _)| name);
                bail!("has {odd} in the field {}", crate::text::quoted(name));
            }
            if line.starts_with([' ', '\t']) {
                ensure!(!open.is_empty(), "begins with a continuation line");
            } else {
                let name = line.split_once(':').map(|(name, _)| name).unwrap_or_default();
                ensure!(
                    is_name(name),
                    "has a line that is no field: {}",
                    crate::text::quoted(line)
                );
                ensure!(
                    names.insert(name.to_ascii_lowercase()),
                    "has {} twice",
                    crate::text::quoted(name)
                );
                ensure!(names.len() <= MOST_FIELDS, "has more than {MOST_FIELDS} fields");
                if !open.is_empty() {
                    fields.push((open, &text[begin..at]));
                }
                (begin, open) = (at, name);
            }
            at += line.len() + 1;
        }
        fields.push((open, &text[begin..]));
        Ok(Self { fields })
    }

    /// Writes the fields that `Sources` takes over from a `.dsc`.
    pub fn of_source(&self) -> Result<String> {
        if let Some((name, _)) = self.fields.iter().find(|(name, _)| {
            !is_in(OURS_OF_SOURCE, name)
                && (is_the_archives(name) || name.eq_ignore_ascii_case("Package"))
        }) {
            bail!(
                "has the field {name}, which only the archive writes: take XS-{name} out of debian/control"
            );
        }
        Ok(self.only(|name| is_in(SOURCE, name)))
    }

    /// Writes the fields that `Packages` takes over from the control file of a binary package, but
    /// for its names.
    pub fn of_binary(&self) -> Result<String> {
        let has = |name: &str, word: &str| {
            self.fields
                .iter()
                .any(|(other, text)| name.eq_ignore_ascii_case(other) && value(text).trim() == word)
        };
        ensure!(
            !(has("Multi-Arch", "same") && has("Architecture", "all")),
            "has Multi-Arch: same, which no package for all architectures can be"
        );
        for (name, text) in &self.fields {
            relations::check(name, value(text))?;
            ensure!(
                !is_the_archives(name),
                "has the field {name}, which only the archive writes: take XB-{name} out of debian/control"
            );
        }
        Ok(self.only(|name| !is_in(&["Package", "Source"], name)))
    }

    /// Writes some fields, without spaces at the ends of lines.
    fn only(&self, wanted: impl Fn(&str) -> bool) -> String {
        let mut kept = String::new();
        for line in
            self.fields.iter().filter(|(name, _)| wanted(name)).flat_map(|(_, text)| text.lines())
        {
            kept.push_str(line.trim_end());
            kept.push('\n');
        }
        kept
    }
}

/// Tells whether a field of `debian/control` would become one that only the archive, or dpkg
/// itself, writes.
fn is_forged(name: &str) -> bool {
    let prefixed = name.strip_prefix(['X', 'x']).and_then(|rest| rest.split_once('-'));
    let made_up = prefixed
        .filter(|(kinds, _)| kinds.chars().all(|c| "SBCsbc".contains(c)))
        .map(|(_, rest)| rest);
    is_the_archives(name) || made_up.is_some_and(|rest| is_the_archives(rest) || is_in(NAMES, rest))
}

/// Refuses a `debian/control` (deb-src-control(5)) with what could not be published. dpkg says what
/// else is wrong with it.
pub fn check_control(text: &str) -> Result<()> {
    let mut stanzas = 0;
    let mut between = true;
    for line in
        text.split('\n').map(|line| line.trim_end_matches([' ', '\t', '\r', '\x0b', '\x0c']))
    {
        if line.starts_with('#') {
            continue;
        }
        if line.is_empty() {
            between = true;
            continue;
        }
        stanzas += usize::from(std::mem::take(&mut between));
        if let Some(odd) = odd_character(line) {
            bail!("has {odd} in the line {}: take it out", crate::text::quoted(line.trim_start()));
        }
        let name = line
            .split_once(':')
            .map(|(name, _)| name.trim_end())
            .filter(|_| !line.starts_with([' ', '\t']));
        if let Some(name) = name.filter(|name| is_forged(name)) {
            bail!(
                "has the field {}, which only the archive and dpkg write: take it out",
                crate::text::quoted(name)
            );
        }
    }
    ensure!(
        stanzas <= MOST_PACKAGES + 1,
        "has {} binary packages, and {MOST_PACKAGES} are the most that are published",
        stanzas - 1
    );
    Ok(())
}

/// The fields of `Packages` that we write ourselves, of those that only an archive writes.
const OURS_OF_PACKAGES: &[&str] = &["Filename", "SHA256", "Size"];

/// The fields of `Sources` that we write ourselves, of those that only an archive writes.
const OURS_OF_SOURCES: &[&str] = &["Checksums-Sha256", "Directory", "Files"];

/// Checks an entry that an older release has made: that release looked at less.
pub fn check_entry(text: &str) -> Result<()> {
    let stanza = Stanza::read(text)?;
    ensure!(
        text.len() as u64 <= LARGEST_SOURCE + (4 << 10),
        "has {} KiB, which is more than any may have",
        text.len() >> 10
    );
    stanza.fields.iter().try_for_each(|(name, text)| relations::check(name, value(text)))?;
    let of_packages = stanza.fields.iter().any(|(name, _)| *name == "Filename");
    let ours = if of_packages { OURS_OF_PACKAGES } else { OURS_OF_SOURCES };
    match stanza.fields.iter().find(|(name, _)| is_the_archives(name) && !is_in(ours, name)) {
        Some((name, _)) => bail!("has the field {name}, which only the archive writes"),
        None => Ok(()),
    }
}

/// Finds the source package that an index entry says it is from.
pub fn source_of(stanza: &str) -> String {
    let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name));
    let source = field("Source: ").or_else(|| field("Package: ")).unwrap_or_default();
    source.split_whitespace().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use crate::stanza::*;

    const CONTROL: &str = "Package: hello\nVersion: 1\nDescription: x\n y\n .\n  z\n";

    fn read(text: &str) -> String {
        Stanza::read(text).map_or_else(|error| format!("{error:#}"), |_| "fine".to_owned())
    }

    #[test]
    fn a_stanza_is_read_in_one_way() {
        assert_eq!((read(CONTROL), read(CONTROL.trim_end())), ("fine".into(), "fine".into()));
        for (text, word) in [
            (format!("{CONTROL}package: bash\n"), "'package' twice"),
            (format!("{CONTROL}\nPackage: bash\n"), "empty line"),
            (format!("{CONTROL} \t\nPackage: bash\n"), "empty line"),
            (format!("{CONTROL}\u{a0}\n"), "empty line"),
            (format!("{CONTROL}# Package: bash\n"), "no field"),
            (format!("{CONTROL}Filename\n"), "no field"),
            (format!("{CONTROL}Filename : x\n"), "no field"),
            (format!("{CONTROL}: x\n"), "no field"),
            (format!("{CONTROL}-----BEGIN: x\n"), "no field"),
            (format!(" x\n{CONTROL}"), "continuation"),
            (String::new(), "empty line"),
            ((0..=MOST_FIELDS).map(|n| format!("F{n}: x\n")).collect(), "more than 400 fields"),
        ] {
            assert!(read(&text).contains(word), "{word}: {}", read(&text));
        }
    }

    #[test]
    fn characters_that_end_a_line_for_some_are_refused() {
        for odd in [
            "\r", "\x0b", "\x0c", "\x1b", "\x1c", "\0", "\x7f", "\u{85}", "\u{2028}", "\u{2029}",
            "\u{202e}", "\u{feff}",
        ] {
            for text in
                [format!("{CONTROL}Homepage: x{odd}Filename: y\n"), format!("{CONTROL} x{odd}\n")]
            {
                let said = read(&text);
                assert!(
                    said.contains("control character '\\u{")
                        || said.contains("control character '\\r'"),
                    "{said}"
                );
                assert!(said.contains("'Homepage'") || said.contains("'Description'"), "{said}");
                assert!(!said.chars().any(char::is_control));
            }
            assert!(
                check_control(&format!("Source: x\n\nPackage: y\nHomepage: a{odd}b\n")).is_err(),
                "{odd:?}"
            );
        }
        assert_eq!(read(&format!("{CONTROL}Homepage: \tÄ שלום 漢\n")), "fine");
    }

    #[test]
    fn sources_has_known_fields_only() {
        let dsc = "Format: 1.0\nSource: x\nvcs-git: y\nFoo: bar\n baz\nBuild-Depends: a,\n b  \nChecksums-Sha1:\n 1 2 3\n\
                   Section: web\nFiles:\n 1 2 3\nDgit: 1\n";
        let kept = Stanza::read(dsc).unwrap().of_source().unwrap();
        assert_eq!(kept, "Format: 1.0\nvcs-git: y\nBuild-Depends: a,\n b\nDgit: 1\n");
        for name in ["Checksums-Sha512", "checksums-md5", "Directory", "Package", "SHA256"] {
            let text = format!("{dsc}{name}: x\n");
            let said = Stanza::read(&text).unwrap().of_source().unwrap_err().to_string();
            assert!(said.contains(name) && said.contains("only the archive"), "{said}");
        }
    }

    #[test]
    fn packages_has_nothing_of_the_archives_from_a_package() {
        let text = format!("{CONTROL}Source: x\nPython-Egg-Name: y\nCnf-Extra-Commands: z\n");
        let kept = Stanza::read(&text).unwrap().of_binary().unwrap();
        assert_eq!(
            kept,
            "Version: 1\nDescription: x\n y\n .\n  z\nPython-Egg-Name: y\nCnf-Extra-Commands: z\n"
        );
        for name in [
            "Filename",
            "size",
            "MD5Sum",
            "SHA256",
            "Checksums-Sha256",
            "Files",
            "Status",
            "Phased-Update-Percentage",
        ] {
            let text = format!("{CONTROL}{name}: x\n");
            let said = Stanza::read(&text).unwrap().of_binary().unwrap_err().to_string();
            assert!(said.contains(name) && said.contains("only the archive"), "{said}");
        }
        // Any name that Debian policy 5.1 has.
        for name in [
            "A_b",
            "a.b",
            "a+b",
            "1a",
            "a#b",
            "x-!\"$%&'()*,/;<=>?@[\\]^`{|}~",
            "_",
            &"x".repeat(65),
        ] {
            let more = format!("{name}: x\n");
            let kept = Stanza::read(&format!("{CONTROL}{more}")).unwrap().of_binary().unwrap();
            assert!(kept.ends_with(&more), "{kept}");
        }
        for name in ["#a", "-a", "a b", "ä", "a\u{7f}", ""] {
            assert!(Stanza::read(&format!("{CONTROL}{name}: x\n")).is_err(), "{name}");
        }
    }

    #[test]
    fn entries_of_an_older_release_are_looked_at() {
        let entry = format!("{CONTROL}Foo: x\nFilename: pool/x\nSize: 1\nSHA256: 0\n");
        check_entry(&entry).unwrap();
        for more in [
            "Checksums-Sha512: x\n",
            "Depends: a (>> \n",
            "Files: x\n",
            "Homepage: a\u{85}b\n",
            "Size: 2\n",
        ] {
            check_entry(&format!("{entry}{more}")).unwrap_err();
        }
        let source = "Package: hello\nVersion: 1\nDirectory: pool/x\nFiles:\n 0 1 x\nChecksums-Sha256:\n 0 1 x\n";
        check_entry(source).unwrap();
        check_entry(&format!("{source}SHA256: 0\n")).unwrap_err();
    }

    #[test]
    fn what_could_not_be_published_is_found_in_debian_control() {
        let good = "# A comment\x1b\nSource: x\r\nXS-Autobuild: yes\nXSBC-Original-Maintainer: A\n\x0c\nPackage: y\nXB-Tag: z\nSection: files\n";
        check_control(good).unwrap();
        for name in [
            "XS-Checksums-Sha512",
            "XBS-Files",
            "xb-filename",
            "XSBC-Package",
            "XB-Size",
            "Checksums-Sha256",
            "X-Directory",
            "XB-Source",
        ] {
            let said = check_control(&format!("{good}{name}: x\n")).unwrap_err().to_string();
            assert!(said.contains(name), "{said}");
        }
        check_control(&format!("{good}Foo: x\n XB-Filename: y\n")).unwrap();
        let many = format!("{good}{}", "\nPackage: z\n".repeat(MOST_PACKAGES - 1));
        check_control(&many).unwrap();
        assert!(
            check_control(&format!("{many}\nPackage: z\n"))
                .unwrap_err()
                .to_string()
                .contains("2181 binary packages")
        );
    }
}
