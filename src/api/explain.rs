//! What `explain` shows: the chain from a principal to published bytes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::archive::PoolFile;
use crate::audit::Recorded;
use crate::builds::{BuiltIn, Reproduced, Vouched};
use crate::job::Job;
use crate::source::JobSource;
use invirtibuilder_core::domain::SuiteId;
use invirtibuilder_core::given::Given;
use invirtibuilder_core::names::{JobId, PocketName, Principal};

/// A job, and everything that its result follows from.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Provenance {
    /// The job.
    pub job: Job,
    /// The job that built it, if this one copied.
    pub built_by: Option<BuiltBy>,
    /// What the source package was made of.
    pub source: Option<JobSource>,
    /// The `.dsc`, whole: the sums of all other files of the source package are in it.
    pub dsc: Option<String>,
    /// What the binaries were built in.
    pub chroots: Vec<BuiltIn>,
    /// The packages of suites of our own that the build was given.
    pub given: Vec<Given>,
    /// The administrator who answers for a build that the pocket's own rules would not have
    /// allowed, if somebody had to.
    pub vouched: Option<Vouched>,
    /// The second build that gave the same packages, if there was one.
    pub reproduced: Option<Reproduced>,
    /// The files of the pool that came out, with their SHA-256.
    pub files: Vec<PoolFile>,
    /// The object that the version's tag points at.
    pub tag: Option<String>,
    /// The name of the version's tag, whether it is there or not.
    pub tag_name: Option<String>,
    /// The suite that shows it.
    pub suite: Option<SuiteId>,
    /// The entries of the audit trail that are about it, each with its hash.
    pub audit: Vec<Recorded>,
}

/// The job that built what another job copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BuiltBy {
    /// The job.
    pub job: JobId,
    /// The pocket that it was for.
    pub pocket: PocketName,
    /// The principal that submitted the job.
    pub principal: Principal,
}

#[cfg(test)]
mod tests {
    use crate::examples::{self, pretty};
    use crate::explain::*;
    use invirtibuilder_core::config::Isolation;

    #[test]
    fn the_json_of_an_explanation_is_pinned() {
        let provenance = Provenance {
            job: examples::job(),
            built_by: Some(BuiltBy {
                job: JobId(5),
                pocket: "dev".parse().unwrap(),
                principal: examples::alice(),
            }),
            source: Some(examples::source()),
            dsc: Some("Format: 3.0 (quilt)\n".to_owned()),
            chroots: vec![examples::chroot()],
            given: vec![examples::given()],
            vouched: Some(Vouched {
                pocket: Some("prod".parse().unwrap()),
                at: 1_700_000_050_000,
                by: examples::alice(),
                reason: "it was looked at".to_owned(),
            }),
            reproduced: Some(Reproduced {
                at: 1_700_000_055_000,
                isolation: Some(Isolation::Vm),
                chroots: vec![examples::chroot()],
            }),
            files: vec![examples::file()],
            tag: Some(examples::object()),
            tag_name: Some("debian/1.0-1".to_owned()),
            suite: Some("stable".parse().unwrap()),
            audit: vec![Recorded {
                id: 12,
                at: 1_700_000_000_000,
                event: "job.submitted".to_owned(),
                job: Some(JobId(7)),
                detail: serde_json::json!({ "by": "alice@EXAMPLE.ORG" }),
                hash: examples::sha256(),
            }],
        };
        assert_eq!(pretty(&provenance), include_str!("json/provenance.json"));
    }
}
