//! What pockets have.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use invirtibuilder_core::names::{
    CommitId, Distro, DomainName, JobId, PackageName, PocketName, Principal, Suite, Version,
};

/// A package in a pocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// The pocket.
    pub pocket: PocketName,
    /// The source package.
    pub package: PackageName,
    /// The commit that the pocket has it at.
    pub commit: CommitId,
    /// The version.
    pub version: Version,
    /// The job that brought it there.
    pub job: JobId,
}

/// The wish to take a package out of a pocket, in words that the service looks up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemoveRequest {
    /// The name of the pocket.
    pub pocket: String,
    /// The name of the source package.
    pub package: String,
    /// The reason, in one line.
    pub reason: String,
}

/// A package that was taken out of a pocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// What the pocket had.
    #[serde(flatten)]
    pub held: Held,
    /// When it was taken out, in milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// The principal that took it out.
    pub by: Principal,
    /// The reason.
    pub reason: String,
}

/// A pocket that is configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PocketSummary {
    /// Whether it takes an older version after a newer one.
    pub allow_backtracking: bool,
    /// The branch of each repository that says what it has.
    pub branch: String,
    /// The distro that its packages are built for.
    pub distro: Distro,
    /// The domain whose archive has the suite.
    pub domain: DomainName,
    /// The number of packages that it has.
    pub packages: i64,
    /// The name of the pocket.
    pub pocket: PocketName,
    /// The suite that shows it.
    pub suite: Suite,
}

/// The wish to compare two pockets, in words that the service looks up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PocketPair {
    /// The name of one pocket.
    pub left: String,
    /// The name of the other.
    pub right: String,
}

/// A package that two pockets do not have at the same commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PackageDifference {
    /// What the left pocket has of it.
    pub left: Option<Held>,
    /// The side that is ahead.
    pub order: Order,
    /// The source package.
    pub package: PackageName,
    /// What the right pocket has of it.
    pub right: Option<Held>,
}

/// The order of what two pockets have of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Order {
    /// The left pocket has the greater version, or alone has the package.
    #[serde(rename = ">")]
    Left,
    /// The right pocket has the greater version, or alone has the package.
    #[serde(rename = "<")]
    Right,
    /// Both have the same version at different commits.
    #[serde(rename = "!")]
    Clash,
}

#[cfg(test)]
mod tests {
    use crate::examples::{self, pretty};
    use crate::pocket::*;

    fn held() -> Held {
        let job = examples::job();
        let (pocket, package) = (job.pocket, job.package);
        Held { pocket, package, commit: job.commit, version: job.version, job: job.id }
    }

    #[test]
    fn the_json_of_packages_is_pinned() {
        assert_eq!(pretty(&[held()]), include_str!("json/packages.json"));
    }

    #[test]
    fn the_json_of_pockets_is_pinned() {
        let summary = PocketSummary {
            allow_backtracking: true,
            branch: "prod".to_owned(),
            distro: "bookworm".parse().unwrap(),
            domain: "main".parse().unwrap(),
            packages: 12,
            pocket: "prod".parse().unwrap(),
            suite: "stable".parse().unwrap(),
        };
        assert_eq!(pretty(&[summary]), include_str!("json/pockets.json"));
    }

    #[test]
    fn the_json_of_diff_is_pinned() {
        let difference = |left: Option<Held>, order, right: Option<Held>| PackageDifference {
            left,
            order,
            package: "hello".parse().unwrap(),
            right,
        };
        let differences = [
            difference(Some(held()), Order::Left, None),
            difference(None, Order::Right, Some(held())),
            difference(Some(held()), Order::Clash, Some(held())),
        ];
        assert_eq!(pretty(&differences), include_str!("json/differences.json"));
    }
}
