//! Examples of values, with every field set, for the tests that pin their JSON.

use serde::Serialize;

use crate::archive::PoolFile;
use crate::builds::BuiltIn;
use crate::job::{Job, State};
use crate::source::{JobSource, JobTarball};
use crate::wait::{Wait, WaitReason};
use invirtibuilder_core::config::Isolation;
use invirtibuilder_core::error::FailureKind;
use invirtibuilder_core::facts::{Bound, Layout};
use invirtibuilder_core::given::Given;
use invirtibuilder_core::names::{JobId, Principal};

/// Writes a value as the files in `json/` have it: the keys in the order of `--json`, which is all
/// on one line.
pub fn pretty(value: &impl Serialize) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap())
}

pub fn alice() -> Principal {
    Principal::from_authenticated("alice@EXAMPLE.ORG").unwrap()
}

/// Returns the id of an object of Git.
pub fn object() -> String {
    "3f2a91c0".repeat(5)
}

pub fn sha256() -> String {
    "5891b5b5".repeat(8)
}

pub fn job() -> Job {
    Job {
        id: JobId(7),
        pocket: "prod".parse().unwrap(),
        domain: "main".parse().unwrap(),
        package: "hello".parse().unwrap(),
        commit: object().parse().unwrap(),
        version: "1.0-1".parse().unwrap(),
        written: "1.0-1".parse().unwrap(),
        why: None,
        principal: alice(),
        state: State::Failed,
        failure: Some(FailureKind::BuildFailed),
        reason: Some("make: *** [all] Error 2".to_owned()),
        copied_from: Some("dev".parse().unwrap()),
        attempt: 1,
        submitted: 1_700_000_000_000,
        started: Some(1_700_000_001_000),
        finished: Some(1_700_000_060_000),
        cancel_by: Some(alice()),
        priority: true,
    }
}

pub fn wait() -> Wait {
    Wait {
        reason: WaitReason::Job { job: JobId(5) },
        start: Some(1_700_000_030_000),
        takes: Some(45_000),
    }
}

pub fn chroot() -> BuiltIn {
    BuiltIn { architecture: "amd64".parse().unwrap(), digest: digest() }
}

fn digest() -> invirtibuilder_core::names::ChrootDigest {
    sha256().parse().unwrap()
}

pub fn file() -> PoolFile {
    PoolFile {
        path: "pool/main/h/hello/hello_1.0-1_amd64.buildinfo".to_owned(),
        size: 4096,
        sha256: sha256(),
    }
}

pub fn given() -> Given {
    Given {
        suite: "stable".parse().unwrap(),
        package: "libhello-dev".to_owned(),
        version: "1.0-1".to_owned(),
        architecture: "amd64".to_owned(),
        path: "pool/main/libh/libhello/libhello-dev_1.0-1_amd64.deb".to_owned(),
        sha256: sha256(),
    }
}

pub fn source() -> JobSource {
    let tarball = JobTarball {
        name: "hello_1.0.orig.tar.xz".to_owned(),
        origin: "pristine-tar".to_owned(),
        brought_by: Some(JobId(5)),
        delta: Some(object()),
        tree: Some(object()),
        tag: Some("upstream/1.0".to_owned()),
        sha256: Some(sha256()),
        bound: Some(Bound::Sum),
    };
    JobSource {
        branch: Some(object().parse().unwrap()),
        layout: Some(Layout::Unapplied),
        isolation: Some(Isolation::Unshare),
        suites: vec!["stable".parse().unwrap()],
        programs: Some(digest()),
        dsc_sha256: Some(sha256()),
        dsc: Some("Format: 3.0 (quilt)\n".to_owned()),
        tarballs: vec![tarball],
        proven: true,
        extra: vec!["configure".to_owned()],
        notes: vec!["debian/source/options has comments only".to_owned()],
    }
}
