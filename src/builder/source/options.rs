//! What a package asks of dpkg-source: `debian/source/options` and `debian/source/local-options`
//! (dpkg-source(1)).

use std::cell::Cell;
use std::collections::BTreeSet;

use crate::source::Format;
use crate::source::links::Links;
use crate::source::object::Path;
use invirtibuilder_core::error::{Failure, FailureKind};

/// Larger files are no options.
const MOST: u64 = 1 << 20;

/// The longest pattern that is looked for.
const LONGEST: usize = 64 << 10;

/// Names of files that version control systems read, and that a tarball often leaves out. In a
/// regular expression of Perl's.
pub const VERSION_CONTROL: &str = r"(?:^|/)\.(?:git(?:ignore|attributes|modules|review)|mailmap|hgignore|hgtags|hgsigs|bzrignore|bzrtags|bzr\.tags|cvsignore|mtn-ignore|arch-inventory)$";

/// What dpkg-source packs with.
const COMPRESSIONS: [&str; 4] = ["gzip", "bzip2", "lzma", "xz"];

/// What a package asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    lines: Vec<String>,
    binaries: BTreeSet<Vec<u8>>,
}

/// Where a package lists the binary files that it adds or changes.
pub const INCLUDED: &str = "debian/source/include-binaries";

impl Options {
    /// Reads those of a tree.
    pub fn of(links: &Links) -> Result<Self, Failure> {
        let mut lines = Vec::new();
        for name in ["debian/source/options", "debian/source/local-options"] {
            let Some(blob) = links.file(name, MOST)? else { continue };
            lines.extend(parse(&String::from_utf8_lossy(blob.content())));
        }
        let mut binaries = BTreeSet::new();
        if let Some(blob) = links.file(INCLUDED, MOST)? {
            let lines = blob.content().split(|&c| c == b'\n').map(<[u8]>::trim_ascii);
            binaries = lines
                .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
                .map(<[u8]>::to_vec)
                .collect();
        }
        Ok(Self { lines, binaries })
    }

    /// Refuses a compression that dpkg-source does not have.
    pub fn check(&self, format: Format) -> Result<(), Failure> {
        let fail = |text: String| Err(Failure::new(FailureKind::Tree, text));
        for name in self.values("--compression") {
            if !COMPRESSIONS.contains(&name) {
                let (name, all) =
                    (invirtibuilder_core::text::quoted(name), COMPRESSIONS.join(", "));
                return fail(format!(
                    "debian/source/options asks for the compression {name}, and dpkg-source has {all}"
                ));
            }
        }
        // The last one counts.
        match self.values("--compression").last() {
            Some(other) if format == Format::One && other != "gzip" => fail(format!(
                "debian/source/options asks for the compression {other}, and source format 1.0 has gzip only: use 3.0 (quilt) or \
                 3.0 (native)"
            )),
            _ => Ok(()),
        }
    }

    /// Tells whether a file is packed as it is, and need not be in a patch.
    pub fn is_included_binary(&self, path: &Path) -> bool {
        self.includes_binaries() || self.binaries.contains(path)
    }

