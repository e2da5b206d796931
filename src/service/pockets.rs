//! Tells what pockets there are, what they have, and how two of them differ.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use anyhow::Result;

use crate::Session;
use invirtibuilder_api::pocket::{Held, Order, PackageDifference, PocketPair, PocketSummary};
use invirtibuilder_core::names::{PackageName, PocketName};
use invirtibuilder_store::pockets;

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
    let left = session.config.pocket(&pair.left)?.name();
    let right = session.config.pocket(&pair.right)?.name();
    let held = pockets::all(session.record.db())?;
    let of = |pocket: &PocketName| -> BTreeMap<&PackageName, &Held> {
        held.iter()
            .filter(|held| held.pocket == *pocket)
            .map(|held| (&held.package, held))
            .collect()
    };
    let (in_left, in_right) = (of(left), of(right));
    let mut packages: Vec<&PackageName> = in_left.keys().chain(in_right.keys()).copied().collect();
    packages.sort();
    packages.dedup();
    let difference = |package: &PackageName| {
        let (left, right) = (in_left.get(package).copied(), in_right.get(package).copied());
        let order = order(left, right)?;
        let (left, right) = (left.cloned(), right.cloned());
        Some(PackageDifference { left, order, package: package.clone(), right })
    };
    Ok(packages.into_iter().filter_map(difference).collect())
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
