//! The matrix of layouts: trees as the real tools make them, and what becomes of each
//! (`tests/layouts/`, `docs/reference/layouts.md`).
//!
//! Source packages are made by the host's own dpkg-source and proven, with nothing built.
//! `script/test --only layouts` runs it; `LAYOUT=NAME` runs those whose names hold `NAME`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rayon::prelude::*;

use invirtibuilder_builder::source::{
    self, PlanInputs, Pooled, SourcePlan, SourceRequest, Subject,
};
use invirtibuilder_core::config::OrigSource;
use invirtibuilder_core::error::Failure;
use invirtibuilder_core::facts::Proof;
use invirtibuilder_git as git;
use invirtibuilder_git::create_package_repo;
use invirtibuilder_system::files::digest;
use invirtibuilder_system::subprocess::CancellationToken;

/// What a layout's head expects.
struct Layout {
    name: String,
    path: PathBuf,
    expect: String,
    layout: Option<String>,
    notes: Vec<String>,
}

impl Layout {
    fn read(path: PathBuf) -> Option<Self> {
        let text = fs::read_to_string(&path).ok()?;
        let all = |key: &str| -> Vec<String> {
            let start = format!("# {key}: ");
            text.lines()
                .take_while(|line| line.starts_with('#'))
                .filter_map(|line| Some(line.strip_prefix(&start)?.to_owned()))
                .collect()
        };
        let name = path.file_name()?.to_str()?.to_owned();
        let (expect, layout, notes) = (all("expect").pop()?, all("layout").pop(), all("note"));
        (name != "oracle").then_some(Self { name, path, expect, layout, notes })
    }

    /// What is wrong with what became of it; nothing if it is as expected.
    fn judge(&self) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        let script = Command::new(&self.path)
            .arg(&tree)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .unwrap();
        if !script.status.success() {
            return Some(format!("the script failed: {}", String::from_utf8_lossy(&script.stderr)));
        }
        let (plan, done) = outcome(dir.path(), &tree, &[]);
        let said = match &done {
            Ok(proof) => format!(
                "published, {}; {:?}; {:?}",
                proof.layout.unwrap().as_str(),
                proof.notes,
                proof.extra
            ),
            Err(failure) => failure.to_string(),
        };
        let mut words = self.expect.split_whitespace();
        let fits = match (words.next().unwrap(), &plan, &done) {
            ("published", Some(plan), Ok(proof)) => self.is_published_as_expected(plan, proof),
            ("refused", None, Err(failure)) => words.all(|word| failure.text.contains(word)),
            ("failed", Some(_), Err(failure)) => {
                words.next() == Some(failure.kind.as_str())
                    && words.all(|word| failure.text.contains(word))
            }
            _ => false,
        };
        let when = if plan.is_some() { "" } else { "at submission: " };
        if !fits {
            return Some(format!("expected {:?} {:?}: {when}{said}", self.expect, self.layout));
        }
        if done.is_ok() { self.judge_next(dir.path(), &tree) } else { None }
    }

    /// The next revision, whose tarballs the pool has.
    fn judge_next(&self, dir: &Path, tree: &Path) -> Option<String> {
        let tarballs: Vec<Pooled> = fs::read_dir(dir.join("job/source"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_str().unwrap().contains(".orig"))
            .map(|path| Pooled {
                name: path.file_name().unwrap().to_str().unwrap().to_owned(),
                sha256: digest(&path).unwrap().1,
                path,
                job: None,
            })
            .collect();
        if tarballs.is_empty() {
            return None;
        }
        let next = tempfile::tempdir_in(dir).unwrap();
        match outcome(next.path(), tree, &tarballs) {
            (Some(plan), Ok(proof)) if self.is_published_as_expected(&plan, &proof) => None,
            (plan, done) => Some(format!(
                "with its tarball from the pool: {:?} {done:?}",
                plan.map(|plan| plan.layout)
            )),
        }
    }

    fn is_published_as_expected(&self, plan: &SourcePlan, proof: &Proof) -> bool {
        let bound: Vec<String> = proof.bound.keys().cloned().collect();
        let said =
            [&plan.notes[..], &proof.notes[..], &proof.extra[..], &bound[..]].concat().join("\n");
        let known = plan.layout.is_none() || plan.layout == proof.layout;
        known
            && self.layout.as_deref() == proof.layout.map(|layout| layout.as_str())
            && self
                .notes
                .iter()
                .flat_map(|note| note.split_whitespace())
                .all(|word| said.contains(word))
    }
}

/// What is planned, if anything can be, and what comes of it.
fn outcome(
    dir: &Path,
    tree: &Path,
    pool: &[Pooled],
) -> (Option<SourcePlan>, Result<Proof, Failure>) {
    let repo = dir.join("hello.git");
    create_package_repo(&repo).unwrap();
    let pushed = Command::new("git")
        .arg("-C")
        .arg(tree)
        .args(["push", "-q"])
        .arg(&repo)
        .args(["refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*"])
        .output()
        .unwrap();
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    let opened = git::open(&repo).unwrap();
    let commit = git::resolve::resolve(&opened, &"hello".parse().unwrap(), "main").unwrap();
    let changelog = match source::changelog(&opened, &commit) {
        Ok(changelog) => changelog,
        Err(failure) => return (None, Err(failure)),
    };
    let subject = Subject {
        repo,
        commit,
        package: changelog.source,
        version: changelog.version.clone(),
        written: changelog.version,
        distro: "trixie".parse().unwrap(),
        why: None,
    };
    let wanted = PlanInputs {
        subject: &subject,
        pool,
        branch: source::Branch::Now,
        scratch: Some(dir),
        orig: &[OrigSource::Pool, OrigSource::PristineTar, OrigSource::Tag],
    };
    let plan = match source::plan(&opened, &wanted) {
        Ok(plan) => plan,
        Err(failure) => return (None, Err(failure)),
    };
    let request = SourceRequest::on_host(subject, plan.clone(), dir, 1 << 30).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = runtime.block_on(async {
        let made = source::make(&request, &CancellationToken::new()).await?;
        source::prove(&request, &made, &CancellationToken::new()).await
    });
    (Some(plan), done)
}

#[test]
fn every_layout_becomes_what_its_head_says() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("layouts");
    let named = std::env::var("LAYOUT").unwrap_or_default();
    let entries = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let all: Vec<Layout> =
        entries.filter_map(Layout::read).filter(|layout| layout.name.contains(&named)).collect();
    assert!(!all.is_empty(), "there are no layouts of that name");
    let wrong: Vec<String> = all
        .par_iter()
        .filter_map(|layout| layout.judge().map(|why| format!("{}: {why}", layout.name)))
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}
