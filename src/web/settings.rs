//! What this process needs of the configuration.

use std::net::SocketAddr;
use std::path::PathBuf;

use invirtibuilder_core::config::{Config, Network};
use invirtibuilder_core::error::Error;

/// The file of `$CREDENTIALS_DIRECTORY` that has the key of `http.tls`, if the unit passes one.
pub const KEY_CREDENTIAL: &str = "invirtibuilder-web.key";

/// The name of the API's socket in `run_dir`.
const SOCKET: &str = "http";

/// The settings of the page server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address and port to listen on.
    pub listen: SocketAddr,
    /// The socket of the API.
    pub api: PathBuf,
    /// The path that all our URLs begin with; empty: none.
    pub prefix: String,
    /// The scheme and host of `http.url`, if that is set.
    pub origin: Option<String>,
    /// The proxies that alone are served, if any are named.
    pub trusted: Vec<Network>,
    /// The certificate and its key.
    pub tls: Option<TlsFiles>,
}

/// Where the certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those that vouch for it (PEM).
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
}

impl Settings {
    /// Takes the settings out of the configuration.
    pub fn of(config: &Config) -> Result<Self, Error> {
        let http = config.http.as_ref().ok_or_else(|| {
            Error::config("the configuration has no http: write http: { listen: \"127.0.0.1:8080\" } to have pages")
        })?;
        let tls = http.tls.as_ref().map(|tls| TlsFiles {
            certificate: tls.certificate.clone(),
            key: passed_key().unwrap_or_else(|| tls.key.clone()),
        });
        Ok(Self {
            listen: http.listen,
            api: config.run_dir.join(SOCKET),
            prefix: http.prefix().to_owned(),
            origin: http.url.as_deref().and_then(origin),
            trusted: http.trusted.clone(),
            tls,
        })
    }
}

/// Finds the key that systemd passes to the unit.
fn passed_key() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?).join(KEY_CREDENTIAL);
    path.exists().then_some(path)
}

/// Returns the scheme and host of an URL.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split('/').next()?;
    Some(format!("{scheme}://{host}").to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use crate::settings::*;

    #[test]
    fn the_origin_is_the_url_without_its_path() {
        let wanted = Some("https://build.example.org:8443".to_owned());
        for url in ["https://build.example.org:8443", "https://Build.example.org:8443/a/b/"] {
            assert_eq!(origin(url), wanted);
        }
    }

    #[test]
    fn there_are_no_pages_without_http() {
        let error = Settings::of(&Config::default()).unwrap_err();
        assert!(error.to_string().contains("no http: write"), "{error}");
    }
}
