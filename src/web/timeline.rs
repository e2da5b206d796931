//! The phases of a job as a picture: a bar with a part for each.

use std::fmt::{self, Write};

use askama::filters::HtmlSafe;

use invirtibuilder_api::job::State;
use invirtibuilder_api::status::JobStatus;

use crate::html::Lasting;

/// The width of the picture.
const WIDTH: i64 = 1000;

/// The width that the shortest phase has.
const LEAST: i64 = 14;

/// A phase of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// The state.
    pub state: State,
    /// When it began, in milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// How long it lasted; `None`: it is an end.
    pub lasted: Option<i64>,
    /// Whether it goes on.
    pub is_now: bool,
}

/// The phases of a job, in their order.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// The phases.
    pub phases: Vec<Phase>,
}

impl Timeline {
    /// Reads it from what the job went through.
    pub fn of(status: &JobStatus, now: i64) -> Self {
        let steps = &status.steps;
        let phase = |(n, step): (usize, &invirtibuilder_api::job::StateChange)| {
            let next = steps.get(n + 1).map(|next| next.at);
            let is_now = next.is_none() && !step.state.is_end();
            let until = next.or(is_now.then_some(now));
            Phase {
                state: step.state,
                at: step.at,
                lasted: until.map(|until| (until - step.at).max(0)),
                is_now,
            }
        };
        Self { phases: steps.iter().enumerate().map(phase).collect() }
    }

    /// Draws it.
    pub fn bar(&self) -> Bar<'_> {
        Bar(self)
    }
}

/// The picture; the list beside it says the same in words.
pub struct Bar<'a>(&'a Timeline);

impl HtmlSafe for Bar<'_> {}

impl fmt::Display for Bar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lasting: Vec<(&Phase, i64)> =
            self.0.phases.iter().filter_map(|phase| Some((phase, phase.lasted?))).collect();
        let whole = lasting.iter().map(|(_, ms)| ms).sum::<i64>().max(1);
        let free = (WIDTH - LEAST * lasting.len() as i64).max(0);
        let mut parts = String::new();
        let mut x = 0;
        for (phase, ms) in lasting {
            let width = LEAST + (ms as f64 / whole as f64 * free as f64) as i64;
            let now = if phase.is_now { " now" } else { "" };
            write!(
                parts,
                r#"<rect class="{}{now}" x="{x}" width="{}" height="10"><title>{}, {}</title></rect>"#,
                phase.state,
                (width - 2).max(1),
                phase.state,
                Lasting(ms),
            )?;
            x += width;
        }
        write!(
            f,
            r#"<svg class="bar" viewBox="0 0 {WIDTH} 10" preserveAspectRatio="none" aria-hidden="true">{parts}</svg>"#
        )
    }
}
