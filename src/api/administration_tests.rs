//! The JSON of what administrators do is pinned: programs read it. `json/` has each type's, with
//! every field set.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;

use serde::Serialize;
use serde_json::json;

use crate::acl::{Access, AccessDecision, Effect, EvaluationStep, Finding};
use crate::archive::{Collected, LetGo, Relocated, RolledBack, Snapshot, VouchRevoked};
use crate::audit::{BrokenTrail, IntactTrail, Recorded, TrailState};
use crate::builds::{Build, BuildFacts, BuiltIn, ComparedPackage, PackageVerdict, Rebuilt};
use crate::chroots::{Form, MadeChroot};
use crate::configuration::ConfigReport;
use crate::job::State;
use crate::metrics::{
    ChrootDate, DiskRoom, EndedJobs, JobsInState, KeyDates, Metrics, OldestJob, PhaseBucket,
    PhaseTime, SuiteDates,
};
use crate::readiness::{Check, Readiness};
use crate::verify::{
    Difference, MendedDifference, RefusedSource, Repaired, Report, SourcesChecked, Warning,
};
use invirtibuilder_core::config::{ConfigProblem, Isolation};
use invirtibuilder_core::error::FailureKind;
use invirtibuilder_core::given::Given;
use invirtibuilder_core::manifest::{AptSource, InstalledPackage, Manifest};
use invirtibuilder_core::names::{JobId, Principal};

fn name<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// Compares the JSON of a value with what is pinned.
fn is_pinned(value: &impl Serialize, pinned: &str) {
    assert_eq!(serde_json::to_string_pretty(value).unwrap(), pinned.trim_end());
}

fn build() -> Build {
    Build {
        job: JobId(7),
        pocket: name("dev"),
        principal: Principal::from_authenticated("alice@EXAMPLE.ORG").unwrap(),
        facts: Some(BuildFacts {
            isolation: Isolation::Unshare,
            chroots: vec![BuiltIn { architecture: name("amd64"), digest: name(&"a".repeat(64)) }],
            given: vec![Given {
                suite: name("dev"),
                package: "libhello1".to_owned(),
                version: "1.0-1".to_owned(),
                architecture: "amd64".to_owned(),
                path: "pool/main/h/hello/libhello1_1.0-1_amd64.deb".to_owned(),
                sha256: "b".repeat(64),
            }],
        }),
    }
}

fn manifest() -> Manifest {
    Manifest {
        distro: name("bookworm"),
        architecture: name("amd64"),
        created: 1_790_000_000_000,
        digest: name(&"a".repeat(64)),
        sources: vec![AptSource {
            uri: "https://deb.example.org/debian".to_owned(),
            suite: name("bookworm"),
            components: vec![name("main"), name("contrib")],
            key: Some("-----BEGIN PGP PUBLIC KEY BLOCK-----".to_owned()),
            options: vec!["check-valid-until=no".to_owned()],
        }],
        packages: vec![InstalledPackage {
            name: "dpkg".to_owned(),
            version: "1.21.22".to_owned(),
            architecture: "amd64".to_owned(),
        }],
        definition: Some("c".repeat(64)),
    }
}

fn report() -> Report {
    Report {
        packages: 3,
        suites: 2,
        files: 12,
        differences: vec![Difference {
            place: "suite dev".to_owned(),
            text: "it shows nothing; the record has generation 4".to_owned(),
        }],
        warnings: vec![Warning {
            place: "hello: refs/tags/prod".to_owned(),
            text: "it could not be pushed now".to_owned(),
        }],
    }
}

