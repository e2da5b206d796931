//! Pockets: what each has and had, and how two differ.

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Response;
use http::StatusCode;

use invirtibuilder_api::archive::Snapshot;
use invirtibuilder_api::browse::{DifferencesRequest, MatrixRow, SnapshotChange};
use invirtibuilder_api::page::Page;
use invirtibuilder_api::pocket::{Held, Order, PackageDifference, PocketSummary};
use invirtibuilder_core::names::PocketName;

use crate::frame::{Frame, Tab};
use crate::html::page;
use crate::pages::ListPlace;
use crate::refusal::Refused;
use crate::visit::Visit;

/// The packages of a page.
const PACKAGES: u32 = 100;

/// The snapshots of a page.
const MOST: usize = 100;

#[derive(Template)]
#[template(path = "pockets.html")]
struct PocketsPage {
    frame: Frame,
    pockets: Vec<PocketSummary>,
}

#[derive(Template)]
#[template(path = "pocket.html")]
struct PocketPage {
    frame: Frame,
    pocket: PocketSummary,
    others: Vec<PocketSummary>,
    held: Vec<Held>,
    next: Option<String>,
    snapshots: Vec<SnapshotStep>,
}

/// A snapshot, and the one before it.
struct SnapshotStep {
    snapshot: Snapshot,
    before: Option<i64>,
}

#[derive(Template)]
#[template(path = "differences.html")]
struct DifferencesPage {
    frame: Frame,
    left: PocketName,
    right: PocketName,
    differences: Vec<PackageDifference>,
    next: Option<String>,
}

impl DifferencesPage {
    fn is_left(&self, difference: &PackageDifference) -> bool {
        difference.order == Order::Left
    }

    fn is_right(&self, difference: &PackageDifference) -> bool {
        difference.order == Order::Right
    }
}

#[derive(Template)]
#[template(path = "snapshots.html")]
struct SnapshotsPage {
    frame: Frame,
    pocket: PocketName,
    from: i64,
    to: i64,
    changes: Vec<SnapshotChange>,
    next: Option<String>,
}

/// Lists the pockets.
pub async fn pockets(visit: Visit) -> Result<Response, Refused> {
    let pockets = visit.get("/api/v1/pockets").await?;
    let frame = visit.frame("Pockets", Tab::Pockets);
    Ok(page(StatusCode::OK, &PocketsPage { frame, pockets }))
}

/// Shows a pocket.
pub async fn pocket(
    visit: Visit,
    Path(name): Path<String>,
    Query(asked): Query<ListPlace>,
) -> Result<Response, Refused> {
    let name = parse(&visit, &name)?;
    let packages = format!("/api/v1/packages?pocket={name}&{}", asked.query(PACKAGES));
    let snapshots = format!("/api/v1/pockets/{name}/snapshots");
    let (pockets, packages, snapshots) = tokio::join!(
        visit.get::<Vec<PocketSummary>>("/api/v1/pockets"),
        visit.get::<Page<MatrixRow>>(&packages),
        visit.get::<Vec<Snapshot>>(&snapshots),
    );
    let (pockets, packages, snapshots) = (pockets?, packages?, snapshots?);
    let (this, others): (Vec<_>, Vec<_>) =
        pockets.into_iter().partition(|pocket| pocket.pocket == name);
    let Some(pocket) = this.into_iter().next() else {
        return Err(visit.nothing("there is no such pocket: the page Pockets lists them"));
    };
    let next = packages
        .next
        .as_ref()
        .map(|after| visit.frame.asking(&format!("/pockets/{name}"), "after", after));
    let held = packages.items.into_iter().flat_map(|row| row.held);
    let held = held.filter(|held| held.pocket == name).collect();
    let frame = visit.frame(format!("Pocket {name}"), Tab::Pockets);
    let snapshots = steps(snapshots);
    Ok(page(StatusCode::OK, &PocketPage { frame, pocket, others, held, next, snapshots }))
}

/// Puts the newest snapshots first, each with the one before it.
fn steps(mut snapshots: Vec<Snapshot>) -> Vec<SnapshotStep> {
    snapshots.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.number));
    let numbers: Vec<i64> = snapshots.iter().map(|snapshot| snapshot.number).collect();
    let step = |(n, snapshot)| SnapshotStep { snapshot, before: numbers.get(n + 1).copied() };
    snapshots.into_iter().enumerate().map(step).take(MOST).collect()
}

fn parse(visit: &Visit, name: &str) -> Result<PocketName, Refused> {
    let wrong = "there is no such pocket: the page Pockets lists them";
    name.parse().map_err(|_| visit.nothing(wrong))
}

/// Shows what changed between two snapshots.
pub async fn snapshots(
    visit: Visit,
    Path((name, from, to)): Path<(String, i64, i64)>,
    Query(asked): Query<ListPlace>,
) -> Result<Response, Refused> {
    let pocket = parse(&visit, &name)?;
    let place = format!("/pockets/{pocket}/snapshots/{from}/{to}");
    let path = format!("/api/v1{place}?{}", asked.query(PACKAGES));
    let changes: Page<SnapshotChange> = visit.get(&path).await?;
    let next = changes.next.map(|after| visit.frame.asking(&place, "after", after));
    let changes = changes.items;
    let frame = visit.frame(format!("Pocket {pocket}: snapshot {from} to {to}"), Tab::Pockets);
    Ok(page(StatusCode::OK, &SnapshotsPage { frame, pocket, from, to, changes, next }))
}

/// Shows how two pockets differ.
pub async fn differences(
    visit: Visit,
    Query(mut asked): Query<DifferencesRequest>,
) -> Result<Response, Refused> {
    let (left, right) = (parse(&visit, &asked.left)?, parse(&visit, &asked.right)?);
    let query = |asked: &DifferencesRequest| serde_urlencoded::to_string(asked).unwrap_or_default();
    asked.limit = Some(PACKAGES);
    let path = format!("/api/v1/differences?{}", query(&asked));
    let differences: Page<PackageDifference> = visit.get(&path).await?;
    asked.limit = None;
    let next = differences.next.map(|after| {
        asked.after = Some(after);
        format!("{}?{}", visit.frame.at("/differences"), query(&asked))
    });
    let differences = differences.items;
    let frame = visit.frame(format!("{left} and {right}"), Tab::Pockets);
    Ok(page(StatusCode::OK, &DifferencesPage { frame, left, right, differences, next }))
}