    /// Lists what stands behind an option, each time that it is given; empty where nothing does.
    fn values<'a>(&'a self, option: &'a str) -> impl Iterator<Item = &'a str> {
        let value = move |line: &'a String| match line.strip_prefix(option)? {
            "" => Some(""),
            rest => rest.strip_prefix('='),
        };
        self.lines.iter().filter_map(value)
    }

    fn has(&self, option: &str) -> bool {
        self.lines.iter().any(|line| line == option)
    }

    /// Tells whether changes of upstream files become a patch without being asked.
    pub fn generates_patch(&self) -> bool {
        self.has("--auto-commit") || self.is_single_patch()
    }

    /// Finds the option that asks for that.
    pub fn patch_option(&self) -> Option<&'static str> {
        if self.is_single_patch() {
            Some("single-debian-patch")
        } else {
            self.has("--auto-commit").then_some("auto-commit")
        }
    }

    /// Tells whether a generated patch removes what the tree has not.
    pub fn includes_removal(&self) -> bool {
        self.generates_patch() && self.has("--include-removal")
    }

    /// Tells whether all changes of upstream files are one patch.
    pub fn is_single_patch(&self) -> bool {
        self.has("--single-debian-patch")
    }

    /// Tells whether binary files are taken without being listed, and listed then.
    pub fn includes_binaries(&self) -> bool {
        self.has("--include-binaries")
    }

    /// Tells whether it says itself which differences to look over.
    pub fn has_diff_ignore(&self) -> bool {
        self.values("--diff-ignore").next().is_some()
    }

    /// Tells whether it says itself what to leave out of tarballs.
    pub fn has_tar_ignore(&self) -> bool {
        self.values("--tar-ignore").next().is_some()
    }

    /// Returns the option by which it does that.
    pub fn diff_ignore_option(&self) -> &'static str {
        if self.has_diff_ignore() { "diff-ignore" } else { "extend-diff-ignore" }
    }

    /// Lists the patterns of differences to look over, beyond dpkg's own.
    pub fn extend_diff_ignore(&self) -> impl Iterator<Item = &str> {
        self.values("--extend-diff-ignore").filter(|pattern| !pattern.is_empty())
    }

    /// Tells which paths the package wants looked over in upstream's part of a tree.
    pub fn diff_ignore(&self) -> Result<Ignore, Failure> {
        let own = self
            .values("--diff-ignore")
            .map(|value| if value.is_empty() { DEFAULT_DIFF_IGNORE } else { value });
        let patterns: Vec<&str> = own.chain(self.extend_diff_ignore()).collect();
        Ignore::perl(&patterns)
    }

    /// Tells which paths the package wants left out of tarballs: the patterns are those of tar(1),
    /// unanchored.
    pub fn tar_ignore(&self) -> Result<Ignore, Failure> {
        let mut patterns = Vec::new();
        for value in self.values("--tar-ignore") {
            if value.is_empty() {
                patterns.extend(DEFAULT_TAR_IGNORE.split(' ').map(regex_of_glob));
            } else {
                patterns.push(regex_of_glob(value));
            }
        }
        Ignore::globs(&patterns)
    }
}

/// Reads the lines of a configuration file of dpkg's as command line options: `name = value` is
/// `--name=value`. Short options are passed over, as dpkg-source does.
fn parse(text: &str) -> Vec<String> {
    let spaced = regex::Regex::new(r"\s+=\s+").expect("it is a regular expression");
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let option = |line: &str| {
        let mut line = spaced.replacen(line, 1, "=").into_owned();
        if !line.contains('=')
            && let Some(at) = line.find(char::is_whitespace)
        {
            line = format!("{}={}", &line[..at], line[at..].trim_start());
        }
        let is_short = line.starts_with('-') && !line.starts_with("--");
        let dashes = if line.starts_with('-') { "" } else { "--" };
        let inner = |value: &str, quote: char| {
            value.strip_prefix(quote)?.strip_suffix(quote).map(str::to_owned)
        };
        let option = match line.split_once('=') {
            Some((name, value)) => {
                let value = inner(value, '"')
                    .or_else(|| inner(value, '\''))
                    .unwrap_or_else(|| value.to_owned());
                format!("{dashes}{name}={value}")
            }
            None => format!("{dashes}{line}"),
        };
        (!is_short).then_some(option)
    };
    lines.filter_map(option).collect()
}

/// Paths that are looked over.
#[derive(Debug, Default)]
pub struct Ignore {
    globs: Option<regex::bytes::Regex>,
    perl: Option<pcre2::bytes::Regex>,
    /// How often a pattern took too long.
    gave_up: Cell<u32>,
}

/// The steps that a pattern may take for one path, and how often it may take more before it is no
/// longer tried.
const STEPS: &str = "(*LIMIT_MATCH=20000)";
const GIVE_UP: u32 = 20;

impl Ignore {
    fn fail(why: String) -> Failure {
        Failure::new(FailureKind::Tree, format!("a pattern of debian/source/options {why}"))
    }