#[test]
fn the_json_of_archive_is_pinned() {
    let snapshot =
        Snapshot { number: 4, at: 1_790_000_000_000, note: "job 7".to_owned(), packages: 3 };
    is_pinned(&snapshot, include_str!("json/snapshot.json"));
    let rolled_back = RolledBack {
        suite: name("stable"),
        to: 3,
        now: 5,
        changed: vec![
            (name("hello"), Some(name("2.0-1")), Some(name("1.0-1"))),
            (name("world"), Some(name("1:1.0")), None),
        ],
    };
    is_pinned(&rolled_back, include_str!("json/rolled_back.json"));
    let collected = Collected {
        snapshots: vec![(name("stable"), 1)],
        versions: vec![(name("hello"), name("1.0-1"), name("main"))],
        strays: vec!["pool/main/h/hello/stray.deb".to_owned()],
        files: 6,
        bytes: 1 << 20,
    };
    is_pinned(&collected, include_str!("json/collected.json"));
    let let_go = LetGo {
        domain: name("main"),
        package: name("hello"),
        version: name("1.0-1"),
        commit: name(&"1".repeat(40)),
        files: 6,
    };
    is_pinned(&let_go, include_str!("json/let_go.json"));
    let relocated = Relocated {
        pocket: name("dev"),
        from: name("main"),
        suite: name("dev/unstable"),
        versions: vec![(name("hello"), name("1.0-1"))],
    };
    is_pinned(&relocated, include_str!("json/relocated.json"));
    is_pinned(&build(), include_str!("json/build.json"));
    // The build: what else the service says of it is for people.
    let revoked = VouchRevoked { build: build(), holds_for_all: true };
    is_pinned(&revoked, include_str!("json/build.json"));
}

#[test]
fn the_json_of_audit_is_pinned() {
    let intact = TrailState::Intact(IntactTrail {
        entries: 9,
        ok: true,
        sealed: Some(8),
        sealed_at: Some(1_790_000_000_000),
        unknown_seals: 1,
    });
    is_pinned(&intact, include_str!("json/intact_trail.json"));
    let broken = TrailState::Broken(BrokenTrail {
        ok: false,
        problem: "entry 4 of the audit trail is missing".to_owned(),
    });
    is_pinned(&broken, include_str!("json/broken_trail.json"));
    let recorded = Recorded {
        id: 4,
        at: 1_790_000_000_000,
        event: "allowed".to_owned(),
        job: Some(JobId(7)),
        detail: json!({ "principal": "alice@EXAMPLE.ORG", "request": "submit to dev" }),
        hash: "d".repeat(64),
    };
    is_pinned(&recorded, include_str!("json/recorded.json"));
}

#[test]
fn the_json_of_acl_and_check_config_is_pinned() {
    let decision = AccessDecision {
        admitted: true,
        pocket: name("dev"),
        principal: Principal::from_authenticated("alice@EXAMPLE.ORG").unwrap(),
        steps: vec![EvaluationStep {
            depth: 1,
            text: "princ:alice@EXAMPLE.ORG".to_owned(),
            place: "/etc/acl/dev:2".to_owned(),
            result: "match".to_owned(),
        }],
    };
    is_pinned(&decision, include_str!("json/access_decision.json"));
    let accesses = [Effect::Allow, Effect::Deny, Effect::Error].map(|effect| Access {
        who: "alice@EXAMPLE.ORG".to_owned(),
        effect,
        place: "/etc/acl/dev:2".to_owned(),
    });
    is_pinned(&accesses, include_str!("json/access.json"));
    let report = ConfigReport {
        acl: vec![Finding {
            message: "the file is missing".to_owned(),
            place: "config.yaml:12".to_owned(),
            refuses: true,
        }],
        file: "/etc/invirtibuilder/config.yaml".into(),
        problems: vec![ConfigProblem {
            column: 3,
            file: "/etc/invirtibuilder/config.yaml".into(),
            line: 12,
            message: "build: unknown key".to_owned(),
        }],
        warnings: vec!["pocket dev: isolation: schroot".to_owned()],
    };
    is_pinned(&report, include_str!("json/config_report.json"));
}

#[test]
fn the_json_of_chroot_is_pinned() {
    let made = [Form::Chroot, Form::Image].map(|form| MadeChroot { form, manifest: manifest() });
    is_pinned(&made, include_str!("json/made_chroot.json"));
    is_pinned(&manifest(), include_str!("json/manifest.json"));
}

