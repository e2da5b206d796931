//! Whether pushes to every repository are checked.

use std::path::Path;

use anyhow::Result;

use crate::readiness::check::{fine, wrong};
use invirtibuilder_api::readiness::Check;
use invirtibuilder_core::config::Config;
use invirtibuilder_git as git;
use invirtibuilder_git::{Guard, Unreadable};

/// Looks whether the update hook is in every repository, and which cannot be opened.
pub(super) fn hooks(config: &Config, path: &Path) -> Vec<Check> {
    let what = "update hooks";
    let mut checks = Vec::new();
    let mut look = || -> Result<(usize, usize)> {
        let guard = Guard::new(config, path)?;
        let (mut all, mut bad) = (0, 0);
        for repo in git::repositories(config)? {
            if let Err(error) = git::open(&repo) {
                // 'init' cannot mend this one.
                let name = repo.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let unreadable = error.downcast::<Unreadable>()?;
                checks.push(wrong(&format!("repository {name}"), unreadable.why, unreadable.mend));
                continue;
            }
            all += 1;
            bad += usize::from(!guard.is_installed(&repo).unwrap_or(false));
        }
        Ok((bad, all))
    };
    let found = match look() {
        Ok((0, all)) => fine(what, format!("pushes to {all} repositories are checked")),
        Ok((bad, all)) => wrong(
            what,
            format!("pushes to {bad} of {all} repositories are not checked"),
            "invirt-build init",
        ),
        Err(error) => wrong(what, format!("{error:#}"), "invirt-build init"),
    };
    checks.insert(0, found);
    checks
}