    /// Patterns of Perl's, as far as PCRE2 knows them.
    fn perl(patterns: &[&str]) -> Result<Self, Failure> {
        if patterns.is_empty() {
            return Ok(Self::default());
        }
        let text =
            patterns.iter().map(|pattern| format!("(?:{pattern})")).collect::<Vec<_>>().join("|");
        if text.len() > LONGEST {
            return Err(Self::fail(format!("is longer than {LONGEST} bytes")));
        }
        let built = pcre2::bytes::RegexBuilder::new().build(&format!("{STEPS}{text}"));
        let regex = built.map_err(|error| Self::fail(format!("is none: {error}")))?;
        Ok(Self { perl: Some(regex), ..Self::default() })
    }

    /// Patterns that were made from those of tar(1).
    fn globs(patterns: &[String]) -> Result<Self, Failure> {
        if patterns.is_empty() {
            return Ok(Self::default());
        }
        let built = regex::bytes::RegexBuilder::new(&patterns.join("|")).unicode(false).build();
        let regex = built.map_err(|error| Self::fail(format!("is too large, or none: {error}")))?;
        Ok(Self { globs: Some(regex), ..Self::default() })
    }

    /// Tells whether a path is one of them. A path for which that takes too long is none.
    pub fn matches(&self, path: &Path) -> bool {
        if self.globs.as_ref().is_some_and(|regex| regex.is_match(path)) {
            return true;
        }
        let Some(regex) = self.perl.as_ref().filter(|_| self.gave_up.get() < GIVE_UP) else {
            return false;
        };
        regex.is_match(path).unwrap_or_else(|_| {
            self.gave_up.set(self.gave_up.get() + 1);
            false
        })
    }
}

/// Returns a pattern of tar's `--exclude` as a regular expression: it may begin behind any slash,
/// `*` passes over slashes, and what is below a directory that matches goes with it (GNU tar's
/// manual, "Controlling Pattern-Matching").
fn regex_of_glob(glob: &str) -> String {
    let mut regex = String::from("(?:^|/)");
    let mut rest = glob.trim_start_matches("./").chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '*' => regex.push_str("(?s:.*)"),
            '?' => regex.push_str("(?s:.)"),
            '[' => {
                regex.push('[');
                if rest.next_if(|&c| c == '!' || c == '^').is_some() {
                    regex.push('^');
                }
                if rest.next_if_eq(&']').is_some() {
                    regex.push_str("\\]");
                }
                for c in rest.by_ref() {
                    match c {
                        ']' => break,
                        '\\' | '[' => regex.extend(['\\', c]),
                        c => regex.push(c),
                    }
                }
                regex.push(']');
            }
            '\\' => push_literal(&mut regex, rest.next().unwrap_or('\\')),
            c => push_literal(&mut regex, c),
        }
    }
    regex + "(?:/|$)"
}

