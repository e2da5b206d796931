//! `create-repo`: a new, empty package repository, for those whom `acl.create_repo` admits.

use anyhow::Result;
use serde_json::json;

use crate::error::{Error, Exit};
use crate::log::Severity;
use crate::names::PackageName;
use crate::record::audit::Entry;
use crate::record::pockets;
use crate::session::Session;
use crate::{gitrecord, publish};

/// Arguments of `create-repo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The source package
    package: String,
}

/// Runs the verb.
pub fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let config = session.config.clone();
    session.authorize_entries("create-repo", &config.acl.create_repo, "may not create repositories")?;
    let package: PackageName = args.package.parse()?;
    let path = session.config.git.package(&package);
    if path.exists() {
        return Err(Error::invalid(format!("package {package} has a repository already: push to it")).into());
    }
    let guard = gitrecord::Guard::new(&config, &session.path)?;
    gitrecord::create_package_repo(&path)?;
    let made = guard.install(&path).and_then(|_| {
        // A package whose repository was lost has versions already.
        let versions = pockets::versions_of(session.record.db(), &package)?;
        publish::mark_versions(&path, &versions)
    });
    made.inspect_err(|_| drop(std::fs::remove_dir_all(&path)))?;
    let who = session.who.clone();
    session.write(|tx| {
        Entry::new("repository.created").with("package", package.as_str()).with("by", who.as_str()).append(tx)
    })?;
    session.log.event(Severity::Info, "repository-created", &[("package", package.as_str()), ("by", who.as_str())]);
    if session.json {
        session.print_json(&json!({ "package": package, "repository": path }))?;
    } else {
        session.line(format!("{package}: created {}", path.display()))?;
    }
    Ok(Exit::Ok)
}
