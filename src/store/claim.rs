//! Claims jobs: finds the one whose turn it is, and starts it.

use anyhow::Result;
use rusqlite::{OptionalExtension, Transaction, params};

use crate::fairness::{Hold, Load, Rules, Weight};
use crate::jobs;
use crate::queue::{self, OWED_MS};
use invirtibuilder_api::job::Job;
use invirtibuilder_core::names::{DomainName, JobId, PocketName};
use invirtibuilder_core::time::now;

/// Claims the job whose turn it is by the rules. It is `preparing` from then on, under a lease of
/// [`jobs::LEASE_MS`].
pub fn next(tx: &Transaction, rules: &Rules) -> Result<Option<Job>> {
    next_at(tx, rules, now())
}

/// Does what [`next`] does, at a moment.
pub(super) fn next_at(tx: &Transaction, rules: &Rules, at: i64) -> Result<Option<Job>> {
    let all = queue::loads(tx)?;
    let Some((load, reserved)) = rules.next(&all) else { return Ok(None) };
    let id = next_of(tx, &load.pocket)?;
    if !reserved {
        tx.prepare_cached("UPDATE queue_clock SET clock = max(clock, ?)")?
            .execute([load.domain_used])?;
        tx.prepare_cached("UPDATE domain_use SET clock = max(clock, ?2) WHERE domain = ?1")?
            .execute(params![load.domain, load.used])?;
        forgive(tx, rules, &all, load)?;
    }
    jobs::start(tx, id, at, if reserved { Weight::RESERVED } else { rules.weight(load) })?;
    Ok(Some(jobs::get(tx, id)?))
}

/// Limits what a pocket is owed that its own `jobs` holds back: it is not owed all that it does not
/// get. The same goes for a domain all of whose pockets are held back so. `served` is the pocket
/// whose turn it is.
fn forgive(tx: &Transaction, rules: &Rules, all: &[Load], served: &Load) -> Result<()> {
    let least = |clock: i64, share: u32| clock - OWED_MS * 1000 / i64::from(share);
    let is_held =
        |load: &&Load| load.next.is_some() && rules.may_start(load, all) == Err(Hold::Limit);
    for load in all.iter().filter(is_held) {
        let least = least(served.used, rules.share(&load.pocket).share);
        if load.domain == served.domain && load.used < least {
            tx.execute(
                "UPDATE pocket_use SET used = ?2 WHERE pocket = ?1",
                params![load.pocket, least],
            )?;
        }
    }
    let mut domains: Vec<(&DomainName, i64)> =
        all.iter().filter(is_held).map(|load| (&load.domain, load.domain_used)).collect();
    domains.sort();
    domains.dedup();
    for (domain, used) in domains {
        let mut ready = all.iter().filter(|load| load.domain == *domain && load.next.is_some());
        let least = least(served.domain_used, rules.domain_share(domain));
        if used < least && ready.all(|load| is_held(&load)) {
            tx.execute(
                "UPDATE domain_use SET used = ?2 WHERE domain = ?1",
                params![domain, least],
            )?;
        }
    }
    Ok(())
}

/// Finds the job of a pocket that is next: the oldest urgent one, else the oldest one of the
/// principal that was charged least.
fn next_of(tx: &Transaction, pocket: &PocketName) -> Result<JobId> {
    let urgent: Option<JobId> = tx
        .prepare_cached(
            "SELECT id FROM job INDEXED BY job_urgent WHERE ready = 1 AND priority = 1 AND pocket = ?
             ORDER BY turn LIMIT 1",
        )?
        .query_row([pocket], |row| row.get(0))
        .optional()?;
    if let Some(id) = urgent {
        return Ok(id);
    }
    let (turn, used): (i64, i64) = tx
        .prepare_cached(
            "SELECT oldest, used FROM principal_use INDEXED BY principal_use_next
             WHERE pocket = ? AND ready > 0 ORDER BY used, oldest LIMIT 1",
        )?
        .query_row([pocket], |row| Ok((row.get(0)?, row.get(1)?)))?;
    tx.prepare_cached("UPDATE pocket_use SET clock = max(clock, ?2) WHERE pocket = ?1")?
        .execute(params![pocket, used])?;
    Ok(tx
        .prepare_cached("SELECT id FROM job WHERE turn = ?")?
        .query_row([turn], |row| row.get(0))?)
}
