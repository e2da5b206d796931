//! Finds the tag of an upstream version, by the names that people give those: what `debian/gbp.conf`
//! says of them, which is read as data, and the usual ones.

use git2::Repository;

use crate::source::from_tree::{TreeOf, UpstreamTree};
use crate::source::links::Links;
use invirtibuilder_core::error::Failure;
use invirtibuilder_core::names::{CommitId, Version};
use invirtibuilder_git as git;

/// Where git-buildpackage reads what a package says of its branches and tags (gbp.conf(5)).
const GBP: &str = "debian/gbp.conf";

/// Larger ones are none.
const MOST: u64 = 64 << 10;

/// The names that are tried, as gbp.conf(5) writes patterns: DEP-14's, and those that upstreams use.
const USUAL: [&str; 3] = ["upstream/%(version)s", "v%(version)s", "%(version)s"];

/// Finds upstream's tag for a version: the first name that leads to a commit.
pub fn find(
    repo: &Repository,
    links: &Links,
    version: &Version,
) -> Result<Option<UpstreamTree>, Failure> {
    for name in names(links, version)? {
        let reference = format!("refs/tags/{name}");
        let Ok(tag) = repo.find_reference(&reference) else { continue };
        let Ok(commit) = tag.peel_to_commit() else { continue };
        return Ok(Some(UpstreamTree {
            id: commit.tree_id(),
            time: commit.time().seconds(),
            of: TreeOf::Tag { name, commit: commit.id().into() },
        }));
    }
    Ok(None)
}

/// Lists the names that such a tag may have, the first first.
pub fn names(links: &Links, version: &Version) -> Result<Vec<String>, Failure> {
    let own = links.file(GBP, MOST).ok().flatten();
    let own = own.and_then(|blob| pattern(&String::from_utf8_lossy(blob.content())));
    let patterns = own.as_deref().into_iter().chain(USUAL);
    let mut names: Vec<String> = Vec::new();
    for name in patterns.filter_map(|pattern| named(pattern, version.upstream())) {
        if !names.contains(&name) && git2::Reference::is_valid_name(&format!("refs/tags/{name}")) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Tells whether the tag's commit is in the history of the commit that is built, which binds it.
pub fn is_merged(
    repo: &Repository,
    tree: &UpstreamTree,
    commit: &CommitId,
) -> Result<bool, Failure> {
    match &tree.of {
        TreeOf::Tag { commit: tagged, .. } => Ok(git::is_ancestor(repo, tagged, commit)?),
        TreeOf::Commit => Ok(true),
    }
}

/// Reads the pattern of upstream's tags: that of `[buildpackage]`, else that of `[DEFAULT]`.
fn pattern(text: &str) -> Option<String> {
    let (mut section, mut found) = (String::new(), [None, None]);
    for line in text.lines().map(str::trim_end) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            continue;
        }
        let Some((key, value)) = line.split_once(['=', ':']) else { continue };
        if !key.trim_end().eq_ignore_ascii_case("upstream-tag") {
            continue;
        }
        let value = value.trim().trim_matches(['"', '\'']).to_owned();
        match &section[..] {
            "buildpackage" => found[0] = Some(value),
            "DEFAULT" => found[1] = Some(value),
            _ => {}
        }
    }
    found.into_iter().flatten().next()
}

/// Writes a version into a pattern, as git-buildpackage does: `%(version)s`, `%(hversion)s` with
/// dashes for dots, and `%(version%A%B)s` with B for each A; `None`: it is no such pattern.
fn named(pattern: &str, version: &str) -> Option<String> {
    let (before, rest) = pattern.split_once("%(")?;
    let (what, after) = rest.split_once(")s")?;
    let text = match what {
        "version" => version.to_owned(),
        "hversion" => version.replace('.', "-"),
        _ => {
            let mut parts = what.strip_prefix("version%")?.split('%');
            let (from, to) = (parts.next()?, parts.next()?);
            if parts.next().is_some() || from.chars().count() != 1 {
                return None;
            }
            version.replace(from, to)
        }
    };
    // A version that Git would not take is mangled as DEP-14 says; an upstream version is a version.
    let mangled = text.parse::<Version>().map_or(text.clone(), |version| version.tag());
    (!after.contains("%(")).then(|| format!("{before}{mangled}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_git_buildpackages() {
        for (pattern, version, name) in [
            ("upstream/%(version)s", "1.2~rc1", "upstream/1.2_rc1"),
            ("v%(version)s", "1.2", "v1.2"),
            ("x-%(version%.%_)s-y", "1.2.3", "x-1_2_3-y"),
            ("%(hversion)s", "1.2.3", "1-2-3"),
            ("v%(version%~%-)s", "1.2~rc1", "v1.2-rc1"),
        ] {
            assert_eq!(named(pattern, version).as_deref(), Some(name));
        }
        for bad in
            ["upstream", "%(version", "%(version%ab%c)s", "%(foo)s", "%(version)s%(version)s"]
        {
            assert_eq!(named(bad, "1.2"), None, "{bad}");
        }
    }

    #[test]
    fn gbp_conf_is_read_as_data() {
        let text = "# upstream-tag = no\n[DEFAULT]\nupstream-tag=one/%(version)s\n[buildpackage]\nUpstream-Tag : \"two/%(version)s\"\n[dch]\nupstream-tag = three\n";
        assert_eq!(pattern(text).as_deref(), Some("two/%(version)s"));
        assert_eq!(
            pattern("[DEFAULT]\nupstream-tag = 'v%(version)s'\n").as_deref(),
            Some("v%(version)s")
        );
        assert_eq!(pattern("[dch]\nupstream-tag = x\n"), None);
    }
}
