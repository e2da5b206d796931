//! Which package is where, and the history of one.

use std::cmp::Ordering;

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Response;
use http::StatusCode;

use invirtibuilder_api::browse::{MatrixRequest, MatrixRow};
use invirtibuilder_api::job::Job;
use invirtibuilder_api::page::Page;
use invirtibuilder_api::pocket::{Held, PocketSummary};
use invirtibuilder_core::names::{PackageName, PocketName};

use crate::frame::{Frame, Tab};
use crate::html::page;
use crate::pages::ListPlace;
use crate::refusal::Refused;
use crate::visit::Visit;

/// The packages of a page.
const PACKAGES: u32 = 100;

/// The jobs of a page.
const JOBS: u32 = 50;

/// What a pocket has of a package, beside what the others have.
pub struct Cell {
    /// What it has.
    pub held: Option<Held>,
    /// How it stands.
    pub standing: Standing,
}

/// How a pocket stands beside the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// All that have the package have the same.
    Even,
    /// It has the greatest version, and others have not.
    Ahead,
    /// Another one has a greater version.
    Behind,
    /// It has the greatest version, and another one has that at another commit.
    Clash,
    /// It has not got the package.
    Without,
}

impl Standing {
    /// Says it in a word.
    pub fn word(self) -> &'static str {
        match self {
            Standing::Even => "",
            Standing::Ahead => "ahead",
            Standing::Behind => "behind",
            Standing::Clash => "clash",
            Standing::Without => "not there",
        }
    }

    /// Returns the class of the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Standing::Without => "without",
            other => other.word(),
        }
    }
}

/// A package, and what each pocket has of it.
pub struct Row {
    /// The package.
    pub package: PackageName,
    /// A cell for each pocket.
    pub cells: Vec<Cell>,
}

impl Row {
    /// Compares what pockets have.
    pub fn of(row: MatrixRow, pockets: &[PocketSummary]) -> Self {
        let standing = |held: &Held| {
            let others = || row.held.iter().filter(|other| other.pocket != held.pocket);
            let orders: Vec<Ordering> =
                others().map(|other| held.version.cmp_dpkg(&other.version)).collect();
            let has_other_commit = |other: &Held| {
                held.version.cmp_dpkg(&other.version).is_eq() && other.commit != held.commit
            };
            if orders.contains(&Ordering::Less) {
                Standing::Behind
            } else if others().any(has_other_commit) {
                Standing::Clash
            } else if orders.contains(&Ordering::Greater) {
                Standing::Ahead
            } else {
                Standing::Even
            }
        };
        let cell = |pocket: &PocketSummary| {
            let held = row.held.iter().find(|held| held.pocket == pocket.pocket);
            let standing = held.map_or(Standing::Without, standing);
            Cell { held: held.cloned(), standing }
        };
        Self { cells: pockets.iter().map(cell).collect(), package: row.package.clone() }
    }
}

#[derive(Template)]
#[template(path = "packages.html")]
struct PackagesPage {
    frame: Frame,
    asked: MatrixRequest,
    pockets: Vec<PocketSummary>,
    rows: Vec<Row>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "package.html")]
struct PackagePage {
    frame: Frame,
    package: PackageName,
    pockets: Vec<PocketSummary>,
    row: Option<Row>,
    page: Page<Job>,
    next: Option<String>,
}

impl PackagePage {
    /// Returns the pocket that a promotion is offered from: one that is ahead, else the first.
    fn source(&self) -> Option<&PocketName> {
        let held = self.row.iter().flat_map(|row| &row.cells).filter(|cell| cell.held.is_some());
        let ahead = held.clone().find(|cell| cell.standing == Standing::Ahead);
        let cell = ahead.or(held.into_iter().next())?;
        cell.held.as_ref().map(|held| &held.pocket)
    }

    /// Returns the pocket that a promotion is offered to: one that has not got it, or not yet.
    fn target(&self) -> Option<&PocketName> {
        let cells = self.row.iter().flat_map(|row| &row.cells);
        let others =
            self.pockets.iter().zip(cells).filter(|(summary, _)| {
                self.source().is_none_or(|source| *source != summary.pocket)
            });
        let lacks = |cell: &Cell| matches!(cell.standing, Standing::Without | Standing::Behind);
        let lacking = others.clone().find(|(_, cell)| lacks(cell));
        lacking.or(others.into_iter().next()).map(|(summary, _)| &summary.pocket)
    }

    fn is_source(&self, pocket: &PocketName) -> bool {
        self.source() == Some(pocket)
    }

