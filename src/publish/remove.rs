//! Takes a package out of a pocket: with a publication like any other, of nothing.

use crate::publication::{Publication, in_step, superproject};
use crate::suite_spec;
use invirtibuilder_api::pocket::{Held, Removed};
use invirtibuilder_archive::{Archive, SuiteChange};
use invirtibuilder_core::config::Config;
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::time::now;
use invirtibuilder_git as git;
use invirtibuilder_store::{Record, jobs, pockets};

/// Writes what is needed to show a pocket's suite, its branch and the superproject without a
/// package. Tags stay: a version names its commit for ever. `removed` says what the pocket had when
/// it was asked.
pub fn prepare(
    config: &Config,
    record: &Record,
    removed: Removed,
) -> Result<(Publication, Removed), Failure> {
    let removed = Removed { at: now(), ..removed };
    let Held { pocket, package, version, .. } = &removed.held;
    let refuse = |text: String| Failure::new(FailureKind::Invalid, text);
    if pockets::held(record.db(), pocket, package)?.as_ref() != Some(&removed.held) {
        let text = format!("{pocket} has another {package} by now: 'packages {pocket}' shows it");
        return Err(refuse(text));
    }
    if let Some(job) = jobs::under_way(record.db(), pocket, package)? {
        let text = format!(
            "job {} is {} and would bring {package} into {pocket} again: cancel it first",
            job.id, job.state
        );
        return Err(refuse(text));
    }
    let (repo, branch) = (config.git.package(package), config.branch(pocket));
    let head = git::branch_head(&repo, &branch)?;
    in_step(&format!("branch {branch} of {package}"), Some(&removed.held.commit), head.as_ref())?;
    let message = format!(
        "{pocket}: without {package}\n\nPackage: {package}\nVersion: {version}\nPrincipal: {}\nReason: {}\n",
        removed.by, removed.reason
    );
    let change = git::SubmoduleChange { package: package.clone(), commit: None };
    let mv = superproject(config, record, pocket, &[change], &message)?;
    let suite = suite_spec(config.pocket_of_job(pocket)?);
    let change = SuiteChange::Remove(package.clone());
    let archive = Archive::open(config, &suite.suite.domain)?;
    let prepared = archive.prepare(record.db(), &suite, &[change])?;
    let publication = Publication {
        note: format!("without {package} {version}, by {}", removed.by),
        taken_out: Some(removed.clone()),
        superprojects: mv.new.map(|new| (branch.clone(), new.into())).into_iter().collect(),
        refs: vec![(None, git::branch_move(&repo, &branch, head.as_ref(), None)), (None, mv)],
        suites: vec![(None, prepared)],
        ..Publication::default()
    };
    Ok((publication, removed))
}
