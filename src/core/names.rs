//! Parses the names that the service deals in, each once where it enters: from then on it is
//! carried as its own type.
//!
//! A value of one of these types is safe to use as one path component, as part of a Git ref and as
//! a program argument after `--`: none is empty, starts with `-` or `.`, or holds a slash, a space
//! or a control byte.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::json_schema::in_place;

/// Declares a string newtype whose only constructor checks the text.
macro_rules! name_type {
    ($(#[$meta:meta])* $name:ident, $what:literal, $check:expr, $rule:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(Error::invalid(format!(
                        concat!("{} is not a ", $what, ": use ", $rule),
                        crate::text::quoted(text)
                    )))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        in_place!($name, schemars::json_schema!({ "type": "string", "title": $what }));

        #[cfg(feature = "sqlite")]
        impl rusqlite::ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                self.0.to_sql()
            }
        }

        #[cfg(feature = "sqlite")]
        impl rusqlite::types::FromSql for $name {
            fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
                value.as_str()?.parse().map_err(|e| rusqlite::types::FromSqlError::Other(Box::new(e)))
            }
        }
    };
}

/// The longest name accepted anywhere, in bytes, so that each fits a file name with a suffix to
/// spare.
const MAX_NAME: usize = 200;

fn is_package(text: &str) -> bool {
    let b = text.as_bytes();
    (2..=MAX_NAME).contains(&b.len())
        && (b[0].is_ascii_lowercase() || b[0].is_ascii_digit())
        && b.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"+-.".contains(c))
        && !text.contains("..")
}

fn is_word(text: &str) -> bool {
    let b = text.as_bytes();
    (1..=MAX_NAME).contains(&b.len())
        && b[0].is_ascii_alphanumeric()
        && b.iter().all(|c| c.is_ascii_alphanumeric() || b"-_.+".contains(c))
        && !text.contains("..")
        && !text.ends_with('.')
        && !text.ends_with(".lock")
}

