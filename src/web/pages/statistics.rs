//! Plots: how jobs end, how long they take, how large the archives are.

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;

use invirtibuilder_api::browse::Statistics;
use invirtibuilder_api::job::State;

use crate::frame::{Frame, Tab};
use crate::html::{Lasting, bytes, page};
use crate::plots::{Bars, Curve, Curves, Stack};
use crate::refusal::Refused;
use crate::visit::Visit;

/// The days that can be chosen.
const CHOICES: [u32; 3] = [7, 30, 90];

/// How many days somebody wants to see.
#[derive(Debug, Deserialize)]
pub struct DaysAsked {
    days: Option<u32>,
}

#[derive(Template)]
#[template(path = "statistics.html")]
struct StatisticsPage {
    frame: Frame,
    days: u32,
    statistics: Statistics,
    outcomes: Bars,
    times: Curves,
    sizes: Curves,
    phases: Vec<PhaseRow>,
}

impl StatisticsPage {
    fn choices(&self) -> [(u32, bool); 3] {
        CHOICES.map(|days| (days, days == self.days))
    }

    fn day(&self, at: &i64) -> String {
        invirtibuilder_core::time::utc(*at).chars().take(10).collect()
    }

    fn some(&self, ms: &Option<i64>) -> String {
        ms.map_or_else(|| "none".to_owned(), |ms| Lasting(ms).to_string())
    }
}

/// How long jobs of a pocket are in a state.
struct PhaseRow {
    pocket: String,
    state: State,
    jobs: u32,
    mean: i64,
    half: Option<i64>,
    most: Option<i64>,
    share: u64,
}

/// Shows them.
pub async fn statistics(visit: Visit, Query(asked): Query<DaysAsked>) -> Result<Response, Refused> {
    let days = asked.days.filter(|days| CHOICES.contains(days)).unwrap_or(30);
    let statistics: Statistics = visit.get(&format!("/api/v1/statistics?days={days}")).await?;
    let frame = visit.frame("Statistics", Tab::Statistics);
    let outcomes = Bars {
        title: "Jobs that ended, by day".to_owned(),
        stacks: statistics
            .days
            .iter()
            .map(|day| Stack {
                at: day.day,
                parts: vec![
                    ("published", day.published.into()),
                    ("failed", day.failed.into()),
                    ("cancelled", day.cancelled.into()),
                ],
            })
            .collect(),
    };
    let curve = |class, points: Vec<(i64, Option<f64>)>| Curve { class, points };
    let times = Curves {
        title: "Median time from submission to start, and from start to publication".to_owned(),
        write: |ms| Lasting(ms as i64).to_string(),
        curves: vec![
            curve(
                "waited",
                statistics.days.iter().map(|d| (d.day, d.waited.map(|ms| ms as f64))).collect(),
            ),
            curve(
                "took",
                statistics.days.iter().map(|d| (d.day, d.took.map(|ms| ms as f64))).collect(),
            ),
        ],
    };
    let sizes = Curves {
        title: "Size of the archives".to_owned(),
        write: |count| bytes(count as u64),
        curves: sizes(&statistics),
    };
    let phases = phases(&statistics);
    let shown = StatisticsPage { frame, days, statistics, outcomes, times, sizes, phases };
    Ok(page(StatusCode::OK, &shown))
}

/// Makes a curve for each domain.
fn sizes(statistics: &Statistics) -> Vec<Curve> {
    const CLASSES: [&str; 4] = ["one", "two", "three", "four"];
    let mut domains: Vec<_> = statistics.archives.iter().map(|size| &size.domain).collect();
    domains.sort();
    domains.dedup();
    let points = |domain| {
        let sizes = statistics.archives.iter().filter(move |size| &size.domain == domain);
        sizes.map(|size| (size.day, Some(size.bytes as f64))).collect()
    };
    let curve = |(class, domain)| Curve { class, points: points(domain) };
    CLASSES.into_iter().cycle().zip(domains).map(curve).collect()
}

/// Makes the table of phases.
fn phases(statistics: &Statistics) -> Vec<PhaseRow> {
    let mean = |ms: i64, jobs: u32| ms / i64::from(jobs.max(1));
    let longest = statistics.phases.iter().map(|p| mean(p.ms, p.jobs)).max().unwrap_or(1).max(1);
    let row = |phase: &invirtibuilder_api::metrics::PhaseTime| {
        // The bucket in which that part of all jobs has ended.
        let within = |part: f64| {
            let wanted = (f64::from(phase.jobs) * part).ceil() as u32;
            phase.buckets.iter().find(|bucket| bucket.jobs >= wanted).map(|bucket| bucket.up_to_ms)
        };
        PhaseRow {
            pocket: phase.pocket.to_string(),
            state: phase.state,
            jobs: phase.jobs,
            mean: mean(phase.ms, phase.jobs),
            half: within(0.5),
            most: within(0.95),
            share: (mean(phase.ms, phase.jobs) * 100 / longest) as u64,
        }
    };
    statistics.phases.iter().filter(|phase| phase.jobs > 0).map(row).collect()
}
