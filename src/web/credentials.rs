//! What a visitor shows of themself, and the cookie that we keep for them.
//!
//! This process checks none of it: it passes on what came, and the API says what it is worth.

use std::fmt;

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

use invirtibuilder_api::login::{SESSION_PREFIX, forgery_token};

/// The name of the cookie, without what a browser is told by the beginning of a name.
const COOKIE_NAME: &str = "invirtibuilder-session";

/// The longest secret that we keep, in bytes.
const MAX_SECRET: usize = 256;

/// What the visitor of a page shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VisitorCredentials {
    /// Nothing.
    Nothing,
    /// The cookie of a session.
    Session(CookieSession),
}

/// The secret of a session.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CookieSession(String);

impl fmt::Debug for CookieSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieSession(…)")
    }
}

impl CookieSession {
    /// Takes a secret that looks like one.
    pub fn new(secret: &str) -> Option<Self> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
        let looks = secret.starts_with(SESSION_PREFIX)
            && secret.len() <= MAX_SECRET
            && secret.bytes().all(plain);
        looks.then(|| Self(secret.to_owned()))
    }

    /// Returns the header by which the API knows the session.
    pub fn bearer(&self) -> HeaderValue {
        sensitive(&format!("Bearer {}", self.0))
    }

    /// Returns what shows that a changing request comes from a page of ours.
    pub fn forgery(&self) -> String {
        forgery_token(&self.0)
    }

    /// Returns the same, as the header of a request to the API.
    pub fn forgery_header(&self) -> HeaderValue {
        sensitive(&self.forgery())
    }

    /// Tells whether a form has brought what shows that it is ours, in a time that does not depend
    /// on how much of it is right.
    pub fn is_ours(&self, shown: &str) -> bool {
        let wanted = self.forgery();
        wanted.len() == shown.len()
            && wanted.bytes().zip(shown.bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
    }
}

/// Makes a header that is kept out of logs.
fn sensitive(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text)
        .unwrap_or_else(|_| HeaderValue::from_static("it has no other characters"));
    value.set_sensitive(true);
    value
}

/// Where the cookie holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CookieScope<'a> {
    /// The path that all our URLs begin with; empty: none.
    pub prefix: &'a str,
    /// How the browser reaches us.
    pub scheme: UrlScheme,
}

/// How a browser reaches us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlScheme {
    /// `http`.
    Plain,
    /// `https`.
    Secure,
}

impl CookieScope<'_> {
    fn name(self) -> String {
        let beginning = match (self.scheme, self.prefix) {
            (UrlScheme::Plain, _) => "",
            (UrlScheme::Secure, "") => "__Host-",
            (UrlScheme::Secure, _) => "__Secure-",
        };
        format!("{beginning}{COOKIE_NAME}")
    }

    /// Finds the session in the cookies of a request.
    pub fn read(self, headers: &HeaderMap) -> VisitorCredentials {
        let name = self.name();
        let cookies = headers.get_all(COOKIE).iter().filter_map(|header| header.to_str().ok());
        let pairs =
            cookies.flat_map(|text| text.split(';')).filter_map(|c| c.trim().split_once('='));
        let mut secrets = pairs.filter(|(key, _)| *key == name).map(|(_, secret)| secret);
        secrets
            .find_map(CookieSession::new)
            .map_or(VisitorCredentials::Nothing, VisitorCredentials::Session)
    }

    /// Has the browser keep a session until it ends.
    pub fn keep(self, headers: &mut HeaderMap, session: &CookieSession, seconds: i64) {
        self.set(headers, &session.0, seconds.max(0));
    }

    /// Has the browser forget the session.
    pub fn forget(self, headers: &mut HeaderMap) {
        self.set(headers, "", 0);
    }

    fn set(self, headers: &mut HeaderMap, secret: &str, seconds: i64) {
        let path = if self.prefix.is_empty() { "/" } else { self.prefix };
        let secure = match self.scheme {
            UrlScheme::Plain => "",
            UrlScheme::Secure => "; Secure",
        };
        let name = self.name();
        let cookie = format!(
            "{name}={secret}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
        );
        headers.append(SET_COOKIE, sensitive(&cookie));
    }
}

#[cfg(test)]
mod tests {
    use crate::credentials::*;

    fn session() -> CookieSession {
        CookieSession::new("ivs_0123456789abcdefABCDEF-_").unwrap()
    }

    fn scope(prefix: &str, scheme: UrlScheme) -> CookieScope<'_> {
        CookieScope { prefix, scheme }
    }

    #[test]
    fn a_cookie_that_is_kept_is_read_again() {
        for (prefix, scheme, begins, ends) in [
            ("", UrlScheme::Plain, "invirtibuilder-session=ivs_", "SameSite=Lax"),
            ("/build", UrlScheme::Plain, "invirtibuilder-session=ivs_", "SameSite=Lax"),
            ("", UrlScheme::Secure, "__Host-invirtibuilder-session=ivs_", "; Secure"),
            ("/build", UrlScheme::Secure, "__Secure-invirtibuilder-session=ivs_", "; Secure"),
        ] {
            let mut headers = HeaderMap::new();
            scope(prefix, scheme).keep(&mut headers, &session(), 60);
            let set = headers[SET_COOKIE].to_str().unwrap().to_owned();
            assert!(set.starts_with(begins) && set.ends_with(ends), "{set}");
            assert!(set.contains("HttpOnly") && set.contains("Max-Age=60"), "{set}");
            let path = if prefix.is_empty() { "; Path=/;" } else { "; Path=/build;" };
            assert!(set.contains(path), "{set}");
            let pair = format!("a=b; {}", set.split(';').next().unwrap());
            let headers = HeaderMap::from_iter([(COOKIE, pair.parse().unwrap())]);
            let read = scope(prefix, scheme).read(&headers);
            assert_eq!(read, VisitorCredentials::Session(session()));
        }
    }

    #[test]
    fn what_is_no_secret_of_a_session_is_not_passed_on() {
        for wrong in ["", "ivt_abc", "ivs_a b", "ivs_a\r\nx: y", "ivs_ä"] {
            assert_eq!(CookieSession::new(wrong), None, "{wrong}");
        }
        assert_eq!(CookieSession::new(&format!("ivs_{}", "a".repeat(300))), None);
        let plain = scope("", UrlScheme::Plain);
        let headers = HeaderMap::from_iter([(COOKIE, "__Host-x=ivs_a".parse().unwrap())]);
        assert_eq!(plain.read(&headers), VisitorCredentials::Nothing);
    }

    #[test]
    fn only_the_sessions_own_forms_are_ours() {
        let (one, other) = (session(), CookieSession::new("ivs_x").unwrap());
        assert!(one.is_ours(&one.forgery()));
        assert!(!one.is_ours(&other.forgery()) && !one.is_ours("") && !one.is_ours("x"));
        assert!(!format!("{one:?}{:?}", one.bearer()).contains("0123"));
    }
}