fn is_architecture(text: &str) -> bool {
    let b = text.as_bytes();
    (2..=64).contains(&b.len())
        && b[0].is_ascii_alphanumeric()
        && b.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-')
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

fn is_version(text: &str) -> bool {
    let (epoch, rest) = match text.split_once(':') {
        Some((epoch, rest)) => (Some(epoch), rest),
        None => (None, text),
    };
    let (upstream, revision) = match rest.rsplit_once('-') {
        Some((upstream, revision)) => (upstream, Some(revision)),
        None => (rest, None),
    };
    let part =
        |s: &str, extra: &[u8]| s.bytes().all(|c| c.is_ascii_alphanumeric() || extra.contains(&c));
    text.len() <= MAX_NAME
        && epoch.is_none_or(|e| (1..=9).contains(&e.len()) && e.bytes().all(|c| c.is_ascii_digit()))
        && upstream.bytes().next().is_some_and(|c| c.is_ascii_digit())
        && part(upstream, b".+-~")
        && revision.is_none_or(|r| !r.is_empty() && part(r, b".+~"))
}

name_type!(
    /// A source or binary package name (Debian policy 5.6.1 and 5.6.7).
    PackageName,
    "package name",
    is_package,
    "two or more of a-z, 0-9, '+', '-', '.', starting with a letter or digit"
);
name_type!(
    /// The name of a pocket: one thread of development.
    PocketName,
    "pocket name",
    is_word,
    "letters, digits, '-', '_', '.', starting with a letter or digit"
);
name_type!(
    /// The name of a suite of the archive, `dists/<suite>`.
    Suite,
    "suite name",
    is_word,
    "letters, digits, '-', '_', '.', starting with a letter or digit"
);
name_type!(
    /// The name of a domain: an archive of its own.
    DomainName,
    "domain name",
    is_word,
    "letters, digits, '-', '_', '.', starting with a letter or digit"
);
name_type!(
    /// The name of a distribution to build in, such as `trixie`: the name of a chroot.
    Distro,
    "distro name",
    is_word,
    "letters, digits, '-', '_', '.', starting with a letter or digit"
);
name_type!(
    /// The name of a component of a suite, such as `main`.
    Component,
    "component name",
    is_word,
    "letters, digits, '-', '_', '.', starting with a letter or digit"
);
name_type!(
    /// The name of a Debian architecture as in `dpkg --print-architecture`, or `all`.
    Architecture,
    "Debian architecture",
    is_architecture,
    "a name that dpkg-architecture -L lists, such as amd64"
);
name_type!(
    /// The name of a token of a principal.
    TokenName,
    "token name",
    is_word,
    "letters, digits, '-', '_', '.', starting with a letter or digit"
);
name_type!(
    /// A full Git commit id: 40 lower-case hexadecimal digits.
    CommitId,
    "full commit id",
    is_commit,
    "40 lower-case hexadecimal digits"
);
name_type!(
    /// The SHA-256 of a chroot's tarball, which names the chroot for ever.
    ChrootDigest,
    "SHA-256",
    is_sha256,
    "64 lower-case hexadecimal digits"
);
name_type!(
    /// A package version (Debian policy 5.6.12; the upstream part starts with a digit, as
    /// dpkg-source demands).
    ///
    /// Equality and the derived order are of the text; [`Version::precedes`] and
    /// [`Version::cmp_dpkg`] are dpkg's order.
    Version,
    "Debian version",
    is_version,
    "[epoch:]upstream[-revision], upstream starting with a digit"
);

impl CommitId {
    /// Returns the first twelve digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl ChrootDigest {
    /// Returns its beginning, as file names and tables have it.
    pub fn short(&self) -> &str {
        &self.0[..16]
    }
}

#[cfg(feature = "git")]
impl From<git2::Oid> for CommitId {
    fn from(oid: git2::Oid) -> Self {
        Self(oid.to_string())
    }
}

#[cfg(feature = "git")]
impl From<&CommitId> for git2::Oid {
    fn from(id: &CommitId) -> Self {
        git2::Oid::from_str(&id.0).expect("a CommitId is 40 hexadecimal digits")
    }
}

impl Version {
    /// Compares versions in dpkg's order (deb-version(7)).
    pub fn cmp_dpkg(&self, other: &Version) -> std::cmp::Ordering {
        let parse = |v: &Version| {
            v.0.parse::<debversion::Version>().expect("a Version parses as a Debian version")
        };
        parse(self).cmp(&parse(other))
    }

    /// Tells whether this version is strictly lower than `other` in dpkg's order.
    pub fn precedes(&self, other: &Version) -> bool {
        self.cmp_dpkg(other).is_lt()
    }

    /// Returns the version without its epoch, as file names in a pool have it.
    pub fn without_epoch(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(_, rest)| rest)
    }

    /// Returns the version that dpkg-gencontrol(1) and dpkg-genchanges(1) take this one for a
    /// rebuild of: what precedes `+bN` at its end. Its packages would name that one as their
    /// source.
    pub fn rebuilt(&self) -> Option<&str> {
        let (version, number) = self.0.rsplit_once("+b")?;
        (!number.is_empty() && number.bytes().all(|c| c.is_ascii_digit())).then_some(version)
    }

    /// Returns the upstream part: no epoch, no revision.
    pub fn upstream(&self) -> &str {
        let rest = self.without_epoch();
        rest.rsplit_once('-').map_or(rest, |(upstream, _)| upstream)
    }

    /// Tells whether there is a Debian revision, that is, the package is not native.
    pub fn has_revision(&self) -> bool {
        self.without_epoch().contains('-')
    }

    /// Writes the version as a Git tag name, mangled as DEP-14 says: `:` to `%`, `~` to `_`, and a
    /// `#` before the dots that Git does not take.
    pub fn tag(&self) -> String {
        let mut tag = String::with_capacity(self.0.len());
        let mut chars = self.0.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                ':' => tag.push('%'),
                '~' => tag.push('_'),
                '.' => {
                    tag.push('.');
                    if chars.peek().is_none_or(|&next| next == '.') {
                        tag.push('#');
                    }
                }
                c => tag.push(c),
            }
        }
        match tag.strip_suffix(".lock") {
            Some(stem) => format!("{stem}.#lock"),
            None => tag,
        }
    }
}