    fn is_target(&self, pocket: &PocketName) -> bool {
        self.target() == Some(pocket)
    }

    /// Lists the pockets that have it.
    fn holders(&self) -> Vec<&PocketName> {
        let cells = self.row.iter().flat_map(|row| &row.cells);
        cells.filter_map(|cell| cell.held.as_ref()).map(|held| &held.pocket).collect()
    }
}

/// Shows the matrix.
pub async fn packages(
    visit: Visit,
    Query(asked): Query<MatrixRequest>,
) -> Result<Response, Refused> {
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    let asked = MatrixRequest {
        prefix: filled(asked.prefix),
        pocket: filled(asked.pocket),
        after: filled(asked.after),
        limit: Some(PACKAGES),
    };
    let query = |asked: &MatrixRequest| serde_urlencoded::to_string(asked).unwrap_or_default();
    let path = format!("/api/v1/packages?{}", query(&asked));
    let (found, pockets) = tokio::join!(
        visit.get::<Page<MatrixRow>>(&path),
        visit.get::<Vec<PocketSummary>>("/api/v1/pockets")
    );
    let (found, pockets) = (found?, pockets?);
    let next = found.next.as_ref().map(|after| {
        let asked = MatrixRequest { after: Some(after.clone()), limit: None, ..asked.clone() };
        visit.frame.at(&format!("/packages?{}", query(&asked)))
    });
    let rows = found.items.into_iter().map(|row| Row::of(row, &pockets)).collect();
    let frame = visit.frame("Packages", Tab::Packages);
    Ok(page(StatusCode::OK, &PackagesPage { frame, asked, pockets, rows, next }))
}

/// Shows a package.
pub async fn package(
    visit: Visit,
    Path(name): Path<String>,
    Query(asked): Query<ListPlace>,
) -> Result<Response, Refused> {
    let Ok(name) = name.parse::<PackageName>() else {
        return Err(visit.nothing("there is no package of this name"));
    };
    let history = format!("/api/v1/packages/{name}/history?{}", asked.query(JOBS));
    let row = format!("/api/v1/packages/{name}");
    let (row, jobs, pockets) = tokio::join!(
        visit.find::<MatrixRow>(&row),
        visit.get::<Page<Job>>(&history),
        visit.get::<Vec<PocketSummary>>("/api/v1/pockets")
    );
    let (row, jobs, pockets) = (row?, jobs?, pockets?);
    let row = row.map(|row| Row::of(row, &pockets));
    let next = jobs
        .next
        .as_ref()
        .map(|after| visit.frame.asking(&format!("/packages/{name}"), "after", after));
    let frame = visit.frame(name.to_string(), Tab::Packages);
    let shown = PackagePage { frame, package: name, pockets, row, page: jobs, next };
    Ok(page(StatusCode::OK, &shown))
}

#[cfg(test)]
mod tests {
    use crate::pages::packages::*;

    #[test]
    fn each_pocket_stands_somewhere() {
        let summary = include_str!("../../api/json/pockets.json");
        let one: Vec<PocketSummary> = serde_json::from_str(summary).unwrap();
        let pockets: Vec<PocketSummary> = ["dev", "prod", "test"]
            .into_iter()
            .map(|name| PocketSummary { pocket: name.parse().unwrap(), ..one[0].clone() })
            .collect();
        let held: Vec<Held> =
            serde_json::from_str(include_str!("../../api/json/packages.json")).unwrap();
        let at = |pocket: &str, version: &str, commit: char| Held {
            pocket: pocket.parse().unwrap(),
            version: version.parse().unwrap(),
            commit: commit.to_string().repeat(40).parse().unwrap(),
            ..held[0].clone()
        };
        let standings = |held: Vec<Held>| {
            let row = Row::of(MatrixRow { package: "hello".parse().unwrap(), held }, &pockets);
            row.cells.iter().map(|cell| cell.standing).collect::<Vec<_>>()
        };
        use Standing::*;
        assert_eq!(standings(vec![]), [Without, Without, Without]);
        assert_eq!(standings(vec![at("prod", "1.0-1", 'a')]), [Without, Even, Without]);
        let two = vec![at("dev", "1.0-10", 'a'), at("prod", "1.0-9", 'b')];
        assert_eq!(standings(two), [Ahead, Behind, Without]);
        let same =
            vec![at("dev", "1.0-1", 'a'), at("prod", "1.0-1", 'a'), at("test", "1.0-1", 'b')];
        assert_eq!(standings(same), [Clash, Clash, Clash]);
    }
}
