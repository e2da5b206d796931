//! The trail of everything that was decided and done: checked, shown and exported. For
//! administrators on the server.

use std::collections::VecDeque;

use anyhow::Result;

use crate::session::AtServer;
use invirtibuilder_api::audit::{
    BrokenTrail, EntriesRequest, IntactTrail, KnownHead, Recorded, TrailState,
};
use invirtibuilder_archive::{Archive, seal};
use invirtibuilder_core::names::DomainName;
use invirtibuilder_store::audit;

/// Finds an entry that was changed, removed or moved; `head` is one known from elsewhere.
pub fn verify_trail(session: &AtServer, head: Option<&KnownHead>) -> Result<TrailState> {
    let keys = Archive::open(&session.config, &DomainName::main())?.keys()?;
    let verified = match seal::verify(session.record.db(), &keys)? {
        Ok(verified) => verified,
        Err(problem) => return Ok(broken(problem)),
    };
    if let Some(problem) = head.map(|head| trouble_with(session, head)).transpose()?.flatten() {
        return Ok(broken(problem));
    }
    Ok(TrailState::Intact(IntactTrail {
        entries: verified.entries,
        ok: true,
        sealed: verified.sealed.map(|(entry, _)| entry),
        sealed_at: verified.sealed.map(|(_, at)| at),
        unknown_seals: verified.unknown,
    }))
}

fn broken(problem: String) -> TrailState {
    TrailState::Broken(BrokenTrail { ok: false, problem })
}

/// Returns what is wrong with a head that somebody else has kept.
fn trouble_with(session: &AtServer, head: &KnownHead) -> Result<Option<String>> {
    let KnownHead { entry: id, hash } = head;
    let mut found = None;
    audit::each_after(session.record.db(), id - 1, |entry| {
        found.get_or_insert(entry);
        Ok(())
    })?;
    Ok(match found {
        Some(entry) if entry.id == *id && entry.hash.eq_ignore_ascii_case(hash) => None,
        Some(_) => Some(format!(
            "entry {id} of the audit trail, or one before it, is not the one with this hash"
        )),
        None => Some(format!("entry {id} of the audit trail is missing")),
    })
}

/// Lists the entries that a request admits, the newest last.
pub fn list_entries(session: &AtServer, request: &EntriesRequest) -> Result<Vec<Recorded>> {
    let mut found = VecDeque::new();
    audit::each_after(session.record.db(), 0, |entry| {
        if admits(request, &entry) {
            found.push_back(entry);
            if found.len() > request.limit {
                found.pop_front();
            }
        }
        Ok(())
    })?;
    Ok(found.into())
}

fn admits(request: &EntriesRequest, entry: &Recorded) -> bool {
    let is = |wanted: &Option<String>, keys: &[&str]| {
        wanted.as_ref().is_none_or(|wanted| keys.iter().any(|key| entry.field(key) == Some(wanted)))
    };
    let of_kind = request.event.as_ref().is_none_or(|kind| {
        entry
            .event
            .strip_prefix(kind.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    // A decision names the pocket in its request.
    let asked = request.pocket.as_ref().map(|pocket| format!("submit to {pocket}"));
    let pocket = is(&request.pocket, &["pocket"])
        || asked.is_some_and(|asked| entry.field("request") == Some(&asked));
    let about = request.job.is_none_or(|job| entry.job == Some(job))
        && is(&request.principal, &["principal", "by"]);
    of_kind && pocket && about && entry.at >= request.since
}

/// Hands over every entry after this one, as what is exported can be long.
pub fn export_entries(
    session: &AtServer,
    after: i64,
    each: impl FnMut(Recorded) -> Result<()>,
) -> Result<()> {
    audit::each_after(session.record.db(), after, each)
}
