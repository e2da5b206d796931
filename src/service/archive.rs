//! The archive's suites as they were and back to it, what need not be kept, what is let go, and who
//! answers for a build. For administrators on the server.

use anyhow::Result;
use rusqlite::{Connection, Transaction};

use crate::session::{AtServer, Session};
use invirtibuilder_api::archive::{
    Collected, Committed, LetGo, ReleaseRequest, Relocated, RelocationRequest, RollbackRequest,
    RolledBack, Snapshot, VouchRequest, VouchRevoked,
};
use invirtibuilder_api::builds::Build;
use invirtibuilder_core::config::{Config, ConfiguredPocket};
use invirtibuilder_core::domain::{Identity, SuiteId};
use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::{DomainName, PackageName, PocketName, Principal, Suite, Version};
use invirtibuilder_core::text;
use invirtibuilder_publish::Publisher;
use invirtibuilder_store::audit::AuditEntry;
use invirtibuilder_store::builds;
use invirtibuilder_store::{contents, domains, pockets, snapshots};

/// The longest reason.
const LONGEST_REASON: usize = 1000;

/// Lists the published states of a suite, the newest first. `suite` is `SUITE` or `DOMAIN/SUITE`.
pub fn list_snapshots(session: &AtServer, suite: &str) -> Result<Vec<Snapshot>> {
    let db = session.record.db();
    snapshots::of_suite(db, &find_suite(db, suite)?)
}

/// Finds the suite that somebody calls so: the one of this domain, else the only one of this name,
/// else main's.
fn find_suite(db: &Connection, name: &str) -> Result<SuiteId> {
    let all = contents::suites(db)?;
    let found: Vec<&SuiteId> = if name.contains('/') {
        let id: SuiteId = name.parse()?;
        all.iter().filter(|suite| **suite == id).collect()
    } else {
        let name: Suite = name.parse()?;
        all.iter().filter(|suite| suite.suite == name).collect()
    };
    let main = found.iter().find(|suite| suite.domain.is_main());
    match (&found[..], main) {
        ([one], _) | (_, Some(one)) => Ok((*one).clone()),
        ([], _) => {
            let name = text::quoted(name);
            Err(Error::invalid(format!("there is no suite {name}: 'pockets' lists them")).into())
        }
        (several, None) => {
            let several: Vec<String> = several.iter().map(ToString::to_string).collect();
            let text = format!("several domains have such a suite: write {}", several.join(" or "));
            Err(Error::usage(text).into())
        }
    }
}

/// Finds the domain whose version somebody means that is known so: the one that they name, else the
/// only one, else main's.
fn find_version(
    session: &Session,
    (package, version): (&PackageName, &Version),
    domain: Option<&str>,
) -> Result<Identity> {
    let id = |domain: DomainName| {
        let (package, version) = (package.clone(), version.clone());
        Identity { domain, package, version }
    };
    let config = &session.config;
    if let Some(name) = domain {
        let domain: DomainName = name.parse()?;
        if config.archive_of(&domain).is_none() {
            let known: Vec<String> =
                config.domains().map(|(domain, _)| domain.to_string()).collect();
            let text = format!("there is no domain {domain}: the domains are {}", known.join(", "));
            return Err(Error::invalid(text).into());
        }
        return Ok(id(domain));
    }
    let mut found = Vec::new();
    for (domain, _) in config.domains() {
        if pockets::known(session.record.db(), &id(domain.clone()))?.is_some() {
            found.push(domain);
        }
    }
    match &found[..] {
        [one] => Ok(id(one.clone())),
        [] => Ok(id(DomainName::main())),
        several if several.iter().any(DomainName::is_main) => Ok(id(DomainName::main())),
        several => {
            let several: Vec<String> = several.iter().map(ToString::to_string).collect();
            let text = format!(
                "several domains have {package} {version}: write --domain with {}",
                several.join(" or ")
            );
            Err(Error::usage(text).into())
        }
    }
}

/// Takes a suite, its pocket's branches and the superproject back to a snapshot.
pub fn roll_back_suite(
    session: &mut AtServer,
    request: &RollbackRequest,
) -> Result<Committed<RolledBack>> {
    let RollbackRequest { suite, number } = request;
    let suite = find_suite(session.record.db(), suite)?;
    let publisher = open(session)?;
    let (change, troubles) = publisher.rollback(&session.config, &suite, *number, &session.who)?;
    tracing::warn!(%suite, to = number, by = session.who.as_str(), "rollback");
    Ok(Committed { change, troubles })
}

/// Opens what publishes, unless a pocket is elsewhere than the configuration says.
fn open(session: &Session) -> Result<Publisher> {
    domains::demand(session.record.db(), &session.config)?;
    Publisher::open(&session.config)
}

/// Forgets the snapshots that `archive.keep` does not keep, and removes what nothing needs.
pub fn collect_garbage(session: &mut AtServer) -> Result<Collected> {
    Ok(open(session)?.collect(&session.config, &session.who)?)
}

/// Lets a version go that no suite shows and only pockets with `allow_backtracking` ever had.
pub fn release_version(
    session: &mut AtServer,
    request: &ReleaseRequest,
) -> Result<Committed<LetGo>> {
    let ReleaseRequest { package, version, domain, reason } = request;
    let id = find_version(session, (package, version), domain.as_deref())?;
    let reason = one_line(reason)?;
    let (change, troubles) = open(session)?.release(&session.config, &id, reason, &session.who)?;
    let (domain, commit) = (&id.domain, &change.commit);
    tracing::warn!(%domain, %package, %version, %commit, by = session.who.as_str(), reason, "release");
    Ok(Committed { change, troubles })
}