impl Version {
    /// Finds the version that a tag name stands for; `None` if [`Version::tag`] gives that name to
    /// none.
    pub fn of_tag(tag: &str) -> Option<Self> {
        let text = tag.replace('%', ":").replace('_', "~").replace('#', "");
        text.parse().ok().filter(|version: &Self| version.tag() == tag)
    }
}

/// The name of who asks: a Kerberos principal with its realm, or `local:<user>` for a shell on the
/// server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Principal(String);

in_place!(Principal, schemars::json_schema!({ "type": "string", "title": "principal" }));

impl TryFrom<String> for Principal {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Self::from_authenticated(&text)
    }
}

impl Principal {
    /// Takes a name that has already been authenticated and canonicalized
    /// (`identity` of the part `access`) or that the record holds. Refuses what could not be
    /// shown or logged on one line. A space is as good as any other character to Kerberos.
    pub fn from_authenticated(name: &str) -> Result<Self, Error> {
        let breaks_lines = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        if name.is_empty() || name.len() > 1024 || name.chars().any(breaks_lines) {
            return Err(Error::denied(format!(
                "{} is not a principal name",
                crate::text::quoted(name)
            )));
        }
        Ok(Self(name.to_owned()))
    }

    /// Makes the principal of a local user.
    pub fn local(user: &str) -> Result<Self, Error> {
        Self::from_authenticated(&format!("local:{user}"))
    }

