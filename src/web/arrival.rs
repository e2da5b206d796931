//! How a request has come: from whom, and by which scheme and host as the browser sees it.

use std::net::{IpAddr, SocketAddr};

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Method};

use crate::credentials::UrlScheme;
use crate::settings::Settings;

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// What is known of the way of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The address of the browser, if those that we believe say so; else that of the other end.
    pub address: IpAddr,
    /// The scheme that the browser uses.
    pub scheme: UrlScheme,
    /// The host that the browser uses, with its port.
    pub host: String,
}

/// A request from somebody whom we do not serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stranger(pub IpAddr);

impl Arrival {
    /// Looks at where a request comes from. Only what a trusted proxy says of it is believed.
    pub fn of(settings: &Settings, peer: Peer, headers: &HeaderMap) -> Result<Self, Stranger> {
        let address = peer.0.ip().to_canonical();
        let proxied = settings.trusted.iter().any(|network| network.has(address));
        if !settings.trusted.is_empty() && !proxied {
            return Err(Stranger(address));
        }
        let forwarded = |name: &str| {
            let value = headers.get(name).filter(|_| proxied)?.to_str().ok()?;
            // Proxies append: the last one is what the proxy that we believe has seen.
            value.rsplit(',').next().map(str::trim).filter(|value| !value.is_empty())
        };
        let configured = settings.origin.as_deref().and_then(|origin| origin.split_once("://"));
        let says_secure = match forwarded("x-forwarded-proto") {
            Some(scheme) => scheme.eq_ignore_ascii_case("https"),
            None => configured.is_some_and(|(scheme, _)| scheme == "https"),
        };
        let secure = settings.tls.is_some() || says_secure;
        let told = headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = forwarded("x-forwarded-host").or(told).unwrap_or("localhost");
        Ok(Self {
            address: forwarded("x-forwarded-for").and_then(|a| a.parse().ok()).unwrap_or(address),
            scheme: if secure { UrlScheme::Secure } else { UrlScheme::Plain },
            host: host.to_ascii_lowercase(),
        })
    }

    /// Tells whether a changing request comes from a page of ours, as far as the browser says.
    /// Programs that are no browsers say nothing.
    pub fn forged(&self, settings: &Settings, headers: &HeaderMap) -> Forged {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(site) = header("sec-fetch-site") {
            return if site == "same-origin" { Forged::No } else { Forged::Yes };
        }
        match header(ORIGIN.as_str()) {
            Some(origin) => {
                let scheme = match self.scheme {
                    UrlScheme::Plain => "http",
                    UrlScheme::Secure => "https",
                };
                let origin = origin.to_ascii_lowercase();
                let ours = settings.origin.as_deref() == Some(&origin)
                    || origin == format!("{scheme}://{}", self.host);
                if ours { Forged::No } else { Forged::Yes }
            }
            None if headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site") => {
                Forged::Yes
            }
            None => Forged::Unknown,
        }
    }

    /// Returns the name of the server, for a command that reaches it.
    pub fn server<'a>(&'a self, settings: &'a Settings) -> &'a str {
        let configured = settings.origin.as_deref().and_then(|origin| origin.split_once("://"));
        let host = configured.map_or(&*self.host, |(_, host)| host);
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) => name,
            _ => host,
        };
        // It becomes a word of a command that people paste.
        let plain = |c: u8| {
            c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_' | b'[' | b']' | b':')
        };
        if !name.is_empty() && name.bytes().all(plain) { name } else { "SERVER" }
    }
}

/// Whether a page of somebody else has made a browser send a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forged {
    /// A page of ours did, or the user.
    No,
    /// A page of somebody else did.
    Yes,
    /// The sender does not say.
    Unknown,
}

/// Tells whether a request of this kind changes something.
pub fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

#[cfg(test)]
pub mod tests {
    use crate::arrival::*;

    pub fn settings() -> Settings {
        Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            api: "/nonexistent/http".into(),
            prefix: String::new(),
            origin: None,
            trusted: Vec::new(),
            tls: None,
        }
    }

    fn peer(address: &str) -> Peer {
        Peer(SocketAddr::new(address.parse().unwrap(), 4711))
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(k, v)| (k.parse::<http::HeaderName>().unwrap(), v.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_a_trusted_proxy_says_where_a_request_comes_from() {
        let said = headers(&[
            ("host", "localhost:8080"),
            ("x-forwarded-for", "198.51.100.1, 203.0.113.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "Build.example.org"),
        ]);
        let mut settings = settings();
        let alone = Arrival::of(&settings, peer("127.0.0.1"), &said).unwrap();
        assert_eq!(alone.address.to_string(), "127.0.0.1");
        assert_eq!((alone.scheme, &*alone.host), (UrlScheme::Plain, "localhost:8080"));
        assert_eq!(alone.server(&settings), "localhost");
        let odd = Arrival { host: "x;id".to_owned(), ..alone };
        assert_eq!(odd.server(&settings), "SERVER");
        settings.trusted = vec!["192.0.2.0/24".parse().unwrap()];
        let refused = Arrival::of(&settings, peer("127.0.0.1"), &said).unwrap_err();
        assert_eq!(refused.0.to_string(), "127.0.0.1");
        let proxied = Arrival::of(&settings, peer("192.0.2.7"), &said).unwrap();
        assert_eq!(proxied.address.to_string(), "203.0.113.9");
        assert_eq!((proxied.scheme, &*proxied.host), (UrlScheme::Secure, "build.example.org"));
        settings.origin = Some("https://apt.example.org".to_owned());
        let plain = Arrival::of(&settings, peer("192.0.2.7"), &headers(&[])).unwrap();
        assert_eq!((plain.scheme, plain.server(&settings)), (UrlScheme::Secure, "apt.example.org"));
    }

    #[test]
    fn a_page_of_somebody_else_is_seen() {
        let mut settings = settings();
        settings.origin = Some("https://build.example.org".to_owned());
        let arrival =
            Arrival { address: peer("::1").0.ip(), scheme: UrlScheme::Plain, host: "h:1".into() };
        for (said, forged) in [
            (&[("sec-fetch-site", "same-origin"), ("origin", "http://evil")][..], Forged::No),
            (&[("sec-fetch-site", "same-site")], Forged::Yes),
            (&[("sec-fetch-site", "cross-site")], Forged::Yes),
            (&[("sec-fetch-site", "none")], Forged::Yes),
            (&[("origin", "http://h:1")], Forged::No),
            (&[("origin", "https://h:1")], Forged::Yes),
            (&[("origin", "https://BUILD.example.org")], Forged::No),
            (&[("origin", "null")], Forged::Yes),
            (&[("origin", "http://h")], Forged::Yes),
            (&[], Forged::Unknown),
        ] {
            assert_eq!(arrival.forged(&settings, &headers(said)), forged, "{said:?}");
        }
    }
}
