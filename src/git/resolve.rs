//! Finds the one commit that somebody typed the name of.

use git2::{ObjectType, Oid, Repository};

use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::{CommitId, PackageName};
use invirtibuilder_core::text::quoted;

/// Finds the commit that an id, an abbreviated one, a branch or a tag stands for. It takes nothing
/// else of gitrevisions(7): `HEAD@{1}` or `a^{tree}` would mean something else tomorrow, or no
/// commit at all. It refuses what could mean two commits.
pub fn resolve(opened: &Repository, name: &PackageName, commit: &str) -> Result<CommitId, Error> {
    let name = name.as_str();
    if !is_plain(commit) {
        return Err(Error::invalid(format!(
            "{} is not a commit: use an id, a branch or a tag",
            quoted(commit)
        )));
    }
    if let Some(oid) = Oid::from_str(commit).ok().filter(|_| commit.len() == 40) {
        return commit_of(opened, oid, commit, name);
    }
    let abbreviated = super::commits_of_prefix(opened, commit).map_err(|error| {
        Error::unavailable(format!("cannot look for {commit} in {name}: {error:#}"))
    })?;
    let named: Vec<(&str, Oid)> = [("branch", "refs/heads/"), ("tag", "refs/tags/")]
        .into_iter()
        .filter_map(|(kind, place)| {
            // A symbolic ref leads where its target does.
            Some((
                kind,
                opened
                    .find_reference(&format!("{place}{commit}"))
                    .ok()?
                    .resolve()
                    .ok()?
                    .target()?,
            ))
        })
        .collect();
    for (kind, oid) in &named {
        let led_to = super::leads_to(opened, *oid);
        if let Some(other) = abbreviated.iter().find(|other| Some(**other) != led_to) {
            let led_to = led_to.map_or_else(|| "no commit".to_owned(), |oid| oid.to_string());
            return Err(Error::invalid(format!(
                "{commit} begins the id of commit {other} of {name} and is a {kind} that leads to {led_to}: use the full \
                 id of the one that you mean"
            )));
        }
    }
    match (&named[..], abbreviated.len()) {
        ([(_, one)], _) => commit_of(opened, *one, commit, name),
        ([_, _, ..], _) => Err(Error::invalid(format!(
            "{commit} is a branch and a tag of {name}: use the commit's id"
        ))),
        ([], 0) if opened.find_object_by_prefix(commit, None).is_ok() => Err(Error::invalid(
            format!("{commit} of {name} is not a commit: use a commit's id, a branch or a tag"),
        )),
        ([], 0) => Err(unknown(opened, commit, name)),
        ([], 1) => Ok(abbreviated.first().copied().unwrap_or(Oid::ZERO_SHA1).into()),
        ([], _) => Err(Error::invalid(format!(
            "{commit} stands for several commits of {name}: give more digits"
        ))),
    }
}

fn is_plain(text: &str) -> bool {
    text.len() <= 200
        && !text.starts_with('-')
        && git2::Reference::is_valid_name(&format!("refs/heads/{text}"))
}

fn commit_of(repo: &Repository, oid: Oid, text: &str, name: &str) -> Result<CommitId, Error> {
    let object = repo.find_object(oid, None).map_err(|_| unknown(repo, text, name))?;
    match object.peel(ObjectType::Commit) {
        Ok(commit) => Ok(commit.id().into()),
        Err(_) => Err(Error::invalid(format!(
            "{text} of {name} is not a commit: use a commit's id, a branch or a tag"
        ))),
    }
}

/// The fewest digits that Git takes for an id.
const FEWEST: usize = 4;

fn unknown(repo: &Repository, text: &str, name: &str) -> Error {
    if super::is_empty(repo) {
        return Error::invalid(format!(
            "the repository of {name} is empty: push a commit to it first"
        ));
    }
    if text.len() < FEWEST && text.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Error::invalid(format!(
            "there is no branch or tag {} in {name}, and a commit's id needs {FEWEST} digits or more: give more of them",
            quoted(text)
        ));
    }
    Error::invalid(format!(
        "there is no commit, branch or tag {} in {name}: push it first",
        quoted(text)
    ))
}
