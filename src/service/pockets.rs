//! Tells what pockets there are, what they have, and how two of them differ.

use std::cmp::Ordering;

use anyhow::Result;

use crate::Session;
use invirtibuilder_api::pocket::{Held, Order, PackageDifference, PocketPair, PocketSummary};
use invirtibuilder_store::{browse, pockets};

/// Lists the pockets that are configured.
pub fn list_pockets(session: &Session) -> Result<Vec<PocketSummary>> {
    let config = &session.config;
    let mut all = Vec::new();
    for pocket in config.pockets() {
        all.push(PocketSummary {
            allow_backtracking: pocket.settings().allow_backtracking,
            branch: pocket.branch(),
            distro: pocket.settings().distro.clone(),
            domain: pocket.domain().clone(),
            packages: pockets::count(session.record.db(), pocket.name())?,
            pocket: pocket.name().clone(),
            suite: pocket.suite().suite,
        });
    }
    Ok(all)
}

/// Lists what every pocket has, or the one of this name.
pub fn list_packages(session: &Session, only: Option<&str>) -> Result<Vec<Held>> {
    let only = only.map(|name| session.config.pocket(name)).transpose()?;
    let mut held = pockets::all(session.record.db())?;
    held.retain(|held| only.is_none_or(|only| held.pocket == *only.name()));
    Ok(held)
}

/// Lists the packages that two pockets do not have at the same commit, by name.
pub fn compare_pockets(session: &Session, pair: &PocketPair) -> Result<Vec<PackageDifference>> {
    differences(session, (&pair.left, &pair.right), "", u32::MAX)
}

/// Lists the first of these packages whose names come after this one, at most so many.
pub fn differences(
    session: &Session,
    (left, right): (&str, &str),
    after: &str,
    most: u32,
) -> Result<Vec<PackageDifference>> {
    let (db, config) = (session.record.db(), &session.config);
    let (left, right) = (config.pocket(left)?.name(), config.pocket(right)?.name());
    let mut found = Vec::new();
    for package in browse::differing(db, (left, right), after, most)? {
        let (left, right) =
            (pockets::held(db, left, &package)?, pockets::held(db, right, &package)?);
        if let Some(order) = order(left.as_ref(), right.as_ref()) {
            found.push(PackageDifference { left, order, package, right });
        }
    }
    Ok(found)
}

/// Tells which side is ahead; `None`: neither, both have the same.
fn order(left: Option<&Held>, right: Option<&Held>) -> Option<Order> {
    match (left, right) {
        (Some(left), Some(right)) if left.commit == right.commit => None,
        (Some(left), Some(right)) => Some(match left.version.cmp_dpkg(&right.version) {
            Ordering::Greater => Order::Left,
            Ordering::Less => Order::Right,
            Ordering::Equal => Order::Clash,
        }),
        (Some(_), None) => Some(Order::Left),
        (None, _) => Some(Order::Right),
    }
}
