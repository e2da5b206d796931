//! What every verb works with: the configuration, who asks, the record, and where output goes.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use crate::acl::{self, Authorized};
use crate::config::{self, Config};
use crate::error::Error;
use crate::log::{Log, Severity};
use crate::names::{JobId, PocketName, Principal};
use crate::record::Record;
use crate::record::audit::Entry;
use crate::record::jobs::{self, Job};
use crate::{identity, privilege, text};

/// One request being served.
pub struct Session {
    /// The configuration.
    pub config: Config,
    /// The file that it was read from.
    pub path: PathBuf,
    /// Who asks.
    pub who: Principal,
    /// Whether output is to be JSON.
    pub json: bool,
    /// The system log.
    pub log: Log,
    /// The record.
    pub record: Record,
}

impl Session {
    /// Reads the configuration, finds out who asks, gives up root, and opens the record.
    pub fn open(config: Option<&Path>, json: bool) -> Result<Self> {
        let path = config::path(config);
        let config = config::load(&path).map_err(|problems| {
            let more = problems.len() - 1;
            let also = if more == 0 { String::new() } else { format!(" ({more} more: see 'check-config')") };
            Error::config(format!("{}{also}", problems[0]))
        })?;
        let who = identity::who(&config)?;
        privilege::become_owner_of(&config.state_dir)?;
        let log = Log::open(&config.syslog);
        let record = Record::open(&config.database())?;
        Ok(Self { config, path, who, json, log, record })
    }

    /// Wakes the daemon, after a commit that gives it something to do.
    pub fn ring(&self) {
        crate::wake::ring(&self.config.wake_socket());
    }

    /// Demands that whoever asks may submit to `pocket`. A refusal goes to the system log and to the audit trail.
    pub fn authorize(&mut self, pocket: &PocketName) -> Result<Authorized> {
        match acl::authorize(&self.config, pocket, &self.who) {
            Ok(authorized) => Ok(authorized),
            Err(refusal) => {
                self.denied(&format!("submit to {pocket}"), &refusal.detail)?;
                Err(Error::denied(refusal.sentence).into())
            }
        }
    }

    /// Writes a denial down.
    pub fn denied(&mut self, what: &str, why: &str) -> Result<()> {
        let who = self.who.clone();
        self.log.event(Severity::Warning, "denied", &[("principal", who.as_str()), ("request", what), ("why", why)]);
        self.record.write(|tx| {
            Entry::new("denied").with("principal", who.as_str()).with("request", what).with("why", why).append(tx)
        })
    }

    /// Demands that whoever asks sits at the server.
    pub fn local_only(&mut self, verb: &str) -> Result<()> {
        if self.who.is_local() {
            return Ok(());
        }
        self.denied(verb, "only for administrators on the server")?;
        Err(Error::denied(format!("{verb} is for administrators in a shell on the server only")).into())
    }

    /// The job of this number.
    pub fn job(&self, id: &str) -> Result<Job> {
        let id: JobId = id.parse()?;
        let job = jobs::find(self.record.db(), id)?;
        Ok(job.ok_or_else(|| Error::invalid(format!("there is no job {id}: 'status' lists the latest")))?)
    }

    /// Prints one line of text that may hold anything.
    pub fn line(&self, line: impl Display) -> io::Result<()> {
        writeln!(io::stdout(), "{}", text::one_line(&line.to_string()))
    }

    /// Prints a value as JSON.
    pub fn print_json(&self, value: &impl Serialize) -> Result<()> {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, value).map_err(io::Error::from)?;
        writeln!(out)?;
        Ok(())
    }
}

/// Prints rows under a heading, aligned; long cells are cut so that a row fits 80 columns. Nothing is printed for no rows.
pub fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| text::one_line(cell))).collect();
    let width: [usize; N] = std::array::from_fn(|n| {
        rows.iter().map(|row| row[n].chars().count()).chain([heading[n].len()]).max().unwrap_or(0)
    });
    let mut out = io::stdout().lock();
    let bold = out.is_terminal();
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(width).map(|(cell, width)| format!("{cell:width$}"));
        let line: String = padded.collect::<Vec<_>>().join("  ").chars().take(80).collect();
        line.trim_end().to_owned()
    };
    let head = line(heading);
    if bold {
        writeln!(out, "\x1b[1m{head}\x1b[0m")?
    } else {
        writeln!(out, "{head}")?
    }
    rows.iter().try_for_each(|row| writeln!(out, "{}", line(row.each_ref().map(String::as_str))))
}

/// A time of the record for people: UTC, to the second.
pub fn time(at: i64) -> String {
    chrono::DateTime::from_timestamp_millis(at)
        .map_or_else(|| at.to_string(), |at| at.format("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// A span of milliseconds for people, such as `42s` or `1h03m`.
pub fn span(ms: i64) -> String {
    let s = ms.max(0) / 1000;
    match (s / 3600, s / 60 % 60, s % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}