#[test]
fn the_json_of_verify_is_pinned() {
    is_pinned(&report(), include_str!("json/report.json"));
    let mended = |done: Option<&str>, failed: Option<&str>| MendedDifference {
        done: done.map(str::to_owned),
        failed: failed.map(str::to_owned),
        place: "suite dev".to_owned(),
        text: "it shows nothing; the record has generation 4".to_owned(),
    };
    let repaired = Repaired {
        left: report(),
        mended: vec![
            mended(Some("written anew as generation 5"), None),
            mended(None, Some("the record does not have what is missing")),
        ],
    };
    is_pinned(&repaired, include_str!("json/repaired.json"));
    let checked = SourcesChecked {
        all: 3,
        refused: vec![RefusedSource {
            package: name("hello"),
            version: name("1.0-1"),
            pockets: vec![name("dev"), name("prod")],
            failure: FailureKind::Upstream,
            why: "nothing binds hello_1.0.orig.tar.gz".to_owned(),
            add: vec![format!("{}  hello_1.0.orig.tar.gz", "e".repeat(64))],
        }],
    };
    is_pinned(&checked.refused, include_str!("json/refused_source.json"));
    let verdicts = [
        PackageVerdict::Same,
        PackageVerdict::Differs,
        PackageVerdict::Missing,
        PackageVerdict::Extra,
    ];
    let rebuilt = Rebuilt {
        chroots: vec![name(&"a".repeat(64))],
        environment: vec!["-gcc-12 (= 12.2.0-14)".to_owned(), "+gcc-12 (= 12.2.0-15)".to_owned()],
        job: JobId(7),
        package: name("hello"),
        version: name("1.0-1"),
        packages: verdicts
            .map(|verdict| ComparedPackage { file: "hello_1.0-1_amd64.deb".to_owned(), verdict })
            .into(),
        same: false,
        contents: BTreeMap::from([("hello_1.0-1_amd64.deb".to_owned(), "  a line".to_owned())]),
    };
    is_pinned(&rebuilt, include_str!("json/rebuilt.json"));
}

#[test]
fn the_json_of_metrics_is_pinned() {
    let metrics = Metrics {
        version: "0.2.0".to_owned(),
        daemon: true,
        places: 2,
        open: vec![JobsInState { pocket: name("prod"), state: State::Queued, jobs: 3 }],
        oldest: vec![OldestJob { pocket: name("prod"), submitted: 1_700_000_000_000 }],
        ended: vec![EndedJobs {
            pocket: name("prod"),
            state: State::Failed,
            failure: Some(FailureKind::BuildFailed),
            jobs: 4,
        }],
        phases: vec![PhaseTime {
            pocket: name("prod"),
            state: State::Building,
            buckets: vec![PhaseBucket { up_to_ms: 60_000, jobs: 1 }],
            jobs: 2,
            ms: 95_000,
        }],
        owed_moves: 1,
        suites: vec![SuiteDates {
            domain: name("main"),
            suite: name("stable"),
            signed: 1_700_000_000_000,
            valid_until: Some(1_700_600_000_000),
        }],
        keys: vec![KeyDates {
            domain: name("main"),
            fingerprint: "A".repeat(40),
            created: 1_600_000_000_000,
            expires: Some(1_800_000_000_000),
        }],
        chroots: vec![ChrootDate {
            distro: name("bookworm"),
            architecture: name("amd64"),
            created: 1_700_000_000_000,
        }],
        disks: vec![DiskRoom { directory: "state".to_owned(), free: 5, size: 10 }],
    };
    is_pinned(&metrics, include_str!("json/metrics.json"));
}

#[test]
fn the_json_of_init_is_pinned() {
    let checks = [Readiness::Fine, Readiness::Note, Readiness::Wrong].map(|verdict| Check {
        what: "programs".to_owned(),
        verdict,
        found: "missing: sbuild".to_owned(),
        mend: (verdict != Readiness::Fine).then(|| "apt-get install sbuild".to_owned()),
    });
    is_pinned(&checks, include_str!("json/check.json"));
}
