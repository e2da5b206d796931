//! What every verb works with: the configuration, who asks, the record, and where output goes.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use rusqlite::Transaction;
use serde::Serialize;

use crate::acl::{self, Authorized};
use crate::config::{self, AclEntry, Config};
use crate::error::Error;
use crate::followers::Place;
use crate::identity::{self, Caller};
use crate::log::{Log, Severity};
use crate::names::{JobId, PocketName, Principal};
use crate::record::Record;
use crate::record::audit::Entry;
use crate::record::jobs::{self, Job};
use crate::{privilege, text};

/// One request being served.
pub struct Session {
    /// The configuration.
    pub config: Arc<Config>,
    /// The file that it was read from.
    pub path: PathBuf,
    /// Who asks.
    pub who: Principal,
    /// Whether output is to be JSON.
    pub json: bool,
    /// The system log.
    pub log: Log,
    /// The record, for reading; [`Session::write`] changes it.
    pub record: Record,
    via: &'static str,
    decided: Vec<Entry>,
}

impl Session {
    /// Reads the configuration, finds out who asks, gives up root, and opens the record.
    pub fn open(config: Option<&Path>, json: bool, caller: &Caller) -> Result<Self> {
        let path = config::path(config);
        let config = config::load(&path).map_err(|problems| {
            let more = problems.len() - 1;
            let also = if more == 0 { String::new() } else { format!(" ({more} more: see 'check-config')") };
            Error::config(format!("{}{also}", problems[0]))
        })?;
        let who = identity::who(&config, caller)?;
        privilege::become_owner_of(&config.state_dir)?;
        let log = Log::open(&config.syslog);
        let record = Record::open(&config.database())?.mirrored(Log::open(&config.syslog));
        Ok(Self { config: Arc::new(config), path, who, json, log, record, via: caller.as_str(), decided: Vec::new() })
    }

    /// By which way whoever asks has come, in one word.
    pub fn via(&self) -> &'static str {
        self.via
    }

    /// A place among those who follow jobs, for whoever asks.
    pub fn place(&self) -> Result<Place> {
        Place::take(&self.config.followers(), &self.who, self.config.clients.followers)
    }

    /// Wakes the daemon, after a commit that gives it something to do.
    pub fn ring(&self) {
        crate::wake::ring(&self.config.wake_socket());
    }

    /// Changes the record, in one transaction. Decisions that are not yet in the audit trail go in before.
    pub fn write<T>(&mut self, change: impl FnOnce(&Transaction) -> Result<T>) -> Result<T> {
        let decided = &self.decided;
        let done = self.record.write(|tx| {
            decided.iter().try_for_each(|entry| entry.append(tx))?;
            change(tx)
        });
        if done.is_ok() {
            self.decided.clear();
        }
        done
    }

    /// Demands that whoever asks may submit to `pocket`. The decision goes to the system log and to the audit trail.
    pub fn authorize(&mut self, pocket: &PocketName) -> Result<Authorized> {
        let request = format!("submit to {pocket}");
        match acl::authorize(&self.config, pocket, &self.who) {
            Ok(authorized) => {
                self.decide(true, &request, authorized.why());
                Ok(authorized)
            }
            Err(refusal) => {
                self.decide(false, &request, &refusal.detail);
                Err(Error::denied(refusal.sentence).into())
            }
        }
    }

    /// Demands that whoever asks may submit to `pocket` with priority.
    pub fn authorize_priority(&mut self, pocket: &PocketName) -> Result<()> {
        let config = self.config.clone();
        let explained =
            acl::explain_entries(&config, pocket.as_str(), &config.build.pockets[pocket].priority, &self.who);
        self.decide(explained.admitted, &format!("priority in {pocket}"), &explained.to_string());
        if explained.admitted {
            return Ok(());
        }
        let text = format!(
            "{} may not submit to {pocket} with --priority: leave it out, and the job waits its turn",
            self.who
        );
        Err(Error::denied(text).into())
    }

    /// Whether whoever asks may cancel any job. Only that they may is written down: if not, others decide.
    pub fn is_operator(&mut self) -> bool {
        let config = self.config.clone();
        let explained = acl::explain_entries(&config, "operators", &config.acl.operators, &self.who);
        if explained.admitted {
            self.decide(true, "cancel any job", &explained.to_string());
        }
        explained.admitted
    }

    /// Demands that a list of entries admits whoever asks; `may_not` is what they are told if it does not.
    pub fn authorize_entries(&mut self, subject: &str, entries: &[AclEntry], may_not: &str) -> Result<()> {
        let explained = acl::explain_entries(&self.config, subject, entries, &self.who);
        self.decide(explained.admitted, subject, &explained.to_string());
        if explained.admitted { Ok(()) } else { Err(Error::denied(format!("{} {may_not}", self.who)).into()) }
    }

    /// Tells the system log of a decision at once, and the audit trail with the next change or at the end.
    fn decide(&mut self, admitted: bool, request: &str, why: &str) {
        let (event, severity) = if admitted { ("allowed", Severity::Info) } else { ("denied", Severity::Warning) };
        let fields = [("principal", self.who.as_str()), ("request", request), ("via", self.via), ("why", why)];
        self.log.event(severity, event, &fields);
        let entry = fields.iter().fold(Entry::new(event), |entry, (key, value)| entry.with(key, *value));
        self.decided.push(entry);
    }

    /// Demands that whoever asks sits at the server.
    pub fn local_only(&mut self, verb: &str) -> Result<()> {
        if self.who.is_local() {
            return Ok(());
        }
        self.decide(false, verb, "only for administrators on the server");
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

impl Drop for Session {
    /// What was decided is written down even if nothing came of it.
    fn drop(&mut self) {
        if !self.decided.is_empty() {
            if let Err(error) = self.write(|_| Ok(())) {
                let why = format!("{error:#}");
                self.log.event(Severity::Error, "trouble", &[("what", "a decision cannot be recorded"), ("why", &why)]);
            }
        }
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
