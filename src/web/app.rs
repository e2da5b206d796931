//! What all requests share.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use invirtibuilder_api::caller::Whoami;
use invirtibuilder_api::problem::Problem;
use invirtibuilder_core::names::Principal;

use crate::credentials::{CookieSession, VisitorCredentials};
use crate::live::hub::Hub;
use crate::logs::LogMaps;
use crate::settings::Settings;
use crate::upstream::Upstream;

/// How long we remember whose a session is. It is for the eye only: the API asks each time.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The most sessions whose names we remember.
const MAX_NAMES: usize = 10_000;

/// What all requests share.
pub struct WebApp {
    /// The settings.
    pub settings: Settings,
    /// The way to the API.
    pub upstream: Upstream,
    /// Those who follow what happens.
    pub hub: Hub,
    /// Where the lines of logs begin.
    pub logs: LogMaps,
    names: Mutex<HashMap<CookieSession, (Principal, Instant)>>,
}

impl WebApp {
    /// Makes it; nothing is connected yet.
    pub fn new(settings: Settings) -> Self {
        let upstream = Upstream::new(&settings.api);
        Self {
            hub: Hub::new(upstream.clone()),
            logs: LogMaps::default(),
            names: Mutex::default(),
            settings,
            upstream,
        }
    }

    /// Remembers whose a session is.
    pub fn remember(&self, session: &CookieSession, principal: Principal) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= MAX_NAMES {
            names.clear();
        }
        names.insert(session.clone(), (principal, Instant::now()));
    }

    /// Forgets a session.
    pub fn forget(&self, session: &CookieSession) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(session);
    }

    fn remembered(&self, session: &CookieSession) -> Option<Principal> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let (principal, since) = names.get(session)?;
        (since.elapsed() < REMEMBERED).then(|| principal.clone())
    }

    /// Finds out whose a session is; `None`: nobody's.
    pub async fn whose(
        &self,
        credentials: &VisitorCredentials,
    ) -> Result<Option<Principal>, Problem> {
        let VisitorCredentials::Session(session) = credentials else { return Ok(None) };
        if let Some(principal) = self.remembered(session) {
            return Ok(Some(principal));
        }
        match self.upstream.get::<Whoami>(credentials, "/api/v1/whoami").await {
            Ok(whoami) => {
                self.remember(session, whoami.principal.clone());
                Ok(Some(whoami.principal))
            }
            Err(problem) if problem.status == 401 => Ok(None),
            Err(problem) => Err(problem),
        }
    }
}
