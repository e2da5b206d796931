//! `audit`: the trail of everything that was decided and done, checked, shown and exported. On the server only.

use std::io::Write;

use anyhow::Result;
use serde_json::json;

use crate::archive::Archive;
use crate::error::{Error, Exit};
use crate::names::JobId;
use crate::record::audit::{self, Recorded};
use crate::record::seal;
use crate::session::{Session, time};

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
pub fn run(session: &mut Session, verb: &Audit) -> Result<Exit> {
    session.local_only("audit")?;
    match verb {
        Audit::Verify { head } => verify(session, head.as_deref()),
        Audit::Show(args) => show(session, args),
        Audit::Export { after } => export(session, *after),
    }
}

fn verify(session: &Session, head: Option<&str>) -> Result<Exit> {
    let keys = Archive::open(&session.config)?.keys()?;
    let found = match seal::verify(session.record.db(), &keys)? {
        Ok(verified) => match head.map(|head| is_head(session, head)).transpose()?.flatten() {
            Some(why) => Err(why),
            None => Ok(verified),
        },
        Err(why) => Err(why),
    };
    if session.json {
        session.print_json(&match &found {
            Ok(verified) => json!({
                "ok": true, "entries": verified.entries, "sealed": verified.sealed.map(|sealed| sealed.0),
                "unknown_seals": verified.unknown,
            }),
            Err(why) => json!({ "ok": false, "problem": why }),
        })?;
    }
    match found {
        Ok(_) if session.json => {}
        Ok(verified) => {
            session.line(format!("{} entries, each in its place", verified.entries))?;
            session.line(match verified.sealed {
                Some((id, at)) => format!("the archive's key has signed entry {id} and all before it, {}", time(at)),
                None => "nothing is signed yet: the first publication does it".to_owned(),
            })?;
            if verified.unknown > 0 {
                session.line(format!("{} signed heads are by keys that are not configured", verified.unknown))?;
            }
        }
        Err(_) if session.json => return Ok(Exit::JobFailed),
        Err(why) => {
            writeln!(std::io::stderr(), "invirt-build: {}", crate::text::one_line(&why))?;
            return Ok(Exit::JobFailed);
        }
    }
    Ok(Exit::Ok)
}

/// What is wrong with a head that somebody else has kept.
fn is_head(session: &Session, head: &str) -> Result<Option<String>> {
    let known = head.split_once(':').and_then(|(id, hash)| Some((id.parse::<i64>().ok().filter(|id| *id > 0)?, hash)));
    let (id, hash) = known.ok_or_else(|| Error::usage("a head is written ENTRY:HASH, as syslog has them"))?;
    let mut found = None;
    audit::each_after(session.record.db(), id - 1, |entry| {
        found.get_or_insert(entry);
        Ok(())
    })?;
    Ok(match found {
        Some(entry) if entry.id == id && entry.hash.eq_ignore_ascii_case(hash) => None,
        Some(_) => Some(format!("entry {id} of the audit trail, or one before it, is not the one with this hash")),
        None => Some(format!("entry {id} of the audit trail is missing")),
    })
}

impl Show {
    fn wants(&self, entry: &Recorded, job: Option<JobId>, since: i64) -> bool {
        let is = |wanted: &Option<String>, keys: &[&str]| {
            wanted.as_ref().is_none_or(|wanted| keys.iter().any(|key| entry.field(key) == Some(wanted)))
        };
        let of_kind = self.event.as_ref().is_none_or(|kind| {
            entry.event.strip_prefix(kind.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        // A decision names the pocket in its request.
        let request = self.pocket.as_ref().map(|pocket| format!("submit to {pocket}"));
        let pocket = is(&self.pocket, &["pocket"]) || request.is_some_and(|r| entry.field("request") == Some(&r));
        let about = job.is_none_or(|job| entry.job == Some(job)) && is(&self.principal, &["principal", "by"]);
        of_kind && pocket && about && entry.at >= since
    }
}

fn show(session: &Session, args: &Show) -> Result<Exit> {
    let job = args.job.as_deref().map(str::parse::<JobId>).transpose()?;
    let since = args.since.as_deref().map(since).transpose()?.unwrap_or(0);
    let mut found = std::collections::VecDeque::new();
    audit::each_after(session.record.db(), 0, |entry| {
        if args.wants(&entry, job, since) {
            found.push_back(entry);
            if found.len() > args.limit {
                found.pop_front();
            }
        }
        Ok(())
    })?;
    if session.json {
        session.print_json(&found)?;
        return Ok(Exit::Ok);
    }
    for entry in &found {
        let job = entry.job.map_or_else(String::new, |job| format!(" job {job}"));
        let fields: Vec<String> = entry.fields().iter().map(|(key, value)| format!("{key}={value}")).collect();
        session.line(format!("{:>6}  {}  {}{job}  {}", entry.id, time(entry.at), entry.event, fields.join(" ")))?;
    }
    Ok(Exit::Ok)
}

fn since(text: &str) -> Result<i64, Error> {
    let day = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|day| day.and_hms_opt(0, 0, 0));
    let formats = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"];
    let time = formats.iter().find_map(|format| chrono::NaiveDateTime::parse_from_str(text, format).ok());
    day.or(time).map(|at| at.and_utc().timestamp_millis()).ok_or_else(|| {
        Error::usage(format!("{} is no time: write 2026-11-25 or 2026-11-25T10:00", crate::text::quoted(text)))
    })
}

/// JSON lines: what is exported can be long.
fn export(session: &Session, after: i64) -> Result<Exit> {
    audit::each_after(session.record.db(), after, |entry| session.print_json(&entry))?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_what_people_write() {
        assert_eq!(since("1970-01-02").unwrap(), 86_400_000);
        assert_eq!(since("1970-01-01T00:01").unwrap(), 60_000);
        assert_eq!(since("1970-01-01T00:00:01Z").unwrap(), 1000);
        assert!(since("yesterday").is_err());
    }
}
