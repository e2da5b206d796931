//! `metrics`: numbers for Prometheus, in its text format. On the server only.
//!
//! The names follow <https://prometheus.io/docs/practices/naming/>: base units, `_total` for what
//! only grows, points in time as seconds since 1970-01-01 UTC.

use std::io::Write;

use anyhow::Result;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use prometheus::{Encoder, TextEncoder};

use crate::session::CliSession;
use invirtibuilder_api::metrics::{DiskRoom, KeyDates, Metrics, PhaseTime, SuiteDates};
use invirtibuilder_core::error::Exit;
use invirtibuilder_service::metrics::measure_service;

/// Runs the verb.
pub fn answer(session: &mut CliSession) -> Result<Exit> {
    let metrics = measure_service(&*session.at_server("metrics")?)?;
    if session.wants_json() {
        session.print_json(&metrics)?;
        return Ok(Exit::Ok);
    }
    session.out().write_all(&prometheus_text(&metrics)?)?;
    Ok(Exit::Ok)
}

/// Writes the numbers in Prometheus' text format.
pub fn prometheus_text(metrics: &Metrics) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&families(metrics), &mut text)?;
    Ok(text)
}

/// A metric of a family: its labels, and its value.
type Sample<'a> = (Vec<(&'a str, String)>, f64);

fn labelled(labels: Vec<(&str, String)>) -> Metric {
    let pair = |(name, value): (&str, String)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value);
        pair
    };
    Metric::from_label(labels.into_iter().map(pair).collect())
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(format!("invirtibuilder_{name}"));
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn gauge<'a>(name: &str, help: &str, all: impl IntoIterator<Item = Sample<'a>>) -> MetricFamily {
    let metric = |(labels, value)| {
        let (mut metric, mut gauge) = (labelled(labels), Gauge::default());
        gauge.set_value(value);
        metric.set_gauge(gauge);
        metric
    };
    family(name, help, MetricType::GAUGE, all.into_iter().map(metric).collect())
}

fn counter<'a>(name: &str, help: &str, all: impl IntoIterator<Item = Sample<'a>>) -> MetricFamily {
    let metric = |(labels, value)| {
        let (mut metric, mut counter) = (labelled(labels), Counter::default());
        counter.set_value(value);
        metric.set_counter(counter);
        metric
    };
    family(name, help, MetricType::COUNTER, all.into_iter().map(metric).collect())
}

fn phase(times: &PhaseTime) -> Metric {
    let bucket = |up_to_ms, jobs: u32| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(seconds(up_to_ms));
        bucket.set_cumulative_count(jobs.into());
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(times.buckets.iter().map(|one| bucket(one.up_to_ms, one.jobs)).collect());
    histogram.set_sample_count(times.jobs.into());
    histogram.set_sample_sum(seconds(times.ms));
    let mut metric =
        labelled(vec![("pocket", times.pocket.to_string()), ("state", times.state.to_string())]);
    metric.set_histogram(histogram);
    metric
}

fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// Puts the numbers into families; one without a metric is left out.
fn families(all: &Metrics) -> Vec<MetricFamily> {
    let one = |value: f64| [(Vec::new(), value)];
    let suite = |suite: &SuiteDates| {
        vec![("domain", suite.domain.to_string()), ("suite", suite.suite.to_string())]
    };
    let key = |key: &KeyDates| {
        vec![("domain", key.domain.to_string()), ("fingerprint", key.fingerprint.clone())]
    };
    let disk = |disk: &DiskRoom| vec![("directory", disk.directory.clone())];
    let mut families = vec![
        gauge(
            "build_info",
            "The program that says this.",
            [(vec![("version", all.version.clone())], 1.0)],
        ),
        gauge("daemon_up", "Whether a daemon runs.", one(f64::from(u8::from(all.daemon)))),
        gauge("places", "The jobs that may run at once.", one(all.places as f64)),
        gauge(
            "jobs",
            "Jobs that have not ended, by pocket and state.",
            all.open.iter().map(|it| {
                let labels =
                    vec![("pocket", it.pocket.to_string()), ("state", it.state.to_string())];
                (labels, it.jobs.into())
            }),
        ),
        gauge(
            "oldest_queued_job_timestamp_seconds",
            "When the job was submitted that waits the longest.",
            all.oldest
                .iter()
                .map(|it| (vec![("pocket", it.pocket.to_string())], seconds(it.submitted))),
        ),
        counter(
            "jobs_ended_total",
            "Jobs that have ended, by pocket, end and kind of failure.",
            all.ended.iter().map(|it| {
                let failure = it.failure.map(|kind| kind.to_string()).unwrap_or_default();
                let labels = vec![
                    ("pocket", it.pocket.to_string()),
                    ("state", it.state.to_string()),
                    ("failure", failure),
                ];
                (labels, it.jobs.into())
            }),
        ),
        family(
            "job_phase_duration_seconds",
            "How long jobs were in a state until they left it.",
            MetricType::HISTOGRAM,
            all.phases.iter().map(phase).collect(),
        ),
        gauge(
            "owed_moves",
            "Moves of Git refs and suites that committed publications owe still.",
            one(all.owed_moves as f64),
        ),
        gauge(
            "suite_signed_timestamp_seconds",
            "The date of a suite's Release.",
            all.suites.iter().map(|it| (suite(it), seconds(it.signed))),
        ),
        gauge(
            "suite_valid_until_timestamp_seconds",
            "Until when clients take a suite's Release.",
            all.suites.iter().filter_map(|it| Some((suite(it), seconds(it.valid_until?)))),
        ),
        gauge(
            "key_created_timestamp_seconds",
            "When a key that signs was made.",
            all.keys.iter().map(|it| (key(it), seconds(it.created))),
        ),
        gauge(
            "key_expires_timestamp_seconds",
            "When a key that signs expires.",
            all.keys.iter().filter_map(|it| Some((key(it), seconds(it.expires?)))),
        ),
        gauge(
            "chroot_created_timestamp_seconds",
            "When a chroot was made.",
            all.chroots.iter().map(|it| {
                let labels = vec![
                    ("distro", it.distro.to_string()),
                    ("architecture", it.architecture.to_string()),
                ];
                (labels, seconds(it.created))
            }),
        ),
        gauge(
            "disk_free_bytes",
            "What can be written to the disk of a directory.",
            all.disks.iter().map(|it| (disk(it), it.free as f64)),
        ),
        gauge(
            "disk_size_bytes",
            "The size of the disk of a directory.",
            all.disks.iter().map(|it| (disk(it), it.size as f64)),
        ),
    ];
    families.retain(|family| !family.get_metric().is_empty());
    families
}

#[cfg(test)]
mod tests {
    use super::*;
    use invirtibuilder_api::job::State;
    use invirtibuilder_api::metrics::{EndedJobs, JobsInState, PhaseBucket};
    use invirtibuilder_core::error::FailureKind;

    #[test]
    fn numbers_are_written_as_prometheus_reads_them() {
        let pocket = || "prod".parse().unwrap();
        let metrics = Metrics {
            version: "1.0".to_owned(),
            daemon: true,
            places: 2,
            open: vec![JobsInState { pocket: pocket(), state: State::Queued, jobs: 3 }],
            oldest: vec![],
            ended: vec![EndedJobs {
                pocket: pocket(),
                state: State::Failed,
                failure: Some(FailureKind::BuildFailed),
                jobs: 4,
            }],
            phases: vec![PhaseTime {
                pocket: pocket(),
                state: State::Building,
                buckets: vec![PhaseBucket { up_to_ms: 500, jobs: 1 }],
                jobs: 2,
                ms: 90_400,
            }],
            owed_moves: 0,
            suites: vec![],
            keys: vec![],
            chroots: vec![],
            disks: vec![],
        };
        let mut text = Vec::new();
        TextEncoder::new().encode(&families(&metrics), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                r#"invirtibuilder_build_info{version="1.0"} 1"#,
                "invirtibuilder_daemon_up 1",
                "invirtibuilder_places 2",
                r#"invirtibuilder_jobs{pocket="prod",state="queued"} 3"#,
                r#"invirtibuilder_jobs_ended_total{pocket="prod",state="failed",failure="build.failed"} 4"#,
                r#"invirtibuilder_job_phase_duration_seconds_bucket{pocket="prod",state="building",le="0.5"} 1"#,
                r#"invirtibuilder_job_phase_duration_seconds_bucket{pocket="prod",state="building",le="+Inf"} 2"#,
                r#"invirtibuilder_job_phase_duration_seconds_sum{pocket="prod",state="building"} 90.4"#,
                r#"invirtibuilder_job_phase_duration_seconds_count{pocket="prod",state="building"} 2"#,
                "invirtibuilder_owed_moves 0",
            ]
        );
    }
}
