//! Creates repositories of packages.

use anyhow::Result;

use crate::Session;
use invirtibuilder_api::repository::CreatedRepository;
use invirtibuilder_api::tokens::TokenVerb;
use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::PackageName;
use invirtibuilder_git as git;
use invirtibuilder_publish as publish;
use invirtibuilder_store::audit::AuditEntry;

/// Creates an empty repository for the package of this name, for those whom `acl.create_repo`
/// admits.
pub fn create_repository(session: &mut Session, package: &str) -> Result<CreatedRepository> {
    session.demand(TokenVerb::CreateRepo, None)?;
    let config = session.config.clone();
    session.authorize_entries(
        "create-repo",
        &config.acl.create_repo,
        "may not create repositories",
    )?;
    let package: PackageName = package.parse()?;
    let path = config.git.package(&package);
    if path.exists() {
        return Err(Error::invalid(format!(
            "package {package} has a repository already: push to it"
        ))
        .into());
    }
    let guard = git::Guard::new(&config, &session.path)?;
    git::create_package_repo(&path)?;
    let made = guard.install(&path).and_then(|_| {
        // A package whose repository was lost has versions already.
        publish::mark_versions(&config, session.record.db(), &package)
    });
    made.inspect_err(|_| drop(std::fs::remove_dir_all(&path)))?;
    let who = session.who.clone();
    session.write(|tx| {
        AuditEntry::new("repository.created")
            .with("package", package.as_str())
            .with("by", who.as_str())
            .append(tx)
    })?;
    tracing::info!(%package, by = who.as_str(), "repository-created");
    Ok(CreatedRepository { package, repository: path })
}
