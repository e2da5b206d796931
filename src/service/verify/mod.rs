//! Whether database, Git and archive say the same, and what to do where they do not.
//!
//! The record is the truth. [`check()`] compares it with itself (`facts`), with Git (`git`) and
//! with the archive (`archive`), and names every difference; `mend` re-applies the record, or takes
//! what is there.

use std::collections::BTreeSet;

use anyhow::Result;

mod archive;
mod check;
mod facts;
mod fault;
mod git;
mod mend;

use crate::session::AtServer;
pub use check::check;
pub use fault::{Adopt, Deep, Examined, Fault, Mend};
use invirtibuilder_api::verify::{Depth, Repair, Repaired, Report};
use invirtibuilder_publish::Publisher;
use invirtibuilder_store::domains;
pub use mend::mend;

/// Compares everything. What is published meanwhile is no difference: what is found is looked at
/// again with nobody publishing.
pub fn compare_all(session: &mut AtServer, depth: Depth) -> Result<Report> {
    let config = session.config.clone();
    domains::demand(session.record.db(), &config)?;
    let publisher = Publisher::open(&config)?;
    let deep = match depth {
        Depth::Sizes => Deep::none(),
        Depth::Contents => Deep::All,
    };
    let compared = check(&config, &mut session.record, &deep)?;
    if compared.faults.is_empty() {
        return Ok(compared.report());
    }
    let again = match depth {
        Depth::Sizes => deep,
        Depth::Contents => {
            let places = compared.faults.into_iter().map(|fault| fault.difference.place);
            Deep::These(places.collect::<BTreeSet<_>>())
        }
    };
    let mut record = publisher.exclusive(&config)?;
    Ok(check(&config, &mut record, &again)?.report())
}

/// Mends what differs, tells the daemon, and compares again.
pub fn repair_all(session: &mut AtServer, repair: Repair) -> Result<Repaired> {
    domains::demand(session.record.db(), &session.config)?;
    let publisher = Publisher::open(&session.config)?;
    let repaired = mend(&session.config, &publisher, repair, &session.who)?;
    session.ring();
    Ok(repaired)
}

#[cfg(test)]
mod tests;
