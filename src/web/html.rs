//! Pieces of pages that are markup of our own: times, states, sizes. Text of others never gets here
//! without being escaped.

use std::fmt;

use askama::Template;
use askama::filters::HtmlSafe;
use axum::response::{Html, IntoResponse, Response};
use http::header::{CACHE_CONTROL, VARY};
use http::{HeaderValue, StatusCode};

use invirtibuilder_api::job::State;
use invirtibuilder_core::time::{span, utc};

/// Answers with a page.
pub fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => {
            let mut response = (status, Html(text)).into_response();
            let headers = response.headers_mut();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
            headers.insert(VARY, HeaderValue::from_static("cookie"));
            response
        }
        Err(error) => {
            eprintln!("invirtibuilder-web: a page cannot be written: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A time, told from now; the exact one is in its markup.
#[derive(Debug, Clone, Copy)]
pub struct When {
    /// The time, in milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// Now.
    pub now: i64,
}

impl HtmlSafe for When {}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = utc(self.at);
        let machine = exact.replace(' ', "T");
        let told = from_now(self.at - self.now);
        write!(f, r#"<time datetime="{machine}" title="{exact}">{told}</time>"#)
    }
}

/// Tells a distance from now, in the largest unit that says enough.
fn from_now(ms: i64) -> String {
    let seconds = ms.unsigned_abs() / 1000;
    let (count, unit) = match seconds {
        0..10 => return if ms > 0 { "in a moment" } else { "just now" }.to_owned(),
        10..60 => (seconds, "s"),
        60..3600 => (seconds / 60, "min"),
        3600..86_400 => (seconds / 3600, "h"),
        86_400..5_184_000 => (seconds / 86_400, "d"),
        5_184_000..63_072_000 => (seconds / 2_592_000, "months"),
        _ => (seconds / 31_536_000, "years"),
    };
    if ms > 0 { format!("in {count} {unit}") } else { format!("{count} {unit} ago") }
}

/// A state, as a word with a mark that needs no colour.
#[derive(Debug, Clone, Copy)]
pub struct Badge(pub State);

impl HtmlSafe for Badge {}

impl fmt::Display for Badge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"<span class="state {0}">{0}</span>"#, self.0)
    }
}

/// A span of time.
#[derive(Debug, Clone, Copy)]
pub struct Lasting(pub i64);

impl HtmlSafe for Lasting {}

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1000 {
            return write!(f, "{} ms", self.0.max(0));
        }
        f.write_str(&span(self.0))
    }
}

/// Writes a number of bytes for people.
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return match unit {
                "bytes" => format!("{count} {unit}"),
                _ => format!("{value:.1} {unit}"),
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use crate::html::*;

    #[test]
    fn a_time_is_told_from_now_and_exactly() {
        let told = |at| When { at, now: 1_700_000_000_000 }.to_string();
        assert_eq!(
            told(1_700_000_000_000 - 125_000),
            r#"<time datetime="2023-11-14T22:11:15Z" title="2023-11-14 22:11:15Z">2 min ago</time>"#
        );
        for (ms, text) in [
            (0, "just now"),
            (5_000, "in a moment"),
            (-42_000, "42 s ago"),
            (7_200_000, "in 2 h"),
            (-86_400_000 * 3, "3 d ago"),
            (-86_400_000 * 90, "3 months ago"),
            (-86_400_000 * 800, "2 years ago"),
        ] {
            assert_eq!(from_now(ms), text);
        }
    }

    #[test]
    fn sizes_are_for_people() {
        for (count, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1536, "1.5 KiB"),
            (1 << 30, "1.0 GiB"),
            (1 << 50, "1024.0 TiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(Lasting(90_000).to_string(), "1m30s");
        assert_eq!(Lasting(90).to_string(), "90 ms");
    }
}
