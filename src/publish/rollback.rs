//! Back to what a suite was: a publication like any other, of what was published before.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Publisher;
use super::publication::{Publication, in_step, superproject};
use crate::archive::{Archive, Change};
use crate::config::Config;
use crate::error::{Failure, FailureKind};
use crate::gitrecord;
use crate::names::{CommitId, PackageName, PocketName, Principal, Suite, Version};
use crate::record::audit::Entry;
use crate::record::pockets::{self, Held};
use crate::record::{Record, contents, jobs, released, snapshots};

/// What a rollback did.
#[derive(Debug, Serialize)]
pub struct RolledBack {
    /// The suite.
    pub suite: Suite,
    /// The snapshot whose contents it has again.
    pub to: i64,
    /// The snapshot that it is now.
    pub now: i64,
    /// Each package that changed: the version it had and the version it has, `null` where it has none.
    pub changed: Vec<(PackageName, Option<Version>, Option<Version>)>,
}

/// Writes what is needed to show again what snapshot `number` of `suite` had. Tags stay: a version names its commit for
/// ever.
pub fn prepare(
    publisher: &Publisher,
    config: &Config,
    record: &Record,
    suite: &Suite,
    number: i64,
    by: &Principal,
) -> Result<(Publication, RolledBack), Failure> {
    let invalid = |text: String| Failure::new(FailureKind::Invalid, text);
    let pocket = config.build.pockets.keys().find(|pocket| config.suite(pocket) == *suite);
    let pocket = pocket.ok_or_else(|| invalid(format!("no pocket has a suite {suite}: 'pockets' lists them")))?;
    let then = snapshots::contents(record.db(), suite, number)?.ok_or_else(|| {
        invalid(format!("suite {suite} has no snapshot {number}: 'archive snapshots {suite}' lists them"))
    })?;
    if let Some(old) = released::of_snapshot(record.db(), suite, number)? {
        return Err(invalid(format!(
            "snapshot {number} of suite {suite} had {} {}, which was let go: 'archive snapshots {suite}' lists others",
            old.package, old.version
        )));
    }
    let now: BTreeMap<PackageName, Version> = contents::sources(record.db(), suite)?.into_iter().collect();
    let then: BTreeMap<PackageName, Version> = then.into_iter().collect();
    let mut changed: Vec<_> = then
        .iter()
        .filter(|(package, version)| now.get(package) != Some(version))
        .map(|(package, version)| (package.clone(), now.get(package).cloned(), Some(version.clone())))
        .collect();
    let gone = now.iter().filter(|(package, _)| !then.contains_key(package));
    changed.extend(gone.map(|(package, version)| (package.clone(), Some(version.clone()), None)));
    if changed.is_empty() {
        return Err(invalid(format!("suite {suite} has what snapshot {number} had: there is nothing to roll back")));
    }

    let note = format!("rollback to {number} by {by}");
    let entry = Entry::new("rollback").with("suite", suite.as_str()).with("to", number).with("by", by.as_str());
    let mut publication = Publication { note, entry: Some(entry), ..Publication::default() };
    let (mut changes, mut links) = (Vec::new(), Vec::new());
    for (package, _, version) in &changed {
        let change = publication.restore(config, record, pocket, package, version.as_ref())?;
        links.push(gitrecord::Change { package: package.clone(), commit: change.1 });
        changes.push(change.0);
    }
    let message = format!("{pocket}: rollback to snapshot {number}\n\nPrincipal: {by}\n");
    let mv = superproject(config, record, pocket, &links, &message)?;
    publication.superprojects.extend(mv.new.map(|new| (config.branch(pocket), new.into())));
    publication.refs.push((None, mv));
    let prepared = Archive::open(config)?.prepare(record.db(), &publisher.suite(config, pocket), &changes)?;
    let done = RolledBack { suite: suite.clone(), to: number, now: prepared.generation(), changed };
    publication.suites.push((None, prepared));
    Ok((publication, done))
}

impl Publication {
    /// Puts one package back to a version it had, or takes it out; what its suite is to show, and its commit.
    fn restore(
        &mut self,
        config: &Config,
        record: &Record,
        pocket: &PocketName,
        package: &PackageName,
        version: Option<&Version>,
    ) -> Result<(Change, Option<CommitId>), Failure> {
        let db = record.db();
        let branch = config.branch(pocket);
        let repo = config.git.package(package);
        let head = gitrecord::branch_head(&repo, &branch)?;
        let held = pockets::held(db, pocket, package)?.map(|held| held.commit);
        in_step(&format!("branch {branch} of {package}"), held.as_ref(), head.as_ref())?;
        let Some(version) = version else {
            self.refs.push((None, gitrecord::branch_move(&repo, &branch, head.as_ref(), None)));
            self.removed.push((pocket.clone(), package.clone()));
            return Ok((Change::Remove(package.clone()), None));
        };
        let lost = || Failure::new(FailureKind::Conflict, format!("the record has no {package} {version} any more"));
        let content = contents::content(db, package, version)?.ok_or_else(lost)?;
        let known = pockets::known(db, package, version)?.ok_or_else(lost)?;
        let job = jobs::published(db, pocket, package, version)?.unwrap_or(known.job);
        self.refs.push((None, gitrecord::branch_move(&repo, &branch, head.as_ref(), Some(&known.commit))));
        self.restored.push(Held {
            pocket: pocket.clone(),
            package: package.clone(),
            commit: known.commit.clone(),
            version: version.clone(),
            job,
        });
        Ok((Change::Put(content), Some(known.commit)))
    }
}
