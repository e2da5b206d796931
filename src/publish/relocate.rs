//! Moves a pocket into another domain: its suite is written into that one's archive with all that it
//! shows now, and leaves the archive that it was in. Branch and superproject stay where they are.
//!
//! Files are copied and not linked: whoever can write to the files of one domain's archive shall
//! have no hand in those of another.

use anyhow::Result;

use crate::publication::{MovedVersion, Publication, Relocation};
use crate::{items, suite_spec, tags};
use invirtibuilder_api::archive::Relocated;
use invirtibuilder_api::pocket::Held;
use invirtibuilder_archive::{Archive, Foreseen, SuiteChange};
use invirtibuilder_core::config::{Config, ConfiguredPocket};
use invirtibuilder_core::domain::{Identity, SuiteId};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::names::{CommitId, DomainName, Principal, Version};
use invirtibuilder_store::audit::AuditEntry;
use invirtibuilder_store::contents::{self, Content};
use invirtibuilder_store::pockets::{self, Clash, KnownVersion};
use invirtibuilder_store::{Record, beside, domains, jobs, released, relocation};
use invirtibuilder_system::unsynced::Unsynced;

/// Copies everything that a pocket has into the pool of the domain that the configuration puts it
/// into, and writes its suite there. Refuses, naming it, what that domain cannot take.
pub fn prepare(
    config: &Config,
    record: &mut Record,
    pocket: ConfiguredPocket,
    by: &Principal,
) -> Result<(Publication, Relocated), Failure> {
    let name = pocket.name();
    let Some(domain) = domains::of_pocket(record.db(), name)? else {
        let text = format!("the record does not know pocket {name} yet: start the daemon");
        return Err(Failure::new(FailureKind::Invalid, text));
    };
    let to = pocket.suite();
    let from = SuiteId { domain, suite: to.suite.clone() };
    check(record, pocket, &from)?;
    let (old, new) = (Archive::open(config, &from.domain)?, Archive::open(config, &to.domain)?);
    let relocation = Relocation { pocket: name.clone(), from, to, versions: Vec::new() };
    let entry = AuditEntry::new("archive.move")
        .with("pocket", name.as_str())
        .with("from", relocation.from.domain.as_str())
        .with("to", relocation.to.domain.as_str())
        .with("by", by.as_str());
    let mut publication = Publication {
        note: format!("moved from domain {} by {by}", relocation.from.domain),
        entry: Some(entry),
        ..Publication::default()
    };
    let unsynced = Unsynced::default();
    let mut part = RelocatedPart { config, pocket, by, relocation, changes: Vec::new() };
    for held in pockets::all(record.db())?.into_iter().filter(|held| held.pocket == *name) {
        let content = part.take(record, &held)?;
        items::intend(record, &content.id.domain, content.paths())?;
        new.transfer(&old, &content, &unsynced)?;
        part.changes.push(SuiteChange::Put(content));
        publication.refs.extend(part.refs(&held)?.into_iter().map(|mv| (None, mv)));
    }
    let prepared = new.prepare_foreseen(
        record.db(),
        &suite_spec(pocket),
        &part.changes,
        (&Foreseen::default(), unsynced),
    )?;
    publication.suites.push((None, prepared));
    let RelocatedPart { relocation, .. } = part;
    let moved = Relocated {
        pocket: name.clone(),
        from: relocation.from.domain.clone(),
        suite: relocation.to.clone(),
        versions: relocation
            .versions
            .iter()
            .map(|moved| (moved.to.package.clone(), moved.to.version.clone()))
            .collect(),
    };
    publication.relocation = Some(relocation);
    Ok((publication, moved))
}

/// Refuses to move a pocket that is at work, or that is not where the caller thinks.
fn check(record: &Record, pocket: ConfiguredPocket, from: &SuiteId) -> Result<(), Failure> {
    let refuse = |text: String| Err(Failure::new(FailureKind::Invalid, text));
    let to = pocket.domain();
    if from.domain == *to {
        return refuse(format!(
            "pocket {pocket} is in domain {to} already: to move it, change domain: in the configuration first"
        ));
    }
    let open = jobs::open(record.db())?;
    if let Some(job) = open.iter().find(|job| job.pocket == *pocket.name()) {
        return refuse(format!(
            "job {} of pocket {pocket} is {}: cancel it, or wait for its end",
            job.id, job.state
        ));
    }
    let has_suite = contents::suite(record.db(), from)?.is_some();
    if !has_suite && pockets::count(record.db(), pocket.name())? > 0 {
        return refuse(format!(
            "domain {} has no suite {}, which the configuration names for {pocket}: do not change apt: together with domain:",
            from.domain, from.suite
        ));
    }
    Ok(())
}

/// What is prepared of a move.
struct RelocatedPart<'a> {
    config: &'a Config,
    pocket: ConfiguredPocket<'a>,
    by: &'a Principal,
    relocation: Relocation,
    changes: Vec<SuiteChange>,
}

