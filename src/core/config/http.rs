//! `http:`, the pages and the API.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use schemars::{JsonSchema, json_schema};
use serde::Deserialize;

use crate::config::places::KeyPath;
use crate::config::units::PathText;
use crate::json_schema::in_place;

/// `http:`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// The address and port to listen on.
    #[schemars(title = "address:port")]
    pub listen: SocketAddr,
    /// The URL at which people find the pages, such as `https://build.example.org/builds`: its path
    /// is before those of all pages. Default: that of the address.
    pub url: Option<String>,
    /// Who may read: those who have authenticated, or everybody.
    #[serde(default)]
    pub read: HttpReaders,
    /// The keytab with the `HTTP/` service key. Without it nobody can sign in with a ticket.
    #[schemars(with = "Option<PathText>")]
    pub keytab: Option<PathBuf>,
    /// The certificate with which the pages are served over TLS. Default: over plain HTTP.
    pub tls: Option<Tls>,
    /// The addresses and networks of the proxies in front. Nobody else is served then.
    #[serde(default)]
    pub trusted: Vec<Network>,
}

/// `http.read:`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HttpReaders {
    /// Those who have authenticated.
    #[default]
    Authenticated,
    /// Everybody.
    Public,
}

/// `http.tls:`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate and those that lead to it, in PEM.
    #[schemars(with = "PathText")]
    pub certificate: PathBuf,
    /// The private key, in PEM.
    #[schemars(with = "PathText")]
    pub key: PathBuf,
}

/// An address, or a network such as `192.0.2.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network(IpNet);

in_place!(Network, json_schema!({ "type": "string", "title": "address or network" }));

impl Network {
    /// Tells whether the network has an address. An IPv4 address is the same however IPv6 writes it.
    pub fn has(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| {
            format!(
                "{} is neither an address nor a network such as 192.0.2.0/24",
                crate::text::quoted(text)
            )
        })
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Http {
    /// Returns the path that is before those of all pages: empty, or `/PATH` without a slash at its
    /// end.
    pub fn prefix(&self) -> &str {
        let rest = self.url.as_deref().and_then(|url| url.split_once("://"));
        let path = rest.and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
        path.unwrap_or_default().trim_end_matches('/')
    }

    /// Returns the URL of a page, if people find the pages at one.
    pub fn page(&self, path: &str) -> Option<String> {
        self.url.as_deref().map(|url| format!("{}{path}", url.trim_end_matches('/')))
    }

    /// Lists what no type can say is wrong.
    pub(super) fn problems(&self, found: &mut Vec<(KeyPath, String)>) {
        let mut wrong = |field: &str, text: &str| {
            found.push((vec!["http".to_owned(), field.to_owned()], text.to_owned()));
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]".contains(c);
        if let Some(url) = &self.url {
            let host =
                url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or("");
            if host.is_empty() || host.starts_with('/') || !host.chars().all(plain) {
                wrong("url", "url: write it as in https://build.example.org/builds");
            }
        }
        let is_near = self.listen.ip().to_canonical().is_loopback();
        if !is_near && self.tls.is_none() && self.trusted.is_empty() {
            wrong(
                "listen",
                "listen: this address is seen from other machines, and tickets and sessions would pass in the clear: set http.tls, or http.trusted to the proxies that are in front",
            );
        }
        if let Some(tls) = &self.tls {
            if !tls.certificate.is_absolute() || !tls.key.is_absolute() {
                wrong("tls", "tls: a path is relative: write it from / on");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::http::*;

    fn read(text: &str) -> Result<Http, String> {
        let http: Http = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        let mut found = Vec::new();
        http.problems(&mut found);
        match found.pop() {
            None => Ok(http),
            Some((_, text)) => Err(text),
        }
    }

    #[test]
    fn what_would_pass_in_the_clear_is_refused() {
        assert!(read("{ listen: '127.0.0.1:80' }").is_ok());
        assert!(read("{ listen: '[::1]:80' }").is_ok());
        assert!(read("{ listen: '0.0.0.0:80' }").unwrap_err().contains("http.trusted"));
        assert!(read("{ listen: '192.0.2.1:80', trusted: [192.0.2.2, '2001:db8::/32'] }").is_ok());
        assert!(read("{ listen: '[::]:443', tls: { certificate: /c, key: /k } }").is_ok());
        assert!(read("{ listen: '[::]:443', tls: { certificate: c, key: /k } }").is_err());
        assert!(read("{ listen: '127.0.0.1:80', trusted: [somebody] }").is_err());
    }

    #[test]
    fn the_path_of_the_url_is_before_those_of_pages() {
        let of = |url: &str| read(&format!("{{ listen: '127.0.0.1:80', url: '{url}' }}"));
        let prefix = |url: &str| of(url).unwrap().prefix().to_owned();
        assert_eq!(prefix("https://build.example.org"), "");
        assert_eq!(prefix("https://build.example.org/"), "");
        assert_eq!(prefix("https://build.example.org:8443/a/b/"), "/a/b");
        let page = of("http://localhost/builds/").unwrap().page("/jobs/7");
        assert_eq!(page.as_deref(), Some("http://localhost/builds/jobs/7"));
        for bad in ["build.example.org", "ftp://x", "https://", "https:///x", "https://x/?y", ""] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_network_has_its_addresses() {
        let has = |net: &str, address: &str| {
            net.parse::<Network>().unwrap().has(address.parse().unwrap())
        };
        assert!(has("192.0.2.0/24", "192.0.2.7") && !has("192.0.2.0/24", "192.0.3.7"));
        assert!(has("192.0.2.7", "::ffff:192.0.2.7") && has("2001:db8::/32", "2001:db8::1"));
    }
}
