//! Takes a suite back to what it was: with a publication like any other, of what was published
//! before.

use std::collections::BTreeMap;

use crate::publication::{Publication, in_step, superproject};
use crate::suite_spec;
use invirtibuilder_api::archive::RolledBack;
use invirtibuilder_api::pocket::Held;
use invirtibuilder_archive::{Archive, SuiteChange};
use invirtibuilder_core::config::Config;
use invirtibuilder_core::domain::{Identity, SuiteId};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::names::{CommitId, PackageName, PocketName, Principal, Version};
use invirtibuilder_git as git;
use invirtibuilder_store::audit::AuditEntry;
use invirtibuilder_store::pockets;
use invirtibuilder_store::{Record, contents, jobs, released, snapshots};

/// Writes what is needed to show again what snapshot `number` of `suite` had. Tags stay: a version
/// names its commit for ever.
pub fn prepare(
    config: &Config,
    record: &Record,
    (suite, number): (&SuiteId, i64),
    by: &Principal,
) -> Result<(Publication, RolledBack), Failure> {
    let invalid = |text: String| Failure::new(FailureKind::Invalid, text);
    let pocket = config
        .pocket_of(suite)
        .ok_or_else(|| invalid(format!("no pocket has a suite {suite}: 'pockets' lists them")))?;
    let then = snapshots::contents(record.db(), suite, number)?.ok_or_else(|| {
        invalid(format!(
            "suite {suite} has no snapshot {number}: 'archive snapshots {suite}' lists them"
        ))
    })?;
    if let Some(old) = released::of_snapshot(record.db(), suite, number)? {
        return Err(invalid(format!(
            "snapshot {number} of suite {suite} had {} {}, which was let go: 'archive snapshots {suite}' lists others",
            old.package, old.version
        )));
    }
    let now: BTreeMap<PackageName, Version> =
        contents::sources(record.db(), suite)?.into_iter().collect();
    let then: BTreeMap<PackageName, Version> = then.into_iter().collect();
    let mut changed: Vec<_> = then
        .iter()
        .filter(|(package, version)| now.get(package) != Some(version))
        .map(|(package, version)| {
            (package.clone(), now.get(package).cloned(), Some(version.clone()))
        })
        .collect();
    let gone = now.iter().filter(|(package, _)| !then.contains_key(package));
    changed.extend(gone.map(|(package, version)| (package.clone(), Some(version.clone()), None)));
    if changed.is_empty() {
        return Err(invalid(format!(
            "suite {suite} has what snapshot {number} had: there is nothing to roll back"
        )));
    }

    let note = format!("rollback to {number} by {by}");
    let entry = AuditEntry::new("rollback")
        .with("suite", suite.to_string())
        .with("to", number)
        .with("by", by.as_str());
    let mut publication = Publication { note, entry: Some(entry), ..Publication::default() };
    let (mut changes, mut links) = (Vec::new(), Vec::new());
    for (package, _, version) in &changed {
        let change =
            publication.restore(config, record, (pocket.name(), package), version.as_ref())?;
        links.push(git::SubmoduleChange { package: package.clone(), commit: change.1 });
        changes.push(change.0);
    }
    let message = format!("{pocket}: rollback to snapshot {number}\n\nPrincipal: {by}\n");
    let mv = superproject(config, record, pocket.name(), &links, &message)?;
    publication.superprojects.extend(mv.new.map(|new| (pocket.branch(), new.into())));
    publication.refs.push((None, mv));
    let prepared = Archive::open(config, pocket.domain())?.prepare(
        record.db(),
        &suite_spec(pocket),
        &changes,
    )?;
    let done = RolledBack { suite: suite.clone(), to: number, now: prepared.generation(), changed };
    publication.suites.push((None, prepared));
    Ok((publication, done))
}

impl Publication {
    /// Puts one package back to a version it had, or takes it out. Returns what its suite shall
    /// show, and its commit.
    fn restore(
        &mut self,
        config: &Config,
        record: &Record,
        (pocket, package): (&PocketName, &PackageName),
        version: Option<&Version>,
    ) -> Result<(SuiteChange, Option<CommitId>), Failure> {
        let db = record.db();
        let branch = config.branch(pocket);
        let repo = config.git.package(package);
        let head = git::branch_head(&repo, &branch)?;
        let held = pockets::held(db, pocket, package)?.map(|held| held.commit);
        in_step(&format!("branch {branch} of {package}"), held.as_ref(), head.as_ref())?;
        let Some(version) = version else {
            self.refs.push((None, git::branch_move(&repo, &branch, head.as_ref(), None)));
            self.removed.push((pocket.clone(), package.clone()));
            return Ok((SuiteChange::Remove(package.clone()), None));
        };
        let lost = || {
            Failure::new(
                FailureKind::Conflict,
                format!("the record has no {package} {version} any more"),
            )
        };
        let id = Identity {
            domain: config.domain(pocket),
            package: package.clone(),
            version: version.clone(),
        };
        let content = contents::content(db, &id)?.ok_or_else(lost)?;
        let known = pockets::known(db, &id)?.ok_or_else(lost)?;
        let job = jobs::published(db, pocket, package, version)?.unwrap_or(known.job);
        self.refs
            .push((None, git::branch_move(&repo, &branch, head.as_ref(), Some(&known.commit))));
        self.restored.push(Held {
            pocket: pocket.clone(),
            package: package.clone(),
            commit: known.commit.clone(),
            version: version.clone(),
            job,
        });
        Ok((SuiteChange::Put(content), Some(known.commit)))
    }
}