impl RelocatedPart<'_> {
    /// Makes what the other domain's archive shall have of a version, after checking that it can.
    fn take(&mut self, record: &Record, held: &Held) -> Result<Content, Failure> {
        let db = record.db();
        let Relocation { from, to, .. } = &self.relocation;
        let id = |domain: &DomainName| Identity {
            domain: domain.clone(),
            package: held.package.clone(),
            version: held.version.clone(),
        };
        let (old, new) = (id(&from.domain), id(&to.domain));
        let lost = || {
            let text = format!("the record has nothing of {old} any more: 'verify' says more");
            Failure::new(FailureKind::Conflict, text)
        };
        let mut content = contents::content(db, &old)?.ok_or_else(lost)?;
        let known = pockets::known(db, &old)?.ok_or_else(lost)?;
        if let Some(changes) = beside::changes(db, from, &old)? {
            content.changes = changes;
        }
        let own = format!("changes/{}/", from.suite);
        content.beside.retain(|it| it.path.starts_with(&own) || it.path.starts_with("changelogs/"));
        content.id = new.clone();
        let known = match clash(record, &content, &known)? {
            Some(there) => there,
            None => KnownVersion {
                tag: None,
                tag_name: self.config.tag(self.pocket.name()).tag(&new.version),
                ..known
            },
        };
        self.relocation.versions.push(MovedVersion { from: old, to: new, known });
        Ok(content)
    }

    /// Makes the moves of mark and tag of the version that was taken last, and keeps its tag.
    fn refs(&mut self, held: &Held) -> Result<Vec<invirtibuilder_git::Move>, Failure> {
        let Some(moved) = self.relocation.versions.last_mut() else { return Ok(Vec::new()) };
        let repo = self.config.git.package(&held.package);
        let (tags, from) = (!self.pocket.settings().allow_backtracking, &moved.from.domain);
        let message = tags.then(|| {
            format!(
                "{0} {1}\n\nPackage: {0}\nVersion: {1}\nCommit: {2}\nPocket: {3}\nPrincipal: {4}\nJob: {5}\nMoved-From-Domain: {from}\n",
                held.package, held.version, held.commit, held.pocket, self.by, held.job
            )
        });
        let (tag, moves) =
            tags::moves(self.config, &repo, &moved.to.domain, &moved.known, message.as_deref())?;
        moved.known.tag = tag.or(moved.known.tag.take());
        Ok(moves)
    }
}

/// Refuses a version that the other domain has otherwise, or has let go. Returns what it has of the
/// version, if it has it alike.
fn clash(
    record: &Record,
    content: &Content,
    known: &KnownVersion,
) -> Result<Option<KnownVersion>, Failure> {
    let (db, id) = (record.db(), &content.id);
    let refuse = |why: String| {
        let text = format!(
            "{} {} cannot come into domain {}: {why}: submit another version to the pocket first",
            id.package, id.version, id.domain
        );
        Failure::new(FailureKind::Conflict, text)
    };
    let there = pockets::known(db, id)?;
    match &there {
        Some(there) if there.commit != known.commit => {
            let (theirs, ours) = (there.commit.short(), known.commit.short());
            return Err(refuse(format!("it is commit {theirs} there, and {ours} here")));
        }
        Some(there) if there.distro != known.distro => {
            let text =
                format!("it was built for {} there, and for {} here", there.distro, known.distro);
            return Err(refuse(text));
        }
        Some(_) => {}
        None => new_there(record, id, &known.commit).map_err(refuse)?,
    }
    if let Some(rival) = jobs::live_rival(db, id, &known.commit)? {
        return Err(refuse(format!("job {} is bringing it from another commit there", rival.id)));
    }
    if contents::content(db, id)?.is_some_and(|had| had.files != content.files) {
        return Err(refuse("it was built there too, with other files".to_owned()));
    }
    if relocation::has_other_dsc(db, id, content)? {
        return Err(refuse("it had another source package there".to_owned()));
    }
    for file in &content.files {
        Archive::fits_pool(db, &id.domain, file).map_err(|failure| refuse(failure.text))?;
    }
    let others = beside::of_version(db, id)?;
    let differs = |it: &&beside::Beside| others.iter().any(|had| had.path == it.path && had != *it);
    if let Some(other) = content.beside.iter().find(differs) {
        return Err(refuse(format!("{} is something else there", other.path)));
    }
    Ok(there)
}

/// Says why a domain cannot have a version that it has not; `Ok`: it can.
fn new_there(record: &Record, id: &Identity, commit: &CommitId) -> Result<(), String> {
    let db = record.db();
    let said = |error: anyhow::Error| format!("{error:#}");
    if let Some((other, clash)) = pockets::clashing(db, id).map_err(said)? {
        return Err(clashes(&other, clash));
    }
    match released::of_commit(db, id, commit).map_err(said)? {
        Some(old) => Err(format!("it was let go there by {}", old.by)),
        None => Ok(()),
    }
}

fn clashes(other: &Version, clash: Clash) -> String {
    match clash {
        Clash::Same => format!("it is the same as {other} to apt and dpkg, which is there"),
        Clash::Files => format!("it has the same file names as {other}, which is there"),
    }
}
