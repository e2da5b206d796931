//! `audit`: the trail of everything that was decided and done, checked, shown and exported. On the
//! server only.

use std::io::Write;

use anyhow::Result;

use crate::session::{CliSession, print_json};
use invirtibuilder_api::audit::{EntriesRequest, KnownHead, Recorded, TrailState};
use invirtibuilder_core::error::{Error, Exit};
use invirtibuilder_core::text;
use invirtibuilder_core::time::utc;
use invirtibuilder_service::audit;

/// What can be done with the audit trail.
#[derive(Debug, clap::Subcommand)]
pub enum Audit {
    /// Find an entry that was changed, removed or moved
    Verify {
        /// A head known from elsewhere, such as the system log of another machine
        #[arg(long, value_name = "ENTRY:HASH")]
        head: Option<String>,
    },
    /// Show entries, the newest last
    Show(Show),
    /// Print every entry as JSON, one a line
    Export {
        /// Only entries after this one
        #[arg(long, value_name = "ENTRY", default_value_t = 0)]
        after: i64,
    },
}

/// Which entries to show.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// About this job
    #[arg(long, allow_negative_numbers = true)]
    job: Option<String>,
    /// Of this kind, such as denied or job.state; 'job' stands for all that begin with 'job.'
    #[arg(long)]
    event: Option<String>,
    /// By this principal, or about them
    #[arg(long)]
    principal: Option<String>,
    /// About this pocket
    #[arg(long)]
    pocket: Option<String>,
    /// Not before this day or time (UTC), such as 2026-11-25 or 2026-11-25T10:00
    #[arg(long)]
    since: Option<String>,
    /// At most so many, the newest
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

/// Runs the verb: `verify` ends with 1 if something is wrong.
pub fn answer(session: &mut CliSession, verb: &Audit) -> Result<Exit> {
    let server = &mut session.at_server("audit")?;
    match verb {
        Audit::Verify { head } => {
            let head = head.as_deref().map(known_head).transpose()?;
            let found = audit::verify_trail(server, head.as_ref())?;
            show_trail(session, &found)
        }
        Audit::Show(args) => {
            let found = audit::list_entries(server, &args.request()?)?;
            show_entries(session, &found)
        }
        Audit::Export { after } => {
            // JSON lines: what is exported can be long.
            audit::export_entries(server, *after, |entry| {
                print_json(&mut std::io::stdout(), &entry)
            })?;
            Ok(Exit::Ok)
        }
    }
}

fn show_trail(session: &CliSession, found: &TrailState) -> Result<Exit> {
    let exit = match found {
        TrailState::Intact(_) => Exit::Ok,
        TrailState::Broken(_) => Exit::JobFailed,
    };
    if session.wants_json() {
        session.print_json(found)?;
        return Ok(exit);
    }
    match found {
        TrailState::Intact(trail) => {
            session.line(format!("{} entries, each in its place", trail.entries))?;
            session.line(match trail.sealed.zip(trail.sealed_at) {
                Some((id, at)) => format!(
                    "the archive's key has signed entry {id} and all before it, {}",
                    utc(at)
                ),
                None => "nothing is signed yet: the first publication does it".to_owned(),
            })?;
            if trail.unknown_seals > 0 {
                session.line(format!(
                    "{} signed heads are by keys that are not configured",
                    trail.unknown_seals
                ))?;
            }
        }
        TrailState::Broken(trail) => {
            writeln!(std::io::stderr(), "invirt-build: {}", text::one_line(&trail.problem))?;
        }
    }
    Ok(exit)
}

/// Reads a head as syslog has them.
fn known_head(text: &str) -> Result<KnownHead, Error> {
    let known = text.split_once(':').and_then(|(entry, hash)| {
        let entry = entry.parse::<i64>().ok().filter(|entry| *entry > 0)?;
        Some(KnownHead { entry, hash: hash.to_owned() })
    });
    known.ok_or_else(|| Error::usage("a head is written ENTRY:HASH, as syslog has them"))
}

impl Show {
    fn request(&self) -> Result<EntriesRequest, Error> {
        Ok(EntriesRequest {
            job: self.job.as_deref().map(str::parse).transpose()?,
            event: self.event.clone(),
            principal: self.principal.clone(),
            pocket: self.pocket.clone(),
            since: self.since.as_deref().map(since).transpose()?.unwrap_or(0),
            limit: self.limit,
        })
    }
}

fn show_entries(session: &CliSession, found: &[Recorded]) -> Result<Exit> {
    if session.wants_json() {
        session.print_json(&found)?;
        return Ok(Exit::Ok);
    }
    for entry in found {
        let job = entry.job.map_or_else(String::new, |job| format!(" job {job}"));
        let fields: Vec<String> =
            entry.fields().iter().map(|(key, value)| format!("{key}={value}")).collect();
        session.line(format!(
            "{:>6}  {}  {}{job}  {}",
            entry.id,
            utc(entry.at),
            entry.event,
            fields.join(" ")
        ))?;
    }
    Ok(Exit::Ok)
}

/// Reads a day or a time (UTC).
fn since(given: &str) -> Result<i64, Error> {
    let day = chrono::NaiveDate::parse_from_str(given, "%Y-%m-%d")
        .ok()
        .and_then(|day| day.and_hms_opt(0, 0, 0));
    let formats = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"];
    let time =
        formats.iter().find_map(|format| chrono::NaiveDateTime::parse_from_str(given, format).ok());
    day.or(time).map(|at| at.and_utc().timestamp_millis()).ok_or_else(|| {
        Error::usage(format!(
            "{} is no time: write 2026-11-25 or 2026-11-25T10:00",
            text::quoted(given)
        ))
    })
}

#[cfg(test)]
mod tests {
    use crate::verbs::audit::*;

    #[test]
    fn times_are_what_people_write() {
        assert_eq!(since("1970-01-02").unwrap(), 86_400_000);
        assert_eq!(since("1970-01-01T00:01").unwrap(), 60_000);
        assert_eq!(since("1970-01-01T00:00:01Z").unwrap(), 1000);
        assert!(since("yesterday").is_err());
    }
}
