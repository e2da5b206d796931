//! The rules by which the version that the service builds follows from the one that is written in
//! `debian/changelog`: a function of the commit and the pocket's rule, and of nothing else.

use schemars::{JsonSchema, json_schema};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::json_schema::in_place;
use crate::names::{CommitId, Version};

/// `version:` of a pocket. Without any of its keys the service builds what is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VersionRule {
    /// What is added to every version, such as `~deb12`.
    pub suffix: Option<VersionSuffix>,
    /// Whether every commit gets a version of its own: `+git`, the number of commits that lead to
    /// it, and the beginning of its id.
    #[serde(deserialize_with = "crate::truth::truth")]
    #[schemars(with = "crate::truth::TruthText")]
    pub snapshot: bool,
}

/// The ending that a pocket adds to versions. It keeps one of the letters, `+`, `~` or `.` at its
/// start, as two versions could get one name if it began with a digit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionSuffix(String);

in_place!(VersionSuffix, json_schema!({ "type": "string", "title": "version suffix" }));

impl From<VersionSuffix> for String {
    fn from(suffix: VersionSuffix) -> Self {
        suffix.0
    }
}

/// What the version of a snapshot tells of its commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitFacts<'a> {
    /// The commit.
    pub commit: &'a CommitId,
    /// The number of commits that lead to it, itself counted: what `git rev-list --count` prints.
    pub count: u64,
    /// Whether the entry of `debian/changelog` is finished.
    pub entry: EntryState,
    /// What the snapshot has of upstream's files.
    pub upstream: UpstreamFiles,
}

/// The state of the last entry of `debian/changelog`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryState {
    /// It names a distribution: the snapshot comes after the version.
    Released,
    /// It says `UNRELEASED`: the snapshot comes before the version.
    Unreleased,
}

/// What a snapshot has of upstream's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamFiles {
    /// Those of the tarball of the written version; or the package is native.
    Written,
    /// Changed ones: it is a later upstream version than the written one.
    Changed,
    /// Those of a version that has no tarball yet.
    New,
}

impl TryFrom<String> for VersionSuffix {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"+.~".contains(&c);
        let starts = text.bytes().next().is_some_and(|c| !c.is_ascii_digit());
        let shown = crate::text::quoted(&text);
        if !starts || !text.bytes().all(is_plain) || text.len() > 40 {
            return Err(Error::invalid(format!(
                "{shown} cannot end versions: use up to 40 letters, digits, '+', '.' and '~', and no digit first, as in ~deb12"
            )));
        }
        let ended: Version = format!("1{text}").parse()?;
        if ended.rebuilt().is_some() {
            return Err(Error::invalid(format!(
                "{shown} cannot end versions: dpkg takes what ends in +b and a number for a rebuild of another version"
            )));
        }
        Ok(Self(text))
    }
}

impl VersionSuffix {
    /// Returns the ending as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CommitFacts<'_> {
    fn word(&self) -> String {
        let before = match (self.entry, self.upstream) {
            (EntryState::Unreleased, UpstreamFiles::Written | UpstreamFiles::New) => '~',
            // Changes of upstream's files come after the upstream version that is there, whatever
            // becomes of the entry.
            (EntryState::Unreleased, UpstreamFiles::Changed) | (EntryState::Released, _) => '+',
        };
        format!("{before}git{}.{}", self.count, &self.commit.as_str()[..7])
    }

    /// Names the snapshot of a written version.
    fn of(&self, written: &Version) -> String {
        let text = written.as_str();
        match (self.upstream, text.rsplit_once('-')) {
            (UpstreamFiles::Changed | UpstreamFiles::New, Some((upstream, revision))) => {
                format!("{upstream}{}-{revision}", self.word())
            }
            _ => format!("{text}{}", self.word()),
        }
    }
}

impl VersionRule {
    /// Tells whether the service builds what is written.
    pub fn is_none(&self) -> bool {
        self.suffix.is_none() && !self.snapshot
    }

    /// Returns the version that the service builds. `snapshot` is read if the rule makes snapshots.
    pub fn built(&self, written: &Version, snapshot: &CommitFacts) -> Result<Version, Error> {
        let named = if self.snapshot { snapshot.of(written) } else { written.as_str().to_owned() };
        let suffix = self.suffix.as_ref().map_or("", VersionSuffix::as_str);
        format!("{named}{suffix}").parse().map_err(|_| {
            Error::invalid(format!(
                "version {written} is too long for what the pocket adds to it: shorten it in debian/changelog"
            ))
        })
    }
}

/// Returns the version of the next rebuild without changes of a version that a pocket has, as
/// Ubuntu names those: `build1` is added, then `build2`.
pub fn rebuild(held: &Version) -> Result<Version, Error> {
    let (stem, number) = rebuilds(held);
    format!("{stem}build{}", number + 1).parse().map_err(|_| {
        Error::invalid(format!(
            "version {held} is too long to be rebuilt: raise it in debian/changelog"
        ))
    })
}

/// Tells whether `version` is a rebuild without changes of `of`.
pub fn is_rebuild(version: &Version, of: &Version) -> bool {
    let (stem, number) = rebuilds(version);
    number > 0 && stem == of.as_str()
}

