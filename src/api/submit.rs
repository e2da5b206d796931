//! Submissions: what somebody asks for, and what the service answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::job::{Ahead, State};
use invirtibuilder_core::facts::Layout;
use invirtibuilder_core::names::{CommitId, JobId, PackageName, PocketName, Version};

/// The wish to bring a commit of a package into a pocket, in words that the service looks up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Submission {
    /// The name of the pocket.
    pub pocket: String,
    /// The name of the source package.
    pub package: String,
    /// A commit id, an abbreviated one, a branch or a tag.
    pub commit: String,
    /// The manner in which the job is queued.
    #[serde(flatten)]
    pub manner: Manner,
}

/// The wish to bring the commit that one pocket has into another one, in words that the service
/// looks up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Promotion {
    /// The name of the source package.
    pub package: String,
    /// The name of the pocket that has it.
    pub from: String,
    /// The name of the pocket that is to get it.
    pub to: String,
    /// The manner in which the job is queued.
    #[serde(flatten)]
    pub manner: Manner,
}

/// The wish to build what a pocket has once more, without changes, in words that the service looks
/// up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rebuild {
    /// The name of the pocket.
    pub pocket: String,
    /// The name of the source package.
    pub package: String,
    /// The reason, which the changelog of the package tells.
    pub reason: String,
    /// The manner in which the job is queued.
    #[serde(flatten)]
    pub manner: Manner,
}

/// The manner in which a job is queued.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Manner {
    /// Whether it goes before the other jobs of its pocket.
    pub priority: bool,
    /// Whether the submitter follows it to its end, and needs a place among the followers. Who asks
    /// in JSON has streams of their own for that.
    #[serde(skip)]
    pub follow: bool,
}

/// The answer to a submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Submitted {
    /// The queue before the job; `None`: there was a job for this commit already.
    #[serde(flatten)]
    pub queue: Option<QueueBefore>,
    /// The job: a new one, or the one that there was.
    pub job: JobId,
    /// Whether it is new.
    pub new: bool,
    /// The state of the job.
    pub state: State,
    /// The pocket that it is for.
    pub pocket: PocketName,
    /// The source package.
    pub package: PackageName,
    /// The version that is built.
    pub version: Version,
    /// The version that `debian/changelog` has at the commit.
    pub written: Version,
    /// The commit, in full.
    pub commit: CommitId,
}

/// The queue before a new job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueBefore {
    /// The number of jobs that are before it.
    pub ahead: Ahead,
    /// Whether a daemon runs, which starts it.
    pub daemon: bool,
}

/// The answer to a dry run: what a submission would come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Preview {
    /// The commit, in full.
    pub commit: CommitId,
    /// The source package.
    pub package: PackageName,
    /// The pocket.
    pub pocket: PocketName,
    /// The plan of the source package, if it would be built.
    pub source: Option<PlannedSource>,
    /// The version that would be built.
    pub version: Version,
    /// The reason, in words that follow the name of the package.
    pub why: String,
    /// The work that the service would do.
    pub would: Would,
    /// The version that `debian/changelog` has at the commit.
    pub written: Version,
}

/// The work that a submission would cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Would {
    /// The service would build it.
    Build,
    /// The service would copy what it has built before.
    Copy,
    /// The service would do nothing: there is a job for it, or the pocket has it.
    #[serde(rename = "none")]
    Nothing,
}

/// The plan of a source package that was not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedSource {
    /// The paths that a tarball has and the commit has not, and that the commit binds.
    pub extra: Vec<String>,
    /// The layout of the commit's tree; `None`: it is found out when the source package is made.
    pub layout: Option<Layout>,
    /// The notes on what was left out or let go, each a sentence.
    pub notes: Vec<String>,
    /// The upstream tarballs, the main one first.
    pub tarballs: Vec<PlannedTarball>,
}

/// An upstream tarball of such a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedTarball {
    /// The name of the tarball.
    pub name: String,
    /// The origin: `pool`, `pristine-tar`, `tag` or `commit`.
    pub origin: String,
    /// The SHA-256 of the tarball, if it is known before it is made.
    pub sha256: Option<String>,
}

#[cfg(test)]
mod tests {
    use crate::examples::{self, pretty};
    use crate::submit::*;

    fn submitted() -> Submitted {
        let job = examples::job();
        Submitted {
            queue: Some(QueueBefore { ahead: Ahead(3), daemon: true }),
            job: job.id,
            new: true,
            state: State::Queued,
            pocket: job.pocket,
            package: job.package,
            version: job.version,
            written: job.written,
            commit: job.commit,
        }
    }

    #[test]
    fn the_json_of_a_submission_is_pinned() {
        assert_eq!(pretty(&submitted()), include_str!("json/submitted.json"));
        let before = Submitted { queue: None, new: false, state: State::Building, ..submitted() };
        assert_eq!(pretty(&before), include_str!("json/submitted_before.json"));
    }

    #[test]
    fn the_json_of_a_dry_run_is_pinned() {
        let Submitted { pocket, package, version, written, commit, .. } = submitted();
        let tarball = PlannedTarball {
            name: "hello_1.0.orig.tar.xz".to_owned(),
            origin: "pristine-tar".to_owned(),
            sha256: Some(examples::sha256()),
        };
        let source = PlannedSource {
            extra: vec!["configure".to_owned()],
            layout: Some(Layout::Unapplied),
            notes: vec!["debian/source/options has comments only".to_owned()],
            tarballs: vec![tarball],
        };
        let preview = Preview {
            commit,
            package,
            pocket,
            source: Some(source),
            version,
            why: "would be built, for this version is new to the archive".to_owned(),
            would: Would::Build,
            written,
        };
        assert_eq!(pretty(&preview), include_str!("json/preview.json"));
        let words = [Would::Build, Would::Copy, Would::Nothing];
        assert_eq!(serde_json::to_string(&words).unwrap(), r#"["build","copy","none"]"#);
    }
}