fn push_literal(regex: &mut String, c: char) {
    regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

/// What `--diff-ignore` without a value means (dpkg-source(1)).
const DEFAULT_DIFF_IGNORE: &str = r"(?:^|/).*~$|(?:^|/)\.#.*$|(?:^|/)\..*\.sw.$|(?:^|/),,.*(?:$|/.*$)|(?:^|/)(?:DEADJOE|\.arch-inventory|\.(?:bzr|cvs|hg|git|mtn-)ignore)$|(?:^|/)(?:CVS|RCS|\.deps|\{arch\}|\.arch-ids|\.svn|\.hg(?:tags|sigs)?|_darcs|\.git(?:attributes|modules|review)?|\.mailmap|\.shelf|_MTN|\.be|\.bzr(?:\.backup|tags)?)(?:$|/.*$)";

/// What `--tar-ignore` without a value means (dpkg-source(1)).
const DEFAULT_TAR_IGNORE: &str = "*.a *.la *.o *.so .*.sw? */*~ ,,* .[#~]* .arch-ids .arch-inventory .be .bzr .bzr.backup .bzr.tags .bzrignore .cvsignore .deps .git .gitattributes .gitignore .gitmodules .gitreview .hg .hgignore .hgsigs .hgtags .mailmap .mtn-ignore .shelf .svn CVS DEADJOE RCS _MTN _darcs {arch}";

#[cfg(test)]
mod tests {
    use crate::source::options::*;

    fn options(text: &str) -> Options {
        Options { lines: parse(text), ..Options::default() }
    }

    #[test]
    fn lines_are_options() {
        let all = options(
            "# a comment\nextend-diff-ignore = \"(^|/)config\\.sub$\"\n\n--single-debian-patch\ntar-ignore=*.x\ncompression=gzip\n",
        );
        assert_eq!(all.extend_diff_ignore().collect::<Vec<_>>(), ["(^|/)config\\.sub$"]);
        assert!(all.generates_patch() && all.is_single_patch() && all.has_tar_ignore());
        assert!(!all.has_diff_ignore() && !all.includes_binaries());
        assert!(
            options("diff-ignore\n").has_diff_ignore() && !options("-i^x$\n").has_diff_ignore()
        );
        assert_eq!(
            options("a = b = c\nd e f\ng= 'h'\n").lines,
            ["--a=b = c", "--d=e f", "--g= 'h'"]
        );
        assert!(
            options("auto-commit\n").generates_patch()
                && !options("auto-commit-not\n").generates_patch()
        );
        assert!(
            !options("include-binaries-x\n").includes_binaries() && !options("").generates_patch()
        );
    }

    #[test]
    fn a_compression_is_one_that_dpkg_source_has() {
        let check =
            |text: &str, format| options(text).check(format).map_err(|failure| failure.text);
        for text in ["", "compression = \"xz\"\n", "compression=lzma\n", "compresion=x\n"] {
            assert_eq!(check(text, Format::Quilt), Ok(()), "{text}");
        }
        assert_eq!(check("compression=gzip\n", Format::One), Ok(()));
        assert!(check("compression = zip\n", Format::Native).unwrap_err().contains("'zip'"));
        assert!(check("compression = xz\n", Format::One).unwrap_err().contains("gzip only"));
    }

    #[test]
    fn what_is_looked_over() {
        let ignore = options("extend-diff-ignore=^a/b$\nextend-diff-ignore=\\.log$\n")
            .diff_ignore()
            .unwrap();
        assert!(ignore.matches(b"a/b") && ignore.matches(b"x/y.log") && !ignore.matches(b"x/a/b"));
        let ignore = options("diff-ignore\n").diff_ignore().unwrap();
        assert!(
            ignore.matches(b"x/.gitignore")
                && ignore.matches(b"CVS/Root")
                && !ignore.matches(b"x.c")
        );
        assert!(!options("").diff_ignore().unwrap().matches(b"x"));
        assert!(options("extend-diff-ignore=(\n").diff_ignore().is_err());
        let slow = options("extend-diff-ignore=^(a+)+$\n").diff_ignore().unwrap();
        assert!(!slow.matches(format!("{}b", "a".repeat(200)).as_bytes()));
    }

    #[test]
    fn what_tar_leaves_out() {
        let ignore = |text: &str| options(text).tar_ignore().unwrap();
        let one = ignore("tar-ignore=*.swp\ntar-ignore=debian/private\ntar-ignore=a.b\n");
        for path in [
            "x.swp",
            "a/b.swp",
            "debian/private",
            "debian/private/key",
            "x/debian/private",
            "a.b",
            "d/a.b/c",
        ] {
            assert!(one.matches(path.as_bytes()), "{path}");
        }
        for path in ["xswp", "debian/privateer", "aXb", "a.bc"] {
            assert!(!one.matches(path.as_bytes()), "{path}");
        }
        assert!(
            ignore("tar-ignore=[a-c]?[!x]\n").matches(b"b1y")
                && !ignore("tar-ignore=[a-c]?[!x]\n").matches(b"b1x")
        );
        assert!(
            ignore("tar-ignore\n").matches(b"lib/x.so")
                && ignore("tar-ignore\n").matches(b"note/a~")
        );
    }
}
