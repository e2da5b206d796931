//! Plots, drawn by the server. Each stands beside a table that says the same.

use std::fmt::{self, Write};

use askama::filters::{Escaper, Html, HtmlSafe};

/// The size of a plot.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 180.0;
/// The room for words: left of the plot, and below it.
const LEFT: f64 = 58.0;
const RIGHT: f64 = 6.0;
const BELOW: f64 = 22.0;
const ABOVE: f64 = 8.0;

/// Bars of counts, by day.
pub struct Bars {
    /// What it shows.
    pub title: String,
    /// A bar for each day.
    pub stacks: Vec<Stack>,
}

/// The bar of a day.
pub struct Stack {
    /// The day, in milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// The counts, each with its class, from below.
    pub parts: Vec<(&'static str, u64)>,
}

/// Curves of values, by day.
pub struct Curves {
    /// What it shows.
    pub title: String,
    /// How a value is written.
    pub write: fn(f64) -> String,
    /// The curves.
    pub curves: Vec<Curve>,
}

/// One curve.
pub struct Curve {
    /// Its class.
    pub class: &'static str,
    /// Its points: the day, and the value, if there is one.
    pub points: Vec<(i64, Option<f64>)>,
}

impl HtmlSafe for Bars {}
impl HtmlSafe for Curves {}

/// Where things are in a plot.
struct Scale {
    from: i64,
    to: i64,
    top: f64,
}

impl Scale {
    fn of(times: impl Iterator<Item = i64> + Clone, top: f64) -> Self {
        let from = times.clone().min().unwrap_or(0);
        let to = times.max().unwrap_or(1).max(from + 1);
        Self { from, to, top: round_up(top) }
    }

    fn x(&self, at: i64) -> f64 {
        LEFT + (at - self.from) as f64 / (self.to - self.from) as f64 * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BELOW - value / self.top * (HEIGHT - BELOW - ABOVE)
    }
}

/// Returns the next round number, so that lines stand at numbers that people read.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1.0).log10().floor());
    [1.0, 2.0, 4.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|round| *round >= value)
        .unwrap_or(10.0 * power)
}

fn begin(f: &mut fmt::Formatter<'_>, title: &str) -> fmt::Result {
    write!(f, r#"<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label=""#)?;
    Html.write_escaped_str(&mut *f, title)?;
    f.write_str("\">")
}

/// Draws the lines of some values, and the first and last day.
fn axes(
    f: &mut fmt::Formatter<'_>,
    scale: &Scale,
    write: impl Fn(f64) -> String,
    last: i64,
) -> fmt::Result {
    for part in [0.0, 0.5, 1.0] {
        let value = scale.top * part;
        let y = scale.y(value);
        write!(
            f,
            r#"<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1}" y2="{y:.1}"/><text class="value" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 8.0,
            y + 4.0,
            write(value),
        )?;
    }
    let day = |at| invirtibuilder_core::time::utc(at).chars().skip(5).take(5).collect::<String>();
    let y = HEIGHT - 5.0;
    write!(f, r#"<text x="{LEFT}" y="{y}">{}</text>"#, day(scale.from))?;
    write!(f, r#"<text x="{WIDTH}" y="{y}" text-anchor="end">{}</text>"#, day(last))
}

impl fmt::Display for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: i64 = 86_400_000;
        begin(f, &self.title)?;
        let sum = |stack: &Stack| stack.parts.iter().map(|(_, count)| count).sum::<u64>();
        let top = self.stacks.iter().map(sum).max().unwrap_or(0);
        let last = self.stacks.iter().map(|stack| stack.at).max().unwrap_or(0);
        let days = self.stacks.iter().map(|stack| stack.at).chain([last + DAY]);
        let scale = Scale::of(days, (top as f64).max(4.0));
        axes(f, &scale, |value| format!("{value}"), last)?;
        let width = ((WIDTH - LEFT) / (self.stacks.len().max(1) as f64) * 0.72).max(1.0);
        for stack in &self.stacks {
            let x = scale.x(stack.at);
            let mut below = 0;
            for (class, count) in stack.parts.iter().filter(|(_, count)| *count > 0) {
                let (low, high) = (scale.y(below as f64), scale.y((below + count) as f64));
                write!(
                    f,
                    r#"<rect class="{class}" x="{x:.1}" y="{high:.1}" width="{width:.1}" height="{:.1}"><title>{count} {class}</title></rect>"#,
                    low - high,
                )?;
                below += count;
            }
        }
        f.write_str("</svg>")
    }
}

impl fmt::Display for Curves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        begin(f, &self.title)?;
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let top = points().filter_map(|(_, value)| *value).fold(1.0, f64::max);
        let scale = Scale::of(points().map(|(at, _)| *at), top);
        axes(f, &scale, self.write, points().map(|(at, _)| *at).max().unwrap_or(0))?;
        for curve in &self.curves {
            let mut path = String::new();
            let mut is_on = false;
            for (at, value) in &curve.points {
                // A day without a value leaves a gap.
                let Some(value) = value else {
                    is_on = false;
                    continue;
                };
                let letter = if is_on { 'L' } else { 'M' };
                let (x, y) = (scale.x(*at), scale.y(*value));
                write!(path, "{letter}{x:.1} {y:.1}")?;
                // A line to itself, so that one day alone is seen.
                if !is_on {
                    write!(path, "h.1")?;
                }
                is_on = true;
            }
            write!(f, r#"<path class="{}" d="{path}"/>"#, curve.class)?;
        }
        f.write_str("</svg>")
    }
}

#[cfg(test)]
mod tests {
    use crate::plots::*;

    #[test]
    fn lines_stand_at_round_numbers() {
        for (value, round) in
            [(0.0, 1.0), (1.0, 1.0), (3.0, 4.0), (11.0, 20.0), (401.0, 500.0), (99.0, 100.0)]
        {
            assert_eq!(round_up(value), round);
        }
    }

    #[test]
    fn a_title_is_text_and_gaps_are_gaps() {
        let curve =
            Curve { class: "took", points: vec![(0, Some(1.0)), (1, None), (2, Some(3.0))] };
        let write = |value: f64| format!("{value}");
        let drawn = Curves { title: "<b>\"x\"".to_owned(), write, curves: vec![curve] }.to_string();
        assert!(!drawn.contains("<b>") && !drawn.contains("\"x\""), "{drawn}");
        assert_eq!(drawn.matches('M').count(), 2, "{drawn}");
        let stacks = vec![Stack { at: 0, parts: vec![("failed", 0), ("published", 3)] }];
        let drawn = Bars { title: String::new(), stacks }.to_string();
        assert!(drawn.contains("3 published") && !drawn.contains("0 failed"), "{drawn}");
        assert!(!Bars { title: String::new(), stacks: vec![] }.to_string().contains("NaN"));
    }
}
