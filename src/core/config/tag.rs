//! The pattern of the tags of versions: `git.tag`, and `tag` of a pocket.

use std::fmt;

use schemars::json_schema;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::json_schema::in_place;
use crate::names::{Version, is_branch_name};

/// What stands for the version, mangled as DEP-14 says.
const VERSION: &str = "{version}";

/// A pattern such as `debian/{version}`, which DEP-14 recommends.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TagPattern {
    before: String,
    after: String,
}

in_place!(TagPattern, json_schema!({ "type": "string", "title": "pattern of tags" }));

impl From<TagPattern> for String {
    fn from(pattern: TagPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{VERSION}{}", self.before, self.after)
    }
}

impl TryFrom<String> for TagPattern {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let parts = text.split_once(VERSION).filter(|(_, after)| !after.contains(VERSION));
        let pattern = parts.map(|(before, after)| (before.to_owned(), after.to_owned()));
        // A name for any version is a name for this one, whose ends are a digit and a letter.
        let is_name = |(before, after): &(String, String)| {
            is_branch_name(&format!("{before}1a{after}")) && before.len() + after.len() <= 100
        };
        match pattern.filter(is_name) {
            Some((before, after)) => Ok(Self { before, after }),
            None => Err(Error::invalid(format!(
                "{} is no pattern of tags: write {VERSION} once, with what Git takes in a name around it, as in debian/{VERSION}",
                crate::text::quoted(&text)
            ))),
        }
    }
}

impl TagPattern {
    /// Returns the tag of a version, without `refs/tags/`.
    pub fn tag(&self, version: &Version) -> String {
        format!("{}{}{}", self.before, version.tag(), self.after)
    }

    /// Finds the version that a tag of this pattern stands for.
    pub fn version(&self, tag: &str) -> Option<Version> {
        let mangled = tag.strip_prefix(&self.before)?.strip_suffix(&self.after)?;
        Version::of_tag(mangled)
    }

    /// Tells whether two versions could get tags of which one has the other's name, or a name that
    /// the other needs for a directory.
    pub fn clashes_with(&self, other: &Self) -> bool {
        let blocks = |one: &Self, other: &Self| {
            one.directories().any(|dir| other.version(dir).is_some())
                || one.after.match_indices('/').any(|(at, _)| {
                    let directory =
                        Self { before: one.before.clone(), after: one.after[..at].to_owned() };
                    directory.may_name_alike(other)
                })
        };
        self.may_name_alike(other) || blocks(self, other) || blocks(other, self)
    }

    /// Tells whether both may give one name: what one has more than the other around the version
    /// could be a part of a version.
    fn may_name_alike(&self, other: &Self) -> bool {
        fn rest<'a>(a: &'a str, b: &'a str) -> Option<&'a str> {
            a.strip_prefix(b).or_else(|| b.strip_prefix(a))
        }
        fn rest_before<'a>(a: &'a str, b: &'a str) -> Option<&'a str> {
            a.strip_suffix(b).or_else(|| b.strip_suffix(a))
        }
        let is_part =
            |text: &str| text.bytes().all(|c| c.is_ascii_alphanumeric() || b".+-_%#".contains(&c));
        let begins =
            |text: &str| is_part(text) && text.bytes().next().is_none_or(|c| c.is_ascii_digit());
        rest(&self.before, &other.before).is_some_and(begins)
            && rest_before(&self.after, &other.after).is_some_and(is_part)
    }

    /// Lists the names that no tag may have, as a directory of that name has to be there for tags
    /// of this pattern.
    pub fn directories(&self) -> impl Iterator<Item = &str> {
        self.before.match_indices('/').map(|(at, _)| &self.before[..at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> TagPattern {
        text.to_owned().try_into().unwrap()
    }

    #[test]
    fn tags_of_a_pattern_name_their_version() {
        let version: Version = "1:2.10~rc1-3".parse().unwrap();
        for (text, tag) in [
            ("{version}", "1%2.10_rc1-3"),
            ("debian/{version}", "debian/1%2.10_rc1-3"),
            ("a/b-{version}-x", "a/b-1%2.10_rc1-3-x"),
        ] {
            let pattern = pattern(text);
            assert_eq!(pattern.tag(&version), tag);
            assert_eq!(pattern.version(tag), Some(version.clone()));
            assert_eq!(pattern.to_string(), text);
        }
        assert_eq!(pattern("debian/{version}").version("1.0"), None);
        assert_eq!(pattern("a/b/{version}").directories().collect::<Vec<_>>(), ["a", "a/b"]);
    }

    #[test]
    fn patterns_that_can_give_one_name_are_known() {
        for (one, other) in [
            ("{version}", "{version}"),
            ("{version}", "{version}-dev"),
            ("{version}", "1{version}"),
            ("1{version}", "{version}-dev"),
            ("{version}", "{version}/dev"),
            ("{version}", "1/{version}"),
            ("a/{version}", "a/1/{version}"),
        ] {
            assert!(pattern(one).clashes_with(&pattern(other)), "{one} {other}");
            assert!(pattern(other).clashes_with(&pattern(one)), "{other} {one}");
        }
        for (one, other) in [
            ("{version}", "debian/{version}"),
            ("{version}", "dev-{version}"),
            ("{version}", "v{version}"),
            ("debian/{version}", "dev/{version}"),
            ("debian/{version}", "debian/dev/{version}"),
            ("a/{version}/x", "a/{version}/y"),
            ("{version}@a", "{version}@b"),
        ] {
            assert!(!pattern(one).clashes_with(&pattern(other)), "{one} {other}");
            assert!(!pattern(other).clashes_with(&pattern(one)), "{other} {one}");
        }
    }

    #[test]
    fn patterns_that_are_no_names_are_refused() {
        for bad in [
            "",
            "debian",
            "{version}{version}",
            "a b/{version}",
            "/{version}",
            "{version}.lock",
            "-{version}",
            "a..{version}",
        ] {
            assert!(TagPattern::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
