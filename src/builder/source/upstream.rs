//! The upstream tarballs, put where dpkg-source looks for them: copied from the pool, or made by
//! pristine-tar and compared with the sum that their delta has.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use git2::Repository;

use crate::source::listing::Listing;
use crate::source::tarballs::{Origin, Tarball};
use crate::source::{SourceRequest, sandbox};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::names::CommitId;
use invirtibuilder_git as git;
use invirtibuilder_system::confined;
use invirtibuilder_system::files::digest;
use invirtibuilder_system::subprocess::{CancellationToken, Cmd};

/// How long one tarball may take.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// The repository in which pristine-tar runs.
const SCRATCH: &str = "pristine.git";

/// Puts the tarballs of a plan into the work directory, with their signatures; the SHA-256 of each,
/// by name, and what has to be said.
pub async fn fetch(
    request: &SourceRequest,
    cancel: &CancellationToken,
) -> Result<Fetched, Failure> {
    if let Some(branch) = &request.plan.branch {
        let (request, branch) = (request.clone(), branch.clone());
        tokio::task::spawn_blocking(move || prepare(&request.subject.repo, &request.work, &branch))
            .await
            .map_err(anyhow::Error::from)??;
    }
    let (mut sums, mut notes) = (Vec::new(), Vec::new());
    for tarball in &request.plan.tarballs {
        let path = request.work.join(&tarball.name);
        match &tarball.origin {
            Origin::Pool { path: from, signature, .. } => {
                let copy = |from: &Path, to: &Path| {
                    fs::copy(from, to)
                        .with_context(|| format!("cannot copy {} from the archive", from.display()))
                };
                copy(from, &path)?;
                if let Some(signature) = signature {
                    copy(signature, &request.work.join(format!("{}.asc", tarball.name)))?;
                }
            }
            Origin::PristineTar { .. } => check_out(request, tarball, cancel).await?,
            Origin::Tree(tree) => {
                let (tree, request, path) = (tree.clone(), request.clone(), path.clone());
                let write = move || {
                    let repo = git::open(&request.subject.repo)?;
                    tree.write(&repo, &path, &request.tree(), request.room)
                };
                tokio::task::spawn_blocking(write).await.map_err(anyhow::Error::from)??;
            }
        }
        if tarball.is_signed() {
            notes.extend(unchecked(request, tarball).await?);
        }
        let sum = tokio::task::spawn_blocking(move || digest(&path))
            .await
            .map_err(anyhow::Error::from)??
            .1;
        if let Some(expected) = tarball.sha256.as_ref().filter(|expected| **expected != sum) {
            return Err(differs(tarball, &sum, expected));
        }
        request.plan.binding.demand(&tarball.name, Some(&sum))?;
        sums.push((tarball.name.clone(), sum));
    }
    if request.plan.branch.is_some() {
        fs::remove_dir_all(request.work.join(SCRATCH))?;
    }
    Ok(Fetched { sums, notes })
}

/// What came with a source package's tarballs.
pub struct Fetched {
    /// The SHA-256 of each, by name.
    pub sums: Vec<(String, String)>,
    /// What is to be said; each a sentence.
    pub notes: Vec<String>,
}

/// Says of a signature that no key of the commit has made it: it is published, as dpkg-source does,
/// and vouches for nothing.
async fn unchecked(request: &SourceRequest, tarball: &Tarball) -> Result<Option<String>, Failure> {
    let (file, signature) =
        (request.work.join(&tarball.name), request.work.join(format!("{}.asc", tarball.name)));
    let binding = request.plan.binding.clone();
    let checked = tokio::task::spawn_blocking(move || binding.verify(&file, &signature))
        .await
        .map_err(anyhow::Error::from)?;
    let Err(why) = checked else { return Ok(None) };
    Ok(Some(format!("the signature {}.asc vouches for nothing: {why:#}", tarball.name)))
}

