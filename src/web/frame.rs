//! What stands around each page.

use std::borrow::Borrow;
use std::fmt;

use invirtibuilder_api::job::{Job, State};
use invirtibuilder_core::names::Principal;

use crate::assets;
use crate::html::{Badge, Lasting, When, bytes};

/// What stands around a page.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The title.
    pub title: String,
    /// The part of the site.
    pub tab: Tab,
    /// The path that all our URLs begin with; empty: none.
    pub prefix: String,
    /// Who is signed in.
    pub who: Option<Principal>,
    /// What the forms of the session show.
    pub forgery: Option<String>,
    /// Now, in milliseconds since 1970-01-01 UTC.
    pub now: i64,
    /// The name of the server, for commands.
    pub server: String,
    /// The words that were searched for.
    pub query: String,
}

/// A part of the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tab {
    /// What runs.
    Overview,
    /// Packages.
    Packages,
    /// Jobs.
    Jobs,
    /// Pockets.
    Pockets,
    /// Plots.
    Statistics,
    /// A submission.
    Submit,
    /// The visitor's own jobs.
    Mine,
    /// None of these.
    None,
}

/// The parts that the head of each page leads to: name, path, and which it is.
const TABS: [(&str, &str, Tab); 6] = [
    ("Overview", "/", Tab::Overview),
    ("Packages", "/packages", Tab::Packages),
    ("Jobs", "/jobs", Tab::Jobs),
    ("Pockets", "/pockets", Tab::Pockets),
    ("Statistics", "/statistics", Tab::Statistics),
    ("Submit", "/submit", Tab::Submit),
];

impl Frame {
    /// Returns a path of ours as links have it.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// Returns the path of the page of something.
    pub fn to(&self, kind: &str, name: impl fmt::Display) -> String {
        format!("{}/{kind}/{name}", self.prefix)
    }

    /// Returns a path with a query of one field.
    pub fn asking(&self, path: &str, key: &str, value: impl fmt::Display) -> String {
        let query = serde_urlencoded::to_string([(key, value.to_string())]).unwrap_or_default();
        format!("{}{path}?{query}", self.prefix)
    }

    /// Lists the parts of the site: name, path, and whether it is this one.
    pub fn tabs(&self) -> impl Iterator<Item = (&'static str, String, bool)> {
        TABS.iter().map(|(name, path, tab)| (*name, self.at(path), *tab == self.tab))
    }

    /// Returns the path of the style sheet.
    pub fn style(&self) -> String {
        self.at(&assets::style().path)
    }

    /// Returns the path of the script.
    pub fn script(&self) -> String {
        self.at(&assets::script().path)
    }

    /// Tells a time.
    pub fn when(&self, at: impl Borrow<i64>) -> When {
        When { at: *at.borrow(), now: self.now }
    }

    /// Tells when a job ended, or else was submitted.
    pub fn ended(&self, job: &Job) -> When {
        self.when(job.finished.unwrap_or(job.submitted))
    }

    /// Tells when a job began to run, or else was submitted.
    pub fn began(&self, job: &Job) -> When {
        self.when(job.started.unwrap_or(job.submitted))
    }

    /// Returns the visitor, and what their forms show.
    pub fn visitor(&self) -> Option<(&Principal, &str)> {
        Some((self.who.as_ref()?, self.forgery.as_deref()?))
    }

    /// Shows a state.
    pub fn badge(&self, state: impl Borrow<State>) -> Badge {
        Badge(*state.borrow())
    }

    /// Tells how long something took.
    pub fn lasting(&self, ms: impl Borrow<i64>) -> Lasting {
        Lasting(*ms.borrow())
    }

    /// Tells a size.
    pub fn size(&self, count: impl Borrow<u64>) -> String {
        bytes(*count.borrow())
    }
}

#[cfg(test)]
pub mod tests {
    use crate::frame::*;

    /// The frame of a page that alice sees.
    pub fn frame() -> Frame {
        Frame {
            title: "A page".to_owned(),
            tab: Tab::Overview,
            prefix: "/build".to_owned(),
            who: Some(Principal::from_authenticated("alice@EXAMPLE.ORG").unwrap()),
            forgery: Some("f".repeat(64)),
            now: 1_700_000_100_000,
            server: "build.example.org".to_owned(),
            query: String::new(),
        }
    }

    #[test]
    fn links_begin_with_the_prefix() {
        let frame = frame();
        assert_eq!(frame.at("/jobs"), "/build/jobs");
        assert_eq!(frame.to("jobs", 7), "/build/jobs/7");
        assert_eq!(frame.asking("/packages", "prefix", "a&b c"), "/build/packages?prefix=a%26b+c");
        let here: Vec<_> =
            frame.tabs().filter(|(_, _, here)| *here).map(|(name, ..)| name).collect();
        assert_eq!(here, ["Overview"]);
        assert!(frame.style().starts_with("/build/assets/style."));
    }
}