/// Takes a version apart into what it was before rebuilds, and the number of those.
fn rebuilds(version: &Version) -> (&str, u32) {
    let text = version.as_str();
    let parts = text.rsplit_once("build").and_then(|(stem, number)| {
        let is_ours = !stem.is_empty() && !number.starts_with('0') && number.len() <= 6;
        Some((stem, number.parse().ok()?)).filter(|_| is_ours)
    });
    parts.unwrap_or((text, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COMMIT: &str = "3f2a91c0000000000000000000000000000000ab";

    fn rule(suffix: Option<&str>, snapshot: bool) -> VersionRule {
        let suffix = suffix.map(|text| text.to_owned().try_into().unwrap());
        VersionRule { suffix, snapshot }
    }

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_follow_from_commit_and_rule() {
        use EntryState::{Released, Unreleased};
        let commit = COMMIT.parse().unwrap();
        for (suffix, is_snapshot, written, entry, upstream, built) in [
            (None, false, "1.2-3", Released, UpstreamFiles::Written, "1.2-3"),
            (Some("~deb12"), false, "1.2-3", Released, UpstreamFiles::Written, "1.2-3~deb12"),
            (Some("~deb12"), false, "1:2", Unreleased, UpstreamFiles::Written, "1:2~deb12"),
            (None, true, "1.2-3", Released, UpstreamFiles::Written, "1.2-3+git12.3f2a91c"),
            (None, true, "1.2-3", Unreleased, UpstreamFiles::Written, "1.2-3~git12.3f2a91c"),
            (None, true, "1:2", Unreleased, UpstreamFiles::Written, "1:2~git12.3f2a91c"),
            (None, true, "1.2-3", Released, UpstreamFiles::Changed, "1.2+git12.3f2a91c-3"),
            (None, true, "1.2-3", Unreleased, UpstreamFiles::Changed, "1.2+git12.3f2a91c-3"),
            (None, true, "1.3-1", Unreleased, UpstreamFiles::New, "1.3~git12.3f2a91c-1"),
            (None, true, "1.3-1", Released, UpstreamFiles::New, "1.3+git12.3f2a91c-1"),
            (
                Some("~deb12"),
                true,
                "1.2-3",
                Released,
                UpstreamFiles::Written,
                "1.2-3+git12.3f2a91c~deb12",
            ),
        ] {
            let snapshot = CommitFacts { commit: &commit, count: 12, entry, upstream };
            let rule = rule(suffix, is_snapshot);
            assert_eq!(rule.built(&version(written), &snapshot).unwrap(), version(built));
        }
    }

    #[test]
    fn rebuilds_are_counted() {
        for (held, next) in [
            ("1.2-3", "1.2-3build1"),
            ("1.2-3build1", "1.2-3build2"),
            ("1.2-3build9", "1.2-3build10"),
            ("1.2-3~deb12", "1.2-3~deb12build1"),
            ("2.0", "2.0build1"),
            ("2.0build", "2.0buildbuild1"),
            ("2.0build01", "2.0build01build1"),
        ] {
            let after = rebuild(&version(held)).unwrap();
            assert_eq!(after, version(next));
            assert!(version(held).precedes(&after), "{held}");
        }
    }

    #[test]
    fn endings_that_would_mislead_are_refused() {
        for bad in ["", "1", "12", "-1", "~deb_12", "~deb 12", "+b1", "~x+b12", "/", "~\n"] {
            assert!(VersionSuffix::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
        for good in ["~deb12", "+deb12u1", ".ours", "ubuntu1", "~", "+b", "+build1"] {
            assert!(VersionSuffix::try_from(good.to_owned()).is_ok(), "{good}");
        }
    }

    /// Commits that each descend from the one before: what their entries say, and whether they
    /// change upstream's files.
    fn history() -> impl Strategy<Value = Vec<(bool, bool)>> {
        prop::collection::vec((any::<bool>(), any::<bool>()), 2..12)
    }

    proptest! {
        /// An entry is finished once; then the next one raises the number at its end.
        #[test]
        fn the_order_of_snapshots_follows_ancestry(
            history in history(), start in 0u64..200, suffix in prop::option::of("[~+][a-z]{1,3}[0-9]{0,2}")
        ) {
            let rule = rule(suffix.as_deref().filter(|text| VersionSuffix::try_from((*text).to_owned()).is_ok()), true);
            let (mut revision, mut last): (u64, Option<Version>) = (1, None);
            let mut is_open = true;
            for (n, (finishes, begins)) in history.into_iter().enumerate() {
                if is_open && finishes {
                    is_open = false;
                } else if !is_open && begins {
                    (revision, is_open) = (revision + 1, true);
                }
                let id = format!("{:040x}", (n as u128 + 1) * 0x9e37_79b9_7f4a_7c15);
                let commit = id.parse().unwrap();
                let entry = if is_open { EntryState::Unreleased } else { EntryState::Released };
                let snapshot =
                    CommitFacts { commit: &commit, count: start + n as u64 + 1, entry, upstream: UpstreamFiles::Written };
                let built = rule.built(&version(&format!("1.2-{revision}")), &snapshot).unwrap();
                if let Some(last) = &last {
                    prop_assert!(last.precedes(&built), "{last} {built}");
                }
                last = Some(built);
            }
        }

        #[test]
        fn no_two_commits_make_one_snapshot(
            a in "[0-9a-f]{40}", b in "[0-9a-f]{40}", count in 1u64..9999, more in 0u64..2, entry in any::<bool>()
        ) {
            prop_assume!(a[..7] != b[..7] || more > 0);
            let entry = if entry { EntryState::Released } else { EntryState::Unreleased };
            let name = |id: &str, count: u64| {
                let commit = id.parse().unwrap();
                let snapshot = CommitFacts { commit: &commit, count, entry, upstream: UpstreamFiles::Written };
                rule(None, true).built(&version("1.2-3"), &snapshot).unwrap()
            };
            prop_assert_ne!(name(&a, count), name(&b, count + more));
        }
    }
}
