//! `verify --sources`: which packages that pockets have would be refused if they were submitted now.
//!
//! Each source package is made again from its commit, in a directory of its own, and proven; nothing that is published changes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use serde::Serialize;

use super::progress;
use crate::build::remove_tree;
use crate::chroot;
use crate::chroot::programs::{From, Unpacked};
use crate::config::Config;
use crate::error::{Exit, Failure};
use crate::names::{PackageName, PocketName, Version};
use crate::record::pockets::{self, Held};
use crate::session::Session;
use crate::source::{self, Pooled, SUMS};
use crate::subprocess::CancellationToken;
use crate::validate::{self, Request};

/// What is to be looked at once: a version that pockets have.
struct Asked {
    held: Held,
    pockets: Vec<PocketName>,
    pool: Vec<Pooled>,
}

/// A version that would be refused.
#[derive(Debug, Serialize)]
struct Refused {
    package: PackageName,
    version: Version,
    pockets: Vec<PocketName>,
    failure: &'static str,
    why: String,
    /// The lines of `debian/upstream/sha256sums` that would bind its tarballs, where that is what it lacks.
    add: Vec<String>,
}

/// Looks at every package: exit 0 if all can be made as they are, 1 if not.
pub fn run(session: &mut Session) -> Result<Exit> {
    let config = session.config.clone();
    let mut asked: BTreeMap<(PackageName, Version), Asked> = BTreeMap::new();
    for held in pockets::all(session.record.db())? {
        if !config.build.pockets.contains_key(&held.pocket) {
            continue;
        }
        let key = (held.package.clone(), held.version.clone());
        let pool = source::pooled(&config, session.record.db(), &held.package, &held.version)?;
        let pocket = held.pocket.clone();
        asked.entry(key).or_insert(Asked { held, pockets: Vec::new(), pool }).pockets.push(pocket);
    }
    let (all, dir) = (asked.len(), config.scratch().join(format!("sources-{}", std::process::id())));
    let log = dir.join("log");
    let refused = progress::with_log(&log, async |cancel| {
        let mut refused = Vec::new();
        for one in asked.into_values() {
            let work = dir.join(one.held.package.as_str());
            let made = make(&config, &one, &work, &log, &cancel).await;
            remove_tree(&work).await?;
            if let Err(failure) = made {
                if cancel.is_cancelled() {
                    return Err(failure.into());
                }
                refused.push(Refused::of(one, &failure));
            }
        }
        Ok(refused)
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(remove_tree(&dir))?;
    show(session, all, &refused?)
}

async fn make(
    config: &Config,
    asked: &Asked,
    work: &Path,
    log: &Path,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let Held { pocket, package, commit, version, .. } = asked.held.clone();
    let request = Request { pocket, package, commit, version };
    let plan = validate::plan_source(config, &request, &asked.pool, source::Branch::Now, None)?;
    let rules = &config.build.pockets[&request.pocket];
    let from = From::of(config, rules, &chroot::host_architecture().await?)?;
    let request = source::Request {
        subject: request.subject(config),
        plan,
        programs: Arc::new(Unpacked::new(config).get(&from, cancel).await?),
        work: work.join("source"),
        room: rules.limits.disk.0,
        log: log.to_owned(),
    };
    fs::create_dir_all(&request.work)?;
    let made = source::make(&request, cancel).await?;
    source::prove(&request, &made, cancel).await?;
    Ok(())
}

impl Refused {
    fn of(asked: Asked, failure: &Failure) -> Self {
        let lacks = |file: &&Pooled| failure.text.contains(SUMS) && failure.text.contains(&file.name);
        let tarballs = asked.pool.iter().filter(|file| !file.name.ends_with(".asc")).filter(lacks);
        Self {
            package: asked.held.package,
            version: asked.held.version,
            pockets: asked.pockets,
            failure: failure.kind.as_str(),
            why: failure.text.clone(),
            add: tarballs.map(|file| format!("{}  {}", file.sha256, file.name)).collect(),
        }
    }
}

fn show(session: &Session, all: usize, refused: &[Refused]) -> Result<Exit> {
    let exit = if refused.is_empty() { Exit::Ok } else { Exit::JobFailed };
    if session.json {
        session.print_json(&refused)?;
        return Ok(exit);
    }
    for one in refused {
        let pockets: Vec<&str> = one.pockets.iter().map(PocketName::as_str).collect();
        session.line(format!("{} {} ({}): {}", one.package, one.version, pockets.join(", "), one.why))?;
        for line in &one.add {
            session.line(format!("  to add to {SUMS}: {line}"))?;
        }
    }
    match refused.len() {
        0 => session.line(format!("all {all} source packages can be made from their commits"))?,
        n => session.line(format!("{n} of {all} source packages would be refused now"))?,
    }
    Ok(exit)
}
