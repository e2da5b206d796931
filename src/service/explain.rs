//! Tells the chain from a principal to published bytes, with every sum that it takes to check it
//! elsewhere.

use anyhow::Result;

use crate::Session;
use crate::status::{built_elsewhere, published_version};
use invirtibuilder_api::explain::{BuiltBy, Provenance};
use invirtibuilder_core::names::JobId;
use invirtibuilder_store::{audit, builds, chroots, pool, sources};

/// Tells everything that the result of a job follows from.
pub fn explain_job(session: &Session, id: JobId) -> Result<Provenance> {
    let (db, job) = (session.record.db(), session.find_job(id)?);
    let known = published_version(db, &job)?;
    let is_published = known.is_some();
    let other = if is_published { built_elsewhere(db, &job)? } else { None };
    let version = &job.identity();
    let by = other.as_ref().map_or(id, |other| other.job);
    let source = sources::source_of_job(db, by)?;
    let files = if is_published { pool::of_version(db, version)? } else { Vec::new() };
    let vouched = if other.is_some() { builds::vouched(db, version, &job.pocket)? } else { None };
    let reproduced = if is_published { chroots::reproduced(db, version)? } else { None };
    Ok(Provenance {
        built_by: other.map(|other| BuiltBy {
            job: other.job,
            pocket: other.pocket,
            principal: other.principal,
        }),
        dsc: source.as_ref().and_then(|source| source.dsc.clone()),
        source,
        chroots: chroots::chroots_of_job(db, by)?,
        given: builds::given(db, by)?,
        vouched,
        reproduced,
        files,
        tag_name: known.as_ref().map(|known| known.tag_name.clone()),
        tag: known.and_then(|known| known.tag),
        suite: is_published.then(|| session.config.suite_of_job(&job.pocket, &job.domain)),
        audit: audit::of_job(db, id)?,
        job,
    })
}
