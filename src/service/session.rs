//! What every use case works with: the configuration, the caller, and the record.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use rusqlite::Transaction;

use invirtibuilder_access::acl::{self, Authorized};
use invirtibuilder_access::grant::Grant;
use invirtibuilder_access::identity::{self, Caller};
use invirtibuilder_api::job::Job;
use invirtibuilder_api::tokens::TokenVerb;
use invirtibuilder_core::config::{self, AclEntry, Config};
use invirtibuilder_core::error::Error;
use invirtibuilder_core::names::{JobId, PocketName, Principal};
use invirtibuilder_store::Record;
use invirtibuilder_store::audit::AuditEntry;
use invirtibuilder_store::jobs;
use invirtibuilder_store::kept_open::LentRecord;
use invirtibuilder_system::followers::FollowerPlace;
use invirtibuilder_system::{log, privilege};

/// One request of a caller, while the service serves it.
pub struct Session {
    /// The configuration.
    pub config: Arc<Config>,
    /// The file that it was read from.
    pub path: PathBuf,
    /// Who asks.
    pub who: Principal,
    /// The record, for reading; [`Session::write`] changes it.
    pub record: LentRecord,
    via: &'static str,
    grant: Grant,
    decided: Vec<AuditEntry>,
    _place: Option<FollowerPlace>,
}

impl Session {
    /// Reads the configuration, finds out who asks, gives up root, and opens the record.
    pub fn open(config: Option<&Path>, caller: &Caller) -> Result<Self> {
        let path = config::path(config);
        let config = load(&path)?;
        let who = identity::who(&config, caller)?;
        privilege::become_owner_of(&config.state_dir)?;
        log::install(&config.syslog);
        let record = Record::open(&config.database())?.mirrored();
        Ok(Self::new(Arc::new(config), path, who, record.into(), caller))
    }

    /// Makes a session of what is open already.
    pub(crate) fn new(
        config: Arc<Config>,
        path: PathBuf,
        who: Principal,
        record: LentRecord,
        caller: &Caller,
    ) -> Self {
        let (via, grant) = (caller.as_str(), caller.grant().clone());
        Self { config, path, who, record, via, grant, decided: Vec::new(), _place: None }
    }

    /// Returns the rights that the request may use.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Demands that the request may use its caller's right to do this, in this pocket if it is
    /// about one. Whether the caller has that right is for [`Session::authorize`] to say.
    pub fn demand(&self, verb: TokenVerb, pocket: Option<&PocketName>) -> Result<()> {
        Ok(self.grant.demand(verb, pocket)?)
    }

