//! Leafs through jobs and packages, a page at a time.

use std::path::PathBuf;

use anyhow::Result;
use git2::{Oid, Repository, Sort};

use crate::Session;
use crate::pockets::differences;
use invirtibuilder_access::identity;
use invirtibuilder_api::browse::{
    ChangeNote, CommitSummary, DifferencesRequest, Found, JobChanges, JobsRequest, MatrixRequest,
    MatrixRow, SnapshotChange, Statistics,
};
use invirtibuilder_api::events::LogState;
use invirtibuilder_api::job::Job;
use invirtibuilder_api::page::Page;
use invirtibuilder_api::pocket::PackageDifference;
use invirtibuilder_builder::source;
use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::{JobId, PackageName};
use invirtibuilder_core::text::one_line;
use invirtibuilder_core::time::now;
use invirtibuilder_store::browse::{self, DAY, JobQuery, MatrixQuery};
use invirtibuilder_store::{jobs, measures, snapshots};

/// The items of a page, if nobody says how many.
const USUAL: u32 = 100;

/// The most commits, and entries of a changelog, that one job's changes have.
const MOST_CHANGES: usize = 50;

/// The longest changelog that is looked at, in bytes: its beginning.
const MOST_CHANGELOG: usize = 256 << 10;

/// The most days that statistics are about.
const MOST_DAYS: i64 = 366;

/// The longest line of others' text that is shown, in characters.
const LONGEST_LINE: usize = 200;

fn limit(asked: Option<u32>) -> Result<u32> {
    match asked.unwrap_or(USUAL) {
        limit @ 1..=Page::<()>::MOST => Ok(limit),
        _ => {
            Err(Error::invalid(format!("limit: write a number from 1 to {}", Page::<()>::MOST))
                .into())
        }
    }
}

/// Lists jobs, the newest first.
pub fn list_jobs(session: &Session, request: &JobsRequest) -> Result<Page<Job>> {
    let limit = limit(request.limit)?;
    let realm = session.config.realm.as_deref();
    let query = JobQuery {
        show: request.show,
        pocket: request.pocket.as_deref().map(str::parse).transpose()?,
        package: request.package.as_deref().map(str::parse).transpose()?,
        principal: request
            .principal
            .as_deref()
            .map(|name| identity::qualified(name, realm))
            .transpose()?,
        before: request.after.as_deref().map(str::parse).transpose()?,
    };
    let jobs = browse::list_jobs(session.record.db(), &query, limit + 1)?;
    Ok(Page::of(jobs, limit, |job| job.id.to_string()))
}

/// Lists packages with what each pocket has of them, by name.
pub fn list_matrix(session: &Session, request: &MatrixRequest) -> Result<Page<MatrixRow>> {
    let limit = limit(request.limit)?;
    let pocket = request.pocket.as_deref().map(|name| session.config.pocket(name)).transpose()?;
    let query = MatrixQuery {
        prefix: request.prefix.clone().unwrap_or_default(),
        pocket: pocket.map(|pocket| pocket.name().clone()),
        after: request.after.clone().unwrap_or_default(),
    };
    let rows = browse::matrix(session.record.db(), &query, limit + 1)?;
    Ok(Page::of(rows, limit, |row| row.package.to_string()))
}

/// Tells what the pockets have of a package. It is an error if there is no such package.
pub fn describe_package(session: &Session, name: &str) -> Result<MatrixRow> {
    let package: PackageName = name.parse()?;
    let db = session.record.db();
    let query = MatrixQuery { prefix: name.to_owned(), ..MatrixQuery::default() };
    let row = browse::matrix(db, &query, 1)?.pop().filter(|row| row.package == package);
    match row {
        Some(row) => Ok(row),
        None if session.config.git.package(&package).exists()
            || !jobs::of_package(db, &package, 1)?.is_empty() =>
        {
            Ok(MatrixRow { package, held: Vec::new() })
        }
        None => {
            Err(Error::invalid(format!("there is no package {package}: 'packages' lists them"))
                .into())
        }
    }
}