/// Moves a pocket into the domain that the configuration puts it into.
pub fn relocate_pocket(
    session: &mut AtServer,
    request: &RelocationRequest,
) -> Result<Committed<Relocated>> {
    let config = session.config.clone();
    let pocket = config.pocket(&request.pocket)?;
    let domain: DomainName = request.domain.parse()?;
    if *pocket.domain() != domain {
        let text = format!(
            "the configuration puts pocket {pocket} into domain {}: write domain: {domain} there first",
            pocket.domain()
        );
        return Err(Error::config(text).into());
    }
    let publisher = Publisher::open(&config)?;
    let (change, troubles) = publisher.relocate(&config, pocket, &session.who)?;
    let by = session.who.as_str();
    tracing::warn!(pocket = %pocket.name(), from = %change.from, to = %domain, by, "moved");
    session.ring();
    Ok(Committed { change, troubles })
}

/// Answers for a build, so that a pocket may have it that could not have made it itself.
pub fn vouch_for_build(session: &mut AtServer, request: &VouchRequest) -> Result<Build> {
    let config = session.config.clone();
    let word = Word::check(session, &config, request)?;
    let by = session.who.clone();
    let build = session.write(|tx| {
        let build = word.build(tx)?;
        builds::vouch(tx, &word.id, word.pocket, &by, word.reason)?;
        word.entry("archive.vouch", &build, &by).append(tx)?;
        Ok(build)
    })?;
    word.log(session, "vouch", &build);
    Ok(build)
}

/// Takes back what was said of a build. Pockets keep what they have already.
pub fn revoke_vouch(session: &mut AtServer, request: &VouchRequest) -> Result<VouchRevoked> {
    let config = session.config.clone();
    let word = Word::check(session, &config, request)?;
    let (id, pocket) = (word.id.clone(), word.pocket);
    let by = session.who.clone();
    let revoked = session.write(|tx| {
        let build = word.build(tx)?;
        let taken = builds::take_back(tx, &id, pocket)?;
        let holds_for_all = match pocket {
            Some(pocket) => builds::vouched(tx, &id, pocket)?.is_some(),
            None => false,
        };
        if taken == 0 {
            let text = match holds_for_all {
                true => format!(
                    "what is said of {id} is for every pocket: take it back without --pocket"
                ),
                false => format!("nobody answers for {id} for {}", word.whose()),
            };
            return Err(Error::invalid(text).into());
        }
        word.entry("archive.vouch-revoked", &build, &by).append(tx)?;
        Ok(VouchRevoked { build, holds_for_all })
    })?;
    word.log(session, "vouch-revoked", &revoked.build);
    Ok(revoked)
}

/// What an administrator says of a build, and why: it was looked at.
struct Word<'a> {
    id: Identity,
    /// For whom; `None`: every pocket of the domain.
    pocket: Option<&'a PocketName>,
    reason: &'a str,
}

impl<'a> Word<'a> {
    fn check(session: &Session, config: &'a Config, request: &'a VouchRequest) -> Result<Self> {
        let VouchRequest { package, version, pocket, domain, reason } = request;
        let pocket = pocket.as_deref().map(|pocket| config.pocket(pocket)).transpose()?;
        let of_pocket = pocket.map(|pocket| pocket.domain().as_str());
        let domain = domain.as_deref().or(of_pocket);
        let id = find_version(session, (package, version), domain)?;
        if let Some(pocket) = pocket.filter(|pocket| *pocket.domain() != id.domain) {
            let text = format!(
                "{pocket} is in domain {}, and takes no build of domain {}: nothing is copied between domains",
                pocket.domain(),
                id.domain
            );
            return Err(Error::invalid(text).into());
        }
        Ok(Self { id, pocket: pocket.map(ConfiguredPocket::name), reason: one_line(reason)? })
    }

    fn whose(&self) -> &str {
        self.pocket.map_or("every pocket", PocketName::as_str)
    }

    fn build(&self, tx: &Transaction) -> Result<Build> {
        let build = builds::of_version(tx, &self.id)?;
        let text = format!(
            "the archive has no {}: 'history {}' shows what it had",
            self.id, self.id.package
        );
        Ok(build.ok_or_else(|| Error::invalid(text))?)
    }

    fn entry(&self, event: &'static str, build: &Build, by: &Principal) -> AuditEntry {
        AuditEntry::new(event)
            .job(build.job)
            .with("by", by.as_str())
            .with("domain", self.id.domain.as_str())
            .with("package", self.id.package.as_str())
            .with("version", self.id.version.as_str())
            .with("pocket", self.whose())
            .with("reason", self.reason)
    }

    fn log(&self, session: &Session, event: &str, build: &Build) {
        tracing::warn!(
            domain = %self.id.domain,
            package = %self.id.package,
            version = %self.id.version,
            job = %build.job,
            pocket = self.whose(),
            by = session.who.as_str(),
            reason = self.reason,
            "{event}"
        );
    }
}

/// Demands that a reason that a person gave is a line of text.
fn one_line(reason: &str) -> Result<&str, Error> {
    let reason = reason.trim();
    if reason.is_empty() || reason.len() > LONGEST_REASON || reason.contains(char::is_control) {
        let text =
            format!("--reason is a line of text that says why, of at most {LONGEST_REASON} bytes");
        return Err(Error::usage(text));
    }
    Ok(reason)
}
