//! The upstream tarball: from the archive, whose bytes are the ones that have the name already, else from pristine-tar.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use git2::{ErrorCode, Repository};

use super::{Request, sandbox};
use crate::error::{Failure, FailureKind};
use crate::gitrecord;
use crate::subprocess::CancellationToken;

/// How long one tarball may take.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Compressions that dpkg-source takes, the best first.
const SUFFIXES: [&str; 4] = ["xz", "gz", "bz2", "lzma"];

/// Puts the tarballs of the request's upstream version into its work directory, with their signatures.
pub async fn fetch(request: &Request, cancel: &CancellationToken) -> Result<(), Failure> {
    if !request.upstream.is_empty() {
        for path in &request.upstream {
            let name = path.file_name().context("a file of the pool has a name")?;
            std::fs::copy(path, request.work.join(name))
                .with_context(|| format!("cannot copy {} from the archive", path.display()))?;
        }
        return Ok(());
    }
    let scratch = {
        let request = request.clone();
        tokio::task::spawn_blocking(move || prepare(&request)).await.map_err(anyhow::Error::from)??
    };
    let objects = request.repo.join("objects");
    for tarball in &scratch.tarballs {
        let mut cmd = sandbox::command(request, &[(&objects, "/objects")], "pristine-tar")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_DIR", "/work/pristine.git")
            .arg("checkout");
        if tarball.signed {
            cmd = cmd.arg("-s").arg(format!("{}.asc", tarball.name));
        }
        let cmd = cmd.arg("--").arg(&tarball.name).total(LIMIT).log(&request.log, 16 << 20);
        let done = sandbox::run(request, cmd, cancel).await?;
        if !done.ok() {
            let text = format!("pristine-tar cannot make {}: {}", tarball.name, done.describe());
            return Err(Failure::new(FailureKind::Upstream, text));
        }
    }
    std::fs::remove_dir_all(request.work.join("pristine.git"))?;
    Ok(())
}

struct Scratch {
    tarballs: Vec<Tarball>,
}

struct Tarball {
    name: String,
    signed: bool,
}

/// A repository of our own that borrows the package's objects: neither the package's configuration nor its hooks are
/// there to be heeded.
fn prepare(request: &Request) -> Result<Scratch, Failure> {
    let repo = gitrecord::open(&request.repo)?;
    let branch = match repo.find_reference("refs/heads/pristine-tar") {
        Ok(branch) => Some(branch.peel_to_commit()?),
        Err(error) if error.code() == ErrorCode::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let tarballs = match &branch {
        Some(commit) => tarballs(request, &commit.tree()?),
        None => Vec::new(),
    };
    let Some(commit) = branch.filter(|_| tarballs.iter().any(|tarball| !tarball.name.contains(".orig-"))) else {
        let text = format!(
            "the upstream tarball {}_{}.orig.tar.* is neither in the archive nor on the branch pristine-tar: commit it with \
             'pristine-tar commit' and push that branch",
            request.package,
            request.version.upstream()
        );
        return Err(Failure::new(FailureKind::Upstream, text));
    };
    let path = request.work.join("pristine.git");
    let scratch = Repository::init_opts(
        &path,
        git2::RepositoryInitOptions::new().bare(true).external_template(false).initial_head("none"),
    )?;
    std::fs::create_dir_all(path.join("objects/info"))?;
    let objects = request.repo.join("objects");
    std::fs::write(path.join("objects/info/alternates"), format!("{}\n", objects.display()))?;
    drop(scratch);
    let scratch = gitrecord::open(&path)?;
    scratch.reference("refs/heads/pristine-tar", commit.id(), true, "")?;
    // Inside the sandbox the objects are elsewhere.
    std::fs::write(path.join("objects/info/alternates"), "/objects\n")?;
    Ok(Scratch { tarballs })
}

/// The tarballs of the upstream version, one a component.
fn tarballs(request: &Request, tree: &git2::Tree) -> Vec<Tarball> {
    let stem = format!("{}_{}.orig", request.package, request.version.upstream());
    let mut best: BTreeMap<String, (usize, Tarball)> = BTreeMap::new();
    for entry in tree {
        let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
        let Some(tarball) = name.strip_suffix(".delta") else { continue };
        let Some((component, suffix)) = tarball.strip_prefix(&stem).and_then(|rest| rest.split_once(".tar.")) else {
            continue;
        };
        let is_component = component.is_empty()
            || component
                .strip_prefix('-')
                .is_some_and(|name| !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-'));
        let Some(rank) = SUFFIXES.iter().position(|known| *known == suffix).filter(|_| is_component) else { continue };
        let signed = tree.get_name(&format!("{tarball}.asc")).is_some();
        let found = (rank, Tarball { name: tarball.to_owned(), signed });
        match best.get(component) {
            Some((better, _)) if *better <= rank => {}
            _ => drop(best.insert(component.to_owned(), found)),
        }
    }
    best.into_values().map(|(_, tarball)| tarball).collect()
}
