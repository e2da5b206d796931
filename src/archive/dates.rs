//! Dates the Release of a suite.
//!
//! apt keeps the newest Release that it has read: it takes no older one, and says nothing about
//! that. A Release of a time to come it refuses, and says so. So the date never goes back: if the
//! clock was ahead, the suite waits for the date that it has shown. Where that would take long, the
//! daemon's start dates the suite by the clock again: no client whose clock is right has taken the
//! other one.
//!
//! The times of the files go up with each generation, whatever the clock says. Clients that ask for
//! a file over HTTP compare those, and they say how late a date was ever shown.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use chrono::{DateTime, NaiveDateTime};

use invirtibuilder_core::names::Suite;

/// The format of dates (the Debian wiki's RepositoryFormat, "Date, Valid-Until").
const FORMAT: &str = "%a, %d %b %Y %H:%M:%S UTC";

/// The longest that a suite waits for a date of a time to come, in seconds.
const PATIENCE: i64 = 2 * 3600;

/// The most that the times of files may be ahead of their date, in seconds: publications that
/// follow each other at once move them.
const DRIFT: i64 = 60;

/// The dates that readers of a suite see, in seconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// The date of the suite's Release.
    pub date: i64,
    /// The time of the files.
    files: i64,
    /// The end of the Release's validity.
    pub until: Option<i64>,
}

/// An error in the date of a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// The Release is no longer valid since this time.
    Expired(i64),
    /// The Release is dated ahead, and that time will soon be there.
    Ahead(i64),
    /// The Release is dated far ahead.
    FarAhead(i64),
}

impl Wrong {
    /// Says in a sentence what is wrong.
    pub fn describe(self) -> String {
        match self {
            Self::Expired(at) => {
                format!("its Release was valid until {}: apt takes it no more", write(at))
            }
            Self::Ahead(at) | Self::FarAhead(at) => format!(
                "its Release is dated {}, a time to come: apt refuses it until then; was this machine's clock ahead?",
                write(at)
            ),
        }
    }
}

/// Reads what a suite shows from its files, below the archive's root; `None`: it is not there, or
/// says no date.
pub fn shown(root: &Path, suite: &Suite) -> Option<Shown> {
    let dir = root.join("dists").join(suite.as_str());
    let text = fs::read_to_string(dir.join("Release")).ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).and_then(read);
    let files = fs::metadata(dir.join("InRelease")).and_then(|about| about.modified()).ok()?;
    let files = files.duration_since(UNIX_EPOCH).ok()?.as_secs() as i64;
    Some(Shown { date: field("Date: ")?, files, until: field("Valid-Until: ") })
}

/// Returns the present time, in seconds since 1970-01-01 UTC.
pub fn clock() -> i64 {
    invirtibuilder_core::time::now() / 1000
}

/// Returns the date of the Release that comes after this one.
pub fn next(shown: Option<Shown>, clock: i64) -> i64 {
    shown.map_or(clock, |shown| shown.date.max(clock))
}

impl Shown {
    /// Finds what is wrong with the date at this time.
    pub fn wrong(self, clock: i64) -> Option<Wrong> {
        match self.date - clock {
            ahead if ahead > PATIENCE => Some(Wrong::FarAhead(self.date)),
            // apt bears ten seconds (apt.conf(5), Acquire::Max-FutureTime).
            ahead if ahead > 10 => Some(Wrong::Ahead(self.date)),
            _ => self.until.filter(|until| *until < clock).map(Wrong::Expired),
        }
    }

    /// Tells whether a later date was shown before, and that time has come: a client that has read
    /// it waits for a younger one.
    pub fn is_overdue(self, clock: i64) -> bool {
        self.date + DRIFT < self.files && self.files <= clock
    }
}

/// Writes a date as Release has it.
pub fn write(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default().format(FORMAT).to_string()
}

fn read(text: &str) -> Option<i64> {
    Some(NaiveDateTime::parse_from_str(text.trim(), FORMAT).ok()?.and_utc().timestamp())
}

#[cfg(test)]
mod tests {
    use crate::dates::*;

    fn at(date: i64, files: i64, until: Option<i64>) -> Shown {
        Shown { date, files, until }
    }

    #[test]
    fn the_next_date_is_no_earlier() {
        assert_eq!(next(None, 100), 100);
        assert_eq!(next(Some(at(90, 90, None)), 100), 100);
        assert_eq!(next(Some(at(3700, 3700, None)), 100), 3700);
    }

    #[test]
    fn what_apt_refuses_is_wrong() {
        let clock = 1_000_000;
        assert_eq!(at(clock, clock, None).wrong(clock), None);
        assert_eq!(at(clock + 10, clock, Some(clock + 11)).wrong(clock), None);
        assert_eq!(at(clock + 3600, clock, None).wrong(clock), Some(Wrong::Ahead(clock + 3600)));
        assert_eq!(
            at(clock + 86_400, clock, None).wrong(clock),
            Some(Wrong::FarAhead(clock + 86_400))
        );
        assert_eq!(
            at(clock - 100, clock, Some(clock - 1)).wrong(clock),
            Some(Wrong::Expired(clock - 1))
        );
        assert!(Wrong::Expired(0).describe().contains("valid until Thu, 01 Jan 1970 00:00:00 UTC"));
    }

    #[test]
    fn who_has_read_a_later_date_gets_one_as_soon_as_that_time_has_come() {
        let dated_by_the_clock_again = at(1000, 90_000, None);
        assert!(!dated_by_the_clock_again.is_overdue(89_999));
        assert!(dated_by_the_clock_again.is_overdue(90_000));
        assert!(!at(90_001, 90_001, None).is_overdue(90_002), "and not for ever");
        assert!(
            !at(1000, 1030, None).is_overdue(2000),
            "publications that followed each other at once"
        );
    }

    #[test]
    fn dates_are_read_as_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let (root, suite): (_, Suite) = (dir.path(), "stable".parse().unwrap());
        assert_eq!(shown(root, &suite), None);
        let dists = root.join("dists/stable");
        fs::create_dir_all(&dists).unwrap();
        fs::write(dists.join("InRelease"), "").unwrap();
        fs::write(dists.join("Release"), "Suite: stable\nDate: yesterday\n").unwrap();
        assert_eq!(shown(root, &suite), None);
        let text = format!(
            "Suite: stable\nDate: {}\nValid-Until: {}\nSHA256:\n",
            write(86_400),
            write(172_800)
        );
        fs::write(dists.join("Release"), text).unwrap();
        let found = shown(root, &suite).unwrap();
        assert_eq!((found.date, found.until), (86_400, Some(172_800)));
    }
}