    /// Tells whether this is `local:<user>`, somebody in a shell on the server.
    pub fn is_local(&self) -> bool {
        self.0.starts_with("local:")
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Principal> for String {
    fn from(principal: Principal) -> String {
        principal.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(feature = "sqlite")]
impl rusqlite::ToSql for Principal {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

#[cfg(feature = "sqlite")]
impl rusqlite::types::FromSql for Principal {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        Self::from_authenticated(value.as_str()?)
            .map_err(|e| rusqlite::types::FromSqlError::Other(Box::new(e)))
    }
}

/// The number of a job, counted from 1 and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub i64);

in_place!(JobId, schemars::json_schema!({ "type": "integer", "minimum": 1, "title": "job" }));

impl FromStr for JobId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        match text.parse::<i64>() {
            Ok(id) if id > 0 && text.bytes().all(|c| c.is_ascii_digit()) => Ok(Self(id)),
            _ => Err(Error::invalid(format!(
                "{} is not a job id: use the number that submit printed",
                crate::text::quoted(text)
            ))),
        }
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(feature = "sqlite")]
impl rusqlite::ToSql for JobId {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

#[cfg(feature = "sqlite")]
impl rusqlite::types::FromSql for JobId {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        value.as_i64().map(Self)
    }
}

impl PackageName {
    /// Names the directory of a source package below its component: `libf` for `libfoo`, else the
    /// first letter, as in Debian's own pool.
    pub fn pool_prefix(&self) -> &str {
        let name = self.as_str();
        let length = if name.starts_with("lib") && name.len() > 3 { 4 } else { 1 };
        &name[..length]
    }
}

/// Tells whether `git branch` takes a name (git-check-ref-format(1)).
pub fn is_branch_name(name: &str) -> bool {
    !name.starts_with('-')
        && gix_validate::reference::name(format!("refs/heads/{name}").as_str().into()).is_ok()
}

#[cfg(test)]
mod tests {
    use crate::names::*;
    use proptest::prelude::*;

    #[test]
    fn package_names_follow_policy() {
        for good in ["hello", "0ad", "libstdc++6", "a+", "g++-12", "x.y"] {
            assert!(good.parse::<PackageName>().is_ok(), "{good}");
        }
        for bad in ["", "a", "Hello", "../x", "-x", ".x", "a/b", "a b", "a\n", "a\0b", "x..y", "ä"]
        {
            assert!(bad.parse::<PackageName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn words_are_safe_in_paths_and_refs() {
        for good in ["prod", "trixie", "bookworm-backports", "Dev_2", "a.b"] {
            assert!(good.parse::<PocketName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-x", "a..b", "a/b", "a.", "x.lock", "a b", "a\u{7f}"] {
            assert!(bad.parse::<PocketName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_rebuild_is_known_by_its_version() {
        let rebuilt = |text: &str| text.parse::<Version>().unwrap().rebuilt().map(str::to_owned);
        assert_eq!(rebuilt("1:2.0-1+b12"), Some("1:2.0-1".to_owned()));
        assert_eq!(rebuilt("2.0+b1"), Some("2.0".to_owned()));
        for other in ["2.0+b", "2.0+b1~bpo12+1", "2.0+beta1", "2.0b1", "2.0+b1-1", "2.0+build2"] {
            assert_eq!(rebuilt(other), None, "{other}");
        }
    }

    #[test]
    fn versions_follow_deb_version() {
        for good in ["1", "1.0-1", "1:2.3-4", "1.0~rc1-1+b2", "2-1-1", "0+git20200101.abc"] {
            assert!(good.parse::<Version>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a1",
            "1-",
            "-1",
            ":1",
            "x:1",
            "1:2:3",
            "1_2",
            "1/2",
            "1 2",
            "1-\n",
            "99999999999:1",
        ] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn dep14_mangles_tags() {
        let tag = |v: &str| v.parse::<Version>().unwrap().tag();
        assert_eq!(tag("1:2.10~rc1-3"), "1%2.10_rc1-3");
        assert_eq!(tag("1..2"), "1.#.2");
        assert_eq!(tag("1.0."), "1.0.#");
        assert_eq!(tag("1.0.lock"), "1.0.#lock");
        for not in ["", "v1.0", "debian/1.0-1", "1:0", "1~0", "1#0", "prod"] {
            assert_eq!(Version::of_tag(not), None, "{not}");
        }
    }

    #[test]
    fn job_ids_are_plain_numbers() {
        assert_eq!("12".parse::<JobId>().unwrap(), JobId(12));
        for bad in ["", "0", "-1", "+1", "1x", "99999999999999999999"] {
            assert!(bad.parse::<JobId>().is_err(), "{bad}");
        }
    }

    /// The test compares with dpkg's own order: the tables are from deb-version(7) and dpkg's test
    /// suite.
    #[test]
    fn order_is_dpkgs() {
        let ascending = [
            "1~~", "1~~a", "1~", "1", "1a", "1+b1", "1.0", "1.0-1", "1.0-1.1", "1.0-10", "1.1",
            "1:0",
        ];
        for pair in ascending.windows(2) {
            let (a, b): (Version, Version) = (pair[0].parse().unwrap(), pair[1].parse().unwrap());
            assert!(a.precedes(&b) && !b.precedes(&a), "{a} < {b}");
        }
        let same: (Version, Version) = ("0:1.0-0".parse().unwrap(), "1.0".parse().unwrap());
        assert!(same.0.cmp_dpkg(&same.1).is_eq());
    }

    proptest! {
        #[test]
        fn order_never_panics_and_is_antisymmetric(a in "[0-9][a-z0-9.+~-]{0,12}", b in "[0-9]:?[0-9][a-z0-9.+~-]{0,12}") {
            if let (Ok(a), Ok(b)) = (a.parse::<Version>(), b.parse::<Version>()) {
                prop_assert_eq!(a.cmp_dpkg(&b), b.cmp_dpkg(&a).reverse());
            }
        }

        #[test]
        fn names_of_branches_are_those_of_libgit2(name in r"[-a@{}./~^: *?\\\[A-Z\x7f]{0,8}(lock)?") {
            let theirs = git2::Reference::is_valid_name(&format!("refs/heads/{name}")) && !name.starts_with('-');
            prop_assert_eq!(is_branch_name(&name), theirs, "{}", name);
        }

        #[test]
        fn tags_are_valid_refs(v in "([0-9]:)?[0-9][a-zA-Z0-9.+~-]{0,20}") {
            if let Ok(v) = v.parse::<Version>() {
                let name = format!("refs/tags/{}", v.tag());
                prop_assert!(git2::Reference::is_valid_name(&name), "{}", name);
                prop_assert_eq!(Version::of_tag(&v.tag()), Some(v));
            }
        }
    }
}