/// Finds packages by parts of their names, and jobs by number and commit.
pub fn search(session: &Session, text: &str) -> Result<Found> {
    let (db, text) = (session.record.db(), text.trim());
    let mut found = Found { packages: Vec::new(), jobs: Vec::new() };
    if text.is_empty() || text.len() > 200 {
        return Ok(found);
    }
    found.packages = browse::search(db, text, USUAL)?;
    if let Ok(id) = text.trim_start_matches('#').parse::<JobId>() {
        found.jobs.extend(jobs::find(db, id)?);
    }
    let is_commit = (4..=40).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_hexdigit());
    if is_commit {
        found.jobs.extend(browse::of_commit(db, &text.to_ascii_lowercase(), USUAL)?);
    }
    Ok(found)
}

/// Counts for plots, over the last days.
pub fn count_for_plots(session: &Session, days: i64) -> Result<Statistics> {
    if !(1..=MOST_DAYS).contains(&days) {
        return Err(Error::invalid(format!("days: write a number from 1 to {MOST_DAYS}")).into());
    }
    let (db, now) = (session.record.db(), now());
    let since = now - now.rem_euclid(DAY) - (days - 1) * DAY;
    Ok(Statistics {
        days: browse::days(db, since)?,
        phases: measures::phase_times(db)?,
        archives: browse::pools(db, since)?,
    })
}

/// Lists the published states of a pocket's suite, the newest first.
pub fn list_states(
    session: &Session,
    pocket: &str,
) -> Result<Vec<invirtibuilder_api::archive::Snapshot>> {
    let suite = session.config.pocket(pocket)?.suite();
    snapshots::of_suite(session.record.db(), &suite)
}

/// Lists the packages that two pockets do not have at the same commit, by name.
pub fn list_differences(
    session: &Session,
    request: &DifferencesRequest,
) -> Result<Page<PackageDifference>> {
    let limit = limit(request.limit)?;
    let after = request.after.as_deref().unwrap_or_default();
    let found = differences(session, (&request.left, &request.right), after, limit + 1)?;
    Ok(Page::of(found, limit, |difference| difference.package.to_string()))
}

/// Lists what differs between two published states of a pocket's suite, by package.
pub fn compare_states(
    session: &Session,
    pocket: &str,
    (older, newer): (i64, i64),
    after: Option<&str>,
    asked: Option<u32>,
) -> Result<Page<SnapshotChange>> {
    let limit = limit(asked)?;
    let (db, suite) = (session.record.db(), session.config.pocket(pocket)?.suite());
    for number in [older, newer] {
        if !snapshots::exists(db, &suite, number)? {
            return Err(Error::invalid(format!("{suite} has no snapshot {number}")).into());
        }
    }
    let after = after.unwrap_or_default();
    let changed = snapshots::changed_sources(db, &suite, (older, newer), after, limit + 1)?;
    let change = |(package, from, to)| SnapshotChange { package, from, to };
    let changes = changed.into_iter().map(change).collect();
    Ok(Page::of(changes, limit, |change: &SnapshotChange| change.package.to_string()))
}

/// Tells what has changed in a job's package since the version that its pocket had before.
pub fn describe_changes(session: &Session, id: JobId) -> Result<JobChanges> {
    let job = session.find_job(id)?;
    let since = browse::version_before(session.record.db(), &job)?;
    let mut changes = JobChanges { since, commits: Vec::new(), more: false, changelog: Vec::new() };
    let Ok(repo) = Repository::open_bare(session.config.git.package(&job.package)) else {
        return Ok(changes);
    };
    let mut walk = repo.revwalk()?;
    walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME)?;
    if walk.push(Oid::from(&job.commit)).is_err() {
        return Ok(changes);
    }
    if let Some(since) = &changes.since {
        // It may be gone: then everything is shown that there is.
        let _ = walk.hide(Oid::from(&since.commit));
    }
    for oid in walk.take(MOST_CHANGES + 1) {
        let Ok(commit) = oid.and_then(|oid| repo.find_commit(oid)) else { break };
        if changes.commits.len() == MOST_CHANGES {
            changes.more = true;
            break;
        }
        changes.commits.push(CommitSummary {
            commit: commit.id().to_string().parse()?,
            author: shown(&String::from_utf8_lossy(commit.author().name_bytes())),
            at: commit.time().seconds().saturating_mul(1000),
            summary: shown(&String::from_utf8_lossy(
                commit.message_bytes().split(|byte| *byte == b'\n').next().unwrap_or_default(),
            )),
        });
    }
    let tree = repo.find_commit(Oid::from(&job.commit)).and_then(|commit| commit.tree());
    if let Some(text) = tree.ok().and_then(|tree| source::whole_changelog(&repo, &tree).ok()) {
        let text = String::from_utf8_lossy(&text[..text.len().min(MOST_CHANGELOG)]).into_owned();
        let until = changes.since.as_ref().map(|since| since.written.as_str());
        changes.changelog = notes(&text, until);
    }
    Ok(changes)
}

