//! What `status` shows: one job in full, or what is queued, running and lately finished.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::archive::PoolFile;
use crate::builds::{Build, BuiltIn};
use crate::job::{Ahead, HookRun, Job, StateChange};
use crate::slurm::SlurmJob;
use crate::source::JobSource;
use crate::wait::{Accuracy, Told, Wait};
use invirtibuilder_core::given::Given;

/// A job, and all that the record has of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JobStatus {
    /// The tags of other people that its publication put aside.
    pub aside: Vec<AsideTag>,
    /// The paths of its `.buildinfo` files, below the archive's root, one for each architecture. A
    /// version that `archive gc` removed, or that was let go, has none.
    pub buildinfo: Vec<PoolFile>,
    /// The build that it has published, if that is another job's.
    pub built: Option<Build>,
    /// The path of the `.changes` of what it brought into its pocket's suite, below the archive's
    /// root.
    pub changes: Option<String>,
    /// The chroots that it was built in.
    pub chroots: Vec<BuiltIn>,
    /// The forecast that users were told, if it had to wait.
    pub forecast: Option<Told>,
    /// The packages of suites of our own that its build was given.
    pub given: Vec<Given>,
    /// The runs of hooks that heard of it.
    pub hooks: Vec<HookRun>,
    /// The job.
    pub job: Job,
    /// What its last attempt had with Slurm, the last submission for each architecture last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slurm: Vec<SlurmJob>,
    /// What its source package was made of.
    pub source: Option<JobSource>,
    /// The states that it entered.
    pub steps: Vec<StateChange>,
    /// What it waits for, if it is queued.
    pub waits: Option<Wait>,
    /// The number of jobs that are before it, if it is queued.
    pub ahead: Option<Ahead>,
    /// Whether it has a build log.
    pub has_log: bool,
}

/// A tag that was in the way of a version's own, and was put aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AsideTag {
    /// The ref that keeps what it pointed at, if it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aside: Option<String>,
    /// The source package.
    pub package: String,
    /// The name of the ref that it was.
    #[serde(rename = "ref")]
    pub name: String,
    /// The object that it pointed at.
    pub was: String,
}

/// The jobs that are queued, running and lately finished.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Overview {
    /// The jobs that ended lately, the last one first.
    pub finished: Vec<Job>,
    /// The accuracy of the last forecasts.
    pub forecasts: Option<Accuracy>,
    /// The jobs that have not ended, in the order of the queue.
    pub open: Vec<Job>,
    /// What queued jobs wait for, by the number of the job.
    pub waits: BTreeMap<String, Wait>,
    /// The warnings about the archive, each a sentence.
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use crate::builds::BuildFacts;
    use crate::examples::{self, pretty};
    use crate::job::{Event, State};
    use crate::status::*;
    use crate::wait::WaitReason;
    use invirtibuilder_core::config::Isolation;
    use invirtibuilder_core::names::JobId;

    #[test]
    fn the_json_of_a_job_is_pinned() {
        let job = examples::job();
        let hook = HookRun {
            event: Event::Published,
            name: "mail".to_owned(),
            started: 1_700_000_061_000,
            finished: 1_700_000_062_000,
            outcome: "ok".to_owned(),
        };
        let facts = BuildFacts {
            isolation: Isolation::Unshare,
            chroots: vec![examples::chroot()],
            given: vec![examples::given()],
        };
        let status = JobStatus {
            aside: vec![AsideTag {
                aside: Some("refs/invirt/aside/debian/1.0-1-1".to_owned()),
                package: "hello".to_owned(),
                name: "refs/tags/debian/1.0-1".to_owned(),
                was: examples::object(),
            }],
            buildinfo: vec![examples::file()],
            built: Some(Build {
                job: JobId(5),
                pocket: "dev".parse().unwrap(),
                principal: examples::alice(),
                facts: Some(facts),
            }),
            changes: Some("changes/hello_1.0-1_amd64.changes".to_owned()),
            chroots: vec![examples::chroot()],
            forecast: Some(Told {
                at: 1_700_000_000_000,
                start: 1_700_000_030_000,
                started: Some(1_700_000_031_000),
            }),
            given: vec![examples::given()],
            hooks: vec![hook],
            job,
            slurm: vec![SlurmJob {
                architecture: "amd64".parse().unwrap(),
                name: "ib-0123456789abcdef-6.1-amd64-1".to_owned(),
                number: Some(12),
                node: Some("n1".to_owned()),
                said: Some("it runs".to_owned()),
            }],
            source: Some(examples::source()),
            steps: vec![StateChange { at: 1_700_000_000_000, state: State::Queued }],
            waits: Some(examples::wait()),
            ahead: Some(Ahead(2)),
            has_log: true,
        };
        assert_eq!(pretty(&status), include_str!("json/job_status.json"));
    }

    #[test]
    fn the_json_of_the_overview_is_pinned() {
        let job = examples::job();
        let overview = Overview {
            finished: vec![job.clone()],
            forecasts: Some(Accuracy { jobs: 20, median_ms: 4000, told_ms: 60_000 }),
            open: vec![job.clone()],
            waits: [(job.id.to_string(), examples::wait())].into(),
            warnings: vec!["the signing key expires tomorrow".to_owned()],
        };
        assert_eq!(pretty(&overview), include_str!("json/overview.json"));
    }

    #[test]
    fn what_jobs_wait_for_is_pinned() {
        let reasons = [
            WaitReason::Daemon,
            WaitReason::Disk { dir: "/srv".to_owned() },
            WaitReason::Job { job: JobId(5) },
            WaitReason::Pocket { pocket: "prod".parse().unwrap() },
            WaitReason::Chroot { distro: "bookworm".to_owned() },
            WaitReason::Limit,
            WaitReason::Share,
            WaitReason::Place,
        ];
        let waits = reasons.map(|reason| Wait { reason, start: None, takes: None });
        assert_eq!(pretty(&waits), include_str!("json/waits.json"));
    }
}