    /// Names the way by which the caller has come, in one word.
    pub fn via(&self) -> &'static str {
        self.via
    }

    /// Takes a place among those who follow jobs, for the caller. They keep it until the session
    /// ends.
    pub(crate) fn take_place(&mut self) -> Result<()> {
        let most = self.config.clients.followers;
        self._place = Some(FollowerPlace::take(&self.config.followers(), &self.who, most)?);
        Ok(())
    }

    /// Wakes the daemon, after a commit that gives it something to do.
    pub fn ring(&self) {
        invirtibuilder_system::wake::ring(&self.config.wake_socket());
    }

    /// Changes the record, in one transaction. Decisions that are not yet in the audit trail go in
    /// before.
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

    /// Does what [`Session::write`] does, together with other sessions of this process that do so
    /// at the same time.
    pub fn write_together<T: Send + 'static>(
        &mut self,
        change: impl FnOnce(&Transaction) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let decided = self.decided.clone();
        let done = self.record.write_together(move |tx| {
            decided.iter().try_for_each(|entry| entry.append(tx))?;
            change(tx)
        });
        if done.is_ok() {
            self.decided.clear();
        }
        done
    }

    /// Demands that the caller may submit to `pocket`. The decision goes to the system log and to
    /// the audit trail.
    pub fn authorize(&mut self, pocket: &PocketName) -> Result<Authorized> {
        if !self.grant.admits(pocket) {
            return Err(Error::denied(format!("this request changes nothing in {pocket}")).into());
        }
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

    /// Demands that the caller may submit to `pocket` with priority.
    pub fn authorize_priority(&mut self, pocket: &PocketName) -> Result<()> {
        let config = self.config.clone();
        let entries = &config.pocket(pocket.as_str())?.settings().priority;
        let explained = acl::explain_entries(&config, pocket.as_str(), entries, &self.who);
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

    /// Tells whether the principal may cancel any job. Only that they may is written down: if not,
    /// others decide.
    pub fn is_operator(&mut self) -> bool {
        let config = self.config.clone();
        let explained =
            acl::explain_entries(&config, "operators", &config.acl.operators, &self.who);
        if explained.admitted {
            self.decide(true, "cancel any job", &explained.to_string());
        }
        explained.admitted
    }

    /// Demands that a list of entries admits the caller; `may_not` is what they are told if it
    /// does not.
    pub fn authorize_entries(
        &mut self,
        subject: &str,
        entries: &[AclEntry],
        may_not: &str,
    ) -> Result<()> {
        if self.grant == Grant::Reading {
            return Err(Error::denied("nobody has authenticated you: sign in first").into());
        }
        let explained = acl::explain_entries(&self.config, subject, entries, &self.who);
        self.decide(explained.admitted, subject, &explained.to_string());
        if explained.admitted {
            Ok(())
        } else {
            Err(Error::denied(format!("{} {may_not}", self.who)).into())
        }
    }

    /// Tells the system log of a decision at once, and the audit trail with the next change or at
    /// the end.
    fn decide(&mut self, admitted: bool, request: &str, why: &str) {
        let why = if admitted { Ok(why) } else { Err(why) };
        self.decided.push(decision(why, &self.who, request, self.via));
    }

    /// Demands that the caller sits at the server.
    pub fn local_only(&mut self, verb: &str) -> Result<()> {
        if self.who.is_local() && self.via == Caller::Shell.as_str() {
            return Ok(());
        }
        self.decide(false, verb, "only for administrators on the server");
        Err(Error::denied(format!("{verb} is for administrators in a shell on the server only"))
            .into())
    }

    /// Gives the use cases that are for administrators in a shell on the server to the caller, if
    /// they sit there.
    pub fn at_server(&mut self, verb: &str) -> Result<AtServer<'_>> {
        self.local_only(verb)?;
        Ok(AtServer { session: self })
    }

    /// Finds the job of a number that somebody wrote.
    pub fn job(&self, id: &str) -> Result<Job> {
        self.find_job(id.parse()?)
    }

    /// Finds the job of this number.
    pub fn find_job(&self, id: JobId) -> Result<Job> {
        let job = jobs::find(self.record.db(), id)?;
        Ok(job.ok_or_else(|| {
            Error::invalid(format!("there is no job {id}: 'status' lists the latest"))
        })?)
    }
}

/// Reads the configuration; the error names the first problem.
pub(crate) fn load(path: &Path) -> Result<Config> {
    config::load(path).map_err(|problems| {
        let more = problems.len() - 1;
        let also =
            if more == 0 { String::new() } else { format!(" ({more} more: see 'check-config')") };
        Error::config(format!("{}{also}", problems[0])).into()
    })
}

/// Tells the system log of a decision, and makes the entry of the audit trail that says the same.
/// `Ok` admits; either says why.
pub fn decision(
    why: Result<&str, &str>,
    principal: &Principal,
    request: &str,
    via: &'static str,
) -> AuditEntry {
    let principal = principal.as_str();
    let (event, why) = match why {
        Ok(why) => {
            tracing::info!(principal, request, via, why, "allowed");
            ("allowed", why)
        }
        Err(why) => {
            tracing::warn!(principal, request, via, why, "denied");
            ("denied", why)
        }
    };
    let entry = AuditEntry::new(event).with("principal", principal).with("request", request);
    entry.with("via", via).with("why", why)
}

#[cfg(test)]
impl Session {
    /// Opens a session in a service for tests.
    pub(crate) fn of(
        service: &invirtibuilder_publish::testing::TestService,
        who: Principal,
    ) -> Self {
        let config = service.config.clone();
        let record = Record::open(&config.database()).unwrap();
        let path = service.dir.path().join("config.yaml");
        Self::new(Arc::new(config), path, who, record.into(), &Caller::Shell)
    }
}

impl Drop for Session {
    /// Writes down what was decided, even if nothing came of it.
    fn drop(&mut self) {
        if !self.decided.is_empty() {
            if let Err(error) = self.write(|_| Ok(())) {
                let why = format!("{error:#}");
                tracing::error!(what = "a decision cannot be recorded", why, "trouble");
            }
        }
    }
}

/// The session of somebody who sits at the server. Only [`Session::at_server`] makes one, so a use
/// case that takes it is closed to everybody elsewhere.
pub struct AtServer<'a> {
    session: &'a mut Session,
}

impl Deref for AtServer<'_> {
    type Target = Session;

    fn deref(&self) -> &Self::Target {
        self.session
    }
}

impl DerefMut for AtServer<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.session
    }
}