fn shown(text: &str) -> String {
    one_line(text).chars().take(LONGEST_LINE).collect()
}

/// Splits a changelog into its entries, down to that of a version (deb-changelog(5)). One entry is
/// shown where that version is not found, as it may be the oldest.
fn notes(text: &str, until: Option<&str>) -> Vec<ChangeNote> {
    let mut notes: Vec<ChangeNote> = Vec::new();
    let mut is_there = false;
    for line in text.lines() {
        let is_heading = line.starts_with(|c: char| c.is_ascii_alphanumeric());
        if let Some(version) =
            is_heading.then(|| line.split_once('(')?.1.split_once(')').map(|it| it.0)).flatten()
        {
            is_there = until == Some(version);
            if is_there || notes.len() == MOST_CHANGES {
                break;
            }
            notes.push(ChangeNote { version: shown(version), text: String::new() });
        } else if let Some(note) = notes.last_mut().filter(|_| !line.starts_with(" --")) {
            note.text.push_str(line.trim_end());
            note.text.push('\n');
        }
    }
    if !is_there {
        notes.truncate(1);
    }
    for note in &mut notes {
        note.text = note.text.trim_matches('\n').to_owned();
    }
    notes
}

/// Lists the logs of the attempts of a job that there are, the oldest first.
pub fn list_logs(session: &Session, id: JobId) -> Result<Vec<LogState>> {
    let job = session.find_job(id)?;
    let mut logs = Vec::new();
    for attempt in 1..=job.attempt {
        let Some(path) = attempt_log(session, &job, attempt) else { continue };
        let Ok(about) = std::fs::metadata(&path) else { continue };
        logs.push(LogState { attempt, bytes: about.len() });
    }
    Ok(logs)
}

/// Finds the log of an attempt of a job, if there is one.
pub fn attempt_log(session: &Session, job: &Job, attempt: i64) -> Option<PathBuf> {
    let of_attempt = session.config.attempt_log(job.id, attempt);
    if of_attempt.exists() {
        return Some(of_attempt);
    }
    // Older releases kept the last one only, under this name.
    let last = session.config.build_log(job.id);
    let is_file = std::fs::symlink_metadata(&last).is_ok_and(|about| about.is_file());
    (attempt == job.attempt && is_file).then_some(last)
}

#[cfg(test)]
mod tests {
    use crate::browse::*;

    #[test]
    fn a_changelog_is_shown_down_to_the_version_before() {
        let text = "hello (1.2) unstable; urgency=low\n\n  * <b>New</b>.\n\n -- A <a@b>  date\n\n\
                    hello (1.1) unstable; urgency=low\n\n  * Newer.\n    More.\n\n -- A <a@b>  date\n\n\
                    hello (1.0) unstable; urgency=low\n\n  * Old.\n\n -- A <a@b>  date\n";
        let versions =
            |until| -> Vec<_> { notes(text, until).into_iter().map(|note| note.version).collect() };
        assert_eq!(versions(Some("1.0")), ["1.2", "1.1"]);
        assert_eq!(versions(Some("1.2")), [""; 0]);
        assert_eq!(versions(Some("0.9")), ["1.2"], "what is not there ends nothing");
        assert_eq!(versions(None), ["1.2"]);
        assert_eq!(notes(text, Some("1.0"))[1].text, "  * Newer.\n    More.");
        assert_eq!(notes("no changelog", None), []);
    }
}