fn differs(tarball: &Tarball, sum: &str, expected: &str) -> Failure {
    let text = match tarball.origin {
        Origin::Pool { .. } => format!(
            "the pool's {} has SHA-256 {sum}, and the record says {expected}: 'verify --deep' says what else was changed",
            tarball.name
        ),
        Origin::Tree(_) => format!(
            "{} is made with SHA-256 {sum}, and {expected} was expected: raise the upstream version",
            tarball.name
        ),
        Origin::PristineTar { .. } => format!(
            "pristine-tar makes {} with SHA-256 {sum}, and its delta says {expected}: commit it again with 'pristine-tar commit', or \
             bring the tarball into the archive by another version",
            tarball.name
        ),
    };
    Failure::new(FailureKind::Upstream, text)
}

/// Returns the command that makes a tarball in the directory `work`, where [`prepare`] has been.
fn checkout(repo: &Path, work: &Path, room: u64, tarball: &Tarball) -> Cmd {
    let objects = repo.join("objects");
    let cmd =
        confined::command(Path::new("/"), work, room, &[(&objects, "/objects")], "pristine-tar")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_DIR", format!("/work/{SCRATCH}"))
            .arg("checkout");
    let cmd =
        if tarball.is_signed() { cmd.arg("-s").arg(format!("{}.asc", tarball.name)) } else { cmd };
    cmd.arg("--").arg(&tarball.name)
}

/// What the names of directories begin with in which submissions look into tarballs.
pub const NAME: &str = "look-";

/// How long a tarball may take that is made to look into it at submission, and how long the files
/// may be that are written for it.
pub const LOOK: Duration = Duration::from_secs(10);
pub const LOOK_ROOM: u64 = 64 << 20;

/// Makes a small tarball in a directory of its own below `scratch`, and says what is in it; `None`
/// where that cannot be done quickly: the job finds out.
pub fn look(
    repo: &Path,
    branch: &CommitId,
    tarball: &Tarball,
    (scratch, limit): (&Path, Duration),
    look: impl FnOnce(&Path) -> anyhow::Result<Option<Listing>>,
) -> Result<Option<Listing>, Failure> {
    fs::create_dir_all(scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
    let dir = tempfile::Builder::new().prefix(NAME).tempdir_in(scratch)?;
    prepare(repo, dir.path(), branch)?;
    let done = checkout(repo, dir.path(), LOOK_ROOM, tarball).total(limit).run_blocking()?;
    if !done.ok() {
        return Ok(None);
    }
    let path = dir.path().join(&tarball.name);
    let is_its = match &tarball.sha256 {
        Some(expected) => digest(&path)?.1 == *expected,
        None => true,
    };
    // A tarball of other bytes is the job's affair.
    if is_its { Ok(look(&path)?) } else { Ok(None) }
}

async fn check_out(
    request: &SourceRequest,
    tarball: &Tarball,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let cmd = checkout(&request.subject.repo, &request.work, request.room, tarball);
    let cmd = cmd.total(LIMIT).log(&request.log, 16 << 20);
    let done = sandbox::run_confined(request, cmd, cancel).await?;
    if !done.ok() {
        let text = format!("pristine-tar cannot make {}: {}", tarball.name, done.describe());
        return Err(Failure::new(FailureKind::Upstream, text));
    }
    Ok(())
}

/// Returns a repository of our own that borrows the package's objects: neither the package's
/// configuration nor its hooks are there to be heeded, and the branch is where it was when the plan
/// was made.
fn prepare(repo: &Path, work: &Path, branch: &CommitId) -> Result<(), Failure> {
    let path = work.join(SCRATCH);
    let scratch = Repository::init_opts(
        &path,
        git2::RepositoryInitOptions::new().bare(true).external_template(false).initial_head("none"),
    )?;
    fs::create_dir_all(path.join("objects/info"))?;
    let objects = repo.join("objects");
    fs::write(path.join("objects/info/alternates"), format!("{}\n", objects.display()))?;
    drop(scratch);
    let scratch = git::open(&path)?;
    scratch.reference("refs/heads/pristine-tar", branch.into(), true, "")?;
    // Inside the sandbox the objects are elsewhere.
    fs::write(path.join("objects/info/alternates"), "/objects\n")?;
    Ok(())
}
