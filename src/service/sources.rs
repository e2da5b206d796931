//! Which packages that pockets have would be refused if they were submitted now. For administrators
//! on the server.
//!
//! Each source package is made again from its commit, in a directory of its own, and proven;
//! nothing that is published changes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use crate::progress::Progress;
use crate::session::AtServer;
use invirtibuilder_api::pocket::Held;
use invirtibuilder_api::verify::{RefusedSource, SourcesChecked};
use invirtibuilder_builder::source::{self, Pooled, SUMS};
use invirtibuilder_core::config::Config;
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::error::Failure;
use invirtibuilder_core::names::PocketName;
use invirtibuilder_environment::programs::{From, UnpackedPrograms};
use invirtibuilder_publish::validate::{self, JobRequest};
use invirtibuilder_store::{jobs, pockets};
use invirtibuilder_system::remove::remove_tree;
use invirtibuilder_system::runtime::block_on;
use invirtibuilder_system::subprocess::CancellationToken;

/// What is to be looked at once: a version that pockets have.
struct AskedSource {
    held: Held,
    request: JobRequest,
    pockets: Vec<PocketName>,
    pool: Vec<Pooled>,
}

/// Makes every source package that pockets have again, and names those that would be refused now.
pub fn check_sources(session: &AtServer, progress: &impl Progress) -> Result<SourcesChecked> {
    let config = session.config.clone();
    let mut asked: BTreeMap<Identity, AskedSource> = BTreeMap::new();
    for held in pockets::all(session.record.db())? {
        if config.find_pocket(&held.pocket).is_none() {
            continue;
        }
        let key = Identity {
            domain: config.domain(&held.pocket),
            package: held.package.clone(),
            version: held.version.clone(),
        };
        let pool = validate::pooled(&config, session.record.db(), &key)?;
        let pocket = held.pocket.clone();
        let request = JobRequest::of(&jobs::get(session.record.db(), held.job)?);
        asked
            .entry(key)
            .or_insert(AskedSource { held, request, pockets: Vec::new(), pool })
            .pockets
            .push(pocket);
    }
    let (all, dir) =
        (asked.len(), config.scratch().join(format!("sources-{}", std::process::id())));
    let log = dir.join("log");
    let refused = progress.follow(&log, async |cancel| {
        let mut refused = Vec::new();
        for one in asked.into_values() {
            let work = dir.join(one.held.package.as_str());
            let made = make(&config, &one, &work, &log, &cancel).await;
            remove_tree(&work).await?;
            if let Err(failure) = made {
                if cancel.is_cancelled() {
                    return Err(failure.into());
                }
                refused.push(one.refused(failure));
            }
        }
        Ok(refused)
    });
    block_on(remove_tree(&dir))?;
    Ok(SourcesChecked { all, refused: refused? })
}

async fn make(
    config: &Config,
    asked: &AskedSource,
    work: &Path,
    log: &Path,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let request = asked.request.clone();
    let plan = validate::plan_source(config, &request, &asked.pool, source::Branch::Now, None)?;
    let rules = config.pocket_of_job(&request.pocket)?.settings();
    let from = From::of(config, rules)?;
    let request = source::SourceRequest {
        subject: request.subject(config, &rules.distro),
        plan,
        programs: Arc::new(UnpackedPrograms::new(config).get(&from, cancel).await?),
        work: work.join("source"),
        room: rules.limits.disk.0,
        log: log.to_owned(),
    };
    fs::create_dir_all(&request.work)?;
    let made = source::make(&request, cancel).await?;
    source::prove(&request, &made, cancel).await?;
    Ok(())
}

impl AskedSource {
    /// Says why it would be refused, and what would mend it.
    fn refused(self, failure: Failure) -> RefusedSource {
        let lacks =
            |file: &&Pooled| failure.text.contains(SUMS) && failure.text.contains(&file.name);
        let tarballs = self.pool.iter().filter(|file| !file.name.ends_with(".asc")).filter(lacks);
        RefusedSource {
            package: self.held.package,
            version: self.held.version,
            pockets: self.pockets,
            failure: failure.kind,
            add: tarballs.map(|file| format!("{}  {}", file.sha256, file.name)).collect(),
            why: failure.text,
        }
    }
}
